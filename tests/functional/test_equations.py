"""Every scan against its equations, written again with plain floats, one neuron at a time."""

from __future__ import annotations

import itertools

import pytest
import torch
from neurons import RESETS

from spikegrad import functional as F

X = [0.7, 0.9, 0.2, 1.4, 1.6, -0.5, 0.8, 0.8, 2.5, 0.1, 0.3, 1.1]


def fire(u: float, theta: float, silent: int, refractory: int) -> tuple[float, int]:
    ready = silent == 0
    s = float(u >= theta and ready)
    return s, refractory if s else max(silent - 1, 0)


def restored(u: float, s: float, reset: str, th: float, rest: float, to: float) -> float:
    if reset == "subtract":
        return u - s * (th - rest)
    return to if reset == "zero" and s else u


def as_x(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 1, 1)


MODES = list(itertools.product(RESETS, (0, 1, 3), (True, False)))


@pytest.mark.parametrize(("reset", "refractory", "detach"), MODES)
def test_lif(reset: str, refractory: int, detach: bool) -> None:
    for gain in ("unit", "leak"):
        g = 1.0 if gain == "unit" else 1 - 0.8
        v, silent, want = 0.1, 0, []
        for x in X:
            u = 0.1 + 0.8 * (v - 0.1) + g * x
            s, silent = fire(u, 0.9, silent, refractory)
            v = restored(u, s, reset, 0.9, 0.1, -0.2)
            want.append(s)
        got, state = F.lif(
            as_x(X),
            beta=0.8,
            threshold=0.9,
            gain=gain,
            v_rest=0.1,
            v_reset=-0.2,
            reset=reset,
            refractory=refractory,
            detach_reset=detach,
        )
        assert got.flatten().tolist() == want
        assert state.v.item() == pytest.approx(v, abs=1e-12)
        if refractory:
            assert state.refractory.item() == silent
        else:
            assert state.refractory is None
    assert sum(want) < len(want)


@pytest.mark.parametrize(("reset", "refractory", "detach"), MODES)
def test_cuba(reset: str, refractory: int, detach: bool) -> None:
    for syn, mem in itertools.product(("unit", "leak"), repeat=2):
        g_syn = 1.0 if syn == "unit" else 1 - 0.5
        g_mem = 1.0 if mem == "unit" else 1 - 0.8
        i, v, silent, want = 0.0, 0.1, 0, []
        for x in X:
            i = 0.5 * i + g_syn * x
            u = 0.1 + 0.8 * (v - 0.1) + g_mem * i
            s, silent = fire(u, 0.6, silent, refractory)
            v = restored(u, s, reset, 0.6, 0.1, -0.2)
            want.append(s)
        got, state = F.cuba_lif(
            as_x(X),
            alpha=0.5,
            beta=0.8,
            threshold=0.6,
            gain_syn=syn,
            gain_mem=mem,
            v_rest=0.1,
            v_reset=-0.2,
            reset=reset,
            refractory=refractory,
            detach_reset=detach,
        )
        assert got.flatten().tolist() == want
        assert sum(want) > 0
        assert (state.i.item(), state.v.item()) == pytest.approx((i, v), abs=1e-12)


@pytest.mark.parametrize(("reset", "refractory", "detach"), MODES)
def test_alif(reset: str, refractory: int, detach: bool) -> None:
    v, a, silent, want = 0.0, 0.0, 0, []
    for x in X:
        u = 0.8 * v + x
        s, silent = fire(u, 1.0 + 0.4 * a, silent, refractory)
        a = 0.9 * a + s
        v = restored(u, s, reset, 1.0, 0.0, -0.2)
        want.append(s)
    got, state = F.alif(
        as_x(X),
        beta=0.8,
        rho=0.9,
        kappa=0.4,
        v_reset=-0.2,
        reset=reset,
        refractory=refractory,
        detach_reset=detach,
    )
    assert got.flatten().tolist() == want
    assert 0 < sum(want) < len(X)
    assert (state.v.item(), state.a.item()) == pytest.approx((v, a), abs=1e-12)


def test_alif_with_kappa_zero_is_lif() -> None:
    s, state = F.alif(as_x(X), beta=0.8, rho=0.9, kappa=0.0)
    want, end = F.lif(as_x(X), beta=0.8)
    assert torch.equal(s, want)
    assert torch.equal(state.v, end.v)


def test_integrate_and_fire_has_no_leak() -> None:
    s, state = F.integrate_and_fire(as_x([0.25] * 8), threshold=1.0)
    assert s.flatten().tolist() == [0, 0, 0, 1, 0, 0, 0, 1]
    assert state.v.item() == 0.0


@pytest.mark.parametrize("gain", ["unit", "leak"])
def test_leaky_integrator_reaches_its_closed_form(gain: str) -> None:
    """A constant input x gives g x (1 - beta^n)/(1 - beta)."""
    beta, n = 0.8, 20
    u, state = F.li(as_x([0.5] * n), beta=beta, gain=gain)
    g = 1.0 if gain == "unit" else 1 - beta
    assert u[-1].item() == pytest.approx(g * 0.5 * (1 - beta**n) / (1 - beta), rel=1e-12)
    assert torch.equal(state.v, u[-1])


def test_lif_rate_matches_the_closed_form_of_a_constant_current() -> None:
    """Without leak, N steps of current c reset by subtraction give floor(N c) spikes (dyadic c)."""
    for c in (0.125, 0.375, 0.5, 0.75):
        s, _ = F.integrate_and_fire(as_x([c] * 64))
        assert s.sum().item() == int(64 * c)


@pytest.mark.parametrize("trace", [False, True])
def test_recurrent_sees_the_spikes_of_the_step_before(trace: bool) -> None:
    """Neuron 0 is driven once and passes its spike round a ring of three."""
    weight = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
    x = torch.zeros(7, 1, 3)
    x[0, 0, 0] = 1.0

    def neuron(x, state=None, *, trace=False):  # type: ignore[no-untyped-def]
        return F.lif(x, state, beta=0.5, trace=trace)

    s, state, *more = F.recurrent(x, weight=weight, neuron=neuron, trace=trace)
    assert s.argmax(-1).flatten().tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert torch.equal(s.sum(-1), torch.ones(7, 1))
    assert torch.equal(state.s, s[-1])
    if trace:
        assert more[0].membrane.shape == s.shape
        assert torch.equal((more[0].distance >= 0).float(), s)


def test_trace_shows_the_membrane_before_reset() -> None:
    s, state, trace = F.lif(as_x(X), beta=0.8, trace=True)
    assert torch.equal((trace.distance >= 0).to(s.dtype), s)
    assert torch.allclose(trace.membrane - 1.0, trace.distance)
    assert torch.equal(trace.membrane[-1] - s[-1], state.v)
    assert torch.equal(trace.current, as_x(X))


def test_spikes_at_exactly_the_threshold() -> None:
    """The article's convention, s = 1 when u >= theta (snnTorch 1.0.0 and Norse 1.1.0 use >)."""
    assert F.lif(as_x([1.0]), beta=0.5)[0].item() == 1.0
    assert F.spiking(as_x([1.0])).item() == 1.0


def test_decay_closed_forms() -> None:
    assert F.decay(10.0) == pytest.approx(0.9048374180359595)
    assert F.decay(10.0, 0.5, integration="euler") == 0.95
    assert F.time_constant(F.decay(7.0, 0.1), 0.1) == pytest.approx(7.0)
    tau = torch.tensor([5.0, 10.0], dtype=torch.float64)
    assert torch.allclose(F.time_constant(F.decay(tau)), tau)
