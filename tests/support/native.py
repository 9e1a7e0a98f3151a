"""What tests of the native kernels need around a call: routes, poison, threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import deterministic
from torch.utils._python_dispatch import TorchDispatchMode

from spikegrad.kernels import cpu
from spikegrad.kernels.cpu.crossover import Crossover, table, using

__all__ = [
    "CHECKS",
    "Seen",
    "detached",
    "forced",
    "needs_kernels",
    "poisoned",
    "same_layout",
    "threads",
]

needs_kernels = pytest.mark.skipif(bool(cpu.load()), reason=f"no native kernels: {cpu.load()}")

CHECKS = ("test_schema", "test_autograd_registration", "test_faketensor")
"""What `opcheck` is asked for: outputs may hold places that nobody wrote."""

ROUTES = {"events": 1e6, "dense": -1.0}


@contextmanager
def forced(
    forward: str | None, weight: str | None = None, input: str | None = None
) -> Iterator[None]:
    """Follow the spikes ("events") or never ("dense"), per product; None: the kernels' choice."""
    words = (forward, weight or forward, input or weight or forward)
    with using(Forced(table(), words)):
        yield


class Forced(NamedTuple):
    """A crossover table with some of its shares replaced."""

    own: Any
    words: tuple[str | None, ...]

    def at(self, inputs: int, outputs: int) -> Crossover:
        own = self.own.at(inputs, outputs)
        pairs = zip(own, self.words, strict=True)
        return Crossover(*(s if w is None else ROUTES[w] for s, w in pairs))


@contextmanager
def poisoned() -> Iterator[None]:
    """Every buffer of the kernels, and every `torch.empty`, starts full of NaN."""
    before = torch.are_deterministic_algorithms_enabled(), deterministic.fill_uninitialized_memory
    torch.ops.spikegrad.pool_poison(True)
    torch.use_deterministic_algorithms(True)
    deterministic.fill_uninitialized_memory = True
    try:
        yield
    finally:
        torch.ops.spikegrad.pool_poison(False)
        torch.use_deterministic_algorithms(before[0])
        deterministic.fill_uninitialized_memory = before[1]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads of torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Seen(TorchDispatchMode):
    """The calls of our operators, with their arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...]]] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.namespace == "spikegrad" and "register" not in function.name():
            self.calls.append((function, args))
        return function(*args, **(kwargs or {}))


def named(function: Any, args: tuple[Any, ...]) -> dict[str, Any]:
    """The arguments of a seen call by their names."""
    return dict(zip((a.name for a in function._schema.arguments), args, strict=False))


def detached(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Arguments as leaves of their own, strides kept."""
    return tuple(
        a.detach().requires_grad_(a.is_floating_point()) if isinstance(a, torch.Tensor) else a
        for a in args
    )


def same_layout(function: Any, args: tuple[Any, ...]) -> bool:
    """Whether what a trace believes of the results' strides is true: `opcheck` does not ask."""
    real = function(*args)
    with FakeTensorMode() as mode:
        fake = function(*(mode.from_tensor(a) if isinstance(a, torch.Tensor) else a for a in args))
    return all(a.stride() == b.stride() for a, b in zip(real, fake, strict=True) if a.numel())
