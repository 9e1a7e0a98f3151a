"""`spikegrad verify`: the theory and this installation as checks, each with figure and verdict."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from spikegrad.errors import RunError, UserError, message

if TYPE_CHECKING:
    from spikegrad.verify import Claim, Verdict, Verification

__all__ = ["verify"]

_MOST = 5  # figures of a failed check that are shown
_STYLES = {"holds": "green", "FAILS": "bold red", "not run": "yellow"}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of the random inputs; another one checks other inputs.",
)
@click.option("--quiet", is_flag=True, help="Print nothing unless a check fails.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: verdicts and all figures.")
@click.option("--report", metavar="FILE", help="Write an HTML page with all of it too.")
def verify(
    names: tuple[str, ...], seed: int, quiet: bool, as_json: bool, report: str | None
) -> None:
    """Check the theory and this installation by numbers: all checks, or those named.

    Surrogates, every neuron on every backend, gradients, convergence, bias, initialisation: each
    check has a statement, a source and measured figures. Takes below two minutes. Exit status 1
    where a check fails.
    """
    from spikegrad.verify import run

    if report is not None and not Path(report).parent.is_dir():
        expected = "expected a file in a folder that is there for --report"
        raise UserError(message(expected, report, "give another name"))
    with progress(quiet) as tell:
        found = run(names, seed=seed, before=tell)
    if report is not None:
        from spikegrad.report.page import verification_content, write_page

        write_page(verification_content(found.data()), Path(report))
    if as_json:
        click.echo(json.dumps(found.data(), indent=2))
    elif not quiet or not found.ok:
        show(found)
    if not found.ok:
        failed = ", ".join(verdict.claim.name for verdict in found.failed)
        said = "what to do is above" if not as_json else 'see "remedy" of each'
        raise RunError(f"{len(found.failed)} of {len(found.verdicts)} failed: {failed}; {said}")


@contextmanager
def progress(quiet: bool) -> Iterator[Callable[[Claim], None]]:
    """Say which check runs: a line that moves on a terminal, else a line for each."""
    from spikegrad.train.terminal import Screen

    console = Screen(stderr=True)
    if quiet:
        yield lambda claim: None
    elif console.is_terminal:
        with console.status("", spinner="line") as status:  # of characters that every terminal has
            yield lambda claim: status.update(f"checks {claim.name}")
    else:
        yield lambda claim: console.say(f"checks {claim.name}")


def show(found: Verification) -> None:
    """A table, what to do about each check that failed, and how many hold."""
    from spikegrad.train.terminal import Screen, plain_table

    console = Screen()
    table = plain_table()
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for verdict in found.verdicts:
        table.add_row(verdict.claim.name, styled(verdict.word), verdict.claim.statement)
        table.add_row("", "", f"{verdict.figure}, {verdict.seconds:.1f} s", style="dim")
    console.print(table)
    console.print()
    for verdict in found.failed:
        advise(console, verdict)
    console.say(found.line())


def styled(word: str) -> Any:
    """A verdict in its colour."""
    from rich.text import Text

    return Text(word, style=_STYLES[word])


def advise(console: Any, verdict: Verdict) -> None:
    """The figures that fail, the source of the statement, and the remedy."""
    console.say(f"{verdict.claim.name} FAILS", style="bold red")
    wrong = [figure for figure in verdict.figures if not figure.holds]
    for figure in wrong[:_MOST]:
        console.say(f"  {figure.text()}")
    if len(wrong) > _MOST:
        console.say(f"  and {len(wrong) - _MOST} more; --json has all")
    if verdict.reason:
        console.say(f"  {verdict.reason}")
    console.say(f"  source: {verdict.claim.source}")
    console.say(f"  what to do: {verdict.claim.remedy}")
    console.print()
