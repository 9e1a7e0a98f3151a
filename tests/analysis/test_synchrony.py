"""Correlations and chi against NumPy, and for populations whose synchrony is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spikegrad import analysis
from spikegrad.errors import UserError


def trains(p: float, *shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(*shape, generator=generator) < p).double()


def test_correlation_is_numpys_of_binned_counts() -> None:
    s = trains(0.3, 60, 3, 2, 2)
    got = analysis.correlation(s, window=2.0, dt=0.5)
    assert got.shape == (3, 4, 4)
    for sample in range(3):
        n = s[:, sample].reshape(15, 4, 4).sum(1).numpy()
        want = np.corrcoef(n.T)
        np.testing.assert_allclose(got[sample], want, atol=1e-12)
        mean = want[np.tril_indices(4, -1)].mean()
        assert analysis.mean_correlation(s, window=2.0, dt=0.5)[sample].item() == pytest.approx(
            mean
        )


def test_a_silent_neuron_correlates_with_none() -> None:
    s = trains(0.4, 40, 1, 3)
    s[:, 0, 2] = 0.0
    got = analysis.correlation(s, window=4.0)[0]
    assert got[2].isnan().all()
    assert got[:, 2].isnan().all()
    pair = got[0, 1].item()
    assert analysis.mean_correlation(s, window=4.0).item() == pytest.approx(pair)
    assert analysis.mean_correlation(torch.zeros(40, 1, 3), window=4.0).isnan().all()
    # A rate of 1 is constant, too, whatever rounding makes of its variance.
    always = torch.cat([s[:, :, :2], torch.full((40, 1, 1), 1.0)], 2)
    assert analysis.correlation(always, window=7.0)[0, 2].isnan().all()


def test_correlation_of_a_common_source() -> None:
    """Two trains that share a spike with probability c have the correlation c."""
    p, c, steps = 0.2, 0.6, 40000
    common, own = trains(p, steps, 1, 1), trains(p, steps, 1, 2, seed=1)
    shared = trains(math.sqrt(c), steps, 1, 2, seed=2).bool()
    s = torch.where(shared, common, own)
    got = analysis.mean_correlation(s, window=1.0).item()
    assert got == pytest.approx(c, abs=5 / math.sqrt(steps))


def test_chi_is_numpys() -> None:
    u = torch.randn(50, 2, 5, generator=torch.Generator().manual_seed(0)).double()
    for sample, got in enumerate(analysis.chi(u).tolist()):
        v = u[:, sample].numpy()
        assert got == pytest.approx(math.sqrt(v.mean(1).var() / v.var(0).mean()))
    binned = u.reshape(10, 5, 2, 5).sum(1)
    torch.testing.assert_close(analysis.chi(u, window=2.5, dt=0.5), analysis.chi(binned))


def test_chi_of_known_populations() -> None:
    one = trains(0.1, 2000, 1, 1)
    assert analysis.chi(one.expand(-1, -1, 30)).item() == pytest.approx(1.0)
    many = trains(0.1, 20000, 1, 25)
    assert analysis.chi(many, window=10.0).item() == pytest.approx(1 / 5, rel=0.1)
    assert analysis.chi(torch.full((10, 2, 3), 0.1)).isnan().all()
    halves = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat(8, 1).reshape(16, 1, 2)
    assert analysis.chi(halves).item() == 0.0, "in turns: their mean is constant"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s: analysis.correlation(s[:, :, :1], window=2.0), "at least 2 neurons"),
        (lambda s: analysis.chi(s[:, :, 0]), "at least 2 neurons, [T, B, *features], got 1"),
        (lambda s: analysis.correlation(s, window=6.0), "at least 2 bins of 6 steps, got T=10"),
        (lambda s: analysis.chi(s, window=11.0), "expected window of at most T * dt = 10 ms"),
        (lambda s: analysis.chi(s / 0), "expected x to be finite"),
        (lambda s: analysis.chi(s[:1]), "at least 2 bins of 1 steps"),
        (lambda s: analysis.mean_correlation(-s, window=2.0), "expected spikes >= 0"),
    ],
)
def test_wrong_input_is_one_line(call, words: str) -> None:
    with pytest.raises(UserError) as caught:
        call(torch.ones(10, 1, 3))
    assert words in str(caught.value)
