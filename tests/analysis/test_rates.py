"""Counts, rates, the PSTH and the Fano factor against closed forms and NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spikegrad import analysis
from spikegrad.errors import UserError


def bernoulli(p: float | torch.Tensor, *shape: int, seed: int = 0) -> torch.Tensor:
    """Trains with a spike at each step with probability p."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(*shape, generator=generator, dtype=torch.float64) < p).double()


SPIKES = bernoulli(0.2, 23, 3, 2, 2)


@pytest.mark.parametrize("dt", [1.0, 0.5])
def test_rates_are_spikes_over_time(dt: float) -> None:
    seconds = 23 * dt / 1000
    torch.testing.assert_close(analysis.rate(SPIKES, dt=dt), SPIKES.sum(0) / seconds)
    torch.testing.assert_close(analysis.rate(SPIKES, dt=dt, unit="step"), SPIKES.mean(0))
    got = analysis.rate(SPIKES, dt=dt, window=5 * dt)
    assert got.shape == (4, 3, 2, 2), "the last 3 steps are no whole window"
    torch.testing.assert_close(got[2], SPIKES[10:15].sum(0) / (5 * dt / 1000))


def test_counts_are_sums_over_windows() -> None:
    want = np.add.reduceat(SPIKES[:20].numpy(), range(0, 20, 4), axis=0)
    np.testing.assert_array_equal(analysis.counts(SPIKES, window=4.0), want)
    two = analysis.counts(2 * SPIKES, window=2.0, dt=0.5)
    np.testing.assert_array_equal(two, 2 * want)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float16, torch.float32])
def test_spikes_may_have_any_dtype(dtype: torch.dtype) -> None:
    got = analysis.rate(SPIKES.to(dtype))
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, analysis.rate(SPIKES).float())


def test_psth_is_the_rate_over_trials() -> None:
    got = analysis.psth(SPIKES, window=2.0, dt=0.5)
    want = [SPIKES[i : i + 4].sum((0, 1)) / (3 * 4 * 0.5e-3) for i in range(0, 20, 4)]
    torch.testing.assert_close(got, torch.stack(want))
    # Trials that follow a rate that rises: the PSTH finds it, within five standard errors.
    p = torch.linspace(0.05, 0.5, 10).double().repeat_interleave(20)
    many = bernoulli(p[:, None, None], 200, 400, 1, seed=1)
    error = 1000 * (p * (1 - p) / (20 * 400)).sqrt()[::20]
    got = analysis.psth(many, window=20.0).flatten()
    assert ((got - 1000 * p[::20]).abs() < 5 * error).all()


@pytest.mark.parametrize(("over", "axis"), [("windows", 0), ("trials", 1)])
def test_fano_is_numpys_variance_over_mean(over: str, axis: int) -> None:
    n = SPIKES[:20].reshape(5, 4, 3, 2, 2).sum(1).numpy()
    with np.errstate(invalid="ignore"):  # no spike: NaN
        want = n.var(axis, ddof=1) / n.mean(axis)
    np.testing.assert_allclose(analysis.fano(SPIKES, window=4.0, over=over), want)


def test_fano_of_known_trains() -> None:
    """Binomial counts: 1 - p; the Poisson process in the limit: 1; a clock: 0; silence: none."""
    for p in (0.02, 0.3):
        got = analysis.fano(bernoulli(p, 20000, 20, 1), window=50.0).mean().item()
        # The standard error of a variance of n counts is sqrt(2 / n), of 20 trains together.
        assert got == pytest.approx(1 - p, abs=5 * math.sqrt(2 / (20 * 400)))
    clock = torch.zeros(100, 1)
    clock[::10] = 1.0
    assert analysis.fano(clock, window=20.0).item() == 0.0
    assert analysis.fano(torch.zeros(100, 1), window=20.0).isnan().all()


def test_gradients() -> None:
    x = torch.rand(7, 2, 3, dtype=torch.float64, requires_grad=True)
    for measure in (
        lambda s: analysis.rate(s, dt=0.5),
        lambda s: analysis.rate(s, window=2.0, unit="step"),
        lambda s: analysis.psth(s, window=3.0),
        lambda s: analysis.counts(s, window=2.0),
        lambda s: analysis.fano(s, window=2.0),
    ):
        assert torch.autograd.gradcheck(measure, (x,))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda s: analysis.rate(s, window=24.0), UserError, "at most T * dt = 23 ms, got 24 ms"),
        (lambda s: analysis.rate(s, window=2.5), UserError, "whole number of steps of 1 ms"),
        (lambda s: analysis.rate(s, window=0.0), UserError, "expected a finite window > 0 ms"),
        (lambda s: analysis.rate(s, dt=0.0), UserError, "expected a finite dt > 0 ms, got 0.0"),
        (lambda s: analysis.rate(s, unit="kHz"), UserError, "unknown unit 'kHz'"),
        (lambda s: analysis.rate(s[:, 0, 0, 0]), UserError, "rank >= 2, [T, B, *features]"),
        (lambda s: analysis.rate(s[:0]), UserError, "T >= 1 and B >= 1"),
        (lambda s: analysis.rate(s.numpy()), TypeError, "expected spikes as a tensor"),
        (lambda s: analysis.rate(s / 0), UserError, "expected spikes to be finite"),
        (lambda s: analysis.rate(-s), UserError, "spikes >= 0, got a minimum of -1; spikes of two"),
        (lambda s: analysis.psth(s.log(), window=2.0), UserError, "spikes to be finite"),
        (lambda s: analysis.fano(s, window=12.0), UserError, "at least 2 windows for a variance"),
        (lambda s: analysis.fano(s[:, :1], window=2.0, over="trials"), UserError, "2 trials"),
        (lambda s: analysis.fano(s, window=2.0, over="neurons"), UserError, "unknown over"),
        (lambda s: analysis.counts(s, window="2"), TypeError, "expected window as a number"),
    ],
)
def test_wrong_input_is_one_line(call, error: type, words: str) -> None:
    with pytest.raises(error) as caught:
        call(SPIKES)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_values_are_not_asked_for_under_transforms() -> None:
    got = torch.func.vmap(lambda s: analysis.rate(s))(torch.stack([SPIKES, 0 * SPIKES]))
    torch.testing.assert_close(got[0], analysis.rate(SPIKES))
