"""The Triton around the statements of one step: loops over time, memory, entry points."""

__all__ = ["BACKWARD_STEPS", "FORWARD_STEPS", "TEMPLATE"]

TEMPLATE = '''"""Generated from the step {name}."""

import triton
import triton.language as tl
from triton.language.extra import libdevice

REAL = tl.constexpr({type})


# States, parameters and what is kept are numbered as in the graph's program. A program instance has
# BLOCK columns of the flat [B*N]; row_step: columns as a 64-bit number, the distance of two steps.
# x lies as [T, B, inputs*N], kept values as [T, values, B*N], masks as bytes of 8 steps
# [T/8, masks, B*N]; PACK: so do the spikes, [T/8, B*N], instead of numbers y. BIAS: bias `[C]`
# is added to x, then NORM: the sum times scale `[C]` plus shift `[C]`; a channel has `inner`
# neurons.
@triton.jit(do_not_specialize=["steps", "segment"])
def forward(x, noise, bias, scale, shift, starts, parameters, y, membrane, bits, reals, masks,
            marks, ends, steps, columns, features, inner, width, x_step: tl.int64,
            row_step: tl.int64, segment, KEEP: tl.constexpr, MARK: tl.constexpr,
            BIAS: tl.constexpr, NORM: tl.constexpr, PACK: tl.constexpr, BLOCK: tl.constexpr):
    j = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = j < columns
{places}
{parameters}
{starts}
    t0 = tl.full([], 0, tl.int32)
    count = steps
{forward}
{ends}


# firsts: the states at the start of each of the parts `[parts, states, B*N]`, each of `segment`
# steps. AGAIN: what was kept of a part is computed again into reals and masks, which have one part.
# The sums are those of the learned parameters, then of what is added last, then of the scale.
@triton.jit(do_not_specialize=["steps", "segment", "parts"])
def backward(grad, grad_membrane, grad_ends, x, noise, bias, scale, shift, firsts, parameters,
             reals, masks, dx, dstarts, sums, steps, columns, features, inner, width,
             x_step: tl.int64, grad_step: tl.int64, grad_column, grad_membrane_step: tl.int64,
             grad_membrane_column, row_step: tl.int64, segment, parts, ENDS: tl.constexpr,
             AGAIN: tl.constexpr, BIAS: tl.constexpr, NORM: tl.constexpr, BLOCK: tl.constexpr):
    j = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = j < columns
{places}
{parameters}
{carries}
    for done in range(parts):
        part = parts - 1 - done
        t0 = part * segment
        count = tl.minimum(segment, steps - t0)
        row = firsts + part * {states} * row_step
{marks}
        if AGAIN:
{again}
            # Another thread may load what this one has stored.
            tl.debug_barrier()
{backward}
        if AGAIN:
            tl.debug_barrier()
{results}
'''

FORWARD_STEPS = """{first}
for i in range(count):
    t = t0 + i
{next}
{mark}
{body}
{shift}"""

BACKWARD_STEPS = """{first}
for back in range(count):
    i = count - 1 - back
    t = t0 + i
{next}
{body}
{shift}"""
