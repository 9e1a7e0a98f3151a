"""What a network is worth: `evaluate` on labelled batches, `predict` for samples without labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikegrad.errors import UserError, message
from spikegrad.nn import Tape
from spikegrad.train import seeding
from spikegrad.train.behind import Behind
from spikegrad.train.encoder import Encoder
from spikegrad.train.metrics import Collected, Metrics, check_metrics
from spikegrad.train.objective import AnyObjective, as_objective, classified
from spikegrad.train.own_objective import Loss, Scores
from spikegrad.train.parallel import device_of, sum_over_processes
from spikegrad.train.running import Encode, Place, dtype_of, evaluating, recorded, run, sequence_of
from spikegrad.train.shares import shares

__all__ = ["Evaluation", "Prediction", "Rates", "evaluate", "measured", "predict", "predicted"]


@dataclass(frozen=True)
class Evaluation:
    """What a network did on labelled samples.

    loss: mean over samples; accuracy: fraction; confusion: counts `[C, C]`, rows are true classes
    (both None where the targets are no classes); firing_rates: spikes per neuron and step by
    layer; count: the number of samples; metrics: what your own functions gave, by name.
    """

    loss: float
    accuracy: float | None
    confusion: Tensor | None
    firing_rates: dict[str, float]
    count: int
    metrics: dict[str, float | None] = field(default_factory=dict)


class Prediction(NamedTuple):
    """Labels int64 `[B]`, and the scores `[B, C]` they are the maxima of.

    Labels are None where the objective has no classes: then scores are what is predicted.
    """

    labels: Tensor | None
    scores: Tensor


def evaluate(
    network: nn.Module,
    loader: Iterable[Any],
    *,
    objective: AnyObjective | Loss | str = "membrane_mean",
    scores: Scores | None = None,
    metrics: Metrics | None = None,
    encoder: Encode | str = "direct",
    steps: int = 10,
    sequence: bool = False,
    device: str | torch.device = "cpu",
    seed: int = 0,
) -> Evaluation:
    """Measure a network on labelled batches, in evaluation mode and without gradients.

    Args:
        network: maps `[T, B, *features]` to outputs `[T, B, C]`, with or without states.
        loader: yields (x, y): x `[B, *features]`, or `[B, T, *features]` with `sequence`, y int64
            `[B]`, or whatever a loss of your own takes; or x alone.
        objective: an `Objective` or its name, or a loss of your own, as in `fit`.
        scores: with a loss of your own, how outputs become scores, as in `fit`.
        metrics: `{name: function(scores, labels)}`, called once with all samples.
        encoder: a name, or any function from x to `[T, B, *features]`: `result.encoder` of what
            `fit` returned reads samples as it did.
        steps: T for static samples, when the encoder is a name; nothing knows the T of training.
        device: where to compute, "auto" for a GPU if there is one; the network is moved there.
        seed: of encoders that draw random numbers.
    Returns:
        an `Evaluation`.
    Raises:
        UserError: no batch, shapes that do not fit, values that are not finite.
        TypeError: an objective, encoder or metric that is none.

    >>> from spikegrad.nn import LIF, Linear, Sequential
    >>> network = Sequential(Linear(4, 8), LIF(20.0), Linear(8, 2))
    >>> result = evaluate(network, [(torch.rand(6, 4), torch.tensor([0, 1, 0, 1, 0, 1]))])
    >>> result.confusion.sum().item(), list(result.firing_rates)
    (6, ['1'])
    """
    encode = encoder if callable(encoder) else Encoder(encoder, steps, sequence)
    wanted, own = as_objective(objective, scores), check_metrics(metrics)
    place = _place(network, device)
    wanted = wanted.placed(place.device, place.dtype)
    with seeding.kept():
        return measured(network, loader, wanted, encode, place, seed=seed, metrics=own)


def predict(
    network: nn.Module,
    x: Any,
    *,
    objective: AnyObjective | Loss | str = "membrane_mean",
    scores: Scores | None = None,
    encoder: Encode | str = "direct",
    steps: int = 10,
    sequence: bool = False,
    batch_size: int = 256,
    device: str | torch.device = "cpu",
    seed: int = 0,
) -> Prediction:
    """Predict the classes of samples.

    Args:
        network, objective, scores, encoder, steps, sequence, device, seed: as in `evaluate`.
        x: samples `[N, *features]`, or `[N, T, *features]` with `sequence`; a tensor, or what
            `torch.as_tensor` takes.
        batch_size: samples at a time.
    Returns:
        labels int64 `[N]` (None where the objective has no classes) and scores `[N, C]`, on the
        CPU.
    Raises:
        TypeError: samples that are no array of numbers.
        UserError: no sample, a shape that does not fit, values that are not finite, no such device.

    >>> from spikegrad.nn import LIF, Linear, Sequential
    >>> network = Sequential(Linear(4, 8), LIF(20.0), Linear(8, 2))
    >>> labels, scores = predict(network, torch.rand(6, 4))
    >>> labels.shape, scores.shape
    (torch.Size([6]), torch.Size([6, 2]))
    """
    encode = encoder if callable(encoder) else Encoder(encoder, steps, sequence)
    wanted = as_objective(objective, scores)
    samples = _samples(x)
    place = _place(network, device)
    with seeding.kept():
        return predicted(network, samples, wanted, encode, place, batch_size=batch_size, seed=seed)


def _place(network: nn.Module, device: str | torch.device) -> Place:
    """A device, with the network on it and in its number format."""
    if not isinstance(network, nn.Module):
        expected = "expected a network as a torch.nn.Module"
        raise TypeError(message(expected, type(network).__name__, "give the network first"))
    place = Place(device_of(device), dtype_of(network))
    network.to(place.device)
    return place


def _samples(x: Any) -> Tensor:
    """Samples as a tensor."""
    try:
        return torch.as_tensor(x)
    except (TypeError, ValueError, RuntimeError) as error:
        got = f"{type(x).__name__}: {error}"
        raise TypeError(message("expected samples as a tensor or an array", got)) from None


def predicted(
    network: nn.Module,
    x: Tensor,
    objective: AnyObjective,
    encode: Encode,
    place: Place,
    *,
    batch_size: int = 256,
    seed: int = 0,
) -> Prediction:
    """`predict` at a place."""
    if not len(x):
        raise UserError(message("expected at least one sample", str(list(x.shape))))
    scores = []
    with evaluating(network):
        for index, part in enumerate(x.split(batch_size)):
            seeding.seed_all(seed, seeding.EVALUATE, index)
            with place.autocast():
                y, _ = run(network, sequence_of(encode, place.put_input(part)))
            scores.append(objective.scores(y).cpu())
    joined = torch.cat(scores)
    classes = objective.classes and joined.dim() == 2 and joined.shape[1] > 1
    return Prediction(joined.argmax(1) if classes else None, joined)


def measured(
    network: nn.Module,
    loader: Iterable[Any],
    objective: AnyObjective,
    encode: Encode,
    place: Place,
    *,
    seed: int = 0,
    check: Callable[[], None] = lambda: None,
    metrics: Metrics | None = None,
    behind: Behind | None = None,
) -> Evaluation:
    """`evaluate` for the trainer: at a place, over all processes; `check` runs after each batch,
    `behind` keeps some samples where one process has them all.
    """
    loss, count, right, rates = 0.0, 0, Confusion(), Rates()
    collected = Collected(metrics or {})
    with evaluating(network):
        for index, (x, labels, share) in enumerate(shares(epoch_of(loader), place)):
            seeding.seed_all(seed, seeding.EVALUATE, index, place.rank)
            with recorded(network) as tapes, place.autocast():
                y, _ = run(network, sequence_of(encode, x))
            y, labels = share.whole(y, 1), None if labels is None else share.whole(labels)
            rates.add(tapes, share.weight * y.shape[1])  # our own, added up at the end
            loss += objective(y, labels).item() * y.shape[1]  # checks the labels
            scores = objective.scores(y)
            right.add(classified(objective, scores, labels), scores)
            collected.add(scores, labels)
            if behind is not None and place.world == 1:
                behind.add(objective, x, labels, scores)
            count += y.shape[1]
            check()
    if not count:
        remedy = "pass a loader that can be iterated again; a generator is used up after one epoch"
        raise UserError(message("expected at least one batch to evaluate", "none", remedy))
    measures = (right.accuracy, right.counts, rates.means(place), count, collected.values())
    return Evaluation(loss / count, *measures)


class Confusion:
    """Counts `[C, C]` of true and predicted classes over batches; None where there are none."""

    def __init__(self) -> None:
        self.counts: Tensor | None = None

    def add(self, found: tuple[Tensor, Tensor] | None, scores: Tensor) -> None:
        """Count the predicted and true classes of a batch (`objective.classified`)."""
        if found is None:
            return
        predicted, true = (part.cpu() for part in found)
        classes = scores.shape[1]
        index = true * classes + predicted
        counts = torch.bincount(index, minlength=classes**2).reshape(classes, classes)
        self.counts = counts if self.counts is None else self.counts + counts

    @property
    def accuracy(self) -> float | None:
        """The share of samples whose class was predicted."""
        if self.counts is None or not (total := int(self.counts.sum())):
            return None
        return self.counts.diagonal().sum().item() / total


class Rates:
    """Firing rates by layer, averaged over batches of different sizes."""

    def __init__(self) -> None:
        self.totals: dict[str, float] = {}
        self.weight = 0.0

    def add(self, tapes: Mapping[str, Tape], weight: float) -> None:
        """Count the recorded spikes of a batch, and forget the recording."""
        for name, tape in tapes.items():
            rate = tape.activity.float().mean().item()
            self.totals[name] = self.totals.get(name, 0.0) + rate * weight
            tape.clear()
        self.weight += weight

    def means(self, place: Place) -> dict[str, float]:
        """Spikes per neuron and step by layer, over all processes."""
        own = [*self.totals.values(), self.weight]
        *totals, weight = sum_over_processes(own, place.world, place.device)
        return {name: total / weight for name, total in zip(self.totals, totals, strict=True)}


def epoch_of(loader: Iterable[Any]) -> Iterator[Any]:
    """One pass over a loader, the same pass every time where it can say which one."""
    return iter(loader.epoch(0)) if hasattr(loader, "epoch") else iter(loader)
