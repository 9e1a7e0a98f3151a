"""What a network is worth: `evaluate` on labelled batches, `predict` for samples without labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikegrad.errors import UserError, message
from spikegrad.nn import Tape
from spikegrad.ragged import Events, check_lengths
from spikegrad.train import seeding
from spikegrad.train.batch import Batch, batch_of
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
            `[B]`, or whatever a loss of your own takes; or x alone; or (x, y, lengths), as in
            `fit`.
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
    lengths: Any = None,
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
            `torch.as_tensor` takes; or `Events`.
        lengths: of sequences, the steps of every sample, int64 `[N]`; None for T each.
        batch_size: samples at a time.
    Returns:
        labels int64 `[N]` (None where the objective has no classes) and scores `[N, C]`, on the
        CPU.
    Raises:
        TypeError: samples that are no array of numbers.
        UserError: no sample, a shape that does not fit, lengths out of range, values that are not
            finite, no such device.

    >>> from spikegrad.nn import LIF, Linear, Sequential
    >>> network = Sequential(Linear(4, 8), LIF(20.0), Linear(8, 2))
    >>> labels, scores = predict(network, torch.rand(6, 4))
    >>> labels.shape, scores.shape
    (torch.Size([6]), torch.Size([6, 2]))
    """
    encode = encoder if callable(encoder) else Encoder(encoder, steps, sequence)
    wanted = as_objective(objective, scores)
    samples = _samples(x, lengths)
    place = _place(network, device)
    with seeding.kept():
        how = {"batch_size": batch_size, "seed": seed}
        return predicted(network, samples, wanted, encode, place, **how)


def _place(network: nn.Module, device: str | torch.device) -> Place:
    """A device, with the network on it and in its number format."""
    if not isinstance(network, nn.Module):
        expected = "expected a network as a torch.nn.Module"
        raise TypeError(message(expected, type(network).__name__, "give the network first"))
    place = Place(device_of(device), dtype_of(network))
    network.to(place.device)
    return place


def _samples(x: Any, lengths: Any) -> Batch:
    """Samples as a tensor, with their lengths if they have any; or events."""
    if isinstance(x, Events):
        return batch_of(x if lengths is None else (x, None, lengths))
    try:
        samples = torch.as_tensor(x)
    except (TypeError, ValueError, RuntimeError) as error:
        got = f"{type(x).__name__}: {error}"
        raise TypeError(message("expected samples as a tensor or an array", got)) from None
    if lengths is None:
        return Batch(samples)
    if samples.dim() < 3:
        expected = "expected sequences [N, T, *features] with lengths="
        raise UserError(message(expected, str(list(samples.shape))))
    return Batch(samples, None, check_lengths(lengths, samples.shape[1], len(samples)))


def predicted(
    network: nn.Module,
    samples: Batch,
    objective: AnyObjective,
    encode: Encode,
    place: Place,
    *,
    batch_size: int = 256,
    seed: int = 0,
) -> Prediction:
    """`predict` at a place."""
    count = samples.samples
    if not count:
        raise UserError(message("expected at least one sample", str(list(samples.x.shape))))
    scores = []
    with evaluating(network):
        for index, first in enumerate(range(0, count, batch_size)):
            seeding.seed_all(seed, seeding.EVALUATE, index)
            part = place.put(samples.part(slice(first, first + batch_size)).trimmed())
            with place.autocast():
                sequence = sequence_of(encode, part.x, part.lengths)
                y, _ = run(network, sequence, lengths=part.lengths)
            scores.append(objective.scores(y, lengths=part.lengths).cpu())
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
    `behind` keeps some samples of the whole batches.
    """
    loss, count, right, rates = 0.0, 0, Confusion(), Rates()
    batches = Remembered(epoch_of(loader))
    collected = Collected(metrics or {})
    with evaluating(network):
        for index, ((x, labels, lengths), share) in enumerate(shares(batches, place)):
            seeding.seed_all(seed, seeding.EVALUATE, index, place.rank)
            with recorded(network) as tapes, place.autocast():
                y, _ = run(network, sequence_of(encode, x, lengths), lengths=lengths)
            own = share.counts[place.rank] if share.counts else y.shape[1]
            steps = len(y) * own if lengths is None else int(lengths[:own].sum())
            rates.add(tapes, steps)  # our own, added up at the end
            y, labels = share.whole(y, 1), None if labels is None else share.whole(labels)
            lengths = None if lengths is None else share.whole(lengths)
            loss += objective(y, labels, lengths=lengths).item() * y.shape[1]  # checks the labels
            scores = objective.scores(y, lengths=lengths)
            right.add(classified(objective, scores, labels), scores)
            collected.add(scores, labels)
            if behind is not None:
                samples = x if share.alone else batch_of(batches.last).x
                behind.add(objective, Batch(samples, labels, lengths), scores)
            count += y.shape[1]
            check()
    if not count:
        remedy = "pass a loader that can be iterated again; a generator is used up after one epoch"
        raise UserError(message("expected at least one batch to evaluate", "none", remedy))
    measures = (right.accuracy, right.counts, rates.means(place), count, collected.values())
    return Evaluation(loss / count, *measures)


class Remembered:
    """Batches one after the other; `last` is the one that was given last, all of it."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self.batches = batches
        self.last: Any = None

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches:
            self.last = batch
            yield batch


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
        self.steps = 0

    def add(self, tapes: Mapping[str, Tape], steps: int) -> None:
        """Count the recorded spikes of a batch, of so many steps in all, and forget them."""
        for name, tape in tapes.items():
            rate = tape.real.activity.float().mean().item()
            self.totals[name] = self.totals.get(name, 0.0) + rate * steps
            tape.clear()
        self.steps += steps

    def means(self, place: Place) -> dict[str, float]:
        """Spikes per neuron and step by layer, over all processes."""
        own = [*self.totals.values(), float(self.steps)]
        *totals, steps = sum_over_processes(own, place.world, place.device)
        return {name: total / steps for name, total in zip(self.totals, totals, strict=True)}


def epoch_of(loader: Iterable[Any]) -> Iterator[Any]:
    """One pass over a loader, the same pass every time where it can say which one."""
    return iter(loader.epoch(0)) if hasattr(loader, "epoch") else iter(loader)
