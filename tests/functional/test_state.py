"""State is a value: chunks equal the whole, one step is T = 1, wrong states are refused."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from neurons import CASES, RESETS, SPIKING, Case, ids

from spikegrad import functional as F
from spikegrad import map_state
from spikegrad.errors import UserError
from spikegrad.types import LIFState, LIState


def values(case: Case, **extra):
    return {**{k: v.item() for k, v in case.tensors().items()}, **case.words, **extra}


def x_of(steps: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(steps, 3, 5, generator=generator).mul(1.5).to(dtype)


@pytest.mark.parametrize("refractory", [0, 2])
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("case", SPIKING, ids=ids(SPIKING))
def test_chunks_equal_the_whole(case: Case, reset: str, refractory: int) -> None:
    x, p = x_of(11), values(case, reset=reset, refractory=refractory)
    whole, end = case.scan(x, **p)
    for cuts in ([4, 7], [1] * 11, [10, 1]):
        state, parts = None, []
        for chunk in x.split(cuts):
            s, state = case.scan(chunk, state, **p)
            parts.append(s)
        assert torch.equal(torch.cat(parts), whole)
        for have, want in zip(state, end, strict=True):
            assert (have is None and want is None) or torch.equal(have, want)
    assert 0 < whole.sum() < whole.numel()


def test_gradients_flow_through_a_chunked_run() -> None:
    x = x_of(9, torch.float64).requires_grad_()
    whole, _ = F.lif(x, beta=0.9)
    want = torch.autograd.grad(whole.sum(), x)[0]
    first, state = F.lif(x[:4], beta=0.9)
    second, _ = F.lif(x[4:], state, beta=0.9)
    got = torch.autograd.grad(first.sum() + second.sum(), x)[0]
    assert torch.equal(got, want)


def test_chunked_recurrence() -> None:
    weight = torch.randn(5, 5, generator=torch.Generator().manual_seed(2))
    run = partial(F.recurrent, weight=weight, neuron=partial(F.lif, beta=0.9))
    x = x_of(9)
    whole, _ = run(x)
    first, state = run(x[:4])
    second, _ = run(x[4:], state)
    assert torch.equal(torch.cat([first, second]), whole)


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_wrong_states_are_refused(case: Case) -> None:
    x, p = x_of(4), values(case)
    good = case.scan(x, **p)[1]
    wrong_kind = LIFState(x[0]) if case.state is not LIFState else LIState(x[0])
    for bad, error, words in [
        (wrong_kind, TypeError, case.state.__name__),
        (good[0], TypeError, "None"),
        (map_state(lambda t: t[:2], good), UserError, r"\[3, 5\], got \[2, 5\]"),
        (map_state(lambda t: t.double(), good), TypeError, "dtype"),
        (map_state(lambda t: t.to("meta"), good), UserError, "cpu"),
    ]:
        with pytest.raises(error, match=words):
            case.scan(x, bad, **p)


def test_wrong_recurrent_states_are_refused() -> None:
    run = partial(F.recurrent, weight=torch.eye(5), neuron=partial(F.lif, beta=0.9))
    state = run(x_of(3))[1]
    with pytest.raises(UserError, match=r"state\.s of shape"):
        run(x_of(3), state._replace(s=state.s[:1]))
    with pytest.raises(UserError, match=r"\[N, N\]"):
        F.recurrent(x_of(3), weight=torch.eye(4), neuron=partial(F.lif, beta=0.9))


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_wrong_inputs_are_refused(case: Case) -> None:
    p = values(case)
    for x, error, words in [
        (torch.ones(5), UserError, r"rank >= 2, \[T, B"),
        (torch.ones(0, 2, 3), UserError, "T=0, B=2"),
        (torch.ones(4, 0, 3), UserError, "T=4, B=0"),
        (torch.ones(4, 2, 3, dtype=torch.int64), TypeError, "floating"),
        ([[1.0]], TypeError, "tensor"),
    ]:
        with pytest.raises(error, match=words):
            case.scan(x, **p)


def test_parameters_that_do_not_fit_are_refused() -> None:
    x = x_of(4)
    with pytest.raises(UserError, match=r"features' shape \[5\], got \[3, 5\]"):
        F.lif(x, beta=torch.full((3, 5), 0.9))
    with pytest.raises(UserError, match=r"got \[4\]"):
        F.lif(x, beta=0.9, threshold=torch.ones(4))
    with pytest.raises(UserError, match="finite beta"):
        F.lif(x, beta=float("nan"))
    with pytest.raises(UserError, match="unknown reset 'subtrac'; did you mean 'subtract'"):
        F.lif(x, beta=0.9, reset="subtrac")
    with pytest.raises(UserError, match="unknown gain"):
        F.lif(x, beta=0.9, gain="leaky")
    with pytest.raises(TypeError, match="whole number"):
        F.lif(x, beta=0.9, refractory=1.5)
    with pytest.raises(UserError, match="refractory >= 0"):
        F.lif(x, beta=0.9, refractory=-1)


def test_time_constants_are_checked() -> None:
    for bad in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(UserError, match="tau > 0 ms"):
            F.decay(bad)
        with pytest.raises(UserError, match="dt > 0 ms"):
            F.decay(10.0, bad)
    with pytest.raises(UserError, match="dt < tau for Euler"):
        F.decay(1.0, 1.0, integration="euler")
    for bad in (0.0, 1.0, 1.5):
        with pytest.raises(UserError, match="between 0 and 1"):
            F.time_constant(bad)


def test_a_call_that_raises_changes_nothing() -> None:
    x = x_of(4)
    _, state = F.lif(x, beta=0.9)
    kept = state.v.clone()
    with pytest.raises(UserError):
        F.lif(x[:, :2], state, beta=0.9)
    assert torch.equal(state.v, kept)


@pytest.mark.parametrize(("scan", "words"), [("alif", "an ALIFState"), ("lif", "a LIFState")])
def test_a_wrong_state_is_named_in_english(scan: str, words: str) -> None:
    args = {"beta": 0.9, "rho": 0.9, "kappa": 0.1} if scan == "alif" else {"beta": 0.9}
    with pytest.raises(TypeError, match=f"expected {words} or None"):
        getattr(F, scan)(x_of(2), LIState(torch.zeros(3, 5)), **args)
