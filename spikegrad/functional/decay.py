"""Time constants to decays per step, and back.

Exponential: `beta = exp(-dt/tau)`, exact for a current that is constant within the step.
Forward Euler: `beta = 1 - dt/tau`, first order, refused when `dt >= tau`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spikegrad.checks import check_choice, check_positive
from spikegrad.errors import UserError, message
from spikegrad.types import Gain, Integration, Value

__all__ = ["decay", "input_gain", "time_constant"]


def decay(tau: Value, dt: float = 1.0, *, integration: Integration = "exponential") -> Value:
    """The decay per step of a time constant.

    tau: time constant (ms), a number or a tensor; dt: step (ms). Returns the same kind as tau.
    Raises UserError for `tau <= 0`, `dt <= 0`, and for Euler with `dt >= tau`.

    >>> round(decay(20.0), 4), decay(20.0, integration="euler")
    (0.9512, 0.95)
    """
    check_positive(dt, "dt", unit="ms")
    check_choice(integration, "integration", ("exponential", "euler"))
    if isinstance(tau, Tensor):
        return torch.exp(-dt / tau) if integration == "exponential" else 1.0 - dt / tau
    check_positive(tau, "tau", unit="ms")
    if integration == "exponential":
        return math.exp(-dt / tau)
    if dt >= tau:
        raise UserError(
            message("expected dt < tau for Euler", f"dt={dt}, tau={tau}", "use exponential decay")
        )
    return 1.0 - dt / tau


def time_constant(beta: Value, dt: float = 1.0) -> Value:
    """The time constant (ms) whose exponential decay per step of dt (ms) is beta, in (0, 1).

    >>> round(time_constant(0.9), 3)
    9.491
    """
    check_positive(dt, "dt", unit="ms")
    if isinstance(beta, Tensor):
        return -dt / torch.log(beta)
    if not 0.0 < beta < 1.0:
        raise UserError(
            message("expected beta between 0 and 1", str(beta), "beta = 1 is the neuron IF")
        )
    return -dt / math.log(beta)


def input_gain(gain: Gain, decay: Value) -> Value:
    """What the input is multiplied by: 1 ("unit") or `1 - decay` ("leak").

    >>> input_gain("leak", 0.75)
    0.25
    """
    check_choice(gain, "gain", ("unit", "leak"))
    return 1.0 if gain == "unit" else 1.0 - decay
