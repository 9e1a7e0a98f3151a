"""SynapticLIF against the closed form of a spike's effect, and what each synapse does."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import spikegrad as sg

F64 = torch.float64


def membrane(x: Tensor, **values: float) -> Tensor:
    """The membrane `[T]` of a neuron that never reaches its threshold."""
    *_, trace = sg.SynapticLIF.step(x, threshold=1e6, trace=True, **values)
    return trace.membrane.flatten()


def pulse(synapse: int) -> Tensor:
    """One spike of weight 1 at the first step, into one synapse."""
    x = torch.zeros(80, 1, 2, 1, dtype=F64)
    x[0, 0, synapse] = 1.0
    return x


@pytest.mark.parametrize(("synapse", "tau", "sign"), [(0, 5.0, 1.0), (1, 10.0, -1.0)])
def test_a_spike_has_the_effect_of_the_closed_form(synapse: int, tau: float, sign: float) -> None:
    """A difference of exponentials, `sum over k of alpha^k beta^(t-k)`."""
    alpha, beta = math.exp(-1 / tau), math.exp(-1 / 20)
    n = torch.arange(1, 81, dtype=F64)
    want = sign * (alpha**n - beta**n) / (alpha - beta)
    torch.testing.assert_close(membrane(pulse(synapse)), want, rtol=1e-12, atol=1e-12)


def test_the_synapses_add_up_around_the_rest() -> None:
    together = membrane(2.0 * pulse(0) + 0.5 * pulse(1), v_rest=-3.0)
    alone = 2.0 * membrane(pulse(0)) + 0.5 * membrane(pulse(1))
    torch.testing.assert_close(together, alone - 3.0, rtol=1e-12, atol=1e-12)


def test_inhibition_silences_it() -> None:
    x = torch.zeros(300, 1, 2, 1)
    x[:, :, 0] = 0.05
    excited = sg.SynapticLIF()(x)[0].sum()
    x[:, :, 1] = 0.03
    assert excited > 20
    assert sg.SynapticLIF()(x)[0].sum() == 0


def test_inputs_that_are_not_two() -> None:
    with pytest.raises(sg.UserError, match=r"inputs ampa, gaba, \[T, B, 2, \*features\]"):
        sg.SynapticLIF()(torch.rand(4, 2, 3))
