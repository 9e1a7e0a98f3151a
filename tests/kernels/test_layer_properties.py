"""Properties of any shape and any parameters, drawn by hypothesis: always the same draws."""

from __future__ import annotations

import os
from dataclasses import replace

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layers import BACKENDS, BY_NAME, DYADIC, Setting, by_kernels, by_reference, compare
from native import forced, needs_kernels, poisoned
from neurons import RESETS
from torch import Tensor

from spikegrad import surrogate as S
from spikegrad.kernels import cpu

pytestmark = needs_kernels

FULL = os.environ.get("SPIKEGRAD_CONTRACT") == "full"


def often(count: int) -> settings:
    """Repeatable, without a deadline; more draws in the full contract."""
    return settings(
        max_examples=count * (10 if FULL else 1),
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


SPIKING = [name for name in DYADIC if name != "li"]
SHAPES = st.tuples(
    st.integers(1, 9),
    st.one_of(st.integers(1, 5), st.sampled_from([31, 32, 33, 64, 801])),
    st.one_of(st.integers(1, 9), st.sampled_from([63, 64, 65, 128, 130])),
    st.one_of(st.integers(1, 9), st.sampled_from([63, 64, 65, 127, 128, 129])),
)
SURROGATES = st.builds(
    lambda name, slope, gain, area: S.get(
        name, **({} if name == "straight_through" else {"slope": slope}), gain=gain,
        normalisation="area" if area else "peak",
    ),
    st.sampled_from(["arctan", "triangle", "boxcar", "gaussian", "straight_through", "leaky"]),
    st.floats(0.3, 5.0), st.floats(0.5, 2.0), st.booleans(),
)  # fmt: skip
CALLS = st.builds(
    Setting,
    case=st.sampled_from(SPIKING),
    backend=st.sampled_from(BACKENDS),
    reset=st.sampled_from(RESETS),
    surrogate=SURROGATES,
    shape=SHAPES,
    detach=st.booleans(),
    refractory=st.integers(0, 3),
    parameters=st.sampled_from(["layer", "neuron", "numbers"]),
    x=st.sampled_from(["spikes", "real", "static leaf", "transposed"]),
    start=st.sampled_from(["given", "rest"]),
    incoming=st.sampled_from(["random", "over time", "ends"]),
    bias=st.booleans(),
    lean=st.booleans(),
    exact=st.just(False),
    seed=st.integers(0, 1000),
)
ROUTES = st.sampled_from(["events", "dense", None])


@often(60)
@given(CALLS, ROUTES)
def test_any_call_equals_the_specification(s: Setting, route: str | None) -> None:
    with forced(route), poisoned():
        got = by_kernels(s)
    compare(s, by_reference(s), got)


@often(30)
@given(CALLS, ROUTES)
def test_lean_is_full_bit_for_bit(s: Setting, route: str | None) -> None:
    with forced(route), poisoned():
        full, lean = by_kernels(replace(s, lean=False)), by_kernels(replace(s, lean=True))
    for a, b in zip(full.outputs, lean.outputs, strict=True):
        assert a is None or torch.equal(a, b)
    for name in full.gradients:
        assert torch.equal(full.gradients[name], lean.gradients[name]), name


def run(x: Tensor, weight: Tensor, case: str, **args: object) -> list[Tensor]:
    """Spikes and the gradients of x and weight, with one weighting of the spikes per neuron."""
    leaves = [x.clone().requires_grad_(), weight.clone().requires_grad_()]
    args = {**BY_NAME[case].words, **DYADIC[case], **args}
    y, _ = cpu.layer(leaves[0], weight=leaves[1], neuron=BY_NAME[case].scan.__name__, args=args)
    return [y.detach(), *torch.autograd.grad((y * y.detach().mean()).sum(), leaves)]


@often(25)
@given(st.sampled_from(SPIKING), SHAPES, st.integers(0, 1000))
def test_silent_inputs_change_nothing(case: str, shape: tuple[int, ...], seed: int) -> None:
    """Along the spikes, columns that never spike are not even seen: bit for bit."""
    t, b, i, n = shape
    torch.manual_seed(seed)
    x, weight = (torch.rand(t, b, i) < 0.3).float(), torch.randn(n, i)
    more = torch.cat([x, torch.zeros(t, b, 70)], 2), torch.cat([weight, torch.randn(n, 70)], 1)
    with forced("events"), poisoned():
        one, other = run(x, weight, case), run(*more, case)
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[2], other[2][:, :i])
    assert not other[2][:, i:].any()


@often(25)
@given(st.sampled_from(SPIKING), SHAPES, st.integers(0, 1000))
def test_samples_do_not_see_each_other(case: str, shape: tuple[int, ...], seed: int) -> None:
    """A batch in another order gives the results in that order, bit for bit."""
    t, b, i, n = shape
    torch.manual_seed(seed)
    x, weight, order = (torch.rand(t, b, i) < 0.3).float(), torch.randn(n, i), torch.randperm(b)
    with forced("events"), poisoned():
        one = cpu.layer(x, weight=weight, neuron="lif", args={"beta": 0.8})[0]
        other = cpu.layer(x[:, order], weight=weight, neuron="lif", args={"beta": 0.8})[0]
    assert torch.equal(one[:, order], other)


@often(25)
@given(CALLS, ROUTES)
def test_neurons_without_feedback_do_not_see_each_other(s: Setting, route: str | None) -> None:
    """The first half of the neurons alone: the same spikes and the same gradient of its weights."""
    t, b, i, n = s.shape
    torch.manual_seed(s.seed)
    x, weight = (torch.rand(t, b, i) < 0.3).double(), torch.randn(n, i, dtype=torch.float64)
    words = {"reset": s.reset, "detach_reset": s.detach, "refractory": s.refractory}
    half = (n + 1) // 2
    with forced(route), poisoned():
        whole = run(x, weight, s.case, **words)
        part = run(x, weight[:half], s.case, **words)
    torch.testing.assert_close(whole[0][..., :half], part[0])


@often(25)
@given(SHAPES, st.integers(0, 1000), st.integers(0, 8))
def test_two_chunks_are_the_whole(shape: tuple[int, ...], seed: int, cut: int) -> None:
    """Dyadic or not, a chunk starts where the one before ended: bit for bit."""
    t, b, i, n = shape
    torch.manual_seed(seed)
    x, weight = (torch.rand(t, b, i) < 0.3).float(), torch.randn(n, i)
    back = torch.randn(n, n) / n
    words = {"weight": weight, "neuron": "alif", "args": {"beta": 0.8, "rho": 0.9, "refractory": 2}}
    cut = min(cut, t - 1)
    with forced("events"), poisoned():
        for feedback in (None, torch.round(back * 64) / 64):
            whole, _ = cpu.layer(x, feedback=feedback, **words)
            first, state = cpu.layer(x[: t - cut], feedback=feedback, **words)
            parts = [first]
            if cut:
                parts.append(cpu.layer(x[t - cut :], state, feedback=feedback, **words)[0])
            assert torch.equal(torch.cat(parts), whole)
