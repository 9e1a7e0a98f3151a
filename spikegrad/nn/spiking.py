"""A memoryless spiking layer. Equation: `functional.spiking`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from spikegrad import kernels
from spikegrad.nn.base import check_slope, record_of, threshold_interval, words
from spikegrad.nn.current import reads_packed
from spikegrad.nn.quantity import Quantity, Size
from spikegrad.nn.tape import Recorded, taped
from spikegrad.surrogate import Surrogate, arctan
from spikegrad.types import Value

__all__ = ["Spiking"]


class Spiking(Recorded):
    """A step without memory, `s = H(x - threshold)`: stateless, returns a tensor.

    The article's `SurrogateGradientLinear` is `Sequential(Linear(n, m), Spiking())`.
    threshold, surrogate, learn ("threshold", "slope"), size: as in `SpikingNeuron`.

    >>> import torch
    >>> Spiking()(torch.tensor([[[0.5, 1.5]]])).flatten().tolist()
    [0.0, 1.0]
    """

    def __init__(
        self,
        threshold: Value = 1.0,
        *,
        surrogate: Surrogate | str = arctan(2.0),  # noqa: B008  (an immutable record)
        learn: str | Iterable[str] = (),
        size: Size = None,
        threshold_bounds: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        self.learn = words(learn, ("threshold", "slope"))
        self.surrogate = record_of(surrogate)
        low, high = threshold_interval(threshold, threshold_bounds, self.learn)
        learned = "threshold" in self.learn
        self.threshold = Quantity(threshold, learn=learned, size=size, low=low, high=high)
        self.slope: Quantity | None = None
        if "slope" in self.learn:
            check_slope(self.surrogate)
            self.slope = Quantity(self.surrogate.slope, learn=True, size=size, low=0.0)

    @reads_packed
    def forward(self, x: Any) -> Any:
        """Spikes of x's shape `[T, B, *features]`."""
        slope = None if self.slope is None else self.slope()
        run = partial(
            kernels.spiking, threshold=self.threshold(), surrogate=self.surrogate, slope=slope
        )
        return taped(run, self.tape, x)

    def extra_repr(self) -> str:
        return f"surrogate={self.surrogate}"
