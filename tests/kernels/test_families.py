"""Surrogates in the kernels: those of users, names that are given again, many records."""

from __future__ import annotations

import gc

import pytest
import torch
from native import Seen, needs_kernels
from scans import lif

from spikegrad import functional as F
from spikegrad import surrogate as S
from spikegrad.errors import UserError
from spikegrad.kernels import cpu
from spikegrad.kernels.cpu.step_library import PROGRAMS


def parabola(z: torch.Tensor) -> torch.Tensor:
    return torch.clamp(1 - z * z, min=0) * 0.75


def tent(z: torch.Tensor) -> torch.Tensor:
    return torch.clamp(1 - z.abs(), min=0)


def registered(function) -> S.Surrogate:
    return S.register("mine", function, support=1.0, kinks=(-1, 0, 1), replace_own=True)


@pytest.fixture(autouse=True)
def clean():
    yield
    if "mine" in S.names():
        S.unregister("mine")


def gradient(scan, record: S.Surrogate) -> torch.Tensor:
    x = torch.linspace(0, 2, 24).reshape(4, 2, 3).requires_grad_()
    return torch.autograd.grad(scan(x, beta=0.5, surrogate=record)[0].sum(), x)[0]


def by_layer(x, **args):
    return cpu.layer(x, weight=None, neuron="lif", args=args)


@needs_kernels
@pytest.mark.parametrize("scan", [lif, by_layer])
@pytest.mark.parametrize("normalisation", ["area", "peak"])
def test_a_name_that_is_given_again_is_the_new_function(scan, normalisation: str) -> None:
    for function in (parabola, tent, parabola):
        registered(function)
        record = S.get("mine", 1.5, normalisation=normalisation, gain=1.25)
        torch.testing.assert_close(gradient(scan, record), gradient(F.lif, record))


@needs_kernels
@pytest.mark.parametrize("scan", [lif, by_layer])
def test_a_gradient_keeps_the_function_that_its_forward_pass_had(scan) -> None:
    want = gradient(F.lif, registered(parabola))
    x = torch.linspace(0, 2, 24).reshape(4, 2, 3).requires_grad_()
    y, _ = scan(x, beta=0.5, surrogate=S.get("mine"))
    S.unregister("mine")
    gc.collect()
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x)[0], want)


@needs_kernels
def test_records_leave_nothing_behind() -> None:
    """A list of all records once grew for ever, and every call searched it."""
    gradient(lif, S.arctan(2.0))
    before = len(PROGRAMS)
    for k in range(300):
        gradient(lif, S.arctan(2.0 + k, gain=1 + k))
    assert len(PROGRAMS) == before


@needs_kernels
@pytest.mark.parametrize("scan", [lif, by_layer])
def test_a_graph_that_names_a_program_of_another_process_says_so(scan) -> None:
    with Seen() as seen:
        scan(torch.rand(4, 2, 3, requires_grad=True), beta=0.5)[0].sum().backward()
    assert len(seen.calls) == 2
    for function, args in seen.calls:
        with pytest.raises(RuntimeError, match="whose program this process has loaded"):
            function(12345, *args[1:])


def test_an_unknown_name_stays_an_error() -> None:
    record = registered(parabola)
    S.unregister("mine")
    with pytest.raises(UserError, match="unknown surrogate 'mine'"):
        lif(torch.rand(4, 2, 3), beta=0.5, surrogate=record)
