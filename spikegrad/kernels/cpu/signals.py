"""Spikes between layers as numbers, and those of several layers side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from spikegrad.kernels.cpu.eager import below_autograd, eager, refuse
from spikegrad.kernels.cpu.schema import define
from spikegrad.kernels.cpu.spikes import TILE, Spikes

__all__ = ["register", "side_by_side", "unpacked"]


def register() -> None:
    """Schemas and shapes of the operators; nothing of this runs under torch.compile."""
    define("unpack(Tensor bits, Tensor like, int columns) -> Tensor")
    define("take_places(Tensor x, Tensor words) -> Tensor")
    torch.library.register_autograd("spikegrad::take_places", refuse)


def unpacked(spikes: Spikes) -> Tensor:
    """Zeros and ones `[T, B, N]`."""
    return numbers(spikes.edge, spikes.bits, spikes.support, spikes.columns)[0]


def numbers_of(edge: Tensor, bits: Tensor, support: Tensor | None, many: int) -> tuple[Tensor]:
    """The values of an edge; support: where its gradient has places alone."""
    return (torch.ops.spikegrad.unpack(bits.contiguous(), edge, many),)


def keep_support(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """What the gradient is taken by."""
    edge, _, support, _ = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(support if edge.dim() == 1 else None)


def gradient_of_numbers(ctx: Any, grad: Tensor | None) -> tuple[Any, ...]:
    """The edge's gradient."""
    (support,) = ctx.saved_tensors
    return None if grad is None else as_edge(grad, support), None, None, None


numbers = eager(numbers_of, keep_support, gradient_of_numbers)


def as_edge(grad: Tensor, support: Tensor | None) -> Tensor:
    """A gradient `[T, B, N]` at the places of a support alone; None: as it is."""
    if support is None:
        return grad
    taken: Any = below_autograd(torch.ops.spikegrad.take_places, grad.contiguous(), support)
    return taken


def side_by_side(parts: Sequence[Spikes]) -> tuple[Spikes, list[int]] | None:
    """Spikes of the same steps and samples as those of one layer, each from a new word on.

    The list has the columns that each takes, those without a neuron included. None where shapes or
    dtypes differ.
    """
    first = parts[0]
    if any(p.bits.shape[:2] != first.bits.shape[:2] or p.dtype != first.dtype for p in parts):
        return None
    parts = [p if p.edge.requires_grad else without_gradient(p) for p in parts]
    widths = [p.bits.shape[2] * TILE for p in parts[:-1]] + [parts[-1].columns]
    bits = torch.cat([p.bits for p in parts], 2)
    if all(p.support is not None and p.edge.dim() == 1 for p in parts):
        # Places are in the order of tiles first (src/places.h).
        support = torch.cat([p.support for p in parts if p.support is not None], 2)
        edge = torch.cat([p.edge for p in parts])
        steady = side_of_steady(parts, widths)
        return Spikes(edge, bits, support, sum(widths), steady), widths
    columns = [p.columns for p in parts]
    edges = [p.edge for p in parts]
    (edge,) = beside(
        widths, columns, *[p.support if p.edge.dim() == 1 else None for p in parts], *edges
    )
    return Spikes(edge, bits, support_of(parts), sum(widths)), widths


def without_gradient(part: Spikes) -> Spikes:
    """Spikes of which nobody wants a gradient, at no place."""
    nowhere = part.edge.detach().new_empty(0)
    return part._replace(edge=nowhere, support=torch.zeros_like(part.bits), steady=steady_of(part))


def steady_of(part: Spikes) -> Tensor:
    """The second edge of spikes whose gradient nobody wants."""
    return part.edge.detach().new_zeros(()).expand(part.bits.shape[1], part.columns)


def side_of_steady(parts: Sequence[Spikes], widths: list[int]) -> Tensor | None:
    """The second edges side by side."""
    steady = [p.steady for p in parts]
    if any(s is None for s in steady):
        return None
    there = zip([s for s in steady if s is not None], widths, strict=True)
    return torch.cat([pad(s, (0, width - s.shape[1])) for s, width in there], 1)


def support_of(parts: Sequence[Spikes]) -> Tensor | None:
    """The supports side by side; every column of a part that has none."""
    if all(p.support is None for p in parts):
        return None
    return torch.cat(
        [torch.full_like(p.bits, -1) if p.support is None else p.support for p in parts], 2
    )


def edge_beside(widths: list[int], columns: list[int], *given: Tensor | None) -> tuple[Tensor]:
    """One edge `[T, B, N]`, zeros without memory, of several.

    given: the supports of the parts, None of those whose edge has all places, then their edges.
    """
    supports, edges = given[: len(widths)], given[len(widths) :]
    pairs = zip(supports, edges, strict=True)
    known = [edge if support is None else support for support, edge in pairs]
    first, edge = known[0], edges[0]
    assert first is not None
    assert edge is not None
    return (edge.new_zeros(()).expand(*first.shape[:2], sum(widths)),)


def keep_supports(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """What the gradients are taken by."""
    ctx.set_materialize_grads(False)
    ctx.widths, ctx.columns = inputs[:2]
    ctx.save_for_backward(*inputs[2 : 2 + len(ctx.widths)])


def gradients_beside(ctx: Any, grad: Tensor | None) -> tuple[Any, ...]:
    """Each edge's part."""
    many = len(ctx.widths)
    if grad is None:
        return (None,) * (2 + 2 * many)
    needed = ctx.needs_input_grad[2 + many :]
    parts = zip(grad.split(ctx.widths, 2), ctx.columns, ctx.saved_tensors, needed, strict=True)
    given = [
        as_edge(part[..., :n], support) if wanted else None for part, n, support, wanted in parts
    ]
    return (*[None] * (2 + many), *given)


beside = eager(edge_beside, keep_supports, gradients_beside)
