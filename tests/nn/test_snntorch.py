"""snnTorch's default `Leaky` is `LIF(reset_delay=True)`, spikes and gradients; `LIF(drop=...)` too.

The numbers are of make_golden.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import spikegrad as sg
from spikegrad import functional as F
from spikegrad import kernels
from spikegrad.errors import UserError
from spikegrad.functional.delayed import DELAYED_LIF
from spikegrad.functional.lif import lif_values
from spikegrad.kernels import cpu
from spikegrad.surrogate import from_snntorch

GOLDEN = json.loads((Path(__file__).parent / "golden" / "snntorch_leaky.json").read_text("utf-8"))
CASES = GOLDEN["cases"]


def named(case: dict[str, Any]) -> str:
    return f"{case['beta']}-{case['reset']}"


def given_of(case: dict[str, Any]) -> dict[str, torch.Tensor]:
    """What is a tensor in a case."""
    plain = ("beta", "threshold", "reset")
    return {k: torch.tensor(v, dtype=torch.float64) for k, v in case.items() if k not in plain}


@pytest.mark.parametrize("backend", ["reference", "auto"])
@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_delayed_reset_is_snntorchs_with_all_gradients(case, backend: str) -> None:
    given = given_of(case)
    x, weight = given["x"].requires_grad_(), given["weight"].requires_grad_()
    # snnTorch keeps both in float32, whatever its input is
    beta, threshold = (
        torch.tensor(case[k]).double().requires_grad_() for k in ("beta", "threshold")
    )
    values = lif_values(
        beta=beta, threshold=threshold, reset=case["reset"], surrogate=from_snntorch("atan")
    )
    current = torch.nn.functional.linear(x, weight)
    s, state = kernels.step(DELAYED_LIF, current, backend=backend, **values)
    assert torch.equal(s, given["spikes"])
    assert 0 < s.mean() < 1
    torch.testing.assert_close(state.u, given["membrane"][-1], rtol=1e-12, atol=1e-12)
    inputs = {"dx": x, "dweight": weight, "dbeta": beta, "dthreshold": threshold}
    found = torch.autograd.grad((s * given["seen"]).sum(), list(inputs.values()))
    for name, mine in zip(inputs, found, strict=True):
        # its spikes, and so the gradients that reach them, are float32
        torch.testing.assert_close(mine, given[name], rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_layer_with_a_delayed_reset_is_snntorchs(case) -> None:
    given = given_of(case)
    layer = sg.LIF(
        beta=case["beta"], threshold=case["threshold"], reset=case["reset"], reset_delay=True,
        surrogate=from_snntorch("atan"),
    ).double()  # fmt: skip
    current = torch.nn.functional.linear(given["x"], given["weight"])
    s, _ = layer(current)
    assert torch.equal(s, given["spikes"])
    with sg.record(layer) as tapes:
        layer(current)
    torch.testing.assert_close(tapes[""].membrane, given["membrane"], rtol=1e-12, atol=1e-12)
    first, state = layer(current[:5])
    second, _ = layer(current[5:], state)
    assert torch.equal(torch.cat([first, second]), s)
    assert "reset_delay=True" in repr(layer)


@pytest.mark.parametrize("case", [c for c in CASES if c["reset"] == "subtract"], ids=named)
def test_a_drop_of_threshold_over_beta_is_snntorchs(case) -> None:
    given = given_of(case)
    x, weight = given["x"].requires_grad_(), given["weight"].requires_grad_()
    layer = sg.LIF(
        beta=case["beta"], threshold=case["threshold"], drop=case["threshold"] / case["beta"],
        surrogate=from_snntorch("atan"),
    ).double()  # fmt: skip
    # snnTorch keeps beta and threshold in float32, as we do, but has no quotient of both.
    layer.drop.value.copy_(layer.threshold.value / layer.decay_mem.quantity.value)
    s, _ = layer(torch.nn.functional.linear(x, weight))
    assert torch.equal(s, given["spikes"])
    (s * given["seen"]).sum().backward()
    torch.testing.assert_close(x.grad, given["dx"], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(weight.grad, given["dweight"], rtol=1e-5, atol=1e-7)


IMAGE = torch.randint(0, 64, (6, 2, 3, 4, 4), generator=torch.Generator().manual_seed(0)) / 32
NETWORKS = {
    "linear": lambda lif: (sg.Linear(5, 4), lif),
    "feedback": lambda lif: (sg.Linear(5, 4), sg.nn.Recurrent(lif, 4)),
    "alone": lambda lif: (lif,),
    "pool": lambda lif: (lif, sg.MaxPool2d(2)),
    "image": lambda lif: (sg.Conv2d(3, 2, 1), lif, sg.MaxPool2d(2)),
}


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_no_faster_path_takes_a_delayed_reset_for_another(name: str, gradients: bool) -> None:
    x = IMAGE if name in ("pool", "image") else IMAGE.flatten(2)[..., :5]
    x = x[:1].expand_as(x) if name == "image" else x
    torch.manual_seed(0)
    network = sg.Sequential(*NETWORKS[name](sg.LIF(beta=0.5, reset_delay=True)))
    if name != "pool":  # weights of a few bits, so that every order of sums gives the same
        for p in network.parameters():
            p.data = torch.round(p.data.abs() * 8) / 16
    with torch.set_grad_enabled(gradients):
        fast, _ = network(x)
        sg.nn.base.use_backend(network, "reference")
        slow, _ = network(x)
        states, steps = None, []
        sg.nn.base.use_backend(network, "auto")
        for x_t in x:
            y, states = network(x_t.unsqueeze(0), states)
            steps.append(y)
        for layer in network.modules():
            if isinstance(layer, sg.LIF):
                layer.reset_delay = False
        plain, _ = network(x)
    assert torch.equal(fast, slow)
    assert torch.equal(torch.cat(steps), slow)
    assert not torch.equal(plain, slow)  # or the test would see nothing


def test_a_delayed_reset_with_a_refractory_period_and_a_resting_potential() -> None:
    x = torch.full((6, 1, 1), 0.75)
    layer = sg.LIF(beta=0.5, reset_delay=True, v_rest=-1.0, refractory=2.0, threshold=0.0)
    s, _ = layer(x + 0.5)
    # u + 1: 1.25, 1.875 - 1, 1.6875, 2.09375, 2.296875 - 1, 1.8984375
    assert s.flatten().tolist() == [1, 0, 0, 1, 0, 0]
    with sg.record(layer) as tapes:
        layer(x + 0.5)
    want = [1.25, 0.875, 1.6875, 2.09375, 1.296875, 1.8984375]
    assert (tapes[""].membrane.flatten() + 1).tolist() == want


def test_explain_names_the_generated_scan() -> None:
    network = sg.Sequential(sg.Linear(5, 4), sg.LIF(beta=0.5, reset_delay=True))
    (only,) = sg.diagnose.explain(network, torch.rand(4, 2, 5)) if not cpu.load() else [None]
    assert only is None or (only.layers, only.backend) == (("0", "1"), "cpu")
    sg.nn.use_backend(network[:1], "reference")
    *_, last = sg.diagnose.explain(network, torch.rand(4, 2, 5))
    assert last.layers == ("1",)
    if not cpu.load():
        assert (last.backend, last.reason) == ("cpu", "a native scan generated from its step")


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
