"""Calls that once showed an error of torch's or of the kernels' sources: now one clear line."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.autograd import forward_ad

import spikegrad as sg
from spikegrad.errors import UserError
from spikegrad.surrogate import arctan, triangle

X = torch.rand(6, 3, 4, generator=torch.Generator().manual_seed(0))
IMAGES = torch.rand(3, 2, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def network(**words) -> sg.Sequential:
    torch.manual_seed(0)
    return sg.Sequential(sg.Linear(4, 5), sg.LIF(5.0), sg.Linear(5, 2), sg.LI(5.0), **words)


CONV = sg.Sequential(sg.Conv2d(1, 2, 3, padding=1), sg.LIF(5.0), sg.MaxPool2d(2))
OTHER = [
    (network(), X, "Linear"),
    (network(backend="reference"), X, "Linear"),
    (sg.Sequential(sg.LIF(5.0), sg.Linear(4, 2)), X, "Linear"),
    (CONV, IMAGES, "Conv2d"),
    (sg.Recurrent(sg.LIF(5.0), 4), X, "the feedback"),
    (sg.Sequential(sg.Linear(4, 4), sg.Recurrent(sg.LIF(5.0), 4)), X, "Linear"),
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("layer", "x", "name"), OTHER)
def test_an_input_of_another_dtype_is_named(layer, x, name: str, dtype: torch.dtype) -> None:
    words = rf"expected {name}'s input of dtype torch.float32, as its weight, got {dtype}; convert"
    with pytest.raises(TypeError, match=words):
        layer(x.to(dtype))
    y, _ = layer.to(dtype)(x.to(dtype))
    assert y.dtype == dtype
    layer.float()


def test_batch_norm_names_a_dtype_and_takes_half_types() -> None:
    with pytest.raises(TypeError, match=r"BatchNorm's input of dtype torch.float32"):
        sg.BatchNorm(4)(X.double())
    assert sg.BatchNorm(4)(X.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(("layer", "x", "name"), OTHER)
def test_tensors_without_memory_run_and_other_devices_are_named(layer, x, name: str) -> None:
    with pytest.raises(
        UserError, match=f"expected {name}'s input on cpu, where its weight is, got"
    ):
        layer(x.to("meta"))
    empty = copy.deepcopy(layer).to("meta")
    with pytest.raises(UserError, match=r"expected .* on cpu, got meta|input on meta.*got cpu"):
        empty(x)
    y, _ = empty(x.to("meta"))
    assert y.shape == layer(x)[0].shape
    assert y.is_meta


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_feedback_of_another_size_is_named(backend: str) -> None:
    layers = sg.Linear(20, 64), sg.Recurrent(sg.LIF(5.0), 32)
    words = r"x \[3, 2, 64\], weight \[32, 32\]; use a feedback weight \[64, 64\]"
    with pytest.raises(UserError, match=words):
        sg.Sequential(*layers, backend=backend)(torch.rand(3, 2, 20))


@pytest.mark.parametrize("layer", [network(), sg.LIF(5.0), sg.Recurrent(sg.LIF(5.0), 4)])
@pytest.mark.filterwarnings("ignore")
def test_a_trace_of_torch_jit_is_refused(layer) -> None:
    with pytest.raises(UserError, match=r"one by torch.jit.trace .*; use torch.compile"):
        torch.jit.trace(layer, (X,))


def test_an_onnx_export_sees_torchs_own_operators(monkeypatch) -> None:
    """No other program knows ours."""
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    program = torch.export.export(network(), (X,), strict=False)
    assert "spikegrad" not in str(program.graph)
    torch.testing.assert_close(program.module()(X)[0], network()(X)[0])


NEURONS = [
    lambda **w: sg.IF(**w),
    lambda **w: sg.LIF(5.0, learn=("tau_mem", "threshold", "slope"), **w),
    lambda **w: sg.CUBALIF(5.0, 3.0, **w),
    lambda **w: sg.ALIF(5.0, 20.0, **w),
    lambda **w: sg.Recurrent(sg.LIF(5.0, **w), 4),
]


@pytest.mark.parametrize("surrogate", [arctan(2.0), triangle(2.0), arctan(2.0).soft()])
@pytest.mark.parametrize("make", NEURONS)
def test_forward_mode_derivatives_are_those_of_the_backward_pass(make, surrogate) -> None:
    """Linear algebra ties both: <v, J u> = <J^T v, u>, for any u and v."""
    torch.manual_seed(0)
    layer = make(surrogate=surrogate).double()
    x = (X * 1.5).double().requires_grad_()
    u, v = torch.randn_like(x), torch.randn_like(x)
    with forward_ad.dual_level():
        along = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, u))[0]).tangent
    y, _ = layer(x)
    (back,) = torch.autograd.grad(y, x, v)
    assert along.abs().sum() > 0
    torch.testing.assert_close((along * v).sum(), (back * u).sum())
    _, other = torch.func.jvp(lambda x: layer(x)[0], (x.detach(),), (u,))
    torch.testing.assert_close(other, along)


def test_forward_mode_sees_a_learned_slope() -> None:
    x = torch.linspace(-1, 1, 9, dtype=torch.float64)
    slope = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    spike = sg.surrogate.spike
    _, along = torch.func.jvp(
        lambda k: spike(x, arctan(2.0), k), (slope.detach(),), (torch.ones_like(slope),)
    )
    for place in range(9):
        (back,) = torch.autograd.grad(spike(x, arctan(2.0), slope)[place], slope)
        torch.testing.assert_close(along[place], back)


def test_forward_mode_goes_through_a_whole_network_and_not_through_the_kernels_by_name() -> None:
    from spikegrad import kernels
    from spikegrad.kernels import cpu

    with forward_ad.dual_level():
        y, _ = network()(forward_ad.make_dual(X, torch.ones_like(X)))
        assert forward_ad.unpack_dual(y).tangent.abs().sum() > 0
        if not cpu.load():
            with pytest.raises(UserError, match="only the reference has forward-mode derivatives"):
                kernels.lif(forward_ad.make_dual(X, X), beta=0.5, backend="cpu")


TWICE = [
    lambda learn: sg.IF(learn=learn),
    lambda learn: sg.nn.Spiking(learn=learn),
    lambda learn: sg.AdEx(learn=learn),
]


@pytest.mark.parametrize("layer", TWICE)
def test_a_word_of_learn_that_comes_twice_is_refused(layer) -> None:
    layer("threshold")
    with pytest.raises(UserError, match="each word of learn once, got 'threshold' twice"):
        layer(("threshold", "slope", "threshold"))


@pytest.mark.parametrize("kind", [sg.IF, sg.nn.Spiking])
def test_bounds_of_a_fixed_threshold_are_refused(kind) -> None:
    kind(learn="threshold", threshold_bounds=(0.5, 2.0))
    words = "threshold_bounds with a learned threshold, got a fixed one; add learn='threshold'"
    with pytest.raises(UserError, match=words):
        kind(threshold_bounds=(0.5, 2.0))


@pytest.mark.parametrize("given", [[[[1.0, 0.0, 0.0]]], 3.0, None])
def test_an_input_that_is_no_tensor_is_named(given):
    with pytest.raises(TypeError, match="expected x as a tensor"):
        sg.Sequential(sg.Linear(3, 4), sg.LIF(10.0))(given)
