"""The taps of learned delays, which the backward pass computes again: it keeps weights and delays.

Autograd would keep every number in between, of Gaussians several for each tap. Taps of a dense
connection lie by input, as the kernels take them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from spikegrad import functional
from spikegrad.functional.taps import first_of_gaussian
from spikegrad.kernels.cpu.eager import eager
from spikegrad.types import Taps

__all__ = ["gaussian_taps", "interpolated_taps"]

AT_ONCE = 1 << 18
"""Numbers in between that exist at a time."""


def interpolated_taps(weight: Tensor, delay: Tensor, *, most: int) -> Taps:
    """`functional.interpolated_taps` of a checked delay."""
    values, first = interpolated(weight, delay, most)
    return Taps(first, values, most)


def gaussian_taps(weight: Tensor, delay: Tensor, *, most: int, sigma: float) -> Taps:
    """`functional.gaussian_taps` of a checked delay of the weight's shape."""
    values, first = gaussian(weight, delay, most, sigma)
    return Taps(first, values, most)


def room(weight: Tensor, count: int) -> Tensor:
    """For taps `[out, in, count]`, those of an input side by side, or `[E, count]`."""
    if weight.dim() == 1:
        return weight.new_empty((*weight.shape, count))
    outputs, inputs = weight.shape
    return weight.new_empty_strided((outputs, inputs, count), (count, outputs * count, 1))


def by_input(first: Tensor, weight: Tensor) -> Tensor:
    """First steps of every synapse, in the order of `room`."""
    whole = first.to(torch.int32).expand(weight.shape)
    return whole if weight.dim() == 1 else whole.t().contiguous().t()


def interpolate(weight: Tensor, delay: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Values of two taps and their first steps."""
    first = delay.floor().clamp_(max=most - 1)
    share = delay - first
    values = room(weight, 2)
    torch.mul(weight, share, out=values[..., 1])
    torch.mul(weight, share.neg_().add_(1), out=values[..., 0])
    return values, by_input(first, weight)


def keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Save weights and delays."""
    weight, delay, *ctx.how = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(weight, delay)


def graph_of(ctx: Any, taps: Taps, grad: Tensor) -> list[Tensor | None]:
    """The gradients as a graph of their own, which `create_graph=True` asks for."""
    both = zip(ctx.saved_tensors, ctx.needs_input_grad[:2], strict=True)
    wanted = [each for each, needed in both if needed]
    found = iter(torch.autograd.grad(taps.values, wanted, grad, create_graph=True))
    return [next(found) if needed else None for needed in ctx.needs_input_grad[:2]]


def gradient_of_interpolation(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Any, ...]:
    """Gradients of weight and delay."""
    if grad is None:
        return None, None, None
    weight, delay = ctx.saved_tensors
    (most,) = ctx.how
    if torch.is_grad_enabled():
        return *graph_of(ctx, functional.interpolated_taps(weight, delay, most=most), grad), None
    before, after = grad.unbind(-1)
    dweight = ddelay = None
    if ctx.needs_input_grad[0]:
        share = delay - delay.floor().clamp_(max=most - 1)
        dweight = (after * share).add_(before * share.neg_().add_(1))
    if ctx.needs_input_grad[1]:
        ddelay = (after - before).mul_(weight).sum_to_size(delay.shape)
    return dweight, ddelay, None


def parts(weight: Tensor, count: int) -> Iterator[slice]:
    """Rows of a weight so that so many numbers of each synapse are not too many at a time."""
    each = max(1, weight.numel() // max(1, len(weight))) * count
    rows = max(1, AT_ONCE // each)
    for begin in range(0, len(weight), rows):
        yield slice(begin, begin + rows)


def shares_of(delay: Tensor, first: Tensor, count: int, sigma: float) -> tuple[Tensor, Tensor]:
    """The Gaussians' taps, which sum up to 1, and their distances from the delay."""
    place = torch.arange(count, dtype=delay.dtype, device=delay.device)
    distance = (first.unsqueeze(-1) + place).sub_(delay.unsqueeze(-1))
    return torch.softmax((distance / sigma).square_().mul_(-0.5), -1), distance


def weigh(weight: Tensor, delay: Tensor, most: int, sigma: float) -> tuple[Tensor, Tensor]:
    """Values of a Gaussian's taps and their first steps."""
    first, count = first_of_gaussian(delay, most, sigma)
    values = room(weight, count)
    for part in parts(weight, count):
        shares, _ = shares_of(delay[part], first[part], count, sigma)
        torch.mul(weight[part].unsqueeze(-1), shares, out=values[part])
    return values, by_input(first, weight)


def gradient_of_gaussian(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Any, ...]:
    """Gradients of weight and delay."""
    if grad is None:
        return None, None, None, None
    weight, delay = ctx.saved_tensors
    most, sigma = ctx.how
    if torch.is_grad_enabled():
        taps = functional.gaussian_taps(weight, delay, most=most, sigma=sigma)
        return *graph_of(ctx, taps, grad), None, None
    first, count = first_of_gaussian(delay, most, sigma)
    dweight, ddelay = torch.empty_like(weight), torch.empty_like(delay)
    for part in parts(weight, count):
        shares, distance = shares_of(delay[part], first[part], count, sigma)
        each = grad[part] * shares
        torch.sum(each, -1, out=dweight[part])
        # The logarithm of a share grows with the delay by distance / sigma^2, less its mean.
        each.sub_(shares.mul_(dweight[part].unsqueeze(-1))).mul_(distance)
        torch.sum(each, -1, out=ddelay[part])
        ddelay[part] *= weight[part] / sigma**2
    needs = ctx.needs_input_grad
    return dweight if needs[0] else None, ddelay if needs[1] else None, None, None


interpolated = eager(interpolate, keep, gradient_of_interpolation)
gaussian = eager(weigh, keep, gradient_of_gaussian)
