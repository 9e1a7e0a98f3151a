"""Neurons that are fed back their last spikes, in one Triton kernel over all steps."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from spikegrad.checks import check_state_tensor
from spikegrad.functional.recurrent import check_feedback
from spikegrad.functional.recurrent import recurrent as loop
from spikegrad.kernels.triton import trial
from spikegrad.kernels.triton.feedback_launch import MOST
from spikegrad.kernels.triton.feedback_operator import run
from spikegrad.kernels.triton.launch import Call
from spikegrad.kernels.triton.step import HALF, state_of
from spikegrad.kernels.triton.step import prepared as prepared_step
from spikegrad.step import Step
from spikegrad.types import RecurrentState, State

__all__ = ["obstacle", "recurrent"]


class Prepared(NamedTuple):
    """What the kernel of one call is given.

    x: `[T, B, N]`, dense in `[B, N]`; bias: `[N]`; first: the spikes before, `[B, N]`; weight: `[N,
    N]`; starts: `[states, B, N]`; parameters: `[rows, 1 or N]`.
    """

    x: Tensor
    bias: Tensor | None
    first: Tensor
    weight: Tensor
    starts: Tensor
    parameters: Tensor
    call: Call


def prepared(
    definition: Step, x: Tensor, state: State = None, *, weight: Tensor, **args: Any
) -> Prepared:
    """Check and put together a call over x `[T, B, N]`; args: as of the neuron alone, and bias."""
    check_feedback(weight, x)
    inner, first = (None, x.new_zeros(x.shape[1:])) if state is None else state
    check_state_tensor(first, "state.s", x, x.dtype)
    given = prepared_step(definition, x, inner, feedback=(weight, first), **args)
    others = (first.contiguous(), weight.contiguous(), given.starts, given.parameters)
    return Prepared(given.x, given.bias, *others, given.call)


def finished(definition: Step, x: Tensor, given: Prepared) -> tuple[Tensor, RecurrentState]:
    """Run the kernel; the output in x's dtype, and the state."""
    y, last, *_, ends = run(*given)
    inner = state_of(definition, given.call.program, ends, x.shape[1:])
    return y, RecurrentState(inner, last)


def reference(
    definition: Step,
    x: Tensor,
    state: State = None,
    *,
    weight: Tensor,
    bias: Tensor | None = None,
    **args: Any,
) -> tuple[Tensor, RecurrentState]:
    """What the kernel must give: like it, a sum in float32 of half types."""
    dtype = x.dtype
    if dtype in HALF:
        x, weight = x.float(), weight.float()
        state = None if state is None else state._replace(s=state.s.float())
    x = x if bias is None else x + bias.to(x.dtype)
    y, end = loop(x, state, weight=weight, neuron=partial(definition, **args))
    return y.to(dtype), end._replace(s=end.s.to(dtype))


FED = trial.Way("recurrent", prepared, finished, reference)


def obstacle(definition: Step, checked: bool) -> str:
    """Why neurons that are fed back cannot run here, or "".

    checked: no kernel was chosen by name.
    """
    if not definition.spikes or definition.output != "spikes":
        return "Triton feeds spikes back, and this neuron returns others"
    if definition.mode.word != "binary":
        return f"spike={definition.mode.word!r} is fed back in torch"
    if checked and (why := trial.FAILED.get((FED.name, definition))):
        return f"its Triton kernel is not used here: {why}"
    return ""


def recurrent(
    definition: Step,
    x: Tensor,
    state: State = None,
    *,
    weight: Tensor,
    bias: Tensor | None = None,
    checked: bool = False,
    lean: bool = False,
    **args: Any,
) -> tuple[Tensor, RecurrentState]:
    """`functional.recurrent` of a step: one kernel for up to 256 neurons, else torch's product and
    the neurons' kernel at every step.

    bias: `[N]`, added to every x; checked, lean: as in `trial.step`; args: of the neuron.
    """
    if x.shape[-1] <= MOST:
        how: dict[str, Any] = {"checked": checked, "lean": lean}
        y, end = trial.run(FED, definition, x, state, weight=weight, bias=bias, **how, **args)
        return y, end
    one = partial(trial.step, definition, checked=checked, bias=bias, **args)
    y, end = loop(x, state, weight=weight, neuron=one)
    return y, end
