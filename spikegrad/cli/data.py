"""`spikegrad data`: which data sets there are, which are here, and how to get the others."""

from __future__ import annotations

import dataclasses
import json

import rich_click as click

__all__ = ["data"]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--folder", metavar="FOLDER", help="Search this folder instead of the usual ones.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def data(folder: str | None, as_json: bool) -> None:
    """List the data sets: what is here, where, and how to get the rest.

    Nothing is read or fetched. Any of them is trained on by `spikegrad train NAME`, arrays of your
    own by `spikegrad train --data FILE.npz`.
    """
    from spikegrad.data import catalogue

    entries = catalogue(folder)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(entry) for entry in entries], indent=2))
        return
    from spikegrad.train.terminal import Screen, plain_table

    console = Screen()
    table = plain_table()
    table.show_header = True
    for heading in ("name", "here", "size", "licence"):
        table.add_column(heading, no_wrap=heading in ("name", "here"))
    for entry in entries:
        table.add_row(entry.name, "yes" if entry.present else "no", entry.size, entry.licence)
    console.print(table)
    for entry in entries:
        place = entry.where if entry.present else f"not found in {entry.where}; {entry.how_to_get}"
        console.say(f"\n{entry.name}: {place}")
        console.say(f"  source: {entry.source}")
