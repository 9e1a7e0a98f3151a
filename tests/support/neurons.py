"""The list that the tests of neurons iterate over: every scan with a set of plain parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from spikegrad import functional as F
from spikegrad.types import ALIFState, CUBAState, LIFState, LIState

RESETS = ("subtract", "zero", "none")


@dataclass(frozen=True)
class Case:
    """A scan, its numeric parameters (each differentiable), and a state of rest or otherwise."""

    name: str
    scan: Callable[..., Any]
    parameters: dict[str, float]
    state: type
    words: dict[str, Any] = field(default_factory=dict)

    @property
    def spikes(self) -> bool:
        return self.state is not LIState

    def tensors(self, dtype: torch.dtype = torch.float64, size: int = 0) -> dict[str, Tensor]:
        """The parameters as leaf tensors, per layer or per neuron."""
        shape = (size,) if size else ()
        made = {}
        for name, value in self.parameters.items():
            wiggle = torch.linspace(0.97, 1.03, size, dtype=dtype) if size else 1.0
            made[name] = (torch.full(shape, value, dtype=dtype) * wiggle).requires_grad_()
        return made

    def start(self, batch: int, features: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
        """Tensors of a state away from rest."""
        count = {LIFState: 1, LIState: 1, CUBAState: 2, ALIFState: 2}[self.state]
        generator = torch.Generator().manual_seed(5)
        return [
            torch.rand(batch, features, dtype=dtype, generator=generator).mul_(0.4).requires_grad_()
            for _ in range(count)
        ]


CASES = [
    Case("if", F.integrate_and_fire, {"threshold": 1.0, "v_reset": 0.1}, LIFState),
    Case("lif", F.lif, {"beta": 0.8, "threshold": 1.0, "v_rest": 0.1, "v_reset": -0.1}, LIFState),
    Case(
        "lif-leak",
        F.lif,
        {"beta": 0.6, "threshold": 0.7, "v_rest": -0.1, "v_reset": 0.05},
        LIFState,
        {"gain": "leak"},
    ),
    Case(
        "cuba",
        F.cuba_lif,
        {"alpha": 0.5, "beta": 0.8, "threshold": 1.0, "v_rest": 0.1, "v_reset": -0.1},
        CUBAState,
    ),
    Case(
        "cuba-leak",
        F.cuba_lif,
        {"alpha": 0.4, "beta": 0.5, "threshold": 0.4, "v_rest": 0.0, "v_reset": 0.05},
        CUBAState,
        {"gain_syn": "leak", "gain_mem": "leak"},
    ),
    Case(
        "alif",
        F.alif,
        {"beta": 0.8, "rho": 0.9, "kappa": 0.3, "threshold": 1.0, "v_rest": 0.0, "v_reset": 0.1},
        ALIFState,
    ),
    Case("li", F.li, {"beta": 0.8}, LIState),
]
SPIKING = [case for case in CASES if case.spikes]


def ids(cases: list[Case]) -> list[str]:
    """Names for parametrize."""
    return [case.name for case in cases]
