"""q-pseudospike: `g(x) = k (1 + 2k|x|/(q-1))^(-q)`, a tail of any power."""

from __future__ import annotations

import torch
from torch import Tensor

from spikegrad.surrogate.built_in import built_in
from spikegrad.surrogate.family import Interval
from spikegrad.surrogate.record import Normalisation, Surrogate

__all__ = ["q_pseudospike"]


def derivative(z: Tensor, *, q: float) -> Tensor:
    return (1.0 + (2.0 / (q - 1.0)) * z.abs()) ** -q


def primitive(z: Tensor, *, q: float) -> Tensor:
    tail = (1.0 + (2.0 / (q - 1.0)) * z.abs()) ** (1.0 - q)
    return 0.5 + 0.5 * torch.sign(z) * (1.0 - tail)


@built_in(
    formula="(1 + 2|z|/(q-1))^(-q)",
    source="Herranz-Celotti & Rouat 2022, arXiv:2202.00282",
    derivative=derivative,
    primitive=primitive,
    kinks=(0.0,),
    peak=1.0,
    fwhm=lambda q: (q - 1.0) * (2.0 ** (1.0 / q) - 1.0),
    lipschitz=lambda q: 2.0 * q / (q - 1.0),
    within={"q": Interval(1.0)},
)
def q_pseudospike(
    slope: float = 1.0,
    *,
    q: float = 2.0,
    normalisation: Normalisation = "area",
    gain: float = 1.0,
) -> Surrogate:
    """q-pseudospike: `g(x) = k (1 + 2k|x|/(q-1))^(-q)`, a tail of any power.

    Args:
        slope: k (1/unit of x), larger is sharper: the peak is k, whatever q is.
        q: the power of the tail, above 1.
        normalisation: "area" or "peak" (the maximum is 1).
        gain: a factor, finite and positive.
    Returns:
        the record, for x = u - theta of any shape.
    Raises:
        UserError: slope, q or gain out of range.
        TypeError: one that is no number.

    Source: Herranz-Celotti & Rouat 2022.

    >>> q_pseudospike(1.0, q=3.0)
    q_pseudospike(slope=1.0, q=3.0)
    """
    return Surrogate("q_pseudospike", slope, normalisation, gain, parameters=(("q", q),))
