"""`spikegrad train`: every field of the config is an option."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import rich_click as click

from spikegrad.cli import completion, seeds
from spikegrad.errors import UserError, message
from spikegrad.train.config import GROUPS, OPTIONS
from spikegrad.train.fields import Option
from spikegrad.train.sources import recipes
from spikegrad.train.terminal import Screen

__all__ = ["field_options", "panels", "train"]

_TITLES = {"data": "Data", "network": "Network", "training": "Training", "run": "Run"}
_FIRST = "Which run"
_ARGUMENT = "dataset"


def _option(option: Option) -> Any:
    """A field of the config as an option; None when it is not given."""
    text = option.help
    if option.choices:
        text += f": {', '.join(option.choices)}"
    flags = [option.flag]
    if option.item is bool:
        flags = [f"{option.flag}/--no-{option.name.replace('_', '-')}"]
    default = _shown(option)
    return click.RichOption(
        [option.name, *flags],
        default=None,
        type=bool if option.item is bool else str,
        help=text + (f" [{default}]" if default else ""),
        metavar="" if option.item is bool else _metavar(option),
        shell_complete=_completion(option),
        panel=_TITLES[option.group],
    )


def _completion(option: Option) -> Any:
    """What a shell offers for a value: its choices, or files and folders where it is a path."""
    paths = {"data": completion.file, "folder": completion.folder, "out": completion.folder}
    return paths.get(option.name, completion.one_of(option.choices))


def _metavar(option: Option) -> str:
    name = {str: "TEXT", int: "INT", float: "NUMBER"}[option.item]
    return f"{name},..." if option.listed else name


def _shown(option: Option) -> str:
    value = option.default
    if value is None or value == "" or value == ():
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


_HELP = """Train a spiking network on DATASET (digits by default; spikegrad data lists them).

Every setting is an option. A value is taken from the command line, else from the file given with
--config, else from the defaults of the data set, else from the defaults shown here.

