"""Memory around the two kernels of a scan with feedback, and their launches."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikegrad.kernels.triton.calls import FeedbackBackward, FeedbackCall, FeedbackOutputs
from spikegrad.kernels.triton.launch import kept_of, scratch, start
from spikegrad.kernels.triton.module import interpreting
from spikegrad.kernels.triton.programs import program_of
from spikegrad.kernels.triton.spikes import bytes_of, edge_of

__all__ = [
    "MOST",
    "Shape",
    "gradients_of",
    "launch_backward",
    "launch_forward",
    "outputs_of",
    "precision",
    "shape_of",
]

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


def outputs_of(call: FeedbackCall) -> FeedbackOutputs:
    """Memory for what it returns."""
    x, shape = call.x, call.x.shape
    return FeedbackOutputs(
        edge_of(x, shape) if call.pack else x.new_empty(shape),
        x.new_empty(shape[1:]),
        bytes_of(x, shape, call.pack or call.keep),
        *kept_of(program_of(call.program), call),
        torch.empty_like(call.starts),
    )


def launch_forward(call: FeedbackCall) -> FeedbackOutputs:
    """Run it."""
    out, shape = outputs_of(call), shape_of(call.x.shape[2], call.x.element_size(), again=False)
    # Packed spikes are numbers too, in two rows in turn, where other threads read the last step.
    rows = call.x.new_empty((2, *call.x.shape[1:])) if call.pack else out.y
    launch(
        call,
        "forward",
        shape,
        starts=call.starts,
        rows=rows,
        turn=rows.shape[0],
        last=out.last,
        bits=out.bits,
        reals=out.reals,
        masks=out.masks,
        marks=out.marks,
        ends=out.ends,
        segment=max(call.segment, 1),
        KEEP=call.keep and not call.segment,
        MARK=call.keep and call.segment > 0,
        STORE=not (call.pack and shape.held),
        BITS=call.pack or call.keep,
    )
    return out


def gradients_of(call: FeedbackBackward) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Memory for gradients of x, of the spikes and the states at the start, and of learned
    parameters and the bias, `[learned + 0 or 1, B, N]`.
    """
    program, shape, starts = program_of(call.program), call.x.shape, call.starts
    return (
        torch.empty(shape, dtype=call.x.dtype, device=call.x.device),
        starts.new_empty(shape[1:]),
        starts.new_empty((len(program.smooth), *shape[1:])),
        starts.new_empty((len(program.learned) + (call.bias is not None), *shape[1:])),
    )


def launch_backward(call: FeedbackBackward) -> tuple[Tensor, ...]:
    """Run its way back."""
    program, (steps, batch, features) = program_of(call.program), call.x.shape
    starts, reals, masks = call.starts, call.reals, call.masks
    shape = shape_of(features, call.x.element_size(), again=call.segment > 0)
    found = dict(zip(("dx", "dsent", "dstarts", "sums"), gradients_of(call), strict=True))
    if call.segment:
        reals, masks = scratch(program, call.segment, starts)
    none = starts.new_zeros(()).expand(steps, batch, features)
    grad = none if call.grad is None else call.grad
    launch(
        call,
        "backward",
        shape,
        grad=grad,
        grad_ends=starts if call.grad_ends is None else call.grad_ends,
        grad_last=starts if call.grad_last is None else call.grad_last,
        firsts=call.marks if call.segment else starts,
        bits=call.bits,
        reals=reals,
        masks=masks,
        **found,
        grad_step=grad.stride(0),
        grad_column=grad.stride(2),
        segment=call.segment or steps,
        parts=call.marks.shape[0] if call.segment else 1,
        ENDS=call.grad_ends is not None,
        LAST=call.grad_last is not None,
        AGAIN=call.segment > 0,
    )
    return tuple(found.values())


def precision() -> str:
    """Of products of float32: as of torch's own; half types and float64 have one."""
    return "tf32x3" if torch.get_float32_matmul_precision() == "highest" else "tf32"


def launch(call: FeedbackCall | FeedbackBackward, kernel: str, shape: Shape, **args: Any) -> None:
    """Run a kernel over all samples."""
    x, bias, (steps, batch, features) = call.x, call.bias, call.x.shape
    start(
        program_of(call.program).text,
        kernel,
        -(-batch // ROWS),
        x=x,
        bias=call.parameters if bias is None else bias,
        parameters=call.parameters,
        first=call.first,
        weight=call.weight,
        **args,
        steps=steps,
        columns=batch * features,
        features=features,
        batch=batch,
        width=call.parameters.shape[1],
        x_step=x.stride(0),
        row_step=batch * features,
        BIAS=bias is not None,
        HELD=shape.held,
        PRECISION=precision(),
        WIDE=interpreting(),
        ROWS=ROWS,
        WIDTH=shape.width,
        PART=shape.part,
        num_warps=shape.warps,
        num_stages=1,
    )
