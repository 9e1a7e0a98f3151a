"""`spikegrad diagnose RUN|CONFIG`: why a network does not learn, by one batch, and its repair."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from spikegrad.cli import completion
from spikegrad.cli.entry import importing
from spikegrad.errors import RunError, UserError, message

if TYPE_CHECKING:
    from spikegrad.diagnose import Health
    from spikegrad.train.config import Config
    from spikegrad.train.subject import Subject

__all__ = ["diagnose"]

_STYLES = {"error": "bold red", "warning": "yellow", "info": ""}


@dataclass
class Looked:
    """What was found.

    what: which network, in words; changed, options: the config after a repair, and what of it is
    new; lines: what was repaired; trained: what was found in training.
    """

    target: str
    what: str
    before: Health
    after: Health | None = None
    changed: Config | None = None
    options: dict[str, float] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    trained: list[str] = field(default_factory=list)

    def data(self) -> dict[str, Any]:
        """All of it as values that JSON can hold."""
        found = {"target": self.target, "what": self.what, **self.before.data()}
        found["in_training"] = self.trained
        if self.after is not None:
            fix = {"done": self.lines, "options": self.options, "after": self.after.data()}
            found["fix"] = fix
        return found


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("target", metavar="RUN|CONFIG", shell_complete=completion.recipe)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change a setting of CONFIG, for example slope=3; may be given several times.",
)
@click.option("--fix", is_flag=True, help="Repair what is safe; show before and after.")
@click.option(
    "--write",
    metavar="FILE",
    shell_complete=completion.file,
    help="With --fix: write the repaired config to a new TOML file.",
)
@click.option("--keep", is_flag=True, help="Of a run: keep what was found, for its report.")
@click.option(
    "--truth/--no-truth",
    default=None,
    help="Compare the surrogate gradients with exact ones; by default where that is quick.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    metavar="N",
    help="Samples of the first batch; by default all.",
)
@click.option("--device", default="cpu", show_default=True, help="Device to run on.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: layers, findings, figures.")
def diagnose(
    target: str,
    changes: tuple[str, ...],
    fix: bool,
    write: str | None,
    keep: bool,
    truth: bool | None,
    samples: int | None,
    device: str,
    as_json: bool,
) -> None:
    """Look at the network of a run folder, or of a recipe or TOML file before training.

    One batch of the training part says what each spiking layer does, where the gradient goes, how
    true it is, and what keeps the network from learning, with the figure and what to do. Nothing is
    written, but with --write and --keep. Exit status 1 where a finding is an error; with --fix,
    where one remains.
    """
    with importing():
        from spikegrad.train.subject import own_run

    check_write(write, fix)
    if keep:
        check_keep(target, fix)
    if fix and truth:
        remedy = "run it again on the config that --write keeps"
        raise UserError(message("expected either --fix or --truth", "both", remedy))
    if own_run(target):
        found = recorded(target, changes, fix)
    elif fix:
        found = repaired(target, changes, samples, device)
    else:
        seen = subject(target, changes, samples, device)
        found = Looked(target, seen.what, seen.health(truth=truth))
    add_history(found)
    if as_json:
        click.echo(json.dumps(found.data(), indent=2))
    else:
        show(found)
    if write is not None:
        written(found, Path(write), quiet=as_json)
    if keep:
        kept(found, quiet=as_json)
    conclude(found.after or found.before)


def check_write(write: str | None, fix: bool) -> None:
    """Refuse a file that nothing would be written to, or that is there."""
    if write is None:
        return
    if not fix:
        raise UserError(message("expected --fix with --write", "none", "add --fix"))
    if Path(write).exists():
        raise UserError(message("expected a new file for --write", write, "give another name"))


def check_keep(target: str, fix: bool) -> None:
    """Refuse to keep what is found of a network that is not a run's own."""
    from spikegrad.train.subject import is_run, own_run

    remedy = "omit --keep; --json prints what was found"
    if fix:
        raise UserError(message("expected either --keep or --fix", "both", remedy))
    if not is_run(target):
        raise UserError(message("expected a run folder with --keep", target, remedy))
    if own_run(target):
        got = f"{target}, a run of fit() with a network of your own"
        raise UserError(message("expected a run of `spikegrad train` with --keep", got, remedy))


def subject(target: str, changes: tuple[str, ...], samples: int | None, device: str) -> Subject:
    """The network that is meant, with its batch."""
    from spikegrad.train.subject import changes_of, config_of, subject_of

    config = config_of(target, changes_of(changes))
    return subject_of(target, config, samples=samples, device=device)


def repaired(target: str, changes: tuple[str, ...], samples: int | None, device: str) -> Looked:
    """Look at the network, and at what becomes of it by safe repairs."""
    from spikegrad.train.subject import is_run, subject_of, with_options

    seen = subject(target, changes, samples, device)
    done = seen.fix()
    found = Looked(target, seen.what, done.before, done.after)
    found.lines = [*(repair.line for repair in done.repairs), *done.refused]
    options = {name: float(f"{value:.3g}") for name, value in done.options.items()}
    found.changed = with_options(seen.config, options)
    new = changed_fields(seen.config, found.changed)
    found.options = {name: value for name, value in options.items() if name in new}
    found.lines += [f"no setting of this config does the same as {n}" for n in options
                    if n not in found.options]  # fmt: skip
    if found.options and not is_run(target):
        # What the settings make of the network, and not only of the copy.
        again = subject_of(target, found.changed, samples=samples, device=device)
        found.after = again.health()
    return found


