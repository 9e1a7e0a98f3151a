"""Training: config, one step, the loop, run folders, checkpoints.

Names are imported when they are first used, so that reading a config costs no import of torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikegrad.train.config import Config
    from spikegrad.train.fitting import fit
    from spikegrad.train.loading import load
    from spikegrad.train.measure import Evaluation, evaluate, predict
    from spikegrad.train.objective import Objective
    from spikegrad.train.result import Result
    from spikegrad.train.signals import Interrupted
    from spikegrad.train.sources import recipes, resolve

__all__ = [
    "Config",
    "Evaluation",
    "Interrupted",
    "Objective",
    "Result",
    "evaluate",
    "fit",
    "load",
    "predict",
    "recipes",
    "resolve",
]

_HOMES = {
    "Config": "config",
    "Evaluation": "measure",
    "Interrupted": "signals",
    "Objective": "objective",
    "Result": "result",
    "evaluate": "measure",
    "fit": "fitting",
    "load": "loading",
    "predict": "measure",
    "recipes": "sources",
    "resolve": "sources",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
