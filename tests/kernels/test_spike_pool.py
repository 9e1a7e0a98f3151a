"""A neuron and its max-pool in one call against the specification followed by torch's pool.

Spikes, states and, with fixed parameters, gradients of single steps are the same operations in
the same order; gradients that are summed over time differ in the order of that sum.
"""

from __future__ import annotations

import itertools

import pytest
import torch

import spikegrad as sg
from spikegrad import functional as F
from spikegrad import surrogate as S
from spikegrad.kernels import cpu
from spikegrad.kernels.cpu import spike_pool
from spikegrad.kernels.cpu.library import FAMILIES
from spikegrad.types import LIFState

pytestmark = pytest.mark.skipif(bool(cpu.load()), reason=f"no native kernels: {cpu.load()}")

RESETS = ("subtract", "zero", "none")
# T, B, C, H, W; windows
CASES = [
    ((4, 2, 3, 6, 6), (2, 2)),
    ((1, 1, 1, 1, 5), (1, 2)),
    ((5, 1, 33, 7, 5), (2, 2)),  # a row and a column without a window
    ((3, 2, 16, 5, 9), (3, 4)),
    ((2, 3, 17, 4, 3), (1, 1)),
    ((2, 1, 2, 16, 16), (16, 16)),
    ((40, 1, 50, 4, 9), (2, 2)),  # several pieces a row
]


def last(x: torch.Tensor) -> torch.Tensor:
    return x.movedim(-3, -1).contiguous().movedim(-1, -3)


def twin(x, state=None, *, steps: int, kernel, **words):
    s, state = F.lif(x.expand(steps, *x.shape[1:]), state, **words)
    return torch.nn.functional.max_pool2d(s.flatten(0, 1), kernel).unflatten(0, s.shape[:2]), state


def outcome(function, x, v, *, seed: int = 3, **words):
    x, v = x.detach().requires_grad_(), None if v is None else v.detach().requires_grad_()
    y, state = function(x, None if v is None else LIFState(v, None), **words)
    generator = torch.Generator().manual_seed(seed)
    draw = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in (y, state.v)]
    loss = (y * draw[0]).sum() + (state.v * draw[1]).sum()
    return y.detach(), state.v.detach(), *torch.autograd.grad(loss, [x] if v is None else [x, v])


