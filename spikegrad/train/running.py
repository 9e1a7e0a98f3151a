"""Running a network on a batch: where, with which states, recorded or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad.checks import check_finite
from spikegrad.errors import UserError, message
from spikegrad.nn import Tape, record
from spikegrad.types import State

__all__ = ["Encode", "Place", "dtype_of", "evaluating", "pair", "recorded", "run"]

Encode = Callable[[Tensor], Tensor]
"""From a batch of samples to the input sequence of a network."""


@dataclass(frozen=True)
class Place:
    """Where and in which number format a network runs, and which process of how many this is."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    rank: int = 0
    world: int = 1

    def put(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """A batch on the device, its floating values in the dtype of the run."""
        return self.put_input(x), y.to(self.device, non_blocking=True)

    def put_input(self, x: Tensor) -> Tensor:
        """Samples on the device, floating values in the dtype of the run, checked to be finite."""
        check_finite(x)
        dtype = self.dtype if x.is_floating_point() else x.dtype
        return x.to(self.device, dtype, non_blocking=True)


def dtype_of(network: nn.Module) -> torch.dtype:
    """The number format of a network's parameters; float32 without any."""
    return next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)


@contextmanager
def recorded(
    network: nn.Module, *, on: bool = True, membrane: bool = False
) -> Iterator[dict[str, Tape]]:
    """Record the layers that spike; `{}` for a network without any, or when it is off."""
    if not on:
        yield {}
        return
    with record(network, membrane=membrane) as tapes:
        modules = dict(network.named_modules())
        yield {name: tape for name, tape in tapes.items() if hasattr(modules[name], "surrogate")}


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards each module is in the mode it was in."""
    before = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in before:
            module.training = mode


def run(network: nn.Module, x: Tensor, states: State = None) -> tuple[Tensor, State]:
    """Outputs `[T, B, C]` and the next states: None for a module that returns outputs only."""
    out = network(x) if states is None else network(x, states)
    y, states = out if isinstance(out, tuple) else (out, None)
    if not isinstance(y, Tensor) or y.dim() != 3 or y.shape[1] != x.shape[1]:
        got = list(y.shape) if isinstance(y, Tensor) else type(y).__name__
        expected = f"expected the network's output as [T, B, C] with B={x.shape[1]}"
        remedy = f"its input was {list(x.shape)} = [T, B, *features]; keep time and batch apart"
        raise UserError(message(expected, str(got), remedy))
    return y, states


def pair(batch: Any) -> tuple[Tensor, Tensor]:
    """A batch as (x, y).

    Raises:
        UserError: it is something else.
    """
    fits = isinstance(batch, (tuple, list)) and len(batch) == 2
    if not fits or not all(isinstance(part, Tensor) for part in batch):
        kind = type(batch).__name__
        got = f"{kind} of {len(batch)}" if isinstance(batch, (tuple, list)) else kind
        raise UserError(message("expected batches (x, y) of two tensors", got))
    x, y = batch
    if x.dim() < 2 or y.dim() != 1 or len(x) != len(y):
        got = f"{list(x.shape)} and {list(y.shape)}"
        raise UserError(message("expected x [B, ...] and labels y [B]", got))
    if y.is_floating_point():
        raise UserError(message("expected integer labels", str(y.dtype), "use y.long()"))
    return x, y.long()
