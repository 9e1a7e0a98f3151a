"""What enters the neurons in Triton: x, with a bias and then a batch norm's two numbers a channel.

    (x + offset) factor + addend

Variables: offset, factor and addend, one for each column; p_offset, the gradient of what is added
last; p_factor, that of the factor, which needs x again. BIAS, NORM: which of them there are.
"""

from __future__ import annotations

__all__ = ["CHANNELS", "entering", "leaving", "sums_at", "sums_stored"]

CHANNELS = """\
channel = j % features // inner
if BIAS:
    offset = tl.load(bias + channel, mask=inside, other=0.0)
if NORM:
    factor = tl.load(scale + channel, mask=inside, other=0.0)
    addend = tl.load(shift + channel, mask=inside, other=0.0)"""
"""Load them: a channel has `inner` neurons."""


def entering(x: str, loaded: str, *, normed: bool) -> list[str]:
    """What enters, from what was loaded of x; normed: whether the program knows NORM."""
    lines = [f"{x} = {loaded}.to(REAL)", "if BIAS:", f"    {x} = {x} + offset"]
    return lines + ["if NORM:", f"    {x} = {x} * factor + addend"] * normed


def leaving(*, normed: bool) -> list[str]:
    """From `into`, the gradient of what enters, to that of x, which is stored."""
    store = "tl.store(dx + t * row_step + j, into, mask=inside)"
    if not normed:
        return [store, "if BIAS:", "    p_offset = p_offset + into"]
    return [
        "if BIAS or NORM:",
        "    p_offset = p_offset + into",
        "if NORM:",
        "    entered = x0_0.to(REAL)",
        "    if BIAS:",
        "        entered = entered + offset",
        "    p_factor = p_factor + into * entered",
        "    into = into * factor",
        store,
    ]


def sums_at(zeros: str, *, normed: bool) -> list[str]:
    """The sums before the last step."""
    if not normed:
        return ["if BIAS:", f"    p_offset = {zeros}"]
    return ["if BIAS or NORM:", f"    p_offset = {zeros}", "if NORM:", f"    p_factor = {zeros}"]


def sums_stored(learned: int, *, normed: bool) -> list[str]:
    """Store the sums behind those of the learned parameters."""
    first, second = (f"tl.store(sums + {learned + n} * columns + j" for n in (0, 1))
    if not normed:
        return ["if BIAS:", f"    {first}, p_offset, mask=inside)"]
    return [
        "if BIAS or NORM:",
        f"    {first}, p_offset, mask=inside)",
        "if NORM:",
        f"    {second}, p_factor, mask=inside)",
    ]
