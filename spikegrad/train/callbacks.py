"""What a user's own objects see of a run, and how they end it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from spikegrad.errors import message

__all__ = ["EpochSeen", "StepSeen", "call", "check_callbacks", "load_states", "states"]

_METHODS = ("on_step", "on_epoch")


@dataclass(frozen=True)
class StepSeen:
    """A step that is done: the weights are updated.

    network: what learns, which may be changed; epoch, step: from 1, steps over the whole run; loss:
    of this batch; gradient_norm: before clipping; rates: spikes per neuron and step by layer, in
    the steps where they are measured (every tenth); rank: which process this is, from 0.
    """

    network: nn.Module
    epoch: int
    step: int
    loss: float
    gradient_norm: float
    rates: dict[str, float]
    rank: int = 0


@dataclass(frozen=True)
class EpochSeen:
    """An epoch that is done and measured.

    network: what learns, which may be changed; line: its line of `metrics.jsonl`; chosen: whether
    it is the best so far; rank: which process this is, from 0.
    """

    network: nn.Module
    line: dict[str, Any]
    chosen: bool
    rank: int = 0


def check_callbacks(callbacks: Any) -> tuple[Any, ...]:
    """The callbacks as a tuple, each with a method that will be called.

    Raises:
        TypeError: a class, or an object with neither `on_step` nor `on_epoch`.

    >>> check_callbacks([print])
    Traceback (most recent call last):
        ...
    TypeError: expected callbacks as objects with on_step or on_epoch, got builtin_function_or_...
    """
    expected = "expected callbacks as objects with on_step or on_epoch"
    if not isinstance(callbacks, Iterable):
        raise TypeError(message(expected, repr(callbacks), "give a list of them"))
    found = tuple(callbacks)
    for one in found:
        if isinstance(one, type):
            remedy = f"pass an object of it: {one.__name__}()"
            raise TypeError(message(expected, f"the class {one.__name__}", remedy))
        if not any(callable(getattr(one, name, None)) for name in _METHODS):
            raise TypeError(message(expected, type(one).__name__))
    return found


def call(callbacks: Sequence[Any], name: str, seen: StepSeen | EpochSeen) -> bool:
    """Tell every callback; whether one of them wants the run to stop.

    Raises:
        TypeError: one returned something else than None, False or True.
    """
    stop = False
    for one in callbacks:
        method = getattr(one, name, None)
        if method is None:
            continue
        answer = method(seen)
        if answer is not None and not isinstance(answer, bool):
            expected = f"expected {type(one).__name__}.{name} to return True to stop, or None"
            raise TypeError(message(expected, repr(answer)))
        stop = stop or bool(answer)
    return stop


def states(callbacks: Sequence[Any]) -> list[Any]:
    """What callbacks with `state_dict` remember, for the checkpoint; None for the others.

    Raises:
        TypeError: something that is no plain data, which a checkpoint cannot hold.
    """
    found = []
    for one in callbacks:
        state = one.state_dict() if hasattr(one, "state_dict") else None
        if not _plain(state):
            expected = f"expected {type(one).__name__}.state_dict() to return plain data"
            remedy = "numbers, text, tensors, and lists and dictionaries of them"
            raise TypeError(message(expected, repr(state)[:80], remedy))
        found.append(state)
    return found


def load_states(callbacks: Sequence[Any], held: Sequence[Any]) -> None:
    """Give callbacks back what they remembered."""
    for one, state in zip(callbacks, held, strict=True):
        if state is not None:
            one.load_state_dict(state)


def _plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, (str, int)) and _plain(part) for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return all(_plain(part) for part in value)
    return value is None or type(value) in (bool, int, float, str) or isinstance(value, Tensor)
