"""Triangle: `g(x) = k max(0, 1 - k|x|)`."""

from __future__ import annotations

import torch
from torch import Tensor

from spikegrad.surrogate.built_in import built_in
from spikegrad.surrogate.record import Normalisation, Surrogate

__all__ = ["triangle"]


def derivative(z: Tensor) -> Tensor:
    return torch.relu(1.0 - z.abs())


def primitive(z: Tensor) -> Tensor:
    z = z.clamp(-1.0, 1.0)
    return 0.5 + z - 0.5 * z * z.abs()


@built_in(
    formula="max(0, 1 - |z|)",
    source="Esser et al. 2016, PNAS 113(41); Bellec et al. 2018, NeurIPS, arXiv:1803.09574",
    derivative=derivative,
    primitive=primitive,
    kinks=(-1.0, 0.0, 1.0),
    peak=1.0,
    fwhm=1.0,
    lipschitz=1.0,
)
def triangle(
    slope: float = 1.0, *, normalisation: Normalisation = "area", gain: float = 1.0
) -> Surrogate:
    """Triangle: `g(x) = k max(0, 1 - k|x|)`.

    Args:
        slope: k (1/unit of x), larger is sharper: beyond 1/k the derivative is 0.
        normalisation: "area" or "peak" (the maximum is 1).
        gain: a factor, finite and positive.
    Returns:
        the record, for x = u - theta of any shape.
    Raises:
        UserError: slope or gain out of range.
        TypeError: one that is no number.

    Source: Esser et al. 2016; Bellec et al. 2018.

    >>> triangle(2.0).support
    0.5
    """
    return Surrogate("triangle", slope, normalisation, gain)
