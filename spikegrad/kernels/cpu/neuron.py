"""A neuron as the kernels take it: a kind, a matrix of parameters, starting states, words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from spikegrad.functional.decay import input_gain
from spikegrad.kernels.cpu.derivative import Shape, shape_of
from spikegrad.kernels.cpu.library import COMPACT, FAMILIES, KINDS, PARAMETERS, RESETS
from spikegrad.step.loop import check_firing
from spikegrad.step.sequence import enter
from spikegrad.surrogate import Surrogate, arctan
from spikegrad.types import ALIFState, CUBAState, LIFState, LIState, State, Value

__all__ = ["Neuron", "described", "few", "usual"]

_SURROGATE = arctan(2.0)
_NUMBERS = ("threshold", "v_rest", "v_reset", "drop")


class Neuron(NamedTuple):
    """One call's neuron.

    current: the input in the scan's dtype (of a `usual` neuron nothing but its dtype); starts: i,
    v, a `[B, N]` and the refractory counter, None where absent or at rest; params `[10, 1 or N]`;
    slope `[1 or N]`; wrap: from i, v, a, counter at the end `[B, *features]` to the state.
    """

    current: Tensor
    kind: int
    starts: tuple[Tensor | None, ...]
    params: Tensor
    slope: Tensor
    shape: Shape
    reset: int
    attached: bool
    refractory: int
    wrap: Callable[..., State]

    @property
    def keep(self) -> bool:
        """Whether the backward pass will want gradients of parameters."""
        learned = self.params.requires_grad or self.slope.requires_grad
        return learned and torch.is_grad_enabled()

    def words(self, *, lean: bool = False, dense: bool = True, places: bool = False) -> list[int]:
        """What the operators take as one list (see src/words.h)."""
        return [
            self.kind,
            self.reset,
            int(self.attached),
            self.refractory,
            self.shape.own,
            self.shape.family,
            int(self.keep),
            int(lean),
            int(dense),
            int(torch.is_grad_enabled()),
            int(places),
        ]

    def numbers(self, share: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> list[float]:
        """The surrogate's shape, the crossovers, and what its amplitude follows from."""
        _, _, a, b, gain, peak = self.shape
        return [a, b, *share, gain, peak]


def few(words: Sequence[int]) -> bool:
    """Whether of the membranes those in the surrogate's support are kept: `Words::few`."""
    kind, _, _, refractory, _, family, keep, lean, _, graph, _ = words
    plain = kind == KINDS["spiking"] and not refractory
    return bool(plain and family in COMPACT and graph and not keep and not lean)


def described(scan: str, x: Tensor, state: State, args: dict[str, Any]) -> Neuron:
    """The neuron of one call of a scan of the specification, with that call's arguments checked."""
    return SCANS[scan](x, state, **args)


def usual(scan: str, dtype: torch.dtype, args: dict[str, Any]) -> Neuron | None:
    """The neuron of a call that starts at rest and whose parameters are numbers, or tensors of one
    that nobody learns; None for others. Arguments were checked when they were met first.
    """
    if not shareable():
        return None
    values: list[Any] = []
    for value in args.values():
        if not isinstance(value, Tensor):
            values.append(told_apart(value) if isinstance(value, (bool, Surrogate)) else value)
        elif value.dim() or value.requires_grad:
            return None
        else:
            values.append(value.item())
    return of_numbers(scan, dtype, tuple(args), tuple(values))


def told_apart(value: bool | Surrogate) -> Any:
    """A value, with what tells it from others that equal it: 1, a name that was given again."""
    if isinstance(value, bool):
        return value, bool
    return value if value.name in FAMILIES else (value, shape_of(value))


@lru_cache(maxsize=256)
def of_numbers(
    scan: str, dtype: torch.dtype, names: tuple[str, ...], values: tuple[Any, ...]
) -> Neuron:
    """`usual`, by values that tell calls apart."""
    given = (value[0] if isinstance(value, tuple) else value for value in values)
    one = torch.zeros((1, 1, 1), dtype=dtype, device="cpu")
    return described(scan, one, None, dict(zip(names, given, strict=True)))


def shareable() -> bool:
    """Whether tensors made now may serve other calls: none of a tracer or of inference mode."""
    return not (
        torch.compiler.is_compiling()
        or torch.is_inference_mode_enabled()
        or is_in_torch_dispatch_mode()
    )


def lif(x: Tensor, state: State, *, beta: Value, gain: Any = "unit", **rest: Any) -> Neuron:
    current = enter(x, state, LIFState, beta=beta, **numbers(rest))
    v, silent = state if state is not None else (None, None)
    values = {"beta": beta, "gain_mem": input_gain(gain, beta)}
    starts = (None, v, None, silent)
    return spiking(current, starts, values, 0, lambda i, v, a, s: LIFState(v, s), **rest)


def integrate_and_fire(x: Tensor, state: State, **rest: Any) -> Neuron:
    return lif(x, state, beta=1.0, **rest)


def cuba_lif(
    x: Tensor,
    state: State,
    *,
    alpha: Value,
    beta: Value,
    gain_syn: Any = "unit",
    gain_mem: Any = "unit",
    **rest: Any,
) -> Neuron:
    current = enter(x, state, CUBAState, alpha=alpha, beta=beta, **numbers(rest))
    i, v, silent = state if state is not None else (None, None, None)
    values = {
        "alpha": alpha,
        "beta": beta,
        "gain_syn": input_gain(gain_syn, alpha),
        "gain_mem": input_gain(gain_mem, beta),
    }
    starts = (i, v, None, silent)
    kind = KINDS["synapse"]
    return spiking(current, starts, values, kind, lambda i, v, a, s: CUBAState(i, v, s), **rest)


