"""The native scans against the specification: outputs, final states and every gradient.

Without contraction the kernels do the reference's operations in its order, so values are equal bit
for bit in both types; gradients are sums in another order, hence tolerances.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from native import CHECKS, Seen, detached, poisoned
from neurons import CASES, RESETS, SPIKING, Case, ids
from scans import SCANS, li, lif

from spikegrad import functional as F
from spikegrad import surrogate as S
from spikegrad.errors import UserError
from spikegrad.kernels import choose, cpu
from spikegrad.surrogate import Surrogate

pytestmark = pytest.mark.skipif(bool(cpu.load()), reason=f"no native kernels: {cpu.load()}")

TOLERANCE = {
    torch.float64: {"rtol": 1e-9, "atol": 1e-10},
    torch.float32: {"rtol": 2e-4, "atol": 2e-4},  # sums of up to 1,400 terms in another order
}


def outcome(scan, case: Case, x, start, params, slope, words):
    """Outputs, final state and gradients of a random weighting of them."""
    y, end = scan(
        x, case.state(*start), **params, **words, **({"slope": slope} if slope is not None else {})
    )
    generator = torch.Generator().manual_seed(1)
    parts = [p for p in (y, *end) if p is not None and p.is_floating_point()]
    loss = sum((p * torch.rand(p.shape, generator=generator, dtype=p.dtype)).sum() for p in parts)
    leaves = [x, *start, *params.values(), *([slope] if slope is not None else [])]
    return (y, *end), torch.autograd.grad(loss, leaves, allow_unused=True)


def compare(case: Case, dtype, shape, *, per_neuron: bool, slope: str, words) -> None:
    size = shape[2] if per_neuron else 0
    torch.manual_seed(0)
    x = (torch.rand(shape, dtype=dtype) * 2 - 0.3).requires_grad_()
    start, params = case.start(*shape[1:], dtype), case.tensors(dtype, size)
    k = None
    if slope != "fixed":
        k = torch.full((shape[2],) if slope == "each" else (), 2.5, dtype=dtype, requires_grad=True)
    words = {**case.words, **words}
    want, want_gradients = outcome(case.scan, case, x, start, params, k, words)
    got, gradients = outcome(SCANS[case.scan.__name__], case, x, start, params, k, words)
    for a, b in zip(got, want, strict=True):
        assert (a is None and b is None) or torch.equal(a, b)
    for a, b in zip(gradients, want_gradients, strict=True):
        b = torch.zeros_like(a) if b is None else b
        a = torch.zeros_like(b) if a is None else a
        torch.testing.assert_close(a, b, **TOLERANCE[dtype])


MODES = list(itertools.product(RESETS, (True, False), (0, 2)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("per_neuron", [False, True])
@pytest.mark.parametrize("case", SPIKING, ids=ids(SPIKING))
def test_neuron_by_reset_by_slope(case: Case, per_neuron: bool, dtype: torch.dtype) -> None:
    for (reset, detach, refractory), slope in zip(
        MODES, itertools.cycle(["fixed", "one", "each"]), strict=False
    ):
        words = {
            "reset": reset,
            "detach_reset": detach,
            "refractory": refractory,
            "surrogate": S.arctan(2.5),
        }
        compare(case, dtype, (7, 3, 65), per_neuron=per_neuron, slope=slope, words=words)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 65), (9, 1, 1), (5, 2, 1500), (200, 1, 7)])
@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_odd_shapes(case: Case, shape: tuple[int, ...]) -> None:
    for per_neuron in (False, True):
        compare(case, torch.float32, shape, per_neuron=per_neuron, slope="fixed", words={})


@pytest.mark.parametrize("surrogate", [S.triangle(1.0), S.boxcar(2.0), S.arctan(2.0)], ids=str)
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("per_neuron", [False, True])
@pytest.mark.parametrize(
    "shape", [(5, 2, 1500), (4, 60, 64), (3, 40, 129), (9, 1, 1), (66, 16, 4096)]
)
def test_membranes_kept_in_part(
    shape: tuple[int, ...], per_neuron: bool, reset: str, surrogate: Surrogate
) -> None:
    """Fixed parameters: blocks of 1,024 columns and what is left, past the caches or not."""
    g = torch.Generator().manual_seed(0)
    x, incoming = torch.randn(shape, generator=g), torch.randn(shape, generator=g)
    threshold = 0.75 + torch.rand(shape[-1], generator=g) / 2 if per_neuron else 1.0
    args = {"beta": 0.9, "threshold": threshold, "surrogate": surrogate, "reset": reset}
    args |= {"detach_reset": shape[0] % 2 == 0, "v_reset": 0.25}
    found = []
    for scan in (F.lif, lif):
        leaf = x.clone().requires_grad_()
        with poisoned():
            s, _ = scan(leaf, **args)
            s.backward(incoming)
        assert leaf.grad is not None
        found.append((s.detach(), leaf.grad))
    (want, gradient), (s, got) = found
    assert torch.equal(s, want)
    torch.testing.assert_close(got, gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("normalisation", ["area", "peak"])
@pytest.mark.parametrize("name", S.names(aliases=False))
def test_every_surrogate(name: str, normalisation: str) -> None:
    case = SPIKING[1]
    surrogate = S.get(name, normalisation=normalisation, gain=1.5)
    if surrogate.family.has_slope:
        surrogate = surrogate.with_slope(3.0)
    for dtype in (torch.float32, torch.float64):
        compare(
            case,
            dtype,
            (6, 2, 33),
            per_neuron=False,
            slope="fixed",
            words={"surrogate": surrogate},
        )


def test_surrogates_over_a_wide_range() -> None:
    """The derivative itself, from 1e-6 to 1e4 on both sides, through one step."""
    d = torch.cat([-torch.logspace(-6, 4, 300), torch.logspace(-6, 4, 300)]).reshape(1, 1, -1)
    for name in S.names(aliases=False):
        surrogate = S.get(name)
        x = d.clone().requires_grad_()
        s, _ = lif(x, beta=0.5, threshold=0.0 + 1e-30, surrogate=surrogate)
        (got,) = torch.autograd.grad(s.sum(), x)
        want = surrogate.derivative(d.double() - 1e-30).float()
        torch.testing.assert_close(
            got, want, rtol=1e-5, atol=1e-37
        )  # exp(-z) for z near 88 rounds z


def test_a_users_own_surrogate_runs_in_the_fused_scan() -> None:
    S.register(
        "cosine_for_kernels",
        lambda z: torch.where(z.abs() < 1, 0.5 * (1 + torch.cos(torch.pi * z)), 0.0),
        support=1.0,
        kinks=(-1.0, 1.0),
        source="test",
    )
    try:
        own = S.get("cosine_for_kernels", slope=2.0)
        for case in SPIKING:
            compare(
                case,
                torch.float64,
                (5, 2, 9),
                per_neuron=False,
                slope="fixed",
                words={"surrogate": own},
            )
    finally:
        S.unregister("cosine_for_kernels")


@pytest.mark.parametrize("threads", [1, 2])
def test_bit_identical_for_any_number_of_threads(threads: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(20, 16, 700).requires_grad_()
    case = SPIKING[1]

    def run():
        params = case.tensors(torch.float32)
        y, _ = lif(x, **params)
        return [y, *torch.autograd.grad(y.sum() * 1.7, [x, *params.values()])]

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        want = run()
        torch.set_num_threads(threads)
        for _ in range(3):
            assert all(torch.equal(a, b) for a, b in zip(run(), want, strict=True))
    finally:
        torch.set_num_threads(before)


def test_strides_and_static_input() -> None:
    static = torch.rand(3, 40).unsqueeze(0).expand(9, 3, 40)
    for x in (
        static,
        torch.rand(40, 3, 9).permute(2, 1, 0),
        torch.rand(9, 3, 80)[..., ::2],
        torch.rand(9, 3, 4, 10),
        torch.rand(18, 3, 40)[::2],
    ):
        leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        got, _ = lif(x, beta=0.9)
        want, _ = F.lif(x.contiguous(), beta=0.9)
        assert torch.equal(got, want)
        for reduce in (torch.sum, torch.mean):
            y, _ = lif(leaf, beta=0.9)
            twin, _ = F.lif(leaf, beta=0.9)
            a = torch.autograd.grad(reduce(y), leaf)[0]
            b = torch.autograd.grad(reduce(twin), leaf)[0]
            torch.testing.assert_close(a, b)
    y, _ = lif(torch.rand(9, 3, 40, requires_grad=True), beta=0.9)
    y.backward(torch.rand(40, 3, 9).permute(2, 1, 0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types(dtype: torch.dtype) -> None:
    x = (torch.rand(9, 2, 30) * 2).to(dtype)
    for case in CASES:
        params = {k: v.item() for k, v in case.tensors().items()}
        got, end = SCANS[case.scan.__name__](x, **params, **case.words)
        want, state = case.scan(x, **params, **case.words)
        assert got.dtype == dtype
        assert torch.equal(got, want)
        assert all(torch.equal(a, b) for a, b in zip(end, state, strict=True) if a is not None)


def test_subnormals_are_flushed_and_the_mode_comes_back() -> None:
    tiny = torch.full((1, 1, 64), 1e-39)
    u, _ = li(tiny, beta=0.5, gain="unit")
    assert u.sum().item() == 0.0
    assert (torch.tensor(1e-39) * 1.0).item() > 0.0
    torch.testing.assert_close(F.li(tiny, beta=0.5, gain="unit")[0], tiny)


def test_a_second_backward_is_refused_and_the_reference_does_it() -> None:
    x = torch.rand(4, 2, 3, requires_grad=True)
    y, _ = lif(x, beta=0.9)
    (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="backend='reference'"):
        torch.autograd.grad(first.sum(), x)
    y, _ = F.lif(x, beta=0.9)
    (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    torch.autograd.grad(first.sum(), x)


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("learned", [True, False])
def test_operators_pass_opcheck(learned: bool, reset: str) -> None:
    """With all membranes kept, and with those inside a triangle."""
    args = {"surrogate": S.triangle(1.0), "reset": reset, "threshold": 0.5}
    beta = torch.tensor(0.5, requires_grad=learned)
    x = torch.rand(4, 3, 70, requires_grad=True)
    with Seen() as seen:
        lif(x, beta=beta, **args)[0].sum().backward()
    assert len(seen.calls) == 2
    for function, arguments in seen.calls:
        torch.library.opcheck(function, detached(arguments), test_utils=CHECKS)


def test_what_auto_chooses_and_why() -> None:
    x = torch.rand(4, 2, 3)
    assert choose("lif", "auto", x, {}).backend == "cpu"
    soft = {"surrogate": S.arctan().soft()}
    for args, words in [({"trace": True}, "records membranes"), (soft, "soft mode")]:
        choice = choose("lif", "auto", x, args)
        assert (choice.backend, words in choice.reason) == ("reference", True)
    with pytest.raises(UserError, match="use backend='auto'"):
        choose("lif", "cpu", x, soft)
    assert choose("lif", "cpu", x, {"trace": True}).backend == "reference"  # the same bits
    assert choose("recurrent", "auto", x, {}).backend == "cpu"
    assert choose("recurrent", "auto", x, {"neuron": print}).backend == "reference"
    assert choose("spiking", "auto", x, {}).backend == "reference"
    assert "meta" in choose("lif", "auto", x.to("meta"), {}).reason


def test_errors_are_the_specifications() -> None:
    x = torch.rand(4, 2, 3)
    _, state = lif(x, beta=0.9)
    for call, words in [
        (lambda: lif(x[:, :1], state, beta=0.9), r"shape \[1, 3\]"),
        (lambda: lif(x, beta=torch.rand(4)), "features' shape"),
        (lambda: lif(x, beta=0.9, reset="no"), "unknown reset"),
    ]:
        with pytest.raises(UserError, match=words):
            call()


def test_no_memory_is_lost() -> None:
    """Buffers come from a pool; after fifty steps as many are out as before."""
    import gc

    x = torch.rand(32, 64, 512, requires_grad=True)  # 4 MB: pooled

    def step() -> None:
        y, _ = lif(x, beta=0.9)
        torch.autograd.grad(y.sum(), x)

    step()
    gc.collect()
    live, idle = torch.ops.spikegrad.pool_bytes()
    for _ in range(50):
        step()
    gc.collect()
    assert torch.ops.spikegrad.pool_bytes()[0] == live
    assert torch.ops.spikegrad.pool_bytes()[1] <= idle + (16 << 20)
    torch.ops.spikegrad.pool_trim()
    assert torch.ops.spikegrad.pool_bytes()[1] == 0
