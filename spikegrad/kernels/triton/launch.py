"""Memory around a generated scan's two kernels, and their launches."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from spikegrad.errors import UserError, message
from spikegrad.kernels.emit import Program
from spikegrad.kernels.triton.calls import FeedbackCall, ScanBackward, ScanCall, ScanOutputs
from spikegrad.kernels.triton.module import generated
from spikegrad.kernels.triton.programs import program_of
from spikegrad.kernels.triton.spikes import STEPS, bytes_of, edge_of

__all__ = [
    "BLOCK",
    "gradients_of",
    "kept_of",
    "launch_backward",
    "launch_forward",
    "outputs_of",
    "scratch",
    "start",
]

BLOCK = 128
"""Columns of a program instance: one for each of its threads."""
WARPS = 4
MOST_COLUMNS = 2**31 - BLOCK


def outputs_of(call: ScanCall) -> ScanOutputs:
    """Memory for what a scan returns.

    Raises UserError for more than 2^31 columns.
    """
    program = program_of(call.program)
    shape = (call.x.shape[0], *call.starts.shape[1:])
    if call.starts[:1].numel() > MOST_COLUMNS:
        count = str(call.starts[:1].numel())
        raise UserError(
            message("expected fewer than 2^31 neurons times samples", count, "split them")
        )
    return ScanOutputs(
        edge_of(call.x, shape) if call.pack else call.x.new_empty(shape),
        call.x.new_empty(shape if program.outputs > 1 else (0,)),
        bytes_of(call.x, shape, call.pack),
        *kept_of(program, call),
        torch.empty_like(call.starts),
    )


def kept_of(program: Program, call: ScanCall | FeedbackCall) -> tuple[Tensor, Tensor, Tensor]:
    """Memory for kept numbers, masks, and the states at the start of segments."""
    steps, columns = call.x.shape[0], call.starts[:1].numel()
    every = steps if call.keep and not call.segment else 0
    parts = -(-steps // call.segment) if call.keep and call.segment else 0
    marks = call.starts.new_empty((parts, len(program.states), columns))
    return *scratch(program, every, call.starts), marks


def scratch(program: Program, steps: int, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Memory for what is kept of so many steps: numbers, and masks as bits of 8 steps."""
    columns, many = starts[:1].numel(), -(-steps // STEPS)
    reals = starts.new_empty((steps, program.reals, columns))
    return reals, starts.new_empty((many, program.masks, columns), dtype=torch.uint8)


def launch_forward(call: ScanCall) -> ScanOutputs:
    """Run a scan."""
    out = outputs_of(call)
    launch(
        call,
        "forward",
        starts=call.starts,
        y=out.y,
        membrane=out.membrane,
        bits=out.bits,
        reals=out.reals,
        masks=out.masks,
        marks=out.marks,
        ends=out.ends,
        segment=max(call.segment, 1),
        KEEP=call.keep and not call.segment,
        MARK=call.keep and call.segment > 0,
        PACK=call.pack,
    )
    return out


def gradients_of(call: ScanBackward) -> tuple[Tensor, Tensor, Tensor]:
    """Memory for gradients of x, of the states at the start, and of learned parameters, what is
    added last and the scale, `[learned + 0 to 2, B, N]`.
    """
    program, shape = program_of(call.program), call.starts.shape[1:]
    added = call.bias is not None or call.scale is not None
    rows = len(program.learned) + added + (call.scale is not None)
    return (
        torch.empty(call.x.shape, dtype=call.x.dtype, device=call.x.device),
        call.starts.new_empty((len(program.smooth), *shape)),
        call.starts.new_empty((rows, *shape)),
    )


def launch_backward(call: ScanBackward) -> tuple[Tensor, ...]:
    """Run a scan's way back."""
    program, steps, starts = program_of(call.program), call.x.shape[0], call.starts
    found = dict(zip(("dx", "dstarts", "sums"), gradients_of(call), strict=True))
    reals, masks = call.reals, call.masks
    if call.segment:
        reals, masks = scratch(program, call.segment, starts)
    none = starts.new_zeros(()).expand(steps, *starts.shape[1:])
    grads = [none if grad is None else grad for grad in (call.grad, call.grad_membrane)]
    launch(
        call,
        "backward",
        grad=grads[0],
        grad_membrane=grads[1],
        grad_ends=starts if call.grad_ends is None else call.grad_ends,
        firsts=call.marks if call.segment else starts,
        reals=reals,
        masks=masks,
        **found,
        grad_step=grads[0].stride(0),
        grad_column=grads[0].stride(2),
        grad_membrane_step=grads[1].stride(0),
        grad_membrane_column=grads[1].stride(2),
        segment=call.segment or steps,
        parts=call.marks.shape[0] if call.segment else 1,
        ENDS=call.grad_ends is not None,
        AGAIN=call.segment > 0,
    )
    return tuple(found.values())


def launch(call: ScanCall | ScanBackward, kernel: str, **args: Any) -> None:
    """Run a kernel over all columns."""
    x, starts, bias, scale = call.x, call.starts, call.bias, call.scale
    _, batch, features = starts.shape
    columns = batch * features
    channels = next((t.shape[0] for t in (bias, scale) if t is not None), features)
    start(
        program_of(call.program).text,
        kernel,
        -(-columns // BLOCK),
        x=x,
        noise=starts if call.noise is None else call.noise,
        bias=starts if bias is None else bias,
        scale=starts if scale is None else scale,
        shift=starts if call.shift is None else call.shift,
        parameters=call.parameters,
        **args,
        steps=x.shape[0],
        columns=columns,
        features=features,
        inner=features // channels,
        width=call.parameters.shape[1],
        x_step=x.stride(0),
        row_step=columns,
        BIAS=bias is not None,
        NORM=scale is not None,
        BLOCK=BLOCK,
        num_warps=WARPS,
    )


def start(text: str, kernel: str, instances: int, **args: Any) -> None:
    """Run so many instances of a kernel of a program, on the device of its tensors."""
    device = next(each.device for each in args.values() if isinstance(each, Tensor))
    there = torch.cuda.device(device) if device.type == "cuda" else nullcontext()
    with there:
        getattr(generated(text), kernel)[(instances,)](**args, enable_fp_fusion=False)
