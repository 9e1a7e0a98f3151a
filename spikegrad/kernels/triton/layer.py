"""A connection with its neurons on a GPU: a product without a bias, which the scan adds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear as torch_linear

from spikegrad.functional.steps import as_step
from spikegrad.kernels.cpu.build import BuildError
from spikegrad.kernels.refusal import refused, warn_once
from spikegrad.kernels.triton import run, trial
from spikegrad.kernels.triton.feedback import recurrent
from spikegrad.kernels.triton.product import product
from spikegrad.kernels.triton.spikes import Spikes
from spikegrad.step import Step
from spikegrad.step.lower import NotLowered
from spikegrad.types import State

__all__ = ["BITS", "REASON", "layer", "linear", "normed"]

REASON = "torch's product, and a Triton scan that adds the bias"
BITS = "a product of spikes as bits, and a Triton scan that adds the bias"
ALONE = "a product of spikes as bits"


def layer(
    x: Tensor | Spikes,
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
) -> tuple[Any, State]:
    """`linear`, then neurons with args, fed back through a weight if there is one.

    The bias costs no pass over the currents, and its gradient none over theirs: the scan sums it.

    x: `[T, B, I]`, or spikes that the layer before passed on; neuron: a step, or a scan of
    `functional` by its name; checked, lean: as in `run.step`; pass_on: return `Spikes`, where the
    neurons return spikes; witness: takes the reason. Raises BuildError where the neuron has no
    program.
    """
    definition, values = as_step(neuron, args) if isinstance(neuron, str) else (neuron, args)
    if witness is not None:
        witness.append(BITS if isinstance(x, Spikes) else REASON)
    how: dict[str, Any] = {"bias": bias, "checked": checked, "lean": lean, **values}
    how["pack"] = pass_on and may_pack(weight)
    current = current_of(x, weight, checked)
    try:
        if feedback is not None:
            return recurrent(definition, current, state, weight=feedback, **how)
        return run.step(definition, current, state, **how)
    except NotLowered as error:
        raise BuildError(str(error)) from error


def current_of(x: Tensor | Spikes, weight: Tensor, checked: bool) -> Tensor:
    """The product; of an input that is constant in time once."""
    if isinstance(x, Spikes):
        return product(x, weight, checked=checked)
    static = x.shape[0] > 1 and x.stride(0) == 0
    current = torch_linear(x[:1] if static else x, weight)
    return current.expand(x.shape[0], *current.shape[1:])


def may_pack(weight: Tensor) -> bool:
    """Whether the next product is of these types: under autocast torch chooses them."""
    return not torch.is_autocast_enabled(weight.device.type)


def linear(
    x: Tensor | Spikes,
    *,
    weight: Tensor,
    bias: Tensor | None = None,
    checked: bool = True,
    witness: list[Any] | None = None,
) -> Tensor:
    """`functional.linear` of spikes that a layer passed on; of numbers it is torch's."""
    if not isinstance(x, Spikes):
        return torch_linear(x, weight, bias)
    if witness is not None:
        witness.append(ALONE)
    return product(x, weight, bias, checked=checked)


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
    pass_on: bool = False,
) -> tuple[Any, State]:
    """Neurons of `(x + offset) scale + shift`, three numbers `[C]` with gradients.

    x: `[T, B, C, ...]`; the others: as of `layer`. What has no program runs in torch.
    """
    definition, values = as_step(neuron, args) if isinstance(neuron, str) else (neuron, args)
    given: dict[str, Any] = {"bias": offset, "norm_scale": scale, "norm_shift": shift, **values}
    pack = pass_on and may_pack(x)
    try:
        return run.step(definition, x, state, checked=checked, lean=lean, pack=pack, **given)
    except (NotLowered, BuildError) as error:
        if not checked:
            raise refused(definition.name, "triton", str(error)) from error
        warn_once(definition.name, str(error))
    return trial.reference(definition, x, state, **given)
