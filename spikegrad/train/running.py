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
from spikegrad.ragged import Events, as_frame, mask_of, with_lengths
from spikegrad.train.batch import Batch
from spikegrad.train.encoder import Encoder
from spikegrad.types import State

__all__ = [
    "Encode",
    "Input",
    "Place",
    "dtype_of",
    "evaluating",
    "recorded",
    "run",
    "sequence_of",
    "whole",
]

Encode = Callable[[Tensor], Tensor]
"""From a batch of samples to the input sequence of a network."""

Input = Tensor | Events
"""Samples, or the sequence that a network reads."""


@dataclass(frozen=True)
class Place:
    """Where and in which number format a network runs, and which process of how many this is."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    rank: int = 0
    world: int = 1

    def put(self, batch: Batch) -> Batch:
        """A batch on the device, its floating values in the dtype of the run; lengths stay."""
        x, y, lengths = batch
        if y is not None:
            dtype = self.dtype if y.is_floating_point() else y.dtype
            y = y.to(self.device, dtype, non_blocking=True)
        return Batch(self.put_input(x, lengths), y, lengths)

    def put_input(self, x: Input, lengths: Tensor | None = None) -> Input:
        """Samples on the device, floating values in the dtype of the run, checked to be finite
        where they are no padding. Events stay as they are: the network makes its input of them.
        """
        if isinstance(x, Events):
            return x
        if lengths is not None and x.is_floating_point() and not bool(torch.isfinite(x.sum())):
            behind = ~mask_of(lengths, x.shape[1]).T.to(x.device)  # what nobody reads may be NaN
            x = x.masked_fill(behind.reshape(*behind.shape, *[1] * (x.dim() - 2)), 0.0)
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


def sequence_of(encode: Encode, x: Input, lengths: Tensor | None = None) -> Input:
    """The input sequence `[T, B, *features]` of a batch `[B, ...]`, checked.

    lengths: the steps of every sample of x `[B, T, ...]`, which the encoder must keep then. Events
    are the sequence themselves; an encoder of static samples is not asked.

    Raises:
        TypeError: the encoder returned no tensor. UserError: one with another batch, or with
            another T where there are lengths.
    """
    if isinstance(x, Events):
        check_plain(encode)
        return x
    sequence = encode(x)
    expected = f"expected the encoder to return [T, B, *features] with B={len(x)}"
    if not isinstance(sequence, Tensor):
        raise TypeError(message(expected, type(sequence).__name__, "add a return statement"))
    if sequence.dim() < 2 or sequence.shape[1] != len(x) or not len(sequence):
        remedy = "time comes first, the batch second"
        raise UserError(message(expected, str(list(sequence.shape)), remedy))
    if lengths is not None and len(sequence) != x.shape[1]:
        expected = f"expected the encoder to keep the T={x.shape[1]} steps of x, which has lengths"
        remedy = "pass sequence=True for samples that have a time of their own"
        raise UserError(message(expected, f"{len(sequence)} steps", remedy))
    return sequence


def check_plain(encode: Encode) -> None:
    """Refuse an encoder beside events, which are spikes already."""
    if not isinstance(encode, Encoder) or encode.name != "direct":
        got = encode.name if isinstance(encode, Encoder) else "a function of your own"
        expected = "expected no encoder for events, which are spikes already"
        raise UserError(message(expected, got, "omit encoder"))
    if not encode.sequence and encode.steps != Encoder.steps:
        expected = "expected no steps for events, which have their own"
        raise UserError(message(expected, f"steps={encode.steps}", "omit steps"))


def whole(sequence: Input, network: nn.Module) -> Tensor:
    """A sequence as numbers `[T, B, *features]`, where all of them are looked at."""
    return as_frame(network, sequence)[0]


def run(
    network: nn.Module, x: Input, states: State = None, *, lengths: Tensor | None = None
) -> tuple[Tensor, State]:
    """Outputs `[T, B, C]` and the next states: None for a module that returns outputs only.

    lengths: the steps of every sample, None for T each.

    Raises:
        UserError: an output of another shape, or several of them, or a network without lengths.
    """
    remedy = "use spikegrad's Sequential or Module, or hand lengths on to one in forward"
    events = isinstance(x, Events)  # they have their lengths themselves
    call = with_lengths(network, None if events else lengths, "a network", remedy)
    try:
        out = call(x) if states is None else call(x, states)
    except TypeError as error:
        if not (events and "not Events" in str(error)):
            raise
        expected = "expected a network that takes events: a Sequential, Module or Classifier"
        remedy = "pass frames: (events.dense().transpose(0, 1), y, events.lengths)"
        raise UserError(message(expected, type(network).__name__, remedy)) from error
    y, states = _parted(network, x, out) if isinstance(out, tuple) else (out, None)
    if not isinstance(y, Tensor) or y.dim() != 3 or y.shape[1] != x.shape[1]:
        got = list(y.shape) if isinstance(y, Tensor) else type(y).__name__
        expected = f"expected the network's output as [T, B, C] with B={x.shape[1]}"
        remedy = f"its input was {list(x.shape)} = [T, B, *features]; do not merge time and batch"
        if isinstance(y, Tensor) and y.dim() == 4 and not events:
            remedy += ", and where a sample is [T, *features], pass sequence=True"
        raise UserError(message(expected, str(got), remedy))
    return y, states


def _parted(network: nn.Module, x: Input, out: tuple[Any, ...]) -> tuple[Any, State]:
    """Output and states of a tuple; a tuple of several outputs is refused.

    States come back as the second argument, so a network that takes one argument has none. Where
    it takes two, a tensor `[T, B, n]` as second part is an output too (with T = 1 it may be a
    state, as that of `nn.GRU`).
    """
    second = out[1] if len(out) == 2 else None
    alike = isinstance(second, Tensor) and second.dim() == 3 and second.shape[:2] == x.shape[:2]
    if len(out) == 2 and _takes_states(network) and not (alike and x.shape[0] > 1):
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
