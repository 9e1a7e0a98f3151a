"""Spike trains `[T, B, *features]`: what every measure checks, and windows in steps."""

from __future__ import annotations

import torch
from torch import Tensor

from spikegrad.checks import check_current, check_finite, check_positive, is_transformed
from spikegrad.errors import UserError, message

__all__ = ["check_pair", "check_spikes", "check_whole", "computed_in", "steps_of"]


def check_spikes(spikes: Tensor, dt: float, *, name: str = "spikes") -> Tensor:
    """Finite values >= 0 in a tensor `[T, B, *features]`; returned in single precision at least.

    spikes: 0 and 1, or counts, of any dtype; values between 0 and 1 are those of soft mode.
    dt: time step (ms). Raises TypeError for what is no tensor, UserError for the rest.
    Values are not looked at under `torch.compile` and `torch.func`, which have none yet.

    >>> check_spikes(torch.ones(3, 1, dtype=torch.bool), 1.0).dtype
    torch.float32
    """
    check_current(spikes, name=name, floating=False)
    check_positive(dt, "dt", unit="ms")
    check_finite(spikes, name)
    if has_values(spikes) and spikes.numel() and bool((spikes < 0).any()):
        low = f"a minimum of {spikes.min().item():g}"
        remedy = "spikes of two signs: pass spikes.abs(); membranes are no spikes"
        raise UserError(message(f"expected {name} >= 0", low, remedy))
    return computed_in(spikes)


def check_pair(a: Tensor, b: Tensor, dt: float, *, names: tuple[str, str]) -> tuple[Tensor, Tensor]:
    """Two tensors of spike trains, of one shape, on one device; as `check_spikes` returns them."""
    one, other = (check_spikes(x, dt, name=name) for x, name in zip((a, b), names, strict=True))
    if a.shape != b.shape:
        expected = f"expected {names[1]} of shape {list(a.shape)}, as {names[0]}"
        raise UserError(message(expected, str(list(b.shape)), "expand one of them"))
    if a.device != b.device:
        expected = f"expected {names[1]} on {a.device}, as {names[0]}"
        raise UserError(message(expected, str(b.device), "move one of them with .to()"))
    return one, other


def check_whole(spikes: Tensor, *, name: str = "spikes", most: int | None = None) -> None:
    """Whole numbers of spikes, at most `most` in a step: soft spikes have no times."""
    if not has_values(spikes):
        return
    if spikes.is_floating_point() and bool((spikes != spikes.round()).any()):
        odd = spikes[spikes != spikes.round()][0].item()
        expected = f"expected whole numbers of spikes in {name}"
        raise UserError(message(expected, f"{odd:g}", "soft spikes have no times"))
    if most is not None and spikes.numel() and bool((spikes > most).any()):
        expected = f"expected at most {most} spike per step in {name}"
        got = f"{spikes.max().item():g}"
        raise UserError(message(expected, got, "spikes of one step have no interval between them"))


def steps_of(window: float, dt: float, steps: int, *, name: str = "window") -> int:
    """A window (ms) as a number of steps, 1 to `steps`.

    Raises UserError where it is no whole number of steps, or longer than the trains.

    >>> steps_of(5.0, 0.5, 100)
    10
    """
    check_positive(window, name, unit="ms")
    count = round(float(window) / float(dt))
    if count < 1 or abs(count * dt - window) > 1e-6 * window:
        expected = f"expected {name} as a whole number of steps of {dt:g} ms"
        raise UserError(message(expected, f"{window:g} ms"))
    if count > steps:
        expected = f"expected {name} of at most T * dt = {steps * dt:g} ms"
        raise UserError(message(expected, f"{window:g} ms"))
    return count


def computed_in(x: Tensor) -> Tensor:
    """x in the dtype that it is computed in: float64 as it is, anything else as float32."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def has_values(x: Tensor) -> bool:
    """Whether the values of x can be looked at now."""
    return not (torch.compiler.is_compiling() or is_transformed(x) or x.is_meta)
