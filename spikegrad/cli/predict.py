"""`spikegrad predict RUN FILE`: classify samples from a file."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from spikegrad.cli import completion
from spikegrad.errors import UserError, message

if TYPE_CHECKING:
    import numpy as np

__all__ = ["predict"]

_SHOWN = 20


@click.command("predict", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run", shell_complete=completion.folder)
@click.argument("file", shell_complete=completion.file)
@click.option("--out", metavar="CSV", help="Write index, label, class and confidence to this file.")
@click.option("--device", default="auto", show_default=True, help="Device to run on.")
def predict(run: str, file: str, out: str | None, device: str) -> None:
    """Classify the samples in FILE with the network of the run folder RUN.

    FILE is .npy, .npz (array x, x_test or the only one), or IDX images (gzipped or not), with
    samples as in the data set that the network was trained on.
    """
    from spikegrad.train.terminal import Screen

    Screen().say(f"loading torch and {run}")
    import torch

    from spikegrad.train.app import predict_run

    x = torch.from_numpy(_samples(Path(file)))
    found, inputs = predict_run(run, x, device=device)
    confidence, labels = found.scores.softmax(1).max(1)
    rows = [
        (i, int(label), str(inputs.class_names[int(label)]), float(c))
        for i, (label, c) in enumerate(zip(labels, confidence, strict=True))
    ]
    if out:
        _write(Path(out), rows)
    _show(rows, out)


def _samples(path: Path) -> np.ndarray[Any, Any]:
    """The array in a file; nothing in it is executed."""
    import numpy as np

    from spikegrad.data import idx

    if not path.is_file():
        raise UserError(message("expected a file of samples", f"{path}, which does not exist"))
    try:
        if path.suffix == ".npy":
            array = _of_file(path)
        elif path.suffix == ".npz":
            array = _of_archive(path)
        else:
            array = idx.parse_images(idx.read_bytes(path), path)
    except UserError:
        raise
    except Exception as error:
        raise UserError(message("expected an array of numbers", f"{path}: {error}")) from None
    if array.ndim < 2 or array.dtype.kind not in "uifb" or not len(array):
        got = f"{array.dtype} {list(array.shape)}"
        raise UserError(message(f"expected samples [N, ...] of numbers in {path}", got))
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise UserError(message(f"expected finite values in {path}", "NaN or infinity"))
    return array


def _of_file(path: Path) -> np.ndarray[Any, Any]:
    import numpy as np

    with open(path, "rb") as file:
        if file.read(6) != b"\x93NUMPY":
            expected, remedy = "expected an array in an .npy file", "write it with numpy.save"
            raise UserError(
                message(expected, f"{path}, which is another kind of file or truncated", remedy)
            )
    return np.load(path, allow_pickle=False)


def _of_archive(path: Path) -> np.ndarray[Any, Any]:
    import zipfile

    import numpy as np

    if not zipfile.is_zipfile(path):
        expected, remedy = "expected arrays in an .npz file", "write it with numpy.savez"
        raise UserError(
            message(expected, f"{path}, which is another kind of file or truncated", remedy)
        )
    with np.load(path, allow_pickle=False) as archive:
        names = list(archive.files)
        for name in ("x", "x_test", *(names if len(names) == 1 else ())):
            if name in names:
                return archive[name]
    raise UserError(message(f"expected an array x or x_test in {path}", ", ".join(names) or "none"))


def _write(path: Path, rows: list[tuple[int, int, str, float]]) -> None:
    try:
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["index", "label", "class", "confidence"])
            writer.writerows((i, label, name, f"{c:.6f}") for i, label, name, c in rows)
    except OSError as error:
        raise UserError(message("expected to write", f"{path}: {error.strerror}")) from None


def _show(rows: list[tuple[int, int, str, float]], out: str | None) -> None:
    from spikegrad.train.terminal import Screen, plain_table

    console = Screen()
    table = plain_table("sample", "class", "confidence")
    for i, _, name, c in rows[:_SHOWN]:
        table.add_row(str(i), name, f"{c:.4f}")
    console.print(table)
    if len(rows) > _SHOWN:
        where = f"all of them in {out}" if out else "--out FILE.csv writes all"
        console.say(f"{len(rows) - _SHOWN} more; {where}")
    elif out:
        console.say(f"written to {out}")
