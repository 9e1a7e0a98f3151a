"""A network that takes one step at a time and keeps its state itself: `stream(network)`.

For robots, games and sensors. Layers that are `Linear`, LIF, IF, LI and Flatten, with one number
per parameter, become a few operations of torch on memory that was reserved once; any other network
runs its own step.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad.checks import check_finite_state, check_state
from spikegrad.errors import UserError, message
from spikegrad.nn.base import Neuron, plain
from spikegrad.nn.connection import Flatten, Linear
from spikegrad.nn.dropout import Dropout
from spikegrad.nn.lif import IF, LIF
from spikegrad.nn.norm import BatchNorm
from spikegrad.nn.readout import LI
from spikegrad.nn.sequential import Sequential, check_stateless
from spikegrad.nn.single_step import Numbers, numbers_of
from spikegrad.nn.threaded import Threaded
from spikegrad.types import LIFState, LIState, State, map_state

__all__ = ["Stream", "stream"]

TRAINED = (BatchNorm, Dropout, nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
"""Layers that do something else in training."""


def stream(network: nn.Module, *, batch: int = 1) -> Stream:
    """A network as a function of one step, `y = step(x)`, with the state inside.

    network: one that returns `(y, states)`; batch: B. x and y: `[B, *features]`. It is used without
    gradients, in `eval()`. Steps give what the whole sequence gives, up to the order in
    which products are summed. Parameters are read when the stream is made: after a change of the
    network, make a new one.
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
        self.steps = reserved(network, batch)
        self.kept: State = None
        self.seen = parameters_of(network)

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
        self.check_mode()
        if torch.is_grad_enabled():
            with torch.no_grad():
                return self.one(x)
        return self.one(x)

    def one(self, x: Tensor) -> Any:
        """A step without gradients."""
        if self.steps is None or not self.steps.fits(x):
            return self.by_network(x)
        return self.steps(x)

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
            self.steps.check(self.network, state)
        self.kept = map_state(torch.Tensor.clone, state)
        if self.steps is not None:
            self.steps.take(self.kept)

    def reset(self) -> None:
        """Start from rest again."""
        self.state = None

    def __repr__(self) -> str:
        return f"stream({self.network!r}, batch={self.batch})"


def parameters_of(network: nn.Module) -> list[tuple[Tensor, int, int]]:
    """Parameters and buffers, how often they were changed, and where they lie."""
    tensors = [*network.parameters(), *network.buffers()]
    return [(t, t._version, t.data_ptr()) for t in tensors if not t.is_inference()]


class Reserved:
    """Steps of layers in memory of their own; of one sample as vectors, which cost less."""

    def __init__(self, layers: list[Step], neurons: list[Neuron], batch: int) -> None:
        self.layers, self.runs, self.batch = layers, [layer.run for layer in layers], batch
        self.neurons = neurons
        first = layers[0]
        assert isinstance(first, Product)
        self.like = first.right

    def fits(self, x: Tensor) -> bool:
        """Whether the reserved memory is right for an input; else the network names the error."""
        like = self.like
        if torch.is_autocast_enabled("cpu") or any(n.tape is not None for n in self.neurons):
            return False
        right = x.dim() == 2 and x.shape[1] == like.shape[1] and x.dtype == like.dtype
        return right and x.device == like.device and math.isfinite(x.sum().item())

    def __call__(self, x: Tensor) -> Tensor:
        if self.batch == 1:
            x = x[0]
        for run in self.runs:
            x = run(x)
        return x.clone().unsqueeze(0) if self.batch == 1 else x.clone()

    def states(self) -> State:
        """Copies of the membranes, as a `Sequential` returns them; None at rest."""
        found = tuple(layer.state() for layer in self.layers)
        return found if any(state is not None for state in found) else None

    def check(self, network: Any, states: State) -> None:
        """States that the network returned, for this batch."""
        check_finite_state(states, "states")
        for layer, state in zip(self.layers, network.matched(states), strict=True):
            layer.check(state, self.batch)

    def take(self, states: State) -> None:
        """Go on from the states of a `Sequential`."""
        for k, layer in enumerate(self.layers):
            layer.take(None if states is None else states[k])


