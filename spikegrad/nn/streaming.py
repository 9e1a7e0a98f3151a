"""A network that takes one step at a time and keeps its state itself: `stream(network)`.

For robots, games and sensors. A `Sequential` of connections, each with the neurons behind it, is
one native call a step, on memory that was reserved once; any other network runs its own step.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad import kernels
from spikegrad.checks import check_finite_state
from spikegrad.errors import UserError, message
from spikegrad.nn.base import Neuron, plain
from spikegrad.nn.connection import Flatten, Linear
from spikegrad.nn.dropout import Dropout
from spikegrad.nn.fuse import Block, block_at
from spikegrad.nn.norm import BatchNorm
from spikegrad.nn.sequential import Sequential, check_stateless
from spikegrad.nn.threaded import Threaded
from spikegrad.step.lower import NotLowered
from spikegrad.types import State, map_state

__all__ = ["Stream", "stream"]

TRAINED = (BatchNorm, Dropout, nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
"""Layers that do something else in training."""


def stream(network: nn.Module, *, batch: int = 1) -> Stream:
    """A network as a function of one step, `y = step(x)`, with the state inside.

    network: one that returns `(y, states)`; batch: B. x and y: `[B, *features]`. It is used without
    gradients, in `eval()`. Steps give what the whole sequence gives, up to the order in which
    products are summed. Of a `Sequential` of `Linear` layers, each with the neurons or the
    `Recurrent` behind it, a step is one native call that allocates y alone. Parameters are read
    when the stream is made: after a change of the network, make a new one.
    Raises TypeError for what is no network with states, UserError for a wrong batch.

    >>> from spikegrad.nn import LI, LIF, Linear
    >>> step = stream(Sequential(Linear(4, 8), LIF(20.0), Linear(8, 2), LI(20.0)))
    >>> y = step(torch.ones(1, 4))
    >>> y.shape, len(step.state)
    (torch.Size([1, 2]), 4)
    >>> step.reset()
    >>> torch.equal(step(torch.ones(1, 4)), y)
    True
    """
    return Stream(network, batch=batch)


class Stream:
    """What `stream` returns: a function of one step that has a state."""

    def __init__(self, network: nn.Module, *, batch: int = 1) -> None:
        if not isinstance(network, Threaded):
            expected = "expected a network that returns (y, states)"
            remedy = "pass a Sequential, a Module or a layer of neurons"
            raise TypeError(message(expected, type(network).__name__, remedy))
        if isinstance(batch, bool) or not isinstance(batch, int):
            raise TypeError(message("expected batch as a whole number", repr(batch)))
        if batch < 1:
            raise UserError(message("expected batch >= 1", str(batch)))
        self.trained = [m for m in network.modules() if isinstance(m, TRAINED)]
        self.check_mode()
        self.network, self.batch = network, batch
        self.steps = native(network, batch)
        self.kept: State = None
        self.seen, self.held = parameters_of(network), parts_of(network)

    def __call__(self, x: Tensor) -> Any:
        """One step: y `[B, *features]` of x `[B, *features]`; where the network returns several
        outputs, as many.
        """
        if not isinstance(x, Tensor) or x.dim() < 2 or x.shape[0] != self.batch:
            got = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
            expected = f"expected a step x as [B, *features] with B = {self.batch}"
            raise UserError(message(expected, str(got), "x[None] adds the batch to one sample"))
        if any(p._version != version or p.data_ptr() != at for p, version, at in self.seen):
            expected = "expected the parameters that the stream was made with"
            raise UserError(message(expected, "changed ones", "make a new stream(network)"))
        for parts, name, part in self.held:  # a loop: any() takes five times as long
            if parts.get(name) is not part:
                expected = "expected the layers and parameters that the stream was made with"
                raise UserError(message(expected, f"another {name}", "make a new stream(network)"))
        self.check_mode()
        if torch.is_grad_enabled():
            with torch.no_grad():
                return self.one(x)
        return self.one(x)

    def one(self, x: Tensor) -> Any:
        """A step without gradients."""
        steps = self.steps
        if steps is None or not steps.fits(x):
            return self.by_network(x)
        steps.there = True
        return steps.run(x)

    def by_network(self, x: Tensor) -> Any:
        """One step of the network itself."""
        y, self.kept = self.network(x.unsqueeze(0), self.state)
        if self.steps is not None:
            self.steps.take(self.kept)
        return map_state(lambda part: part[0], y)  # of several outputs each

    def check_mode(self) -> None:
        """No layer that does something else in training."""
        if any(module.training for module in self.trained):
            expected = "expected a network in eval(): dropout and batch norm differ in training"
            raise UserError(message(expected, "one in train()", "call network.eval() first"))

    @property
    def state(self) -> State:
        """The state after the last step, as the network returns it; None at rest."""
        return self.kept if self.steps is None else self.steps.states()

    @state.setter
    def state(self, state: State) -> None:
        if self.steps is not None:
            self.steps.take(state)
        self.kept = map_state(torch.Tensor.clone, state)

    def reset(self) -> None:
        """Start from rest again."""
        self.state = None

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, or what another process reads, is a stream of its own that goes on from here."""
        return went_on, (self.network, self.batch, self.state)

    def __repr__(self) -> str:
        return f"stream({self.network!r}, batch={self.batch})"


