"""What sequences of different length mean: each sample by itself, over its own steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad.ragged.states import zipped
from spikegrad.types import State, map_state

__all__ = ["compared", "dyadic", "one_by_one", "sums_of"]


def one_by_one(network: Any, x: Tensor, lengths: Tensor, states: State = None) -> tuple[Any, State]:
    """The padded output and the states at the ends, of every sample run alone."""
    outputs, ends = [], []
    for b, n in enumerate(lengths.tolist()):
        own = map_state(lambda part, b=b: part[b : b + 1], states)
        if n == 0:
            outputs.append(None)
            ends.append(own)
            continue
        y, end = network(x[:n, b : b + 1], own)
        outputs.append(nn.functional.pad(y, [0, 0] * (y.dim() - 1) + [0, len(x) - n]))
        ends.append(end)
    like = next(y for y in outputs if y is not None)
    outputs = [torch.zeros_like(like) if y is None else y for y in outputs]
    return torch.cat(outputs, 1), zipped(joined, *ends)


def joined(*parts: Tensor | None) -> Tensor:
    return torch.cat([part for part in parts if part is not None])


def dyadic(network: nn.Module, steps: int = 16) -> nn.Module:
    """The network with weights that are sums of powers of two: no sum of them is rounded."""
    with torch.no_grad():
        for module in network.modules():
            for name, p in module.named_parameters(recurse=False):
                if name in ("weight", "bias"):
                    p.copy_((p * steps).round() / steps)
    return network


def sums_of(value: Any, source: torch.Generator) -> Tensor:
    """A number that depends on every number of a tensor or a state, each in its own way."""
    total = torch.zeros((), dtype=torch.float64)

    def add(part: Tensor) -> Tensor:
        nonlocal total
        if part.is_floating_point():
            weights = torch.randint(-4, 5, part.shape, generator=source)
            total = total + (part.double() * weights).sum()
        return part

    map_state(add, value)
    return total


def compared(
    network: nn.Module,
    one: Callable[[], Any],
    other: Callable[[], Any],
    x: Tensor,
    check: Callable[[Tensor, Tensor], None] = torch.testing.assert_close,
) -> None:
    """Two ways to `(y, states)`: the same values, and gradients of x and of every parameter.

    check: of the values; gradients are sums in another order, of numbers that are not dyadic.
    """
    found = []
    for run in (one, other):
        network.zero_grad()
        x.grad = None
        out = run()
        sums_of(out, torch.Generator().manual_seed(3)).backward()
        grads = {name: p.grad for name, p in network.named_parameters()}
        found.append((out, {**grads, "x": x.grad}))
    (value, grads), (expected, expected_grads) = found
    zipped(lambda a, b: check(a.detach(), b.detach()) or a, value, expected)
    for name, grad in expected_grads.items():
        assert (grads[name] is None) == (grad is None), name
        if grad is not None:
            assert bool((grad != 0).any()), f"no gradient of {name} to compare"
            close = 1e-11 if grad.dtype == torch.float64 else 2e-5
            torch.testing.assert_close(grads[name], grad, rtol=close, atol=close)
