"""How the membrane of a neuron that is written as a step answers one input spike.

The step itself is run: first without input until it rests, then with impulses of current of several
sizes side by side. The response is the membrane (what is compared with the threshold) less that
without an impulse. Parameters per neuron count with their mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spikegrad.errors import UserError, message
from spikegrad.nn.stepped import StepNeuron
from spikegrad.types import State, map_state

__all__ = ["Response", "response"]

PARTS = (0.1, 0.2)
"""The two impulses that are compared, as parts of the one that makes the neuron fire."""
TOLERANCE = 0.1
"""How far their responses may differ, as a part of the smaller one."""
TAIL = 0.01
"""What may be left of a response at its end, as a part of its peak."""
PIECE = 100
"""Steps that are run at a time, until nothing changes any more."""
FIRING = 2 * PIECE
"""Steps within which an impulse makes the neuron fire, if it does."""
LARGEST = 2.0**40
"""The impulses that are tried: up to here, and from its inverse on."""


@dataclass(frozen=True)
class Response:
    """The membrane's response to one input spike of weight 1, on the grid of dt.

    membrane: `[T]`, in the membrane's unit for one unit of current; rest: the membrane without
    input; distance: from rest to where the neuron fires, along this response.
    """

    membrane: Tensor
    rest: float
    distance: float


def response(neuron: StepNeuron, *, steps: int = 1000) -> Response:
    """Follow the response over some steps.

    The neuron fires at the threshold, or before it where an upstroke leads there by itself
    (AdEx): distance is the peak of the membrane times the smallest impulse that makes it fire.
    Raises UserError for a neuron that never spikes or has several inputs, one that fires without
    input or not at any impulse, and where the response has not decayed within the steps or is not
    linear.
    """
    if not neuron.step.spikes:
        raise refused(neuron, "spikes", "a neuron that sends none")
    if neuron.step.inputs:
        raise refused(neuron, "one input", f"{len(neuron.step.inputs)}")
    with torch.no_grad():
        state = resting(neuron, steps)
        least = firing_impulse(neuron, state)
        sizes = torch.tensor([0.0, *(part * least for part in PARTS)], dtype=torch.float64)
        u = decaying(neuron, sizes, state, steps)
    small, large = ((u[:, k] - u[:, 0]) / sizes[k] for k in (1, 2))
    unlike = float((small - large).norm() / small.norm())
    if not unlike <= TOLERANCE:
        expected = f"responses to {PARTS[0]} and {PARTS[1]} of the current that makes it fire"
        got = f"a difference of {unlike:.0%}"
        raise refused(neuron, f"{expected} that are alike within {TOLERANCE:.0%}", got)
    peak = float(small.abs().max())
    left = float(small[-(steps // 20 + 1) :].abs().max()) / peak
    if len(small) == steps and left > TAIL:
        expected = f"a response to one spike that decays to {TAIL:.0%} within {steps} steps"
        raise refused(neuron, expected, f"{left:.0%} of its peak at the end")
    return Response(small, float(u[-1, 0]), peak * least)


def refused(neuron: StepNeuron, expected: str, got: str) -> UserError:
    """The error for a neuron whose response says nothing about its fluctuations."""
    remedy = "set the weights yourself, or use initialise(network, 'kaiming')"
    return UserError(message(f"expected of {neuron.step.name} {expected}", got, remedy))


def followed(neuron: StepNeuron, x: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
    """Spikes and membranes `[T, B]` of the step over x `[T, B, 1]`, and the state after it."""
    given = {name: mean_of(value) for name, value in neuron.step_arguments().items()}
    given |= {"generator": None, "refractory": 0}
    if state is not None:
        state = map_state(lambda part: part.expand(x.shape[1:]), state)
    s, after, trace = neuron.step(x, state, trace=True, **given)
    return s.squeeze(-1), trace.membrane.squeeze(-1), after


def mean_of(value: object) -> object:
    """A parameter as one number."""
    return float(value.mean()) if isinstance(value, Tensor) else value


def impulses(sizes: Tensor, steps: int) -> Tensor:
    """Currents `[T, B, 1]` that are not 0 in the first step alone."""
    x = torch.zeros(steps, len(sizes), 1, dtype=sizes.dtype)
    x[0, :, 0] = sizes
    return x


def resting(neuron: StepNeuron, steps: int) -> State:
    """The state in which the neuron stays without input, or is after some steps."""
    state, before = None, None
    for _ in range(0, steps, PIECE):
        silence = torch.zeros(min(PIECE, steps), 1, 1, dtype=torch.float64)
        fired, u, state = followed(neuron, silence, state)
        if bool(fired.any()):
            raise refused(neuron, "silence without input", "spikes")
        if before is not None and bool(((u - before).abs() <= 1e-9 * (1 + u.abs())).all()):
            break
        before = u[-1:]
    return state


def decaying(neuron: StepNeuron, sizes: Tensor, state: State, steps: int) -> Tensor:
    """Membranes `[T, B]` after impulses of these sizes, until they are as without, or all steps."""
    x, pieces, largest = impulses(sizes, PIECE), [], torch.zeros(())
    for begin in range(0, steps, PIECE):
        x = x if begin == 0 else torch.zeros_like(x)
        fired, u, state = followed(neuron, x[: steps - begin], state)
        if bool(fired.any()):
            raise refused(neuron, f"no spike at {PARTS[1]} of the current at which it fires", "one")
        pieces.append(u)
        moved = (u - u[:, :1]).abs().max()
        largest = torch.maximum(largest, moved)
        if not moved > 1e-5 * largest:
            break
    return torch.cat(pieces)


def firing_impulse(neuron: StepNeuron, state: State) -> float:
    """The smallest impulse that makes a resting neuron fire, within a percent."""
    low, high = 1 / LARGEST, LARGEST
    while high > 1.01 * low:
        sizes = low * (high / low) ** torch.linspace(0, 1, 80, dtype=torch.float64)
        fired, _, _ = followed(neuron, impulses(sizes, FIRING), state)
        fires = fired.bool().any(0)
        first = int(fires.int().argmax())
        if first == 0:
            at = "every current" if bool(fires.any()) else "none"
            raise refused(neuron, "a current at which it begins to fire", at)
        low, high = float(sizes[first - 1]), float(sizes[first])
    return (low * high) ** 0.5
