"""Products of a weight and spikes that are bits: bytes become numbers in registers."""

__all__ = ["PRODUCT"]

PRODUCT = '''"""Products of spikes that are bits, 8 steps of a neuron in a byte."""

import triton
import triton.language as tl


# Bytes [LINES, N] as the zeros and ones of their steps, [LINES * 8, N].
@triton.jit
def opened(held, LINES: tl.constexpr, N: tl.constexpr):
    bits = (held.to(tl.int32)[:, None, :] >> tl.arange(0, 8)[None, :, None]) & 1
    return tl.reshape(bits, [LINES * 8, N])


# The steps of lines of bytes, and the rows [LINES * 8] of these steps and samples in [T * B, ...];
# a line is one of [T/8, B].
@triton.jit
def steps_of(line, batch, LINES: tl.constexpr):
    step = (line // batch * 8)[:, None] + tl.arange(0, 8)[None, :]
    sample = tl.broadcast_to((line % batch)[:, None], [LINES, 8])
    row = step.to(tl.int64) * batch + sample
    return tl.reshape(step, [LINES * 8]), tl.reshape(row, [LINES * 8])


# What of float32 numbers fits in TF32. With the rest in a second product the sum is as exact as in
# float32: spikes are exact in either.
@triton.jit
def coarse(numbers):
    return (numbers.to(tl.int32, bitcast=True) & -8192).to(tl.float32, bitcast=True)


# Spikes [lines, inputs] times a weight [outputs, inputs], and a bias: y [T * B, outputs].
# TWICE: in two products of TF32. WIDE: in the dtype of the sums, for Triton's interpreter.
@triton.jit
def product(bits, weight, bias, y, steps, batch, lines, inputs, outputs, SUM: tl.constexpr,
            BIAS: tl.constexpr, TWICE: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr,
            WIDTH: tl.constexpr, PART: tl.constexpr):
    LINES: tl.constexpr = ROWS // 8
    across = tl.cdiv(outputs, WIDTH)
    line = (tl.program_id(0) // across) * LINES + tl.arange(0, LINES)
    n = (tl.program_id(0) % across) * WIDTH + tl.arange(0, WIDTH)
    total = tl.zeros([ROWS, WIDTH], SUM)
    for begin in range(0, inputs, PART):
        k = begin + tl.arange(0, PART)
        inside = (line < lines)[:, None] & (k < inputs)[None, :]
        place = line.to(tl.int64)[:, None] * inputs + k[None, :]
        held = tl.load(bits + place, mask=inside, other=0)
        inside = (k < inputs)[:, None] & (n < outputs)[None, :]
        by = tl.load(weight + n[None, :] * inputs + k[:, None], mask=inside, other=0.0)
        if WIDE:
            by = by.to(SUM)
        spikes = opened(held, LINES, PART).to(by.dtype)
        if TWICE:
            most = coarse(by)
            total = tl.dot(spikes, by - most, total, input_precision="tf32", out_dtype=SUM)
            total = tl.dot(spikes, most, total, input_precision="tf32", out_dtype=SUM)
        else:
            total = tl.dot(spikes, by, total, input_precision="tf32", out_dtype=SUM)
    if BIAS:
        total = total + tl.load(bias + n, mask=n < outputs, other=0.0).to(SUM)[None, :]
    step, row = steps_of(line, batch, LINES)
    inside = (step < steps)[:, None] & (n < outputs)[None, :]
    tl.store(y + row[:, None] * outputs + n[None, :], total, mask=inside)


# The weight's gradient from gradients [T * B, outputs] and spikes [lines, inputs]: sums
# [splits, outputs, inputs] over `share` lines each, which are added up afterwards.
@triton.jit
def weight_gradient(grad, bits, sums, steps, batch, lines, share, inputs, outputs,
                    SUM: tl.constexpr, TWICE: tl.constexpr, WIDE: tl.constexpr,
                    ROWS: tl.constexpr, WIDTH: tl.constexpr, PART: tl.constexpr):
    LINES: tl.constexpr = PART // 8
    across = tl.cdiv(inputs, WIDTH)
    blocks = across * tl.cdiv(outputs, ROWS)
    split = tl.program_id(0) // blocks
    block = tl.program_id(0) % blocks
    m = (block // across) * ROWS + tl.arange(0, ROWS)
    n = (block % across) * WIDTH + tl.arange(0, WIDTH)
    total = tl.zeros([ROWS, WIDTH], SUM)
    last = tl.minimum(lines, (split + 1) * share)
    for begin in range(split * share, last, LINES):
        line = begin + tl.arange(0, LINES)
        inside = (line < last)[:, None] & (n < inputs)[None, :]
        place = line.to(tl.int64)[:, None] * inputs + n[None, :]
        held = tl.load(bits + place, mask=inside, other=0)
        step, row = steps_of(line, batch, LINES)
        inside = (m < outputs)[:, None] & (step < steps)[None, :]
        by = tl.load(grad + row[None, :] * outputs + m[:, None], mask=inside, other=0.0)
        if WIDE:
            by = by.to(SUM)
        spikes = opened(held, LINES, WIDTH).to(by.dtype)
        if TWICE:
            most = coarse(by)
            total = tl.dot(by - most, spikes, total, input_precision="tf32", out_dtype=SUM)
            total = tl.dot(most, spikes, total, input_precision="tf32", out_dtype=SUM)
        else:
            total = tl.dot(by, spikes, total, input_precision="tf32", out_dtype=SUM)
    inside = (m < outputs)[:, None] & (n < inputs)[None, :]
    at = sums + (split.to(tl.int64) * outputs + m)[:, None] * inputs + n[None, :]
    tl.store(at, total, mask=inside)
'''
