"""Dale's law, pruning and growth: against dense arithmetic, optimisers, checkpoints."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

import spikegrad as sg
from spikegrad.errors import UserError
from spikegrad.nn import candidates, dale, grow, prune, rewire


def sparse(seed: int = 0, inputs: int = 30, outputs: int = 20, density: float = 0.2) -> sg.Linear:
    draw = torch.Generator().manual_seed(seed)
    return sg.Linear(inputs, outputs, connectivity=density, generator=draw)


def dense(layer: sg.Linear, values: Tensor | None = None) -> Tensor:
    values = layer.weight if values is None else values
    assert layer.edges is not None
    return sg.functional.dense_weight(values.detach(), layer.edges)


def test_prune_removes_the_smallest() -> None:
    layer = sparse()
    before = dense(layer)
    sizes = layer.weight.detach().abs().sort().values
    own = layer.weight
    many = prune(layer, 0.4)
    assert many == int(0.4 * len(sizes))
    assert layer.weight is own
    expected = torch.where(before.abs() >= sizes[many], before, 0.0)
    assert torch.equal(dense(layer), expected)
    assert len(layer.edges.targets) == len(sizes) - many


def test_prune_leaves_one_and_nothing_is_nothing() -> None:
    layer = sparse()
    assert prune(layer, 0.0) == 0
    prune(layer, 0.9999)
    assert len(layer.weight) == 1
    assert prune(layer, 0.9) == 0


@pytest.mark.parametrize("places", [1 << 24, 60])
def test_growth_follows_the_largest_gradient(places: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spikegrad.nn.places.PLACES", places)
    layer = sparse()
    network = sg.Sequential(layer, sg.LIF(10.0), sg.Linear(20, 3), sg.LI(10.0))
    x = (torch.rand(12, 5, 30, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    with candidates(layer) as found:
        network(x)[0].square().sum().backward()
    # The gradient of all places is that of a connection with all of them.
    every = copy.deepcopy(network)
    every[0] = sg.Linear(30, 20)
    with torch.no_grad():
        every[0].weight.copy_(dense(layer))
        every[0].bias.copy_(layer.bias)
    every(x)[0].square().sum().backward()
    assert torch.allclose(found.dense(), every[0].weight.grad, rtol=1e-4, atol=1e-5)
    exists = dense(layer, torch.ones_like(layer.weight)) > 0
    free = found.dense().abs().masked_fill(exists, -1.0)
    expected = exists.clone()
    expected.view(-1)[free.flatten().topk(25).indices] = True
    before = dense(layer)
    assert grow(layer, 25, gradient=found, weight=0.0) == 25
    assert torch.equal(dense(layer, torch.ones_like(layer.weight)) > 0, expected)
    assert torch.equal(dense(layer), before)


@pytest.mark.parametrize(("density", "many"), [(0.1, 40), (0.8, 60)])
def test_random_growth_fills_free_places_alone(density: float, many: int) -> None:
    layer = sparse(density=density)
    had = dense(layer, torch.ones_like(layer.weight)) > 0
    assert grow(layer, many, weight=0.5, generator=torch.Generator().manual_seed(3)) == many
    has = dense(layer, torch.ones_like(layer.weight)) > 0
    assert (has & had).sum() == had.sum()
    assert has.sum() == had.sum() + many
    assert (dense(layer)[has & ~had] == 0.5).all()
    again = sparse(density=density)
    grow(again, many, weight=0.5, generator=torch.Generator().manual_seed(3))
    assert torch.equal(again.edges.targets, layer.edges.targets)
    assert grow(layer, 10_000) == (~has).sum()
    assert len(layer.weight) == 600


def test_random_growth_takes_every_place_alike() -> None:
    draw = torch.Generator().manual_seed(0)
    counts = torch.zeros(4, 6)
    for _ in range(600):
        layer = sg.Linear(6, 4, connectivity=[[0, 0], [5, 3]])
        grow(layer, 3, generator=draw)
        counts += dense(layer, torch.ones_like(layer.weight))
    free = counts[counts < 600]
    assert len(free) == 22
    expected = 600 * 3 / 22
    chi2 = ((free - expected) ** 2 / expected).sum()
    assert chi2 < 50  # 21 degrees of freedom: beyond it once in 2,500


def test_an_optimizer_follows() -> None:
    layer = sparse()
    optimizer = torch.optim.Adam(layer.parameters())
    x = torch.rand(4, 3, 30, generator=torch.Generator().manual_seed(1))
    layer(x).square().sum().backward()
    optimizer.step()
    momentum = dense(layer, optimizer.state[layer.weight]["exp_avg"])
    rewire(layer, 0.3, optimizer=optimizer, generator=torch.Generator().manual_seed(2))
    now = dense(layer, optimizer.state[layer.weight]["exp_avg"])
    new = (now == 0) & (dense(layer, torch.ones_like(layer.weight)) > 0)
    assert new.sum() >= int(0.3 * len(layer.weight)) - 1
    assert torch.equal(now, torch.where(now != 0, momentum, 0.0))
    layer(x).square().sum().backward()
    optimizer.step()
    assert layer.weight.isfinite().all()


def test_a_checkpoint_has_the_new_synapses() -> None:
    layer = sparse()
    rewire(layer, 0.5, generator=torch.Generator().manual_seed(2))
    prune(layer, 0.25)
    other = sparse(seed=5)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(dense(other), dense(layer))


@pytest.mark.parametrize("connectivity", [None, 0.4])
def test_dale_keeps_signs_through_training(connectivity: float | None) -> None:
    torch.manual_seed(0)
    layer = sg.Linear(10, 8, connectivity=connectivity)
    sizes = layer.weight.detach().abs()
    assert dale(layer, 0.8) is layer
    assert torch.equal(layer.weight.detach().abs(), sizes)
    feedback = dale(sg.Linear(8, 8, bias=False), torch.arange(8) % 4 != 3)
    recurrent = sg.Recurrent(sg.LIF(10.0), connection=feedback)
    network = sg.Sequential(layer, recurrent, sg.Linear(8, 2), sg.LI(10.0))
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    x = torch.rand(9, 4, 10)
    first = layer.weight.detach().clone()
    for _ in range(5):
        optimizer.zero_grad()
        network(x)[0].square().sum().backward()
        optimizer.step()
    assert not torch.equal(layer.weight, first)
    signs = torch.tensor([1.0] * 8 + [-1.0] * 2)
    each = signs if connectivity is None else signs[layer.edges.sources()]
    assert (layer.weight * each >= 0).all()
    assert (feedback.weight[:, 3::4] <= 0).all()
    copied = copy.deepcopy(network)
    assert copied[0].parametrizations.weight[0].of[0] is copied[0]
    assert torch.equal(copied(x)[0], network(x)[0])


def test_dale_and_rewiring_together() -> None:
    layer = dale(sparse(), 0.5)
    grow(layer, 50, generator=torch.Generator().manual_seed(0))
    prune(layer, 0.1)
    layer(torch.ones(2, 3, 30)).sum().backward()
    stored = layer.parametrizations.weight.original
    assert stored.shape == layer.weight.shape
    assert (stored.grad != 0).all()  # those that start at 0 learn too
    assert (layer.weight * torch.where(layer.edges.sources() < 15, 1.0, -1.0) >= 0).all()


def test_wrong_input_is_named() -> None:
    layer = sparse()
    with pytest.raises(UserError, match="a connection with edges, got one with all synapses"):
        prune(sg.Linear(3, 2), 0.5)
    with pytest.raises(TypeError, match="a spikegrad Linear, got Linear"):
        grow(torch.nn.Linear(3, 2), 1)
    with pytest.raises(UserError, match=r"share of the synapses in \[0, 1\), got 1.0"):
        prune(layer, 1.0)
    with pytest.raises(TypeError, match=r"whole number of synapses to grow, got 0\.5"):
        grow(layer, 0.5)
    with pytest.raises(UserError, match="number of synapses >= 0, got -1"):
        grow(layer, -1)
    with pytest.raises(UserError, match=r"expected a gradient \[20, 30\], got \[30, 20\]"):
        grow(layer, 1, gradient=torch.ones(30, 20))
    with pytest.raises(UserError, match="expected a finite gradient"):
        grow(layer, 1, gradient=torch.full((20, 30), float("nan")))
    others = torch.optim.SGD(sparse().parameters(), lr=0.1)
    with pytest.raises(UserError, match="optimizer that holds this connection's weight"):
        prune(layer, 0.5, optimizer=others)
    with pytest.raises(TypeError, match=r"a torch\.optim\.Optimizer, got str"):
        grow(layer, 1, optimizer="adam")
    with pytest.raises(TypeError, match="weight"):
        grow(layer, 1, weight="0")
    with candidates(layer) as found:
        pass
    with pytest.raises(UserError, match="a backward pass through the connection"):
        grow(layer, 1, gradient=found)
    with pytest.raises(UserError, match="candidates of this connection, got those of another"):
        grow(sparse(), 1, gradient=found)
    with pytest.raises(UserError, match="without Dale's law, got one that has it"):
        dale(dale(sparse(), 0.5), 0.5)
    with pytest.raises(UserError, match=r"share of excitatory inputs in \[0, 1\], got 1.5"):
        dale(sparse(), 1.5)
    with pytest.raises(UserError, match=r"excitatory as bool \[30\] or a share"):
        dale(sparse(), torch.ones(30))
