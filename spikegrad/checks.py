"""The guards at the border: what reaches the specification has passed here once.

Every message is expected, got, remedy. `ValueError` (as `UserError`) for shape and range,
`TypeError` for kind and dtype.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from spikegrad.errors import UserError, message, unknown

__all__ = [
    "check_choice",
    "check_count",
    "check_current",
    "check_finite",
    "check_finite_by",
    "check_finite_state",
    "check_flag",
    "check_like",
    "check_not_traced",
    "check_number",
    "check_numbers",
    "check_parameter",
    "check_positive",
    "check_state",
    "check_steps",
    "is_transformed",
]


def check_current(x: Tensor, *, name: str = "x", floating: bool = True) -> None:
    """A tensor `[T, B, *features]` with T >= 1 and B >= 1, of a floating dtype unless told not."""
    if not isinstance(x, Tensor):
        remedy = getattr(type(x), "remedy", "")
        raise TypeError(
            message(f"expected {name} as a tensor [T, B, ...]", type(x).__name__, remedy)
        )
    if floating and not x.is_floating_point():
        raise TypeError(
            message(
                f"expected {name} of a floating dtype", str(x.dtype), f"call {name}.float() first"
            )
        )
    if x.dim() < 2:
        raise UserError(
            message(
                f"expected {name} of rank >= 2, [T, B, *features]",
                str(list(x.shape)),
                "time comes first, the batch second; add them with x[None] or x.unsqueeze(1)",
            )
        )
    if x.shape[0] == 0 or x.shape[1] == 0:
        raise UserError(
            message(
                f"expected {name} with T >= 1 and B >= 1",
                f"T={x.shape[0]}, B={x.shape[1]} in {list(x.shape)}",
                "do not pass empty sequences or batches",
            )
        )


def check_state(state: object, kind: type, x: Tensor, dtype: torch.dtype) -> None:
    """A state of this kind, its tensors `[B, *features]` of x, in the scan's dtype and device."""
    if type(state) is not kind or not isinstance(state, tuple):
        raise TypeError(
            message(
                f"expected {'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__} or None",
                type(state).__name__,
                "pass the state that this layer returned, or state=None to start from rest",
            )
        )
    for field, part in zip(kind.__annotations__, state, strict=True):
        if part is None and field == "refractory":
            continue
        check_state_tensor(
            part, f"state.{field}", x, torch.int32 if field == "refractory" else dtype
        )


def check_state_tensor(part: object, name: str, x: Tensor, dtype: torch.dtype) -> None:
    """One tensor of a state against `[B, *features]` of x."""
    rest = "pass state=None to start from rest"
    if not isinstance(part, Tensor):
        raise TypeError(message(f"expected {name} as a tensor", type(part).__name__, rest))
    if part.shape != x.shape[1:]:
        shapes = f"expected {name} of shape {list(x.shape[1:])}"
        raise UserError(message(shapes, str(list(part.shape)), rest))
    if part.dtype != dtype:
        kinds = f"expected {name} of dtype {dtype} for x of dtype {x.dtype}"
        raise TypeError(message(kinds, str(part.dtype), "convert it with .to(), or " + rest))
    if part.device != x.device:
        places = f"expected {name} on {x.device}"
        raise UserError(message(places, str(part.device), "move it with .to(), or " + rest))


def check_like(x: Tensor, weight: Tensor, layer: str) -> None:
    """An input of the dtype and on the device of a layer's weight; autocast converts by itself."""
    if x.device != weight.device:
        raise UserError(
            message(
                f"expected {layer}'s input on {weight.device}, where its weight is",
                str(x.device),
                "move one of them with .to()",
            )
        )
    kind = x.device.type
    converts = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    if x.dtype != weight.dtype and not converts:
        raise TypeError(
            message(
                f"expected {layer}'s input of dtype {weight.dtype}, as its weight",
                str(x.dtype),
                f"convert one of them: x.to({weight.dtype}) or network.to({x.dtype})",
            )
        )


def check_not_traced() -> None:
    """No `torch.jit.trace`: it would record one length of time, and no state."""
    if not torch.compiler.is_compiling() and torch._C._is_tracing():
        raise UserError(
            message(
                "expected a call by torch.compile or torch.export, or a plain one",
                "one by torch.jit.trace (which torch.onnx.export(dynamo=False) uses)",
                "use torch.compile, torch.export or torch.onnx.export(dynamo=True)",
            )
        )


def check_parameter(value: Tensor | float, name: str, x: Tensor) -> None:
    """A number, or a tensor that broadcasts to the features of x without enlarging them."""
    if not isinstance(value, Tensor):
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise TypeError(message(f"expected {name} as a number or a tensor", repr(value)))
        if not math.isfinite(value):
            raise UserError(message(f"expected a finite {name}", repr(value)))
        return
    features = x.shape[2:]
    fits = value.dim() <= len(features) and all(
        have in (1, want)
        for have, want in zip(reversed(value.shape), reversed(features), strict=False)
    )
    if not fits:
        raise UserError(
            message(
                f"expected {name} as a scalar or of the features' shape {list(features)}",
                str(list(value.shape)),
                f"x is {list(x.shape)} = [T, B, *features]",
            )
        )
    if value.device != x.device and (value.dim() > 0 or value.is_meta):
        raise UserError(
            message(
                f"expected {name} on {x.device}", str(value.device), "move the layer with .to()"
            )
        )


