"""Where a run is: position, sums of the epoch, history, best epoch; all of it is in checkpoints.

Nothing else decides what happens next, but the weights, the optimizer and the config.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from spikegrad.train.config import TrainingConfig
from spikegrad.train.step import Outcome

__all__ = ["Best", "RunState", "Tally"]


@dataclasses.dataclass
class Tally:
    """Sums over the batches of an epoch, in the order in which they were seen."""

    loss: float = 0.0
    correct: float = 0.0
    labelled: float = 0.0
    count: float = 0.0
    norm: float = 0.0
    batches: int = 0
    rates: dict[str, float] = dataclasses.field(default_factory=dict)
    watched: float = 0.0
    norms: dict[str, float] = dataclasses.field(default_factory=dict)
    looks: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count one batch (all processes' parts of it together)."""
        self.loss += outcome.loss * outcome.count
        self.correct += outcome.correct
        self.labelled += outcome.labelled
        self.count += outcome.count
        self.norm += outcome.gradient_norm
        self.batches += 1
        if outcome.rates:
            self.watched += outcome.steps
            for name, rate in outcome.rates.items():
                self.rates[name] = self.rates.get(name, 0.0) + rate * outcome.steps
        if outcome.norms and math.isfinite(outcome.gradient_norm):
            self.looks += 1
            for name, both in outcome.norms.items():
                self.norms[name] = self.norms.get(name, 0.0) + both.gradient**2

    @property
    def means(self) -> tuple[float, float | None, float]:
        """Loss, accuracy (None where no sample has a class) and gradient norm so far."""
        count, batches = max(self.count, 1.0), max(self.batches, 1)
        accuracy = self.correct / self.labelled if self.labelled else None
        return self.loss / count, accuracy, self.norm / batches

    @property
    def firing_rates(self) -> dict[str, float]:
        """Spikes per neuron and step by layer, over the batches that were watched."""
        return {name: total / self.watched for name, total in self.rates.items()}

    @property
    def gradient_norms(self) -> dict[str, float]:
        """The root mean square of each parameter's gradient norm, over the same batches."""
        return {name: math.sqrt(total / self.looks) for name, total in self.norms.items()}


@dataclasses.dataclass
class Best:
    """The epoch chosen so far: on validation accuracy, then loss; on loss alone where there is no
    accuracy; without validation the last.
    """

    epoch: int = 0
    accuracy: float | None = None
    loss: float | None = None
    weights: dict[str, Any] = dataclasses.field(default_factory=dict)

    def beaten_by(self, accuracy: float | None, loss: float | None) -> bool:
        """Whether an epoch with these validation figures takes its place."""
        if not self.epoch or loss is None or self.loss is None or math.isnan(self.loss):
            return True
        if accuracy is None or self.accuracy is None or accuracy == self.accuracy:
            return loss < self.loss
        return accuracy > self.accuracy


@dataclasses.dataclass
class RunState:
    """The position: epochs done, batches done in the current one, steps done in all; whether a
    callback or the monitor ended the run, and why the monitor did; what has been seen on the way,
    and what the monitor remembers.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    stopped: bool = False
    hopeless: str = ""
    tally: Tally = dataclasses.field(default_factory=Tally)
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    best: Best = dataclasses.field(default_factory=Best)
    findings: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    monitor: dict[str, Any] = dataclasses.field(default_factory=dict)

    def ended(self, training: TrainingConfig) -> str:
        """What ended the run before its last epoch; "" if nothing did."""
        if self.stopped and not self.batch:
            return "monitor" if self.hopeless else "callback"
        patience = training.early_stopping
        if patience and self.epoch and self.epoch - self.best.epoch >= patience:
            return "early_stopping"
        return ""

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for a checkpoint."""
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {**own, "tally": vars(self.tally), "best": vars(self.best)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RunState:
        """What `to_dict` gave.

        Raises:
            KeyError, TypeError: it is something else.

        >>> RunState.from_dict(RunState(step=3).to_dict()) == RunState(step=3)
        True
        """
        parts = {"tally": Tally(**data["tally"]), "best": Best(**data["best"])}
        state = cls(**{**data, **parts})
        for part, fresh in ((state, cls()), (state.tally, Tally()), (state.best, Best())):
            for name, value in vars(fresh).items():
                held = getattr(part, name)
                if value is not None and type(held) is not type(value):
                    kinds = f"{type(value).__name__}, got {type(held).__name__}"
                    raise TypeError(f"expected {name} as {kinds}")
        return state
