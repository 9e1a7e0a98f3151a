"""The progress of a run in a Jupyter notebook: one display that is replaced as the run goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from html import escape
from typing import Any

from spikegrad.errors import printable
from spikegrad.train.progress import EVERY, Lines, describe, of_rates

__all__ = ["NotebookBar", "in_notebook"]

MOST = 12  # lines of epochs that stay in view
_WIDTH = "max-width:560px;font-variant-numeric:tabular-nums"


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook; nothing is imported to find out."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell"


class NotebookBar(Lines):
    """A bar for the epoch and one for the run, with loss, accuracy, rates and the last epochs."""

    def start(self, *, epochs: int, batches: int | None, epoch: int) -> None:
        from IPython.display import HTML, display

        super().start(epochs=epochs, batches=batches, epoch=epoch)
        self.batches, self.batch, self.now, self.shown = batches, 0, epoch, 0.0
        self.note, self.lines = "", list[str]()
        self.html = HTML
        self.handle = display(HTML(self.page()), display_id=True)

    def step(
        self, *, batch: int, loss: float, accuracy: float | None, rates: Mapping[str, float]
    ) -> None:
        moment = time.monotonic()
        if moment - self.shown < EVERY and batch != self.batches:
            return
        self.shown, self.batch = moment, batch
        right = "" if accuracy is None else f"   accuracy {accuracy:.4f}"
        self.note = f"loss {loss:.4f}{right}   {of_rates(rates, self.titles)}"
        self.update()

    def epoch(self, line: Mapping[str, Any], *, chosen: bool) -> None:
        self.now, self.batch, self.note = line["epoch"], 0, ""
        self.lines.append(describe(line, self.epochs, self.titles, chosen=chosen))
        self.update()

    def say(self, text: str, style: str = "") -> None:
        """A word to the user: in the display once it is there, before that on its own."""
        if hasattr(self, "lines"):
            self.lines.append(text)
            self.update()
        else:
            super().say(text, style)

    def update(self) -> None:
        """Replace what is shown."""
        self.handle.update(self.html(self.page()))

    def page(self) -> str:
        """What is shown: the bars, the figures of this epoch, the last lines."""
        whole = self.now + (self.batch / self.batches if self.batches else 0.0)
        parts = [bar("run", whole, self.epochs, f"{self.now} of {self.epochs} epochs")]
        if self.now < self.epochs:
            if self.batches:
                name = f"epoch {self.now + 1}"
                parts.append(bar(name, self.batch, self.batches, f"{self.batch}/{self.batches}"))
            if self.now > self.first:
                parts.append(f"<div>{self.left(self.now)} left</div>")
        left_out = len(self.lines) - MOST
        text = "\n".join(
            [
                *([f"{left_out} more lines before"] if left_out > 0 else []),
                *self.lines[-MOST:],
                *([self.note] if self.note else []),
            ]
        )
        return f'<div style="{_WIDTH}">{"".join(parts)}</div><pre>{escape(printable(text))}</pre>'


def bar(label: str, value: float, total: float, text: str) -> str:
    """A bar as every notebook draws it."""
    return (
        f'<div style="display:flex;gap:8px"><span style="flex:0 0 70px">{escape(label)}</span>'
        f'<progress value="{value:.3f}" max="{total}" style="flex:1"></progress>'
        f'<span style="flex:0 0 110px">{escape(text)}</span></div>'
    )
