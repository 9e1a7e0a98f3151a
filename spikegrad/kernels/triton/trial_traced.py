"""The comparison of a kernel with the reference where `torch.compile` traces the call.

There are shapes then, and no values: the comparison makes its own input, with the currents that
make the neuron fire, and takes the parameters' defaults.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegrad.kernels.triton import trial
from spikegrad.kernels.triton.programs import program_of
from spikegrad.kernels.triton.step import HALF
from spikegrad.kernels.triton.verdict import digest, judged, tell
from spikegrad.step import Step
from spikegrad.surrogate import Surrogate
from spikegrad.tracing import constant

__all__ = ["WAYS", "difference_traced"]

WAYS: dict[str, trial.Way] = {trial.SCAN.name: trial.SCAN}
"""Ways by their names: a tracer passes words on."""
CURRENTS = tuple(2.0 * 4.0**power for power in range(7))
"""What is tried in turn: models in pA need hundreds."""
LEAST_RATE = 0.03
Words = tuple[tuple[str, Any], ...]
Kinds = tuple[tuple[str, bool, bool], ...]
"""Of tensors: their names, whether they have more than one number, whether they have a gradient."""


def difference_traced(
    way: trial.Way, definition: Step, x: Tensor, given: Any, args: dict[str, Any]
) -> str:
    """How a call's kernel differs from the reference on this device, "" where it does not."""
    ahead = 4 if definition.inputs else 3
    features = (x.shape[-1],) if way.name != trial.SCAN.name else (5,) + (2,) * (x.dim() - ahead)
    told = {n: v for n, v in args.items() if n not in ("surrogate", "noise", "generator")}
    return judged_traced(
        way.name,
        definition,
        args.get("surrogate"),
        given.program,
        trial.how_of(x, given),
        x.dtype,
        x.device,
        features,
        tuple((name, v) for name, v in told.items() if not isinstance(v, Tensor)),
        tuple(
            (n, v.numel() > 1, v.requires_grad) for n, v in told.items() if isinstance(v, Tensor)
        ),
        torch.is_grad_enabled(),
    )


@constant
def judged_traced(
    way: str,
    definition: Step,
    surrogate: Surrogate | None,
    program: int,
    how: str,
    dtype: torch.dtype,
    device: torch.device,
    features: tuple[int, ...],
    words: Words,
    kinds: Kinds,
    graded: bool,
) -> str:
    """The same by constants, while the tracer waits."""
    chosen = WAYS[way]

    def compare() -> str:
        like = torch.zeros(features, dtype=dtype, device=device)
        args = dict(words) | ({} if surrogate is None else {"surrogate": surrogate})
        args |= invented(definition, like, args, kinds)
        x = current(chosen, definition, like, args)
        with torch.set_grad_enabled(graded):
            return trial.compared(chosen, definition, x, args)

    key = digest(program_of(program).text, dtype, how, device)
    why = judged(key, trial.name_of(chosen, definition), device, compare)
    if why:
        tell(way, definition, device, why)
    return why


def invented(
    definition: Step, like: Tensor, words: dict[str, Any], kinds: Kinds
) -> dict[str, Tensor]:
    """Tensors in place of the traced ones: defaults, and a weight that is drawn."""
    numbers = definition.defaults(words.get("dt", 1.0))
    record = words.get("surrogate", definition.surrogate)
    wide = torch.float32 if like.dtype in HALF else like.dtype
    channels, found = like.shape[:1], {}
    for name, many, graded in kinds:
        if name == "weight":
            generator = torch.Generator().manual_seed(0)
            value = torch.randn(*channels, *channels, generator=generator) / channels[0] ** 0.5
            value = value.to(like)
        elif name in ("bias", "norm_scale", "norm_shift"):
            value = like.new_full(channels, float(name == "norm_scale"), dtype=wide)
        else:
            number = record.slope if name == "slope" else numbers[name]
            value = like.new_full(like.shape if many else (), float(number), dtype=wide)
        found[name] = value.requires_grad_(graded)
    return found


def current(way: trial.Way, definition: Step, like: Tensor, args: dict[str, Any]) -> Tensor:
    """What makes the neuron fire, the least that is tried."""
    steps = (trial.STEPS, trial.SAMPLES)
    inputs = (len(definition.inputs),) if definition.inputs else ()
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(*steps, *inputs, *like.shape, generator=generator).to(like)
    if not definition.spikes:
        return x
    plain = {name: value for name, value in args.items() if name not in ("lean", "pack")}
    if definition.mode.word == "escape":
        plain["noise"] = torch.rand(*steps, *like.shape, generator=generator).to(like)
    with torch.no_grad():
        for scale in CURRENTS:
            y, _ = way.reference(definition, x * scale, None, **plain)
            spikes = y[0] if isinstance(y, tuple) else y
            if spikes.float().abs().mean() > LEAST_RATE:
                return x * scale
    return x * CURRENTS[0]
