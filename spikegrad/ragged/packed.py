"""A batch of sequences of different length, in rows: what layers pass on instead of padding."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from spikegrad.errors import UserError, message
from spikegrad.ragged.events import EventRows, Events
from spikegrad.ragged.packing import Packing

__all__ = ["Packed", "padded"]


class Packed:
    """`[T, B, *features]` without its padding.

    packing: how the sequences lie in rows; rows: `[1, R, *features]`, all real steps as the samples
    of one step, which is how layers without memory see them. To everything else it is the padded
    tensor, with zeros as padding: an operation of torch among others gets that, unless it acts on
    every number alone. A change in place is refused, which would change a copy.

    >>> x = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).unsqueeze(-1)
    >>> packed = Packed.of(x, Packing(torch.tensor([1, 2]), steps=2))
    >>> packed.rows.flatten().tolist(), (2 * packed).padded().flatten().tolist()
    ([2.0, 1.0, 4.0], [2.0, 4.0, 0.0, 8.0])
    """

    __slots__ = ("_rows", "_whole", "packing")

    def __init__(self, rows: Any, packing: Packing) -> None:
        self._rows, self.packing = rows, packing
        self._whole: Tensor | EventRows | None = None  # until somebody reads the rows

    @classmethod
    def of(cls, x: Tensor, packing: Packing) -> Packed:
        """The real steps of a padded x `[T, B, *features]`, copied when somebody reads the rows."""
        made = cls(None, packing)
        made._whole = x
        return made

    @classmethod
    def of_events(cls, events: Events, like: Tensor) -> Packed:
        """Events, whose numbers, of the dtype of `like`, are made when somebody reads the rows."""
        packing = Packing(events.lengths, events.shape[0])
        made = cls(None, packing)
        made._whole = events.in_rows(packing, like)
        return made

    @property
    def rows(self) -> Any:
        """All real steps as `[1, R, *features]`."""
        if isinstance(self._whole, EventRows):
            self._rows = self._whole.numbers(self.packing.rows)
        elif self._whole is not None:
            rows, index = self.gathered()
            self._rows = rows.index_select(0, index.to(rows.device)).unsqueeze(0)
        self._whole = None
        return self._rows

    @property
    def like(self) -> Any:
        """The rows, or before anybody has read them a tensor of their kind."""
        x = self._whole
        if x is None:
            return self._rows
        if isinstance(x, EventRows):
            return x.like.new_zeros(()).expand(1, self.packing.rows, x.size)
        size = (1, self.packing.rows, *x.shape[2:])
        return x.detach().new_zeros(()).expand(size).requires_grad_(x.requires_grad)

    def source(self) -> tuple[Tensor, Tensor] | None:
        """Where the rows are to be read, `[rows, N]` and which of them, if nobody has read them and
        nobody wants their gradient.
        """
        x = self._whole
        if not isinstance(x, Tensor) or x.dim() != 3 or x.requires_grad:
            return None
        return self.gathered()

    @property
    def events(self) -> EventRows | None:
        """The events that the rows are to be made of, if nobody has read them."""
        return self._whole if isinstance(self._whole, EventRows) else None

    def gathered(self) -> tuple[Tensor, Tensor]:
        """Rows among which the real steps are, and which they are."""
        x, packing = self._whole, self.packing
        assert isinstance(x, Tensor)
        step, sample = packing.places
        if x.shape[0] > 1 and x.stride(0) == 0:  # the same at every step
            return x[0], sample
        if x.transpose(0, 1).is_contiguous():
            return x.transpose(0, 1).flatten(0, 1), sample * packing.steps + step
        return x.flatten(0, 1), packing.index

    def padded(self) -> Tensor:
        """The whole tensor `[T, B, *features]`, with zeros where there is no step."""
        p, rows = self.packing, torch.squeeze(self.rows, 0)
        whole = rows.new_zeros((p.steps * p.batch, *rows.shape[1:]))
        return whole.index_copy(0, p.index.to(rows.device), rows).unflatten(0, (p.steps, p.batch))

    def map(self, function: Callable[[Any], Any]) -> Packed:
        """The same sequences with other rows."""
        return Packed(function(self.rows), self.packing)

    @property
    def shape(self) -> torch.Size:
        """Of the padded tensor."""
        return torch.Size((self.packing.steps, self.packing.batch, *self.like.shape[2:]))

    def dim(self) -> int:
        """Of the padded tensor."""
        return len(self.shape)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in Packed.__slots__:
            raise AttributeError(name)
        if name in ("dtype", "device", "requires_grad", "is_floating_point"):
            return getattr(self.like, name)
        if name.endswith("_"):
            raise in_place(name)
        return getattr(self.padded(), name)

    def __neg__(self) -> Packed:
        return self.map(torch.neg)

    def __abs__(self) -> Packed:
        return self.map(torch.abs)

    __hash__ = object.__hash__

    def __setitem__(self, *what: Any) -> None:
        raise in_place("x[...] = y")

    def __repr__(self) -> str:
        return f"Packed({list(self.shape)}, lengths {self.packing.lengths.tolist()})"

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        if name.endswith("_") or kwargs.get("inplace") or type(kwargs.get("out")) is Packed:
            raise in_place(name)
        if name in ALONE:
            return alone(partial(function, **kwargs) if kwargs else function, args)
        if name == "linear" and not any(type(a) is Packed for a in args[1:]):
            return args[0].map(lambda rows: function(rows, *args[1:], **kwargs))
        if name in ("cat", "concat") and (made := side_by_side(function, args, kwargs)) is not None:
            return made
        return function(*padded(args), **padded(kwargs))


ALONE = ("add", "sub", "rsub", "mul", "div", "neg", "abs", "relu", "sigmoid", "tanh", "dropout")
"""Operations on every number alone, by torch's names."""
SIGNS = {"add": operator.add, "sub": operator.sub, "mul": operator.mul, "truediv": operator.truediv}
OTHERS = (
    "floordiv rfloordiv mod rmod pow rpow matmul rmatmul and rand or ror xor rxor lt le gt ge eq "
    "ne pos invert bool float int index len iter getitem contains format"
)


