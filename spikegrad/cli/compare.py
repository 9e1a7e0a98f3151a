"""`spikegrad compare`: variants with the same seeds side by side, or runs that are there."""

from __future__ import annotations

import json
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from spikegrad.cli import completion
from spikegrad.cli.train import field_options, panels
from spikegrad.errors import RunError, UserError, message
from spikegrad.train.sources import recipes

if TYPE_CHECKING:
    from spikegrad.compare import Comparison, Plan
    from spikegrad.compare.folder import ComparisonFolder

__all__ = ["compare"]

_FIRST = "What to compare"
_SEEDS = 5
_PLANNED = ("surrogates", "slopes", "vary", "seeds", "equal", "metric", "config")

_HELP = """Train variants on DATASET with the same seeds and the same budget, and rank them.

spikegrad compare digits --surrogates arctan,triangle,sigmoid --seeds 5

Or set runs side by side that are there: spikegrad compare RUN RUN ...; or show a comparison again:
spikegrad compare FOLDER.

Every setting of `spikegrad train` is an option, the same for all variants; --vary gives one of them
several values. Each variant is trained with each seed, in a run folder of its own. The ranking says
"no difference" where a paired t-test over the seeds, with Holm's correction, shows none.
Ctrl-C saves; --resume FOLDER goes on.
"""


def _compare(targets: tuple[str, ...], **given: Any) -> None:
    resume, workers = given.pop("resume"), given.pop("workers")
    as_json, quiet, dry_run = given.pop("as_json"), given.pop("quiet"), given.pop("dry_run")
    study = given.pop("study")
    planned = {name: given.pop(name) for name in _PLANNED}
    options = {name: value for name, value in given.items() if value is not None}
    asked = {**{n: v for n, v in planned.items() if v not in (None, ())}, **options}
    if study is not None:
        chosen = {name: value for name, value in asked.items() if name not in options}
        extra = [*targets, *(["--resume"] if resume else [])]
        if extra:
            remedy = "the study says what it compares; the same --out goes on"
            raise UserError(message("expected --study alone", f"{extra[0]} with it", remedy))
        _refuse(chosen, "the study says what it compares")
        from spikegrad.cli.study import run_study
        from spikegrad.compare.check import check_workers

        check_workers(workers, None)
        run_study(study, options, workers, as_json=as_json, quiet=quiet)
        return
    if resume is not None:
        _resume(Path(resume), targets, asked, workers, as_json=as_json, quiet=quiet)
        return
    if _folders(targets):
        _refuse(asked, "folders are compared as they are")
        from spikegrad.cli.beside import beside

        beside(targets, as_json=as_json)
        return
    if len(targets) > 1:
        expected = "expected one data set, or run folders"
        remedy = f"a folder that is not there: {next(t for t in targets if not Path(t).is_dir())}"
        raise UserError(message(expected, " ".join(targets), remedy))
    wanted = _planned(targets[0] if targets else None, planned, options)
    if dry_run:
        _show_plan(wanted, as_json=as_json)
        return
    from spikegrad.compare.check import check_workers
    from spikegrad.compare.run import begun

    check_workers(workers, None)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    out = Path(options.get("out") or f"runs/compare-{wanted.dataset}-{stamp}")
    folder = begun(out, wanted)
    _run(wanted, folder, workers, as_json=as_json, quiet=quiet)


def _folders(targets: tuple[str, ...]) -> bool:
    """Whether folders are meant: paths of some, or one that is the folder of a comparison."""
    if len(targets) == 1:
        path = Path(targets[0])
        known = ("config.toml", "comparison.json", "seeds.json")
        return path.is_dir() and ("/" in targets[0] or any((path / n).exists() for n in known))
    return len(targets) > 1 and all(Path(target).is_dir() for target in targets)


def _refuse(asked: dict[str, Any], why: str) -> None:
    if asked:
        name = next(iter(asked)).replace("_", "-")
        raise UserError(message("expected no settings here", f"--{name}", f"omit it: {why}"))


def _planned(dataset: str | None, planned: dict[str, Any], options: dict[str, Any]) -> Plan:
    from spikegrad.compare import plan
    from spikegrad.compare.vary import words_of

    words = dict(planned)
    for name in ("surrogates", "slopes"):
        words[name] = _parts(name, words[name])
    words["vary"] = words_of(words["vary"])
    words["seeds"] = _SEEDS if words["seeds"] is None else words["seeds"]
    words["metric"] = words["metric"] or "test_accuracy"
    shared = {name: value for name, value in options.items() if name != "out"}
    return plan(dataset, options=shared, **words)


def _parts(name: str, text: str | None) -> list[str] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if "" in parts:
        expected = f"expected a value between any two commas of --{name}"
        raise UserError(message(expected, repr(text), "remove the extra comma"))
    return parts


