"""The synapse: a product with the weights at every step.

y[t] = x[t] W^T + b
"""

from __future__ import annotations

import torch
from torch import Tensor

from spikegrad.errors import UserError, message
from spikegrad.types import Edges

__all__ = ["dense_weight", "linear"]


def linear(
    x: Tensor, *, weight: Tensor, bias: Tensor | None = None, edges: Edges | None = None
) -> Tensor:
    """A linear connection over a whole sequence.

    x: `[T, B, in]`; weight: `[out, in]`, or with edges `[E]`, one number a synapse; bias: `[out]`
    or None. Returns currents `[T, B, out]`. With edges it is the product with the matrix that has
    zeros where there is no synapse, which it makes.

    >>> linear(torch.ones(4, 5, 3), weight=torch.ones(2, 3)).shape
    torch.Size([4, 5, 2])
    """
    if edges is not None:
        weight = dense_weight(weight, edges)
    return torch.nn.functional.linear(x, weight, bias)


def dense_weight(weight: Tensor, edges: Edges) -> Tensor:
    """`[out, in]` of a weight `[E]`, zeros where there is no synapse.

    Raises UserError where there is not one number a synapse.

    >>> edges = Edges(torch.tensor([0, 1, 2]), torch.tensor([1, 0]), 2)
    >>> dense_weight(torch.tensor([3.0, 5.0]), edges).tolist()
    [[0.0, 5.0], [3.0, 0.0]]
    """
    if weight.shape != edges.targets.shape:
        expected = (
            f"expected a weight [E] with one number for each of {len(edges.targets)} synapses"
        )
        raise UserError(message(expected, str(list(weight.shape))))
    place = edges.targets.long() * edges.inputs + edges.sources()
    flat = weight.new_zeros(edges.outputs * edges.inputs).index_add(0, place, weight)
    return flat.view(edges.outputs, edges.inputs)
