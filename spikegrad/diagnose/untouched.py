"""A measurement leaves no trace: what `untouched` saves, and gives back also on an error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["untouched"]


@contextmanager
def untouched(network: nn.Module) -> Iterator[None]:
    """Give everything back as it was when the context closes, error or not.

    Saved are the values of parameters and buffers, each parameter's `.grad`, every module's
    training mode, torch's random state (CPU and the network's CUDA devices) and that of any
    `torch.Generator` a module holds.

    >>> network = nn.Linear(2, 2)
    >>> before = network.weight.clone()
    >>> with untouched(network), torch.no_grad():
    ...     _ = network.weight.zero_()
    >>> bool((network.weight == before).all())
    True
    """
    modes = {module: module.training for module in network.modules()}
    held = [
        (module._buffers, name, buffer, buffer.detach().clone())
        for module in network.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    parameters = [(p, p.detach().clone(), p.grad) for p in network.parameters()]
    generators = [(g, g.get_state()) for g in own_generators(network)]
    try:
        with torch.random.fork_rng(devices=cuda_devices(network)):
            yield
    finally:
        with torch.no_grad():
            for where, name, buffer, value in held:
                restore(buffer, value)
                where[name] = buffer
            for p, value, grad in parameters:
                restore(p, value)
                p.grad = grad
        for module, mode in modes.items():
            module.training = mode
        for generator, state in generators:
            generator.set_state(state)


def restore(now: Tensor, value: Tensor) -> None:
    """Write a value back, unless it is there already: a write would age the user's graphs."""
    if now.shape != value.shape or not torch.equal(now, value):
        now.copy_(value)


def own_generators(network: nn.Module) -> list[torch.Generator]:
    """The generators that modules hold as attributes."""
    found = [
        value
        for module in network.modules()
        for value in vars(module).values()
        if isinstance(value, torch.Generator)
    ]
    return list({id(g): g for g in found}.values())


def cuda_devices(network: nn.Module) -> list[int]:
    """The CUDA devices the network lives on."""
    tensors = [*network.parameters(), *network.buffers()]
    return sorted({t.device.index for t in tensors if t.device.type == "cuda"})
