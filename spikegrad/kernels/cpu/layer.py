"""A connection, its feedback and its neuron in one native call, from spikes to spikes.

Between two such layers spikes travel as bits (`Spikes`): numbers [T, B, N] are made only where
something else reads them.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear as product

from spikegrad.checks import check_state_tensor
from spikegrad.functional.recurrent import check_feedback
from spikegrad.kernels.cpu.crossover import crossover
from spikegrad.kernels.cpu.derivative import family_of
from spikegrad.kernels.cpu.layer_operator import run
from spikegrad.kernels.cpu.library import COMPACT, KINDS, PARAMETERS, RESETS
from spikegrad.kernels.cpu.neuron import Neuron, described, shareable, usual
from spikegrad.surrogate import arctan
from spikegrad.types import RecurrentState, State

__all__ = ["Spikes", "layer", "linear", "packed", "recurrent", "stilled"]


NOBODY = arctan(2.0)
"""The surrogate of a connection without neurons, which nobody asks."""


class Spikes(NamedTuple):
    """Spikes `[T, B, N]` between two layers.

    edge: their place in autograd's graph, zeros without memory: of that shape, or one for every
    place that support names, in the order of src/places.h; bits, support: 64 columns a word, `[T,
    B, words]`; support says where the surrogate's derivative is not 0, None where it has tails:
    elsewhere nobody reads a gradient; columns: N; steady: `[B, N]`, a second edge beside one of
    places, for a gradient that is the same at every step.
    """

    edge: Tensor
    bits: Tensor
    support: Tensor | None
    columns: int
    steady: Tensor | None = None

    @property
    def whole(self) -> Tensor:
        """Zeros of the spikes' shape and dtype, without memory."""
        return self.edge.detach().new_zeros(()).expand(self.shape)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((*self.bits.shape[:2], self.columns))


def packed(x: Tensor) -> Spikes | None:
    """The zeros and ones of x `[T, B, N]` as `Spikes` whose edge is x; None for other values."""
    if torch.compiler.is_compiling() or not x.is_contiguous():
        return None
    bits, ones = torch.ops.spikegrad.pack(x.detach())
    return Spikes(x, bits, None, x.shape[2]) if ones.item() >= 0 else None


def stilled(x: Tensor) -> Tensor:
    """x `[T, B, N]`, as one step seen T times where all steps are equal and nobody wants its
    gradient.
    """
    if torch.compiler.is_compiling() or x.requires_grad or not x.is_contiguous():
        return x
    alike = x.shape[0] > 1 and torch.ops.spikegrad.same_every_step(x)
    return x[0].expand(x.shape) if alike else x


def linear(
    x: Tensor | Spikes,
    *,
    weight: Tensor,
    bias: Tensor | None = None,
    witness: list[Any] | None = None,
) -> Tensor:
    """`functional.linear`, along the spikes where x is sparse zeros and ones."""
    given = arrived(x if isinstance(x, Spikes) else x.contiguous())
    n = (still if shareable() else still.__wrapped__)(given.x.dtype)
    out = call(given, weight, bias, None, None, n)
    if witness is not None:
        witness.append((out[15], n, given))
    return out[0]


def recurrent(
    x: Tensor,
    state: RecurrentState | None = None,
    *,
    weight: Tensor,
    neuron: partial[Any],
    lean: bool = False,
) -> tuple[Tensor, RecurrentState]:
    """`functional.recurrent` in one call; neuron: a scan of the specification, arguments bound."""
    check_feedback(weight, x)
    scan, args = neuron.func.__name__, neuron.keywords
    return layer(x, state, weight=None, feedback=weight, scan=scan, args=args, lean=lean)


