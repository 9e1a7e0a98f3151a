"""The Triton around the statements of one step with feedback."""

__all__ = ["TEMPLATE"]

TEMPLATE = '''"""Generated from the step {name}, with feedback."""

import triton
import triton.language as tl
from triton.language.extra import libdevice

REAL = tl.constexpr({type})


# A block of the weight [N, N]: `first` is the number of its first row that is summed over; along,
# across: the distances of two numbers that are summed over, and of two results. WIDE: in the
# states' dtype, for Triton's interpreter, whose products have no bfloat16.
@triton.jit
def block_of(weight, first, along, across, features, WIDE: tl.constexpr, PART: tl.constexpr,
             WIDTH: tl.constexpr):
    k = first + tl.arange(0, PART)
    n = tl.arange(0, WIDTH)
    inside = (k < features)[:, None] & (n < features)[None, :]
    block = tl.load(weight + k[:, None] * along + n[None, :] * across, mask=inside, other=0.0)
    if WIDE:
        block = block.to(REAL)
    return block


# The product of what was sent [ROWS, WIDTH] with the weight. HELD: both are in registers; else both
# are read from memory, PART rows of the weight at a time.
@triton.jit
def fed_back(sent, held, row, weight, along, across, features, batch, HELD: tl.constexpr,
             PRECISION: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr,
             WIDTH: tl.constexpr, PART: tl.constexpr):
    if HELD:
        fed = tl.dot(sent.to(held.dtype), held, input_precision=PRECISION, out_dtype=REAL)
    else:
        fed = tl.zeros([ROWS, WIDTH], REAL)
        sample = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
        for first in range(0, WIDTH, PART):
            k = first + tl.arange(0, PART)
            inside = (sample < batch)[:, None] & (k < features)[None, :]
            part = tl.load(row + sample[:, None] * features + k[None, :], mask=inside, other=0.0)
            by = block_of(weight, first, along, across, features, WIDE, PART, WIDTH)
            fed = tl.dot(part.to(by.dtype), by, fed, input_precision=PRECISION, out_dtype=REAL)
    return fed


# A program instance has ROWS samples and all N of their neurons, up to WIDTH. spikes: those before
# the first step, then the output y, `[T + 1, B, N]`; everything else as in a scan.
@triton.jit(do_not_specialize=["steps", "segment"])
def forward(x, bias, starts, parameters, spikes, weight, y, reals, words, marks, ends, steps,
            columns, features, batch, width, x_step: tl.int64, row_step: tl.int64, segment,
            KEEP: tl.constexpr, MARK: tl.constexpr, BIAS: tl.constexpr, HELD: tl.constexpr,
            PRECISION: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr,
            WIDTH: tl.constexpr, PART: tl.constexpr):
    sample = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    neuron = tl.arange(0, WIDTH)
    j = sample[:, None] * features + neuron[None, :]
    inside = (sample < batch)[:, None] & (neuron < features)[None, :]
    if BIAS:
        offset = tl.load(bias + neuron, mask=neuron < features, other=0.0)[None, :]
    w = block_of(weight, 0, 1, features, features, WIDE, WIDTH if HELD else PART, WIDTH)
    sent = tl.zeros([ROWS, WIDTH], REAL)
{parameters}
{starts}
    t0 = tl.full([], 0, tl.int32)
    count = steps
{forward}
{ends}


# grad_last, dsent: of the spikes at the end, and of those before the first step.
@triton.jit(do_not_specialize=["steps", "segment", "parts"])
def backward(grad, grad_ends, grad_last, x, bias, firsts, parameters, spikes, weight, reals, words,
             dx, dstarts, dsent, sums, steps, columns, features, batch, width, x_step: tl.int64,
             grad_step: tl.int64, grad_column, row_step: tl.int64, segment, parts,
             ENDS: tl.constexpr, LAST: tl.constexpr, AGAIN: tl.constexpr, BIAS: tl.constexpr,
             HELD: tl.constexpr, PRECISION: tl.constexpr, WIDE: tl.constexpr,
             ROWS: tl.constexpr, WIDTH: tl.constexpr, PART: tl.constexpr):
    sample = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    neuron = tl.arange(0, WIDTH)
    j = sample[:, None] * features + neuron[None, :]
    inside = (sample < batch)[:, None] & (neuron < features)[None, :]
    if BIAS:
        offset = tl.load(bias + neuron, mask=neuron < features, other=0.0)[None, :]
    # HELD is for calls that compute nothing again: this weight is for the way back.
    w = block_of(weight, 0, features, 1, features, WIDE, WIDTH if HELD else PART, WIDTH)
    sent = tl.zeros([ROWS, WIDTH], REAL)
{parameters}
{carries}
    if LAST:
        fed = tl.load(grad_last + j, mask=inside, other=0.0).to(REAL)
    else:
        fed = tl.zeros([ROWS, WIDTH], REAL)
    for done in range(parts):
        part = parts - 1 - done
        t0 = part * segment
        count = tl.minimum(segment, steps - t0)
        row = firsts + part * {states} * row_step
{marks}
        if AGAIN:
            arrived = fed
{again}
            fed = arrived
            tl.debug_barrier()
{backward}
        if AGAIN:
            tl.debug_barrier()
    tl.store(dsent + j, fed, mask=inside)
{results}
'''
