"""The spike: a hard step forward, the surrogate derivative backward.

    s = H(x) = [x >= 0],     ds/dx := g(x),     ds/dk := x p(k x)        (x = u - theta)

In soft mode the forward pass is the primitive G, of which g is the true derivative: then every
gradient is exact. This is the only `torch.autograd.Function` that defines one. Source: Neftci,
Mostafa & Zenke 2019, IEEE Signal Processing Magazine 36(6), 51-63.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from spikegrad.errors import UserError, message
from spikegrad.surrogate.record import Surrogate

__all__ = ["spike", "spike_by"]


def spike(x: Tensor, surrogate: Surrogate, slope: Tensor | None = None) -> Tensor:
    """Spike where the membrane reaches the threshold.

    `s = [x >= 0]`, with the surrogate's derivative as its gradient.

    Args:
        x: distance to the threshold, u - theta, `[..., *features]`.
        surrogate: the record that says what the gradient is, and whether the forward pass is a step
            (hard) or the primitive (soft).
        slope: a positive slope to be learned, a scalar tensor or one that broadcasts to x (per
            neuron: `[*features]`); replaces the record's slope. None: the record's own, fixed.
    Returns:
        s, shape and dtype of x.
    Raises:
        TypeError: x is no floating point tensor, slope no tensor, surrogate no record.
        UserError: a slope with peak normalisation, without a primitive or for a surrogate that has
            none; a slope whose shape does not broadcast to x.

    >>> from spikegrad.surrogate import triangle
    >>> x = torch.tensor([-0.5, 0.0, 2.0], requires_grad=True)
    >>> s = spike(x, triangle(1.0)); s.sum().backward()
    >>> s.tolist(), x.grad.tolist()
    ([0.0, 1.0, 1.0], [0.5, 1.0, 0.0])
    """
    if not isinstance(surrogate, Surrogate):
        raise TypeError(
            message("expected a Surrogate", repr(surrogate), "get one by get(name, slope=...)")
        )
    if not (isinstance(x, Tensor) and x.is_floating_point()):
        got = str(x.dtype) if isinstance(x, Tensor) else type(x).__name__
        remedy = getattr(type(x), "remedy", "use x.float()")
        raise TypeError(message("expected x as a floating point tensor", got, remedy))
    if slope is not None:
        _check_slope(x, surrogate, slope)
        # Expanded out here: autograd then sums its gradient back to its shape, in float32.
        wide = torch.promote_types(x.dtype, torch.float32)
        slope = slope.to(wide).expand(x.shape)
    if not torch.compiler.is_compiling() and forward_ad._current_level >= 0:
        return _SpikeBothWays.apply(x, slope, surrogate)
    return _Spike.apply(x, slope, surrogate)


def spike_by(x: Tensor, slope: Tensor, shape: Any) -> Tensor:
    """`spike` for a tracer: shape is anything with the mode, `derivative` and `slope_derivative` of
    a `Surrogate`, slope a tensor of x's shape; nothing is checked.
    """
    spikes: Tensor = _Spike.apply(x, slope, shape)
    return spikes


class _Spike(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, slope: Tensor | None, surrogate: Surrogate) -> Tensor:
        if surrogate.mode == "soft":
            return surrogate.primitive(x, slope)
        return (x >= 0).to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, slope, surrogate = inputs
        ctx.surrogate = surrogate
        ctx.learns_slope = slope is not None
        ctx.save_for_backward(*((x,) if slope is None else (x, slope)))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        # Differentiable torch operations only: a second backward works.
        if not ctx.learns_slope:
            (x,) = ctx.saved_tensors
            return grad * ctx.surrogate.derivative(x), None, None
        x, slope = ctx.saved_tensors
        grad_x = grad * ctx.surrogate.derivative(x, slope)
        return grad_x, grad.to(slope.dtype) * ctx.surrogate.slope_derivative(x, slope), None


class _SpikeBothWays(_Spike):
    """The same in forward mode too, which `torch.compile` does not trace."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _Spike.setup_context(ctx, inputs, output)
        x, slope, _ = inputs
        ctx.save_for_forward(*((x,) if slope is None else (x, slope)))

    @staticmethod
    def jvp(ctx: Any, dx: Tensor | None, dslope: Tensor | None, _: None) -> Tensor:
        x, *slope = ctx.saved_tensors
        total = torch.zeros_like(x) if dx is None else dx * ctx.surrogate.derivative(x, *slope)
        if dslope is not None:
            total = total + dslope.to(x.dtype) * ctx.surrogate.slope_derivative(x, *slope)
        return total.to(x.dtype)


def _check_slope(x: Tensor, surrogate: Surrogate, slope: Tensor) -> None:
    if not (isinstance(slope, Tensor) and slope.is_floating_point()):
        raise TypeError(
            message(
                "expected slope as a floating point tensor or None",
                type(slope).__name__,
                "for a fixed slope use surrogate.with_slope(k)",
            )
        )
    if not surrogate.family.has_slope:
        raise UserError(
            message(
                f"expected no slope for {surrogate.name}", "a tensor", "it has no slope to learn"
            )
        )
    if surrogate.normalisation != "area":
        raise UserError(
            message(
                "expected area normalisation for a learnable slope",
                repr(surrogate),
                "its slope changes the width only, and no primitive in the slope exists",
            )
        )
    if not surrogate.has_primitive:
        raise UserError(
            message(
                "expected a surrogate with a primitive for a learnable slope",
                f"{surrogate.name!r}, registered without one",
                "pass primitive= to register()",
            )
        )
    trailing = x.shape[x.ndim - slope.ndim :] if slope.ndim <= x.ndim else None
    if trailing is None or any(k not in (1, n) for k, n in zip(slope.shape, trailing, strict=True)):
        raise UserError(
            message(
                f"expected slope as a scalar or broadcastable to x of shape {list(x.shape)}",
                str(list(slope.shape)),
                "per neuron it has the shape [*features]",
            )
        )
