"""What a spiking layer returns: spikes, membranes before the reset, or both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import spikegrad as sg
from spikegrad import kernels
from spikegrad.functional.delayed import DELAYED_LIF
from spikegrad.functional.lif import lif_values
from spikegrad.kernels import cpu
from spikegrad.surrogate import from_snntorch

GOLDEN = json.loads((Path(__file__).parent / "golden" / "snntorch_leaky.json").read_text("utf-8"))
LAYERS: dict[str, Any] = {
    "LIF": lambda **how: sg.LIF(10.0, refractory=1.0, **how),
    "delayed": lambda **how: sg.LIF(10.0, reset_delay=True, **how),
    "ALIF": lambda **how: sg.ALIF(10.0, 50.0, reset="zero", **how),
    "SEAdLIF": lambda **how: sg.SEAdLIF(threshold=0.1, **how),
    "ternary": lambda **how: sg.IF(spike="ternary", **how),
}


def weighted(y: torch.Tensor) -> torch.Tensor:
    return (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)).sum()


@pytest.mark.parametrize("output", ["membrane", "both"])
@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda c: f"{c['beta']}-{c['reset']}")
def test_membranes_and_their_gradients_are_snntorchs(case: Any, output: Any) -> None:
    given = {k: torch.tensor(v, dtype=torch.float64) for k, v in case.items() if k != "reset"}
    x, weight = given["x"].requires_grad_(), given["weight"].requires_grad_()
    beta, threshold = (
        torch.tensor(case[k]).double().requires_grad_() for k in ("beta", "threshold")
    )
    how = {"reset": case["reset"], "surrogate": from_snntorch("atan")}
    values = lif_values(beta=beta, threshold=threshold, **how)
    step = DELAYED_LIF.variant(output=output)
    y, _ = kernels.step(step, torch.nn.functional.linear(x, weight), **values)
    if output == "both":
        s, y = y
        assert torch.equal(s, given["spikes"])
    torch.testing.assert_close(y, given["membrane"], rtol=1e-12, atol=1e-12)
    inputs = {"dx": x, "dweight": weight, "dbeta": beta, "dthreshold": threshold}
    total = (y * given["seen_membrane"]).sum()
    found = torch.autograd.grad(total, list(inputs.values()), allow_unused=True)
    for name, mine in zip(inputs, found, strict=True):
        mine = torch.zeros((), dtype=torch.float64) if mine is None else mine
        torch.testing.assert_close(mine, given[f"membrane_{name}"], rtol=1e-6, atol=1e-8, msg=name)


@pytest.mark.parametrize("name", LAYERS)
def test_every_output_is_the_recorded_one(name: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(20, 2, 5, dtype=torch.float64) * 2
    layer = LAYERS[name]().double()
    with sg.record(layer) as tapes:
        layer(x)
    s, u = tapes[""].spikes, tapes[""].membrane
    found = {}
    for output in ("spikes", "membrane", "both"):
        given = x.clone().requires_grad_()
        other = LAYERS[name](output=output).double()
        y, state = other(given)
        mine = y if isinstance(y, tuple) else (y,)
        for got, want in zip(
            mine, {"spikes": [s], "membrane": [u]}.get(output, [s, u]), strict=True
        ):
            assert torch.allclose(got, want, rtol=1e-10, atol=1e-12)
        sum(weighted(part) for part in mine).backward()
        found[output] = given.grad
        first, between = other(x[:7])
        second, end = other(x[7:], between)
        both = [first, second] if output != "both" else [first[1], second[1]]
        assert torch.allclose(torch.cat(both), mine[-1].detach(), rtol=1e-10, atol=1e-12)
        assert torch.allclose(end[0], state[0])
        for wanted in (True, False):  # a recording has spikes in every case
            with sg.record(other, membrane=wanted) as tapes:
                z, _ = other(x)
            assert torch.allclose(tapes[""].spikes, s)
            assert isinstance(z, tuple) == (output == "both")
            assert torch.allclose(z[1] if output == "both" else z, mine[-1].detach())
    assert torch.allclose(found["both"], found["spikes"] + found["membrane"], rtol=1e-9)
    assert found["membrane"].abs().sum() > 0


@pytest.mark.parametrize("name", LAYERS)
def test_membranes_come_from_the_native_scan(name: str) -> None:
    if cpu.load():
        pytest.skip(f"no native kernels: {cpu.load()}")
    torch.manual_seed(0)
    x, found = torch.randn(20, 2, 9) * 2, []
    for backend in ("reference", "cpu"):
        given = x.clone().requires_grad_()
        u, _ = LAYERS[name](output="membrane", backend=backend)(given)
        weighted(u).backward()
        found.append((u.detach(), given.grad))
    for mine, theirs in zip(*found, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-4 * float(mine.abs().max()))


def test_a_network_that_ends_in_membranes_is_trained_on_them() -> None:
    torch.manual_seed(0)
    network = sg.Sequential(
        sg.Linear(6, 8), sg.LIF(10.0), sg.Linear(8, 3), sg.LIF(10.0, output="membrane")
    )
    x, labels = torch.rand(12, 4, 6), torch.tensor([0, 1, 2, 0])
    y, _ = network(x)
    assert y.unique().numel() > 2
    loss = sg.train.Objective("membrane_mean")(y, labels)
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())
    assert set(sg.diagnose.firing_rates(network, x)) == {"1", "3"}
    with torch.no_grad():
        images = sg.Sequential(sg.Conv2d(1, 64, 1), sg.LIF(10.0, output="both"))
        (s, u), _ = images(torch.rand(40, 8, 1, 34, 34))
    assert s.shape == u.shape == (40, 8, 64, 34, 34)


def test_where_only_spikes_can_be() -> None:
    with pytest.raises(sg.UserError, match="feeds them back"):
        sg.nn.Recurrent(sg.LIF(10.0, output="membrane"), 4)(torch.rand(3, 2, 4))
    network = sg.Sequential(sg.LIF(10.0, output="both"), sg.Linear(4, 3))
    with pytest.raises(sg.UserError, match="in the last layer alone"):
        network(torch.rand(3, 2, 4))
