"""Dtypes follow the input; half types are evaluated in float32; dyadic numbers are exact."""

from __future__ import annotations

import pytest
import torch
from neurons import CASES, RESETS, SPIKING, Case, ids

from spikegrad import functional as F

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def values(case: Case, **extra):
    return {**{k: v.item() for k, v in case.tensors().items()}, **case.words, **extra}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_output_and_state_dtype(case: Case, dtype: torch.dtype) -> None:
    x = (torch.rand(6, 2, 3) * 2).to(dtype).requires_grad_()
    y, state = case.scan(x, **values(case))
    assert y.dtype == dtype
    wide = torch.float32 if dtype in FLOATS[:2] else dtype
    assert all(part.dtype == wide for part in state if part is not None)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == dtype
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("dtype", FLOATS[:2])
@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_half_types_give_what_float32_gives(case: Case, dtype: torch.dtype) -> None:
    x = (torch.rand(20, 4, 8, generator=torch.Generator().manual_seed(0)) * 2).to(dtype)
    y, state = case.scan(x, **values(case))
    want, end = case.scan(x.float(), **values(case))
    assert torch.equal(y, want.to(dtype))
    assert all(torch.equal(a, b) for a, b in zip(state, end, strict=True) if a is not None)


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("case", SPIKING, ids=ids(SPIKING))
def test_dyadic_numbers_are_exact(case: Case, reset: str) -> None:
    """Multiples of 1/64 with halving decays have no rounding: float32 equals float64."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randint(-32, 96, (16, 4, 9), generator=generator).float() / 64
    p = {k: (0.5 if k in ("alpha", "beta", "rho", "kappa") else 1.0) for k in case.parameters}
    p |= {k: 0.25 for k in p if k == "v_reset"} | {k: 0.0 for k in p if k == "v_rest"}
    single, one = case.scan(x, **p, **case.words, reset=reset)
    double, two = case.scan(x.double(), **p, **case.words, reset=reset)
    assert torch.equal(single.double(), double)
    assert torch.equal(one.v.double(), two.v)


def test_under_autocast_states_stay_float32() -> None:
    linear = torch.nn.Linear(5, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = linear(torch.rand(6, 2, 5))
        assert x.dtype == torch.bfloat16
        s, state = F.lif(x, beta=0.9)
    assert s.dtype == torch.bfloat16
    assert state.v.dtype == torch.float32


def test_non_contiguous_input_and_gradient() -> None:
    base = torch.rand(3, 4, 10, dtype=torch.float64)
    x = base.permute(2, 1, 0).requires_grad_()
    y, _ = F.lif(x, beta=0.9)
    want, _ = F.lif(x.detach().contiguous(), beta=0.9)
    assert torch.equal(y, want)
    y.mean().backward()  # an incoming gradient of stride 0
    assert torch.isfinite(x.grad).all()
