"""Memory around a generated scan's two kernels, and their launches."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikegrad.errors import UserError, message
from spikegrad.kernels.emit import Program
from spikegrad.kernels.triton.module import generated

__all__ = ["BLOCK", "Call", "launch_backward", "launch_forward", "memory", "scratch", "start"]

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


def launch_forward(
    x: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    shift: Tensor | None,
    starts: Tensor,
    parameters: Tensor,
    call: Call,
) -> tuple[Tensor, ...]:
    """Output, kept values, masks, states at the start of segments, and the states at the end.

    x: `[T, B, N]`, dense in `[B, N]`, of any float; bias: `[C]`, added to every x of a channel;
    scale, shift: `[C]`, the sum is multiplied by and added to; starts: `[states, B, N]`;
    parameters: `[rows, 1 or N]`, all but x in the program's dtype. N is a multiple of C. Raises
    UserError for more than 2^31 columns.
    """
    program, (steps, batch, features) = call.program, x.shape
    columns = batch * features
    if columns > MOST_COLUMNS:
        raise UserError(
            message("expected fewer than 2^31 neurons times samples", str(columns), "split them")
        )
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    kept, marked = call.keep and not call.segment, call.keep and call.segment > 0
    reals, words, marks = memory(call, steps, starts)
    ends = torch.empty_like(starts)
    launch(
        program,
        "forward",
        x=x,
        **before(x, bias, scale, shift, starts),
        starts=starts,
        parameters=parameters,
        y=y,
        reals=reals,
        words=words,
        marks=marks,
        ends=ends,
        steps=steps,
        columns=columns,
        features=features,
        width=parameters.shape[1],
        x_step=x.stride(0),
        row_step=columns,
        segment=max(call.segment, 1),
        KEEP=kept,
        MARK=marked,
    )
    return y, reals, words, marks, ends


def memory(call: Call, steps: int, starts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where a forward pass keeps numbers, masks, and the states at the start of segments."""
    kept, columns = steps if call.keep and not call.segment else 0, starts[:1].numel()
    parts = -(-steps // call.segment) if call.keep and call.segment else 0
    marks = starts.new_empty((parts, len(call.program.states), columns))
    return *scratch(call.program, kept, starts), marks


def scratch(program: Program, steps: int, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Memory for what is kept of so many steps: numbers, and masks as bits of bytes."""
    columns, words = starts[:1].numel(), (program.masks + 7) // 8
    reals = starts.new_empty((steps, program.reals, columns))
    return reals, starts.new_empty((steps, words, columns), dtype=torch.uint8)


def launch_backward(
    grad: Tensor | None,
    grad_ends: Tensor | None,
    x: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    shift: Tensor | None,
    starts: Tensor,
    parameters: Tensor,
    reals: Tensor,
    words: Tensor,
    marks: Tensor,
    call: Call,
) -> tuple[Tensor, ...]:
    """Gradients of x, of the states at the start, and of learned parameters, what is added last and
    the scale, `[learned + 0 to 2, B, N]`.
    """
    program, (steps, batch, features) = call.program, x.shape
    columns = batch * features
    dx = torch.empty((steps, batch, features), dtype=x.dtype, device=x.device)
    dstarts = starts.new_empty((len(program.smooth), batch, features))
    added = bias is not None or scale is not None
    rows = len(program.learned) + added + (scale is not None)
    sums = starts.new_empty((rows, batch, features))
    if call.segment:
        reals, words = scratch(program, call.segment, starts)
    if grad is None:
        grad = starts.new_zeros(()).expand(steps, batch, features)
    launch(
        program,
        "backward",
        grad=grad,
        grad_ends=starts if grad_ends is None else grad_ends,
        x=x,
        **before(x, bias, scale, shift, starts),
        firsts=marks if call.segment else starts,
        parameters=parameters,
        reals=reals,
        words=words,
        dx=dx,
        dstarts=dstarts,
        sums=sums,
        steps=steps,
        columns=columns,
        features=features,
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


def before(
    x: Tensor, bias: Tensor | None, scale: Tensor | None, shift: Tensor | None, other: Tensor
) -> dict[str, Any]:
    """What a kernel is given of a bias and a batch norm; other: what it does not read instead."""
    channels = next((t.shape[0] for t in (bias, scale) if t is not None), x.shape[2])
    return {
        "bias": other if bias is None else bias,
        "scale": other if scale is None else scale,
        "shift": other if shift is None else shift,
        "inner": x.shape[2] // channels,
        "BIAS": bias is not None,
        "NORM": scale is not None,
    }


def launch(program: Program, kernel: str, **args: Any) -> None:
    """Run a kernel over all columns."""
    instances = -(-args["columns"] // BLOCK)
    start(program, kernel, instances, **args, BLOCK=BLOCK, num_warps=WARPS)


def start(program: Program, kernel: str, instances: int, **args: Any) -> None:
    """Run so many instances of a kernel, on the device of its tensors."""
    device = args["x"].device
    there = torch.cuda.device(device) if device.type == "cuda" else nullcontext()
    with there:
        getattr(generated(program.text), kernel)[(instances,)](**args, enable_fp_fusion=False)
