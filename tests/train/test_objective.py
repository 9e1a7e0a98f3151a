"""What a run minimises: the objectives that have a name, and those of a user's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import mse_loss, one_hot

from spikegrad import functional
from spikegrad.nn import LIF, Linear, Sequential
from spikegrad.train import Objective, fit
from spikegrad.train.config import gather
from spikegrad.train.objective import objective_of

QUIET = {"progress": False, "preflight": "off", "tensorboard": False}


def batches(count: int = 6) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Three classes, each bright in two of six values."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(count):
        y = torch.randint(0, 3, (20,), generator=generator)
        x = 0.2 * torch.rand(20, 6, generator=generator)
        for place in (2 * y, 2 * y + 1):
            x[torch.arange(20), place] += 1.0
        found.append((x, y))
    return found


def spiking() -> Sequential:
    """A network whose outputs are spikes."""
    torch.manual_seed(0)
    return Sequential(Linear(6, 16), LIF(10.0), Linear(16, 3), LIF(10.0))


def test_fit_is_the_loop_of_four_lines():
    """SpikingJelly's first example, squared error of rates, reached 0.737 by `fit`, 0.803 so."""
    data, steps = batches(), 8
    loop, network = spiking(), spiking()
    optimizer = torch.optim.Adam(loop.parameters(), lr=1e-2)
    for _ in range(3):
        for x, y in data:
            optimizer.zero_grad()
            rates = loop(x.expand(steps, *x.shape))[0].mean(0)
            mse_loss(rates, one_hot(y, 3).float()).backward()
            optimizer.step()
    fit(network, data, objective="rate_mse", epochs=3, learning_rate=1e-2, steps=steps, **QUIET)
    for one, other in zip(loop.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", ["rate_mse", "count_mse"])
def test_target_rates_come_from_the_config(name):
    y, labels = torch.rand(5, 4, 3).round(), torch.tensor([0, 2, 1, 1])
    wanted = {"objective": name, "target_correct": 0.5, "target_incorrect": 0.25}
    loss = functional.rate_mse if name == "rate_mse" else functional.count_mse
    expected = loss(y, labels, correct=0.5, incorrect=0.25)
    assert objective_of(gather(wanted))(y, labels) == expected
    assert Objective(name)(y, labels) == loss(y, labels)


def test_weight_and_target_of_tet_come_from_the_config():
    y, labels = torch.rand(5, 4, 3), torch.tensor([0, 2, 1, 1])
    wanted = {"objective": "tet", "tet_weight": 0.5, "tet_target": 2.0}
    expected = functional.tet(y, labels, weight=0.5, target=2.0)
    assert objective_of(gather(wanted))(y, labels) == expected
