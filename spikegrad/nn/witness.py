"""What `explain` has a run write down: which layers ran together, how, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from spikegrad.ragged import Packed

__all__ = ["Seen", "Witness"]


@dataclass(eq=False)
class Seen:
    """Layers that ran in one call.

    what: a fused block, or the layer; how: what its kernel chose, or why it ran by itself; x: what
    came in, of sequences of different length their rows; forward, backward: seconds; backward None
    where no gradient arrived.
    """

    layers: tuple[nn.Module, ...]
    what: Any
    how: Any
    x: Any
    forward: float
    backward: float | None = None

    def __post_init__(self) -> None:
        self.x = rows_of(self.x)


def rows_of(x: Any) -> Any:
    """The rows of packed sequences; anything else as it is."""
    return x.rows if type(x) is Packed else x


class Witness(list[Any]):
    """A list of `Seen` in the order of the run; containers append pairs, `watch` completes them."""

    on_its_way: Seen | None = None
    since: float = 0.0

    def watch(self, run: Callable[..., Any], layers: Any, at: int, x: Any, *rest: Any) -> Any:
        """One step of a container, timed."""
        start, began = len(self), time.perf_counter()
        out = run(layers, at, x, *rest)
        took = time.perf_counter() - began
        inside = [each for each in self[start:] if isinstance(each, Seen)]
        told = [each for each in self[start:] if not isinstance(each, Seen)]
        del self[start:]
        self.extend(inside)
        if told and not inside:  # a container is told of by what ran in it
            ran = tuple(what for what, _ in told if isinstance(what, nn.Module))
            self.saw(Seen(ran, told[0][0], told[0][1], x, took), out[0])
        return out

    def saw(self, seen: Seen, y: Any) -> None:
        """Keep one call; the clock of its backward pass starts when the gradient of y arrives."""
        self.append(seen)
        places: list[Any]
        y = rows_of(y)
        if isinstance(y, Tensor):
            places = [y]
        else:  # spikes and membranes, or what two layers pass on
            places = [y.edge, getattr(y, "steady", None)] if hasattr(y, "edge") else list(y)
        for place in places:
            if place is not None and place.requires_grad:
                place.register_hook(lambda _: self.arrived(seen))

    def arrived(self, seen: Seen | None) -> None:
        """A gradient has arrived: the call whose gradient was on its way until now is done."""
        now = time.perf_counter()
        if self.on_its_way is not None:
            self.on_its_way.backward = (self.on_its_way.backward or 0.0) + now - self.since
        self.on_its_way, self.since = seen, now
