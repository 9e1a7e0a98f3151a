"""What every scan over time begins with: its input checked, in the dtype in which states live."""

from __future__ import annotations

import torch
from torch import Tensor

from spikegrad.checks import check_current, check_parameter, check_state
from spikegrad.errors import UserError, message
from spikegrad.types import State, Value

__all__ = ["check_inputs", "enter", "one_input", "rest", "scan_dtype"]


def scan_dtype(x: Tensor) -> torch.dtype:
    """The dtype of states: float32 for half types, else that of x."""
    return torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype


def enter(
    x: Tensor, state: State, kind: type, inputs: tuple[str, ...] = (), /, **parameters: Value
) -> Tensor:
    """Check input, state and parameters; return x in the scan's dtype.

    inputs: the names of several inputs, x is then `[T, B, inputs, *features]`.
    """
    check_current(x)
    check_inputs(x, inputs)
    one = one_input(x, inputs)
    dtype = scan_dtype(x)
    if state is not None:
        check_state(state, kind, one, dtype)
    for name, value in parameters.items():
        check_parameter(value, name, one)
    return x.to(dtype)


def check_inputs(x: Tensor, inputs: tuple[str, ...]) -> None:
    """Several inputs side by side, `[T, B, inputs, *features]`."""
    if inputs and (x.dim() < 3 or x.shape[2] != len(inputs)):
        raise UserError(
            message(
                f"expected x with the inputs {', '.join(inputs)}, [T, B, {len(inputs)}, *features]",
                str(list(x.shape)),
                f"put them together: torch.stack([{', '.join(inputs)}], dim=2)",
            )
        )


def one_input(x: Tensor, inputs: tuple[str, ...]) -> Tensor:
    """x, or of several inputs the first one: `[T, B, *features]`."""
    return x[:, :, 0] if inputs else x


def rest(x: Tensor, value: Value = 0.0) -> Tensor:
    """A state `[B, *features]` that is the same in every sample."""
    if isinstance(value, Tensor):
        return value.to(x.dtype).expand(x.shape[1:]).clone()
    return x.new_full(x.shape[1:], value)