def went_on(network: nn.Module, batch: int, state: State) -> Stream:
    """A stream that starts from a state."""
    made = Stream(network, batch=batch)
    made.state = state
    return made


def parameters_of(network: nn.Module) -> list[tuple[Tensor, int, int]]:
    """Parameters and buffers, how often they were changed, and where they lie."""
    tensors = [*network.parameters(), *network.buffers()]
    return [(t, t._version, t.data_ptr()) for t in tensors if not t.is_inference()]


def parts_of(network: nn.Module) -> list[tuple[dict[str, Any], str, Any]]:
    """All layers, parameters and buffers, each with the dict and the name by which it is held."""
    found = []
    for module in network.modules():
        for parts in (module._modules, module._parameters, module._buffers):
            found += [(parts, name, part) for name, part in parts.items()]
    return found


class Native:
    """Layers of a `Sequential` as parts that a backend runs in one call."""

    def __init__(self, run: kernels.Streamed, places: list[int], network: Sequential) -> None:
        self.run, self.places, self.network = run, places, network
        self.neurons = [layer for layer in network.modules() if isinstance(layer, Neuron)]
        first = network[0]
        assert isinstance(first, Linear)
        self.like, self.there = first.weight.detach(), False

    def fits(self, x: Tensor) -> bool:
        """Whether the call is right for an input; else the network names the error, or records."""
        like = self.like
        if torch.is_autocast_enabled("cpu") or any(n.tape is not None for n in self.neurons):
            return False
        right = x.dim() == 2 and x.shape[1] == like.shape[1] and x.dtype == like.dtype
        return right and x.device == like.device and math.isfinite(x.sum().item())

    def states(self) -> State:
        """Copies of the states, as a `Sequential` returns them; None at rest."""
        if not self.there:
            return None
        found: list[State] = [None] * len(self.network)
        for place, state in zip(self.places, self.run.states(), strict=True):
            found[place] = state
        return tuple(found)

    def take(self, states: State) -> None:
        """Go on from the states of the `Sequential`, which are checked."""
        if states is not None:
            check_finite_state(states, "states")
            states = self.network.matched(states)
            for at, layer in enumerate(self.network):
                if at not in self.places:
                    check_stateless(layer, states[at])
        taken = [None if states is None else states[place] for place in self.places]
        self.run.take(taken)
        self.there = any(state is not None for state in taken)


def native(network: nn.Module, batch: int) -> Native | None:
    """A network's step as one call of a backend, None where there is none."""
    if not isinstance(network, Sequential) or not plain(network, Sequential) or not len(network):
        return None
    first, layers = network[0], list(network)
    if type(first) is not Linear:
        return None
    x = first.weight.detach().new_zeros((1, batch, first.in_features))
    parts: list[kernels.Part] = []
    places: list[int] = []  # of the layers that have a part's state
    backends: set[str] = set()
    at = 0
    while at < len(layers):
        if type(layers[at]) is Flatten and plain(layers[at], Flatten):  # of `[1, B, N]`: nothing
            at += 1
            continue
        block = block_at(layers, at, x)
        part = None if isinstance(block, str) else part_of(block)
        if isinstance(block, str) or part is None or block.connection.in_features != x.shape[2]:
            return None
        assert block.choice is not None
        backends.add(block.choice.backend)
        at += block.width
        parts.append(part)
        places.append(at - 1)
        x = x.new_zeros((1, batch, part.weight.shape[0]))
    if len(backends) != 1:
        return None
    try:
        run = kernels.get(backends.pop()).stream(parts, batch, x)
    except (kernels.BuildError, NotLowered):
        return None
    return None if run is None else Native(run, places, network)


def part_of(block: Block) -> kernels.Part | None:
    """A block's connection, feedback and neurons; None where synapses are some alone, or neurons
    have several inputs.
    """
    if block.divided is not None:
        return None
    connection, neuron, bias = block.connection, block.neuron, block.connection.bias
    feedback = None if block.feedback is None else block.feedback.connection
    if connection.edges is not None or (feedback is not None and feedback.edges is not None):
        return None
    if feedback is not None and feedback.bias is not None:
        bias = feedback.bias if bias is None else bias + feedback.bias
    with torch.no_grad():
        args = {} if neuron is None else neuron.law_arguments()
    return kernels.Part(
        weight=connection.weight.detach(),
        bias=None if bias is None else bias.detach(),
        feedback=None if feedback is None else feedback.weight.detach(),
        neuron=None if neuron is None else neuron.law,
        args={k: v.detach() if isinstance(v, Tensor) else v for k, v in args.items()},
    )
