"""A connection that may have some synapses alone: its edges as buffers, its weight `[E]`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from spikegrad.errors import UserError
from spikegrad.nn.connectivity import check_edges, connect
from spikegrad.types import Edges

__all__ = ["Edged", "edges_of", "fan_in_of", "stored"]


class Edged(nn.Module):
    """What `Linear` keeps of its synapses.

    A connection with all of them has a weight `[out, in]` and no edges. With edges the weight is
    `[E]`, and the buffers `starts` and `targets` say which synapse each number is (`types.Edges`).
    """

    in_features: int
    out_features: int
    weight: Tensor
    bias: Any
    starts: Tensor | None
    targets: Tensor | None

    @property
    def edges(self) -> Edges | None:
        """Which synapses there are, None for all."""
        if self.starts is None or self.targets is None:
            return None
        return Edges(self.starts, self.targets, self.out_features)

    def start_sparse(
        self,
        connectivity: Any,
        bias: bool,
        generator: torch.Generator | None,
        device: Any,
        dtype: Any,
    ) -> None:
        """Edges, a weight and a bias, instead of a dense weight.

        Weights and biases start uniform in +-1/sqrt(fan-in) of the neuron that receives, where a
        SciPy matrix does not give the weights.
        """
        edges, values = connect(connectivity, self.in_features, self.out_features, generator)
        fan_in = fan_in_of(edges)
        bound = fan_in.clamp(min=1).rsqrt() * (fan_in > 0)
        weight = torch.empty(len(edges.targets), dtype=dtype)
        if values is None:
            weight.uniform_(-1.0, 1.0, generator=generator)
            scale_by_target(weight, bound.to(weight.dtype), edges)
        else:
            weight.copy_(values)
        self.weight = nn.Parameter(weight.to(device))
        first = torch.empty(self.out_features, dtype=weight.dtype)
        first.uniform_(-1.0, 1.0, generator=generator).mul_(bound)
        self.bias = nn.Parameter(first.to(device)) if bias else None
        self.register_buffer("starts", edges.starts.to(device))
        self.register_buffer("targets", edges.targets.to(device))

    def start_dense(self) -> None:
        """No edges: all synapses."""
        self.register_buffer("starts", None)
        self.register_buffer("targets", None)

    def set_edges(self, edges: Edges, weight: Tensor) -> None:
        """Other synapses, with a stored weight `[E]`; the parameter stays the same object."""
        own = stored(self)
        own.data = weight.to(own)
        own.grad = None
        self.starts, self.targets = edges.starts, edges.targets

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """A checkpoint's synapses may be others: it was pruned, or drawn by another seed."""
        starts, targets = (state_dict.get(prefix + name) for name in ("starts", "targets"))
        if self.edges is not None and starts is not None and targets is not None:
            found = Edges(starts, targets, self.out_features)
            try:
                check_edges(found, self.in_features, self.out_features)
            except (UserError, TypeError) as error:
                error_msgs.append(f"{prefix}starts and {prefix}targets: {error}")
                return
            if len(targets) != len(stored(self)):
                own, place = stored(self), self.starts.device  # type: ignore[union-attr]
                room = own.new_empty(len(targets))
                self.set_edges(Edges(starts.to(place), targets.to(place), found.outputs), room)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


def edges_of(connection: nn.Module) -> Edges | None:
    """Which synapses a connection has, None for all."""
    return connection.edges if isinstance(connection, Edged) else None


def stored(connection: nn.Module) -> nn.Parameter:
    """The parameter that holds a connection's weight, or from which its one is computed.

    Raises UserError where it is computed from several.
    """
    if not parametrize.is_parametrized(connection, "weight"):
        return connection.weight  # type: ignore[return-value]
    kept = connection.parametrizations.weight  # type: ignore[union-attr]
    if not kept.is_tensor:  # type: ignore[union-attr]
        raise UserError(
            "expected a weight that is stored in one parameter, got one that is computed from "
            "several (torch's weight_norm); change synapses before it is parametrized"
        )
    return kept.original  # type: ignore[union-attr, return-value]


def fan_in_of(edges: Edges) -> Tensor:
    """float32 `[outputs]`: how many synapses every neuron receives."""
    return torch.bincount(edges.targets, minlength=edges.outputs).float()


def scale_by_target(weight: Tensor, factor: Tensor, edges: Edges) -> None:
    """A weight `[E]` times a factor `[outputs]`, in place, in parts: they may be 10^8."""
    part = 1 << 24
    for first in range(0, len(weight), part):
        weight[first : first + part] *= factor[edges.targets[first : first + part]]
