"""Decisions about layers that were made before, for calls that are alike.

Of a small network a decision costs as much time as a kernel. What a backend that says `by_kinds`
answers follows from the types, dtypes and devices of a call, so that it is asked once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad.kernels.choice import Choice
from spikegrad.kernels.obstacles import other_world
from spikegrad.kernels.registry import get, on_device
from spikegrad.surrogate import Surrogate

__all__ = ["Kind", "keep", "kept", "kind_of"]

Kind = tuple[Any, ...]
"""What a decision follows from."""

MOST = 256
_KEPT: dict[Kind, tuple[Choice, Any, Any]] = {}
"""By kind: the decision, the surrogate, which must live as long as its identity counts, and the
backends that were asked.
"""


def kind_of(x: Any, weight: Tensor | None, neuron: Any, surrogate: Any, *words: Any) -> Kind | None:
    """What a decision about a layer follows from, None where it must be made at every call.

    neuron: the name of a scan; of a step it is asked each time whether it has changed; words: what
    else tells calls apart.
    """
    if x is None or weight is None or not (neuron is None or isinstance(neuron, str)):
        return None
    if torch.compiler.is_compiling() or other_world() or torch.is_autocast_enabled("cpu"):
        return None
    content = None
    if surrogate is not None:
        if type(surrogate) is not Surrogate:
            return None
        content = surrogate.family.content  # a name may be given to another function
    shape = x.shape
    return (
        *words,
        neuron,
        id(surrogate),
        content,
        type(x),
        x.dtype,
        x.device,
        len(shape),
        0 in shape,
        weight.dtype,
        weight.device,
    )


def kept(kind: Kind, x: Any) -> Choice | None:
    """The decision about such a call, if it still holds."""
    found = _KEPT.get(kind)
    if found is None:
        return None
    choice, _, asked = found
    if asked is not on_device(x) or get(choice.backend).missing():
        return None
    return choice


def keep(kind: Kind, x: Any, surrogate: Any, choice: Choice) -> None:
    """Keep a decision, if all backends that may be asked answer by kinds."""
    asked = on_device(x)
    if all(each.by_kinds for each in (*asked, get(choice.backend))):
        if len(_KEPT) >= MOST:
            _KEPT.clear()
        _KEPT[kind] = choice, surrogate, asked
