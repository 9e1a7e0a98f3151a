"""The kernels' crossover table of a run: stored when it starts, in force whenever it goes on.

Which products follow the spikes depends on the table, and with it the last bit of a sum.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from spikegrad.errors import UserError, message
from spikegrad.kernels.cpu.crossover import Table, table, using
from spikegrad.train.agreement import from_first

__all__ = ["crossover_of", "crossover_text"]


def crossover_text() -> str:
    """The table in force, for a run folder."""
    return json.dumps(table().json(), indent=1) + "\n"


@contextmanager
def crossover_of(folder: Path | None) -> Iterator[None]:
    """Compute with the table that a run was started with, if it has one, in every process.

    Raises:
        UserError: its file is damaged.
    """
    stored = from_first(lambda: _stored(folder))
    with using(stored) if stored is not None else nullcontext():
        yield


def _stored(folder: Path | None) -> Table | None:
    path = None if folder is None else folder / "crossover.json"
    if path is None or not path.is_file():
        return None
    try:
        return Table.read(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, UserError):
        remedy = "move it away: the run then uses this machine's table; last bits may differ"
        raise UserError(message(f"expected a complete {path}", "something else", remedy)) from None
