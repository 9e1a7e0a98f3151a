"""A connection with its neurons on a GPU: torch's product without a bias, which the scan adds."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.functional import linear

from spikegrad.functional.steps import as_step
from spikegrad.kernels.cpu.build import BuildError
from spikegrad.kernels.refusal import refused, warn_once
from spikegrad.kernels.triton import trial
from spikegrad.kernels.triton.feedback import recurrent
from spikegrad.step import Step
from spikegrad.step.lower import NotLowered
from spikegrad.types import State

__all__ = ["REASON", "layer", "normed"]

REASON = "torch's product, and a Triton scan that adds the bias"


def layer(
    x: Tensor,
    state: State = None,
    *,
    weight: Tensor,
    bias: Tensor | None = None,
    feedback: Tensor | None = None,
    neuron: str | Step,
    args: dict[str, Any],
    lean: bool = False,
    checked: bool = True,
    pass_on: bool = False,
    witness: list[Any] | None = None,
) -> tuple[Tensor, State]:
    """`linear`, then neurons with args, fed back through a weight if there is one.

    The bias costs no pass over the currents, and its gradient none over theirs: the scan sums it.

    x: `[T, B, I]`; neuron: a step, or a scan of `functional` by its name; checked, lean: as in
    `trial.step`; pass_on: asked for by layers in a row, has no effect; witness: takes the reason.
    Raises BuildError where the neuron has no program.
    """
    definition, values = as_step(neuron, args) if isinstance(neuron, str) else (neuron, args)
    # An input that is constant in time has one product.
    static = x.shape[0] > 1 and x.stride(0) == 0
    current = linear(x[:1] if static else x, weight)
    current = current.expand(x.shape[0], *current.shape[1:])
    how: dict[str, Any] = {"bias": bias, "checked": checked, "lean": lean, **values}
    if witness is not None:
        witness.append(REASON)
    try:
        if feedback is not None:
            return recurrent(definition, current, state, weight=feedback, **how)
        return trial.step(definition, current, state, **how)
    except NotLowered as error:
        raise BuildError(str(error)) from error


def normed(
    x: Tensor,
    state: State = None,
    *,
    offset: Tensor,
    scale: Tensor,
    shift: Tensor,
    neuron: str | Step,
    args: dict[str, Any],
    lean: bool = False,
    checked: bool = True,
) -> tuple[Tensor, State]:
    """Neurons of `(x + offset) scale + shift`, three numbers `[C]` with gradients.

    x: `[T, B, C, ...]`; the others: as of `layer`. What has no program runs in torch.
    """
    definition, values = as_step(neuron, args) if isinstance(neuron, str) else (neuron, args)
    given: dict[str, Any] = {"bias": offset, "norm_scale": scale, "norm_shift": shift, **values}
    try:
        return trial.step(definition, x, state, checked=checked, lean=lean, **given)
    except (NotLowered, BuildError) as error:
        if not checked:
            raise refused(definition.name, "triton", str(error)) from error
        warn_once(definition.name, str(error))
    return trial.reference(definition, x, state, **given)
