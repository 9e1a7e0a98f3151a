"""A look at one batch of each loader before the first step and before anything is written: what
would fail, then what is silent, saturated or cut off.
"""

from __future__ import annotations

import copy
import dataclasses
from types import GeneratorType
from typing import Any

import torch

from spikegrad import diagnose
from spikegrad.errors import UserError, message
from spikegrad.functional.loss import check_labels
from spikegrad.train import seeding
from spikegrad.train.batches import peek
from spikegrad.train.loop import Job
from spikegrad.train.parallel import device_of
from spikegrad.train.progress import Watcher
from spikegrad.train.running import Place, dtype_of, evaluating, pair, run

__all__ = ["check_loaders", "preflight"]

_STYLES = {"error": "bold red", "warning": "yellow"}


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
    x, labels = pair(batch)
    if not len(labels):
        remedy = "leave empty batches out"
        raise UserError(message("expected at least 1 sample per batch", "0", remedy))
    network = job.network
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    x, labels = Place(device, dtype_of(network)).put(x, labels)
    seeding.seed_all(job.config.run.seed, seeding.EVALUATE, 0)
    with evaluating(network):
        y, _ = run(network, job.encode(x)[:, :1])
    check_labels(y.expand(-1, len(labels), -1), labels)


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
    x, y = place.put(*pair(batch))
    seeding.seed_all(seed, seeding.STEP, 0)
    network = copy.deepcopy(job.network).to(place.device, torch.float32)
    findings = diagnose.preflight(network, job.encode(x), y, loss=job.objective)
    for finding in findings:
        watcher.say(f"preflight: {finding.line()}", _STYLES.get(finding.severity, ""))
    serious = [finding for finding in findings if finding.severity != "info"]
    if serious and job.config.run.preflight == "strict":
        remedy = "follow the advice, or use --preflight warn"
        raise UserError(message("expected a network that can learn", serious[0].line(), remedy))
    return findings
