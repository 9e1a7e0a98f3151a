"""One step: truncation, clipping, numbers that are not finite."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from spikegrad.errors import RunError, UserError
from spikegrad.nn import LI, LIF, Linear, Sequential
from spikegrad.train.batch import Batch
from spikegrad.train.config import gather
from spikegrad.train.encoder import Encoder
from spikegrad.train.objective import Objective
from spikegrad.train.parallel import make_fabric
from spikegrad.train.running import Place
from spikegrad.train.step import Engine, train_step


def make_network(seed: int = 0) -> Sequential:
    torch.manual_seed(seed)
    return Sequential(Linear(6, 12), LIF(20.0), Linear(12, 3), LI(20.0))


def make_engine(network, *, objective="membrane_mean", rate=0.0, **penalty) -> Engine:
    fabric = make_fabric(gather({"device": "cpu"}))
    optimizer = fabric.setup_optimizers(torch.optim.SGD(network.parameters(), lr=rate or 0.1))
    wanted = Objective(objective, **penalty)
    encode = Encoder("direct", sequence=True)
    return Engine(fabric, network, optimizer, wanted, encode, Place())


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(5, 12, 6, generator=generator) * 2
    return x, torch.arange(5) % 3


def gradients(network):
    return {name: p.grad.clone() for name, p in network.named_parameters()}


@pytest.mark.parametrize("truncate", [0, 12, 50])
def test_truncation_beyond_the_sequence_is_whole_bptt(batch, truncate):
    x, labels = batch
    network, plain = make_network(), make_network()
    train_step(make_engine(network), x, labels, truncate=truncate)
    y, _ = plain(x.transpose(0, 1))
    Objective()(y, labels).backward()
    for name, gradient in gradients(network).items():
        torch.testing.assert_close(gradient, plain.get_parameter(name).grad)


def test_truncation_cuts_the_gradient_and_carries_the_state(batch):
    """By hand: two chunks, the second from the first's states without their history."""
    x, labels = batch
    network, plain = make_network(), make_network()
    outcome = train_step(make_engine(network), x, labels, truncate=7)
    sequence, objective = x.transpose(0, 1), Objective()
    first, states = plain(sequence[:7])
    cut = [
        None if s is None else type(s)(*(p if p is None else p.detach() for p in s)) for s in states
    ]
    second, _ = plain(sequence[7:], cut)
    loss = objective(first, labels) * (7 / 12) + objective(second, labels) * (5 / 12)
    loss.backward()
    assert outcome.loss == pytest.approx(loss.item(), rel=1e-6)
    whole = make_network()
    train_step(make_engine(whole), x, labels)
    for name, gradient in gradients(network).items():
        torch.testing.assert_close(gradient, plain.get_parameter(name).grad)
    assert not torch.allclose(network[0].weight.grad, whole[0].weight.grad)


def test_clipping_is_by_norm(batch):
    x, labels = batch
    free, clipped = make_network(), make_network()
    norm = train_step(make_engine(free), x, labels).gradient_norm
    seen = train_step(make_engine(clipped), x, labels, clip=norm / 10).gradient_norm
    assert seen == pytest.approx(norm)
    for name, gradient in gradients(free).items():
        torch.testing.assert_close(
            clipped.get_parameter(name).grad, gradient / 10, rtol=1e-4, atol=1e-8
        )
    total = math.sqrt(sum((g**2).sum().item() for g in gradients(clipped).values()))
    assert total == pytest.approx(norm / 10, rel=1e-4)


def test_the_rate_penalty_moves_rates(batch):
    x, labels = batch
    plain, pushed = make_network(), make_network()
    loss = train_step(make_engine(plain), x, labels).loss
    with_penalty = train_step(make_engine(pushed, rate_lower=0.9, rate_weight=10.0), x, labels)
    assert with_penalty.loss > loss
    assert not torch.allclose(plain[0].weight.grad, pushed[0].weight.grad)
    assert 0.0 < with_penalty.rates["1"] < 0.9


class Broken(nn.Module):
    def forward(self, x):
        return x * float("nan")


def test_a_loss_that_is_no_number_names_the_layer(batch):
    x, labels = batch
    network = Sequential(Linear(6, 12), LIF(20.0), Linear(12, 12), Broken(), Linear(12, 3))
    before = [p.detach().clone() for p in network.parameters()]
    with pytest.raises(RunError, match=r"first layer whose output is not finite is 3 \(Broken\)"):
        train_step(make_engine(network), x, labels)
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_a_gradient_that_is_no_number_stops_before_the_update(batch):
    x, labels = batch
    network = make_network()
    network[2].weight.register_hook(lambda g: torch.full_like(g, float("inf")))
    before = network[0].weight.detach().clone()
    with pytest.raises(
        RunError, match=r"expected finite gradients, .* nearest to the output: 2\.weight"
    ):
        train_step(make_engine(network), x, labels)
    assert torch.equal(before, network[0].weight)


def test_input_that_is_no_number_is_the_users(batch):
    x, labels = batch
    x[0, 0, 0] = float("nan")
    with pytest.raises(UserError, match="finite"):
        train_step(make_engine(make_network()), *Place().put(Batch(x, labels)))


def test_an_output_without_time_is_explained(batch):
    x, labels = batch
    flat = nn.Sequential(nn.Flatten(0, 1), nn.Linear(6, 3))
    with pytest.raises(UserError, match=r"expected the network's output as \[T, B, C\] with B=5"):
        train_step(make_engine(flat), x, labels)