A run is a folder with config, metrics, result, weights, checkpoint, pictures and a report, one HTML
page to be opened in a browser. Ctrl-C saves the run and stops it; --resume RUN continues it,
--resume RUN --epochs N with more epochs.
"""


@dataclass(frozen=True)
class Shown:
    """What a person wants to see of a run: its progress, pictures and the report at the end."""

    quiet: bool
    pictures: bool
    report: bool

    def say(self, text: str) -> None:
        """Say what happens next, at once."""
        if not self.quiet:
            Screen().say(text)


def _train(**given: Any) -> int | None:
    resume, config, dry_run = given.pop("resume"), given.pop("config"), given.pop("dry_run")
    shown = Shown(**{name: given.pop(name) for name in ("quiet", "pictures", "report")})
    count = given.pop("seeds")
    options = {name: value for name, value in given.items() if value is not None}
    if resume and dry_run:
        expected = "expected either --resume or --dry-run"
        raise UserError(message(expected, "both", "omit one of them"))
    if resume:
        if count is not None:
            expected, remedy = "expected --resume alone", "the folder stores its seeds"
            raise UserError(message(expected, "--seeds with it", remedy))
        return _resume(Path(resume), config, options, shown)
    from spikegrad.train.sources import resolve

    settled = resolve(options, config=config)
    if dry_run:
        from spikegrad.cli.plan import show_plan

        show_plan(settled)
        return None
    stamp = time.strftime("%Y%m%d-%H%M%S")
    out = settled.run.out or f"runs/{settled.data.dataset}-{stamp}"
    if count is not None:
        from spikegrad.train.launcher import launched

        if launched():
            expected, remedy = "expected one run under torchrun", "start each with its --seed"
            raise UserError(message(expected, "--seeds", remedy))
        seeds.begin(settled, count, Path(out))
        _all_seeds(Path(out), shown)
        return None
    return _run(settled, Path(out), shown, resume=False)


def _all_seeds(folder: Path, shown: Shown) -> None:
    def one(config: Any, place: Path, resume: bool) -> None:
        _run(config, place, shown, resume=resume)

    seeds.train_all(folder, one, quiet=shown.quiet)


def _resume(run: Path, config: str | None, options: dict[str, Any], shown: Shown) -> int | None:
    """Go on with a run; options may only change what its result does not depend on."""
    from spikegrad.train.app import stored_config
    from spikegrad.train.config import flatten, gather
    from spikegrad.train.fields import coerce
    from spikegrad.train.own import is_own
    from spikegrad.train.resuming import check_unchanged
    from spikegrad.train.sources import absolute

    several = (run / seeds.FILE).is_file()
    stored = seeds.held(run)[1] if several else stored_config(run)
    if is_own(stored):
        expected = "expected a run of `spikegrad train`"
        got = "a run of fit() with a network of your own"
        raise UserError(message(expected, got, "continue it with fit(..., out=RUN, resume=True)"))
    if config:
        expected = "expected --resume alone"
        raise UserError(message(expected, "--config with it", "the run has its config already"))
    wanted = absolute({name: coerce(OPTIONS[name], value) for name, value in options.items()})
    elsewhere = wanted.pop("out", None)
    if elsewhere and Path(elsewhere).resolve() != run.resolve():
        expected = f"expected --resume {run} alone, which continues in that folder"
        raise UserError(message(expected, f"--out {elsewhere}", "omit --out"))
    changed = gather({**flatten(stored), **wanted})
    check_unchanged(stored, changed)
    if several:
        seeds.go_on(run, changed)
        _all_seeds(run, shown)
        return None
    return _run(changed, run, shown, resume=True)


def _run(config: Any, folder: Path, shown: Shown, *, resume: bool) -> int | None:
    from spikegrad.cli.build import make_ready
    from spikegrad.cli.entry import came
    from spikegrad.cli.summary import say_start, summarise
    from spikegrad.train.folder import RunFolder
    from spikegrad.train.launcher import is_first, launched

    if not resume and not launched():
        RunFolder.check_new(folder)
    shown = replace(shown, quiet=shown.quiet or not is_first())
    shown.say(f"loading torch and the data of {config.data.dataset}")
    from spikegrad.train.app import train_run
    from spikegrad.train.memory import keep_freed_memory

    keep_freed_memory()

    def started(network: Any) -> None:
        if came():  # during an import that swallowed it
            raise KeyboardInterrupt
        if not shown.quiet:
            say_start(config, network, folder, resume=resume)
        if not RunFolder(folder).finished:
            make_ready(config.network.backend)

    try:
        result = train_run(config, folder, resume=resume, progress=not shown.quiet, started=started)
        pictures = _drawn(folder, shown) if shown.pictures else []
        report = _reported(folder, new=result.new) if shown.report else None
    except KeyboardInterrupt as stop:
        stop.folder = folder if (folder / "config.toml").is_file() else None  # type: ignore
        raise
    if is_first():
        summarise(result, folder, pictures, report, quiet=shown.quiet)
    return None


def _drawn(folder: Path, shown: Shown) -> list[Path]:
    """The pictures of a run, which the first process draws; the others wait for it."""
    from spikegrad.cli.summary import draw
    from spikegrad.train.agreement import from_first, in_touch
    from spikegrad.train.folder import RunFolder

    if not RunFolder(folder).pictured:
        shown.say("drawing the pictures")
    with in_touch(folder):
        return from_first(lambda: draw(folder))


def _reported(folder: Path, *, new: bool) -> Path:
    """The report of a run, which the first process writes; of a run that was finished already it is
    written where there is none.
    """
    from spikegrad.report.page import write_report
    from spikegrad.train.agreement import from_first, in_touch
    from spikegrad.train.folder import RunFolder

    there = RunFolder(folder).report
    with in_touch(folder):
        return from_first(lambda: write_report(folder) if new or not there.is_file() else there)


def _parameters() -> list[Any]:
    first = [
        click.Argument(
            [_ARGUMENT],
            required=False,
            default=None,
            metavar="[DATASET]",
            shell_complete=completion.dataset,
        ),
        click.RichOption(
            ["--config"],
            metavar="RECIPE|FILE",
            help=f"a shipped recipe ({', '.join(recipes())}) or a TOML file",
            panel=_FIRST,
            shell_complete=completion.recipe,
        ),
        click.RichOption(
            ["--resume"],
            metavar="RUN",
            help="continue the run in this folder",
            panel=_FIRST,
            shell_complete=completion.folder,
        ),
        click.RichOption(
            ["--dry-run"],
            is_flag=True,
            help="show the table of the network and stop; nothing is written",
            panel=_FIRST,
        ),
        click.RichOption(
            ["--pictures/--no-pictures"],
            default=True,
            help="draw pictures at the end",
            panel=_FIRST,
        ),
        click.RichOption(
            ["--report/--no-report"],
            default=True,
            help="write report.html at the end",
            panel=_FIRST,
        ),
        click.RichOption(
            ["--seeds"],
            type=int,
            metavar="N",
            help="train N runs with the seeds from --seed on; show mean and spread",
            panel=_FIRST,
        ),
        click.RichOption(["--quiet"], is_flag=True, help="show no progress", panel=_FIRST),
    ]
    return first + field_options()


def field_options() -> list[Any]:
    """Every field of the config as an option, but the data set, which is an argument."""
    return [_option(option) for name, option in OPTIONS.items() if name != _ARGUMENT]


def panels(first: str) -> list[Any]:
    """The groups of options on a page of help: those of the command, then those of the config."""
    return [click.RichOptionPanel(name) for name in (first, *(_TITLES[g] for g in GROUPS))]


train = click.RichCommand(
    name="train",
    callback=_train,
    params=_parameters(),
    help=_HELP,
    panels=panels(_FIRST),
    context_settings={"help_option_names": ["-h", "--help"]},
)