def compare(x, v, **words) -> None:
    got = outcome(spike_pool.lif_pool, x, v, **words)
    want = outcome(twin, x, v, **words)
    for a, b in zip(got[:2], want[:2], strict=True):
        assert torch.equal(a, b)
    for a, b in zip(got[2:], want[2:], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def currents(shape, dtype=torch.float32, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=dtype) * 0.8


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients(case, dtype: torch.dtype) -> None:
    shape, kernel = case
    x, v = currents(shape, dtype), currents(shape[1:], dtype, seed=1)
    for reset, detach in itertools.product(RESETS, (True, False)):
        words = {"reset": reset, "detach_reset": detach, "surrogate": S.triangle(1.5)}
        words |= {
            "beta": 0.9,
            "v_rest": 0.05,
            "v_reset": -0.1,
            "gain": "leak" if detach else "unit",
        }
        words |= {"threshold": torch.tensor(0.3, dtype=dtype), "kernel": kernel}
        for start in (None, v, last(v)):
            compare(x, start, steps=shape[0], **words)
            compare(last(x), start, steps=shape[0], **words)
            compare(x[:1], start, steps=3, **words)  # one step seen three times


@pytest.mark.parametrize("name", FAMILIES)
def test_every_surrogate(name: str) -> None:
    for normalisation in ("area", "peak"):
        surrogate = S.get(name, normalisation=normalisation, gain=1.5)
        if surrogate.family.has_slope:
            surrogate = surrogate.with_slope(3.0)
        for dtype in (torch.float32, torch.float64):
            x = currents((4, 2, 5, 4, 4), dtype)
            compare(x, None, steps=4, kernel=(2, 2), beta=0.8, surrogate=surrogate)


def test_ties_go_where_torch_sends_them() -> None:
    """Windows without a spike, of spikes only, and mixed: the first of equals, row by row."""
    patterns = torch.tensor(list(itertools.product((0.0, 2.0), repeat=6)))
    x = patterns.reshape(1, 64, 1, 2, 3).expand(2, 64, 20, 2, 3).contiguous()
    x[:, :, 1] = 0.0
    words = {"beta": 0.5, "surrogate": S.arctan(2.0), "kernel": (2, 3), "steps": 2}
    got, want = outcome(spike_pool.lif_pool, x, None, **words), outcome(twin, x, None, **words)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_strides_of_incoming_gradients() -> None:
    x = currents((4, 2, 3, 6, 6)).requires_grad_()
    words = {"steps": 4, "kernel": (2, 2), "beta": 0.9, "surrogate": S.arctan(2.0)}
    for reduce in (
        torch.sum,
        torch.mean,
        lambda y: y.mean(0)[..., ::2].sum(),
        lambda y: (y.transpose(1, 3) * 2).contiguous().square().sum(),
    ):
        a = torch.autograd.grad(reduce(spike_pool.lif_pool(x, **words)[0]), x)[0]
        b = torch.autograd.grad(reduce(twin(x, **words)[0]), x)[0]
        torch.testing.assert_close(a, b)
    _, state = spike_pool.lif_pool(x, **words)  # the state alone
    _, other = twin(x, **words)
    a, b = (torch.autograd.grad(s.v.sum(), x)[0] for s in (state, other))
    torch.testing.assert_close(a, b)


def test_results_do_not_depend_on_threads_or_runs() -> None:
    x, v = currents((6, 8, 20, 9, 9)), currents((8, 20, 9, 9), seed=1)
    words = {"steps": 6, "kernel": (2, 2), "beta": 0.9, "surrogate": S.arctan(2.0)}
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        want = outcome(spike_pool.lif_pool, x, v, **words)
        torch.set_num_threads(2)
        for _ in range(3):
            got = outcome(spike_pool.lif_pool, x, v, **words)
            assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
    finally:
        torch.set_num_threads(before)


def test_a_second_backward_is_refused() -> None:
    x = currents((3, 2, 3, 6, 6)).requires_grad_()
    y, _ = spike_pool.lif_pool(x, steps=3, kernel=(2, 2), beta=0.9, surrogate=S.arctan(2.0))
    (first,) = torch.autograd.grad((y * y).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="backend='reference'"):
        torch.autograd.grad(first.sum(), x)


def test_operators_pass_opcheck() -> None:
    x = torch.rand(1, 2, 6, 5, 3, requires_grad=True)
    v = torch.rand(2, 6, 5, 3, requires_grad=True)
    params, slope = torch.full((10, 1), 0.5), torch.tensor([2.0])
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    for start in (None, v):
        arguments = (x, start, params, slope, 4, 0, False, 2, 2, 0)
        torch.library.opcheck(torch.ops.spikegrad.spike_pool.default, arguments, test_utils=tests)
    y, index, end = torch.ops.spikegrad.spike_pool(
        x.detach(), None, params, slope, 4, 0, False, 2, 2, 0
    )
    arguments = (
        y,
        end,
        x.detach(),
        None,
        index,
        params,
        slope,
        slope,
        4,
        0,
        False,
        2,
        2,
        0,
        0.0,
        0.0,
    )
    operator = torch.ops.spikegrad.spike_pool_backward.default
    torch.library.opcheck(operator, arguments, test_utils=("test_schema",))


def test_errors_of_the_operators() -> None:
    x, params, slope = torch.rand(1, 2, 6, 5, 3), torch.rand(10, 1), torch.ones(1)
    good = (x, None, params, slope, 4, 0, False, 2, 2, 0)
    for at, wrong, words in [
        (0, x.half(), "float32 or float64"),
        (0, x.permute(0, 1, 4, 2, 3), "contiguous"),
        (1, torch.rand(2, 6, 5), "v0"),
        (2, torch.rand(10, 3), "parameters"),
        (4, 0, "contiguous"),
        (5, 3, "reset"),
        (7, 7, "windows"),
    ]:
        with pytest.raises(RuntimeError, match=words):
            torch.ops.spikegrad.spike_pool(*good[:at], wrong, *good[at + 1 :])


# Within a Sequential.


def network(backend: str = "auto", **lif) -> sg.Sequential:
    torch.manual_seed(0)
    words = {"beta": 0.9, "backend": backend, **lif}
    layers = sg.Sequential(
        sg.Conv2d(1, 6, 3, padding=1, backend=backend), sg.LIF(**words), sg.MaxPool2d(2),
        sg.Conv2d(6, 5, 3, padding=1, backend=backend), sg.LIF(**words), sg.MaxPool2d(2),
        sg.Flatten(), sg.Linear(20, 7), sg.LIF(**words), sg.Linear(7, 3),
    )  # fmt: skip
    with torch.no_grad():
        for p in layers.parameters():  # dyadic, with beta = 0.5: no sum rounds
            p.copy_((p * 4 * 16).round() / 16)
    return layers


def learn(layers, x, states=None):
    y, states = layers(x, states)
    loss = y.mean(0).square().sum() + sum(s.v.square().mean() for s in states if s is not None)
    gradients = torch.autograd.grad(loss, list(layers.parameters()))
    return [y, *[s.v for s in states if s is not None], *gradients]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    from spikegrad.nn import fuse_conv

    found: list[int] = []
    real = fuse_conv.lif_pool
    monkeypatch.setattr(fuse_conv, "lif_pool", lambda *a, **k: found.append(1) or real(*a, **k))
    return found


@pytest.mark.parametrize("static", [True, False])
def test_a_container_fuses_and_equals_the_reference(calls, static: bool) -> None:
    x = (torch.rand(4, 3, 1, 9, 8) * 16).round() / 16
    x = F.direct(x[0], 4) if static else x
    fast, slow = network(beta=0.5), network("reference", beta=0.5)
    got, want = learn(fast, x), learn(slow, x)
    assert len(calls) == 2
    assert torch.equal(got[0], want[0])
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    a, states = fast(x[:2])  # two chunks are the whole
    b, states = fast(x[2:], states)
    torch.testing.assert_close(torch.cat([a, b]), fast(x)[0])
    for one, other in zip(states, fast(x)[1], strict=True):
        assert one is None or torch.equal(one.v, other.v)


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [sg.LIF(20.0, learn="threshold"), sg.MaxPool2d(2)],
        lambda: [sg.LIF(20.0, threshold=torch.rand(2, 6, 6) + 0.5), sg.MaxPool2d(2)],
        lambda: [sg.LIF(20.0, refractory=2.0), sg.MaxPool2d(2)],
        lambda: [sg.LIF(20.0, surrogate=S.arctan(2.0).soft()), sg.MaxPool2d(2)],
        lambda: [sg.LIF(20.0, backend="reference"), sg.MaxPool2d(2)],
        lambda: [sg.LIF(20.0), sg.MaxPool2d(3, stride=2, padding=1)],
        lambda: [sg.LIF(20.0), sg.MaxPool2d(2, stride=1)],
        lambda: [sg.LIF(20.0), sg.MaxPool2d(4, ceil_mode=True)],
        lambda: [sg.LIF(20.0), sg.MaxPool2d(2, dilation=2)],
        lambda: [sg.LIF(20.0), torch.nn.MaxPool2d(2)],
        lambda: [sg.ALIF(20.0, tau_adapt=50.0), sg.MaxPool2d(2)],
        lambda: [sg.LIF(20.0), sg.AvgPool2d(2)],
        lambda: [sg.LIF(20.0), sg.Flatten()],
        lambda: [sg.MaxPool2d(2), sg.LIF(20.0)],
    ],
)
def test_what_is_not_fused_runs_one_by_one(calls, layers) -> None:
    x = torch.rand(4, 2, 2, 6, 6)
    network = sg.Sequential(*layers())
    y, states = network(x)
    assert 0 < y.mean() < 1
    z = x
    for layer in network:
        z = (
            layer(z)[0]
            if isinstance(layer, sg.nn.Stateful)
            else sg.nn.sequential.step(layer, z, None)[0]
        )
    assert torch.equal(y, z)
    assert len(states) == 2
    assert calls == []


