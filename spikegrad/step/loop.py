"""A step run over time in plain torch: the specification of every neuron that is written as one.

The loop goes over `x.unbind(0)`, never over `x[t]`: the backward of a select allocates a whole
`[T, B, N]` per step, so its cost grows with T squared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from spikegrad.checks import (
    check_choice,
    check_flag,
    check_positive,
    check_steps,
    is_transformed,
)
from spikegrad.errors import UserError, message, unknown
from spikegrad.step.context import Firing, Inputs, Parameters, States
from spikegrad.step.modes import check_escape
from spikegrad.step.sequence import enter, one_input, rest
from spikegrad.surrogate import Surrogate, spike
from spikegrad.types import Reset, State, Trace, Value

if TYPE_CHECKING:
    from spikegrad.step.definition import Step

__all__ = ["check_firing", "firing_of", "noise_of", "one_step", "run", "starts", "values_of"]


def run(
    step: Step,
    x: Tensor,
    state: State = None,
    *,
    dt: float = 1.0,
    surrogate: Surrogate | None = None,
    slope: Tensor | None = None,
    reset: Reset | None = None,
    detach_reset: bool = True,
    refractory: int = 0,
    trace: bool = False,
    noise: Tensor | None = None,
    generator: torch.Generator | None = None,
    **values: Value,
) -> Any:
    """A neuron over a whole sequence.

    x: input current `[T, B, *features]`, of several inputs `[T, B, inputs, *features]`; state: from
    the call before, None for the start; dt: step (ms); surrogate, reset: the step's defaults where
    None; slope: a tensor to learn the surrogate's slope through; refractory: steps of silence after
    a spike; values: the parameters under the names by which the step reads them, numbers or tensors
    that broadcast to `[*features]`; noise:
    of escape noise, uniform in [0, 1), `[T, B, *features]`; None: drawn from the generator
    (torch's own where None) step after step, so that chunks draw what the whole draws.

    Returns `(output, state)`, output `[T, B, *features]` in x's dtype, the spikes unless the step
    is a variant with another output; with `trace=True`
    `(output, state, Trace)`, whose distance and spikes are None for a neuron without spikes.
    Raises UserError or TypeError for a wrong shape, range, kind or dtype, and for a step that does
    not return what it declares.
    """
    check_positive(dt, "dt", unit="ms")
    values = values_of(step, values, dt)
    firing = firing_of(step, surrogate, slope, reset, detach_reset, refractory)
    current = enter(x, state, step.State, step.inputs, **values)
    inside = {**values, "dt": dt}
    one = one_input(current, step.inputs)
    now, silent = starts(step, one, state, values, refractory)
    draws = draws_of(firing, one, noise, generator)
    outputs, seen = [], []
    for t, x_t in enumerate(current.unbind(0)):
        p = Parameters(inside, firing, silent, next(draws), step.rest)
        parts = x_t.unbind(1) if step.inputs else (x_t,)
        y, now = one_step(step, parts, now, p, check=t == 0)
        silent = p.fired.silent if p.fired is not None else None
        outputs.append(y)
        if p.fired is not None and (trace or step.output != "spikes"):
            seen.append(p.fired)
    s = torch.stack(outputs).to(x.dtype)
    end = step.State(**now, refractory=silent) if step.spikes else step.State(**now)
    if not step.spikes:
        return (s, end, Trace(x, s, None, None)) if trace else (s, end)
    u = torch.stack([f.membrane for f in seen]) if seen else s
    out = {"spikes": s, "membrane": u.to(x.dtype), "both": (s, u.to(x.dtype))}[step.output]
    if not trace:
        return out, end
    return out, end, Trace(x, u, torch.stack([f.distance for f in seen]), s)


def noise_of(
    firing: Firing | None,
    current: Tensor,
    noise: Tensor | None,
    generator: torch.Generator | None,
) -> Tensor | None:
    """The noise of all steps `[T, B, *features]`, for a kernel: the numbers that the loop draws."""
    draws = draws_of(firing, current, noise, generator)
    drawn = [n for n, _ in zip(draws, range(len(current)), strict=False) if n is not None]
    return torch.stack(drawn) if drawn else None


def draws_of(
    firing: Firing | None,
    current: Tensor,
    noise: Tensor | None,
    generator: torch.Generator | None,
) -> Iterator[Tensor | None]:
    """Noise `[B, *features]` for every step, None where nothing is by chance."""
    if firing is None or firing.chance is None:
        if noise is not None or generator is not None:
            got = "noise" if noise is not None else "a generator"
            expected = "expected noise and generator with spike='escape' in hard mode alone"
            raise UserError(message(expected, got, "omit it"))
        return repeat(None)
    if noise is None:
        return (
            torch.rand(x_t.shape, dtype=x_t.dtype, device=x_t.device, generator=generator)
            for x_t in current.unbind(0)
        )
    if generator is not None:
        raise UserError(message("expected noise or a generator", "both", "omit one"))
    if not isinstance(noise, Tensor) or noise.shape != current.shape:
        got = str(list(noise.shape)) if isinstance(noise, Tensor) else type(noise).__name__
        raise UserError(message(f"expected noise of shape {list(current.shape)}", got))
    return iter(noise.to(current.dtype).unbind(0))


def values_of(step: Step, given: Mapping[str, Value], dt: float) -> dict[str, Value]:
    """Every value that the step reads, the given ones first; raises UserError for others."""
    for name in given:
        if name not in step.reads:
            raise UserError(unknown(f"parameter of {step.name}", name, step.reads))
    return {**step.defaults(dt), **given}


def firing_of(
    step: Step,
    surrogate: Surrogate | None,
    slope: Tensor | None,
    reset: Reset | None,
    detach_reset: bool,
    refractory: int,
) -> Firing | None:
    """How the call's neurons spike, None for a neuron that does not."""
    chosen = step.reset if reset is None else reset
    check_firing(chosen, detach_reset, refractory)
    if not step.spikes:
        return None
    record = step.surrogate if surrogate is None else surrogate
    fire = partial(spike, surrogate=record, slope=slope)
    if step.mode.word != "escape":
        return Firing(fire, chosen, detach_reset, refractory, step.mode)
    check_escape(record)
    if record.mode == "soft":
        return Firing(fire, chosen, detach_reset, refractory)
    return Firing(fire, chosen, detach_reset, refractory, step.mode, chance_of(record, slope))


def chance_of(record: Surrogate, slope: Tensor | None) -> Callable[[Tensor], Tensor]:
    """The probability of a spike at a distance; noise has no part in gradients."""
    steep = None if slope is None else slope.detach()

    def chance(distance: Tensor) -> Tensor:
        return record.primitive(distance.detach(), steep)

    return chance


def check_firing(reset: str, detach_reset: bool, refractory: int) -> None:
    """A known reset, a flag, a number of steps."""
    check_choice(reset, "reset", ("subtract", "zero", "none"))
    check_flag(detach_reset, "detach_reset")
    check_steps(refractory, "refractory")


def starts(
    step: Step, current: Tensor, state: State, values: Mapping[str, Value], refractory: int
) -> tuple[dict[str, Tensor], Tensor | None]:
    """The states before the first step by name, and the refractory counter."""
    if state is not None:
        now = {name: getattr(state, name) for name in step.states}
        silent = state.refractory if step.spikes else None
    else:
        begin = {n: values[v] if isinstance(v, str) else v for n, v in step.states.items()}
        now, silent = {name: rest(current, value) for name, value in begin.items()}, None
    if refractory and silent is None:
        silent = torch.zeros_like(current[0], dtype=torch.int32)
    return now, silent if refractory else None


def one_step(
    step: Step, parts: Sequence[Tensor], now: Mapping[str, Tensor], p: Parameters, *, check: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """One call of the step's function. parts: its inputs, `[B, *features]` each; check: whether
    what it returns is looked at.
    """
    x: Any = Inputs(dict(zip(step.inputs, parts, strict=True))) if step.inputs else parts[0]
    if not (check and is_plain(parts[0])):
        y, after = step.function(x, States(now), p)
        return y, after
    named = [f"the input {name!r}" for name in step.inputs] or ["its input"]
    watched = {
        **dict(zip(named, parts, strict=True)),
        **{f"the state {name!r}": part for name, part in now.items()},
    }
    watched |= {f"the parameter {n!r}": v for n, v in p.values().items() if isinstance(v, Tensor)}
    watched = {what: part for what, part in watched.items() if is_plain(part)}
    versions = [part._version for part in watched.values()]
    try:
        out = step.function(x, States(now), p)
    except RuntimeError as error:
        if "in-place" not in str(error) and "inplace" not in str(error):
            raise
        raise in_place(step, "its input, a state or a parameter") from error
    for (what, part), version in zip(watched.items(), versions, strict=True):
        if part._version != version:
            raise in_place(step, what)
    check_output(step, parts[0], out, p)
    y, after = out
    return y, after


def in_place(step: Step, what: str) -> UserError:
    """The error for a step that changes what it was given."""
    return UserError(
        message(
            f"expected a step {step.name} that changes nothing in place",
            f"{what} changed",
            "write y = x + 1 instead of x += 1",
        )
    )


def is_plain(x_t: Tensor) -> bool:
    """Whether a tensor counts its changes in place: not where a tracer or torch.func sees it."""
    return not (torch.compiler.is_compiling() or is_transformed(x_t) or x_t.is_inference())


def check_output(step: Step, x_t: Tensor, out: Any, p: Parameters) -> None:
    """An output and every declared state, each a tensor of the input's shape and dtype."""
    if not (isinstance(out, tuple) and len(out) == 2 and isinstance(out[1], Mapping)):
        raise TypeError(
            message(
                f"expected {step.name} to return (output, states), the states by name",
                type(out).__name__,
                "for example: return fired, {'v': v}",
            )
        )
    y, after = out
    if set(after) != set(step.states):
        raise UserError(
            message(
                f"expected {step.name} to return the states {', '.join(step.states)}",
                ", ".join(map(str, after)) or "none",
                "return what states= declares, no more and no less",
            )
        )
    for what, part in {
        "its output": y,
        **{f"the state {k!r}": v for k, v in after.items()},
    }.items():
        if not isinstance(part, Tensor):
            expected, got = "as a tensor", type(part).__name__
        elif part.shape != x_t.shape:
            expected, got = f"in the input's shape {list(x_t.shape)}", str(list(part.shape))
        elif part.dtype != x_t.dtype:
            expected, got = f"in the input's dtype, {x_t.dtype}", str(part.dtype)
        else:
            continue
        raise UserError(
            message(
                f"expected {what} of {step.name} {expected}",
                got,
                "a step is elementwise over neurons",
            )
        )
    if step.spikes and p.fired is None:
        raise UserError(
            message(
                f"expected a call of p.spike in {step.name}",
                "none",
                "call it, or declare the neuron with spikes=False",
            )
        )
