"""What a worker is asked to measure, and what every implementation offers it; no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.workloads import Workload

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LEARNING_RATE", "Job", "Trainer"]

LEARNING_RATE = 1e-12
"""Below the rounding of a weight, so every step sees the spikes of step 0; Adam costs the same."""


@dataclass(frozen=True)
class Job:
    """What one worker measures. options: keyword arguments of the implementation's own."""

    workload: Workload
    implementation: str
    surrogate: str
    arrays: dict[str, np.ndarray] = field(repr=False)
    options: dict[str, Any] = field(default_factory=dict)

    def tensor(self, name: str) -> Tensor:
        import torch

        return torch.from_numpy(self.arrays[name])

    @property
    def masks(self) -> dict[str, np.ndarray]:
        """By the names of weights `[N, I]` which of them there are, if not all."""
        start = "mask_"
        return {k.removeprefix(start): v for k, v in self.arrays.items() if k.startswith(start)}


class Trainer:
    """A network with its optimiser. `step` is what is timed."""

    version = ""
    surrogate = ""

    def step(self, batch: int | None = None) -> None:
        """One training step, on the first samples of the batch only if asked."""
        raise NotImplementedError

    def spikes(self) -> list[np.ndarray]:
        """The spikes `[T, B, ...]` of every hidden layer, through the path that `step` takes."""
        return []

    def adam_alone(self) -> None:
        """Leave parameters, gradients and moments in memory: the baseline of `peak_mb`."""

    def about(self) -> dict[str, Any]:
        """isa: the instruction set of what is timed, in the library's own word."""
        raise NotImplementedError