def alif(
    x: Tensor,
    state: State,
    *,
    beta: Value,
    rho: Value,
    kappa: Value = 0.2,
    gain: Any = "unit",
    **rest: Any,
) -> Neuron:
    current = enter(x, state, ALIFState, beta=beta, rho=rho, kappa=kappa, **numbers(rest))
    v, a, silent = state if state is not None else (None, None, None)
    values = {"beta": beta, "rho": rho, "kappa": kappa, "gain_mem": input_gain(gain, beta)}
    starts = (None, v, a, silent)
    kind = KINDS["adaptive"]
    return spiking(current, starts, values, kind, lambda i, v, a, s: ALIFState(v, a, s), **rest)


def li(x: Tensor, state: State, *, beta: Value, gain: Any = "leak") -> Neuron:
    current = enter(x, state, LIState, beta=beta)
    values = {"beta": beta, "gain_mem": input_gain(gain, beta), "threshold": 1.0, "drop": 1.0}
    starts = (None, state.v if state is not None else None, None, None)
    params, slope = tensors(values, 1.0, current)
    return Neuron(
        current,
        0,
        flat_states(starts, current),
        params,
        slope,
        shape_of(_SURROGATE),
        RESETS.index("none"),
        False,
        0,
        lambda i, v, a, s: LIState(v),
    )


SCANS: dict[str, Callable[..., Neuron]] = {
    "lif": lif,
    "integrate_and_fire": integrate_and_fire,
    "cuba_lif": cuba_lif,
    "alif": alif,
    "li": li,
}


def spiking(
    current: Tensor,
    starts: tuple[Tensor | None, ...],
    values: dict[str, Value],
    kind: int,
    wrap: Callable[..., State],
    *,
    threshold: Value = 1.0,
    surrogate: Surrogate = _SURROGATE,
    slope: Tensor | None = None,
    v_rest: Value = 0.0,
    v_reset: Value = 0.0,
    reset: Any = "subtract",
    detach_reset: bool = True,
    refractory: int = 0,
    drop: Value | None = None,
) -> Neuron:
    """What all spiking neurons share."""
    check_firing(reset, detach_reset, refractory)
    values = {
        **values,
        "threshold": threshold,
        "v_rest": v_rest,
        "v_reset": v_reset,
        "drop": threshold - v_rest if drop is None else drop,
    }
    steep = slope if slope is not None else surrogate.slope or 1.0
    params, slopes = tensors(values, steep, current)
    return Neuron(
        current,
        kind | KINDS["spiking"],
        flat_states(starts, current),
        params,
        slopes,
        shape_of(surrogate),
        RESETS.index(reset),
        not detach_reset,
        refractory,
        wrap,
    )


def numbers(rest: dict[str, Any]) -> dict[str, Value]:
    """The numeric parameters among a spiking scan's arguments."""
    return {k: rest[k] for k in _NUMBERS if rest.get(k) is not None}


def flat_states(starts: tuple[Tensor | None, ...], current: Tensor) -> tuple[Tensor | None, ...]:
    """States as `[B, N]`."""
    batch = current.shape[1]
    return tuple(None if p is None else p.reshape(batch, -1).contiguous() for p in starts)


def tensors(values: dict[str, Value], slope: Value, x: Tensor) -> tuple[Tensor, Tensor]:
    """The parameter matrix `[10, 1 or N]` and the slope `[1 or N]`."""
    plain = plain_numbers(values)
    if plain is not None and not isinstance(slope, Tensor):
        rows = tuple(plain.get(name, 0.0) for name in PARAMETERS)
        return (constants if shareable() else constants.__wrapped__)(rows, slope, x.dtype)
    features = x.shape[2:]
    slopes = flat(slope, x, features)
    flats = [flat(values.get(name, 0.0), x, features) for name in PARAMETERS]
    width = max([slopes.shape[0], *(row.shape[0] for row in flats)])
    return torch.stack([row.expand(width) for row in flats]), slopes


@lru_cache(maxsize=256)
def constants(rows: tuple[float, ...], slope: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Parameters that are numbers, as tensors that nobody writes to and calls may share."""
    params = torch.tensor(rows, dtype=dtype, device="cpu").unsqueeze(1)
    return params, torch.tensor([slope], dtype=dtype, device="cpu")


def plain_numbers(values: dict[str, Value]) -> dict[str, float] | None:
    """The values as numbers, if all are per layer and none is learned."""
    if torch.compiler.is_compiling():
        return None
    made = {}
    for name, value in values.items():
        if isinstance(value, Tensor):
            if value.numel() != 1 or value.requires_grad:
                return None
            made[name] = value.item()
        else:
            made[name] = value
    return made


def flat(value: Value, x: Tensor, features: torch.Size) -> Tensor:
    """A value as `[1]`, or `[N]` where it differs between neurons."""
    if not isinstance(value, Tensor):
        return x.new_tensor([value])
    value = value.to(x.dtype)
    return value.reshape(1) if value.numel() == 1 else value.expand(features).reshape(-1)
