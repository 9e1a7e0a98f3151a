"""Encoders against what they promise."""

from __future__ import annotations

import pytest
import torch

from spikegrad import functional as F
from spikegrad.errors import UserError


def test_direct_is_a_view() -> None:
    x = torch.rand(3, 4, 5)
    y = F.direct(x, 7)
    assert y.shape == (7, 3, 4, 5)
    assert y.stride(0) == 0
    assert y.data_ptr() == x.data_ptr()


def test_poisson_rates_and_seed() -> None:
    x = torch.linspace(0, 1, 5).expand(50, 5)
    s = F.poisson(x, 400, generator=torch.Generator().manual_seed(0))
    again = F.poisson(x, 400, generator=torch.Generator().manual_seed(0))
    assert torch.equal(s, again)
    assert set(s.unique().tolist()) <= {0.0, 1.0}
    # 20,000 draws a value: the standard error is 0.0035 at most
    torch.testing.assert_close(s.mean((0, 1)), x[0], atol=0.015, rtol=0)
    half = F.poisson(x, 400, rate=0.5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(half.mean((0, 1)), x[0] / 2, atol=0.015, rtol=0)


def test_latency_is_one_spike_and_earlier_for_more() -> None:
    x = torch.tensor([[0.0, 0.005, 0.02, 0.3, 0.6, 1.0]])
    for tau in (None, 5.0):
        s = F.latency(x, 30, tau=tau)
        counts = s.sum(0)[0]
        assert counts.tolist()[:2] == [0.0, 0.0]
        assert counts.tolist()[3:] == [1.0, 1.0, 1.0]
        times = s[:, 0, 3:].argmax(0).tolist()
        assert times == sorted(times, reverse=True)
        assert times[-1] == 0
    # tau ln(x/(x - threshold)) by hand
    s = F.latency(torch.tensor([[0.02]]), 30, tau=5.0)
    assert s[:, 0, 0].argmax().item() == round(5.0 * torch.tensor(2.0).log().item())


def test_delta_follows_a_ramp() -> None:
    """A ramp of 1 over 20 steps with threshold 0.25 crosses it 4 times, and back 4 times."""
    up = torch.linspace(0, 1, 21, dtype=torch.float64).reshape(-1, 1, 1)
    s = F.delta(torch.cat([up, up.flip(0)]), threshold=0.25 - 1e-9)
    assert s.shape == (42, 1, 2)
    assert s.sum((0, 1)).tolist() == [4.0, 4.0]
    assert F.delta(up, threshold=0.25 - 1e-9, polarity="on").shape == (21, 1, 1)


@pytest.mark.parametrize("encode", [F.poisson, F.latency])
def test_intensities_outside_0_1_are_refused(encode) -> None:
    with pytest.raises(UserError, match="between 0 and 1, got values from -1 to 1"):
        encode(torch.tensor([[-1.0, 1.0]]), 5)
    with pytest.raises(UserError, match="between 0 and 1"):
        encode(torch.tensor([[float("nan")]]), 5)
    with pytest.raises(TypeError, match="floating"):
        encode(torch.ones(1, 1, dtype=torch.uint8), 5)


def test_steps_and_options_are_checked() -> None:
    x = torch.rand(2, 3)
    for encode in (F.direct, F.poisson, F.latency):
        with pytest.raises(UserError, match="steps >= 1"):
            encode(x, 0)
    with pytest.raises(UserError, match="rate"):
        F.poisson(x, 3, rate=1.5)
    with pytest.raises(UserError, match="threshold"):
        F.latency(x, 3, threshold=0.0)
    with pytest.raises(UserError, match="threshold > 0"):
        F.delta(torch.rand(4, 2, 3), threshold=0.0)
    with pytest.raises(UserError, match="polarity"):
        F.delta(torch.rand(4, 2, 3), polarity="off")
