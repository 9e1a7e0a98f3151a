"""A generated scan as one differentiable operator."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad.kernels.cpu.eager import below_autograd, eager
from spikegrad.kernels.cpu.schema import define
from spikegrad.kernels.emit import Program
from spikegrad.kernels.triton.calls import (
    ScanBackward,
    ScanCall,
    ScanOutputs,
    by_name,
    in_order,
)
from spikegrad.kernels.triton.launch import (
    gradients_of,
    launch_backward,
    launch_forward,
    outputs_of,
)
from spikegrad.kernels.triton.programs import program_of

__all__ = ["of_parameters", "padded", "reached", "readable", "refuse", "run"]


def forward(*args: Any) -> tuple[Tensor, ...]:
    """The operator."""
    return tuple(launch_forward(ScanCall(*args)))


def fake(*args: Any) -> tuple[Tensor, ...]:
    """Its outputs' shapes and dtypes."""
    return tuple(outputs_of(ScanCall(*args)))


def backward(*args: Any) -> tuple[Tensor, ...]:
    """The gradient's operator."""
    return launch_backward(ScanBackward(*args))


def fake_backward(*args: Any) -> tuple[Tensor, ...]:
    """Its outputs' shapes and dtypes."""
    return gradients_of(ScanBackward(*args))


def keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Save what the backward pass reads; of an input that it does not read, its shape."""
    call, out = ScanCall(*inputs), ScanOutputs(*output)
    program = program_of(call.program)
    ctx.set_materialize_grads(False)
    nothing = () if program.outputs > 1 else (out.membrane,)
    ctx.mark_non_differentiable(*nothing, out.bits, out.reals, out.masks, out.marks)
    read = program.reads_input or call.segment or call.scale is not None
    drawn = program.reads_noise or call.segment
    ctx.save_for_backward(
        call.x if read else None,
        call.noise if drawn else None,
        call.bias,
        call.scale,
        call.shift,
        call.starts,
        call.parameters,
        out.reals,
        out.masks,
        out.marks,
        out.ends,
    )
    ctx.call = call.program, call.segment
    ctx.shape, ctx.dtype = call.x.shape, call.x.dtype


def gradient(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
    """Gradients of the input, the bias, scale and shift, the states before the first step and the
    parameters.
    """
    x, noise, bias, scale, shift, starts, parameters, reals, masks, marks, after = ctx.saved_tensors
    key, segment = ctx.call
    program, incoming = program_of(key), by_name(ScanOutputs, grads)
    if x is None:  # nobody reads it: something of its shape and dtype
        x = starts.new_empty((), dtype=ctx.dtype).expand(ctx.shape)
    y, membrane, ends = (incoming[name] for name in ("y", "membrane", "ends"))
    call = ScanBackward(
        key,
        None if y is None else readable(y),
        None if membrane is None else readable(membrane),
        None if ends is None else ends[: len(program.smooth)].contiguous(),
        x,
        noise,
        bias,
        scale,
        shift,
        reached(starts, after),
        parameters,
        reals,
        masks,
        marks,
        segment,
    )
    dx, dstarts, sums = below_autograd(torch.ops.spikegrad.triton_scan_backward, *call)
    need = by_name(ScanCall, ctx.needs_input_grad)
    channels = of_channels(sums[len(program.learned) :], bias, scale)
    return in_order(
        ScanCall,
        x=dx if need["x"] else None,
        bias=channels[0],
        scale=channels[1],
        shift=channels[2],
        starts=padded(dstarts, len(program.states)) if need["starts"] else None,
        parameters=of_parameters(sums, parameters, program) if need["parameters"] else None,
    )


def reached(starts: Tensor, after: Tensor) -> Tensor:
    """The states at the start, so that whoever asks for the gradient's gradient reaches `refuse`,
    whatever was saved: the states at the end are part of the graph.
    """
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        return starts + (after - after.detach())
    return starts


def of_channels(
    sums: Tensor, bias: Tensor | None, scale: Tensor | None
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of bias, scale and shift, `[C]`, from sums `[0 to 2, B, N]`; added in float64."""
    one = bias if scale is None else scale
    if one is None:
        return None, None, None
    found = sums.sum(1, dtype=torch.float64).reshape(sums.shape[0], one.shape[0], -1).sum(2)
    if scale is None:
        return found[0].to(one.dtype), None, None
    of_bias = None if bias is None else (found[0] * scale).to(one.dtype)
    return of_bias, found[1].to(one.dtype), found[0].to(one.dtype)


def readable(grad: Tensor) -> Tensor:
    """A gradient that is one number everywhere, or dense in `[B, N]`, as the kernel reads it."""
    if torch.compiler.is_compiling():
        return grad.contiguous()
    dense = grad.stride(2) == 1 and grad.stride(1) == grad.shape[2]
    return grad if dense or not any(grad.stride()) else grad.contiguous()


def padded(gradients: Tensor, states: int) -> Tensor:
    """Zeros for the refractory counter."""
    if gradients.shape[0] == states:
        return gradients
    return torch.cat([gradients, gradients.new_zeros((1, *gradients.shape[1:]))])


def of_parameters(sums: Tensor, parameters: Tensor, program: Program) -> Tensor:
    """`[rows, 1 or N]`, zeros for parameters that are not learned; added up in float64."""
    if not program.learned:
        return torch.zeros_like(parameters)
    over = (1,) if program.each else (1, 2)
    found = sums[: len(program.learned)].sum(over, dtype=torch.float64).to(parameters.dtype)
    rows = dict(zip(program.learned, found.reshape(len(program.learned), -1), strict=True))
    zero = torch.zeros_like(parameters[0])
    return torch.stack([rows.get(name, zero) for name in program.parameters])


def refuse(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
    """A kernel's gradient has no gradient: a silent zero would be wrong."""
    raise RuntimeError(
        "expected one backward pass through a Triton kernel, got a second (create_graph=True); "
        "use backend='reference' on the layers, whose gradients can be differentiated again"
    )


def register() -> None:
    """Schemas, shapes and gradients of the operators."""
    define("triton_scan", ScanCall, " ".join(ScanOutputs._fields), run=forward)
    define("triton_scan_backward", ScanBackward, "dx dstarts sums", run=backward)
    torch.library.register_fake("spikegrad::triton_scan", fake)
    torch.library.register_fake("spikegrad::triton_scan_backward", fake_backward)
    torch.library.register_autograd(
        "spikegrad::triton_scan", gradient, setup_context=keep_for_backward
    )
    torch.library.register_autograd("spikegrad::triton_scan_backward", refuse)


register()
run = eager(lambda *inputs: torch.ops.spikegrad.triton_scan(*inputs), keep_for_backward, gradient)
