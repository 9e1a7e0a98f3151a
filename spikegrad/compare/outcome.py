"""What a trial came to, as plain data that travels between processes and machines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from spikegrad.train.folder import RunFolder

__all__ = ["FLOW", "Outcome", "held"]

FLOW = "flow.json"
"""In the folder of a trial: the gradient flow before its first step."""


@dataclass(frozen=True)
class Outcome:
    """The figures of a trial that finished, or the reason why it did not.

    test_accuracy, val_accuracy (fractions), test_loss, val_loss: at the chosen epoch, None where
    there are none; rate: spikes per neuron and step, the mean of the layers; rates: by layer;
    gradient: L2 norm of the loss's gradient at the input current of the first spiking layer, before
    the first step; growth: its factor per step back in time; passing: share of neuron-steps of that
    layer whose surrogate derivative exceeds 1 % of its peak; flow: the same three by layer;
    seconds_per_epoch, train_seconds; findings: kinds of what preflight and monitor found;
    ended_by: what ended it early; failed: the reason, "" where it finished; warnings: said on the
    way.
    """

    test_accuracy: float | None = None
    val_accuracy: float | None = None
    test_loss: float | None = None
    val_loss: float | None = None
    rate: float | None = None
    rates: dict[str, float] = field(default_factory=dict)
    gradient: float | None = None
    growth: float | None = None
    passing: float | None = None
    flow: dict[str, dict[str, float | None]] = field(default_factory=dict)
    seconds_per_epoch: float | None = None
    train_seconds: float | None = None
    best_epoch: int | None = None
    epochs: int | None = None
    findings: list[str] = field(default_factory=list)
    ended_by: str | None = None
    failed: str = ""
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Outcome:
        """What `dataclasses.asdict` gave; names that are not known are left out."""
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in known})


def held(folder: Path) -> Outcome | None:
    """What a finished run in a folder came to; None where there is none.

    Raises:
        UserError: a file of it is damaged.
    """
    run = RunFolder(folder)
    if not run.finished:
        return None
    result = run.result()
    rates = {name: float(rate) for name, rate in result["firing_rates"].items()}
    flow = _flow(folder / FLOW)
    first: Mapping[str, Any] = next(iter(flow.values()), {})
    return Outcome(
        test_accuracy=result.get("test_accuracy"),
        val_accuracy=result.get("val_accuracy"),
        test_loss=result.get("test_loss"),
        val_loss=result.get("val_loss"),
        rate=sum(rates.values()) / len(rates) if rates else None,
        rates=rates,
        gradient=first.get("gradient"),
        growth=first.get("growth"),
        passing=first.get("passing"),
        flow=flow,
        seconds_per_epoch=result["seconds_per_epoch"],
        train_seconds=result["train_seconds"],
        best_epoch=result["best_epoch"],
        epochs=result["epochs"],
        findings=[str(each.get("kind", "?")) for each in _findings(run)],
        ended_by=result.get("ended_by"),
    )


def _findings(run: RunFolder) -> list[dict[str, Any]]:
    return run.found() if run.findings.is_file() else []


def _flow(path: Path) -> dict[str, dict[str, float | None]]:
    """The flow by layer; none where it was not measured, or its file is damaged: a side figure."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): dict(layer) for name, layer in data.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
