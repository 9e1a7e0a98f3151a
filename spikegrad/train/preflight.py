"""A look at one batch of each loader before the first step and before anything is written: what
would fail, then what is silent, saturated or cut off.
"""

from __future__ import annotations

import copy
import dataclasses
import warnings
from types import GeneratorType
from typing import Any

import torch
from torch import Tensor

from spikegrad import diagnose
from spikegrad.errors import UserError, message
from spikegrad.functional.loss import check_labels
from spikegrad.ragged import Events
from spikegrad.train import seeding
from spikegrad.train.batch import batch_of
from spikegrad.train.batches import peek
from spikegrad.train.job import Job
from spikegrad.train.monitoring import STYLES
from spikegrad.train.objective import AnyObjective, classified
from spikegrad.train.own_objective import OwnObjective, is_torchs
from spikegrad.train.parallel import device_of
from spikegrad.train.progress import Watcher
from spikegrad.train.running import Input, Place, dtype_of, evaluating, run, sequence_of
from spikegrad.train.step import check_whole

__all__ = ["check_loaders", "preflight"]


def check_loaders(job: Job) -> tuple[Job, Any]:
    """Refuse loaders on whose first batch training or measuring would fail.

    One sample of it goes through the network as it stands, to see how many classes it tells.

    Returns:
        the job, its iterators as if nobody had looked; and the first batch to train on.
    Raises:
        UserError: no batch, no pair (x, y), wrong shapes or labels, values that are not finite.
    """
    batch, loader = peek(job.loader, seed=job.config.run.seed)
    _check(job, batch)
    whole: dict[str, Any] = {"loader": loader}
    for name in ("val_loader", "test_loader"):
        if (held := getattr(job, name)) is None:
            continue
        try:
            if isinstance(held, GeneratorType):
                remedy = "it is used up after one pass; pass a list or a DataLoader"
                raise UserError(message("expected a loader", "a generator", remedy))
            first, whole[name] = peek(held)
            _check(job, first)
        except UserError as error:
            raise UserError(f"{name}: {error}") from None
    return dataclasses.replace(job, **whole), batch


def _check(job: Job, batch: Any) -> None:
    """Refuse a batch that the network or the objective cannot take."""
    given = batch_of(batch)
    if given.lengths is not None:
        check_whole(job.config.training.truncate)
    if not given.samples:
        remedy = "do not pass empty batches"
        raise UserError(message("expected at least 1 sample per batch", "0", remedy))
    network = job.network
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    place = Place(device, dtype_of(network))
    x, labels, lengths = place.put(given.trimmed())
    seeding.seed_all(job.config.run.seed, seeding.EVALUATE, 0)
    with evaluating(network):
        sequence = sequence_of(job.encode, x, lengths)
        first = None if lengths is None else lengths[:1]
        if isinstance(sequence, Events):
            one: Input = sequence.part(slice(1)).padded_to(sequence.steps)
        else:
            one = sequence[:, :1]
        y, _ = run(network, one, lengths=first)
        wanted, all_alike = (
            job.objective.placed(device, place.dtype),
            y.expand(-1, given.samples, -1),
        )
        check_objective(wanted, all_alike, labels, lengths)
    if job.class_names is not None:
        check_names(job, y, labels, first)


def check_objective(
    objective: AnyObjective, y: Tensor, labels: Tensor | None, lengths: Tensor | None = None
) -> None:
    """Refuse an objective that cannot read an output `[T, B, C]` beside these labels and lengths.

    Raises:
        UserError: it fails on them, or its scores have another form; also where torch would repeat
            targets of another shape along an axis, with a warning.
    """
    if labels is not None and not isinstance(objective, OwnObjective):
        check_labels(y, labels)
        objective.scores(y)  # first_spike refuses membranes
        return
    shapes = f"y {list(y.shape)}" + (
        f" and labels {list(labels.shape)}" if labels is not None else ""
    )
    expected = f"expected the objective to take {shapes}"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Using a (target|input) size")
            objective(y, labels, lengths=lengths)
            scores = objective.scores(y, lengths=lengths)
    except (UserError, TypeError) as error:
        if isinstance(error, UserError) or str(error).startswith("expected"):
            raise
        raise UserError(message(expected, _failure(error), _hint(objective, y, labels))) from error
    except Exception as error:  # whatever a function of the user's own does
        raise UserError(message(expected, _failure(error), _hint(objective, y, labels))) from error
    if not isinstance(scores, Tensor) or scores.dim() < 1 or len(scores) != y.shape[1]:
        got = list(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        expected = f"expected scores= to give [B, C] with B={y.shape[1]} from y {list(y.shape)}"
        raise UserError(message(expected, str(got)))


def check_names(job: Job, y: Tensor, labels: Tensor | None, lengths: Tensor | None = None) -> None:
    """Refuse class names where there are no classes, or as many as there are not."""
    scores = job.objective.scores(y, lengths=lengths)
    count = len(job.class_names or ())
    if classified(job.objective, scores, None if labels is None else labels[:1]) is None:
        expected = "expected no class_names, because the targets are not classes"
        raise UserError(message(expected, f"{count} of them", "omit class_names"))
    if count != scores.shape[1]:
        expected = f"expected {scores.shape[1]} class_names, one for each output"
        raise UserError(message(expected, str(count)))


def _failure(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0][:160] if lines else ''}"


FRAMES = 16
"""Recordings of events that the preflight looks at."""


def _hint(objective: AnyObjective, y: Tensor, labels: Tensor | None) -> str:
    """What may be wrong where an objective of one's own fails."""
    classes = y.shape[2]
    if labels is None:
        return "batches contain only x, so it is called as loss(y)"
    whole = not labels.is_floating_point() and labels.dim() == 1
    if whole and int(labels.min()) >= 1 and int(labels.max()) == classes:
        return f"labels are counted from 0: if yours go from 1 to {classes}, subtract 1"
    if isinstance(objective, OwnObjective) and is_torchs(objective.loss):
        return f"it reads scores [{y.shape[1]}, {classes}] and labels {list(labels.shape)}"
    return "y is the whole output [T, B, C]: reduce it over time, y.mean(0), in your loss"


def preflight(job: Job, batch: Any, *, watcher: Watcher) -> list[Any]:
    """Say what `spikegrad.diagnose.preflight` finds on a batch, on a copy of the network.

    Returns:
        the findings; none with `preflight = "off"`.
    Raises:
        UserError: an error or a warning, with `preflight = "strict"`; nothing was written yet.
    """
    if job.config.run.preflight == "off":
        return []
    place = Place(device_of(job.config.run.device))
    seed = job.config.run.seed
    x, y, lengths = place.put(batch_of(batch).trimmed())
    seeding.seed_all(seed, seeding.STEP, 0)
    network = copy.deepcopy(job.network).to(place.device, torch.float32)
    objective = job.objective.placed(place.device, torch.float32)
    sequence = sequence_of(job.encode, x, lengths)
    if isinstance(sequence, Events):  # a frame of all of them may be large
        sequence, y = sequence.part(slice(FRAMES)), None if y is None else y[:FRAMES]
        lengths = None  # events have their own
    findings = diagnose.preflight(network, sequence, y, loss=objective, lengths=lengths)
    for finding in findings:
        watcher.say(f"preflight: {finding.line()}", STYLES.get(finding.severity, ""))
    serious = [finding for finding in findings if finding.severity != "info"]
    if serious and job.config.run.preflight == "strict":
        remedy = "apply the remedies, or use preflight='warn' (--preflight warn)"
        raise UserError(message("expected a network that can learn", serious[0].line(), remedy))
    return findings
