"""Neurons that are fed back their last spikes, in one Triton kernel over all steps."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from spikegrad.checks import check_state_tensor
from spikegrad.functional.recurrent import check_feedback
from spikegrad.functional.recurrent import recurrent as loop
from spikegrad.kernels.triton import run as running
from spikegrad.kernels.triton.calls import FeedbackCall
from spikegrad.kernels.triton.feedback_launch import MOST
from spikegrad.kernels.triton.feedback_operator import run
from spikegrad.kernels.triton.spikes import FEWEST, Spikes
from spikegrad.kernels.triton.step import HALF, flat, neuron_of, segment_of, state_of, wanted
from spikegrad.kernels.triton.trial import Way
from spikegrad.kernels.triton.trial_traced import WAYS
from spikegrad.kernels.triton.verdict import failed
from spikegrad.step import Step
from spikegrad.types import RecurrentState, State

__all__ = ["obstacle", "recurrent"]


def prepared(
    definition: Step,
    x: Tensor,
    state: State = None,
    *,
    weight: Tensor,
    bias: Tensor | None = None,
    lean: bool = False,
    pack: bool = False,
    **args: Any,
) -> FeedbackCall:
    """Check and put together a call over x `[T, B, N]`; args: as of the neuron alone."""
    check_feedback(weight, x)
    inner, first = (None, x.new_zeros(x.shape[1:])) if state is None else state
    check_state_tensor(first, "state.s", x, x.dtype)
    n = neuron_of(definition, x, inner, fed=True, **args)
    added = None if bias is None else bias.reshape(-1).to(n.one.dtype).contiguous()
    rows = flat(x)
    keep = wanted(rows, n.starts, n.parameters, added, weight, first)
    return FeedbackCall(
        n.loaded.key,
        rows,
        added,
        first.contiguous(),
        weight.contiguous(),
        n.starts,
        n.parameters,
        keep,
        segment_of(n.loaded, lean),
        pack and x.shape[0] >= FEWEST,
    )


def finished(definition: Step, x: Tensor, given: FeedbackCall) -> tuple[Any, RecurrentState]:
    """Run the kernel; the output in x's dtype, or packed, and the state."""
    y, last, bits, *_, ends = run(*given)
    after = RecurrentState(state_of(definition, ends, x.shape[1:]), last)
    return Spikes(y, bits) if given.pack else y, after


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


FED = Way("recurrent", prepared, finished, reference)
WAYS[FED.name] = FED


def obstacle(definition: Step, checked: bool) -> str:
    """Why neurons that are fed back cannot run here, or "".

    checked: no kernel was chosen by name.
    """
    if not definition.spikes or definition.output != "spikes":
        return "Triton feeds spikes back, and this neuron returns others"
    if definition.mode.word != "binary":
        return f"spike={definition.mode.word!r} is fed back in torch"
    if checked and (why := failed(FED.name, definition)):
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
    pack: bool = False,
    **args: Any,
) -> tuple[Any, RecurrentState]:
    """`functional.recurrent` of a step: one kernel for up to 256 neurons, else torch's product and
    the neurons' kernel at every step.

    bias: `[N]`, added to every x; checked, lean: as in `run.step`; pack: return `Spikes` where one
    kernel runs all steps; args: of the neuron.
    """
    if x.shape[-1] <= MOST:
        how: dict[str, Any] = {"checked": checked, "lean": lean, "pack": pack}
        y, end = running.run(FED, definition, x, state, weight=weight, bias=bias, **how, **args)
        return y, end
    one = partial(running.step, definition, checked=checked, bias=bias, **args)
    y, end = loop(x, state, weight=weight, neuron=one)
    return y, end
