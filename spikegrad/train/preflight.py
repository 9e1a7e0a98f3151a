"""A look at one batch before the first step: what is silent, saturated or cut off."""

from __future__ import annotations

import copy
from typing import Any

import torch

from spikegrad import diagnose
from spikegrad.errors import UserError, message
from spikegrad.train import seeding
from spikegrad.train.batches import batches
from spikegrad.train.loop import Job
from spikegrad.train.parallel import device_of
from spikegrad.train.progress import Watcher
from spikegrad.train.running import Place, pair

__all__ = ["preflight"]

_STYLES = {"error": "bold red", "warning": "yellow"}


def preflight(job: Job, watcher: Watcher) -> list[Any]:
    """Say what `spikegrad.diagnose.preflight` finds on the first batch, on a copy of the network.

    Returns:
        the findings; none with `preflight = "off"`.
    Raises:
        UserError: an error or a warning, with `preflight = "strict"`; nothing was written yet.
    """
    if job.config.run.preflight == "off":
        return []
    place = Place(device_of(job.config.run.device))
    seed = job.config.run.seed
    x, y = place.put(*pair(next(batches(job.loader, 0, seed=seed))))
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
