"""Gradients of every scan: finite differences in soft mode, and a frozen twin for detached resets.

In soft mode the primitive stands in the forward pass, so the whole recurrence is differentiable
and `torch.autograd.gradcheck` judges every path at once. A detached reset is no derivative of the
forward pass; it is the derivative of the model whose reset spikes are constants, and must equal it.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch
from neurons import CASES, RESETS, SPIKING, Case, ids
from torch import Tensor

from spikegrad import functional as F
from spikegrad.surrogate import arctan, get, names, sigmoid
from spikegrad.types import LIFState, RecurrentState

T, B, N = 5, 2, 3


def soft(reset: str, detach: bool, refractory: int = 0) -> dict:
    return {
        "surrogate": arctan(2.0).soft(),
        "reset": reset,
        "detach_reset": detach,
        "refractory": refractory,
    }


def random_x(t: int = T, n: int = N) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return (torch.rand(t, B, n, dtype=torch.float64, generator=generator) * 1.5).requires_grad_()


def check(case: Case, size: int, extra: dict, *, slope: bool) -> None:
    """gradcheck over input, initial state, all numeric parameters and the slope at once."""
    x, start, params = random_x(), case.start(B, N), case.tensors(size=size)
    keys = list(params)
    slopes = [torch.full((size,) if size else (), 2.0, dtype=torch.float64, requires_grad=True)]

    def run(*flat: Tensor) -> tuple[Tensor, ...]:
        x, rest = flat[0], flat[1:]
        state = case.state(*rest[: len(start)])
        bound = dict(zip(keys, rest[len(start) : len(start) + len(keys)], strict=True))
        more = {"slope": rest[-1]} if slope else {}
        y, end = case.scan(x, state, **bound, **case.words, **extra, **more)
        return (y, *[part for part in end if part is not None and part.is_floating_point()])

    flat = (x, *start, *params.values(), *(slopes if slope else []))
    assert torch.autograd.gradcheck(run, flat, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("size", [0, N], ids=["per-layer", "per-neuron"])
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("case", SPIKING, ids=ids(SPIKING))
def test_soft_mode_gradcheck(case: Case, reset: str, size: int) -> None:
    check(case, size, soft(reset, detach=False), slope=True)


@pytest.mark.parametrize("case", SPIKING, ids=ids(SPIKING))
def test_soft_mode_gradcheck_with_refractory_period(case: Case) -> None:
    check(case, 0, soft("subtract", detach=False, refractory=2), slope=True)


def test_leaky_integrator_gradcheck() -> None:
    case = next(c for c in CASES if c.name == "li")
    for size in (0, N):
        for gain in ("leak", "unit"):
            check(case, size, {"gain": gain}, slope=False)


@pytest.mark.parametrize("name", [n for n in names() if get(n).has_primitive])
def test_soft_mode_gradcheck_with_every_surrogate(name: str) -> None:
    """Every surrogate inside a recurrence, input and threshold; kinks are missed by this input."""
    surrogate = get(name).soft()
    threshold = torch.tensor(0.93, dtype=torch.float64, requires_grad=True)

    def run(x: Tensor, threshold: Tensor) -> Tensor:
        return F.lif(x, beta=0.8, threshold=threshold, surrogate=surrogate, detach_reset=False)[0]

    assert torch.autograd.gradcheck(run, (random_x(), threshold), atol=1e-6, rtol=1e-4)


def frozen_twin(case: Case, x: Tensor, params: dict[str, Tensor], resets: Tensor, reset: str):
    """The scan written again, one step at a time, with the reset's spikes given as constants."""
    p = {"v_rest": 0.0, "kappa": 0.0, "rho": 0.0, **params}
    beta = p.get("beta", 1.0)
    gain = 1 - beta if case.words.get("gain") == "leak" else 1.0
    g_syn = 1 - p["alpha"] if case.words.get("gain_syn") == "leak" else 1.0
    g_mem = 1 - beta if case.words.get("gain_mem") == "leak" else 1.0
    v = torch.zeros(x.shape[1:], dtype=x.dtype) + p["v_rest"]
    i = a = torch.zeros(x.shape[1:], dtype=x.dtype)
    out = []
    for t in range(x.shape[0]):
        if "alpha" in p:
            i = p["alpha"] * i + g_syn * x[t]
            u = p["v_rest"] + beta * (v - p["v_rest"]) + g_mem * i
        else:
            u = p["v_rest"] + beta * (v - p["v_rest"]) + gain * x[t]
        s = torch.sigmoid(4.0 * (u - p["threshold"] - p["kappa"] * a))
        a = p["rho"] * a + s
        r = resets[t]
        v = (
            u - r * (p["threshold"] - p["v_rest"])
            if reset == "subtract"
            else u + r * (p["v_reset"] - u)
        )
        out.append(s)
    return torch.stack(out)


