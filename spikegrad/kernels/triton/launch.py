"""Memory around a generated scan's two kernels, and their launches."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikegrad.errors import UserError, message
from spikegrad.kernels.emit import Program
from spikegrad.kernels.triton.module import generated

__all__ = ["BLOCK", "Call", "launch_backward", "launch_forward"]

BLOCK = 128
"""Columns of a program instance: one for each of its threads."""
WARPS = 4
MOST_COLUMNS = 2**31 - BLOCK


class Call(NamedTuple):
    """One call besides its tensors.

    keep: a backward pass may follow; segment: steps after which states are kept, and everything
    else computed again; 0: what the backward pass reads is kept at every step.
    """

    program: Program
    keep: bool
    segment: int


def launch_forward(x: Tensor, starts: Tensor, parameters: Tensor, call: Call) -> tuple[Tensor, ...]:
    """Output, kept values, masks, states at the start of segments, and the states at the end.

    x: `[T, B, N]`, dense in `[B, N]`, of any float; starts: `[states, B, N]`; parameters:
    `[rows, 1 or N]`, both in the program's dtype. Raises UserError for more than 2^31 columns.
    """
    program, (steps, batch, features) = call.program, x.shape
    columns = batch * features
    if columns > MOST_COLUMNS:
        raise UserError(
            message("expected fewer than 2^31 neurons times samples", str(columns), "split them")
        )
    kept = call.keep and not call.segment
    marked = call.keep and call.segment > 0
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    reals = starts.new_empty((steps if kept else 0, program.reals, columns))
    words = torch.empty(
        (steps if kept else 0, words_of(program), columns), dtype=torch.uint8, device=x.device
    )
    parts = -(-steps // call.segment) if marked else 0
    marks = starts.new_empty((parts, len(program.states), columns))
    ends = torch.empty_like(starts)
    launch(
        program,
        "forward",
        x=x,
        starts=starts,
        parameters=parameters,
        y=y,
        reals=reals,
        words=words,
        marks=marks,
        ends=ends,
        steps=steps,
        columns=columns,
        width=parameters.shape[1],
        x_step=x.stride(0),
        row_step=columns,
        segment=max(call.segment, 1),
        KEEP=kept,
        MARK=marked,
    )
    return y, reals, words, marks, ends


def launch_backward(
    grad: Tensor | None,
    grad_ends: Tensor | None,
    x: Tensor,
    starts: Tensor,
    parameters: Tensor,
    reals: Tensor,
    words: Tensor,
    marks: Tensor,
    call: Call,
) -> tuple[Tensor, ...]:
    """Gradients of x, of the states at the start and of learned parameters, `[learned, B, N]`."""
    program, (steps, batch, features) = call.program, x.shape
    columns = batch * features
    dx = torch.empty((steps, batch, features), dtype=x.dtype, device=x.device)
    dstarts = starts.new_empty((len(program.smooth), batch, features))
    sums = starts.new_empty((len(program.learned), batch, features))
    if call.segment:
        reals = starts.new_empty((call.segment, program.reals, columns))
        words = torch.empty(
            (call.segment, words_of(program), columns), dtype=torch.uint8, device=x.device
        )
    if grad is None:
        grad = starts.new_zeros(()).expand(steps, batch, features)
    launch(
        program,
        "backward",
        grad=grad,
        grad_ends=starts if grad_ends is None else grad_ends,
        x=x,
        firsts=marks if call.segment else starts,
        parameters=parameters,
        reals=reals,
        words=words,
        dx=dx,
        dstarts=dstarts,
        sums=sums,
        steps=steps,
        columns=columns,
        width=parameters.shape[1],
        x_step=x.stride(0),
        grad_step=grad.stride(0),
        grad_column=grad.stride(2),
        row_step=columns,
        segment=call.segment or steps,
        parts=marks.shape[0] if call.segment else 1,
        ENDS=grad_ends is not None,
        AGAIN=call.segment > 0,
    )
    return dx, dstarts, sums


def words_of(program: Program) -> int:
    """Bytes that the masks of a neuron-step take."""
    return (program.masks + 7) // 8


def launch(program: Program, kernel: str, **args: Any) -> None:
    """Run a kernel over all columns, on the device of its tensors."""
    device = args["x"].device
    there = torch.cuda.device(device) if device.type == "cuda" else nullcontext()
    with there:
        getattr(generated(program.text), kernel)[(-(-args["columns"] // BLOCK),)](
            **args, BLOCK=BLOCK, num_warps=WARPS, enable_fp_fusion=False
        )
