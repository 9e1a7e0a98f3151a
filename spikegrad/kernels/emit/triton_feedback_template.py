"""The Triton around the statements of one step with feedback."""

__all__ = ["TEMPLATE"]

TEMPLATE = '''"""Generated from the step {name}, with feedback."""

import triton
import triton.language as tl
from triton.language.extra import libdevice

REAL = tl.constexpr({type})


# A block of the weight [N, N]: `begin` is the number of its first row that is summed over; along,
# across: the distances of two numbers that are summed over, and of two results. WIDE: in the
# states' dtype, for Triton's interpreter, whose products have no bfloat16.
@triton.jit
def block_of(weight, begin, along, across, features, WIDE: tl.constexpr, PART: tl.constexpr,
             WIDTH: tl.constexpr):
    k = begin + tl.arange(0, PART)
    n = tl.arange(0, WIDTH)
    inside = (k < features)[:, None] & (n < features)[None, :]
    block = tl.load(weight + k[:, None] * along + n[None, :] * across, mask=inside, other=0.0)
    if WIDE:
        block = block.to(REAL)
    return block


# The product of what was sent [ROWS, WIDTH] with the weight. HELD: both are in registers; else both
# are read from memory, PART rows of the weight at a time. SOURCE: where spikes before the step t
# are: `first` [B, N] before the first step, then "rows": numbers, in turn in `turn` rows of the
# other; "bits": its bytes of 8 steps; "numbers": no spikes, but the row t of the other.
@triton.jit
def fed_back(sent, held, first, other, t, turn, SOURCE: tl.constexpr, row_step: tl.int64, weight,
             along, across, features, batch, HELD: tl.constexpr, PRECISION: tl.constexpr,
             WIDE: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, PART: tl.constexpr):
    if HELD:
        fed = tl.dot(sent.to(held.dtype), held, input_precision=PRECISION, out_dtype=REAL)
    else:
        fed = tl.zeros([ROWS, WIDTH], REAL)
        sample = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
        begins = (sample * 0 + t == 0)[:, None]
        before = tl.maximum(t - 1, 0)
        for begin in range(0, WIDTH, PART):
            k = begin + tl.arange(0, PART)
            inside = (sample < batch)[:, None] & (k < features)[None, :]
            place = sample[:, None] * features + k[None, :]
            if SOURCE == "numbers":
                part = tl.load(other + t * row_step + place, mask=inside, other=0.0)
            else:
                given = tl.load(first + place, mask=inside & begins, other=0.0)
                later = inside & (begins == False)
                if SOURCE == "rows":
                    at = other + (before % turn) * row_step + place
                    part = given + tl.load(at, mask=later, other=0.0)
                else:
                    at = other + (before // 8) * row_step + place
                    byte = tl.load(at, mask=later, other=0).to(tl.int32)
                    part = given + ((byte >> (before % 8)) & 1).to(given.dtype)
            by = block_of(weight, begin, along, across, features, WIDE, PART, WIDTH)
            fed = tl.dot(part.to(by.dtype), by, fed, input_precision=PRECISION, out_dtype=REAL)
    return fed


# A program instance has ROWS samples and all N of their neurons, up to WIDTH. first: the spikes
# before the first step, [B, N]; rows: the others as numbers, `turn` rows in turn: all T, y, or two
# for what the next step reads; bits: as bytes of 8 steps [T/8, B, N]; STORE, BITS: which of the two
# are wanted; last: the spikes at the end; everything else as in a scan.
@triton.jit(do_not_specialize=["steps", "segment", "turn"])
def forward(x, bias, starts, parameters, first, weight, rows, turn, last, bits, reals, masks,
            marks, ends, steps, columns, features, batch, width, x_step: tl.int64,
            row_step: tl.int64, segment, KEEP: tl.constexpr, MARK: tl.constexpr,
            BIAS: tl.constexpr, STORE: tl.constexpr, BITS: tl.constexpr, HELD: tl.constexpr,
            PRECISION: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr,
            WIDTH: tl.constexpr, PART: tl.constexpr):
    sample = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    neuron = tl.arange(0, WIDTH)
    j = sample[:, None] * features + neuron[None, :]
    inside = (sample < batch)[:, None] & (neuron < features)[None, :]
{places}
    if BIAS:
        offset = tl.load(bias + neuron, mask=neuron < features, other=0.0)[None, :]
    w = block_of(weight, 0, 1, features, features, WIDE, WIDTH if HELD else PART, WIDTH)
    sent = tl.zeros([ROWS, WIDTH], REAL)
{parameters}
{starts}
    t0 = tl.full([], 0, tl.int32)
    count = steps
{forward}
    tl.store(last + j, sent, mask=inside)
{ends}


# grad_last, dsent: of the spikes at the end, and of those before the first step.
@triton.jit(do_not_specialize=["steps", "segment", "parts"])
def backward(grad, grad_ends, grad_last, x, bias, firsts, parameters, first, weight, bits, reals,
             masks, dx, dstarts, dsent, sums, steps, columns, features, batch, width,
             x_step: tl.int64, grad_step: tl.int64, grad_column, row_step: tl.int64, segment,
             parts, ENDS: tl.constexpr, LAST: tl.constexpr, AGAIN: tl.constexpr,
             BIAS: tl.constexpr, HELD: tl.constexpr, PRECISION: tl.constexpr, WIDE: tl.constexpr,
             ROWS: tl.constexpr, WIDTH: tl.constexpr, PART: tl.constexpr):
    sample = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    neuron = tl.arange(0, WIDTH)
    j = sample[:, None] * features + neuron[None, :]
    inside = (sample < batch)[:, None] & (neuron < features)[None, :]
{places}
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
