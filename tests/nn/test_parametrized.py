"""Masks, signs, norms and quantised weights by `torch.nn.utils.parametrize`: layers stay fused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from native import needs_kernels
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

import spikegrad as sg
from spikegrad.nn import use_backend


class Masked(nn.Module):
    """Some synapses alone."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


class Dale(nn.Module):
    """Every input excites or inhibits."""

    def __init__(self, signs: Tensor) -> None:
        super().__init__()
        self.register_buffer("signs", signs)

    def forward(self, weight: Tensor) -> Tensor:
        return nn.functional.softplus(weight) * self.signs


class Quantised(nn.Module):
    """Steps of 1/16, with a straight-through gradient."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight + ((weight * 16).round() / 16 - weight).detach()


def mask(rows: int, columns: int) -> Tensor:
    return (torch.rand(rows, columns, generator=torch.Generator().manual_seed(2)) < 0.5).float()


KINDS: dict[str, Callable[[nn.Module], object]] = {
    "mask": lambda m: parametrize.register_parametrization(
        m, "weight", Masked(mask(*m.weight.shape[:2]))
    ),
    "dale": lambda m: parametrize.register_parametrization(
        m, "weight", Dale(torch.sign(torch.linspace(-1, 3, m.weight.shape[1])))
    ),
    "norm": parametrizations.weight_norm,
    "quantised": lambda m: parametrize.register_parametrization(m, "weight", Quantised()),
}


def network(kind: str) -> sg.Sequential:
    torch.manual_seed(0)
    made = sg.Sequential(
        sg.Linear(12, 16), sg.LIF(10.0), sg.Linear(16, 16), sg.Recurrent(sg.LIF(10.0), 16),
        sg.Linear(16, 3), sg.LI(10.0),
    )  # fmt: skip
    for layer in (made[0], made[2], made[3].connection):
        KINDS[kind](layer)
    return made


def spikes() -> Tensor:
    drawn = torch.rand(20, 4, 12, generator=torch.Generator().manual_seed(1))
    return (drawn < 0.4).float() * 3


@needs_kernels
@pytest.mark.parametrize("kind", KINDS)
def test_a_parametrized_network_is_fused_and_exact(kind: str) -> None:
    made, x = network(kind), spikes()
    rows = sg.diagnose.explain(made, x)
    assert [row.layers for row in rows] == [("0", "1"), ("2", "3"), ("4", "5")]
    assert all(row.backend == "cpu" for row in rows)
    results = []
    for backend in ("auto", "reference"):
        use_backend(made, backend)
        y, _ = made(x)
        results.append([y, *torch.autograd.grad(y.square().sum(), list(made.parameters()))])
    for ours, theirs in zip(*results, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert float(results[0][0].detach().abs().sum()) > 0


def test_masked_synapses_get_no_gradient_and_signs_stay() -> None:
    made, x = network("mask"), spikes()
    made(x)[0].sum().backward()
    behind = made[0].parametrizations.weight
    assert bool((behind.original.grad[behind[0].mask == 0] == 0).all())
    assert bool((behind.original.grad[behind[0].mask == 1] != 0).any())
    signed = network("dale")
    optimizer = torch.optim.SGD(signed.parameters(), lr=10.0)
    signed(x)[0].sum().backward()
    optimizer.step()
    weight, signs = signed[0].weight, signed[0].parametrizations.weight[0].signs
    assert bool((weight * signs >= 0).all())


@needs_kernels
def test_a_module_fuses_them_too() -> None:
    class Net(sg.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.lif = sg.Linear(12, 16), sg.LIF(10.0)

        def flow(self, x: Tensor) -> Tensor:
            return self.lif(self.fc(x))

    torch.manual_seed(0)
    net = Net()
    KINDS["mask"](net.fc)
    rows = sg.diagnose.explain(net, spikes())
    assert [row.layers for row in rows] == [("fc", "lif")]
    alone, _ = sg.Sequential(net.fc, net.lif)(spikes())
    assert torch.equal(net(spikes())[0], alone)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_streamed(kind: str) -> None:
    made, x = network(kind).eval(), spikes()
    other = network(kind).eval()
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
    other.load_state_dict(made.state_dict())
    with torch.no_grad():
        y, _ = made(x)
        assert torch.equal(other(x)[0], y)
    step = sg.stream(made, batch=4)
    assert torch.allclose(torch.stack([step(part) for part in x]), y, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_computed_weight_is_not_set_in_silence(kind: str) -> None:
    made = network(kind)
    with pytest.raises(sg.UserError, match=r"to initialise it, got layer 0"):
        sg.nn.initialise(made)
    with pytest.raises(sg.UserError, match=r"to calibrate it, got layer 0"):
        sg.nn.calibrate(made, spikes())
