"""One step of few samples outside of autograd, as a network on a robot or in a game takes it.

A native call costs more than the arithmetic of so few numbers, and so do the checks of arguments
that the call before had too. Here a step is torch's own operations in the reference's order, with
parameters as numbers: the same bits as the reference. What this file does not know runs as ever,
and what is wrong too: there the error is raised.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.functional import linear

from spikegrad.nn.base import Neuron, plain
from spikegrad.nn.connection import Flatten, Linear
from spikegrad.nn.lif import IF, LIF
from spikegrad.nn.readout import LI
from spikegrad.types import LIFState, LIState, State

__all__ = ["MOST", "single_step"]

MOST = 32
"""Samples up to which this is faster than the native call: its weights are turned every time."""


_KNOWN: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()


class Numbers(NamedTuple):
    """The parameters of a neuron layer."""

    beta: float
    gain: float
    threshold: float
    v_reset: float
    drop: float


def single_step(
    layers: Sequence[nn.Module], x: Any, states: Sequence[State]
) -> tuple[Tensor, tuple[State, ...]] | None:
    """The step as output `[1, B, *features]` and states, or None where it runs as ever."""
    if not fits(x) or any(type(layer) not in (Linear, LIF, LI, IF, Flatten) for layer in layers):
        return None
    after: list[State] = []
    for layer, state in zip(layers, states, strict=True):
        out = one(layer, x, state)
        if out is None:
            return None
        x, end = out
        after.append(end)
    # Whatever was not finite in x or a state is still in what comes out.
    ends = [x, *(end.v for end in after if end is not None)]
    return (x, tuple(after)) if all(math.isfinite(end.sum().item()) for end in ends) else None


def one(layer: nn.Module, x: Tensor, state: State) -> tuple[Tensor, State] | None:
    """One layer's step."""
    if isinstance(layer, Linear):
        return linear_step(layer, x, state)
    if isinstance(layer, Flatten):  # of `[1, B, N]`: nothing
        return (x, None) if state is None and plain(layer, Flatten) else None
    return neuron_step(layer, x, state)


def fits(x: Any) -> bool:
    """A step of few numbers that nothing but torch's own operations looks at."""
    return (
        type(x) is Tensor
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and x.dim() == 3
        and x.shape[0] == 1
        and 0 < x.shape[1] <= MOST
        and x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and forward_ad._current_level < 0
        and torch._C._functorch.peek_interpreter_stack() is None
    )


def linear_step(layer: Linear, x: Tensor, state: State) -> tuple[Tensor, None] | None:
    """The connection's currents."""
    if layer.edges is not None:
        return None
    weight = layer.weight
    right = state is None and x.shape[2] == weight.shape[1] and x.dtype == weight.dtype
    if (
        not right
        or layer.backend != "auto"
        or weight.device != x.device
        or not plain(layer, Linear)
    ):
        return None
    return linear(x, weight, layer.bias), None


def neuron_step(layer: nn.Module, x: Tensor, state: State) -> tuple[Tensor, State] | None:
    """A step of LIF, IF or LI."""
    kind = LIState if type(layer) is LI else LIFState
    if type(layer) not in (LIF, IF, LI) or not plain(layer, Neuron):
        return None
    assert isinstance(layer, (LIF, IF, LI))
    if layer.tape is not None or layer.backend != "auto" or layer.definition() is not None:
        return None
    known = numbers_of(layer)
    if known is None:
        return None
    rest = getattr(layer, "v_rest", 0.0)
    v = x.new_full(x.shape[1:], rest) if state is None else state.v if type(state) is kind else None
    if v is None or v.shape != x.shape[1:] or v.dtype != x.dtype or v.device != x.device:
        return None
    u = known.beta * (v - rest) + rest if rest else known.beta * v
    u = u + (x[0] if known.gain == 1.0 else known.gain * x[0])
    if type(layer) is LI:
        return u.unsqueeze(0), LIState(u)
    if state is not None and state.refractory is not None:
        return None
    s = (u >= known.threshold).to(x.dtype)
    return s.unsqueeze(0), LIFState(restored(layer, u, s, known))


def restored(layer: Any, u: Tensor, s: Tensor, known: Numbers) -> Tensor:
    """The membrane after reset."""
    if layer.reset == "none":
        return u
    if layer.reset == "subtract":
        return u - s * known.drop
    return u + s * (known.v_reset - u)


def numbers_of(layer: LIF | IF | LI) -> Numbers | None:
    """A layer's parameters, if each is one number and its neuron a plain one.

    They are kept beside the tensors that they were read from, until one of those is another or has
    another value: a write through `.data` leaves a tensor's version as it was.
    """
    spiking = not isinstance(layer, LI)
    if spiking and (layer.refractory or layer.surrogate.mode != "hard"):
        return None
    words = (getattr(layer, "gain", "unit"), getattr(layer, "v_rest", 0.0))
    kept = _KNOWN.get(layer)
    if kept is not None and kept[0] == words and all(as_it_was(*each) for each in kept[1]):
        return kept[2]
    known = read(layer.quantities())
    held_by = [(m._parameters, m._buffers) for m in layer.modules()]
    tensors = [(d, n, t) for both in held_by for d in both for n, t in d.items() if t is not None]
    if known is not None and all(t.numel() == 1 for _, _, t in tensors):
        _KNOWN[layer] = (words, [(d, n, t, t.item()) for d, n, t in tensors], known)
    return known


def as_it_was(held: dict[str, Any], name: str, tensor: Tensor, value: float) -> bool:
    """Whether a parameter or buffer is the tensor that it was, with the value that it had."""
    return held.get(name) is tensor and tensor.item() == value


def read(args: dict[str, Any]) -> Numbers | None:
    """The numbers of a scan's arguments, rounded where the reference rounds them."""
    names = ("beta", "threshold", "v_rest", "v_reset")
    beta, threshold, rest, v_reset = (args.get(name, 0.0) for name in names)
    beta = args.get("beta", 1.0)
    gain = 1.0 - beta if args.get("gain", "unit") == "leak" else 1.0
    values = (beta, gain, threshold, v_reset, args.get("drop", threshold - rest))
    if any(isinstance(value, Tensor) and value.dim() for value in values):
        return None
    return Numbers(*(float(value) for value in values))
