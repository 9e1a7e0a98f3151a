"""What the rows in JAX share: the slopes of the surrogates, and the largest instruction set."""

from __future__ import annotations

import math
import os
import re

import jax
import jax.numpy as jnp

__all__ = ["arctan", "limit", "triangle"]


def triangle(x: jax.Array) -> jax.Array:
    return jnp.maximum(0.0, 2.0 - 4.0 * jnp.abs(x))


def arctan(x: jax.Array) -> jax.Array:
    return (2.0 / math.pi) / (1.0 + (2.0 * x) ** 2)


def limit() -> str:
    """The largest instruction set that XLA may use, from its own flag."""
    found = re.search(r"--xla_cpu_max_isa=(\w+)", os.environ.get("XLA_FLAGS", ""))
    return found[1].lower() if found else "native"
