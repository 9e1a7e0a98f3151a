"""The samples behind a confusion matrix, and the pairs behind a regression, a few of each."""

from __future__ import annotations

import base64
from collections import Counter
from typing import Any

import torch
from torch import Tensor

from spikegrad.diagnose.text import finite
from spikegrad.ragged import Events
from spikegrad.train.batch import Batch
from spikegrad.train.objective import AnyObjective

__all__ = ["Behind"]

RIGHT, WRONG = 3, 8  # samples of a cell that are kept, on the diagonal and beside it
MOST = 400  # samples in all
PAIRS = 500  # targets with what was predicted, of a run without classes
SIDE = 64  # pixels of a small image
WORDS = 8  # values that are written out where a sample has no more
SCORES = 3  # of the largest scores of a sample


class Behind:
    """Keeps some samples of each cell (true class, predicted class) while a part is measured."""

    def __init__(self) -> None:
        self.seen: Counter[tuple[int, int]] = Counter()
        self.cells: list[dict[str, Any]] = []
        self.pairs: list[tuple[float, float]] = []
        self.count = 0

    def add(self, objective: AnyObjective, batch: Batch, scores: Tensor) -> None:
        """Look at a batch before encoding, and its scores `[B, C]`."""
        labels = batch.labels
        start, self.count = self.count, self.count + len(scores)
        if labels is None or len(labels) != len(scores) or batch.samples != len(scores):
            return
        classes = objective.classes and not labels.is_floating_point() and labels.dim() == 1
        if not classes:
            self.add_pairs(labels, scores)
        elif scores.dim() == 2 and scores.shape[1] > 1:
            self.add_cells(batch, labels, scores, start)

    def add_pairs(self, targets: Tensor, scores: Tensor) -> None:
        """Targets beside what was predicted, number by number."""
        if targets.shape != scores.shape:
            return
        want = PAIRS - len(self.pairs)
        both = torch.stack([targets.flatten()[:want], scores.flatten()[:want].to(targets.dtype)])
        finites = torch.isfinite(both).all(0)
        self.pairs += [(a, b) for a, b in both[:, finites].T.double().tolist()]

    def add_cells(self, batch: Batch, labels: Tensor, scores: Tensor, start: int) -> None:
        """Samples whose cell is not full yet, each up to its end."""
        share = scores.float().softmax(1)
        guesses, true = scores.argmax(1).tolist(), labels.tolist()
        for i, cell in enumerate(zip(true, guesses, strict=True)):
            most = RIGHT if cell[0] == cell[1] else WRONG
            known = 0 <= cell[0] < scores.shape[1]
            if not known or self.seen[cell] >= most or len(self.cells) >= MOST:
                continue
            self.seen[cell] += 1
            best = share[i].topk(min(SCORES, len(share[i])))
            self.cells.append(
                {
                    "true": cell[0],
                    "predicted": cell[1],
                    "sample": start + i,
                    "scores": [
                        [int(c), finite(round(float(p), 4))]
                        for p, c in zip(best.values, best.indices, strict=True)
                    ],
                    **shown(sample_of(batch, i)),
                }
            )

    def data(self) -> dict[str, Any]:
        """All of it as values that JSON can hold."""
        return {"cells": self.cells, "pairs": [list(pair) for pair in self.pairs]}


def sample_of(batch: Batch, i: int) -> Tensor:
    """One sample, up to its end."""
    x, _, lengths = batch
    if isinstance(x, Events):
        return x.part(slice(i, i + 1)).dense()[:, 0]
    return x[i] if lengths is None else x[i, : lengths[i]]


def shown(x: Tensor) -> dict[str, Any]:
    """A sample as a small grey image, as its values where they are few, or not at all.

    A row of values over time `[T, N]` is an image too, time to the right.
    """
    values = x.detach().float().cpu()
    if values.numel() <= WORDS:
        return {"values": [finite(round(float(v), 4)) for v in values.flatten()]}
    while values.dim() > 2:
        values = values.mean(0)
    if values.dim() < 2:
        return {}
    if x.dim() == 2 and values.shape[0] != values.shape[1]:
        values = values.T
    steps = [max(1, -(-side // SIDE)) for side in values.shape]
    values = values[:: steps[0], :: steps[1]]
    low, high = float(values.min()), float(values.max())
    if not (torch.isfinite(values).all() and high > low):
        return {}
    grey = ((values - low) / (high - low) * 255).round().to(torch.uint8)
    code = base64.b64encode(grey.contiguous().numpy().tobytes()).decode()
    return {"image": code, "height": grey.shape[0], "width": grey.shape[1]}