@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("case", SPIKING, ids=ids(SPIKING))
def test_detached_reset_is_the_gradient_with_frozen_resets(case: Case, reset: str) -> None:
    x, params = random_x(8), case.tensors()
    extra = {"surrogate": sigmoid(4.0).soft(), "reset": reset, "detach_reset": True}
    weights = torch.linspace(-1, 1, 8 * B * N, dtype=torch.float64).reshape(8, B, N)
    y, _ = case.scan(x, **params, **case.words, **extra)
    leaves = [x, *[v for k, v in params.items() if reset == "zero" or k != "v_reset"]]
    got = torch.autograd.grad((y * weights).sum(), leaves)

    twin = frozen_twin(case, x, params, y.detach(), reset)
    torch.testing.assert_close(twin, y, rtol=1e-12, atol=1e-12)
    want = torch.autograd.grad((twin * weights).sum(), leaves)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)  # other order of sums
    attached, _ = case.scan(x, **params, **case.words, **{**extra, "detach_reset": False})
    assert not torch.allclose(torch.autograd.grad((attached * weights).sum(), [x])[0], got[0])


@pytest.mark.parametrize("reset", RESETS)
def test_recurrent_gradcheck(reset: str) -> None:
    """Weight of the feedback, input, initial spikes and membrane, through time."""
    generator = torch.Generator().manual_seed(4)
    weight = torch.randn(N, N, dtype=torch.float64, generator=generator).requires_grad_()
    v = torch.rand(B, N, dtype=torch.float64, generator=generator).requires_grad_()
    s = torch.rand(B, N, dtype=torch.float64, generator=generator).requires_grad_()
    neuron = partial(F.lif, beta=0.8, **soft(reset, detach=False))

    def run(x: Tensor, weight: Tensor, v: Tensor, s: Tensor) -> Tensor:
        state = RecurrentState(LIFState(v, None), s)
        return F.recurrent(x, state, weight=weight, neuron=neuron)[0]

    assert torch.autograd.gradcheck(run, (random_x(), weight, v, s), atol=1e-6, rtol=1e-4)


def test_memoryless_gradcheck() -> None:
    threshold = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    slope = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)

    def run(x: Tensor, threshold: Tensor, slope: Tensor) -> Tensor:
        return F.spiking(x, threshold=threshold, surrogate=arctan(2.0).soft(), slope=slope)

    assert torch.autograd.gradcheck(run, (random_x(), threshold, slope))


@pytest.mark.parametrize("case", SPIKING, ids=ids(SPIKING))
def test_hard_mode_backward_is_the_surrogate(case: Case) -> None:
    """One step from rest: ds/dx = gain g(u - threshold), ds/dthreshold = -g, by hand."""
    surrogate = arctan(3.0)
    params = case.tensors()
    x = random_x(1)
    y, _ = case.scan(x, **params, **case.words, surrogate=surrogate)
    dx, dth = torch.autograd.grad(y.sum(), [x, params["threshold"]])
    rest, beta = params.get("v_rest", torch.tensor(0.0)), params.get("beta", torch.tensor(1.0))
    gain = 1.0
    if case.words.get("gain") == "leak":
        gain = (1 - beta).item()
    if case.words.get("gain_syn") == "leak":
        gain = ((1 - params["alpha"]) * (1 - beta)).item()
    u = rest + gain * x
    g = (3.0 / torch.pi) / (1 + 9.0 * (u - params["threshold"]) ** 2)
    torch.testing.assert_close(dx, gain * g)
    torch.testing.assert_close(dth, -g.sum())


def test_long_sequences_cost_linear_memory_in_time() -> None:
    """A loop over x[t] would allocate [T, B, N] once per step in backward; unbind does not."""
    x = torch.rand(50, 1, 1, requires_grad=True)
    s, _ = F.lif(x, beta=0.9)
    names_ = set()
    todo = [s.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in names_:
            continue
        names_.add(node)
        todo += [parent for parent, _ in node.next_functions]
    kinds = {type(node).__name__ for node in names_}
    assert "UnbindBackward0" in kinds
    assert not any(kind.startswith("Select") for kind in kinds)
