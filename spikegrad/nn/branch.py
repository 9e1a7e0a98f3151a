"""Paths side by side, for lists of layers: skip connections and branches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from spikegrad.checks import check_choice
from spikegrad.errors import UserError, message
from spikegrad.nn.module import Module
from spikegrad.nn.sequential import Sequential

__all__ = ["Branch", "Join", "Residual"]

Join: TypeAlias = Literal["add", "and", "iand", "concat"]
Path: TypeAlias = nn.Module | Iterable[nn.Module] | None

JOINS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": lambda a, b: a + b,
    "and": lambda a, b: a * b,
    "iand": lambda a, b: (1.0 - a) * b,
}


class Branch(Module):
    """Paths from one input, joined: `Branch(*paths, join="add")(x, states=None)`.

    paths: layers, lists of layers, or None for the input itself; join, of outputs `[T, B, *]`:
    "add", "and" (their product), "iand" (of two: (1 - first) * second), or "concat" along the
    first feature.
    Raises UserError for fewer than two paths and for outputs that do not fit together.

    >>> import torch
    >>> from spikegrad.nn import LIF, Linear
    >>> block = Branch([Linear(4, 3), LIF(20.0)], [Linear(4, 2), LIF(5.0)], join="concat")
    >>> block(torch.rand(5, 2, 4))[0].shape
    torch.Size([5, 2, 5])
    """

    def __init__(self, *paths: Path, join: Join = "add") -> None:
        super().__init__()
        check_choice(join, "join", get_args(Join))
        if len(paths) < 2 or (join == "iand" and len(paths) > 2):
            wanted = "two paths" if join == "iand" else "two paths or more"
            raise UserError(message(f"expected {wanted} with join={join!r}", str(len(paths))))
        self.join = join
        self.paths = nn.ModuleList(as_layers(path) for path in paths)

    def flow(self, x: Tensor) -> Tensor:
        """The joined outputs over x `[T, B, *features]`."""
        outputs = [path(x) if next(path.children(), None) is not None else x for path in self.paths]
        shapes = [list(y.shape) for y in outputs]
        if self.join == "concat":
            fit = all([*s[:2], *s[3:]] == [*shapes[0][:2], *shapes[0][3:]] for s in shapes)
        else:
            fit = all(s == shapes[0] for s in shapes)
        if not fit:
            said = " and ".join(f"{s} of path {k}" for k, s in enumerate(shapes))
            expected = f"expected outputs that {self.join!r} can join"
            remedy = "give the paths layers with equal output sizes, for a skip connection too"
            raise UserError(message(expected, said, remedy))
        if self.join == "concat":
            return torch.cat(outputs, dim=2)
        return reduce(JOINS[self.join], outputs)

    def extra_repr(self) -> str:
        return f"join={self.join!r}"


class Residual(Branch):
    """Layers with a skip connection beside them: `Residual(body, skip=None, join="add")`.

    body, skip: a layer or a list of layers; skip None is the input itself; join: of the body's
    output and the skip's. Of spikes "add" counts both, and "and" and "iand" are spikes again, as in
    the spike-element-wise (SEW) block.

    Source: Fang, Yu, Chen, Huang, Masquelier & Tian (2021), "Deep residual learning in spiking
    neural networks", NeurIPS, section 3.2.

    >>> import torch
    >>> from spikegrad.nn import LIF, Linear
    >>> block = Residual([Linear(4, 4), LIF(20.0)])
    >>> y, states = block(torch.rand(5, 2, 4))
    >>> y.shape, list(states)
    (torch.Size([5, 2, 4]), ['paths.0'])
    """

    def __init__(self, body: Path, skip: Path = None, *, join: Join = "add") -> None:
        if body is None:
            raise UserError(message("expected a body of Residual", "None", "pass layers"))
        super().__init__(body, skip, join=join)


def as_layers(path: Any) -> Sequential:
    """A path as layers in a row, none for the input itself."""
    if path is None:
        return Sequential()
    if isinstance(path, Sequential):
        return path
    layers = [path] if isinstance(path, nn.Module) else path
    if not isinstance(layers, Iterable):
        expected = "expected a path as a layer, a list of layers or None"
        raise TypeError(message(expected, type(path).__name__))
    return Sequential(*layers)
