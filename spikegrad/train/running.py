"""Running a network on a batch: where, with which states, recorded or not."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad.checks import check_finite
from spikegrad.errors import UserError, message
from spikegrad.nn import Sequential, Tape, record
from spikegrad.types import State

__all__ = [
    "Encode",
    "Place",
    "dtype_of",
    "evaluating",
    "pair",
    "recorded",
    "run",
    "sequence_of",
]

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

    def put(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """A batch on the device, its floating values in the dtype of the run."""
        if y is None:
            return self.put_input(x), None
        dtype = self.dtype if y.is_floating_point() else y.dtype
        return self.put_input(x), y.to(self.device, dtype, non_blocking=True)

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


def sequence_of(encode: Encode, x: Tensor) -> Tensor:
    """The input sequence `[T, B, *features]` of a batch `[B, ...]`, checked.

    Raises:
        TypeError: the encoder returned no tensor. UserError: one with another batch.
    """
    sequence = encode(x)
    expected = f"expected the encoder to return [T, B, *features] with B={len(x)}"
    if not isinstance(sequence, Tensor):
        raise TypeError(message(expected, type(sequence).__name__, "add a return statement"))
    if sequence.dim() < 2 or sequence.shape[1] != len(x) or not len(sequence):
        remedy = "time comes first, the batch second"
        raise UserError(message(expected, str(list(sequence.shape)), remedy))
    return sequence


def run(network: nn.Module, x: Tensor, states: State = None) -> tuple[Tensor, State]:
    """Outputs `[T, B, C]` and the next states: None for a module that returns outputs only.

    Raises:
        UserError: an output of another shape, or several of them.
    """
    out = network(x) if states is None else network(x, states)
    y, states = _parted(network, x, out) if isinstance(out, tuple) else (out, None)
    if not isinstance(y, Tensor) or y.dim() != 3 or y.shape[1] != x.shape[1]:
        got = list(y.shape) if isinstance(y, Tensor) else type(y).__name__
        expected = f"expected the network's output as [T, B, C] with B={x.shape[1]}"
        remedy = f"its input was {list(x.shape)} = [T, B, *features]; do not merge time and batch"
        raise UserError(message(expected, str(got), remedy))
    return y, states


def _parted(network: nn.Module, x: Tensor, out: tuple[Any, ...]) -> tuple[Any, State]:
    """Output and states of a tuple; a tuple of several outputs is refused.

    States come back as the second argument, so a network that takes one argument has none. Where
    it takes two, a tensor `[T, B, n]` as second part is an output too (with T = 1 it may be a
    state, as that of `nn.GRU`).
    """
    second = out[1] if len(out) == 2 else None
    alike = isinstance(second, Tensor) and second.dim() == 3 and second.shape[:2] == x.shape[:2]
    if len(out) == 2 and _takes_states(network) and not (alike and len(x) > 1):
        return out[0], second
    parts = [f"{list(p.shape)}" if isinstance(p, Tensor) else type(p).__name__ for p in out]
    remedy = (
        "only one output can be trained: concatenate several along their last axis with torch.cat, "
        "and split them in a loss of your own; a network that returns states must take them as its "
        "second argument"
    )
    expected = "expected the network to return y, or (y, states)"
    raise UserError(message(expected, f"a tuple of {' and '.join(parts)}", remedy))


def _takes_states(network: nn.Module) -> bool:
    """Whether a network can be called with a second argument."""
    if type(network).forward is Sequential.forward and "forward" not in vars(network):
        return True  # reading its signature would cost a small network a hundredth of a step
    try:
        inspect.signature(network.forward).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # no signature: built in, or compiled
        return True
    return True


def pair(batch: Any) -> tuple[Tensor, Tensor | None]:
    """A batch as (x, y); y is None where a batch is x alone.

    Raises:
        UserError: it is something else.
    """
    parts = (batch,) if isinstance(batch, Tensor) else batch
    fits = isinstance(parts, (tuple, list)) and len(parts) in (1, 2)
    if not fits or not all(isinstance(part, Tensor) for part in parts):
        expected = "expected batches (x, y) of two tensors"
        remedy = "or x alone, for a loss without labels"
        if "numpy.ndarray" in str([type(part) for part in (batch, *_items(batch))]):
            remedy = "they are NumPy arrays: use torch.from_numpy, or a DataLoader, which does"
        raise UserError(message(expected, _named(batch), remedy))
    x, y = (*parts, None)[:2]
    if x.dim() < 2 or (y is not None and (y.dim() < 1 or len(x) != len(y))):
        got = " and ".join(str(list(part.shape)) for part in parts)
        raise UserError(message("expected x [B, ...] and labels y [B]", got))
    return x, y if y is None or y.is_floating_point() else y.long()


def _items(batch: Any) -> tuple[Any, ...]:
    return tuple(batch) if isinstance(batch, (tuple, list)) else ()


def _named(batch: Any) -> str:
    """What a batch is, in words."""
    kinds = [type(part).__name__ for part in _items(batch)]
    kind = type(batch).__name__
    return f"{kind} of {len(kinds)} ({', '.join(kinds[:3])})" if kinds else kind
