"""A surrogate as an operator's arguments, and why a kernel's gradient has none of its own.

What a gradient depends on is an argument, never something that Python knows besides: torch finds a
compiled gradient by the arguments, also one that another process compiled.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from spikegrad.errors import message
from spikegrad.kernels.cpu.library import FAMILIES
from spikegrad.surrogate import Surrogate
from spikegrad.surrogate.family import Family

__all__ = ["Shape", "amplitude_of", "evaluated", "own_function", "refuse", "shape_of"]

# A user's own by the content of their functions: those that are registered, or that a gradient
# still needs.
_OWN: WeakValueDictionary[int, Family] = WeakValueDictionary()


class Shape(NamedTuple):
    """A surrogate without its slope.

    family: its place in FAMILIES, -1 for a user's own; own: the content of that one's function,
    else 0; a, b: shape parameters; gain; peak: of unit slope in peak normalisation, else 0.
    """

    family: int
    own: int
    a: float
    b: float
    gain: float
    peak: float


def shape_of(record: Surrogate) -> Shape:
    """The arguments that stand for a record.

    >>> from spikegrad.surrogate import q_pseudospike
    >>> shape_of(q_pseudospike(2.0, q=3.0, gain=1.5))
    Shape(family=9, own=0, a=3.0, b=0.0, gain=1.5, peak=0.0)
    """
    # A user may give a name again, so a trace looks at the function behind it.
    return constant(record, None if record.name in FAMILIES else record.family)


@torch.compiler.assume_constant_result
def constant(record: Surrogate, own_family: Family | None) -> Shape:
    """`shape_of` once the family of a user's own is found."""
    return built_in(record) if own_family is None else own(record, own_family)


@lru_cache(maxsize=256)
def built_in(record: Surrogate) -> Shape:
    """`shape_of` a member of FAMILIES."""
    a, b, *_ = [value for _, value in record.parameters] + [0.0, 0.0]
    peak = peak_of(record, record.family)
    return Shape(FAMILIES.index(record.name), 0, a, b, record.gain, peak)


def own(record: Surrogate, family: Family) -> Shape:
    """`shape_of` a user's own, which `own_function` then finds."""
    _OWN[family.content] = family
    return Shape(-1, family.content, 0.0, 0.0, record.gain, peak_of(record, family))


def peak_of(record: Surrogate, family: Family) -> float:
    """What the amplitude is divided by, 0 where it is multiplied by the slope."""
    return 0.0 if record.normalisation == "area" else family.peak(**dict(record.parameters))


def amplitude_of(slope: Tensor, gain: float, peak: float) -> Tensor:
    """What the derivative of unit slope is multiplied by, `[1 or N]`."""
    return torch.full_like(slope, gain / peak) if peak else slope * gain


def own_function(content: int) -> Family | None:
    """The user's own surrogate of that content, None where this process has none."""
    return _OWN.get(content)


def evaluated(family: Family | None, distance: Tensor, slope: Tensor, amplitude: Tensor) -> Tensor:
    """A user's own derivative at distances to the threshold; torch evaluates it."""
    if family is None:
        raise RuntimeError(
            message(
                "expected a surrogate that this process has registered",
                "a graph made with another one, or with another version of its function",
                "register it, then call the network once without the saved graph",
            )
        )
    return (amplitude * family.derivative(distance * slope)).to(distance.dtype).contiguous()


def refuse(ctx: Any, *grads: Tensor) -> None:
    """A kernel's gradient has no gradient: a silent zero would be wrong."""
    raise RuntimeError(
        "expected one backward pass through a CPU kernel, got a second (create_graph=True); "
        "use backend='reference' on the layers, whose gradients can be differentiated again"
    )
