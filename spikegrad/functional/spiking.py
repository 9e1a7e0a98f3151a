"""A step without memory: what the article's `SurrogateGradientLinear` puts behind its weights.

s = H(x - threshold)
"""

from __future__ import annotations

import torch
from torch import Tensor

from spikegrad.step.sequence import enter
from spikegrad.surrogate import Surrogate, arctan, spike
from spikegrad.types import Trace, Value

__all__ = ["spiking"]


def spiking(
    x: Tensor,
    *,
    threshold: Value = 1.0,
    surrogate: Surrogate = arctan(2.0),  # noqa: B008  (an immutable record)
    slope: Tensor | None = None,
    trace: bool = False,
) -> Tensor | tuple[Tensor, Trace]:
    """Spike where x reaches the threshold; nothing is remembered between steps.

    x: `[T, B, *features]`; threshold: scalar or broadcastable to `[*features]`.
    Returns spikes of x's shape and dtype; with `trace=True` `(s, Trace)`.

    >>> spiking(torch.tensor([[[0.5, 1.0, 1.5]]])).flatten().tolist()
    [0.0, 1.0, 1.0]
    """
    distance = enter(x, None, object, threshold=threshold) - threshold
    s = spike(distance, surrogate, slope).to(x.dtype)
    return (s, Trace(x, torch.as_tensor(x), distance, s)) if trace else s
