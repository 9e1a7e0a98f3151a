"""The gradient of a sparse connection's weight where it has no synapse.

dL/dW[o, j] = the sum over steps and samples of dL/dy[t, b, o] x[t, b, j]: the same as for synapses
that exist. Of a large connection only the largest are wanted, and no `[out, in]` is made for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from spikegrad.errors import UserError, message
from spikegrad.nn.connection import Linear

__all__ = ["Candidates", "candidates", "largest_of"]

PLACES = 1 << 24
"""Places for a synapse that are looked at at a time."""


class Candidates:
    """What entered a connection, and the gradients of what left it, call by call.

    inputs, gradients: `[R, in]` and `[R, out]` of every call whose gradient arrived.
    """

    def __init__(self, connection: Linear) -> None:
        self.connection = connection
        self.inputs: list[Tensor] = []
        self.gradients: list[Tensor] = []

    def saw(self, x: Tensor, gradient: Tensor) -> None:
        """One call; x `[T, B, in]`, gradient `[T, B, out]`."""
        self.inputs.append(x.detach().reshape(-1, x.shape[-1]))
        self.gradients.append(gradient.detach().reshape(-1, gradient.shape[-1]))

    def dense(self) -> Tensor:
        """The gradient of every place, `[out, in]`."""
        return self.of_inputs(0, self.connection.in_features).T

    def of_inputs(self, first: int, last: int) -> Tensor:
        """The gradients of all places of some inputs, `[inputs, out]`."""
        if not self.inputs:
            raise UserError(
                message(
                    "expected a backward pass through the connection within `candidates`",
                    "none",
                    "call loss.backward() inside; of the connection of a Recurrent, whose forward "
                    "nobody calls, synapses grow at random",
                )
            )
        return sum(  # type: ignore[return-value]
            x[:, first:last].T.to(g.dtype) @ g
            for x, g in zip(self.inputs, self.gradients, strict=True)
        )


@contextmanager
def candidates(connection: Linear) -> Iterator[Candidates]:
    """Keep what `grow` needs to know: `with candidates(layer) as found: loss(...).backward()`.

    The forward pass must lie inside the context as well. Raises TypeError for anything but a
    `Linear` of this package.
    """
    if not isinstance(connection, Linear):
        raise TypeError(message("expected a spikegrad Linear", type(connection).__name__))
    found = Candidates(connection)

    def after(_: Any, given: tuple[Any, ...], y: Any) -> None:
        x = given[0]
        if isinstance(x, Tensor) and isinstance(y, Tensor) and y.requires_grad:
            y.register_hook(lambda gradient: found.saw(x, gradient))

    handle = connection.register_forward_hook(after)
    try:
        yield found
    finally:
        handle.remove()


def largest_of(found: Candidates | Tensor, places: Tensor, outputs: int, many: int) -> Tensor:
    """Where no synapse is and the gradient is largest: int64 places j * out + o, up to `many`.

    found: see `candidates`, or the gradient `[out, in]`; places: those with a synapse, rising.
    """
    inputs = found.shape[1] if isinstance(found, Tensor) else found.connection.in_features
    some = max(1, PLACES // outputs)
    best, sizes = places.new_empty(0), None
    for first in range(0, inputs, some):
        last = min(inputs, first + some)
        part = found[:, first:last].T if isinstance(found, Tensor) else found.of_inputs(first, last)
        size = part.abs().flatten()
        low, high = torch.searchsorted(places, places.new_tensor([first, last]) * outputs)
        size[places[low:high] - first * outputs] = -1.0
        top, where = size.topk(min(many, len(size)))
        where = where[top >= 0] + first * outputs
        top = top[top >= 0]
        best = torch.cat([best, where])
        sizes = top if sizes is None else torch.cat([sizes, top])
        if len(best) > many:
            sizes, kept = sizes.topk(many)
            best = best[kept]
    return best
