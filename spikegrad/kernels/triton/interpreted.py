"""Functions of the GPU's library for Triton's interpreter, which has none: numpy's and math's.

The interpreter (`TRITON_INTERPRET=1`) runs kernels on CPU tensors, one operation after the other.
It shows what a kernel computes, not how a GPU rounds these functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

__all__ = ["library"]


def library() -> SimpleNamespace:
    """What stands in for `triton.language.extra.libdevice` in a generated module."""
    import triton.language as tl
    from triton.runtime.interpreter import TensorHandle

    def of(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            with np.errstate(all="ignore"):
                data = function(*(arg.handle.data for arg in args))
            first = args[0]
            shaped = next((arg for arg in args if arg.type.is_block()), first)
            return tl.tensor(TensorHandle(data.astype(first.handle.data.dtype), first.dtype),
                             shaped.type)  # fmt: skip

        return run

    functions: dict[str, Callable[..., Any]] = {
        "exp": np.exp,
        "expm1": np.expm1,
        "log": np.log,
        "log1p": np.log1p,
        "tanh": np.tanh,
        "sin": np.sin,
        "cos": np.cos,
        "atan": np.arctan,
        "pow": np.power,
        "rint": np.rint,
        "erf": np.vectorize(math.erf, otypes=[np.float64]),
    }
    return SimpleNamespace(**{name: of(function) for name, function in functions.items()})
