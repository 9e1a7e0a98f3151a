"""`spikegrad diagnose RUN|CONFIG`: why a network does not learn, by one batch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import rich_click as click

from spikegrad.cli.completion import recipe
from spikegrad.errors import RunError

if TYPE_CHECKING:
    from spikegrad.diagnose import Health

__all__ = ["diagnose"]

_STYLES = {"error": "bold red", "warning": "yellow", "info": ""}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("target", metavar="RUN|CONFIG", shell_complete=recipe)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change a setting of CONFIG, for example slope=3; may be given several times.",
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
    target: str, changes: tuple[str, ...], samples: int | None, device: str, as_json: bool
) -> None:
    """Look at the network of a run folder, or of a recipe or TOML file before training.

    One batch of the training part says what each spiking layer does, where the gradient goes, and
    what keeps the network from learning, with the figure and what to do. Nothing is written. Exit
    status 1 where a finding is an error.
    """
    from spikegrad.train.subject import own_run

    what, found = recorded(target) if own_run(target) else looked(target, changes, samples, device)
    if as_json:
        click.echo(json.dumps({"target": target, "what": what, **found.data()}, indent=2))
    else:
        show(what, found)
    conclude(found)


def looked(
    target: str, changes: tuple[str, ...], samples: int | None, device: str
) -> tuple[str, Health]:
    """Build the network and look at it; what it is, in words."""
    from spikegrad.diagnose import health
    from spikegrad.train.subject import changes_of, config_of, subject_of

    config = config_of(target, changes_of(changes))
    seen = subject_of(target, config, samples=samples, device=device)
    with seen.settings():
        found = health(
            seen.network, (seen.x, seen.labels), loss=seen.objective, classes=seen.classes
        )
    return seen.what, found


def recorded(target: str) -> tuple[str, Health]:
    """What the files of a run of `fit` say, which cannot be built again."""
    import torch

    from spikegrad.diagnose import Written, recorded_health
    from spikegrad.report import read_run

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
    return what, recorded_health(written, output)


def show(what: str, found: Health) -> None:
    """What was looked at, the table of layers, and the findings."""
    from spikegrad.diagnose.health import HEADER, row
    from spikegrad.train.terminal import Screen, plain_table

    console = Screen()
    console.say(what)
    table = plain_table(*HEADER, gap=1)
    for column in table.columns[1:]:
        column.justify = "right"
    for layer in found.layers:
        table.add_row(*row(layer))
    console.print(table)
    console.print()
    for line in (found.line(), *found.notes):
        console.say(line)
    console.print()
    for finding in found.findings:
        console.say(f"{finding.severity}: {finding.line()}", style=_STYLES[finding.severity])
    if not found.findings:
        console.say("no finding")


def conclude(found: Health) -> None:
    """An error where a finding is one."""
    errors = [finding for finding in found.findings if finding.severity == "error"]
    if errors:
        count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        raise RunError(f"{count} found; repair this first: {errors[0].line()}")
