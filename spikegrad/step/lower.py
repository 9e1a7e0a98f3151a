"""From torch's operations to those of a `Graph`, and the reason where there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from spikegrad.step.graph import Graph

__all__ = ["NotLowered", "lowered"]


class NotLowered(Exception):
    """A step that has no graph; the message says which operation and why."""


Value = int
Rule = Callable[..., Value]

SAME = {  # one operation of ours each
    "neg": "neg",
    "reciprocal": "reciprocal",
    "abs": "abs",
    "sqrt": "sqrt",
    "exp": "exp",
    "expm1": "expm1",
    "log": "log",
    "log1p": "log1p",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "sin": "sin",
    "cos": "cos",
    "atan": "atan",
    "erf": "erf",
    "floor": "floor",
    "ceil": "ceil",
    "trunc": "trunc",
    "round": "round",
    "mul": "mul",
    "div": "div",
    "maximum": "maximum",
    "minimum": "minimum",
    "ge": "ge",
    "gt": "gt",
    "le": "le",
    "lt": "lt",
    "eq": "eq",
    "ne": "ne",
    "logical_and": "and",
    "bitwise_and": "and",
    "logical_or": "or",
    "bitwise_or": "or",
    "logical_not": "not",
    "bitwise_not": "not",
    "where": "where",
}
THROUGH = (  # the same value, seen otherwise
    "alias",
    "detach",
    "clone",
    "view",
    "_unsafe_view",
    "expand",
    "expand_copy",
    "lift_fresh_copy",
    "lift_fresh",
)
FILLED = {"zeros_like": 0.0, "ones_like": 1.0, "new_zeros": 0.0, "new_ones": 1.0, "zeros": 0.0,
          "ones": 1.0}  # fmt: skip
RANDOM = ("rand", "randn", "bernoulli", "normal", "uniform", "randint", "native_dropout")
BETWEEN = ("sum", "mean", "mm", "addmm", "matmul", "bmm", "cumsum", "amax", "amin", "max", "min",
           "sort", "roll", "flip", "cat", "index", "gather", "select", "slice", "var")  # fmt: skip


def lowered(
    module: fx.GraphModule, inputs: list[str], outputs: list[str], dtype: torch.dtype
) -> Graph:
    """The graph of a function traced in a dtype, whose arguments and results have these names.

    A result that is None has no entry in the outputs. Raises NotLowered.
    """
    graph = Graph(dtype=dtype)
    values: dict[fx.Node, Value] = {}
    names = iter(inputs)
    for node in module.graph.nodes:
        if node.op == "placeholder":
            values[node] = graph.add("input", name=next(names))
        elif node.op == "get_attr":
            values[node] = kept_tensor(graph, module, node)
        elif node.op == "call_function":
            values[node] = call(graph, node, values)
        elif node.op == "output":
            found = dict(zip(outputs, node.args[0], strict=True))
            graph.outputs = {name: values[v] for name, v in found.items() if v is not None}
    return graph


def kept_tensor(graph: Graph, module: fx.GraphModule, node: fx.Node) -> Value:
    """A tensor that the step did not get as an argument: a number that it writes, or refused.

    One from outside may change, or be learned, and the kernel would not see it.
    """
    tensor = getattr(module, str(node.target))
    own = tensor.numel() == 1 and not tensor.requires_grad
    if not own or any(named(user) not in ("lift_fresh_copy", "lift_fresh") for user in node.users):
        raise NotLowered(
            f"it keeps a tensor of shape {list(tensor.shape)}; declare it as a parameter"
        )
    return graph.constant(tensor.item())


def named(node: fx.Node) -> str:
    """The name of torch's operation, without namespace and overload."""
    return str(getattr(node.target, "overloadpacket", node.target)).split(".")[-1]


def call(graph: Graph, node: fx.Node, values: dict[fx.Node, Value]) -> Value:
    """One operation of torch."""
    name = named(node)

    def value(arg: Any) -> Value:
        if isinstance(arg, fx.Node):
            return values[arg]
        if isinstance(arg, (bool, int, float)):
            return graph.constant(float(arg))
        raise NotLowered(f"{name} with the argument {arg!r} has no native form")

    if name in THROUGH:
        return value(node.args[0])
    if name in FILLED:
        return graph.constant(FILLED[name])
    if name in ("full", "full_like", "new_full"):
        return value(node.args[-1])
    if name == "scalar_tensor":
        return value(node.args[0])
    if name == "_to_copy":
        return converted(graph, node, value(node.args[0]))
    if name in SAME and "alpha" not in node.kwargs and "rounding_mode" not in node.kwargs:
        return plain(graph, SAME[name], [value(arg) for arg in node.args])
    if name in RULES:
        return RULES[name](graph, value, *node.args, **node.kwargs)
    if any(name.startswith(word) for word in RANDOM):
        raise NotLowered(f"{name} draws random numbers; hand them in as part of the input")
    if name in BETWEEN:
        raise NotLowered(f"{name} mixes neurons; a step is elementwise over neurons")
    raise NotLowered(f"{name} has no native form")


