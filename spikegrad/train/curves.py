"""Curves for TensorBoard, by step and by epoch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["Curves"]

_EVERY = 10  # steps between two points of the curves by step
_BY_LAYER = {"firing_rates": "rate", "gradient_norms": "gradient"}


class Curves:
    """Writes scalars under a folder; with None it does nothing.

    start: the last step whose points stay; later ones of a broken-off run are hidden.
    """

    def __init__(self, folder: Path | None, start: int = 0) -> None:
        self.writer: Any = None
        if folder is not None:
            from torch.utils.tensorboard import SummaryWriter

            _wait_for_a_later_name(folder)
            purge = start + 1 if start else None
            self.writer = SummaryWriter(str(folder), purge_step=purge)

    def step(self, step: int, loss: float, norm: float, learning_rate: float) -> None:
        """The curves by step."""
        if self.writer is None or step % _EVERY:
            return
        self.writer.add_scalar("step/loss", loss, step)
        self.writer.add_scalar("step/gradient_norm", norm, step)
        self.writer.add_scalar("step/learning_rate", learning_rate, step)

    def epoch(self, line: Mapping[str, Any]) -> None:
        """A line of `metrics.jsonl` as points at the step where the epoch ended."""
        if self.writer is None:
            return
        for key, value in line.items():
            if key in _BY_LAYER:
                for layer, each in value.items():
                    self.writer.add_scalar(f"{_BY_LAYER[key]}/{layer}", each, line["step"])
            elif key not in ("epoch", "step") and value is not None:
                self.writer.add_scalar(f"epoch/{key}", value, line["step"])

    def flush(self) -> None:
        """Bring everything to disk, before a checkpoint says that it is there."""
        if self.writer is not None:
            self.writer.flush()

    def close(self) -> None:
        """Bring everything to disk and let go of the file."""
        if self.writer is not None:
            self.writer.close()


def _wait_for_a_later_name(folder: Path) -> None:
    """Let the second of the last event file pass.

    TensorBoard reads files in the order of their names, which hold whole seconds: of two files of
    one second the later one may be read first, and what it hides is then shown.
    """
    while any(folder.glob(f"events.out.tfevents.{int(time.time()):010d}.*")):
        time.sleep(0.05)
