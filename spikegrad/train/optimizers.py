"""Optimizers by name, with weight decay for weights only."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from spikegrad.errors import UserError, message, unknown
from spikegrad.nn import no_decay
from spikegrad.train.config import TrainingConfig

__all__ = ["make_optimizer", "parameter_groups"]

Optimizer = torch.optim.Optimizer
Maker = Callable[[Iterable[Any]], Optimizer]


def make_optimizer(
    wanted: str | Optimizer | Maker, network: nn.Module, training: TrainingConfig
) -> Optimizer:
    """An optimizer for a network.

    Args:
        wanted: "adam", "adamw", "sgd" (with the config's rates), an optimizer that exists, or a
            function from parameter groups to one.
        network: whose parameters to update; those that require no gradient are left out.
        training: learning rate, weight decay, momentum.
    Returns:
        an optimizer whose groups carry `initial_lr`, what the schedule multiplies.
    Raises:
        UserError: an unknown name, a network without parameters, an optimizer of another one, or
            one that computes the loss several times a step.
        TypeError: the function returns no optimizer.
    """
    groups = parameter_groups(network, training.weight_decay)
    if not any(group["params"] for group in groups):
        raise UserError(message("expected a network with parameters to train", "none"))
    if isinstance(wanted, str):
        optimizer = _by_name(wanted, groups, training)
    elif isinstance(wanted, Optimizer):
        optimizer = wanted
        _check_own(optimizer, network)
    else:
        if isinstance(wanted, type) and issubclass(wanted, Optimizer):
            _check_step(wanted)
        optimizer = wanted(groups)
        if not isinstance(optimizer, Optimizer):
            expected = "expected the function given as optimizer to return a torch optimizer"
            raise TypeError(message(expected, type(optimizer).__name__))
    _check_step(type(optimizer))
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    return optimizer


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights, and apart from them what weight decay must leave alone (`nn.no_decay`).

    >>> [len(group["params"]) for group in parameter_groups(nn.Linear(2, 2), 0.1)]
    [1, 1]
    """
    spared = no_decay(network)
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    weights = [p for name, p in named if name not in spared]
    others = [p for name, p in named if name in spared]
    groups = [
        {"params": weights, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _by_name(name: str, groups: list[dict[str, Any]], training: TrainingConfig) -> Optimizer:
    rate = training.learning_rate
    if name == "adam":
        return torch.optim.Adam(groups, lr=rate)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=rate)
    if name == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=training.momentum)
    raise UserError(unknown("optimizer", name, ("adam", "adamw", "sgd")))


def _check_step(kind: type[Optimizer]) -> None:
    """Refuse an optimizer whose step needs a closure, as L-BFGS does."""
    closure = inspect.signature(kind.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        expected = "expected an optimizer that uses one gradient per step"
        got = f"{kind.__name__}, which computes the loss several times"
        remedy = "use another, or a loop of your own (examples/own_training_loop.py)"
        raise UserError(message(expected, got, remedy))


def _check_own(optimizer: Optimizer, network: nn.Module) -> None:
    own = {id(p) for p in network.parameters()}
    held = [p for group in optimizer.param_groups for p in group["params"]]
    if not any(id(p) in own for p in held):
        expected = "expected an optimizer of the network's parameters"
        raise UserError(message(expected, "one of others", "make it after the network"))