def test_whoever_watches_sees_every_layer(calls) -> None:
    layers, x = network(), torch.rand(4, 3, 1, 9, 8)
    plain = layers(x)[0]
    assert len(calls) == 2
    calls.clear()
    with sg.record(layers) as tapes:
        y, _ = layers(x)
    assert calls == []
    torch.testing.assert_close(y, plain)
    assert tapes["1"].spikes.shape == (4, 3, 6, 9, 8)
    for position in (1, 2):  # the neuron, or the pool
        seen: list[torch.Size] = []
        handle = layers[position].register_forward_hook(
            lambda m, a, out, seen=seen: seen.append(a[0].shape)
        )
        torch.testing.assert_close(layers(x)[0], plain)
        assert seen == [torch.Size((4, 3, 6, 9, 8))]
        handle.remove()
        assert len(calls) == 1  # the other pair
        calls.clear()
    seen = []
    handle = layers[0].register_forward_hook(lambda m, a, out: seen.append(out.shape))
    layers(F.direct(x[0], 4))
    assert seen == [torch.Size((4, 3, 6, 9, 8))]
    handle.remove()

    class Own(sg.LIF):
        def forward(self, x, state=None):
            y, state = super().forward(x, state)
            return 1 - y, state

    own = sg.Sequential(Own(20.0), sg.MaxPool2d(2))
    assert own(torch.zeros(2, 1, 1, 2, 2))[0].min() == 1.0


