"""What runs each layer of a network on an input, and why: `explain(network, x)`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad import kernels
from spikegrad.diagnose.untouched import untouched
from spikegrad.kernels.cpu.crossover import Crossover, crossover, followed, table
from spikegrad.nn.base import Neuron
from spikegrad.nn.fuse import Block
from spikegrad.nn.recurrent import Recurrent
from spikegrad.nn.sequential import Sequential

__all__ = ["Explained", "explain"]

_ROUTES = ("dense", "events", "once", "given")


@dataclass(frozen=True)
class Explained:
    """One layer, or several that run in one call.

    layers: their names; backend: "cpu" or "reference"; forward, weight, input: how the product, the
    weight's gradient and the input's are made: "events" (along the spikes, or the numbers that are
    not 0), "dense", "once" (a static input), "given" (no product), "sampled" (where the lower
    surrogate is not 0), "" for none; activity: share of inputs that spike, None for other inputs;
    reason: why.
    """

    layers: tuple[str, ...]
    backend: str
    forward: str
    weight: str
    input: str
    activity: float | None
    reason: str

    def line(self) -> str:
        """All of it in one line."""
        ways = [f"{n} {w}" for n, w in zip(("forward", "dW", "dx"), self.ways, strict=True) if w]
        seen = "" if self.activity is None else f", {100 * self.activity:.3g} % of inputs spike"
        how = f": {', '.join(ways)}{seen}" if ways else ""
        return f"{'+'.join(self.layers)}: {self.backend}{how} ({self.reason})"

    @property
    def ways(self) -> tuple[str, str, str]:
        """forward, weight and input."""
        return self.forward, self.weight, self.input


def explain(network: nn.Module, x: Tensor) -> list[Explained]:
    """What runs every layer of a network's containers on x, and why.

    network: any module with `Sequential` containers of this package; x: what its `forward` takes,
    usually `[T, B, *features]`. Runs it once without gradients; the network stays as it was.

    >>> from spikegrad import LIF, Linear
    >>> network = Sequential(Linear(3, 2), LIF(20.0, backend="reference"))
    >>> for each in explain(network, torch.ones(4, 1, 3)): print(each.line())
    0: reference (the reference was asked for by name)
    1: reference (asked for by name)
    """
    containers = [m for m in network.modules() if isinstance(m, Sequential)]
    notes: list[Any] = []
    try:
        for container in containers:
            container.witness = notes
        with untouched(network), torch.no_grad():
            network(x)
    finally:
        for container in containers:
            del container.witness
    names = {module: name for name, module in network.named_modules()}
    made: list[Explained] = []
    for what, how in notes:
        block = isinstance(what, Block)
        made.append(of_block(what, how, names, not made) if block else of_layer(what, how, names))
    return made


def of_layer(layer: nn.Module, why: str, names: dict[nn.Module, str]) -> Explained:
    """A layer that runs by itself."""
    neuron = layer.neuron if isinstance(layer, Recurrent) else layer
    backend, reason = "torch", "no kernel of ours"
    if isinstance(neuron, Neuron):
        scan = "recurrent" if isinstance(layer, Recurrent) else neuron.scan
        choice = kernels.choose(
            scan, neuron.backend, None, {"surrogate": getattr(neuron, "surrogate", None)}
        )
        backend, reason = choice.backend, choice.reason
    elif hasattr(layer, "backend"):
        backend, reason = "reference" if "reference" in why else "torch", why
    return Explained((names.get(layer, "?"),), backend, "", "", "", None, reason)


def of_block(
    block: Block, choices: list[Any], names: dict[nn.Module, str], first: bool
) -> Explained:
    """Layers that ran in one call of the kernels."""
    parts = [block.connection, block.feedback or block.neuron]
    layers = tuple(names.get(part, "?") for part in parts if part is not None)
    if not choices:
        return Explained(layers, "reference", "", "", "", None, "a product that is torch's")
    choice, neuron, given = choices[0]
    route, ones, nonzeros = _ROUTES[int(choice[0])], int(choice[1]), int(choice[2])
    steps, batch = given.shape[:2]
    size = steps * batch * block.connection.in_features
    activity = ones / size if ones >= 0 else None
    limits = crossover(block.connection.in_features, block.connection.out_features)
    events = activity is not None and activity <= limits.weight
    reason = "a product alone" if neuron is None else "with its neurons in one call"
    if nonzeros >= 0:
        rows = batch if route == "once" else steps * batch
        share = nonzeros / (rows * block.connection.in_features)
        events = followed("weight", share, limits.weight, rows, block.connection.out_features)
        reason += f"; {100 * share:.3g} % of inputs are not 0"
    weight = "once" if route == "once" else "events" if events else "dense"
    support = given.support
    back = "" if first else "dense" if support is None else sampled(support, size, limits)
    reason += f"; crossover from {table().measured}"
    return Explained(layers, "cpu", route, weight, back, activity, reason)


def sampled(support: Tensor, size: int, limits: Crossover) -> str:
    """How the input's gradient is made where the lower surrogate has a compact support."""
    words = support.contiguous().view(torch.uint8).flatten()
    bits = torch.tensor([bin(k).count("1") for k in range(256)])
    share = int(bits[words.long()].sum()) / size
    return "sampled" if share <= limits.input else "dense"
