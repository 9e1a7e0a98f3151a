"""What a user gives to be drawn: tensors, recordings, surrogates, as the arrays of `read`.

Tensors are known by what they can do, so that this room needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from spikegrad.errors import UserError, message
from spikegrad.report.read import Array, Curve, Layer, Samples

__all__ = ["array_of", "curve_of", "membranes_of", "spikes_of"]


def array_of(values: Any, what: str) -> Array:
    """A tensor, an array or lists of numbers as an array.

    Raises:
        TypeError: it is none.

    >>> array_of([[0, 1]], "spikes").shape
    (1, 2)
    """
    held = values
    if hasattr(held, "detach"):
        held = held.detach().cpu()
        # numpy has no bfloat16.
        held = (held.float() if "bfloat16" in str(held.dtype) else held).numpy()
    found = np.asarray(held)
    if found.dtype.kind not in "biuf":
        got = f"{type(values).__name__} of {found.dtype}"
        raise TypeError(message(f"expected {what} as a tensor or an array of numbers", got))
    return found


def over_time(values: Any, what: str) -> Array:
    """`[T, B, *features]`, or of one sample `[T, N]`, as `[T, B, N]`.

    Raises:
        UserError: another rank.
    """
    found = array_of(values, what)
    if found.ndim < 2:
        expected = f"expected {what} [T, B, *features], or [T, N] of one sample"
        raise UserError(message(expected, str(list(found.shape))))
    if found.ndim == 2:
        return found[:, None]
    return found.reshape(*found.shape[:2], -1)


def named(given: Any) -> dict[str, Any]:
    """Layers by name: what `record` yields, or one of them."""
    if isinstance(given, Mapping):
        return {str(name): value for name, value in given.items()}
    return {"": given}


def spikes_of(given: Any, dt: float) -> Samples:
    """Spikes, or recordings, as samples without membranes.

    given: spikes `[T, B, *features]`, a `Tape`, or a mapping of such by layer.
    """
    layers = []
    for name, value in named(given).items():
        spikes = over_time(getattr(value, "spikes", value), "spikes")
        nothing = np.zeros((*spikes.shape[:2], 0), np.float32)
        layers.append(Layer(name or "spikes", spikes, nothing, np.zeros(0), np.zeros(0, np.int64)))
    return samples(layers, dt, lengths_of(given))


def membranes_of(given: Any, dt: float) -> Samples:
    """Recordings of spiking layers as samples with all their membranes.

    given: a `Tape` of `record(network)`, or a mapping of them by layer; layers that never spike,
    and so have no threshold, are left out.
    Raises:
        TypeError: something else. UserError: no spiking layer.
    """
    layers = []
    for name, tape in named(given).items():
        if not all(hasattr(tape, part) for part in ("membrane", "distance", "spikes")):
            expected = "expected a tape of `record(network)`, or all of them by layer"
            raise TypeError(message(expected, type(tape).__name__))
        if tape.distance is None:
            continue
        membrane = over_time(tape.membrane, "membranes")
        theta = (membrane - over_time(tape.distance, "distances"))[0, 0]
        spikes, neurons = over_time(tape.spikes, "spikes"), np.arange(membrane.shape[2])
        layers.append(Layer(name or "membrane", spikes, membrane, theta, neurons))
    if not layers:
        raise UserError(message("expected the tape of a spiking layer", "none that spikes"))
    return samples(layers, dt, lengths_of(given))


def lengths_of(given: Any) -> Array | None:
    """The steps of every sample, where a recording knows them."""
    found = (getattr(value, "lengths", None) for value in named(given).values())
    lengths = next((each for each in found if each is not None), None)
    return None if lengths is None else array_of(lengths, "lengths")


def samples(layers: list[Layer], dt: float, lengths: Array | None = None) -> Samples:
    """Layers alone, of the same samples.

    Raises:
        UserError: no layer, or layers of different lengths or batches.
    """
    if not layers:
        raise UserError(message("expected at least one layer", "none"))
    shapes = {layer.spikes.shape[:2] for layer in layers}
    if len(shapes) > 1:
        got = " and ".join(str(list(shape)) for shape in sorted(shapes))
        raise UserError(message("expected layers of the same T and B", got))
    count = layers[0].spikes.shape[1]
    nothing: Any = None
    return Samples(
        count=count,
        labels=nothing,
        predictions=nothing,
        confusion=nothing,
        class_names=[],
        layers=layers,
        output=nothing,
        input=nothing,
        image=nothing,
        curve=nothing,
        dt=dt,
        lengths=lengths,
    )


def curve_of(given: Any) -> Curve:
    """A curve, or a surrogate as a curve at its slope.

    Raises:
        TypeError: neither.
    """
    if isinstance(given, Curve):
        return given
    if not callable(getattr(given, "curve", None)):
        expected = "expected a surrogate or a Curve"
        remedy = "for example spikegrad.surrogate.arctan(2.0)"
        raise TypeError(message(expected, type(given).__name__, remedy))
    x, derivative, primitive = given.curve()
    shown = None if primitive is None else array_of(primitive, "primitive")
    return Curve(str(given), array_of(x, "x"), array_of(derivative, "derivative"), shown)
