"""From a run folder to the content of its page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from spikegrad.errors import UserError, message
from spikegrad.report.page.classes import classes, predictions
from spikegrad.report.page.curves import curves
from spikegrad.report.page.found import findings
from spikegrad.report.page.layers import layers
from spikegrad.report.page.made_of import network
from spikegrad.report.page.overview import overview, subtitle
from spikegrad.report.page.parts import Block, cleaned, tab
from spikegrad.report.page.settings import settings
from spikegrad.report.page.spikes import membranes, rasters
from spikegrad.report.page.surrogates import surrogates
from spikegrad.report.recorded import Record, read_record
from spikegrad.version import __version__

__all__ = ["run_content"]

TABS: dict[str, tuple[str, Callable[[Record], list[Block]]]] = {
    "overview": ("Overview", overview),
    "curves": ("Curves", curves),
    "surrogate": ("Surrogate", surrogates),
    "spikes": ("Spikes", rasters),
    "membranes": ("Membranes", membranes),
    "layers": ("Layers", layers),
    "confusion": ("Confusion", classes),
    "predictions": ("Predictions", predictions),
    "findings": ("Findings", findings),
    "network": ("Network", network),
    "settings": ("Settings", settings),
}


def run_content(folder: str | Path) -> dict[str, Any]:
    """What the page of a run shows, as values that JSON can hold.

    Raises:
        UserError: no run folder, or a file in it that is damaged or of another form.
    """
    record = read_record(folder)
    made = []
    for name, (title, blocks) in TABS.items():
        try:
            made.append(tab(name, title, blocks(record)))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            expected = f"expected files of spikegrad {__version__} in {record.run.folder}"
            got = f"others for the tab {title!r} ({type(error).__name__}: {error})"
            remedy = f"write them again with `spikegrad eval {record.run.folder} --pictures`"
            raise UserError(message(expected, got, remedy)) from error
    name = record.run.result.get("dataset") or record.setting("data", "dataset") or "run"
    if record.setting("data", "data"):
        name = Path(str(record.setting("data", "data"))).stem
    elif name == "own":
        name = record.run.folder.resolve().name
    return cleaned(
        {
            "title": str(name),
            "subtitle": subtitle(record),
            "state": record.state,
            "failure": record.failure if record.state == "failed" else "",
            "version": __version__,
            "notes": list(record.notes),
            "tabs": [each for each in made if each is not None],
        }
    )
