"""What a run minimises, by name, and the scores it predicts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from spikegrad.analysis import first_spike_time
from spikegrad.errors import UserError, message, unknown
from spikegrad.functional import loss as losses
from spikegrad.functional.first_spike import first_spike
from spikegrad.functional.readout import over_time
from spikegrad.nn import Tape
from spikegrad.train.config import Config
from spikegrad.train.own_objective import OwnObjective, Scores, check_loss, penalty_of

__all__ = ["OBJECTIVES", "AnyObjective", "Objective", "as_objective", "classified", "objective_of"]

OBJECTIVES = (
    "rate_ce",
    "count_ce",
    "membrane_mean",
    "membrane_max",
    "membrane_last",
    "rate_mse",
    "count_mse",
    "tet",
    "first_spike",
)
"""Every objective by name."""

_OF_SPIKES = {
    "rate_ce": losses.rate_cross_entropy,
    "count_ce": losses.count_cross_entropy,
    "first_spike": first_spike,
}
_OVER = {"count_ce": "sum", "count_mse": "sum", "membrane_max": "max", "membrane_last": "last"}


@dataclass(frozen=True)
class Objective:
    """A loss on the output sequence `[T, B, C]`, with the scores `[B, C]` that go with it.

    Args:
        name: "rate_ce" and "count_ce" (cross-entropy on spike rates or counts), "membrane_mean",
            "membrane_max", "membrane_last" (on a membrane or a linear readout), "rate_mse" and
            "count_mse" (squared error of rates or counts), "tet", "first_spike" (cross-entropy on
            the negative times of first spikes).
        temperature: divides the scores before the softmax; of "first_spike" in steps.
        label_smoothing: share of the target given to all classes.
        target_correct, target_incorrect: for rate_mse and count_mse, the rates that the right
            output and the others should have (spikes per step); None: those of the loss.
        tet_weight, tet_target: for tet, the weight of the squared distance from the target.
        rate_lower, rate_upper: hidden firing rates outside are penalised (spikes per step).
        rate_weight: weight of that penalty; 0 switches it off.
    Raises:
        UserError: an unknown name, or a value out of range.

    >>> import torch
    >>> y = torch.zeros(5, 1, 2); y[:, 0, 1] = 1.0
    >>> objective = Objective("rate_ce")
    >>> round(objective(y, torch.tensor([1])).item(), 4), objective.scores(y).argmax(1).tolist()
    (0.3133, [1])
    """

    name: str = "membrane_mean"
    temperature: float = 1.0
    label_smoothing: float = 0.0
    target_correct: float | None = None
    target_incorrect: float | None = None
    tet_weight: float = 0.05
    tet_target: float = 1.0
    rate_lower: float = 0.0
    rate_upper: float = 1.0
    rate_weight: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in OBJECTIVES:
            raise UserError(unknown("objective", self.name, OBJECTIVES))

    @property
    def classes(self) -> bool:
        """Whether the largest score is a prediction."""
        return True

    def __call__(
        self, y: Tensor, labels: Tensor | None, *, lengths: Tensor | None = None
    ) -> Tensor:
        """The mean loss over the batch; y `[T, B, C]`, labels int64 `[B]`, lengths: the steps of
        every sample, int64 `[B]`.
        """
        if labels is None:
            expected = f"expected batches (x, y) for objective {self.name}"
            remedy = "a loss without labels is a function: objective=my_loss, called as my_loss(y)"
            raise UserError(message(expected, "x alone", remedy))
        smooth, temperature = self.label_smoothing, self.temperature
        if self.name in ("rate_mse", "count_mse"):
            error = losses.rate_mse if self.name == "rate_mse" else losses.count_mse
            return error(y, labels, lengths=lengths, **self._targets())
        if self.name == "tet":
            weight, target = self.tet_weight, self.tet_target
            how = {"weight": weight, "target": target, "label_smoothing": smooth}
            return losses.tet(y, labels, lengths=lengths, **how)
        if self.name in _OF_SPIKES:
            loss = _OF_SPIKES[self.name]
            how = {"temperature": temperature, "label_smoothing": smooth}
            return loss(y, labels, lengths=lengths, **how)
        over = self.name.removeprefix("membrane_")
        return losses.membrane_cross_entropy(
            y,
            labels,
            over=over,  # type: ignore[arg-type]
            temperature=temperature,
            label_smoothing=smooth,
            lengths=lengths,
        )

    def _targets(self) -> dict[str, Any]:
        """The target rates that were given."""
        named = {"correct": self.target_correct, "incorrect": self.target_incorrect}
        return {name: rate for name, rate in named.items() if rate is not None}

    def penalty(self, tapes: Mapping[str, Tape]) -> Tensor | float:
        """The firing-rate penalty of the recorded layers, weighted; 0.0 when it is off."""
        return penalty_of(self, tapes)

    def scores(self, y: Tensor, *, lengths: Tensor | None = None) -> Tensor:
        """The scores `[B, C]` of an output `[T, B, C]`: the largest is the prediction."""
        if self.name == "first_spike":
            return -first_spike_time(y, lengths=lengths) / self.temperature
        over: Any = _OVER.get(self.name, "mean")
        return over_time(y, over, lengths=lengths).float() / self.temperature

    def placed(self, device: torch.device, dtype: torch.dtype) -> Objective:
        """Itself: it has no tensors (an `OwnObjective` may have)."""
        return self

    def floor(self, classes: int, steps: int = 1) -> float:
        """The lowest value the loss can reach with this readout, whatever the weights."""
        if self.name in ("rate_mse", "count_mse"):
            return 0.0
        # The most that a first spike can be ahead is all steps, as with counts.
        kinds = {"rate_ce": "rate", "count_ce": "count", "first_spike": "count"}
        kind = kinds.get(self.name, "membrane")
        return losses.loss_floor(
            kind,  # type: ignore[arg-type]
            classes,
            temperature=self.temperature,
            steps=steps,
            label_smoothing=self.label_smoothing,
        )


AnyObjective = Objective | OwnObjective
"""What a run may minimise."""


def as_objective(wanted: object, scores: Scores | None = None) -> AnyObjective:
    """An objective from its name, from an objective, or from a loss of one's own.

    Args:
        wanted: a name, an `Objective`, or a function or module `loss(y, labels)`.
        scores: of a loss of one's own, how `[T, B, C]` becomes scores `[B, C]`; None: the mean.
    Raises:
        TypeError: something else. UserError: an unknown name, or scores for an objective that has
            its own.
    """
    if isinstance(wanted, str):
        wanted = Objective(wanted)
    if not isinstance(wanted, (Objective, OwnObjective)):
        check_loss(wanted)
        return OwnObjective(wanted, over="mean" if scores is None else scores)  # type: ignore[arg-type]
    if scores is not None:
        expected = "expected scores= only with a loss of your own"
        got = (
            wanted.name
            if isinstance(wanted, Objective)
            else "an objective, which has its own scores"
        )
        raise UserError(message(expected, f"objective {got}"))
    return wanted


def classified(
    objective: AnyObjective, scores: Tensor, labels: Tensor | None
) -> tuple[Tensor, Tensor] | None:
    """Predicted and true classes `[n]`; None where the targets are no classes.

    Classes are integers `[B]`, of as many as there are scores, two or more. A sample whose label
    is outside of them (torch's `ignore_index`) has no class and is left out.
    """
    if labels is None or not objective.classes or labels.is_floating_point() or labels.dim() != 1:
        return None
    if scores.dim() != 2 or scores.shape[1] < 2:
        return None
    known = (labels >= 0) & (labels < scores.shape[1])
    return scores.argmax(1)[known], labels[known]


def objective_of(config: Config) -> Objective:
    """The objective a config describes.

    >>> objective_of(Config()).name
    'membrane_mean'
    """
    t = config.training
    own = {f.name: getattr(t, f.name) for f in fields(Objective) if f.name != "name"}
    return Objective(t.objective, **own)
