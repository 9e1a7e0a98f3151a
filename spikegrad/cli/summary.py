"""What `spikegrad train` says at the beginning and at the end."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikegrad.errors import RunError
from spikegrad.stages import per_stage
from spikegrad.train.terminal import Screen, plain_table

if TYPE_CHECKING:
    from torch import nn

    from spikegrad.train.config import Config, NetworkConfig
    from spikegrad.train.result import Result

__all__ = ["draw", "say_start", "summarise"]


def say_start(config: Config, network: nn.Module, folder: Path, *, resume: bool) -> None:
    """One line: what is trained, as it was built, and where it goes."""
    model = config.network.model
    sizes = _stages(config.network) if model in ("conv", "sew_resnet") else []
    if model != "sew_resnet":
        sizes += [str(size) for size in config.network.hidden]
    layer = next(layer for layer in network.modules() if hasattr(layer, "surrogate"))
    kind = f"{type(layer).__name__}, {layer.surrogate}"
    what = f"{config.data.dataset}: {model} {'-'.join(sizes)}, {kind}"
    verb = "continuing" if resume else "training"
    Screen().say(f"{verb} {what}; run folder {folder}")


def _stages(network: NetworkConfig) -> list[str]:
    """Every convolution, or block, by its channels."""
    many = per_stage("blocks", network.blocks, len(network.channels))
    pairs = zip(network.channels, many, strict=True)
    return [f"{channels}c" for channels, blocks in pairs for _ in range(blocks)]


def draw(folder: Path, *, again: bool = False) -> list[Path]:
    """Draw the pictures of a finished run, unless they are all there or it shall be done again.

    `pictures/index.json` is written last and lists them, so that a run that was killed while it
    drew draws them again.
    """
    from spikegrad.report import write_pictures
    from spikegrad.train.folder import RunFolder, not_written, write_atomic

    run = RunFolder(folder)
    index = run.pictures / "index.json"
    if run.pictured and not again:
        return [run.pictures / name for name in json.loads(index.read_text(encoding="utf-8"))]
    try:
        pictures = write_pictures(folder)
        run.pictures.mkdir(exist_ok=True)
    except OSError as error:
        raise RunError(not_written(run.pictures, error)) from None
    write_atomic(index, (json.dumps([p.name for p in pictures]) + "\n").encode())
    return pictures


def summarise(
    result: Result, folder: Path, pictures: list[Path], report: Path | None, *, quiet: bool
) -> None:
    """A short table: accuracies, rates, time, where pictures and report are."""
    console = Screen()
    if not result.new:
        console.say(f"{folder}: training had finished; no epoch was added")
    if quiet:
        return
    table = plain_table()
    for name, value in _rows(result.summary):
        table.add_row(name, value)
    console.print(table)
    run, curves = (shlex.quote(str(path)) for path in (folder, folder / "tensorboard"))
    if pictures:
        names = ", ".join(p.stem for p in pictures)
        console.say(f"pictures ({names}) in {folder / 'pictures'}")
    if report is not None:
        console.say(f"report:  {shlex.quote(str(report))}")
    if (folder / "tensorboard").is_dir():
        console.say(f"curves:  tensorboard --logdir {curves}")
    console.say(f"measure: spikegrad eval {run}{_measured(result.summary)}")


def _measured(summary: dict[str, Any]) -> str:
    """The option for the part that there is to measure: by default the test part."""
    if summary["test_accuracy"] is not None:
        return ""
    return " --split train" if summary["val_accuracy"] is None else " --split validation"


def _rows(summary: dict[str, Any]) -> list[tuple[str, str]]:
    rates = summary["firing_rates"]
    accuracies = [
        ("test accuracy", summary["test_accuracy"]),
        ("validation accuracy", summary["val_accuracy"]),
        ("best test accuracy", summary["best_test_accuracy"]),
    ]
    rows = [(name, f"{value:.4f}") for name, value in accuracies if value is not None]
    rows.append(("chosen epoch", f"{summary['best_epoch']} of {summary['epochs']}"))
    if rates:
        titles = summary.get("layers", {})
        shown = "\n".join(f"{rate:.3f}  {titles.get(name, name)}" for name, rate in rates.items())
        rows.append(("spikes per neuron and step", shown))
    each = f"{summary['seconds_per_epoch']:.2f} s per epoch"
    rows.append(("training time", f"{summary['train_seconds']:.1f} s ({each})"))
    rows.append(("parameters", f"{summary['parameters']:,}"))
    return rows
