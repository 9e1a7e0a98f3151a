"""Which connection drives which neurons: `wiring(network, x)`.

The order in which a module registers its layers says nothing about who feeds whom, so one forward
pass is followed: every connection, norm and neuron gives its output as a leaf of autograd's graph,
and from a neuron's input the graph is walked back to the first leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad.errors import UserError, message
from spikegrad.nn.base import Neuron
from spikegrad.nn.classifier import Classifier
from spikegrad.nn.norm import BatchNorm
from spikegrad.nn.recurrent import Recurrent
from spikegrad.nn.spiking import Spiking
from spikegrad.nn.tape import is_stranger

__all__ = ["CONNECTIONS", "Connection", "Wire", "check_settable", "drivers", "wiring"]

Connection = nn.Linear | nn.modules.conv._ConvNd
CONNECTIONS = (nn.Linear, nn.modules.conv._ConvNd)
NORMS = (BatchNorm, nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)


@dataclass(eq=False)
class Wire:
    """One connection and what it drives.

    name: the connection's; neurons: the layers that take its output, in the order of the first
    calls, none for a readout; norms: those between it and a neuron.
    """

    name: str
    connection: Connection
    neurons: list[nn.Module]
    norms: list[nn.Module]


def wiring(network: nn.Module, x: Any = None) -> list[Wire]:
    """Every connection, in the order in which they are first called, and what it drives.

    x: what the network's `forward` takes, to follow one pass; None will do for a network whose
    forward is known: a `Sequential`, containers in it, a `Classifier` around it.
    Raises UserError where x is None and the network has a forward of its own.

    >>> from spikegrad.nn import LIF, Linear, Sequential
    >>> network = Sequential(Linear(4, 3), LIF(20.0), Linear(3, 2))
    >>> [(w.name, [type(n).__name__ for n in w.neurons]) for w in wiring(network)]
    [('0', ['LIF']), ('2', [])]
    """
    names = {module: name for name, module in network.named_modules()}
    if x is None:
        return in_a_row(list(chain(network, names)), names)
    return Pass(network, names).follow(x)


def check_settable(wire: Wire, what: str) -> None:
    """A connection whose weight is a parameter: one that is made out of others cannot be set."""
    if not isinstance(wire.connection.weight, nn.Parameter):
        kind = type(wire.connection).__name__
        raise UserError(
            message(
                f"expected connections whose weight is a parameter, to {what} it",
                f"layer {wire.name} ({kind}), whose weight is computed from others",
                f"{what} before torch.nn.utils.parametrize, or set its parameters yourself",
            )
        )


def drivers(wires: Iterable[Wire]) -> dict[nn.Module, list[Wire]]:
    """The other way: every driven neuron layer with its connections."""
    found: dict[nn.Module, list[Wire]] = {}
    for wire in wires:
        for neuron in wire.neurons:
            found.setdefault(neuron, []).append(wire)
    return found


def is_neuron(module: nn.Module) -> bool:
    """A layer that a connection drives, a user's own layer with a state among them."""
    return isinstance(module, (Neuron, Spiking, Recurrent)) or is_stranger(module)


def parts(module: nn.Module) -> Iterator[nn.Module]:
    """The connections, norms and neurons in a module; a neuron is not opened."""
    if isinstance(module, (*CONNECTIONS, *NORMS)) or is_neuron(module):
        yield module
        return
    for child in module.children():
        yield from parts(child)


def chain(module: nn.Module, names: dict[nn.Module, str]) -> Iterator[nn.Module]:
    """The same in the order of the calls, where that follows from the modules."""
    if isinstance(module, nn.Sequential):
        for child in module:
            yield from chain(child, names)
    elif isinstance(module, Classifier):
        yield from chain(module.network, names)
    elif isinstance(module, (*CONNECTIONS, *NORMS)) or is_neuron(module):
        yield module
    elif next(parts(module), None) is not None:
        what = f"{type(module).__name__} with a forward of its own"
        where = f", layer {names[module]}" if names[module] else ""
        raise UserError(
            message(
                "expected an input to follow through the network",
                f"x=None and {what}{where}",
                "pass x, a batch as its forward takes it",
            )
        )


