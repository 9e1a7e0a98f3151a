"""What a run of `fit` depends on that its config cannot say: `own.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from types import FunctionType
from typing import Any

import torch

from spikegrad.train.batches import length
from spikegrad.train.identity import Identity, identity, network_identity
from spikegrad.train.job import Job
from spikegrad.train.objective import AnyObjective, Objective
from spikegrad.train.own_objective import OwnObjective

__all__ = ["not_known", "own_text", "with_own"]


def with_own(job: Job) -> Job:
    """The job with what is the caller's own, and with what its config file says instead."""
    own: dict[str, Any] = {
        "objective": _objective(job.objective),
        "encoder": identity(job.encode),
        "optimizer": _optimizer(job.optimizer),
        "metrics": {name: _function(metric) for name, metric in job.metrics.items()},
        "callbacks": [identity(type(callback)) for callback in job.callbacks],
        "batches": {
            name: _batches(getattr(job, name)) for name in ("loader", "val_loader", "test_loader")
        },
        "network": network_identity(job.network),
    }
    return replace(job, own=own, instead=_instead(job, own))


def own_text(own: dict[str, Identity] | None) -> str:
    """`own.json`; nothing where the config says it all."""
    return "" if own is None else json.dumps(own, indent=1) + "\n"


def not_known(own: dict[str, Identity] | None) -> Iterator[str]:
    """What a resumed run cannot be held to, a line each."""
    for name, found in (own or {}).items():
        for part, words in _missing(found, name):
            yield f"{part}: {words}; a resumed run does not notice a change of it"


def _missing(found: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(found, list):
        for number, part in enumerate(found, 1):
            yield from _missing(part, f"{name} {number}")
    if isinstance(found, dict):
        for key, part in found.items():
            if key == "not_known":
                yield from ((f"{name} {found.get('name', '')}".strip(), words) for words in part)
            elif key != "settings":
                yield from _missing(part, f"{name} {key}")


def _objective(objective: AnyObjective) -> Identity:
    if isinstance(objective, OwnObjective):
        over = objective.over
        scores = over if isinstance(over, str) else identity(over)
        return {**identity(objective.loss), "scores": scores}
    return {"name": objective.name} if type(objective) is Objective else identity(objective)


def _optimizer(optimizer: Any) -> Identity:
    if isinstance(optimizer, str):
        return {"name": optimizer}
    if isinstance(optimizer, torch.optim.Optimizer):
        plain = (bool, int, float, str, tuple)
        rates = {k: v for k, v in optimizer.defaults.items() if isinstance(v, plain)}
        return {**identity(type(optimizer)), "settings": rates}
    return identity(optimizer)


def _function(thing: Any) -> Identity:
    """A function with its values; of an object, which may change as it measures, the class."""
    return identity(thing if isinstance(thing, FunctionType) else type(thing))


def _batches(loader: Iterable[Any] | None) -> Any:
    if loader is None:
        return "none"
    return length(loader) if length(loader) is not None else "not known"


def _instead(job: Job, own: dict[str, Any]) -> dict[str, str]:
    """Fields of the config that something of the caller's own stands for."""
    fields = {}
    if type(job.objective) is not Objective:
        words = f"the objective is {own['objective']['name']} (own.json)"
        fields.update(dict.fromkeys(("objective", "temperature", "label_smoothing"), words))
    if not isinstance(job.optimizer, str):
        words = f"the optimizer is {own['optimizer']['name']} (own.json)"
        fields.update(dict.fromkeys(("optimizer", "learning_rate"), words))
        if isinstance(job.optimizer, torch.optim.Optimizer):
            fields["weight_decay"] = words
    return fields
