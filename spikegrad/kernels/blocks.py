"""Layers that run together in one call of a backend, and why some cannot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from spikegrad.kernels.backend import Call
from spikegrad.kernels.choice import Choice, found
from spikegrad.kernels.registry import get
from spikegrad.ragged import Packed
from spikegrad.step import Step
from spikegrad.types import Edges

__all__ = [
    "choose_layer",
    "choose_normed",
    "choose_pool",
    "packed",
    "passes_on",
    "reads_delayed",
    "side_by_side",
    "stilled",
    "unpacked",
]


def choose_layer(
    x: Any,
    weight: Tensor | None,
    neuron: str | Step | None,
    surrogate: Any,
    backends: tuple[str, ...],
    *,
    feedback: bool = False,
    edges: Edges | None = None,
    feedback_edges: Edges | None = None,
    ahead: bool = False,
    ragged: bool = False,
) -> Choice | str:
    """What runs a connection and its neurons in one call, or why nothing does.

    x: the input, or what the layer before passes on; weight: None of neurons alone; neuron: a step,
    or a scan by its name; None: a connection alone; backends: those that the layers ask for;
    feedback: of what the neurons return; edges, feedback_edges: of connections with some synapses
    alone; ahead: x enters the layer before; ragged: x has the rows of sequences of different
    length. The function is a backend's `layer`, or its `linear` where there are no neurons.
    """
    asked = "auto"
    for word in backends:
        if word == "reference":
            return "the reference was chosen by name"
        if asked not in ("auto", word) and word != "auto":
            return f"its layers ask for two backends, {asked} and {word}"
        asked = asked if word == "auto" else word
    args = {
        "surrogate": surrogate,
        "weight": weight,
        "feedback": feedback,
        "edges": edges,
        "feedback_edges": feedback_edges,
        "ragged": ragged and neuron is not None,
    }
    entry = "linear" if neuron is None else "layer"
    return found(Call(entry, entry, x, neuron, args, {}, asked != "auto", ahead), asked)


def choose_pool(
    x: Tensor, kernel: tuple[int, int], neuron: str | Step, backend: str, args: dict[str, Any]
) -> Choice | str:
    """What runs neurons and a max-pool after them in one call, or why nothing does.

    x: what enters the neurons, or a tensor like it; kernel: of the pool; args: of the neurons.
    """
    if backend == "reference":
        return "the reference was chosen by name"
    given = {**args, "kernel": kernel}
    return found(Call("spike_pool", "spike_pool", x, neuron, given, {}, backend != "auto"), backend)


def choose_normed(
    x: Tensor, neuron: str | Step, backend: str, args: dict[str, Any]
) -> Choice | str:
    """What runs neurons that normalise their input as they read it, or why nothing does.

    x: what is normalised; args: of the neurons.
    """
    if backend == "reference":
        return "the reference was chosen by name"
    return found(Call("normed", "normed", x, neuron, args, {}, backend != "auto"), backend)


def packed(x: Tensor | Packed, backend: str) -> Any:
    """The zeros and ones of x, a tensor or sequences of different length, as a backend's `layer`
    reads them fastest; None for other values.
    """
    if not isinstance(x, Packed):
        return get(backend).packed(x)
    if x.events is not None:
        return get(backend).packed_events(x.events, x.packing.rows)
    source = x.source()
    if source is None:
        return get(backend).packed(x.rows)
    return get(backend).packed_rows(*source)


def passes_on(y: Any, backend: str) -> bool:
    """Whether an output is what a backend's layers pass on instead of numbers."""
    kind = get(backend).packs
    return kind is not None and isinstance(y, kind)


def reads_delayed(backend: str) -> bool:
    """Whether a backend's connections with delays read what its layers pass on."""
    return get(backend).delayed


def unpacked(given: Any, backend: str) -> Tensor:
    """The numbers `[T, B, N]` of what a backend's layer passed on."""
    return get(backend).unpacked(given)


def side_by_side(parts: Sequence[Any], backend: str) -> tuple[Any, list[int]] | None:
    """What several of a backend's layers passed on as one input, and the columns that each takes;
    None where it cannot be.
    """
    return get(backend).side_by_side(parts)


def stilled(x: Tensor, backend: str) -> Tensor:
    """x, for a backend's `layer`, as one step seen T times where all its steps are equal."""
    return get(backend).stilled(x)