def check_choice(value: object, name: str, choices: Iterable[str]) -> None:
    """One of the words."""
    words = list(choices)
    if value not in words:
        raise UserError(unknown(name, value, words))


def check_flag(value: object, name: str) -> None:
    """True or False: a word counts as True in a condition, whatever it says."""
    if not isinstance(value, bool):
        raise TypeError(message(f"expected {name} as True or False", repr(value)))


def check_number(value: object, name: str) -> None:
    """A number or a tensor, at construction."""
    if isinstance(value, Tensor):
        return
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        remedy = f"omit {name} to use its default" if value is None else ""
        raise TypeError(message(f"expected {name} as a number or a tensor", repr(value), remedy))


def check_numbers(**values: object) -> None:
    """Numbers or tensors by name, before anything is computed of them."""
    for name, value in values.items():
        check_number(value, name)


def check_positive(value: Tensor | float | None, name: str, *, unit: str = "") -> None:
    """A finite number (or tensor of them) above zero, at construction."""
    if value is None:
        return
    if isinstance(value, Tensor):
        if bool((torch.isfinite(value) & (value > 0)).all()):
            return
        shown = f"a minimum of {value.min().item():g}"
    else:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise TypeError(message(f"expected {name} as a number or a tensor", repr(value)))
        if 0 < value < math.inf:  # not isfinite, which torch.compile cannot follow
            return
        shown = str(value)
    raise UserError(message(f"expected a finite {name} > 0{unit and ' ' + unit}", shown))


def check_steps(value: int, name: str, *, least: int = 0) -> None:
    """A whole number of steps."""
    check_count(value, name, least=least, unit=" steps")


def check_count(value: int, name: str, *, least: int = 1, unit: str = "") -> None:
    """A whole number of something; unit: of what, with a space before it."""
    if isinstance(value, bool) or not isinstance(value, int):
        kind = f" of{unit}" if unit else ""
        raise TypeError(message(f"expected {name} as a whole number{kind}", repr(value)))
    if value < least:
        raise UserError(message(f"expected {name} >= {least}{unit}", str(value)))


def check_finite(x: Tensor, name: str = "x") -> None:
    """No NaN and no infinity in x; skipped under `torch.compile` and `torch.func`.

    One sum finds either: a finite sum of finite terms can only overflow, so a sum that is not
    finite is looked at again element by element before anything is said.
    """
    if torch.compiler.is_compiling() or is_transformed(x) or not x.is_floating_point():
        return
    if x.is_meta:
        return
    static = x.dim() > 2 and x.stride(0) == 0
    seen = (x[0] if static else x).detach()
    if math.isfinite(seen.sum().item()) or bool(torch.isfinite(seen).all()):
        return
    bad = int((~torch.isfinite(seen)).sum())
    raise UserError(
        message(
            f"expected {name} to be finite",
            f"{bad} of {seen.numel()} values NaN or infinite",
            "look for missing values or a division by zero in the input",
        )
    )


def check_finite_by(state: Any, x: Tensor) -> None:
    """The same by the state in which x left a neuron layer, without another pass over x.

    A membrane that met NaN or infinity never leaves them, so x is looked at only where the sum of a
    membrane or current `[B, *features]` is not finite.
    """
    if torch.compiler.is_compiling() or is_transformed(x) or x.is_meta:
        return
    for part in state:
        if isinstance(part, tuple):
            check_finite_by(part, x)
        numbers = isinstance(part, Tensor) and part.is_floating_point()
        if numbers and not math.isfinite(part.detach().sum().item()):
            check_finite(x)


def check_finite_state(state: Any, name: str = "the state") -> None:
    """No NaN and no infinity in a state that was given: a neuron that holds one never spikes."""
    if isinstance(state, dict):
        for key, part in state.items():
            check_finite_state(part, f"{name}[{key!r}]")
    elif isinstance(state, tuple):
        for field, part in zip(getattr(state, "_fields", range(len(state))), state, strict=True):
            check_finite_state(part, f"{name}.{field}")
    elif isinstance(state, Tensor) and state.is_floating_point():
        # First what torch.compile can follow: behind a break of its graph shapes are no numbers.
        if torch.compiler.is_compiling() or is_transformed(state) or state.is_meta:
            return
        if math.isfinite(state.detach().sum().item()):
            return
        bad = int((~torch.isfinite(state.detach())).sum())
        if bad:
            raise UserError(
                message(
                    f"expected {name} to be finite",
                    f"{bad} of {state.numel()} values NaN or infinite",
                    "pass None to start from rest",
                )
            )


def is_transformed(x: Tensor) -> bool:
    """Whether x is seen through a `torch.func` transform (grad, vmap, jvp)."""
    return torch._C._functorch.is_functorch_wrapped_tensor(x)
