"""Everything a run needs, in one record that travels to another process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spikegrad.train.config import Config
from spikegrad.train.identity import Identity
from spikegrad.train.metrics import Metrics
from spikegrad.train.objective import AnyObjective
from spikegrad.train.running import Encode

__all__ = ["Job"]


@dataclasses.dataclass
class Job:
    """A run before it runs.

    about: what the user notes in `result.json`; inputs: what the network must know of its data,
    noted with the weights; own: what of the run is the caller's own, None where the config says it
    all; instead: what the config's file says of the fields that these stand for; findings: of the
    preflight.
    """

    network: nn.Module
    loader: Iterable[Any]
    val_loader: Iterable[Any] | None
    test_loader: Iterable[Any] | None
    objective: AnyObjective
    encode: Encode
    optimizer: str | torch.optim.Optimizer | Callable[[Any], torch.optim.Optimizer]
    config: Config
    folder: Path | None
    progress: bool = True
    class_names: tuple[str, ...] | None = None
    metrics: Metrics = dataclasses.field(default_factory=dict)
    callbacks: tuple[Any, ...] = ()
    about: dict[str, Any] = dataclasses.field(default_factory=dict)
    inputs: dict[str, Any] | None = None
    own: dict[str, Identity] | None = None
    instead: dict[str, str] = dataclasses.field(default_factory=dict)
    findings: tuple[dict[str, Any], ...] = ()
