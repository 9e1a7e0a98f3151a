"""The built-in families, each as its paper writes it, at slope 1 and (where finite) unit area.

All are functions of z = slope * (u - theta). The table with peaks, widths and tails is in
docs/surrogates.md.
"""

from __future__ import annotations

import math

import torch

from spikegrad.errors import UserError, unknown
from spikegrad.surrogate import shapes
from spikegrad.surrogate.family import Family, Parameter

__all__ = ["FAMILIES", "find"]

_BUILT_IN = (
    Family(
        "arctan",
        formula="(1/π) / (1 + z²)",
        source="Fang et al. 2021, ICCV, arXiv:2007.05785",
        derivative=shapes.arctan,
        primitive=shapes.arctan_primitive,
        peak=lambda: 1.0 / math.pi,
        default_slope=2.0,
    ),
    Family(
        "sigmoid",
        formula="σ(z) (1 - σ(z)), σ(z) = 1/(1 + exp(-z))",
        source="Zenke & Vogels 2021, Neural Computation 33(4), 899-925",
        derivative=shapes.sigmoid,
        primitive=torch.sigmoid,
        peak=lambda: 0.25,
        default_slope=4.0,
    ),
    Family(
        "fast_sigmoid",
        formula="1 / (2 (1 + |z|)²)",
        source="Zenke & Ganguli 2018, Neural Computation 30(6), 1514-1541",
        derivative=shapes.fast_sigmoid,
        primitive=shapes.fast_sigmoid_primitive,
        peak=lambda: 0.5,
        kinks=(0.0,),
        default_slope=2.0,
    ),
    Family(
        "triangle",
        formula="max(0, 1 - |z|)",
        source="Esser et al. 2016, PNAS 113(41); Bellec et al. 2018, NeurIPS, arXiv:1803.09574",
        derivative=shapes.triangle,
        primitive=shapes.triangle_primitive,
        peak=lambda: 1.0,
        support=1.0,
        kinks=(-1.0, 0.0, 1.0),
        default_slope=1.0,
    ),
    Family(
        "boxcar",
        formula="1/2 where |z| <= 1, else 0",
        source="Wu et al. 2018, Frontiers in Neuroscience 12:331",
        derivative=shapes.boxcar,
        primitive=shapes.boxcar_primitive,
        peak=lambda: 0.5,
        support=1.0,
        kinks=(-1.0, 1.0),
        jumps=True,
        default_slope=1.0,
    ),
    Family(
        "gaussian",
        formula="exp(-z²) / √π",
        source="Wu et al. 2018, Frontiers in Neuroscience 12:331; Yin et al. 2020, ICONS",
        derivative=shapes.gaussian,
        primitive=shapes.gaussian_primitive,
        peak=lambda: 1.0 / math.sqrt(math.pi),
        default_slope=2.0,
    ),
    Family(
        "exponential",
        formula="exp(-|z|) / 2",
        source="Shrestha & Orchard 2018 (SLAYER), NeurIPS, arXiv:1810.08646",
        derivative=shapes.exponential,
        primitive=shapes.exponential_primitive,
        peak=lambda: 0.5,
        kinks=(0.0,),
        default_slope=2.0,
    ),
    Family(
        "algebraic",
        formula="(1 + z²)^(-3/2) / 2",
        source="the derivative of z/√(1 + z²), an algebraic sigmoid; no paper claims it",
        derivative=shapes.algebraic,
        primitive=shapes.algebraic_primitive,
        peak=lambda: 0.5,
        default_slope=2.0,
    ),
    Family(
        "multi_gaussian",
        formula="((1+h) φ(z) - h φ((z-1)/s)/s - h φ((z+1)/s)/s) / (1-h), φ the normal density",
        source="Yin, Corradi & Bohte 2021, Nature Machine Intelligence 3, 905-913",
        derivative=shapes.multi_gaussian,
        primitive=shapes.multi_gaussian_primitive,
        peak=shapes.multi_gaussian_peak,
        default_slope=2.0,
        parameters={
            "h": Parameter(0.15, low=0.0, high=1.0, closed=True),
            "s": Parameter(6.0, low=1.0, closed=True),
        },
    ),
    Family(
        "q_pseudospike",
        formula="(1 + 2|z|/(q-1))^(-q)",
        source="Herranz-Celotti & Rouat 2022, arXiv:2202.00282",
        derivative=shapes.q_pseudospike,
        primitive=shapes.q_pseudospike_primitive,
        peak=lambda q: 1.0,
        kinks=(0.0,),
        default_slope=1.0,
        parameters={"q": Parameter(2.0, low=1.0)},
    ),
    Family(
        "leaky",
        formula="1/2 where |z| <= 1, else leak",
        source="piecewise leaky ReLU; Yin et al. 2017, arXiv:1706.03609",
        derivative=shapes.leaky,
        primitive=shapes.leaky_primitive,
        peak=lambda leak: 0.5,
        area=math.inf,
        kinks=(-1.0, 1.0),
        jumps=True,
        default_slope=1.0,
        parameters={"leak": Parameter(0.01, low=0.0, high=0.5)},
    ),
    Family(
        "straight_through",
        formula="1",
        source="Bengio, Léonard & Courville 2013, arXiv:1308.3432",
        derivative=shapes.straight_through,
        primitive=shapes.straight_through_primitive,
        peak=lambda: 1.0,
        area=math.inf,
        has_slope=False,
    ),
)

FAMILIES: dict[str, Family] = {family.name: family for family in _BUILT_IN}


def find(name: str) -> Family:
    """The family of that name.

    Args:
        name: a family's own name (aliases are resolved by `get`).
    Returns:
        the family.
    Raises:
        UserError: for an unknown name; lists the close ones.

    >>> find("arctan").area
    1.0
    """
    try:
        return FAMILIES[name]
    except (KeyError, TypeError):
        raise UserError(unknown("surrogate", name, FAMILIES)) from None
