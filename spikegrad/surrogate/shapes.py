"""The functions of the built-in families at slope 1: derivatives `p(z)` and primitives `P(z)`.

Plain differentiable torch, elementwise; the formula of each stands in its entry in families.py.
Here stand only the numerical traps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = [
    "algebraic",
    "algebraic_primitive",
    "arctan",
    "arctan_primitive",
    "boxcar",
    "boxcar_primitive",
    "exponential",
    "exponential_primitive",
    "fast_sigmoid",
    "fast_sigmoid_primitive",
    "gaussian",
    "gaussian_primitive",
    "leaky",
    "leaky_primitive",
    "multi_gaussian",
    "multi_gaussian_peak",
    "multi_gaussian_primitive",
    "q_pseudospike",
    "q_pseudospike_primitive",
    "sigmoid",
    "straight_through",
    "straight_through_primitive",
    "triangle",
    "triangle_primitive",
]


def arctan(z: Tensor) -> Tensor:
    return (1.0 / math.pi) / (1.0 + z * z)


def arctan_primitive(z: Tensor) -> Tensor:
    return 0.5 + torch.atan(z) / math.pi


def sigmoid(z: Tensor) -> Tensor:
    # exp(-z)/(1+exp(-z))^2 would be inf/inf for z < -88 in float32
    return torch.sigmoid(z) * torch.sigmoid(-z)


def fast_sigmoid(z: Tensor) -> Tensor:
    return 0.5 / (1.0 + z.abs()) ** 2


def fast_sigmoid_primitive(z: Tensor) -> Tensor:
    return 0.5 * (1.0 + z / (1.0 + z.abs()))


def triangle(z: Tensor) -> Tensor:
    return torch.relu(1.0 - z.abs())


def triangle_primitive(z: Tensor) -> Tensor:
    z = z.clamp(-1.0, 1.0)
    return 0.5 + z - 0.5 * z * z.abs()


def boxcar(z: Tensor) -> Tensor:
    return 0.5 * (z.abs() <= 1.0).to(z.dtype)


def boxcar_primitive(z: Tensor) -> Tensor:
    return (0.5 + 0.5 * z).clamp(0.0, 1.0)


def gaussian(z: Tensor) -> Tensor:
    return torch.exp(-z * z) / math.sqrt(math.pi)


def gaussian_primitive(z: Tensor) -> Tensor:
    return 0.5 * (1.0 + torch.erf(z))


def exponential(z: Tensor) -> Tensor:
    return 0.5 * torch.exp(-z.abs())


def exponential_primitive(z: Tensor) -> Tensor:
    return 0.5 - 0.5 * torch.sign(z) * torch.expm1(-z.abs())


def algebraic(z: Tensor) -> Tensor:
    r = torch.rsqrt(1.0 + z * z)  # twice as fast as a power of -3/2
    return 0.5 * (r * r * r)


def algebraic_primitive(z: Tensor) -> Tensor:
    return 0.5 * (1.0 + z * torch.rsqrt(1.0 + z * z))


def multi_gaussian(z: Tensor, *, h: float, s: float) -> Tensor:
    lobes = _normal((z - 1.0) / s) + _normal((z + 1.0) / s)
    return ((1.0 + h) * _normal(z) - (h / s) * lobes) / (1.0 - h)


def multi_gaussian_primitive(z: Tensor, *, h: float, s: float) -> Tensor:
    lobes = _normal_primitive((z - 1.0) / s) + _normal_primitive((z + 1.0) / s)
    return ((1.0 + h) * _normal_primitive(z) - h * lobes) / (1.0 - h)


def multi_gaussian_peak(*, h: float, s: float) -> float:
    lobes = 2.0 * h / s * math.exp(-0.5 / s**2)
    return (1.0 + h - lobes) / math.sqrt(2.0 * math.pi) / (1.0 - h)


def _normal(z: Tensor) -> Tensor:
    return torch.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)


def _normal_primitive(z: Tensor) -> Tensor:
    return 0.5 * (1.0 + torch.erf(z / math.sqrt(2.0)))


def q_pseudospike(z: Tensor, *, q: float) -> Tensor:
    return (1.0 + (2.0 / (q - 1.0)) * z.abs()) ** -q


def q_pseudospike_primitive(z: Tensor, *, q: float) -> Tensor:
    tail = (1.0 + (2.0 / (q - 1.0)) * z.abs()) ** (1.0 - q)
    return 0.5 + 0.5 * torch.sign(z) * (1.0 - tail)


def leaky(z: Tensor, *, leak: float) -> Tensor:
    inside = (z.abs() <= 1.0).to(z.dtype)
    return leak + (0.5 - leak) * inside


def leaky_primitive(z: Tensor, *, leak: float) -> Tensor:
    inside = z.clamp(-1.0, 1.0)
    return 0.5 + 0.5 * inside + leak * (z - inside)


def straight_through(z: Tensor) -> Tensor:
    return torch.ones_like(z)


def straight_through_primitive(z: Tensor) -> Tensor:
    return z.clone()
