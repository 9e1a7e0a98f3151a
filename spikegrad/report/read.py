"""What a run folder holds for the pictures: read once, checked once, then trusted.

The contract is the table of `docs/design.md`, "train": `metrics.jsonl`, `result.json` and
`samples.npz`. Nothing here executes what it reads: `np.load(..., allow_pickle=False)`.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spikegrad.errors import UserError, message

__all__ = ["Curve", "Layer", "Run", "Samples", "layer_title", "read_run", "read_samples"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Curve:
    """A surrogate as drawn: values of its derivative and primitive at the points `x`."""

    name: str
    x: Array
    derivative: Array
    primitive: Array | None = None

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        for label in ("x", "derivative", "primitive"):
            values = getattr(self, label)
            if values is None:
                continue
            values = values.detach().cpu() if hasattr(values, "detach") else values
            values = np.asarray(values, dtype=float)
            if values.ndim != 1 or values.size < 2 or values.shape != np.shape(self.x):
                raise UserError(
                    message(
                        f"expected {label} of the curve {self.name!r} as one row, as long as x",
                        f"{list(values.shape)} beside x {list(np.shape(self.x))}",
                        "give at least two points of each",
                    )
                )
            object.__setattr__(self, label, values)


@dataclass(frozen=True)
class Layer:
    """One spiking layer, recorded.

    `spikes [T, n, N]`; of the neurons `neurons [m]` the `membrane [T, n, m]` before a reset, what
    is left `after [T, n, m]`, and the `threshold [m]`.
    """

    name: str
    spikes: Array
    membrane: Array
    threshold: Array
    neurons: Array
    after: Array | None = None


@dataclass(frozen=True)
class Samples:
    """What the network did on `n` samples, and its confusion matrix on the whole test part.

    labels, predictions and confusion are None where a run has no classes; lengths `[n]`: the steps
    of every sample, None for T each: what stands behind them is padding.
    """

    count: int
    labels: Array | None
    predictions: Array | None
    confusion: Array | None
    class_names: list[str]
    layers: list[Layer]
    output: Array | None
    input: Array | None
    image: Array | None
    curve: Curve | None
    dt: float
    lengths: Array | None = None

    def steps(self, index: int, most: int) -> int:
        """How many of `most` steps a sample has."""
        return most if self.lengths is None else min(most, int(self.lengths[index]))

    def class_name(self, index: int) -> str:
        """The name of a class, or its number where there is no name."""
        return self.class_names[index] if 0 <= index < len(self.class_names) else str(index)


@dataclass(frozen=True)
class Run:
    """A run folder: its epochs, its result (empty while it trains), its samples if any."""

    folder: Path
    epochs: list[dict[str, Any]]
    result: dict[str, Any]
    samples: Samples | None


def read_run(folder: str | Path) -> Run:
    """Read the files of a run folder that pictures are made of.

    Args:
        folder: what `spikegrad train --out` wrote.

    Raises:
        UserError: the folder is no run folder, or a file in it cannot be read.

    >>> read_run("no/such/run")
    Traceback (most recent call last):
        ...
    spikegrad.errors.UserError: expected a run folder, got no/such/run, which does not exist; ...
    """
    path = Path(folder)
    remedy = "give the folder that `spikegrad train --out` wrote"
    if not path.is_dir():
        why = "is a file" if path.exists() else "does not exist"
        raise UserError(message("expected a run folder", f"{path}, which {why}", remedy))
    if not any((path / name).is_file() for name in ("config.toml", "metrics.jsonl")):
        got = f"{path}, which has neither config.toml nor metrics.jsonl"
        raise UserError(message("expected a run folder", got, remedy))
    samples = path / "samples.npz"
    return Run(
        folder=path,
        epochs=_read_lines(path / "metrics.jsonl"),
        result=_read_object(path / "result.json"),
        samples=read_samples(samples) if samples.is_file() else None,
    )


def read_samples(path: str | Path) -> Samples:
    """Read and check a `samples.npz`.

    Raises:
        UserError: the file is damaged, holds pickled objects, or lacks or misshapes an array.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (OSError, EOFError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(
            message(f"expected arrays in {path}", f"an unreadable file ({error})", _AGAIN)
        ) from error
    return _Checked(Path(path), arrays).samples()


def layer_title(name: str) -> str:
    """A layer by its name where nobody gave it a title; a place in a `Sequential` needs a noun.

    >>> layer_title("1"), layer_title("hidden.lif")
    ('layer 1', 'hidden.lif')
    """
    return f"layer {name}" if name.isdigit() else name


_AGAIN = "run `spikegrad eval RUN --pictures` to write it again"


class _Checked:
    """The arrays of one `samples.npz`, taken out one by one with their shapes checked."""

    def __init__(self, path: Path, arrays: dict[str, Array]) -> None:
        self.path, self.arrays = path, arrays

    def take(self, key: str, *shape: int | None) -> Array:
        """The array `key`, which must have this shape; None stands for any length."""
        if key not in self.arrays:
            expected, got = f"expected {key!r} in {self.path}", f"only {sorted(self.arrays)}"
            raise UserError(message(expected, got, _AGAIN))
        array = self.arrays[key]
        fits = array.ndim == len(shape) and all(
            want is None or want == have for want, have in zip(shape, array.shape, strict=True)
        )
        if not fits:
            wanted = ", ".join("any" if want is None else str(want) for want in shape)
            expected = f"expected {key!r} of shape [{wanted}] in {self.path}"
            raise UserError(message(expected, str(list(array.shape)), _AGAIN))
        return array

    def samples(self) -> Samples:
        has = self.arrays.__contains__
        classes = has("labels") or has("confusion")
        count = self.take("labels", None).size if classes else self.count()
        names = [str(name) for name in self.take("class_names", None)] if classes else []
        outputs = len(names) if classes else None
        layers = [str(name) for name in self.take("layers", None)]
        titles = self.take("titles", len(layers)) if has("titles") else map(layer_title, layers)
        return Samples(
            count=count,
            labels=self.take("labels", count) if classes else None,
            predictions=self.take("predictions", count) if classes else None,
            confusion=self.take("confusion", len(names), len(names)) if classes else None,
            class_names=names,
            layers=[self.layer(i, str(name), count) for i, name in enumerate(titles)],
            output=self.take("output", None, count, outputs) if has("output") else None,
            input=self.take("input", None, count, None) if has("input") else None,
            image=self.take("image", count, None, None) if has("image") else None,
            curve=self.curve() if has("surrogate_x") else None,
            dt=float(self.take("dt")) if has("dt") else 1.0,
            lengths=self.take("lengths", count) if has("lengths") else None,
        )

    def count(self) -> int:
        """The number of samples, where no label says it."""
        return int(self.take("output", None, None, None).shape[1])

    def layer(self, index: int, name: str, count: int) -> Layer:
        spikes = self.take(f"spikes_{index}", None, count, None)
        membrane = self.take(f"membrane_{index}", spikes.shape[0], count, None)
        width = membrane.shape[2]
        neurons = np.arange(width)
        if f"neurons_{index}" in self.arrays:
            neurons = self.take(f"neurons_{index}", width).astype(np.int64)
        if spikes.shape[2] and neurons.size and not 0 <= neurons.max() < spikes.shape[2]:
            expected = f"expected neurons of {name} below {spikes.shape[2]} in {self.path}"
            raise UserError(message(expected, str(int(neurons.max())), _AGAIN))
        after, key = None, f"after_{index}"
        if key in self.arrays:
            after = self.take(key, *membrane.shape)
        theta = self.take(f"threshold_{index}", width)
        return Layer(name, spikes, membrane, theta, neurons, after)

    def curve(self) -> Curve:
        x = self.take("surrogate_x", None)
        primitive = None
        if "surrogate_primitive" in self.arrays:
            primitive = self.take("surrogate_primitive", x.size)
        name = str(self.arrays.get("surrogate_name", "surrogate"))
        return Curve(name, x, self.take("surrogate_derivative", x.size), primitive)


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """The epochs of a `metrics.jsonl`; a last line cut short by a kill is no epoch yet."""
    if not path.is_file():
        return []
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    epochs: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines):
                break
            expected = f"expected JSON on line {number} of {path}"
            raise UserError(message(expected, repr(line[:60]))) from error
        if not isinstance(entry, dict) or "epoch" not in entry:
            expected = f"expected an object with 'epoch' on line {number} of {path}"
            raise UserError(message(expected, repr(line[:60])))
        epochs.append(entry)
    return epochs


def _read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty when there is no such file."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(message(f"expected JSON in {path}", str(error), _AGAIN)) from error
    if not isinstance(value, dict):
        raise UserError(message(f"expected an object in {path}", type(value).__name__, _AGAIN))
    return value