def layer(
    x: Tensor | Spikes,
    state: State = None,
    *,
    weight: Tensor | None,
    bias: Tensor | None = None,
    feedback: Tensor | None = None,
    scan: str,
    args: dict[str, Any],
    lean: bool = False,
    pass_on: bool = False,
    witness: list[Any] | None = None,
) -> tuple[Any, State]:
    """`linear`, then `scan` with args, fed back through a weight if there is one.

    x: `[T, B, I]`, or the current `[T, B, N]` without a weight; state: the neuron's, with feedback
    a `RecurrentState`; lean: keep little for the backward pass and compute the rest again;
    pass_on: return `Spikes` instead of numbers; witness: takes what the kernel chose.
    """
    given = arrived(x)
    outputs = given.shape[2] if weight is None else weight.shape[0]
    inner, last = state if feedback is not None and state is not None else (state, None)
    n = usual(scan, given.x.dtype, args) if inner is None else None
    n = n or described(scan, given.current(outputs), inner, args)
    first = None
    if feedback is not None and last is not None:
        check_state_tensor(last, "state.s", given.current(outputs), given.x.dtype)
        first = product(last, feedback)
    out = call(
        given,
        weight,
        bias,
        feedback,
        first,
        n,
        lean=lean and family_of(n.surrogate)[0] >= 0,
        dense=not pass_on,
    )
    if witness is not None:
        witness.append((out[15], n, given))
    y, end, i, v, a, silent = out[0], out[1], *out[11:15]
    after: State = n.wrap(*(p if p.numel() else None for p in (i, v, a, silent)))
    if feedback is not None:
        after = RecurrentState(after, end)
    if pass_on and n.kind & KINDS["spiking"]:
        return Spikes(y, out[7], out[8] if out[8].numel() else None, outputs, out[16]), after
    return y, after


def call(
    given: Arrival,
    weight: Tensor | None,
    bias: Tensor | None,
    feedback: Tensor | None,
    first: Tensor | None,
    n: Neuron,
    *,
    lean: bool = False,
    dense: bool = True,
) -> tuple[Tensor, ...]:
    """The operator."""
    inputs = given.shape[2]
    # A trace needs shapes that do not depend on values.
    free = torch.is_grad_enabled() and not torch.compiler.is_compiling()
    places = free and not dense and family_of(n.surrogate)[0] in COMPACT
    return run(
        given.x,
        given.bits,
        given.support,
        None if weight is None else weight.contiguous(),
        bias,
        None if feedback is None else feedback.contiguous(),
        None if first is None else first.contiguous(),
        *n.starts,
        n.params,
        n.slope,
        n.words(lean=lean, dense=dense, places=places),
        n.numbers(crossover(inputs, inputs if weight is None else weight.shape[0])),
        given.steady,
    )


class Arrival(NamedTuple):
    """An input as the operator takes it; shape: `[T, B, I]`."""

    x: Tensor
    bits: Tensor | None
    support: Tensor | None
    steady: Tensor | None
    shape: torch.Size

    def current(self, outputs: int) -> Tensor:
        """A current `[T, B, N]` of zeros without memory, to check states and parameters against."""
        return self.x.new_zeros(()).expand(*self.shape[:2], outputs)


def arrived(x: Tensor | Spikes) -> Arrival:
    """Spikes, dense rows, or one step seen T times."""
    if isinstance(x, Spikes):
        return Arrival(x.edge, x.bits, x.support, x.steady, x.shape)
    if x.shape[0] > 1 and x.stride(0) == 0:
        step = x[0]
        x = x if step.is_contiguous() else step.contiguous().expand(x.shape)
    else:
        x = x.contiguous()
    return Arrival(x, None, None, None, x.shape)


@lru_cache(maxsize=8)
def still(dtype: torch.dtype) -> Neuron:
    """No neuron: the current is the output."""
    return Neuron(
        torch.zeros((), dtype=dtype),
        KINDS["identity"],
        (None, None, None, None),
        torch.zeros((len(PARAMETERS), 1), dtype=dtype),
        torch.ones(1, dtype=dtype),
        NOBODY,
        RESETS.index("none"),
        False,
        0,
        lambda *ends: None,
    )
