"""One operation of a graph in Triton, rounded as torch rounds it."""

from __future__ import annotations

import math

from spikegrad.step.graph import Node

__all__ = ["expression"]

INFIX = {"add": "+", "sub": "-", "mul": "*", "ge": ">=", "gt": ">", "le": "<=", "lt": "<",
         "eq": "==", "ne": "!=", "and": "&", "or": "|"}  # fmt: skip
LIBRARY = ("exp", "expm1", "log", "log1p", "tanh", "sin", "cos", "atan", "erf", "pow")
SIMPLE = {
    # Minus in Triton is 0 - x, whose zero has another sign.
    "neg": "{0} * -1.0",
    "abs": "tl.abs({0})",
    "floor": "tl.floor({0})",
    "ceil": "tl.ceil({0})",
    "trunc": "tl.where({0} < 0.0, tl.ceil({0}), tl.floor({0}))",
    # Of NaN and a number the result is NaN, as in torch.
    "maximum": "tl.where(({0} >= {1}) | ({0} != {0}), {0}, {1})",
    "minimum": "tl.where(({0} <= {1}) | ({0} != {0}), {0}, {1})",
    "where": "tl.where({0}, {1}, {2})",
    "not": "{0} == False",
    "real": "{0}.to(REAL)",
    "round": "libdevice.rint({0})",
}


def expression(node: Node, args: list[str], *, double: bool) -> str:
    """An operation that is no input; args: how its arguments are called; double: in float64.

    >>> expression(Node("add", (0, 1)), ["a", "b"], double=False)
    'a + b'
    """
    op, one = node.op, "tl.full([], 1.0, REAL)"
    if op == "constant":
        return f"tl.full([], {number(node.value)}, REAL)"
    if op in INFIX:
        return f"{args[0]} {INFIX[op]} {args[1]}"
    if op in LIBRARY:
        return f"libdevice.{op}({', '.join(args)})"
    if op in SIMPLE:
        return SIMPLE[op].format(*args)
    if op == "sigmoid":
        return divided(one, f"(1.0 + libdevice.exp({args[0]} * -1.0))", double)
    if op == "sqrt":
        return f"tl.sqrt({args[0]})" if double else f"tl.sqrt_rn({args[0]})"
    return divided(one if op == "reciprocal" else args[0], args[-1], double)


def divided(a: str, b: str, double: bool) -> str:
    """A quotient, rounded correctly: `/` of float32 is not."""
    return f"{a} / {b}" if double else f"tl.div_rn({a}, {b})"


def number(value: float) -> str:
    """A constant in Triton."""
    return repr(value) if math.isfinite(value) else f'float("{value}")'
