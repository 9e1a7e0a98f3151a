"""Feedback with delays: a neuron, with its own spikes fed back some steps later.

x'[t] = x[t] + sum over k of w[k] s[t - 1 - d - k],   s[t] = neuron(x'[t])

A delay counts from the one step that feedback takes anyway: with d = 0 it is `recurrent`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from spikegrad.checks import check_current, check_state_tensor
from spikegrad.errors import UserError, message
from spikegrad.functional.delayed_linear import check_taps, delayed_linear
from spikegrad.types import DelayedFeedbackState, Edges, PendingState, Taps, Trace

__all__ = ["delayed_recurrent"]


def delayed_recurrent(
    x: Tensor,
    state: DelayedFeedbackState | None = None,
    *,
    taps: Taps,
    edges: Edges | None = None,
    neuron: Callable[..., Any],
    trace: bool = False,
    product: Callable[..., tuple[Tensor, PendingState]] = delayed_linear,
) -> Any:
    """A neuron with delayed feedback, over a whole sequence.

    x: input current `[T, B, N]`; taps: of a weight `[N, N]`, row = receiving neuron, or with edges
    `[E]`; of a neuron with several inputs `[T, B, inputs, N]` and `[inputs * N, N]`; neuron: a scan
    with its parameters bound, `(x, state, *, trace) -> (s, state)`; product: what computes
    `delayed_linear`. As many steps run at once as the shortest delay allows.

    Returns `(s, DelayedFeedbackState)`, with `trace=True` `(s, state, Trace)` whose current is x.
    Raises UserError where the weight does not fit x, for taps outside [0, most] and for a state
    that does not fit.

    >>> from functools import partial
    >>> from spikegrad.functional import integer_taps, lif
    >>> taps = integer_taps(torch.ones(1, 1), torch.tensor(1.0), most=2)
    >>> x = torch.tensor([1.0, 0.0, 0.0, 0.0]).reshape(4, 1, 1)
    >>> s, _ = delayed_recurrent(x, taps=taps, neuron=partial(lif, beta=0.5))
    >>> s.flatten().tolist()
    [1.0, 0.0, 1.0, 0.0]
    """
    check_current(x)
    check_square(taps, edges, x)
    check_taps(taps)
    inner, current = begun(state, x, taps.most)
    at_once = 1 if torch.compiler.is_compiling() else 1 + int(taps.first.min())
    spikes, traces = [], []
    for part in x.split(at_once):
        total = part + current[:, : len(part)].transpose(0, 1).reshape(part.shape)
        s, inner, *more = neuron(total, inner, trace=True) if trace else neuron(total, inner)
        s = s.to(x.dtype)
        arriving, left = product(s, PendingState(current[:, 1:]), taps=taps, edges=edges)
        current = torch.cat([arriving[-1].unsqueeze(1), left.current], 1)
        spikes.append(s)
        traces += more
    y, end = torch.cat(spikes), DelayedFeedbackState(inner, current)
    if not trace:
        return y, end
    u = torch.cat([t.membrane for t in traces])
    return y, end, Trace(x, u, torch.cat([t.distance for t in traces]), y)


def begun(state: object, x: Tensor, most: int) -> tuple[Any, Tensor]:
    """The neuron's state, and the feedback of the next `most + 1` steps."""
    if state is None:
        return None, x.new_zeros((x.shape[1], most + 1, x.shape[2:].numel()))
    if type(state) is not DelayedFeedbackState:
        raise TypeError(
            message(
                "expected a DelayedFeedbackState or None",
                type(state).__name__,
                "pass the state that this layer returned, or state=None to start from rest",
            )
        )
    like = x.detach().new_empty(()).expand(1, x.shape[1], most + 1, x.shape[2:].numel())
    check_state_tensor(state.current, "state.current", like, x.dtype)
    return state.neuron, state.current


def check_square(taps: Taps, edges: Edges | None, x: Tensor) -> None:
    """A connection from N neurons to all that x `[T, B, N]` or `[T, B, inputs, N]` has."""
    shape = tuple(taps.values.shape[:2]) if edges is None else (edges.outputs, edges.inputs)
    if x.dim() not in (3, 4) or shape != (x.shape[2:].numel(), x.shape[-1]):
        raise UserError(
            message(
                "expected x [T, B, N] and a feedback connection from N to N neurons, or with "
                "several inputs x [T, B, inputs, N] and one from N to inputs N",
                f"x {list(x.shape)}, and one from {shape[1]} to {shape[0]}",
            )
        )
