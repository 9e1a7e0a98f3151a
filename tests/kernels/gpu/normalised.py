"""Batch norms that a Triton scan computes as it reads its input, in Triton's interpreter.

`test_triton.py` runs this file in a process of its own, with TRITON_INTERPRET=1.
"""

from __future__ import annotations

import copy
import os
from typing import Any

import pytest
import torch
from torch import Tensor

import spikegrad as sg
from spikegrad.kernels.moments import moments
from spikegrad.nn import fuse_norm, norm

assert os.environ["TRITON_INTERPRET"] == "1"
TOLERANCE = {torch.float64: 1e-10, torch.float32: 3e-5}
"""Of the largest value of each: the moments are sums in another order."""


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many layers each normalising scan took."""
    found: list[int] = []
    original = fuse_norm.run_normed

    def run(*args: Any, **named: Any) -> Any:
        out = original(*args, **named)
        found.append(len(out[1]))
        return out

    monkeypatch.setattr("spikegrad.nn.sequential.run_normed", run)
    return found


def with_numbers(network: sg.Sequential) -> sg.Sequential:
    """Batch norms as after some training."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, sg.nn.BatchNorm):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.3, 0.6)
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 2.0)
    return network


def results(network: Any, x: Tensor, backend: str) -> dict[str, Tensor]:
    """Output, gradients and running moments."""
    network = copy.deepcopy(network)
    sg.nn.use_backend(network, backend)
    x = x.detach().clone().as_strided(x.shape, x.stride()).requires_grad_()
    y, _ = network(x)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)).sum().backward()
    assert x.grad is not None
    named = {name: p.grad for name, p in network.named_parameters()}
    return {"y": y.detach(), "x": x.grad, **named, **dict(network.named_buffers())}


def check(network: Any, x: Tensor) -> None:
    """By Triton what the reference gives."""
    want, got = (results(network, x, backend) for backend in ("reference", "triton"))
    assert 0.02 < want["y"].mean() < 0.9
    for name, one in want.items():
        scale = one.abs().max().clamp(min=1.0) * TOLERANCE[x.dtype]
        assert (one - got[name]).abs().max() <= scale, name


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
def test_a_network_with_batch_norms(dtype: torch.dtype, training: bool, ran: list[int]) -> None:
    """Behind a Linear, whose bias has no gradient in training, and behind neurons."""
    torch.manual_seed(0)
    network = sg.Sequential(
        sg.Linear(6, 8),
        sg.nn.BatchNorm(8, threshold=1.5),
        sg.LIF(10.0, learn="tau_mem"),
        sg.nn.BatchNorm(8),
        sg.ALIF(3.0, tau_adapt=30.0),
    ).to(dtype)
    check(with_numbers(network).train(training), torch.rand(12, 3, 6, dtype=dtype) * 3.0)
    assert ran == [3, 2]


@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
def test_channels_of_images(training: bool, ran: list[int]) -> None:
    torch.manual_seed(0)
    network = sg.Sequential(
        sg.nn.Conv2d(2, 3, 3, padding=1), sg.nn.BatchNorm(3), sg.LIF(5.0)
    ).double()
    check(with_numbers(network).train(training), torch.rand(6, 2, 2, 4, 4, dtype=torch.float64))
    assert ran == [2]


def test_an_input_that_is_constant_in_time(ran: list[int]) -> None:
    torch.manual_seed(0)
    network = sg.Sequential(sg.Linear(6, 8), sg.nn.BatchNorm(8), sg.LIF(5.0)).double()
    x = torch.rand(1, 4, 6, dtype=torch.float64).expand(9, 4, 6)
    want, got = (results(network, x, backend) for backend in ("reference", "triton"))
    for name, one in want.items():
        assert torch.allclose(one, got[name], atol=1e-10), name
    assert ran == [3]


def test_what_runs_by_itself(ran: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Feedback, a recorded membrane, another class, a hook, several processes, the CPU."""
    torch.manual_seed(0)
    x = torch.rand(4, 3, 6)
    pair = sg.Sequential(sg.nn.BatchNorm(6), sg.LIF(5.0), backend="triton")
    with sg.record(pair) as tapes:
        pair(x)
    assert tapes["1"].membrane.shape == x.shape
    hooked = copy.deepcopy(pair)
    hooked[0].register_forward_hook(lambda *_: None)
    hooked(x)

    class Other(sg.nn.BatchNorm):
        def normalise(self, rows: Tensor, repeats: int) -> Tensor:
            return rows

    sg.Sequential(Other(6), sg.LIF(5.0), backend="triton")(x)
    sg.Sequential(sg.nn.BatchNorm(6), sg.nn.Recurrent(sg.LIF(5.0), 6), backend="triton")(x)
    sg.Sequential(sg.nn.BatchNorm(6), sg.LIF(5.0))(x)
    monkeypatch.setattr(fuse_norm, "is_distributed", lambda: True)
    monkeypatch.setattr(norm.BatchNorm, "normalise_together", lambda self, rows, *_: rows)
    pair(x)
    assert ran == []
    with sg.record(pair.eval(), membrane=False) as tapes:
        y, _ = pair(x)
    assert ran == [2]
    assert torch.equal(tapes["1"].spikes, y)


def test_what_is_wrong_is_said() -> None:
    network = sg.Sequential(sg.Linear(6, 5), sg.nn.BatchNorm(5), sg.LIF(5.0), backend="triton")
    with pytest.raises(sg.UserError, match=r"expected Linear's input as \[T, B, 6\]"):
        network(torch.rand(3, 2, 7))
    with pytest.raises(sg.UserError, match="more than one value per channel"):
        network(torch.rand(1, 1, 6))
    with pytest.raises(sg.UserError, match="stateless"):
        network(torch.rand(3, 2, 6), (None, torch.zeros(1), None))
    network[1] = sg.nn.BatchNorm(4)
    with pytest.raises(sg.UserError, match=r"expected x \[T, B, 4, ...\]"):
        network(torch.rand(3, 2, 6))


def test_half_types_have_moments_in_float32() -> None:
    rows = torch.rand(50, 4).half()
    mean, var = moments(rows)
    assert mean.dtype == torch.float32
    assert torch.allclose(mean, rows.float().mean(0), atol=1e-6)
    assert torch.allclose(var, rows.float().var(0, correction=0), atol=1e-6)


def test_the_moments_gradient() -> None:
    torch.manual_seed(0)
    rows = torch.rand(5, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(moments, rows)
    assert torch.autograd.gradgradcheck(moments, rows)


def test_explain_names_the_three() -> None:
    network = sg.Sequential(sg.Linear(6, 5), sg.nn.BatchNorm(5), sg.LIF(5.0), backend="triton")
    (row,) = sg.diagnose.explain(network, torch.rand(3, 2, 6))
    assert (row.layers, row.backend) == (("0", "1", "2"), "triton")
    assert row.reason == fuse_norm.NORMED