class Step:
    """One layer's step; by itself one that does nothing to `[B, N]`."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    def run(self, x: Tensor) -> Tensor:
        """The output, in memory that the next step overwrites."""
        return x

    def state(self) -> State:
        """A copy of the state."""
        return None

    def check(self, state: State, batch: int) -> None:
        """A state that fits, None among them."""
        check_stateless(self.layer, state)

    def take(self, state: State) -> None:
        """Go on from a state; None: from rest."""


class Product(Step):
    """A connection."""

    def __init__(self, layer: Linear, batch: int) -> None:
        super().__init__(layer)
        self.right = layer.weight.detach()
        self.bias = None if layer.bias is None else layer.bias.detach()
        self.turned = self.right.t()
        shape = (layer.out_features,) if batch == 1 else (batch, layer.out_features)
        self.out = self.right.new_empty(shape)

    def run(self, x: Tensor) -> Tensor:
        """`x W^T + b`."""
        bias, out = self.bias, self.out
        if out.dim() == 1:
            if bias is None:
                return torch.mv(self.right, x, out=out)
            return torch.addmv(bias, self.right, x, out=out)
        if bias is None:
            return torch.mm(x, self.turned, out=out)
        return torch.addmm(bias, x, self.turned, out=out)


class Integrator(Step):
    """A leaky integrator."""

    kind: Any = LIState

    def __init__(self, layer: Any, known: Numbers, like: Tensor) -> None:
        super().__init__(layer)
        self.known, self.rest = known, float(getattr(layer, "v_rest", 0.0))
        self.v = torch.full_like(like, self.rest)
        # A tensor, since a number of Python becomes one at every call.
        self.beta, self.threshold = like.new_tensor(known.beta), like.new_tensor(known.threshold)
        self.there = False

    def integrated(self, x: Tensor) -> Tensor:
        """The membrane before a reset, in place: `beta (v - rest) + rest + gain x`."""
        v, known = self.v, self.known
        if self.rest:
            v.sub_(self.rest).mul_(self.beta).add_(self.rest)
        else:
            v.mul_(self.beta)
        self.there = True
        return v.add_(x) if known.gain == 1.0 else v.add_(known.gain * x)

    def run(self, x: Tensor) -> Tensor:
        """The membrane."""
        return self.integrated(x)

    def check(self, state: State, batch: int) -> None:
        if state is not None:
            like = self.v.reshape(1, batch, -1)
            check_state(state, self.kind, like, like.dtype)
            if getattr(state, "refractory", None) is not None:
                expected = "expected a state without a refractory period"
                raise UserError(message(expected, "one with it", "pass states of this network"))

    def state(self) -> State:
        return self.kind(self.v.clone().reshape(-1, self.v.shape[-1])) if self.there else None

    def take(self, state: State) -> None:
        self.there = state is not None
        if state is None:
            self.v.fill_(self.rest)
        else:
            self.v.copy_(state.v.reshape(self.v.shape))


class Spiker(Integrator):
    """Neurons that spike."""

    kind = LIFState

    def __init__(self, layer: LIF | IF, known: Numbers, like: Tensor) -> None:
        super().__init__(layer, known, like)
        self.reset = layer.reset
        self.s = torch.empty_like(like)

    def run(self, x: Tensor) -> Tensor:
        """The spikes."""
        u, known = self.integrated(x), self.known
        s = torch.ge(u, self.threshold, out=self.s)
        if self.reset == "subtract":
            u.sub_(s, alpha=known.drop)
        elif self.reset == "zero":
            u.add_(s.mul(known.v_reset - u))
        return s


def reserved(network: nn.Module, batch: int) -> Reserved | None:
    """The steps of a network of plain layers, None for any other."""
    if not isinstance(network, Sequential) or not plain(network, Sequential):
        return None
    steps: list[Step] = []
    like: Tensor | None = None
    for layer in network:
        step = step_of(layer, like, batch)
        if step is None:
            return None
        steps.append(step)
        like = step.out if isinstance(step, Product) else like
    if not steps or not isinstance(steps[0], Product):
        return None
    return Reserved(steps, [layer for layer in network if isinstance(layer, Neuron)], batch)


def step_of(layer: nn.Module, like: Tensor | None, batch: int) -> Step | None:
    """One layer's step; like: a tensor as what enters it."""
    if type(layer) is Linear and layer.edges is not None:
        return None
    if type(layer) is Linear and plain(layer, Linear) and layer.backend == "auto":
        fits = layer.weight.device.type == "cpu" and layer.weight.dtype in (
            torch.float32,
            torch.float64,
        )
        return Product(layer, batch) if fits else None
    if type(layer) is Flatten and plain(layer, Flatten) and like is not None:
        return Step(layer)
    if type(layer) not in (LIF, IF, LI) or not plain(layer, Neuron) or like is None:
        return None
    assert isinstance(layer, (LIF, IF, LI))
    if layer.tape is not None or layer.backend != "auto" or layer.definition() is not None:
        return None
    known = numbers_of(layer)
    if known is None:
        return None
    if isinstance(layer, LI):
        return Integrator(layer, known, like)
    return Spiker(layer, known, like)
