"""`spikegrad report RUN`: write the page of a run again."""

from __future__ import annotations

import rich_click as click

from spikegrad.cli.completion import folder

__all__ = ["report"]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run", shell_complete=folder)
@click.option("--runs", is_flag=True, help="Of a comparison: pages of all its runs, too.")
def report(run: str, runs: bool) -> None:
    """Write RUN/report.html from the files of the folder RUN, of a run or of a comparison.

    One page without anything outside of it: curves, surrogates, spikes, membranes, layers,
    confusion, findings, operations and settings. Works for a run of your own code (`fit`) and for
    one that is still in training, too. `spikegrad train` writes it at the end of a run. The runs of
    a comparison get one by --runs (5 MB each), to which the page of the comparison leads.
    """
    from spikegrad.report.page import write_report, write_runs
    from spikegrad.train.terminal import Screen

    pages, left = write_runs(run) if runs else ([write_report(run)], [])
    for line in (*left, *pages):
        Screen().say(str(line))
