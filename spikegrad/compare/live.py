"""The table that fills while a comparison runs: live in a terminal, a line a trial elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spikegrad.compare.comparison import Comparison
from spikegrad.compare.plan import Plan
from spikegrad.compare.table import figures, notes, progress, ranking, unusual
from spikegrad.train.terminal import Screen, plain_table

__all__ = ["as_table", "live", "show"]

_NARROW = 10  # characters that words are given, however wide the numbers are


@contextmanager
def live(
    plan: Plan, folder: Path, *, stderr: bool = False
) -> Iterator[Callable[[Comparison], None]]:
    """Show what there is so far, whenever it is told; at the end the ranking.

    Args:
        plan: what runs; folder: where.
        stderr: show it there, and no ranking at the end (for `--json`).
    """
    screen = Screen(stderr=stderr)
    count = len(plan.variants) * len(plan.seeds)
    screen.say(
        f"{plan.dataset}: {len(plan.variants)} variants, {len(plan.seeds)} seeds each, "
        f"{count} runs; in {folder}"
    )
    last: list[Comparison] = []
    with (_table if screen.is_terminal else _lines)(screen, count) as seen:

        def tell(found: Comparison) -> None:
            last[:] = [found]
            seen(found)

        yield tell
    if last and not stderr:
        show(screen, last[0])


def show(screen: Any, found: Comparison) -> None:
    """The ranking, the other figures, and how to read them."""
    screen.print()
    screen.print(as_table(ranking(found)))
    screen.print()
    screen.print(as_table(figures(found)))
    screen.print()
    happened = unusual(found)
    if len(happened) > 1:
        screen.print(as_table(happened))
        screen.print()
    for line in notes(found):
        screen.print(line, style="dim")


def as_table(
    rows: list[list[str]], *, left: tuple[str, ...] = ("variant", "what happened", "")
) -> Any:
    """Rows with a heading, as a table whose numbers are to the right."""
    table = plain_table()
    table.show_header = True
    for heading in rows[0]:
        number = heading not in left
        if number:
            table.add_column(heading, justify="right", no_wrap=True)
        else:
            table.add_column(heading, overflow="fold", min_width=_NARROW if heading else None)
    for row in rows[1:]:
        table.add_row(*row)
    return table


@contextmanager
def _table(screen: Any, count: int) -> Iterator[Callable[[Comparison], None]]:
    """A table that is drawn again whenever a trial ends."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    clock = _Clock(count)
    with Live(console=screen, auto_refresh=False, transient=True) as shown:

        def seen(found: Comparison) -> None:
            line = Text(clock.line(len(found.outcomes)))
            shown.update(Group(as_table(progress(found)), Text(), line), refresh=True)

        yield seen


@contextmanager
def _lines(screen: Any, count: int) -> Iterator[Callable[[Comparison], None]]:
    """A line for every trial that ends."""
    clock, known = _Clock(count), set[tuple[int, int]]()

    def seen(found: Comparison) -> None:
        new = [key for key in found.outcomes if key not in known]
        if clock.first is None:
            clock.first = len(new)
            known.update(new)
            if new:
                screen.say(f"{len(new)} of {count} are there already")
            return
        for key in new:
            known.add(key)
            outcome, name = found.outcomes[key], found.plan.variants[key[0]].name
            value = found.values(key[0], found.metric).get(key[1])
            what = f"failed: {outcome.failed}" if outcome.failed else "no figure"
            if value is not None:
                what = f"{found.metric.replace('_', ' ')} {value:.4f}"
            screen.say(f"{clock.line(len(found.outcomes))}  {name}, seed {key[1]}: {what}")

    yield seen


class _Clock:
    """How many trials ended, and about how long the others take."""

    def __init__(self, count: int) -> None:
        self.count, self.began = count, time.monotonic()
        self.first: int | None = None  # how many were there at the start

    def line(self, done: int) -> str:
        """`7 of 20, about 0:34 left`."""
        if self.first is None:
            self.first = done
        new = done - self.first
        text = f"{done:>{len(str(self.count))}} of {self.count}"
        if new <= 0 or done == self.count:
            return text
        left = round((time.monotonic() - self.began) / new * (self.count - done))
        return f"{text}, about {left // 60}:{left % 60:02d} left"
