"""The user's own arrays, from an `.npz` file, checked before anything is done with them."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from spikegrad.data.dataset import Dataset, Split, usual_scale
from spikegrad.errors import UserError, message

__all__ = ["load_npz"]

_REMEDY = "store x_train, y_train and perhaps x_test, y_test; or x, y"


def load_npz(
    path: str | os.PathLike[str], *, sequence: bool | None = None, scale: float | None = None
) -> Dataset:
    """Load a data set from an `.npz` file; nothing in it is ever executed (no pickles).

    The file holds `x_train`, `y_train` and perhaps `x_test`, `y_test`; or `x`, `y` (then there is
    no test part). It may hold `sequence` (true or false), `scale` (a number) and `class_names`
    (C strings); arguments override the first two. Of padded sequences it may hold
    `lengths_train` and `lengths_test`, or `lengths`: the steps of every sample, integers `[N]`.

    Args:
        path: the file. x: numbers, `[N, *features]`, or `[N, T, *features]` for a sequence; uint8
            and bool stay bytes, all else becomes float32. y: integers from 0, `[N]`; each of
            0..C-1 occurs in the training part.
        sequence: whether the first feature axis is time; None for what the file says, else False.
        scale: what values are divided by; None for what the file says, else 255 for bytes that go
            above 1 and 1 for all others.

    Returns:
        a data set named after the file.

    Raises:
        UserError: a file that is no such file, or content that breaks a rule above.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "mine.npz"
    >>> np.savez(path, x=np.zeros((4, 3)), y=[0, 1, 0, 1])
    >>> data = load_npz(path)
    >>> data.name, data.classes, data.features, data.test
    ('mine', 2, (3,), None)
    """
    path = Path(path)
    arrays = _read(path)
    names = _choose(path, arrays)
    steps = _flag(path, arrays) if sequence is None else bool(sequence)
    parts = [(_samples(path, x, arrays[x], steps), _labels(path, y, arrays[y])) for x, y in names]
    _agree(path, names, parts)
    classes = _classes(path, names, parts)
    divisor = _scale(path, arrays, parts[0][0]) if scale is None else float(scale)
    lengths = [_lengths(path, y_name, arrays, steps) for _, y_name in names]
    if len({own is None for own in lengths}) > 1:
        expected = f"expected lengths of both parts, or of none, in {path}"
        raise UserError(message(expected, "lengths of one part"))
    splits = [
        Split(torch.from_numpy(x), torch.from_numpy(y), divisor, own)
        for (x, y), own in zip(parts, lengths, strict=True)
    ]
    return Dataset(
        name=path.stem,
        train=splits[0],
        test=splits[1] if len(splits) > 1 else None,
        classes=classes,
        class_names=_class_names(path, arrays, classes),
        sequence=steps,
        source=str(path),
        licence="your own",
    )


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise UserError(message("expected an .npz file", f"{path}: no such file"))
    if not zipfile.is_zipfile(path):
        got = f"{path}, which is another kind of file or truncated"
        raise UserError(message("expected an .npz file", got, "write it with numpy.savez"))
    arrays = {}
    name = ""
    try:
        with np.load(path, allow_pickle=False) as file:
            for name in file.files:
                arrays[name] = np.asarray(file[name])
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        got = f"{path}: {name or 'the list of arrays'} cannot be read ({error})"
        remedy = "write it with numpy.savez; arrays of objects are not accepted"
        raise UserError(message("expected an .npz file of plain arrays", got, remedy)) from None
    return arrays


def _choose(path: Path, arrays: Mapping[str, np.ndarray]) -> list[tuple[str, str]]:
    """Which arrays are the parts: [(x, y)] for train and perhaps test."""
    found = ", ".join(f"{name} {list(a.shape)}" for name, a in arrays.items()) or "no arrays"
    split = [name in arrays for name in ("x_train", "y_train", "x_test", "y_test")]
    plain = [name in arrays for name in ("x", "y")]
    if all(split) and not any(plain):
        return [("x_train", "y_train"), ("x_test", "y_test")]
    if split == [True, True, False, False] and not any(plain):
        return [("x_train", "y_train")]
    if all(plain) and not any(split):
        return [("x", "y")]
    expected = "expected arrays x_train, y_train[, x_test, y_test], or x, y"
    raise UserError(message(expected, f"{found} in {path}", _REMEDY))


def _samples(path: Path, name: str, x: np.ndarray, sequence: bool) -> np.ndarray:
    """Check x and make it uint8 or float32."""
    shape = "[N, T, *features]" if sequence else "[N, *features]"
    rank = 3 if sequence else 2
    if x.ndim < rank or 0 in x.shape:
        expected = f"expected {name} of shape {shape}, each size above 0"
        remedy = "a sequence with one value per step is [N, T, 1]" if sequence else ""
        raise UserError(message(expected, f"{list(x.shape)} in {path}", remedy))
    if x.dtype.kind not in "buif":
        raise UserError(message(f"expected {name} of real numbers", f"{x.dtype} in {path}"))
    if x.dtype in (np.uint8, np.bool_):
        return np.ascontiguousarray(x, dtype=np.uint8)
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(x, dtype=np.float32)
    bad = ~np.isfinite(values)
    if bad.any():
        where = [int(i) for i in np.argwhere(bad)[0]]
        got = f"{x[tuple(where)]} at {where} ({int(bad.sum())} in all) in {path}"
        remedy = "remove or replace these values"
        raise UserError(message(f"expected finite values of float32 in {name}", got, remedy))
    return values


def _labels(path: Path, name: str, y: np.ndarray) -> np.ndarray:
    if y.ndim != 1:
        got = f"{list(y.shape)} in {path}"
        raise UserError(message(f"expected {name} of shape [N]", got, "give class indices"))
    if y.dtype.kind not in "bui":
        got = f"{y.dtype} in {path}"
        raise UserError(message(f"expected {name} of integers", got, "give class indices from 0"))
    return y.astype(np.int64)


def _lengths(
    path: Path, y_name: str, arrays: Mapping[str, np.ndarray], sequence: bool
) -> torch.Tensor | None:
    """The steps of the samples of one part, if the file says them; `Split` checks their range."""
    name = "lengths" + y_name[1:]
    if name not in arrays:
        return None
    lengths = arrays[name]
    if not sequence:
        expected = f"expected sequences with {name} in {path}"
        raise UserError(message(expected, "static samples", "give sequence=True (--sequence)"))
    if lengths.ndim != 1 or lengths.dtype.kind not in "ui":
        got = f"{lengths.dtype} {list(lengths.shape)} in {path}"
        raise UserError(message(f"expected {name} as integers [N]", got))
    return torch.from_numpy(lengths.astype(np.int64))


def _agree(
    path: Path, names: list[tuple[str, str]], parts: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    for (x_name, y_name), (x, y) in zip(names, parts, strict=True):
        if len(x) != len(y):
            got = f"{x_name} with {len(x)} and {y_name} with {len(y)} in {path}"
            raise UserError(message("expected as many labels as samples", got))
    first, last = parts[0][0], parts[-1][0]
    if first.shape[1:] != last.shape[1:] or first.dtype != last.dtype:
        got = f"{list(first.shape)} {first.dtype} and {list(last.shape)} {last.dtype} in {path}"
        expected = "expected x_train and x_test with the same features and dtype"
        raise UserError(message(expected, got))


def _classes(
    path: Path, names: list[tuple[str, str]], parts: list[tuple[np.ndarray, np.ndarray]]
) -> int:
    """C; the labels of the training part must be exactly 0..C-1, those of the test part below C."""
    name, y = names[0][1], parts[0][1]
    present = np.unique(y)
    if len(present) < 2 or present[0] != 0 or present[-1] != len(present) - 1:
        shown = ", ".join(map(str, present[:12])) + (", ..." if len(present) > 12 else "")
        got = f"the labels {shown} in {path}"
        remedy = "number the classes from 0 without gaps; at least two are needed"
        raise UserError(message(f"expected every label of 0..C-1 in {name}", got, remedy))
    classes = len(present)
    for (_, other), (_, labels) in zip(names, parts, strict=True):
        if labels.min() < 0 or labels.max() >= classes:
            got = f"{labels.min()}..{labels.max()} in {path}"
            remedy = "a class of the test part must occur in the training part"
            raise UserError(message(f"expected labels 0..{classes - 1} in {other}", got, remedy))
    return classes


def _flag(path: Path, arrays: Mapping[str, np.ndarray]) -> bool:
    if "sequence" not in arrays:
        return False
    flag = arrays["sequence"]
    if flag.size != 1 or flag.dtype.kind not in "bui":
        got = f"{flag.dtype} {list(flag.shape)} in {path}"
        raise UserError(message("expected sequence as one true or false value", got))
    return bool(flag.item())


def _scale(path: Path, arrays: Mapping[str, np.ndarray], x: np.ndarray) -> float:
    if "scale" not in arrays:
        return usual_scale(torch.from_numpy(x))
    scale = arrays["scale"]
    if scale.size != 1 or scale.dtype.kind not in "uif":
        got = f"{scale.dtype} {list(scale.shape)} in {path}"
        raise UserError(message("expected scale as one number", got))
    return float(scale.item())


def _class_names(path: Path, arrays: Mapping[str, np.ndarray], classes: int) -> tuple[str, ...]:
    if "class_names" not in arrays:
        return tuple(str(c) for c in range(classes))
    names = arrays["class_names"]
    if names.dtype.kind != "U" or names.shape != (classes,):
        got = f"{names.dtype} {list(names.shape)} in {path}"
        raise UserError(message(f"expected class_names as {classes} strings", got))
    return tuple(names.tolist())
