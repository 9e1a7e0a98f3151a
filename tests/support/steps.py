"""Neurons written as steps and the loop in torch: what a generated kernel is compared with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad.step import Step
from spikegrad.surrogate import arctan, boxcar, straight_through, triangle

CURRENTS = {"AdEx": 1500.0, "GLIF": 800.0, "Izhikevich": 20.0, "QIF": 60.0, "EIF": 60.0,
            "BalancedResonateAndFire": 40.0, "SEAdLIF": 12.0}  # fmt: skip
"""About twice what makes a model fire, in its unit; 2 for others."""
TOLERANCE = {torch.float64: 1e-11, torch.float32: 3e-4}
"""Of the largest gradient, or 1: sums over time in another order."""


def lif_step(x: Tensor, s: Any, p: Any) -> Any:
    """`functional.lif` as a step."""
    u = p.v_rest + p.beta * (s.v - p.v_rest) + x
    fired = p.spike(u, p.threshold)
    return fired, {"v": p.reset(u, fired)}


def alif_step(x: Tensor, s: Any, p: Any) -> Any:
    """`functional.alif` as a step."""
    u = p.v_rest + p.beta * (s.v - p.v_rest) + x
    fired = p.spike(u, p.threshold + p.kappa * s.a)
    return fired, {"v": p.reset(u, fired), "a": p.rho * s.a + fired}


def average_step(x: Tensor, s: Any, p: Any) -> Any:
    """A neuron that never spikes."""
    v = p.beta * s.v + (1.0 - p.beta) * x
    return v, {"v": v}


PLAIN = {"beta": 0.9, "threshold": 1.0, "v_rest": 0.0, "v_reset": 0.0}
LIF = Step(lif_step, name="lif", states={"v": "v_rest"}, parameters=PLAIN)
ALIF = Step(
    alif_step,
    name="alif",
    states={"v": "v_rest", "a": 0.0},
    parameters={**PLAIN, "rho": 0.95, "kappa": 0.2},
)
AVERAGE = Step(average_step, states={"v": 0.0}, parameters={"beta": 0.9}, spikes=False)

# Rows that together have every pair of values: surrogate, reset, refractory, detach, each, learn,
# lean, float64.
ROWS = [
    (arctan(2.0), "subtract", 0, True, False, False, False, True),
    (arctan(2.0), "zero", 2, False, True, True, True, False),
    (triangle(1.5), "zero", 0, False, False, True, True, True),
    (triangle(1.5), "none", 2, True, True, False, False, False),
    (boxcar(gain=2.0), "none", 0, False, True, False, True, False),
    (boxcar(gain=2.0), "subtract", 2, True, False, True, False, True),
    (arctan(3.0, normalisation="peak"), "zero", 0, True, True, True, False, True),
    (arctan(3.0, normalisation="peak"), "subtract", 2, False, False, False, True, False),
    (straight_through(), "subtract", 0, False, True, False, True, True),
    (straight_through(), "zero", 2, True, False, True, False, False),
]


def values_of(
    step: Step, dtype: torch.dtype, *, each: bool, learn: bool, columns: int = 7
) -> dict[str, Tensor]:
    """The parameters as tensors, one per neuron or per layer."""
    noise = torch.rand(columns, dtype=dtype) * 0.01 + 1.0
    return {
        name: (value * noise if each else torch.tensor(value, dtype=dtype)).requires_grad_(learn)
        for name, value in step.defaults().items()
    }


def parts_of(state: Any) -> list[Tensor | None]:
    """The tensors of a state, of neurons with feedback too."""
    parts: list[Tensor | None] = []
    for part in state:
        parts += parts_of(part) if isinstance(part, tuple) else [part]
    return parts


def results(run: Any, x: Tensor, values: dict[str, Tensor], **args: Any) -> list[Tensor | None]:
    """Output, states and gradients of two chunks."""
    x = x.clone().requires_grad_()
    values = {k: v.detach().clone().requires_grad_(v.requires_grad) for k, v in values.items()}
    half = x.shape[0] // 2
    y, state = run(x[:half], None, **args, **values)
    more, state = run(x[half:], state, **args, **values)
    y = torch.cat([y, more])
    weights = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).reshape(y.shape).to(y.dtype)
    ends = parts_of(state)
    total = (y * weights).sum() + sum(
        0.5 * end.sum().to(y.dtype) for end in ends if end is not None and end.requires_grad
    )
    total.backward()
    return [y, *ends, x.grad, *(v.grad for v in values.values())]


def compare(
    loop: Any,
    kernel: Any,
    x: Tensor,
    values: dict[str, Tensor],
    *,
    exact: bool,
    tolerance: float | None = None,
    **args: Any,
) -> float:
    """A kernel against the loop, values and gradients; returns the rate.

    exact: outputs and states to the last bit; tolerance: of the rest, by default of its dtype.
    """
    lean = args.pop("lean", False)
    want = results(loop, x, values, **args)
    got = results(kernel, x, values, lean=lean, **args)
    states = len(want) - len(values) - 1
    limit = TOLERANCE[x.dtype] if tolerance is None else tolerance
    for k, (one, other) in enumerate(zip(want, got, strict=True)):
        if one is None or other is None:  # a gradient that nothing has a part in is 0
            assert other is None or not other.any()
            assert one is None or not one.any()
            continue
        assert one.dtype == other.dtype
        if exact and k < states:
            assert torch.equal(one, other), f"result {k}"
        else:
            scale = one.abs().max().clamp(min=1.0) * limit
            assert (one - other).abs().max() <= scale, f"result {k}"
    assert want[0] is not None
    return float(want[0].detach().float().mean())