def plain(graph: Graph, op: str, args: list[Value]) -> Value:
    """An operation of ours on values of the kinds that it takes."""
    if op in ("and", "or", "not"):
        return graph.add(op, *(as_mask(graph, arg) for arg in args))
    if op == "where":
        return graph.add(op, as_mask(graph, args[0]), *(as_real(graph, arg) for arg in args[1:]))
    return graph.add(op, *(as_real(graph, arg) for arg in args))


def as_real(graph: Graph, k: Value) -> Value:
    """A mask as 1 and 0."""
    return graph.add("real", k) if graph.nodes[k].is_mask else k


def as_mask(graph: Graph, k: Value) -> Value:
    """A number as whether it is not 0."""
    return k if graph.nodes[k].is_mask else graph.add("ne", k, graph.constant(0.0))


def converted(graph: Graph, node: fx.Node, k: Value) -> Value:
    """Another dtype: masks become numbers and numbers masks; whole numbers are refused, and other
    floating-point numbers, since a kernel rounds every value to the input's dtype.
    """
    dtype: Any = node.kwargs.get("dtype")
    if dtype == torch.bool:
        return as_mask(graph, k)
    if dtype is None or dtype == graph.dtype:
        return as_real(graph, k)
    if not dtype.is_floating_point:
        raise NotLowered(f"it converts to {dtype}; use torch.floor, round or trunc")
    if not graph.nodes[k].is_mask:
        raise NotLowered(f"it computes in {dtype}; a step keeps the dtype of its input")
    return as_real(graph, k)


def add(graph: Graph, value: Callable[[Any], Value], a: Any, b: Any, alpha: float = 1) -> Value:
    return scaled_sum(graph, "add", value(a), value(b), alpha)


def sub(graph: Graph, value: Callable[[Any], Value], a: Any, b: Any, alpha: float = 1) -> Value:
    return scaled_sum(graph, "sub", value(a), value(b), alpha)


def rsub(graph: Graph, value: Callable[[Any], Value], a: Any, b: Any, alpha: float = 1) -> Value:
    return scaled_sum(graph, "sub", value(b), value(a), alpha)


def scaled_sum(graph: Graph, op: str, a: Value, b: Value, alpha: float) -> Value:
    if alpha != 1:
        b = plain(graph, "mul", [b, graph.constant(alpha)])
    return plain(graph, op, [a, b])


def clamp(graph: Graph, value: Callable[[Any], Value], x: Any, low: Any = None, high: Any = None,
          **named: Any) -> Value:  # fmt: skip
    low, high = named.get("min", low), named.get("max", high)
    k = value(x)
    if low is not None:
        k = plain(graph, "maximum", [k, value(low)])
    return k if high is None else plain(graph, "minimum", [k, value(high)])


def clamp_max(graph: Graph, value: Callable[[Any], Value], x: Any, high: Any) -> Value:
    return clamp(graph, value, x, None, high)


def relu(graph: Graph, value: Callable[[Any], Value], x: Any) -> Value:
    return clamp(graph, value, x, 0.0)


def rsqrt(graph: Graph, value: Callable[[Any], Value], x: Any) -> Value:
    return graph.add("reciprocal", plain(graph, "sqrt", [value(x)]))


def sign(graph: Graph, value: Callable[[Any], Value], x: Any) -> Value:
    k, zero = as_real(graph, value(x)), graph.constant(0.0)
    above, below = graph.add("gt", k, zero), graph.add("lt", k, zero)
    return plain(graph, "sub", [above, below])


def square(graph: Graph, value: Callable[[Any], Value], x: Any) -> Value:
    return plain(graph, "mul", [value(x)] * 2)


def power(graph: Graph, value: Callable[[Any], Value], x: Any, exponent: Any) -> Value:
    """Small powers as products, as torch computes them."""
    k = as_real(graph, value(x))
    if exponent == 2:
        return graph.add("mul", k, k)
    if exponent == 3:
        return graph.add("mul", graph.add("mul", k, k), k)
    if exponent == 1:
        return k
    if exponent == 0.5:
        return graph.add("sqrt", k)
    if exponent == -1:
        return graph.add("reciprocal", k)
    if exponent == -2:
        return graph.add("reciprocal", graph.add("mul", k, k))
    return plain(graph, "pow", [k, value(exponent)])


RULES: dict[str, Rule] = {
    "add": add,
    "sub": sub,
    "rsub": rsub,
    "clamp": clamp,
    "clamp_min": clamp,
    "clamp_max": clamp_max,
    "relu": relu,
    "rsqrt": rsqrt,
    "sign": sign,
    "square": square,
    "pow": power,
}