def add_history(found: Looked) -> None:
    """What the epochs of a run say, and what was found in its training."""
    from spikegrad.diagnose import with_history
    from spikegrad.train.folder import RunFolder
    from spikegrad.train.subject import is_run

    if not is_run(found.target):
        return
    run = RunFolder.open(Path(found.target))
    if run.metrics_file.is_file():
        found.before = with_history(found.before, run.metrics())
    if run.findings.is_file():
        found.trained = [
            f"step {each['step']}: {each['line']}" for each in run.found() if each["step"]
        ]


def changed_fields(before: Config, after: Config) -> set[str]:
    """The fields in which two configs differ."""
    from spikegrad.train.config import flatten

    old, new = flatten(before), flatten(after)
    return {name for name in old if old[name] != new[name]}


def recorded(target: str, changes: tuple[str, ...], fix: bool) -> Looked:
    """What the files of a run of `fit` say, which cannot be built again."""
    import torch

    from spikegrad.diagnose import Written, recorded_health
    from spikegrad.report import read_run

    if changes or fix:
        given = "--fix" if fix else f"--set {changes[0]}"
        expected = "expected a config, or a run of `spikegrad train`"
        remedy = "use spikegrad.diagnose.fix(network, (x, labels), loss=...) in Python"
        got = f"{given} and a run of fit() with a network of your own"
        raise UserError(message(expected, got, remedy))
    run = read_run(target)
    layers = run.samples.layers if run.samples is not None else []
    written = [
        Written(layer.name, *map(torch.as_tensor, (layer.spikes, layer.membrane, layer.threshold)))
        for layer in layers
    ]
    output = run.samples.output if run.samples is not None else None
    what = (
        f"a run of fit() with a network of your own, {target}: what its files say. In Python, "
        "spikegrad.diagnose.health(spikegrad.load(RUN, network), (x, labels), loss=...) says more"
    )
    return Looked(target, what, recorded_health(written, output))


def show(found: Looked) -> None:
    """What was looked at and found; after a repair what was done, and the same again."""
    from spikegrad.train.terminal import Screen

    console = Screen()
    console.say(found.what)
    table(console, found.before)
    for line in found.trained:
        console.say(f"in training, {line}")
    if found.after is None:
        return
    console.print()
    if not found.lines:
        console.say("nothing to repair safely")
        return
    for line in found.lines:
        console.say(f"repair: {line}")
    console.print()
    console.say("after it")
    table(console, found.after)
    if found.options:
        console.print()
        console.say(f"to train so: {command(found)}")


def command(found: Looked) -> str:
    """The command line that trains with the repaired settings."""
    import shlex

    from spikegrad.train.config import OPTIONS, flatten
    from spikegrad.train.sources import resolve

    assert found.changed is not None
    path = Path(found.target) / "config.toml"
    config = str(path) if path.is_file() else found.target
    given, flags = flatten(found.changed), []
    for name in sorted(changed_fields(resolve({}, config=config), found.changed)):
        value = given[name]
        if isinstance(value, bool):
            flags.append(OPTIONS[name].flag if value else f"--no-{OPTIONS[name].flag[2:]}")
            continue
        text = ",".join(map(str, value)) if isinstance(value, tuple) else f"{value}"
        flags += [OPTIONS[name].flag, shlex.quote(text)]
    return " ".join(["spikegrad train --config", shlex.quote(config), *flags])


def table(console: Any, found: Health) -> None:
    """The layers, the output and the findings."""
    from spikegrad.diagnose.health import HEADER, row
    from spikegrad.diagnose.truth import HEADER as TRUTH

    console.print(filled(HEADER, [row(layer) for layer in found.layers]))
    console.print()
    if found.truth is not None:
        console.say("surrogate gradient against the exact gradient of the expected loss")
        console.print(filled(TRUTH, found.truth.rows()))
        console.say(found.truth.line())
        console.print()
    for line in (found.line(), *found.notes):
        console.say(line)
    console.print()
    for finding in found.findings:
        console.say(f"{finding.severity}: {finding.line()}", style=_STYLES[finding.severity])
    if not found.findings:
        console.say("no finding")


def filled(header: Sequence[str], rows: list[list[str]]) -> Any:
    """A table, its first column to the left and the others to the right."""
    from spikegrad.train.terminal import plain_table

    made = plain_table(*header, gap=1)
    for column in made.columns[1:]:
        column.justify = "right"
    for each in rows:
        made.add_row(*each)
    return made


def written(found: Looked, path: Path, *, quiet: bool) -> None:
    """Write the repaired config."""
    from spikegrad.train.folder import write_atomic
    from spikegrad.train.terminal import Screen
    from spikegrad.train.toml import to_toml

    assert found.changed is not None
    write_atomic(path, to_toml(found.changed).encode())
    if not quiet:
        done = f"the repaired config is in {path}"
        same = f"no setting was repaired; {path} has the config as it was"
        Screen().say(done if found.options else same)


def kept(found: Looked, *, quiet: bool) -> None:
    """Write what was found into the folder of the run."""
    from spikegrad.train.folder import RunFolder, write_atomic
    from spikegrad.train.terminal import Screen

    run = RunFolder.open(Path(found.target))
    write_atomic(run.diagnosis, (json.dumps(found.data()) + "\n").encode())
    if not quiet:
        Screen().say(f"{run.diagnosis} is written; spikegrad report {run.path} shows it")


def conclude(found: Health) -> None:
    """An error where a finding is one."""
    errors = [finding for finding in found.findings if finding.severity == "error"]
    if errors:
        count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        raise RunError(f"{count} found; repair this first: {errors[0].line()}")
