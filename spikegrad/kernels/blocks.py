"""Layers that run together in one native call, and why some cannot."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spikegrad.kernels import cpu, triton
from spikegrad.kernels.dispatch import obstacle
from spikegrad.kernels.gpu import obstacle_to_layer as obstacle_on_gpu
from spikegrad.kernels.gpu import on_gpu
from spikegrad.kernels.obstacles import obstacle_to_neuron, other_product
from spikegrad.step import Step

__all__ = [
    "layer",
    "normed",
    "obstacle_to_layer",
    "obstacle_to_pool",
    "packed",
    "spike_pool",
    "stilled",
]


def layer(
    x: Tensor | cpu.Spikes, state: Any = None, *, backends: tuple[str, ...] = (), **args: Any
) -> Any:
    """A connection, its neurons and their feedback in one call, where `obstacle_to_layer` is ""."""
    named = "triton" in backends
    if isinstance(x, Tensor) and (named or on_gpu(x)):
        return triton.layer(x, state, checked=not named, **args)
    return cpu.layer(x, state, **args)


def obstacle_to_layer(
    x: Tensor | cpu.Spikes,
    weight: Tensor,
    neuron: str | Step | None,
    surrogate: Any,
    backends: tuple[str, ...],
    *,
    feedback: bool = False,
) -> str:
    """Why a connection and its neurons cannot run as one call of the native kernels, or "".

    neuron: a step, or a scan by its name; None: a connection alone; feedback: of what it returns.
    """
    if "reference" in backends:
        return "the reference was chosen by name"
    named = "triton" in backends
    if isinstance(x, Tensor) and (named or on_gpu(x)):
        if "cpu" in backends:
            return "cpu was chosen by name"
        how = {"feedback": feedback, "checked": not named}
        return obstacle_on_gpu(x, weight, neuron, surrogate, **how)
    if named:
        return "backend='triton' was chosen by name, and its input are the CPU's bits"
    if neuron is not None and (why := obstacle_to_neuron(neuron, surrogate, feedback=feedback)):
        return why
    if isinstance(x, cpu.Spikes):
        return other_product(x.edge.dtype, weight) or obstacle(
            "layer", None, {"surrogate": surrogate}
        )
    return obstacle("layer", x, {"surrogate": surrogate, "weight": weight})


def normed(x: Tensor, state: Any = None, *, backend: str, **args: Any) -> Any:
    """Neurons of an input that is normalised as they read it, where `choice_of` is Triton's."""
    return triton.normed(x, state, checked=backend == "auto", **args)


def spike_pool(x: Tensor, state: Any = None, **args: Any) -> Any:
    """Neurons and a max-pool behind them in one call, where `obstacle_to_pool` is ""."""
    return cpu.spike_pool(x, state, **args)


def obstacle_to_pool(
    x: Tensor, kernel: tuple[int, int], neuron: str | Step, args: dict[str, Any]
) -> str:
    """Why neurons and a max-pool behind them cannot run as one call, or ""; kernel: of the pool."""
    # The pool counts on spikes that are 1 and 0, as feedback does.
    why_not = obstacle_to_neuron(neuron, args.get("surrogate"), feedback=True)
    return why_not or cpu.obstacle_to_pool(x, kernel, args)


def packed(x: Tensor) -> cpu.Spikes | None:
    """The zeros and ones of x as bits, for a `layer`; None where x has other values."""
    return None if on_gpu(x) else cpu.packed(x)


def stilled(x: Tensor) -> Tensor:
    """x, for a `layer`, as one step seen T times where all its steps are equal."""
    return x if on_gpu(x) else cpu.stilled(x)
