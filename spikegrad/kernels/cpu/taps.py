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
from spikegrad.functional.taps import shares_of as softmax
from spikegrad.kernels.cpu.eager import eager
from spikegrad.types import Taps

__all__ = ["gaussian_taps", "interpolated_taps"]

AT_ONCE = 1 << 15
"""Synapses, or taps of Gaussians, whose numbers in between exist at a time."""


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


def room_of_first(weight: Tensor, delay: Tensor) -> Tensor:
    """For the first steps of every delay, in the order of `room`."""
    if delay.dim() < 2:
        return delay.new_empty(delay.shape, dtype=torch.int32)
    return delay.new_empty_strided(delay.shape, (1, len(delay)), dtype=torch.int32)


def part_of(delay: Tensor, weight: Tensor, part: slice) -> Tensor:
    """The delays of some rows of a weight, where each synapse has one, else all."""
    return delay[part] if delay.dim() == weight.dim() else delay


def interpolate(weight: Tensor, delay: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Values of two taps and their first steps."""
    values, firsts = room(weight, 2), room_of_first(weight, delay)
    for part in parts(weight, 1):
        now = part_of(delay, weight, part)
        first = now.floor().clamp_(max=most - 1)
        share = now - first
        torch.mul(weight[part], share, out=values[part][..., 1])
        torch.mul(weight[part], share.neg_().add_(1), out=values[part][..., 0])
        part_of(firsts, weight, part).copy_(first)
    return values, firsts.expand(weight.shape)


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
        dweight = torch.empty_like(weight)
        for part in parts(weight, 1):
            now = part_of(delay, weight, part)
            share = now - now.floor().clamp_(max=most - 1)
            torch.mul(after[part], share, out=dweight[part])
            dweight[part] += before[part] * share.neg_().add_(1)
    if ctx.needs_input_grad[1]:
        ddelay = torch.empty_like(weight)
        for part in parts(weight, 1):
            torch.sub(after[part], before[part], out=ddelay[part])
            ddelay[part] *= weight[part]
        ddelay = ddelay.sum_to_size(delay.shape)
    return dweight, ddelay, None


def parts(weight: Tensor, count: int) -> Iterator[slice]:
    """Rows of a weight so that so many numbers of each synapse are not too many at a time."""
    each = max(1, weight.numel() // max(1, len(weight))) * count
    rows = max(1, AT_ONCE // each)
    for begin in range(0, len(weight), rows):
        yield slice(begin, begin + rows)


def shares_of(delay: Tensor, most: int, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """The first steps of Gaussians, their taps `[K, *]`, which sum up to 1, and the taps' distances
    from the delay.
    """
    first, count = first_of_gaussian(delay, most, sigma)
    place = torch.arange(count, dtype=delay.dtype, device=delay.device)
    distance = (first + place.reshape(-1, *[1] * delay.dim())).sub_(delay)
    return first, softmax((distance / sigma).square_().mul_(-0.5)), distance


def weigh(weight: Tensor, delay: Tensor, most: int, sigma: float) -> tuple[Tensor, Tensor]:
    """Values of a Gaussian's taps and their first steps."""
    firsts = room_of_first(weight, delay)
    _, count = first_of_gaussian(delay[:0], most, sigma)
    values = room(weight, count)
    for part in parts(weight, count):
        first, shares, _ = shares_of(delay[part], most, sigma)
        torch.mul(weight[part], shares, out=values[part].movedim(-1, 0))
        firsts[part].copy_(first)
    return values, firsts


def gradient_of_gaussian(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Any, ...]:
    """Gradients of weight and delay."""
    if grad is None:
        return None, None, None, None
    weight, delay = ctx.saved_tensors
    most, sigma = ctx.how
    if torch.is_grad_enabled():
        taps = functional.gaussian_taps(weight, delay, most=most, sigma=sigma)
        return *graph_of(ctx, taps, grad), None, None
    count = first_of_gaussian(delay[:0], most, sigma)[1]
    dweight, ddelay = torch.empty_like(weight), torch.empty_like(delay)
    for part in parts(weight, count):
        shares, distance = shares_of(delay[part], most, sigma)[1:]
        each = grad[part].movedim(-1, 0) * shares
        torch.sum(each, 0, out=dweight[part])
        # The logarithm of a share grows with the delay by distance / sigma^2, less its mean.
        each.sub_(shares.mul_(dweight[part])).mul_(distance)
        torch.sum(each, 0, out=ddelay[part])
        ddelay[part] *= weight[part] / sigma**2
    needs = ctx.needs_input_grad
    return dweight if needs[0] else None, ddelay if needs[1] else None, None, None


interpolated = eager(interpolate, keep, gradient_of_interpolation)
gaussian = eager(weigh, keep, gradient_of_gaussian)
