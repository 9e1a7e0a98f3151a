"""Running neurons by their kernels, which are compared with the reference before their first use
unless they were asked for by name.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad.kernels.triton.trial import SCAN, Way, difference
from spikegrad.kernels.triton.trial_traced import difference_traced
from spikegrad.kernels.triton.verdict import tell
from spikegrad.step import Step
from spikegrad.types import State

__all__ = ["run", "step"]


def step(
    definition: Step,
    x: Tensor,
    state: State = None,
    *,
    checked: bool = False,
    lean: bool = False,
    pack: bool = False,
    **args: Any,
) -> tuple[Any, State]:
    """The neuron over x `[T, B, *features]`, by its kernel.

    checked: the kernel is compared with the reference before its first use, and where they differ
    the reference runs, with one warning; lean: keep little for the backward pass; pack: return
    `Spikes` where the neurons return spikes; args: as of the step, `bias`, `[C]`, which is added to
    x, and `norm_scale` and `norm_shift`, `[C]`, which the sum is multiplied by and added to; C: the
    first of the features.
    """
    return run(SCAN, definition, x, state, checked=checked, lean=lean, pack=pack, **args)


def run(
    way: Way,
    definition: Step,
    x: Tensor,
    state: State = None,
    *,
    checked: bool,
    lean: bool,
    pack: bool = False,
    **args: Any,
) -> tuple[Any, State]:
    """A way of running neurons: `step`."""
    given = way.prepared(definition, x, state, lean=lean, pack=pack, **args)
    why = ""
    if checked:
        how = {**args, "lean": lean, "pack": pack}
        if torch.compiler.is_compiling():
            why = difference_traced(way, definition, x, given, how)
        elif why := difference(way, definition, x, given, how):
            tell(way.name, definition, x.device, why)
    if why:
        return way.reference(definition, x, state, **args)
    return way.finished(definition, x, given)
