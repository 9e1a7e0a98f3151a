"""What `fit` was given: the config that it makes of it, and what can be known to be wrong before
anything runs.
"""

from __future__ import annotations

import inspect
import json
import pickle
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import torch
from torch import nn

from spikegrad.errors import UserError, message, unknown
from spikegrad.train.batches import length
from spikegrad.train.config import OPTIONS, Config, flatten, gather
from spikegrad.train.job import Job
from spikegrad.train.launcher import launched, machines
from spikegrad.train.objective import Objective
from spikegrad.train.own import OWN, check_read, reads
from spikegrad.train.own_objective import OwnObjective
from spikegrad.train.settings import check_threads
from spikegrad.train.shares import check_divisible
from spikegrad.train.synonyms import SYNONYMS

__all__ = ["check_job", "configured"]

_RATES = ("rate_lower", "rate_upper", "rate_weight")
_OF_OBJECTIVE = tuple(f.name for f in fields(Objective) if f.name != "name")


def configured(
    config: Config | None, options: dict[str, Any], optimizer: Any, objective: Any
) -> Config:
    """The config of a run on a network and a loader of one's own.

    Raises:
        UserError: an unknown option, one that nothing would read, or a wrong value.
    """
    for name in options:
        if name not in OPTIONS:
            raise UserError(unknown("option of fit()", name, _arguments(), SYNONYMS))
    check_read(options)
    values = {**(flatten(config) if config else {"dataset": OWN}), **options}
    if isinstance(optimizer, str):
        values["optimizer"] = optimizer
    elif optimizer is not None:
        _check_rates(values, options, optimizer)
    _settle_objective(values, options, objective)
    return gather(values)


def check_job(job: Job) -> None:
    """Refuse what can be known to be wrong before anything runs.

    Raises:
        TypeError: no network, no optimizer, notes that JSON cannot hold.
        UserError: loaders, schedules and processes that do not go together.
    """
    if not isinstance(job.network, nn.Module):
        got, remedy = type(job.network).__name__, "give the network first, then the loader"
        raise TypeError(message("expected a network as a torch.nn.Module", got, remedy))
    if not isinstance(job.optimizer, (str, torch.optim.Optimizer)) and not callable(job.optimizer):
        expected = "expected an optimizer as a name, an optimizer, or a function that makes one"
        raise TypeError(message(expected, repr(job.optimizer)))
    try:
        json.dumps(job.about, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(message("expected about= as values that JSON has", str(error))) from None
    run = job.config.run
    check_threads(run.threads, run.processes // machines())
    _check_loaders(job)
    if run.processes > 1:
        _check_processes(job)


def _check_loaders(job: Job) -> None:
    training = job.config.training
    if length(job.loader) is None and training.schedule != "constant":
        expected = f"expected a loader with a length for schedule {training.schedule}"
        raise UserError(message(expected, "one without", "use schedule='constant'"))
    if length(job.loader) is None and training.warmup:
        expected = "expected a loader with a length to warm up"
        raise UserError(message(expected, "one without", "use warmup=0"))
    if training.early_stopping and job.val_loader is None:
        expected = "expected a val_loader for early_stopping"
        raise UserError(message(expected, "none", "it needs a validation in every epoch"))
    if training.truncate and training.objective == "first_spike":
        expected = "expected truncate=0 with the objective first_spike"
        remedy = "every chunk would have first spikes of its own"
        raise UserError(message(expected, str(training.truncate), remedy))
    if job.metrics and job.val_loader is None and job.test_loader is None:
        expected = "expected a val_loader or test_loader for metrics"
        raise UserError(message(expected, "none", "metrics are measured there"))


def _check_processes(job: Job) -> None:
    """Refuse what cannot be divided among processes, or cannot travel to another one."""
    check_divisible(job.network, job.loader)
    if launched():  # each has made its own
        return
    if isinstance(job.optimizer, torch.optim.Optimizer):
        expected = "expected the optimizer as a name or a function with several processes"
        raise UserError(message(expected, "an optimizer", "each process makes its own"))
    for name in ("objective", "encode", "optimizer", "metrics", "callbacks"):
        try:
            pickle.dumps(getattr(job, name))
        except Exception as error:  # pickle fails in many ways
            expected = f"expected {name.replace('encode', 'encoder')} that another process can take"
            remedy = "define its functions and classes at the top level of a module, without lambda"
            raise UserError(message(expected, f"{error}", remedy)) from None


def _settle_objective(values: dict[str, Any], options: dict[str, Any], objective: Any) -> None:
    """Write the settings of an objective into the config's; refuse what it would not read."""
    if objective is None:
        return
    if isinstance(objective, str):
        values["objective"] = objective
        return
    if type(objective) is Objective:
        _check_equal(options, objective, _OF_OBJECTIVE)
        own = {name: getattr(objective, name) for name in _OF_OBJECTIVE}
        values.update(own, objective=objective.name)
        return
    if isinstance(objective, OwnObjective):
        _check_equal(options, objective, _RATES)
        values.update({name: getattr(objective, name) for name in _RATES})
    unread = [name for name in ("objective", *_OF_OBJECTIVE) if name not in _RATES]
    what = "the objective, which is your own, reads"
    _refuse(values, options, unread, what, "set it in your loss")


def _arguments() -> Iterator[str]:
    """The names that `fit` takes: its own arguments, and the fields that it reads."""
    from spikegrad.train.fitting import fit

    kinds = inspect.signature(fit).parameters.values()
    yield from (p.name for p in kinds if p.kind is not inspect.Parameter.VAR_KEYWORD)
    yield from (name for name in OPTIONS if reads(name))


def _check_rates(values: dict[str, Any], options: dict[str, Any], optimizer: Any) -> None:
    """Refuse settings that an optimizer of one's own has itself."""
    unread = ["learning_rate", "momentum"]
    remedy = "make it with its own: functools.partial(torch.optim.RMSprop, lr=1e-3)"
    if isinstance(optimizer, torch.optim.Optimizer):
        unread.append("weight_decay")
        remedy = "make it with its own: torch.optim.RMSprop(network.parameters(), lr=1e-3)"
    _refuse(values, options, unread, "your own optimizer reads", remedy)


def _refuse(
    values: dict[str, Any], options: dict[str, Any], unread: list[str], what: str, remedy: str
) -> None:
    """Refuse settings that were given and that nothing would read."""
    for name in unread:
        default = OPTIONS[name].default
        if name in options or values.get(name, default) != default:
            raise UserError(message(f"expected settings that {what}", name, remedy))


def _check_equal(options: dict[str, Any], objective: Any, names: tuple[str, ...]) -> None:
    """Refuse an option beside an objective that has another value of the same setting."""
    for name in names:
        if name in options and options[name] != getattr(objective, name):
            kind = type(objective).__name__
            expected = f"expected {name} in the {kind} alone"
            got = f"{options[name]} beside {kind}(..., {name}={getattr(objective, name)})"
            raise UserError(message(expected, got, "omit one of them"))
