"""From a batch of samples to the input sequence of a network."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from spikegrad.errors import UserError, message, unknown
from spikegrad.functional import encode

__all__ = ["ENCODERS", "Encoder"]

ENCODERS = ("direct", "poisson", "latency", "delta")
"""Every encoder by name."""


@dataclass(frozen=True)
class Encoder:
    """A batch `[B, *features]` or `[B, T, *features]` as the sequence `[T, B, *shape]`.

    Args:
        name: for static values "direct" (the same at every step, as a view), "poisson" or
            "latency"; for sequences "direct" (time and batch change places) or "delta".
        steps: T for static values; sequences have their own.
        sequence: whether samples have time as their first axis.
        shape: what the network reads per step: `(-1,)` flattens, None leaves the features alone.
    Raises:
        UserError: an unknown name, or one that does not go with the kind of samples.

    >>> import torch
    >>> Encoder("direct", steps=5, shape=(-1,))(torch.rand(2, 28, 28)).shape
    torch.Size([5, 2, 784])
    """

    name: str = "direct"
    steps: int = 10
    sequence: bool = False
    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.name not in ENCODERS:
            raise UserError(unknown("encoder", self.name, ENCODERS))
        fitting = ("direct", "delta") if self.sequence else ("direct", "poisson", "latency")
        if self.name not in fitting:
            kind = "sequences" if self.sequence else "static samples"
            expected = f"expected encoder {' or '.join(fitting)} for {kind}"
            raise UserError(message(expected, self.name))

    def __call__(self, x: Tensor) -> Tensor:
        """The input sequence `[T, B, *shape]` of a batch."""
        if x.dim() < (3 if self.sequence else 2):
            form = "[B, T, *features]" if self.sequence else "[B, *features]"
            raise UserError(message(f"expected a batch {form}", str(list(x.shape))))
        leading = 2 if self.sequence else 1
        if self.shape is not None:
            x = x.reshape(*x.shape[:leading], *self.shape)
        if self.sequence:
            x = x.transpose(0, 1)
            return encode.delta(x) if self.name == "delta" else x
        if self.name == "poisson":
            return encode.poisson(x, self.steps)
        if self.name == "latency":
            return encode.latency(x, self.steps)
        return encode.direct(x, self.steps)
