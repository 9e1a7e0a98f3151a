"""The recipe for snnTorch's default `Leaky` (docs/neurons.md) against what snnTorch measured.

The recipe before, a feedback of -threshold, gave the spikes and another gradient: its reset was not
detached. The numbers are of make_golden.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import spikegrad as sg
from spikegrad import functional as F
from spikegrad.errors import UserError
from spikegrad.kernels import cpu
from spikegrad.surrogate import from_snntorch

GOLDEN = json.loads((Path(__file__).parent / "golden" / "snntorch_leaky.json").read_text("utf-8"))


def recipe(beta: float, threshold: float, backend: str = "auto") -> sg.LIF:
    return sg.LIF(
        beta=beta, threshold=threshold, drop=threshold / beta, surrogate=from_snntorch("atan"),
        backend=backend,
    )  # fmt: skip


@pytest.mark.parametrize("backend", ["reference", "auto"])
@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: str(case["beta"]))
def test_spikes_membranes_and_gradients_are_snntorchs(case, backend: str) -> None:
    given = {k: torch.tensor(v, dtype=torch.float64) for k, v in case.items() if k[0] not in "bt"}
    x, weight = given["x"].requires_grad_(), given["weight"].requires_grad_()
    layer = recipe(case["beta"], case["threshold"], backend).double()
    # snnTorch keeps beta and threshold in float32, as we do, but has no quotient of both.
    layer.drop.value.copy_(layer.threshold.value / layer.decay_mem.quantity.value)
    s, _ = layer(torch.nn.functional.linear(x, weight))
    assert torch.equal(s, given["spikes"])
    assert 0 < s.mean() < 1
    with sg.record(layer) as tapes:
        layer(torch.nn.functional.linear(x, weight))
    # rounding in another order: beta (u - theta/beta) against beta u - theta
    torch.testing.assert_close(tapes[""].membrane, given["membrane"], rtol=1e-12, atol=1e-12)
    (s * given["seen"]).sum().backward()
    # its spikes, and so the gradients that reach them, are float32 whatever the input is
    torch.testing.assert_close(x.grad, given["dx"], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(weight.grad, given["dweight"], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("each", [False, True])
def test_a_drop_runs_natively_as_in_the_reference(detach: bool, each: bool) -> None:
    if cpu.load():
        pytest.skip(f"no native kernels: {cpu.load()}")
    x = (torch.randint(0, 64, (9, 3, 5), dtype=torch.float64) / 32).requires_grad_()
    drop = torch.tensor([0.5, 0.75, 1.0, 1.5, 2.0], dtype=torch.float64) if each else 1.25
    args = {"beta": 0.5, "threshold": 1.0, "drop": drop, "detach_reset": detach}
    want, end = F.lif(x, **args)
    got, other = sg.kernels.lif(x, backend="cpu", **args)
    assert torch.equal(got, want)
    assert torch.equal(other.v, end.v)
    gradients = [
        torch.autograd.grad(y.sum() + v.square().sum(), x)[0]
        for y, v in ((want, end.v), (got, other.v))
    ]
    torch.testing.assert_close(*gradients)
    assert not torch.equal(want, F.lif(x, beta=0.5, threshold=1.0)[0])


def test_a_drop_runs_in_front_of_a_pool_in_a_layer_and_step_by_step() -> None:
    x = torch.randint(0, 64, (6, 2, 3, 4, 4), generator=torch.Generator().manual_seed(0)) / 32
    for pair in (
        [sg.Sequential(sg.LIF(beta=0.5, drop=1.5), sg.MaxPool2d(2), backend=b) for b in BACKENDS],
        [sg.Sequential(sg.Flatten(), sg.LIF(beta=0.5, drop=1.5), backend=b) for b in BACKENDS],
    ):
        fast, slow = (net(x)[0] for net in pair)
        assert torch.equal(fast, slow)
    flat, states, steps = x.flatten(2), None, []
    with torch.no_grad():
        for t in range(6):
            y, states = pair[0](flat[t : t + 1], states)
            steps.append(y)
    assert torch.equal(torch.cat(steps), fast)


BACKENDS = ("auto", "reference")


def test_a_drop_without_a_reset_by_subtraction_is_refused() -> None:
    for make in (
        lambda: sg.LIF(5.0, reset="zero", drop=1.0),
        lambda: F.lif(torch.rand(3, 2, 4), beta=0.5, reset="none", drop=1.0),
    ):
        with pytest.raises(UserError, match="expected reset='subtract' with drop"):
            make()
    with pytest.raises(TypeError, match="drop as a number or a tensor"):
        sg.LIF(5.0, drop="1")
