"""TwoCompartment against the paper's recursion and its invariant."""

from __future__ import annotations

import math

import numpy as np
import torch

import spikegrad as sg


def test_it_is_the_papers_recursion() -> None:
    """Written as in the paper, which subtracts what a spike costs in the step after it."""
    x = 0.4 + 0.5 * np.random.default_rng(0).standard_normal(300)
    dendrite = soma = s = 0.0
    spikes = []
    for current in x:
        soma = soma - 1.0 * s
        dendrite = dendrite - 0.7 * s - 0.5 * soma + current
        soma = soma + 0.5 * dendrite
        s = float(soma >= 1.0)
        spikes.append(s)
    assert 20 < sum(spikes) < 280
    y, state = sg.TwoCompartment.step(torch.from_numpy(x).reshape(-1, 1, 1))
    assert y.flatten().tolist() == spikes
    np.testing.assert_allclose(state.v.item(), soma - s, atol=1e-9)
    np.testing.assert_allclose(state.dendrite.item(), dendrite - 0.7 * s, atol=1e-9)


def test_without_spikes_it_oscillates_and_loses_nothing() -> None:
    """v[t+1] + v[t-1] = (2 - ab) v[t]: a sine of the angle acos(1 - ab/2), of one amplitude."""
    a, b = 0.3, 0.2
    x = torch.zeros(400, 1, 1, dtype=torch.float64)
    x[0] = 1.0
    *_, trace = sg.TwoCompartment.step(x, to_dendrite=a, to_soma=b, threshold=100.0, trace=True)
    angle = math.acos(1 - a * b / 2)
    t = torch.arange(1, 401, dtype=torch.float64)
    torch.testing.assert_close(
        trace.membrane.flatten(), b * torch.sin(angle * t) / math.sin(angle), atol=1e-9, rtol=0.0
    )


def test_zero_resets_the_soma_alone() -> None:
    x = torch.full((1, 1, 1), 4.0)
    _, state = sg.TwoCompartment(reset="zero", v_reset=0.25)(x)
    assert (state.dendrite.item(), state.v.item()) == (4.0, 0.25)
    _, state = sg.TwoCompartment(gamma=0.5)(x)
    assert (state.dendrite.item(), state.v.item()) == (3.5, 1.0)