def in_a_row(layers: list[nn.Module], names: dict[nn.Module, str]) -> list[Wire]:
    """The wires of layers one behind the other."""
    wires: dict[nn.Module, Wire] = {}
    now: Wire | None = None
    for layer in layers:
        if isinstance(layer, CONNECTIONS):
            now = wires.setdefault(layer, Wire(names[layer], layer, [], []))
        elif now is not None and isinstance(layer, NORMS):
            add(now.norms, layer)
        elif now is not None:
            add(now.neurons, layer)
            now = None
    return list(wires.values())


class Pass:
    """One forward pass, followed."""

    def __init__(self, network: nn.Module, names: dict[nn.Module, str]) -> None:
        self.network, self.names = network, names
        self.wires: dict[nn.Module, Wire] = {}
        # Leaves stand for outputs; they are kept, so that no id is used twice.
        self.leaves: dict[int, tuple[Tensor, nn.Module, list[Any]]] = {}

    def follow(self, x: Any) -> list[Wire]:
        """Run the network with every part listened to."""
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            for part in dict.fromkeys(parts(self.network)):
                handle = part.register_forward_hook(self.heard, with_kwargs=True)
                stack.callback(handle.remove)
            self.network(x)
        return list(self.wires.values())

    def heard(self, part: nn.Module, args: tuple[Any, ...], named: dict[str, Any], out: Any) -> Any:
        """One call of one part: what came in, and a leaf in place of what goes out."""
        given = next((v for v in (*args, *named.values()) if isinstance(v, Tensor)), None)
        sources = [] if given is None else self.sources(given)
        if isinstance(part, CONNECTIONS):
            self.wires.setdefault(part, Wire(self.names[part], part, [], []))
        elif is_neuron(part):
            self.drive(part, sources)
        y, *rest = out if isinstance(out, tuple) else (out,)
        if not isinstance(y, Tensor) or not y.is_floating_point():
            return out
        leaf = y.detach().requires_grad_()
        self.leaves[id(leaf)] = (leaf, part, sources)
        return (leaf, *rest) if isinstance(out, tuple) else leaf

    def drive(self, neuron: nn.Module, sources: list[Any]) -> None:
        """Note the connections whose outputs reach a neuron, and the norms on the way."""
        self.reach(sources, partial(self.join, neuron), [])

    def reach(self, sources: list[Any], join: Any, norms: list[nn.Module]) -> None:
        for part, before in sources:
            if isinstance(part, CONNECTIONS):
                join(self.wires[part], norms)
            elif isinstance(part, NORMS):
                self.reach(before, join, [*norms, part])

    @staticmethod
    def join(neuron: nn.Module, wire: Wire, norms: list[nn.Module]) -> None:
        add(wire.neurons, neuron)
        for norm in norms:
            add(wire.norms, norm)

    def sources(self, x: Tensor) -> list[tuple[nn.Module, list[Any]]]:
        """The parts whose outputs x was made of, without another part between."""
        seen: set[Any] = set()
        found: dict[int, tuple[nn.Module, list[Any]]] = {}
        if id(x) in self.leaves:
            return [self.leaves[id(x)][1:]]
        waiting = [x.grad_fn]
        while waiting:
            node = waiting.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            leaf = getattr(node, "variable", None)
            if leaf is not None and id(leaf) in self.leaves:
                found[id(leaf)] = self.leaves[id(leaf)][1:]
            waiting += [before for before, _ in node.next_functions]
        return list(found.values())


def add(to: list[nn.Module], module: nn.Module) -> None:
    """Append what is not there yet."""
    if not any(module is other for other in to):
        to.append(module)
