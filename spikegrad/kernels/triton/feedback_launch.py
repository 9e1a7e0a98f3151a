"""Memory around the two kernels of a scan with feedback, and their launches."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikegrad.kernels.triton.launch import Call, memory, scratch, start
from spikegrad.kernels.triton.module import interpreting

__all__ = ["MOST", "Shape", "launch_backward", "launch_forward", "shape_of"]

MOST = 256
"""Neurons of a program instance at most."""
ROWS = 16
"""Samples of a program instance: the fewest that a matrix product of a GPU takes."""

HELD = 64
"""Bytes of the weight that a thread has in registers at most: a quarter of what 128 are."""


class Shape(NamedTuple):
    """width: N up to a power of 2; held: the weight stays in registers; part: else so many of its
    rows are read at a time; warps: of 32 threads.
    """

    width: int
    held: bool
    part: int
    warps: int


def shape_of(features: int, bytes_each: int, *, again: bool) -> Shape:
    """The shape of the programs; bytes_each: of a weight; again: steps are computed again."""
    width = max(ROWS, 1 << (features - 1).bit_length())
    warps = max(1, min(16, width // 8))
    held = not again and width * width * bytes_each <= warps * 32 * HELD
    return Shape(width, held, 16 if width > 128 else min(width, 32), warps)


def launch_forward(
    x: Tensor,
    bias: Tensor | None,
    first: Tensor,
    weight: Tensor,
    starts: Tensor,
    parameters: Tensor,
    call: Call,
) -> tuple[Tensor, ...]:
    """Output, the spikes at the end, the output with the spikes before it `[T + 1, B, N]`, kept
    values, masks, states at the start of segments, and the states at the end.

    x: `[T, B, N]`, dense in `[B, N]`, of any float; first: the spikes before, `[B, N]`; weight:
    `[N, N]`, both in x's dtype; others: as of a scan alone.
    """
    steps, batch, features = x.shape
    spikes = x.new_empty((steps + 1, batch, features))
    spikes[0] = first
    y, ends = spikes[1:], torch.empty_like(starts)
    reals, words, marks = memory(call, steps, starts)
    launch(
        call,
        "forward",
        again=False,
        x=x,
        bias=bias,
        starts=starts,
        parameters=parameters,
        spikes=spikes,
        weight=weight,
        y=y,
        reals=reals,
        words=words,
        marks=marks,
        ends=ends,
        segment=max(call.segment, 1),
        KEEP=call.keep and not call.segment,
        MARK=call.keep and call.segment > 0,
    )
    return y, y[-1].clone(), spikes, reals, words, marks, ends


def launch_backward(
    grad: Tensor | None,
    grad_last: Tensor | None,
    grad_ends: Tensor | None,
    x: Tensor,
    bias: Tensor | None,
    weight: Tensor,
    starts: Tensor,
    parameters: Tensor,
    spikes: Tensor,
    reals: Tensor,
    words: Tensor,
    marks: Tensor,
    call: Call,
) -> tuple[Tensor, ...]:
    """Gradients of x, of the spikes and the states at the start, and of learned parameters and the
    bias, `[learned + 1, B, N]`.
    """
    program, (steps, batch, features) = call.program, x.shape
    dx = x.new_empty((steps, batch, features))
    dsent = starts.new_empty((batch, features))
    dstarts = starts.new_empty((len(program.smooth), batch, features))
    sums = starts.new_empty((len(program.learned) + (bias is not None), batch, features))
    if call.segment:
        reals, words = scratch(program, call.segment, starts)
    grad = starts.new_zeros(()).expand(steps, batch, features) if grad is None else grad
    launch(
        call,
        "backward",
        again=call.segment > 0,
        x=x,
        bias=bias,
        grad=grad,
        grad_ends=starts if grad_ends is None else grad_ends,
        grad_last=starts if grad_last is None else grad_last,
        firsts=marks if call.segment else starts,
        parameters=parameters,
        spikes=spikes,
        weight=weight,
        reals=reals,
        words=words,
        dx=dx,
        dstarts=dstarts,
        dsent=dsent,
        sums=sums,
        grad_step=grad.stride(0),
        grad_column=grad.stride(2),
        segment=call.segment or steps,
        parts=marks.shape[0] if call.segment else 1,
        ENDS=grad_ends is not None,
        LAST=grad_last is not None,
        AGAIN=call.segment > 0,
    )
    return dx, dsent, dstarts, sums


def launch(
    call: Call, kernel: str, *, again: bool, x: Tensor, bias: Tensor | None, **args: Any
) -> None:
    """Run a kernel over all samples."""
    steps, batch, features = x.shape
    shape = shape_of(features, x.element_size(), again=again)
    # As in torch's own products; half types and float64 have one precision.
    precise = torch.get_float32_matmul_precision() == "highest"
    start(
        call.program,
        kernel,
        -(-batch // ROWS),
        x=x,
        bias=args["parameters"] if bias is None else bias,
        **args,
        steps=steps,
        columns=batch * features,
        features=features,
        batch=batch,
        width=args["parameters"].shape[1],
        x_step=x.stride(0),
        row_step=batch * features,
        BIAS=bias is not None,
        HELD=shape.held,
        PRECISION="tf32x3" if precise else "tf32",
        WIDE=interpreting(),
        ROWS=ROWS,
        WIDTH=shape.width,
        PART=shape.part,
        num_warps=shape.warps,
        num_stages=1,
    )
