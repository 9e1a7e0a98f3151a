"""Figures of a user's own: functions of all scores and labels of a part."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from spikegrad.errors import UserError, message

__all__ = ["Collected", "Metrics", "check_metrics"]

Metrics = Mapping[str, Callable[..., Any]]
"""`{name: function(scores, labels)}`, or of scores alone without labels."""

_TAKEN = ("loss", "accuracy")


def check_metrics(metrics: Any) -> dict[str, Callable[..., Any]]:
    """The metrics, each name free and each function callable.

    Raises:
        TypeError: no mapping of names to functions. UserError: a name that is taken.

    >>> check_metrics({"loss": abs})
    Traceback (most recent call last):
        ...
    spikegrad.errors.UserError: expected another name for a metric, got loss; loss, accuracy are ...
    """
    expected = "expected metrics as {name: function(scores, labels)}"
    if metrics is None:
        return {}
    if not isinstance(metrics, Mapping):
        raise TypeError(message(expected, type(metrics).__name__))
    for name, function in metrics.items():
        if not isinstance(name, str) or not name or not callable(function):
            raise TypeError(message(expected, f"{name!r}: {type(function).__name__}"))
        if isinstance(function, type):
            got, remedy = f"{name}: the class {function.__name__}", "pass an object of it"
            raise TypeError(message(expected, got, remedy))
        if name in _TAKEN:
            remedy = f"{', '.join(_TAKEN)} are always measured"
            raise UserError(message("expected another name for a metric", name, remedy))
    return dict(metrics)


class Collected:
    """Scores and labels of a part, batch by batch, and what the metrics make of all of them."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self.scores: list[Tensor] = []
        self.labels: list[Tensor] = []

    def add(self, scores: Tensor, labels: Tensor | None) -> None:
        """Keep a batch, if there is a metric to read it."""
        if self.metrics:
            self.scores.append(scores.detach().cpu())
            self.labels += [labels.cpu()] if labels is not None else []

    def values(self) -> dict[str, float | None]:
        """What each metric gives, as a number; None for one that is not finite.

        Raises:
            TypeError: one gives no number.
        """
        if not self.metrics:
            return {}
        given = [torch.cat(self.scores), *([torch.cat(self.labels)] if self.labels else [])]
        found: dict[str, float | None] = {}
        for name, function in self.metrics.items():
            value = function(*given)
            try:
                number = float(value)
            except (TypeError, ValueError, RuntimeError):
                expected = f"expected metric {name} to return a number"
                got = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise TypeError(message(expected, str(got))) from None
            found[name] = number if math.isfinite(number) else None
        return found