def test_other_dtypes_transforms_and_gradients_of_inputs(calls) -> None:
    layers, x = network().double(), torch.rand(4, 3, 1, 9, 8, dtype=torch.float64)
    slow = network("reference").double()
    torch.testing.assert_close(learn(layers, x), learn(slow, x))
    assert len(calls) == 2
    calls.clear()
    layers, slow, x = network(), network("reference"), x.float()
    weights = dict(layers.named_parameters())
    gradients = torch.func.grad(
        lambda w: torch.func.functional_call(layers, w, (x,))[0].square().sum()
    )(weights)
    assert calls == []
    layers(x)[0].square().sum().backward()
    for name, p in layers.named_parameters():
        torch.testing.assert_close(gradients[name], p.grad, rtol=1e-4, atol=1e-5)
    half = x.bfloat16()
    assert network().bfloat16()(half)[0].dtype == torch.bfloat16
    leaf = x[0].clone().requires_grad_()  # a static input that is differentiated
    a = torch.autograd.grad(layers(F.direct(leaf, 4))[0].square().sum(), leaf)[0]
    b = torch.autograd.grad(slow(F.direct(leaf, 4))[0].square().sum(), leaf)[0]
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_states_in_the_wrong_place_are_refused() -> None:
    layers, x = network(), torch.rand(4, 3, 1, 9, 8)
    _, states = layers(x)
    for position in (0, 2):
        wrong = list(states)
        wrong[position] = states[1]
        with pytest.raises(sg.UserError, match="stateless"):
            layers(x, wrong)
    with pytest.raises(sg.UserError, match=r"state\.v of shape"):
        layers(x[:, :2], states)


def test_scans_read_channels_last_inputs_as_they_lie() -> None:
    x = last(currents((5, 2, 7, 4, 3)))
    for each in (0.9, torch.rand(7, 4, 3)):  # per neuron: copied
        words = {"beta": each, "surrogate": S.arctan(2.0), "refractory": 2}
        a, b = x.clone().requires_grad_(), x.contiguous().requires_grad_()
        assert not a.is_contiguous()
        y, state = cpu.lif(a, **words)
        z, other = F.lif(b, **words)
        assert torch.equal(y, z)
        assert torch.equal(state.v, other.v)
        assert torch.equal(state.refractory, other.refractory)
        if not isinstance(each, torch.Tensor):
            assert y.stride() == x.stride()
        again, _ = cpu.lif(a, LIFState(other.v, other.refractory), **words)
        assert torch.equal(again, F.lif(b, other, **words)[0])
        got = torch.autograd.grad(y.square().sum() + again.sum(), a)[0]
        want = torch.autograd.grad(
            z.square().sum()
            + F.lif(b, LIFState(other.v.detach(), other.refractory), **words)[0].sum(),
            b,
        )[0]
        torch.testing.assert_close(got, want)
