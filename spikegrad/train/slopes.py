"""The slope of the surrogates over a run."""

from __future__ import annotations

from typing import Any

from torch import nn

from spikegrad.surrogate.schedule import Schedule
from spikegrad.train.config import TrainingConfig

__all__ = ["current_slope", "set_slopes", "slope_schedules"]


def slope_schedules(network: nn.Module, training: TrainingConfig) -> list[tuple[Any, Schedule]]:
    """Each spiking layer with the schedule of its slope, if the slope shall change."""
    if training.slope_schedule == "constant":
        return []
    return [
        (layer, Schedule(training.slope_schedule, layer.surrogate.slope, training.slope_end))
        for layer in spiking_layers(network)
    ]


def set_slopes(slopes: list[tuple[Any, Schedule]], progress: float) -> None:
    """Give every layer its slope at a progress in [0, 1]."""
    for layer, schedule in slopes:
        layer.surrogate = layer.surrogate.with_slope(schedule(progress))


def spiking_layers(network: nn.Module) -> list[Any]:
    """The layers with a surrogate."""
    return [m for m in network.modules() if hasattr(m, "surrogate")]


def current_slope(network: nn.Module) -> float | None:
    """The slope of the first spiking layer, its mean if it is learned."""
    for layer in spiking_layers(network):
        learned = getattr(layer, "slope", None)
        return float(layer.surrogate.slope if learned is None else learned().detach().mean())
    return None
