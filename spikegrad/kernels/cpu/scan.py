"""The neuron scans of the specification, in one native call each; same signatures."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad.functional.scan import Rule, enter, input_gain
from spikegrad.kernels.cpu.library import KINDS, PARAMETERS, RESETS, surrogate_id
from spikegrad.kernels.cpu.strides import as_it_lies
from spikegrad.surrogate import Surrogate, arctan
from spikegrad.types import ALIFState, CUBAState, Gain, LIFState, LIState, Reset, Value

__all__ = ["alif", "cuba_lif", "integrate_and_fire", "li", "lif"]

_SURROGATE = arctan(2.0)


def lif(
    x: Tensor, state: LIFState | None = None, *, beta: Value, gain: Gain = "unit", **spiking: Any
) -> tuple[Tensor, LIFState]:
    """`functional.lif` in one call."""
    current = enter(x, state, LIFState, beta=beta, **numbers(spiking))
    v, silent = state if state is not None else (None, None)
    values = {"beta": beta, "gain_mem": input_gain(gain, beta)}
    out = run(current, (None, v, None, silent), values, "spiking", **spiking)
    return out[0].to(x.dtype), LIFState(out[6], out[8])


def integrate_and_fire(
    x: Tensor, state: LIFState | None = None, **spiking: Any
) -> tuple[Tensor, LIFState]:
    """`functional.integrate_and_fire` in one call."""
    return lif(x, state, beta=1.0, **spiking)


def cuba_lif(
    x: Tensor,
    state: CUBAState | None = None,
    *,
    alpha: Value,
    beta: Value,
    gain_syn: Gain = "unit",
    gain_mem: Gain = "unit",
    **spiking: Any,
) -> tuple[Tensor, CUBAState]:
    """`functional.cuba_lif` in one call."""
    current = enter(x, state, CUBAState, alpha=alpha, beta=beta, **numbers(spiking))
    i, v, silent = state if state is not None else (None, None, None)
    values = {
        "alpha": alpha,
        "beta": beta,
        "gain_syn": input_gain(gain_syn, alpha),
        "gain_mem": input_gain(gain_mem, beta),
    }
    out = run(current, (i, v, None, silent), values, "spiking", "synapse", **spiking)
    return out[0].to(x.dtype), CUBAState(out[5], out[6], out[8])


def alif(
    x: Tensor,
    state: ALIFState | None = None,
    *,
    beta: Value,
    rho: Value,
    kappa: Value = 0.2,
    gain: Gain = "unit",
    **spiking: Any,
) -> tuple[Tensor, ALIFState]:
    """`functional.alif` in one call."""
    current = enter(x, state, ALIFState, beta=beta, rho=rho, kappa=kappa, **numbers(spiking))
    v, a, silent = state if state is not None else (None, None, None)
    values = {"beta": beta, "rho": rho, "kappa": kappa, "gain_mem": input_gain(gain, beta)}
    out = run(current, (None, v, a, silent), values, "spiking", "adaptive", **spiking)
    return out[0].to(x.dtype), ALIFState(out[6], out[7], out[8])


def li(
    x: Tensor, state: LIState | None = None, *, beta: Value, gain: Gain = "leak"
) -> tuple[Tensor, LIState]:
    """`functional.li` in one call."""
    current = enter(x, state, LIState, beta=beta)
    v = state.v if state is not None else None
    values = {"beta": beta, "gain_mem": input_gain(gain, beta)}
    out = run(current, (None, v, None, None), values)
    return out[1].to(x.dtype), LIState(out[6])


def numbers(spiking: dict[str, Any]) -> dict[str, Value]:
    """The numeric parameters among a spiking scan's arguments."""
    return {k: spiking[k] for k in ("threshold", "v_rest", "v_reset") if k in spiking}


@as_it_lies
def run(
    x: Tensor,
    state: tuple[Tensor | None, ...],
    values: dict[str, Value],
    *kinds: str,
    threshold: Value = 1.0,
    surrogate: Surrogate = _SURROGATE,
    slope: Tensor | None = None,
    v_rest: Value = 0.0,
    v_reset: Value = 0.0,
    reset: Reset = "subtract",
    detach_reset: bool = True,
    refractory: int = 0,
) -> list[Any]:
    """Call the operator on `[T, B, N]`; outputs in the features' shape, None if absent."""
    Rule(surrogate, slope, threshold, v_rest, v_reset, reset, detach_reset, refractory)  # checks
    shape, features = x.shape, x.shape[2:]
    values = {
        **values,
        "threshold": threshold,
        "v_rest": v_rest,
        "v_reset": v_reset,
        "drop": threshold - v_rest,
    }
    slopes = flat(slope if slope is not None else surrogate.slope or 1.0, x, features)
    params = matrix(values, x, features, slopes.shape[0])
    rows = x.reshape(shape[0], shape[1], -1)
    if not (rows.stride(2) == 1 and rows.stride(1) == rows.shape[2]):
        rows = rows.contiguous()
    kind = sum(KINDS[word] for word in kinds)
    keep = torch.is_grad_enabled() and (params.requires_grad or slopes.requires_grad)
    out = torch.ops.spikegrad.scan(
        rows,
        *(None if p is None else p.reshape(shape[1], -1) for p in state),
        params,
        slopes,
        kind,
        RESETS.index(reset),
        not detach_reset,
        refractory,
        surrogate_id(surrogate),
        keep,
    )
    ends = [p.reshape(shape[1:]) if p.numel() else None for p in out[5:]]
    return [p.reshape(shape) if p.numel() else None for p in out[:5]] + ends


def flat(value: Value, x: Tensor, features: torch.Size) -> Tensor:
    """A value as `[1]`, or `[N]` where it differs between neurons."""
    if not isinstance(value, Tensor):
        return x.new_tensor([value])
    value = value.to(x.dtype)
    return value.reshape(1) if value.numel() == 1 else value.expand(features).reshape(-1)


def matrix(values: dict[str, Value], x: Tensor, features: torch.Size, width: int) -> Tensor:
    """The parameter matrix `[10, 1 or N]`."""
    if width == 1 and not any(isinstance(v, Tensor) for v in values.values()):
        return x.new_tensor([[values.get(name, 0.0)] for name in PARAMETERS])
    rows = [flat(values.get(name, 0.0), x, features) for name in PARAMETERS]
    width = max([width, *(row.shape[0] for row in rows)])
    return torch.stack([row.expand(width) for row in rows])
