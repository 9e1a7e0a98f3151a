"""Runs of `fit` on a network and a loader of one's own: which settings they read.

The config of such a run has no data set and no network to build, so most of those two groups would
be promises that nothing keeps.
"""

from __future__ import annotations

from collections.abc import Iterable

from spikegrad.errors import UserError, message
from spikegrad.train.config import OPTIONS, Config

__all__ = ["OWN", "check_read", "is_own", "reads"]

OWN = "own"
"""What the data set of such a run is called."""

_NEVER = ("batch_size", "out")
_INSTEAD = {
    "calibrate": "call spikegrad.nn.calibrate(network, x, rate=...) before",
    "init": "call spikegrad.nn.initialise(network, ...) before",
    "batch_size": "set it in your loader",
    "validation": "pass val_loader=",
    "normalise": "scale the samples in your loader",
}


def is_own(config: Config) -> bool:
    """Whether a config is that of a network of one's own."""
    return config.data.dataset == OWN and not config.data.data


def reads(name: str) -> bool:
    """Whether `fit` on a network of one's own reads a field of the config.

    >>> reads("epochs"), reads("steps"), reads("hidden")
    (True, True, False)
    """
    group = OPTIONS[name].group
    return name == "steps" or (group in ("training", "run") and name not in _NEVER)


def check_read(names: Iterable[str]) -> None:
    """Refuse settings that `fit` would ignore.

    >>> check_read(["epochs"])
    """
    for name in names:
        if name in OPTIONS and not reads(name):
            remedy = _INSTEAD.get(name, "your network and your loader determine it")
            raise UserError(message("expected settings that fit() reads", name, remedy))
