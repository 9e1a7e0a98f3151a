"""`spikegrad compare --study NAME`: a study that comes with the package, run again."""

from __future__ import annotations

import json
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from spikegrad.errors import RunError

if TYPE_CHECKING:
    from spikegrad.compare import Comparison
    from spikegrad.compare.studies import Study

__all__ = ["run_study"]

_PICTURE = "study.png"


def run_study(
    name: str, options: dict[str, Any], workers: int | None, *, as_json: bool, quiet: bool
) -> None:
    """Run every part of a study, or go on with it, then draw its picture.

    options: fields of the config instead of those of the study; `out` is its folder, which has a
    comparison for each data set.
    """
    from spikegrad.compare.studies import study
    from spikegrad.report import save, slopes

    wanted = study(name)
    out = Path(options.pop("out", "") or f"runs/{name}-{time.strftime('%Y%m%d-%H%M%S')}")
    found = [
        _part(plan, out / part, workers, stderr=as_json, quiet=quiet)
        for part, plan in wanted.plans(options).items()
    ]
    data = [each.data() for each in found]
    picture = None
    if any(each.values(i, each.metric) for each in found for i in range(len(each.plan.variants))):
        picture = save(slopes(data), out / _PICTURE)
    if as_json:
        text = {part: _contrasts(each) for part, each in zip(wanted.own, found, strict=True)}
        click.echo(json.dumps({"study": name, "contrasts": text, "comparisons": data}, indent=2))
    elif not quiet:
        _show(wanted, found, picture)
    failed = sum(len(each.failures()) for each in found)
    if failed:
        raise RunError(f"{failed} runs failed; the same command with --out {out} tries them again")


def _part(plan: Any, folder: Path, workers: int | None, *, stderr: bool, quiet: bool) -> Comparison:
    """One comparison, which goes on where its folder is there."""
    from spikegrad.compare.folder import ComparisonFolder
    from spikegrad.compare.live import live
    from spikegrad.compare.run import begun, resumed, run_plan

    made = (resumed if ComparisonFolder.is_one(folder) else begun)(folder, plan)
    plan = made.plan()
    nothing: AbstractContextManager[Any] = nullcontext(lambda found: None)
    with nothing if quiet else live(plan, folder, stderr=stderr) as seen:
        return run_plan(plan, made, workers=workers, seen=seen)


def _contrasts(found: Comparison) -> list[dict[str, Any]]:
    from spikegrad.compare.studies import contrasts

    return [asdict(each) for each in contrasts(found)]


def _show(wanted: Study, found: list[Comparison], picture: Path | None) -> None:
    """What shape, width and height do alone."""
    from spikegrad.train.terminal import Screen, plain_table

    screen = Screen()
    screen.say(f"{wanted.question} ({wanted.source})", style="bold")
    table = plain_table("data set", "differ in", "with", "largest difference", "pairs", "shown")
    for part in found:
        for row in _contrasts(part):
            table.add_row(
                part.plan.dataset, row["what"], row["where"], f"{row['largest']:.4f}",
                str(row["pairs"]), str(row["shown"]),
            )  # fmt: skip
    screen.print(table)
    screen.print(
        "pairs of variants that differ in this alone: the largest difference of their means, and "
        "of how many the paired test over the seeds shows one (Holm's correction for all pairs of "
        "the data set)",
        style="dim",
    )
    if picture is not None:
        screen.say(f"picture: {picture}")
