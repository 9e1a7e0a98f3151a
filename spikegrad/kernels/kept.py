"""Decisions about layers that were made before, for calls that are alike.

Of a small network a decision costs as much time as a kernel. What a backend that says `by_kinds`
answers follows from what `kind_of` lists, so that it is asked once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad.kernels.choice import BY_NAME, Choice
from spikegrad.kernels.obstacles import other_world
from spikegrad.kernels.registry import get, on_device, packed_types
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

    neuron: the name of a scan; decisions about steps are not kept, since a step may have changed;
    words: what else tells calls apart.
    """
    if weight is None or not (neuron is None or isinstance(neuron, str)):
        return None
    kinds: tuple[type[Any], ...] = (Tensor, *packed_types())
    if not isinstance(x, kinds):  # the reference names the error
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
    """Keep a decision, if the backend that was asked first took the call, and answers by kinds."""
    asked, made = on_device(x), get(choice.backend)
    by_name = choice.reason == BY_NAME
    if made.by_kinds and (by_name or asked[0] is made):
        if len(_KEPT) >= MOST:
            _KEPT.clear()
        _KEPT[kind] = choice, surrogate, asked
