"""Recurrence is a connection: any neuron, with its own last spikes fed back.

x'[t] = x[t] + s[t-1] W^T,   s[t] = neuron(x'[t])

A neuron with several inputs takes them side by side, and W has rows for each of them.
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
    trace) -> (s, state)`. Of a neuron with several inputs x is `[T, B, inputs, N]` and the weight
    `[inputs * N, N]`: the rows of the first input, then those of the next.

    Returns `(s, RecurrentState)`, with `trace=True` `(s, state, Trace)` whose current is x: the
    gradient of the whole current at a step is the gradient of x at that step.
    Raises UserError where the weight does not fit x, or x the neuron.

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
    one = x.select(2, 0) if x.dim() == 4 else x
    inner, s = (None, x.new_zeros(one.shape[1:])) if state is None else state
    check_state_tensor(s, "state.s", one, x.dtype)
    spikes, traces = [], []
    for x_t in x.unbind(0):
        total = (x_t + linear(s, weight).reshape(x_t.shape)).unsqueeze(0)
        out, inner, *more = neuron(total, inner, trace=True) if trace else neuron(total, inner)
        check_taken(out, one)
        s = out.squeeze(0).to(x.dtype)
        spikes.append(s)
        traces += more
    y, end = torch.stack(spikes), RecurrentState(inner, s)
    if not trace:
        return y, end
    u = torch.cat([t.membrane for t in traces])
    return y, end, Trace(x, u, torch.cat([t.distance for t in traces]), y)


def check_feedback(
    weight: Tensor, x: Tensor, edges: Edges | None = None, inputs: int | None = None
) -> None:
    """A weight from N neurons to all inputs of as many, of x's dtype and device.

    x: `[T, B, N]`, or with several inputs `[T, B, inputs, N]`; inputs: how many the neuron has, 0
    for one without a dimension of its own, None where x says it.
    """
    shape = tuple(weight.shape) if edges is None else (edges.outputs, edges.inputs)
    n, many = x.shape[-1], x.shape[2] if x.dim() == 4 else 0
    if x.dim() not in (3, 4) or inputs not in (None, many) or shape != (max(many, 1) * n, n):
        several = many > 0 and inputs != 0
        expected = (
            "expected x [T, B, inputs, N] and a feedback weight [inputs N, N]"
            if several
            else "expected x [T, B, N] and a feedback weight [N, N]"
        )
        raise UserError(
            message(
                expected,
                f"x {list(x.shape)}, weight {list(shape)}",
                f"use a feedback weight [{many * n if several else n}, {n}]",
            )
        )
    check_like(x, weight, "the feedback")


def check_taken(out: Tensor, one: Tensor) -> None:
    """The output of one step of a neuron that takes x as it came; one: one input of all steps."""
    if out.shape[1:] != one.shape[1:]:
        raise UserError(
            message(
                f"expected a neuron that returns {list(one.shape[1:])} at each step",
                str(list(out.shape[1:])),
                "x is [T, B, N], and [T, B, inputs, N] of a neuron with several inputs alone",
            )
        )
