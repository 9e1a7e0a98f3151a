"""The time of the first spike: its value, and what its derivative means."""

from __future__ import annotations

import pytest
import torch

from spikegrad import analysis
from spikegrad.errors import UserError


def trains(p: float, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(*shape, generator=generator) < p).double()


def test_it_is_the_step_of_the_first_spike_and_the_end_for_silence() -> None:
    s = trains(0.1, 20, 5, 6)
    s[:, 0, 0] = 0.0
    for place in range(30):
        train = s.flatten(1)[:, place].tolist()
        want = train.index(1.0) if 1.0 in train else 20
        assert analysis.first_spike_time(s, dt=0.5).flatten()[place].item() == 0.5 * want
    assert analysis.first_spike_time(s)[0, 0].item() == 20.0
    counts, sure = 3 * s, s.bool()
    torch.testing.assert_close(analysis.first_spike_time(counts), analysis.first_spike_time(s))
    assert torch.equal(analysis.first_spike_time(sure).double(), analysis.first_spike_time(s))


def test_the_derivative_is_what_the_spike_changes() -> None:
    """The latency with a spike minus that without it, at every step, also of silent trains."""
    s = trains(0.2, 8, 1, 10)
    s[:, 0, 0] = 0.0
    s.requires_grad_()
    analysis.first_spike_time(s, dt=0.5).sum().backward()
    for t in range(8):
        latency = []
        for value in (1.0, 0.0):
            changed = s.detach().clone()
            changed[t] = value
            latency.append(analysis.first_spike_time(changed, dt=0.5))
        torch.testing.assert_close(s.grad[t], latency[0] - latency[1])
    assert (s.grad[:, 0, 0] == torch.arange(-4.0, 0.0, 0.5)).all(), "the earlier the better"


def test_of_probabilities_it_is_the_expected_latency() -> None:
    p = torch.tensor([0.3, 0.6, 0.2], dtype=torch.float64).reshape(3, 1)
    want = 0 * 0.3 + 1 * 0.7 * 0.6 + 2 * 0.7 * 0.4 * 0.2 + 3 * 0.7 * 0.4 * 0.8
    assert analysis.first_spike_time(p).item() == pytest.approx(want)
    x = torch.rand(6, 2, 3, dtype=torch.float64) * 0.8 + 0.1
    assert torch.autograd.gradcheck(analysis.first_spike_time, (x.requires_grad_(),))


@pytest.mark.parametrize(
    ("s", "words"),
    [
        (torch.full((3, 1), 1.4), "soft spikes in [0, 1], got 1.4; read output spikes, not"),
        (torch.full((3, 1), -0.2), "expected spikes >= 0, got a minimum of -0.2"),
        (torch.full((3, 1), torch.nan), "expected spikes to be finite"),
        (torch.zeros(3), "rank >= 2"),
    ],
)
def test_what_is_no_spike_is_said(s: torch.Tensor, words: str) -> None:
    with pytest.raises(UserError) as caught:
        analysis.first_spike_time(s)
    assert words in str(caught.value)
