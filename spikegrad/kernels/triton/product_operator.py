"""The product of spikes that are bits as one differentiable operator."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad.kernels.cpu.eager import below_autograd, eager
from spikegrad.kernels.cpu.schema import define
from spikegrad.kernels.triton.operator import refuse
from spikegrad.kernels.triton.product_launch import (
    product,
    shape_of_product,
    shape_of_weight,
    weight_gradient,
)

__all__ = ["gradient_of_weight", "run"]


def gradient_of_weight(grad: Tensor, edge: Tensor, bits: Tensor) -> Tensor:
    """The weight's gradient `[O, I]` from that of the product, `[T, B, O]`; edge: something of the
    graph that the spikes come from.
    """
    operator: Any = torch.ops.spikegrad.triton_weight_gradient
    found: Any = below_autograd(operator, grad.contiguous(), edge, bits)
    return found


def keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """Save the bits and the weight: the edge has no memory."""
    edge, bits, weight, _ = inputs
    ctx.save_for_backward(edge, bits, weight)


def gradient(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    """Gradients of the spikes, the weight and the bias; the product with the weight is torch's."""
    edge, bits, weight = ctx.saved_tensors
    need = ctx.needs_input_grad
    return (
        grad @ weight if need[0] else None,
        None,
        gradient_of_weight(grad, edge, bits) if need[2] else None,
        grad.sum((0, 1)) if need[3] else None,
    )


def register() -> None:
    """Schemas, shapes and gradients of the operators."""
    define("triton_product", product, run=product)
    define("triton_weight_gradient", weight_gradient, run=weight_gradient)
    torch.library.register_fake("spikegrad::triton_product", shape_of_product)
    torch.library.register_fake("spikegrad::triton_weight_gradient", shape_of_weight)
    torch.library.register_autograd(
        "spikegrad::triton_product", gradient, setup_context=keep_for_backward
    )
    torch.library.register_autograd("spikegrad::triton_weight_gradient", refuse)


register()
operator: Any = torch.ops.spikegrad.triton_product
run: Any = eager(operator, keep_for_backward, gradient)
