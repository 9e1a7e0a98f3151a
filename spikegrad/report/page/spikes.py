"""Rasters, readouts and membranes of the recorded samples."""

from __future__ import annotations

from typing import Any

from spikegrad.report.page.parts import Block, packed, packed_bits
from spikegrad.report.read import Layer, Samples
from spikegrad.report.recorded import Record

__all__ = ["membranes", "rasters"]

_BITS = 12_000_000  # of all rasters together: 1.5 MB, 2 MB as text
_VALUES = 250_000  # of an input that is no spike train, and of membranes


def rasters(record: Record) -> list[Block]:
    """The raster, its input and the readout, of as many samples as fit."""
    samples = record.run.samples
    if samples is None or not samples.count or not samples.layers:
        return []
    each = sum(layer.spikes.shape[0] * layer.spikes.shape[2] for layer in samples.layers)
    count = max(1, min(samples.count, _BITS // max(each, 1)))
    layers = [
        {"title": layer.name, "spikes": packed_bits(layer.spikes[:, :count])}
        for layer in samples.layers
    ]
    block: Block = {
        "kind": "raster",
        "id": "raster",
        "dt": samples.dt,
        "samples": headings(samples, count),
        "layers": layers,
        "classes": samples.class_names,
        **given(samples, count),
    }
    if samples.output is not None:
        block["output"] = packed(samples.output[:, :count])
    return [block]


def given(samples: Samples, count: int) -> dict[str, Any]:
    """The input: an image, a spike train, or values over time; nothing where it is too large."""
    if samples.image is not None:
        return {"image": packed(samples.image[:count])}
    if samples.input is None:
        return {}
    part = samples.input[:, :count]
    if ((part == 0) | (part == 1)).all():
        return {"input": packed_bits(part)}
    return {"input": packed(part)} if part.size <= _VALUES else {}


def membranes(record: Record) -> list[Block]:
    """Membranes of a few neurons of each layer."""
    samples = record.run.samples
    if samples is None or not samples.count:
        return []
    layers = [layer for layer in samples.layers if layer.membrane.shape[2]]
    if not layers:
        return []
    each = sum(layer.membrane.shape[0] * layer.membrane.shape[2] for layer in layers)
    count = max(1, min(samples.count, _VALUES // max(each, 1)))
    return [
        {
            "kind": "membrane",
            "id": "membrane",
            "dt": samples.dt,
            "samples": headings(samples, count),
            "layers": [membrane(layer, count) for layer in layers],
        }
    ]


def membrane(layer: Layer, count: int) -> dict[str, Any]:
    """One layer: membranes before and after the reset, thresholds, spikes of the same neurons."""
    found: dict[str, Any] = {
        "title": layer.name,
        "neurons": layer.neurons.tolist(),
        "threshold": [float(value) for value in layer.threshold],
        "membrane": packed(layer.membrane[:, :count]),
        "spikes": packed_bits(layer.spikes[:, :count][:, :, layer.neurons]),
    }
    if layer.after is not None:
        found["after"] = packed(layer.after[:, :count])
    return found


def headings(samples: Samples, count: int) -> list[dict[str, Any]]:
    """Of each sample what it is and what it was taken for."""
    if samples.labels is None or samples.predictions is None:
        nothing = {"true": None, "predicted": None}
        return with_steps([{"text": f"sample {i}", **nothing} for i in range(count)], samples)
    found = []
    for i in range(count):
        true, guess = int(samples.labels[i]), int(samples.predictions[i])
        name, other = samples.class_name(true), samples.class_name(guess)
        said = f"sample {i}: {name}"
        said += " (correct)" if true == guess else f" taken for {other}"
        found.append({"text": said, "true": true, "predicted": guess})
    return with_steps(found, samples)


def with_steps(found: list[dict[str, Any]], samples: Samples) -> list[dict[str, Any]]:
    """The same, with the number of steps where samples have different ones."""
    if samples.lengths is None:
        return found
    return [{**each, "steps": int(n)} for each, n in zip(found, samples.lengths, strict=False)]
