"""The shares of a batch make the whole batch again, in values and gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from spikegrad.errors import RunError, UserError
from spikegrad.nn import BNTT, LIF, BatchNorm, Linear, Sequential
from spikegrad.nn.norm import standing_in
from spikegrad.train import fit
from spikegrad.train.parallel import add_up_gradients
from spikegrad.train.running import Place
from spikegrad.train.shares import Share, shares

WORLD = 3


def values(count: int) -> torch.Tensor:
    return torch.arange(1.0, 1.0 + 2 * count, dtype=torch.float64).reshape(2, count)


def whole_and_its_gradient(rank: int, counts: tuple[int, ...]) -> None:
    """Each computes the product of everything: no sum over samples, and no mean."""
    everything = values(sum(counts)).requires_grad_()
    everything.prod(1).sum().backward()
    begin = sum(counts[:rank])
    own = values(sum(counts))[:, begin : begin + max(counts[rank], 1)].clone().requires_grad_()
    whole = Share(counts, rank).whole(own, 1)
    torch.testing.assert_close(whole, everything)
    whole.prod(1).sum().backward()
    expected = torch.zeros_like(own)
    expected[:, : counts[rank]] = everything.grad[:, begin : begin + counts[rank]]
    torch.testing.assert_close(own.grad, expected)


def mean_and_its_gradient(rank: int, counts: tuple[int, ...]) -> None:
    own = torch.tensor(float(rank + 1)).requires_grad_()
    mean = Share(counts, rank).mean(own)
    weights = [count / sum(counts) for count in counts]
    expected = sum(w * (r + 1) for r, w in enumerate(weights))
    assert mean.item() == pytest.approx(expected)
    mean.square().backward()
    assert own.grad.item() == pytest.approx(2 * expected * weights[rank])


def divided(rank: int) -> None:
    """What does not divide goes to the first ones; one without a sample stands in with zeros."""
    place = Place(rank=rank, world=WORLD)
    batches = [(torch.ones(n, 4), torch.arange(n)) for n in (7, 1)]
    found = list(shares(batches, place))
    assert [s.share.counts for s in found] == [(3, 2, 2), (1, 0, 0)]
    assert found[0].batch.labels.tolist() == [[0, 1, 2], [3, 4], [5, 6]][rank]
    assert found[1].batch.labels.tolist() == [[0], [], []][rank]
    assert found[1].batch.x.tolist() == [[float(rank == 0)] * 4]


def told_apart(rank: int) -> None:
    """Other orders and other numbers of batches were trained on without complaint once."""
    place, x = Place(rank=rank, world=WORLD), torch.arange(12.0).reshape(6, 2)
    orders = [torch.arange(6), torch.arange(6), torch.arange(6).flip(0)]
    batch = (x[orders[rank]], torch.zeros(6, dtype=torch.int64))
    with pytest.raises(RunError, match="expected the same batch in every process"):
        list(shares([batch], place))
    batches = [(x, torch.zeros(6, dtype=torch.int64))] * (2 if rank else 1)
    with pytest.raises(RunError, match="epoch that ends earlier"):
        list(shares(batches, place))


def normalised(rank: int, counts: tuple[int, ...]) -> None:
    """Batch norm, forward and back, with its running moments in the precision of the run."""
    x = torch.rand(
        4, sum(counts), 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    begin = sum(counts[:rank])
    mine = slice(begin, begin + counts[rank])
    alone = nn.BatchNorm1d(5, dtype=torch.float64)
    everything = x.clone().requires_grad_()
    expected = alone(everything.flatten(0, 1)).unflatten(0, x.shape[:2])
    expected.pow(3).sum().backward()
    norm = BatchNorm(5).double()
    own = (x[:, mine] if counts[rank] else x[:, :1] * 0).clone().requires_grad_()
    with standing_in(not counts[rank]):
        y = norm(own)
    close = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(y[:, : counts[rank]], expected[:, mine], **close)
    y[:, : counts[rank]].pow(3).sum().backward()
    torch.testing.assert_close(own.grad[:, : counts[rank]], everything.grad[:, mine], **close)
    torch.testing.assert_close(norm.running_mean, alone.running_mean, **close)
    torch.testing.assert_close(norm.running_var, alone.running_var, **close)
    add_up_gradients(norm, WORLD)
    torch.testing.assert_close(norm.weight.grad, alone.weight.grad, **close)
    torch.testing.assert_close(norm.bias.grad, alone.bias.grad, **close)


def normalised_by_step(rank: int, counts: tuple[int, ...]) -> None:
    """A norm of its own at every step, over the batches of all processes."""
    draw = torch.Generator().manual_seed(2)
    x = torch.rand(4, sum(counts), 5, dtype=torch.float64, generator=draw)
    begin = sum(counts[:rank])
    own = x[:, begin : begin + counts[rank]] if counts[rank] else x[:, :1] * 0
    norm = BNTT(5, steps=4).double()
    with standing_in(not counts[rank]):
        y, _ = norm(own)
    expected = [
        nn.functional.batch_norm(step, None, None, training=True)[begin : begin + counts[rank]]
        for step in x
    ]
    torch.testing.assert_close(y[:, : counts[rank]], torch.stack(expected))


def added_up(rank: int) -> None:
    """A parameter that took part in one process alone, and one that did in none."""
    layer = nn.Linear(2, 2)
    layer.weight.grad = torch.full((2, 2), 3.0) if rank == 1 else None
    add_up_gradients(layer, WORLD)
    assert layer.bias.grad is None
    assert layer.weight.grad.tolist() == [[3.0, 3.0], [3.0, 3.0]]


def worker(rank: int, file: str) -> None:
    dist.init_process_group("gloo", init_method=file, rank=rank, world_size=WORLD)
    for counts in ((3, 2, 2), (1, 1, 0), (0, 2, 1)):
        whole_and_its_gradient(rank, counts)
        mean_and_its_gradient(rank, counts)
        normalised(rank, counts)
        normalised_by_step(rank, counts)
    added_up(rank)
    divided(rank)
    told_apart(rank)
    dist.destroy_process_group()


def test_shares_of_three_processes(tmp_path: Path):
    torch.multiprocessing.spawn(worker, ((tmp_path / "meet").as_uri(),), nprocs=WORLD)


QUIET = {"processes": 2, "epochs": 1, "progress": False, "preflight": "off"}


def test_what_sees_one_share_alone_is_refused():
    """torch's batch norm trained with the moments of half a batch once, without a word."""
    data = TensorDataset(torch.rand(8, 6), torch.arange(8) % 3)
    network = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 3))
    with pytest.raises(UserError, match=r"spikegrad\.nn\.BatchNorm .* BatchNorm1d \(0\)"):
        fit(network, DataLoader(data, 4), **QUIET)
    divided = DataLoader(data, 4, sampler=DistributedSampler(data, num_replicas=2, rank=0))
    spiking = Sequential(Linear(6, 8), LIF(10.0), Linear(8, 3))
    with pytest.raises(UserError, match="whole batches, got one with a DistributedSampler"):
        fit(spiking, divided, **QUIET)
