"""Neurons of other libraries that `spikegrad bench` times where they are installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Work", "both", "peers"]

Work = Callable[[], None]


def both(x: Tensor, output: Callable[[Tensor], Tensor]) -> Work:
    """Forward and backward of a function of x."""

    def step() -> None:
        x.grad = None
        output(x).sum().backward()

    return step


def peers(x: Tensor) -> Iterator[tuple[str, Work, float]]:
    """A name, a step forward and backward on currents x `[T, B, N]`, and the firing rate.

    On a GPU SpikingJelly's LIF with its Triton kernel, its own surrogate (ATan) and our decay, gain
    and reset; none where it is not installed, or too old to have such a kernel.
    """
    import torch

    if not x.is_cuda:
        return
    try:
        neuron = import_module("spikingjelly.activation_based.neuron")
        surrogate = import_module("spikingjelly.activation_based.surrogate")
    except ImportError:
        return
    try:
        layer: Any = neuron.LIFNode(
            tau=10.0, decay_input=False, v_reset=None, detach_reset=True, step_mode="m",
            surrogate_function=surrogate.ATan(), backend="triton",
        )  # fmt: skip
    except NotImplementedError:  # of a version before its Triton kernels
        return

    def output(x: Tensor) -> Tensor:
        layer.reset()
        y: Tensor = layer(x)
        return y

    def finished() -> None:
        step()
        torch.cuda.synchronize()

    step = both(x, output)
    yield "SpikingJelly's LIF", finished, float(output(x.detach()).mean())
