"""Learned quantities in soft mode: the gradient of each parameter is a finite difference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad.nn import ALIF, CUBALIF, LIF
from spikegrad.surrogate import arctan
from spikegrad.verify.claim import Measured, claim

__all__ = ["gradients"]

STEPS, BATCH, NEURONS, STEP = 12, 2, 3, 1e-3
RESETS = ("subtract", "zero")


@claim(
    statement="in soft mode the gradients of threshold, slope and time constants are finite "
    "differences of the loss, with both resets",
    source="the definition of a derivative; Fang et al. 2021, ICCV (learned time constants)",
    remedy="do not learn the quantity named; name it in an issue",
)
def gradients(seed: int) -> Iterator[Measured]:
    """Each quantity of LIF, CUBALIF and ALIF, learned per neuron."""
    for reset in RESETS:
        how: dict[str, Any] = {
            "surrogate": arctan(2.0).soft(),
            "reset": reset,
            "detach_reset": False,
            "size": NEURONS,
        }
        common = ("threshold", "slope", "tau_mem")
        layers = [
            LIF(5.0, learn=common, **how),
            CUBALIF(5.0, tau_syn=3.0, learn=(*common, "tau_syn"), **how),
            ALIF(5.0, tau_adapt=8.0, learn=(*common, "tau_adapt"), **how),
        ]
        for layer in layers:
            for name, error in errors(layer.double(), seed).items():
                what = f"{type(layer).__name__}, reset {reset}: {name}"
                yield Measured(f"{what}: relative error", error, most=1e-7)


def errors(layer: nn.Module, seed: int) -> dict[str, float]:
    """By parameter: the difference from a finite difference, as a share of the larger one."""
    g = torch.Generator().manual_seed(seed)
    x = 1.5 * torch.rand(STEPS, BATCH, NEURONS, generator=g, dtype=torch.float64)
    weights = torch.rand(STEPS, BATCH, NEURONS, generator=g, dtype=torch.float64)

    def loss() -> Tensor:
        return (layer(x)[0] * weights).sum()

    parameters = dict(layer.named_parameters())
    got = torch.autograd.grad(loss(), list(parameters.values()))
    found = {}
    for (name, parameter), gradient in zip(parameters.items(), got, strict=True):
        want = differences(loss, parameter)
        scale = max(float(want.abs().max()), float(gradient.abs().max()))
        found[name.split(".")[0].replace("decay", "tau")] = (
            float((gradient - want).abs().max()) / scale
        )
    return found


def differences(loss: Callable[[], Tensor], parameter: Tensor) -> Tensor:
    """The fourth-order central difference of each number of a parameter."""
    flat = parameter.detach().view(-1)
    found = torch.zeros_like(flat)
    with torch.no_grad():
        for i in range(len(flat)):
            start = flat[i].clone()
            values = []
            for k in (1, -1, 2, -2):
                flat[i] = start + k * STEP
                values.append(loss())
            flat[i] = start
            near, far = values[0] - values[1], values[2] - values[3]
            found[i] = (8 * near - far) / (12 * STEP)
    return found.view_as(parameter)
