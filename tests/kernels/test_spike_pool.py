"""A neuron and its max-pool in one call against the specification followed by torch's pool.

Spikes, states and, with fixed parameters, gradients of single steps are the same operations in
the same order; gradients that are summed over time differ in the order of that sum.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from scans import lif

import spikegrad as sg
from spikegrad import functional as F
from spikegrad import surrogate as S
from spikegrad.kernels import cpu
from spikegrad.kernels.cpu.neuron import named
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
    ((2, 1, 2, 20, 16), (20, 16)),  # a pixel's number in its window needs more than a byte
    ((3, 2, 70, 4, 6), (2, 2)),  # a pixel's spikes lie in two or three words
    ((40, 1, 50, 4, 9), (2, 2)),  # several pieces a row
]


def last(x: torch.Tensor) -> torch.Tensor:
    return x.movedim(-3, -1).contiguous().movedim(-1, -3)


def lif_pool(x, state=None, *, steps: int, kernel, **args):
    return cpu.spike_pool(x, state, steps=steps, kernel=kernel, neuron="lif", args=args)


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
    got = outcome(lif_pool, x, v, **words)
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


@pytest.mark.parametrize("name", S.names(aliases=False))
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
    got, want = outcome(lif_pool, x, None, **words), outcome(twin, x, None, **words)
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
        a = torch.autograd.grad(reduce(lif_pool(x, **words)[0]), x)[0]
        b = torch.autograd.grad(reduce(twin(x, **words)[0]), x)[0]
        torch.testing.assert_close(a, b)
    _, state = lif_pool(x, **words)  # the state alone
    _, other = twin(x, **words)
    a, b = (torch.autograd.grad(s.v.sum(), x)[0] for s in (state, other))
    torch.testing.assert_close(a, b)


def test_results_do_not_depend_on_threads_or_runs() -> None:
    x, v = currents((6, 8, 20, 9, 9)), currents((8, 20, 9, 9), seed=1)
    words = {"steps": 6, "kernel": (2, 2), "beta": 0.9, "surrogate": S.arctan(2.0)}
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        want = outcome(lif_pool, x, v, **words)
        torch.set_num_threads(2)
        for _ in range(3):
            got = outcome(lif_pool, x, v, **words)
            assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
    finally:
        torch.set_num_threads(before)


def test_a_second_backward_is_refused() -> None:
    x = currents((3, 2, 3, 6, 6)).requires_grad_()
    y, _ = lif_pool(x, steps=3, kernel=(2, 2), beta=0.9, surrogate=S.arctan(2.0))
    (first,) = torch.autograd.grad((y * y).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="backend='reference'"):
        torch.autograd.grad(first.sum(), x)


def arguments(x, state=None, learn: bool = False) -> tuple:
    """The operator's, for LIF neurons at the defaults."""
    threshold = torch.tensor(1.0, requires_grad=learn)
    args = {"beta": 0.5, "threshold": threshold}
    n = named("rows", "lif", x, state, args)
    return n.loaded.key, x, n.states.detach().contiguous(), n.params, 4, 2, 2


@pytest.mark.parametrize("learn", [False, True])
def test_operators_pass_opcheck(learn: bool) -> None:
    x = torch.rand(1, 2, 6, 5, 3, requires_grad=True)
    v = torch.rand(2, 6, 5, 3)
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    for start in (None, LIFState(v, None)):
        given = arguments(x, start, learn)
        torch.library.opcheck(torch.ops.spikegrad.spike_pool.default, given, test_utils=tests)
    key, x, states, params, *sizes = [
        a.detach() if isinstance(a, torch.Tensor) else a for a in given
    ]
    y, ends = torch.ops.spikegrad.spike_pool(key, x, states, params, *sizes)
    given = (key, y, ends, x, states, params, *sizes, True)
    operator = torch.ops.spikegrad.spike_pool_backward.default
    torch.library.opcheck(operator, given, test_utils=("test_schema",))


def test_errors_of_the_operators() -> None:
    x = torch.rand(1, 2, 6, 5, 3)
    good = arguments(x)
    for at, wrong, words in [
        (0, 12345, "whose program this process has loaded"),
        (1, x.half(), "float32 or float64"),
        (1, x.double(), "another dtype"),
        (1, x.permute(0, 1, 4, 2, 3), "contiguous"),
        (2, torch.rand(1, 2, 6, 5), "states"),
        (3, torch.rand(10, 3), "parameters"),
        (4, 0, "contiguous"),
        (6, 7, "windows"),
    ]:
        with pytest.raises(RuntimeError, match=words):
            torch.ops.spikegrad.spike_pool(*good[:at], wrong, *good[at + 1 :])


NEURONS = {
    "alif": sg.ALIF(5.0, 10.0, refractory=2.0, surrogate="boxcar"),
    "learned": sg.LIF(5.0, learn=("tau_mem", "threshold", "slope")),
    "cuba": sg.CUBALIF(5.0, 4.0, reset="zero", detach_reset=False, surrogate="triangle"),
    "own": sg.SEAdLIF(threshold=0.2),
    "delayed": sg.LIF(5.0, reset_delay=True),
}


@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.parametrize("shape", [(4, 2, 3, 6, 6), (5, 1, 33, 7, 5)], ids=str)
def test_other_neurons_equal_their_loop(name: str, shape) -> None:
    """Any neuron, learned parameters that all neurons share, and its states at the end."""
    layer, x = NEURONS[name].double(), 2 * currents(shape, torch.float64).abs()
    learned = list(layer.parameters())
    found = []
    for native in (True, False):
        given = x.clone().requires_grad_()
        if native:
            args = layer.law_arguments()
            y, state = cpu.spike_pool(
                given, None, steps=shape[0], kernel=(2, 2), neuron=layer.law, args=args
            )
        else:
            layer.backend = "reference"
            s, state = layer(given)
            y = torch.nn.functional.max_pool2d(s.flatten(0, 1), 2).unflatten(0, s.shape[:2])
            layer.backend = "auto"
        draw = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(4))
        loss = (y * draw).sum() + state[0].sum()
        found.append([y, *state[:2], *torch.autograd.grad(loss, [given, *learned])])
    assert 0 < found[1][0].mean() < 1
    for a, b in zip(*found, strict=True):
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_scans_read_channels_last_inputs_as_they_lie() -> None:
    x = last(currents((5, 2, 7, 4, 3)))
    for each in (0.9, torch.rand(7, 4, 3)):  # per neuron: copied
        words = {"beta": each, "surrogate": S.arctan(2.0), "refractory": 2}
        a, b = x.clone().requires_grad_(), x.contiguous().requires_grad_()
        assert not a.is_contiguous()
        y, state = lif(a, **words)
        z, other = F.lif(b, **words)
        assert torch.equal(y, z)
        assert torch.equal(state.v, other.v)
        assert torch.equal(state.refractory, other.refractory)
        if not isinstance(each, torch.Tensor):
            assert y.stride() == x.stride()
        again, _ = lif(a, LIFState(other.v, other.refractory), **words)
        assert torch.equal(again, F.lif(b, other, **words)[0])
        got = torch.autograd.grad(y.square().sum() + again.sum(), a)[0]
        want = torch.autograd.grad(
            z.square().sum()
            + F.lif(b, LIFState(other.v.detach(), other.refractory), **words)[0].sum(),
            b,
        )[0]
        torch.testing.assert_close(got, want)