def _resume(
    folder: Path,
    targets: tuple[str, ...],
    asked: dict[str, Any],
    workers: int | None,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Go on with the comparison in a folder, with more seeds if wanted."""
    from spikegrad.compare.folder import ComparisonFolder
    from spikegrad.compare.run import resumed

    seeds = asked.pop("seeds", None)
    if targets:
        raise UserError(message("expected --resume alone", f"{targets[0]} with it", "omit it"))
    _refuse(asked, "the folder holds them; with --resume only --seeds and --workers may be given")
    wanted = ComparisonFolder(folder).plan()
    if seeds is not None:
        from dataclasses import replace

        first = wanted.seeds[0]
        wanted = replace(wanted, seeds=tuple(range(first, first + seeds)))
    held = resumed(folder, wanted)
    _run(held.plan(), held, workers, as_json=as_json, quiet=quiet)


def _run(
    wanted: Plan, folder: ComparisonFolder, workers: int | None, *, as_json: bool, quiet: bool
) -> None:
    if not quiet:
        from spikegrad.train.terminal import Screen

        Screen(stderr=True).say("loading torch")
    from spikegrad.cli.build import make_ready
    from spikegrad.compare.live import live
    from spikegrad.compare.run import run_plan

    make_ready(wanted.variants[0].config.network.backend)
    nothing: AbstractContextManager[Any] = nullcontext(lambda found: None)
    with nothing if quiet else live(wanted, folder.path, stderr=as_json) as seen:
        found = run_plan(wanted, folder, workers=workers, seen=seen)
    from spikegrad.report.page import write_report

    write_report(folder.path)
    _conclude(found, as_json=as_json, quiet=quiet)


def _conclude(found: Comparison, *, as_json: bool, quiet: bool) -> None:
    """JSON, or where the files are; an error where trials failed."""
    from spikegrad.train.terminal import Screen

    if as_json:
        click.echo(json.dumps(found.data(), indent=2))
    elif not quiet:
        Screen().say(f"results.json, trials.csv and report.html in {found.folder}")
    failed = found.failures()
    if failed:
        count = len(found.plan.variants) * len(found.plan.seeds)
        name, seed, why = failed[0]
        remedy = f"--resume {found.folder} tries them again"
        raise RunError(
            f"{len(failed)} of {count} runs failed ({remedy}): {name}, seed {seed}: {why}"
        )


def _show_plan(wanted: Plan, *, as_json: bool) -> None:
    """What would run."""
    from spikegrad.train.terminal import Screen, plain_table

    if as_json:
        click.echo(json.dumps(wanted.data(), indent=2))
        return
    screen = Screen()
    table = plain_table("variant", "surrogate", "slope", "epochs")
    for variant in wanted.variants:
        c = variant.config
        slope = "its own" if c.network.slope is None else f"{c.network.slope:g}"
        table.add_row(variant.name, c.network.surrogate, slope, str(c.training.epochs))
    screen.print(table)
    first, last = wanted.seeds[0], wanted.seeds[-1]
    count = len(wanted.variants) * len(wanted.seeds)
    screen.say(f"{wanted.dataset}: seeds {first} to {last}, {count} runs; nothing was run")


def _parameters() -> list[Any]:
    def option(*names: str, **more: Any) -> Any:
        return click.RichOption(list(names), panel=_FIRST, **more)

    listed = "/".join(["area", "peak", "fwhm"])
    return [
        click.Argument(
            ["targets"], nargs=-1, metavar="[DATASET]|RUN...", shell_complete=completion.dataset
        ),
        option("--surrogates", metavar="NAME,...", help="surrogates by name"),
        option(
            "--slopes", metavar="NUMBER,...", help="their slopes; with --equal those of the first"
        ),
        option(
            "--vary",
            multiple=True,
            metavar="FIELD=VALUE,...",
            help="another setting with several values (of a list with +: hidden=64,128+128); may "
            "be given several times, all combinations are compared",
        ),
        option("--seeds", type=int, metavar="N", help=f"seeds for each, from --seed on [{_SEEDS}]"),
        option(
            "--equal",
            metavar=listed,
            help="make the surrogates equal in area, peak or width, or two of them: area,fwhm",
        ),
        option("--metric", help="rank by test_accuracy, val_accuracy, test_loss or val_loss"),
        option(
            "--config",
            metavar="RECIPE|FILE",
            help=f"a shipped recipe ({', '.join(recipes())}) or a TOML file",
            shell_complete=completion.recipe,
        ),
        option(
            "--study",
            metavar="NAME",
            help="run a study that comes with the package: shape-against-scale; the same command "
            "with its --out goes on",
        ),
        option("--workers", type=int, metavar="N", help="runs at a time [one a core]"),
        option(
            "--resume",
            metavar="FOLDER",
            help="go on with the comparison in this folder; with --seeds also with more seeds",
            shell_complete=completion.folder,
        ),
        option("--dry-run", is_flag=True, help="show the variants and stop"),
        option("--quiet", is_flag=True, help="show nothing"),
        option("--json", "as_json", is_flag=True, help="print JSON: ranking, pairs, every run"),
        *field_options(),
    ]


compare = click.RichCommand(
    name="compare",
    callback=_compare,
    params=_parameters(),
    help=_HELP,
    panels=panels(_FIRST),
    context_settings={"help_option_names": ["-h", "--help"]},
)
