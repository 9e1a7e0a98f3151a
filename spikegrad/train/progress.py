"""What a person sees of a run: a live bar in a terminal, one line an epoch elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from spikegrad.errors import printable
from spikegrad.train.terminal import Screen

__all__ = ["EVERY", "Lines", "LiveBar", "Watcher", "describe", "of_rates", "watcher"]

EVERY = 0.1  # seconds between two updates of the live bar


class Watcher:
    """Sees a run and does nothing; what the others override."""

    def start(self, *, epochs: int, batches: int | None, epoch: int) -> None:
        """Training begins, or goes on, at this epoch (from 0)."""

    def step(
        self, *, batch: int, loss: float, accuracy: float | None, rates: Mapping[str, float]
    ) -> None:
        """A batch is done; numbers are means over the epoch so far; accuracy: if there is one."""

    def epoch(self, line: Mapping[str, Any], *, chosen: bool) -> None:
        """An epoch is done; chosen: it is the best one so far."""

    def say(self, text: str, style: str = "") -> None:
        """A word to the user, in a rich style."""

    def stop(self) -> None:
        """Training is over, or broken off."""


class Lines(Watcher):
    """One plain line an epoch, for logs and pipes."""

    def __init__(self, console: Screen, titles: Mapping[str, str]) -> None:
        self.console, self.titles = console, titles
        self.epochs, self.first, self.began = 0, 0, time.monotonic()

    def start(self, *, epochs: int, batches: int | None, epoch: int) -> None:
        self.epochs, self.first, self.began = epochs, epoch, time.monotonic()

    def epoch(self, line: Mapping[str, Any], *, chosen: bool) -> None:
        left = self.left(line["epoch"])
        text = describe(line, self.epochs, self.titles, chosen=chosen)
        self.console.say(f"{text}  {left} left")

    def say(self, text: str, style: str = "") -> None:
        self.console.say(text, style=style)

    def left(self, epoch: int) -> str:
        """The time left as h:mm:ss, from the epochs since the start."""
        done = epoch - self.first
        seconds = (time.monotonic() - self.began) / max(done, 1) * (self.epochs - epoch)
        minutes, second = divmod(round(seconds), 60)
        hour, minute = divmod(minutes, 60)
        return f"{hour}:{minute:02d}:{second:02d}"


class LiveBar(Lines):
    """A bar for the epoch and one for the run, with loss, accuracy and firing rates."""

    def start(self, *, epochs: int, batches: int | None, epoch: int) -> None:
        super().start(epochs=epochs, batches=batches, epoch=epoch)
        self.batches, self.now, self.shown = batches, epoch, 0.0
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self.console,
            expand=True,
        )
        whole = epochs * batches if batches else epochs
        done = epoch * batches if batches else epoch
        self.run = self.bars.add_task("run", total=whole, completed=done)
        self.part = self.bars.add_task(f"epoch {epoch + 1}/{epochs}", total=batches)
        self.note = Text()
        self.live = Live(Group(self.bars, self.note), console=self.console, refresh_per_second=8)
        self.live.start()

    def step(
        self, *, batch: int, loss: float, accuracy: float | None, rates: Mapping[str, float]
    ) -> None:
        now = time.monotonic()
        if now - self.shown < EVERY and batch != self.batches:
            return
        self.shown = now
        name = f"epoch {self.now + 1}/{self.epochs}"
        self.bars.update(self.part, completed=batch, description=name)
        if self.batches:
            self.bars.update(self.run, completed=self.now * self.batches + batch)
        right = "" if accuracy is None else f"   accuracy {accuracy:.4f}"
        means = printable(of_rates(rates, self.titles))
        self.note.plain = f"loss {loss:.4f}{right}   {means}"

    def epoch(self, line: Mapping[str, Any], *, chosen: bool) -> None:
        self.now = line["epoch"]
        text = describe(line, self.epochs, self.titles, chosen=chosen)
        self.console.print(text, style="bold" if chosen else "")
        if not self.batches:
            self.bars.update(self.run, completed=self.now)
        if self.now < self.epochs:
            self.bars.reset(self.part, description=f"epoch {self.now + 1}/{self.epochs}")

    def stop(self) -> None:
        if hasattr(self, "live"):
            self.live.stop()


def watcher(on: bool = True, titles: Mapping[str, str] | None = None) -> Watcher:
    """The watcher that fits where we are: live in a terminal or a notebook, lines elsewhere, or a
    silent one.

    titles: what the layers are called (see `titles.titles_of`).
    """
    if not on:
        return Watcher()
    from spikegrad.train.notebook import NotebookBar, in_notebook

    console = Screen()
    live = NotebookBar if in_notebook() else LiveBar if console.is_terminal else Lines
    return live(console, titles or {})


def describe(
    line: Mapping[str, Any],
    epochs: int,
    titles: Mapping[str, str] | None = None,
    *,
    chosen: bool = False,
) -> str:
    """A line of `metrics.jsonl` for people.

    >>> describe({"epoch": 3, "train_loss": 0.5, "train_accuracy": 0.9, "seconds": 2.0}, 10)
    'epoch  3/10  loss 0.5000  train 0.9000  2.0 s'
    """
    parts = [f"epoch {line['epoch']:>{len(str(epochs))}}/{epochs}"]
    parts.append(f"loss {line['train_loss']:.4f}")
    accuracy = line.get("train_accuracy") is not None
    if accuracy:
        parts.append(f"train {line['train_accuracy']:.4f}")
    for key, name in (("val", "validation"), ("test", "test")):
        what = f"{key}_accuracy" if accuracy else f"{key}_loss"
        if line.get(what) is not None:
            parts.append(f"{name} {line[what]:.4f}{'*' if chosen and key == 'val' else ''}")
    if line.get("firing_rates"):
        parts.append(of_rates(line["firing_rates"], titles or {}))
    return "  ".join([*parts, f"{line['seconds']:.1f} s"])


def of_rates(rates: Mapping[str, float], titles: Mapping[str, str]) -> str:
    """Firing rates by layer; of a title the part that is short."""
    short = {name: titles.get(name, name).split(" (")[0] for name in rates}
    shown = ", ".join(f"{short[name]} {rate:.3f}" for name, rate in rates.items())
    return f"rates: {shown}" if rates else ""
