"""The neuron scans of the specification, in one native call each; same signatures."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spikegrad.kernels.cpu import scan_operator
from spikegrad.kernels.cpu.neuron import described
from spikegrad.kernels.cpu.strides import is_channels_last
from spikegrad.types import State, map_state

__all__ = ["alif", "cuba_lif", "integrate_and_fire", "li", "lif"]


def lif(x: Tensor, state: State = None, **args: Any) -> tuple[Tensor, State]:
    """`functional.lif` in one call."""
    return run("lif", x, state, args)


def integrate_and_fire(x: Tensor, state: State = None, **args: Any) -> tuple[Tensor, State]:
    """`functional.integrate_and_fire` in one call."""
    return run("integrate_and_fire", x, state, args)


def cuba_lif(x: Tensor, state: State = None, **args: Any) -> tuple[Tensor, State]:
    """`functional.cuba_lif` in one call."""
    return run("cuba_lif", x, state, args)


def alif(x: Tensor, state: State = None, **args: Any) -> tuple[Tensor, State]:
    """`functional.alif` in one call."""
    return run("alif", x, state, args)


def li(x: Tensor, state: State = None, **args: Any) -> tuple[Tensor, State]:
    """`functional.li` in one call."""
    return run("li", x, state, args)


def run(scan: str, x: Tensor, state: State, args: dict[str, Any]) -> tuple[Tensor, State]:
    """Call the operator on `[T, B, N]`; outputs and states in the features' shape.

    A channels-last x is read as it lies where no neuron has parameters of its own, and its outputs
    lie alike.
    """
    alike = all(v.numel() == 1 for v in args.values() if isinstance(v, Tensor))
    if alike and is_channels_last(x):
        start = map_state(lambda p: p.permute(0, 2, 3, 1), state)
        y, end = run(scan, x.permute(0, 1, 3, 4, 2), start, args)
        return y.movedim(-1, -3), map_state(lambda p: p.movedim(-1, -3), end)
    n = described(scan, x, state, args)
    shape = n.current.shape
    rows = n.current.reshape(shape[0], shape[1], -1)
    if not (rows.stride(2) == 1 and rows.stride(1) == rows.shape[2]):
        rows = rows.contiguous()
    out = scan_operator.run(
        rows,
        *n.starts,
        n.params,
        n.slope,
        n.words(),
        n.numbers(),
    )
    y = out[1 if scan == "li" else 0].reshape(shape).to(x.dtype)
    ends = [p.reshape(shape[1:]) if p.numel() else None for p in out[7:]]
    return y, n.wrap(*ends)
