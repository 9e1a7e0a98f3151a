"""Losses, readouts and measures of sequences of different length: those of the samples alone."""

from functools import partial

import pytest
import torch

import spikegrad as sg
from spikegrad import analysis
from spikegrad import functional as F

LENGTHS = torch.tensor([3, 6, 1, 5])
LABELS = torch.tensor([0, 2, 1, 2])
STEPS, CLASSES = 7, 3

LOSSES = {
    "rate_ce": partial(F.rate_cross_entropy, temperature=0.5, label_smoothing=0.1),
    "count_ce": partial(F.count_cross_entropy, temperature=2.0),
    "mean": F.membrane_cross_entropy,
    "max": partial(F.membrane_cross_entropy, over="max"),
    "last": partial(F.membrane_cross_entropy, over="last"),
    "count_mse": F.count_mse,
    "rate_mse": F.rate_mse,
    "tet": partial(F.tet, weight=0.3, label_smoothing=0.1),
    "first_spike": F.first_spike,
}


def output(seed=0):
    """Spikes, also in the padding, where they must not count."""
    source = torch.Generator().manual_seed(seed)
    y = (torch.rand(STEPS, 4, CLASSES, generator=source, dtype=torch.float64) < 0.4).double()
    y[:, 0] = 0.0  # one sample is silent
    y[3:, 0] = 1.0
    return y


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_the_mean_of_those_of_the_samples_alone(name):
    loss, y = LOSSES[name], output().requires_grad_()
    found = loss(y, LABELS, lengths=LENGTHS)
    alone = [loss(y[:n, b : b + 1], LABELS[b : b + 1]) for b, n in enumerate(LENGTHS.tolist())]
    expected = torch.stack(alone).mean()
    torch.testing.assert_close(found, expected)
    grads = [torch.autograd.grad(value, y)[0] for value in (found, expected)]
    torch.testing.assert_close(*grads)
    for b, n in enumerate(LENGTHS.tolist()):
        assert not grads[0][n:, b].any()


@pytest.mark.parametrize("name", LOSSES)
def test_full_lengths_change_nothing(name):
    loss, y = LOSSES[name], output(1)
    full = torch.full((4,), STEPS)
    torch.testing.assert_close(loss(y, LABELS, lengths=full), loss(y, LABELS))


@pytest.mark.parametrize("how", ["mean", "sum", "max", "last"])
def test_readouts_read_the_real_steps(how):
    y = output() - 2.0
    found = F.over_time(y, how, lengths=LENGTHS)
    for b, n in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(found[b], F.over_time(y[:n, b : b + 1], how)[0])
    assert F.over_time(y[:, :, 0], how, lengths=LENGTHS).shape == (4,)


def test_the_rate_penalty_is_that_of_all_real_steps():
    y = output()
    rows = torch.cat([y[:n, b] for b, n in enumerate(LENGTHS.tolist())])
    found = F.rate_penalty(y, lower=0.3, upper=0.35, lengths=LENGTHS)
    torch.testing.assert_close(found, F.rate_penalty(rows[None], lower=0.3, upper=0.35))


def test_the_loss_on_trains_leaves_the_padding_of_both_out():
    s, target = output(), output(2)
    found = F.van_rossum(s, target, tau=3.0, lengths=LENGTHS)
    alone = [
        F.van_rossum(s[:n, b : b + 1], target[:n, b : b + 1], tau=3.0)
        for b, n in enumerate(LENGTHS.tolist())
    ]
    torch.testing.assert_close(found, torch.stack(alone).mean())


def test_measures_of_trains_know_the_ends():
    y = output()
    for b, n in enumerate(LENGTHS.tolist()):
        own = y[:n, b : b + 1]
        for measure in (analysis.rate, analysis.first_spike_time):
            torch.testing.assert_close(measure(y, lengths=LENGTHS)[b], measure(own)[0])
    rates = analysis.rate(y, window=2.0, lengths=LENGTHS)
    assert rates.isnan()[:, :, 0].sum(0).tolist() == [2, 0, 3, 1]
    binned = analysis.psth(y, window=2.0, lengths=LENGTHS)
    torch.testing.assert_close(binned[1], 500 * y[2:4, [1, 3]].sum(0).mean(0))


@pytest.mark.parametrize("loss", [*LOSSES.values(), F.over_time, analysis.rate])
def test_wrong_lengths_are_named(loss):
    args = () if loss in (F.over_time, analysis.rate) else (LABELS,)
    with pytest.raises(sg.UserError, match="lengths from 1 to T=7, got 8 of sample 1"):
        loss(output(), *args, lengths=[3, 8, 1, 5])
    with pytest.raises(TypeError, match="lengths as a tensor"):
        loss(output(), *args, lengths=LENGTHS.float())
