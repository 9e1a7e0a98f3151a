"""Recurrence is a connection: any neuron, with its own last spikes fed back.

x'[t] = x[t] + s[t-1] W^T,   s[t] = neuron(x'[t])
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from spikegrad.checks import check_current, check_like, check_state_tensor
from spikegrad.errors import UserError, message
from spikegrad.functional.linear import dense_weight
from spikegrad.types import Edges, RecurrentState, Trace

__all__ = ["recurrent"]


def recurrent(
    x: Tensor,
    state: RecurrentState | None = None,
    *,
    weight: Tensor,
    edges: Edges | None = None,
    neuron: Callable[..., Any],
    trace: bool = False,
) -> Any:
    """A neuron with a feedback weight, over a whole sequence.

    x: input current `[T, B, N]`; weight: `[N, N]`, row = receiving neuron, or with edges `[E]`, one
    number a synapse; neuron: one of this room's scans with its parameters bound, `(x, state, *,
    trace) -> (s, state)`.

    Returns `(s, RecurrentState)`, with `trace=True` `(s, state, Trace)` whose current is x: the
    gradient of the whole current at a step is the gradient of x at that step.

    >>> from functools import partial
    >>> from spikegrad.functional import lif
    >>> x = torch.tensor([1.0, 0.0, 0.0]).reshape(3, 1, 1)
    >>> s, _ = recurrent(x, weight=torch.ones(1, 1), neuron=partial(lif, beta=0.5))
    >>> s.flatten().tolist()
    [1.0, 1.0, 1.0]
    """
    check_current(x)
    check_feedback(weight, x, edges)
    if edges is not None:
        weight = dense_weight(weight, edges)
    inner, s = (None, x.new_zeros(x.shape[1:])) if state is None else state
    check_state_tensor(s, "state.s", x, x.dtype)
    spikes, traces = [], []
    for x_t in x.unbind(0):
        total = (x_t + linear(s, weight)).unsqueeze(0)
        out, inner, *more = neuron(total, inner, trace=True) if trace else neuron(total, inner)
        s = out.squeeze(0).to(x.dtype)
        spikes.append(s)
        traces += more
    y, end = torch.stack(spikes), RecurrentState(inner, s)
    if not trace:
        return y, end
    u = torch.cat([t.membrane for t in traces])
    return y, end, Trace(x, u, torch.cat([t.distance for t in traces]), y)


def check_feedback(weight: Tensor, x: Tensor, edges: Edges | None = None) -> None:
    """A square weight of the size of x's one feature dimension, of its dtype and device."""
    n = x.shape[-1]
    shape = tuple(weight.shape) if edges is None else (edges.outputs, edges.inputs)
    if x.dim() != 3 or shape != (n, n):
        raise UserError(
            message(
                "expected x [T, B, N] and a feedback weight [N, N]",
                f"x {list(x.shape)}, weight {list(shape)}",
                f"use a feedback weight [{n}, {n}]",
            )
        )
    check_like(x, weight, "the feedback")
