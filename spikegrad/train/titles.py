"""What people call the layers of a network: by a number that they can count."""

from __future__ import annotations

from torch import nn

__all__ = ["titles_of"]


def titles_of(network: nn.Module) -> dict[str, str]:
    """The spiking layers by name, each with a title: hidden layers numbered from the input.

    >>> from spikegrad.nn import LIF, Linear, Sequential
    >>> titles_of(Sequential(Linear(4, 8), LIF(20.0), Linear(8, 2), LIF(20.0)))
    {'1': 'hidden 1 (layer 1)', '3': 'output (layer 3)'}
    """
    leaves = [
        (name, module)
        for name, module in network.named_modules()
        if hasattr(module, "surrogate") or not any(module.children())
    ]
    spiking = [name for name, module in leaves if hasattr(module, "surrogate")]
    parts = [name for name, _ in leaves if not any(_inside(name, other) for other in spiking)]
    titles = {}
    for number, name in enumerate(spiking, 1):
        noun = "output" if parts and name == parts[-1] else f"hidden {number}"
        first = name.split(".")[0]
        alone = sum(other.split(".")[0] == first for other in spiking) == 1
        place = f"layer {first}" if first.isdigit() and alone else name
        titles[name] = f"{noun} ({place})" if place else noun
    return titles


def _inside(name: str, other: str) -> bool:
    """Whether a module is a part of another one."""
    return name != other and name.startswith(f"{other}." if other else "")