def in_place(what: str) -> UserError:
    """A change in place would change a copy."""
    return UserError(
        message(
            "expected no change in place of a sequence that has lengths",
            what,
            "take the result of the operation: h = torch.relu(h)",
        )
    )


def alone(function: Any, args: Any) -> Any:
    """An operation on every number alone: on the rows, where all that enters lies alike."""
    packs = [a for a in args if type(a) is Packed]
    packing = packs[0].packing
    # What stands for a tensor that is not computed yet says its numbers.
    args = tuple(a.numbers() if hasattr(type(a), "numbers") else a for a in args)
    others = [a for a in args if isinstance(a, Tensor)]
    # A tensor that has a batch or a time, not features alone, lies as the padded one.
    if any(a.packing is not packing for a in packs) or (
        others and max(a.dim() for a in others) > min(a.dim() for a in packs) - 2
    ):
        return function(*padded(args))
    return Packed(function(*(a.rows if type(a) is Packed else a for a in args)), packing)


def side_by_side(function: Any, args: Any, kwargs: Any) -> Packed | None:
    """Several along a feature; None along time or batch, or where they lie otherwise."""
    given = dict(zip(("tensors", "dim"), args, strict=False)) | kwargs
    parts, dim = given["tensors"], given.get("dim", 0)
    if not all(type(p) is Packed and p.packing is parts[0].packing for p in parts):
        return None
    dims = parts[0].dim()
    if not 2 <= (dim + dims if dim < 0 else dim) < dims:
        return None
    return Packed(function([p.rows for p in parts], dim), parts[0].packing)


def signed(function: Any, turned: bool) -> Any:
    """A special method of arithmetic."""

    def method(self: Packed, other: Any) -> Any:
        return alone(function, (other, self) if turned else (self, other))

    return method


def on_padded(name: str) -> Any:
    """A special method that the padded tensor has."""

    def method(self: Packed, *others: Any) -> Any:
        return getattr(self.padded(), name)(*padded(others))

    return method


for _name, _sign in SIGNS.items():
    setattr(Packed, f"__{_name}__", signed(_sign, False))
    setattr(Packed, f"__r{_name}__", signed(_sign, True))
for _name in OTHERS.split():
    setattr(Packed, f"__{_name}__", on_padded(f"__{_name}__"))


def padded(values: Any) -> Any:
    """Padded tensors for what is packed, within tuples, lists and dicts; anything else as it is."""
    if type(values) is Packed:
        return values.padded()
    if isinstance(values, dict):
        return {name: padded(value) for name, value in values.items()}
    if isinstance(values, (tuple, list)):
        parts = [padded(value) for value in values]
        return type(values)(*parts) if hasattr(values, "_fields") else type(values)(parts)
    return values
