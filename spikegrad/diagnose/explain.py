"""What runs each layer of a network on an input, why, and how long: `explain(network, x)`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad import kernels
from spikegrad.diagnose.explain_delays import of_delayed, of_delayed_feedback
from spikegrad.diagnose.explained import Explained, Explanation, together
from spikegrad.diagnose.probe import HAND_ON, outputs_of
from spikegrad.diagnose.summary import parts
from spikegrad.diagnose.untouched import untouched
from spikegrad.kernels.cpu.conv import shares, spikes_of
from spikegrad.kernels.cpu.crossover import Crossover, crossover, followed, table
from spikegrad.nn.base import Neuron
from spikegrad.nn.connection import Conv2d, Linear, MaxPool2d, pair
from spikegrad.nn.delayed import DelayedLinear
from spikegrad.nn.fold import is_static
from spikegrad.nn.fuse import Block
from spikegrad.nn.fuse_norm import NORMED
from spikegrad.nn.module import Module
from spikegrad.nn.now import NOW
from spikegrad.nn.recurrent import Recurrent
from spikegrad.nn.sequential import Sequential
from spikegrad.nn.stepped import StepNeuron
from spikegrad.nn.witness import Seen, Witness
from spikegrad.ragged import Packed, with_lengths
from spikegrad.step import Step
from spikegrad.types import Edges

__all__ = ["explain"]

_ROUTES = ("dense", "events", "once", "given", "synapses")
RUNS = 3
"""Runs whose median counts, after one that does not."""
OURS = {
    nn.Linear: "spikegrad.Linear",
    nn.Conv2d: "spikegrad.Conv2d",
    nn.MaxPool2d: "spikegrad.MaxPool2d",
}
"""Layers of torch that have a faster one here."""


BEFORE = "a Linear directly before it in a Sequential would run in the same call"
"""What makes neurons of a `Sequential` fast."""


def explain(network: nn.Module, x: Tensor, *, lengths: Any = None) -> Explanation:
    """What runs every layer of a network on x, why, and how long it takes.

    network: any module; its layers in a `Sequential` of this package run several in one call where
    that is faster; x: what its `forward` takes, usually `[T, B, *features]`; lengths: the steps of
    every sample, int64 `[B]`, None for T each. Runs it some times, with gradients of the sum of its
    output; the network stays as it was.

    >>> from spikegrad import LIF, Linear
    >>> network = Sequential(Linear(3, 2), LIF(20.0, backend="reference"))
    >>> for each in explain(network, torch.ones(4, 1, 3)): print(each.layers, each.reason)
    ('0',) the reference was chosen by name
    ('1',) chosen by name
    """
    names = {module: name or type(module).__name__ for name, module in network.named_modules()}
    in_flows = {m for each in network.modules() if isinstance(each, Module) for m in each.modules()}
    runs = []
    with untouched(network), torch.enable_grad():
        for _ in range(RUNS + 1):
            runs.append(one_run(network, x, lengths))
    made: list[Explained] = []
    for place, seen in enumerate(runs[-1]):
        block = isinstance(seen.what, Block)
        said = of_block(seen, names, not made) if block else of_layer(seen, names)
        if said.advice == BEFORE and seen.layers[-1] in in_flows:
            said = replace(
                said, advice=""
            )  # there the reason of its connections says what is amiss
        # A run by another way (an input that is not the same twice) has other calls.
        same = [run[place] for run in runs[1:] if len(run) == len(runs[-1])]
        back = [each.backward for each in same if each.backward is not None]
        made.append(
            replace(
                said,
                forward_ms=1e3 * median(each.forward for each in same),
                backward_ms=1e3 * median(back) if back else None,
            )
        )
    return together(made)


def one_run(network: nn.Module, x: Tensor, lengths: Any = None) -> Witness:
    """One pass forward and backward, witnessed."""
    notes = Witness()
    containers = [m for m in network.modules() if isinstance(m, Sequential)]
    trained = [p for p in network.parameters() if p.requires_grad]
    try:
        for container in containers:
            container.witness = notes
        NOW.witness = notes
        with alone(network, notes):
            ends = outputs_of(with_lengths(network, lengths, "a network", HAND_ON)(x))
        sums = [y.sum() for y in ends if y.requires_grad]
        if sums and trained:
            torch.autograd.grad(sums, trained, allow_unused=True)
            notes.arrived(None)
    finally:
        NOW.witness = None
        for container in containers:
            del container.witness
    return notes


@contextmanager
def alone(network: nn.Module, notes: Witness) -> Iterator[None]:
    """Listen to the layers that no container of this package calls."""
    held = {child for m in network.modules() if isinstance(m, Sequential) for child in m}
    # A flow writes down its own; a hook would keep connections and neurons apart.
    for module in network.modules():
        if isinstance(module, Module):
            held |= {m for m in module.modules() if isinstance(m, (Linear, Neuron, Recurrent))}
    began: list[float] = []
    handles = []

    def end(layer: nn.Module, given: tuple[Any, ...], out: Any) -> None:
        took = perf_counter() - began.pop()
        x = given[0] if given else None
        y = out[0] if isinstance(out, tuple) and out else out
        if isinstance(y, (Tensor, tuple, Packed)):
            notes.saw(Seen((layer,), layer, "", x, took), y)

    try:
        for _, layer in parts(network):
            if layer not in held and not isinstance(layer, Sequential):
                before = layer.register_forward_pre_hook(lambda *_: began.append(perf_counter()))
                handles += [before, layer.register_forward_hook(end)]
        yield
    finally:
        for handle in handles:
            handle.remove()


def of_layer(seen: Seen, names: dict[nn.Module, str]) -> Explained:
    """A layer that runs by itself, or a neuron and its neighbours in one call."""
    layer, why = seen.what, seen.how
    layers = tuple(names.get(each, "?") for each in seen.layers)
    if why == NORMED:
        return Explained(layers, "triton", "", "", "", None, NORMED)
    if len(layers) > 1:
        reason = "neurons and pool in one call"
        if isinstance(layer, Conv2d):
            also = " and the norm" if layers[3:] else ""
            once = f"the convolution{also} once, because its input is constant in time"
            reason = f"{once}; {reason}"
        return Explained(layers, "cpu", "once" if layers[2:] else "", "", "", None, reason)
    backend, forward, reason = "torch", "", "spikegrad has no kernel for it"
    advice = next((f"use {name}" for kind, name in OURS.items() if type(layer) is kind), "")
    if isinstance(layer, (Neuron, Recurrent)):
        # The CPU's kernels are chosen without looking at the input; where it is decides the rest.
        on_cpu = not isinstance(seen.x, Tensor) or seen.x.device.type == "cpu"
        backend, reason, advice = of_neuron(layer, None if on_cpu else seen.x)
    elif isinstance(layer, (Conv2d, MaxPool2d)):
        backend, forward, reason, advice = of_image(layer, seen.x)
    elif isinstance(layer, Linear):
        backend, forward, reason, advice = of_linear(layer, seen.x, why)
    elif isinstance(layer, DelayedLinear):
        backend, forward, reason, advice = of_delayed(layer, seen.x)
    return Explained(layers, backend, forward, "", "", None, reason, advice=advice)


def of_neuron(layer: Neuron | Recurrent, x: Tensor | None) -> tuple[str, str, str]:
    """Backend, reason and advice of neurons that ran by themselves; x: None on a CPU."""
    neuron = layer.neuron if isinstance(layer, Recurrent) else layer
    if isinstance(layer, Recurrent) and isinstance(layer.connection, DelayedLinear):
        return of_delayed_feedback(layer, layer.connection, x)
    scan = "recurrent" if isinstance(layer, Recurrent) else getattr(neuron, "scan", "")
    definition = neuron.definition()
    if definition is not None:
        return of_step(definition, layer, neuron, x)
    if scan not in (*kernels.NEURONS, "recurrent"):
        return "torch", "its own scan", ""
    args = {"surrogate": getattr(neuron, "surrogate", None)}
    asked = neuron.backend
    if isinstance(layer, Recurrent):
        args["edges"], asked = layer.connection.edges, layer.asked
    choice = kernels.choose(scan, asked, x, args)
    advice = ""
    if choice.backend == "cpu":
        advice = BEFORE
    if choice.backend == "reference":
        named = asked == "reference"
        advice = "use_backend(network, 'auto')" if named else "see `spikegrad doctor`"
    return choice.backend, choice.reason, advice


def of_step(
    definition: Step, layer: nn.Module, neuron: Neuron, x: Tensor | None
) -> tuple[str, str, str]:
    """The same of neurons that are written as one step."""
    args = {"surrogate": getattr(neuron, "surrogate", None)}
    choice = kernels.choose_step(definition, neuron.backend, x, args)
    advice = ""
    if choice.backend == "reference":
        lowered = f"see print({type(neuron).__name__}.explain())"
        hint = lowered if isinstance(neuron, StepNeuron) else ""
        advice = "use_backend(network, 'auto')" if neuron.backend == "reference" else hint
    if layer is neuron:
        return choice.backend, choice.reason, advice
    assert isinstance(layer, Recurrent)
    bound = {**args, "neuron": neuron.bound(), "edges": layer.connection.edges}
    feedback = kernels.choose("recurrent", layer.asked, x, bound)
    if feedback.backend != "reference":
        return feedback.backend, feedback.reason, ""
    return "reference", f"feedback step by step: {feedback.reason}", advice


def of_linear(layer: Linear, x: Tensor, why: str) -> tuple[str, str, str, str]:
    """Backend, way, reason and advice of a connection that ran by itself."""
    reason = why or "called outside a Sequential"
    advice = "" if why else "put it and its neurons next to each other in a Sequential"
    advice = "remove its hooks or its own forward" if "not a plain" in reason else advice
    if is_static(x) and layer.backend != "reference" and layer.edges is None:
        return "torch", "once", reason, advice
    given: dict[str, Any] = {"weight": layer.weight, "edges": layer.edges}
    choice = kernels.choose("linear", layer.backend, x, given)
    if choice.backend == "reference":
        named = layer.backend == "reference"
        reason = why or choice.reason
        return "reference", "", reason, "use_backend(network, 'auto')" if named else ""
    found: list[Any] = []
    with torch.no_grad():
        kernels.linear(x, bias=layer.bias, **given, witness=found)
    way = _ROUTES[int(found[0][0][0])] if found else ""
    return choice.backend, way, reason, advice


def of_image(layer: Conv2d | MaxPool2d, x: Tensor) -> tuple[str, str, str, str]:
    """Backend, way, reason and advice of a convolution or a pool that ran by itself."""
    conv = isinstance(layer, Conv2d)
    asked = layer.backend if isinstance(layer, Conv2d) else "auto"
    once = x[:1] if is_static(x) else x
    choice = kernels.choose("conv2d" if conv else "max_pool2d", asked, once, {})
    if choice.backend != "cpu":
        advice = "use_backend(network, 'auto')" if asked == "reference" else ""
        return choice.backend, "", choice.reason, advice
    if isinstance(layer, MaxPool2d):
        if layer.return_indices or layer.ceil_mode or pair(layer.dilation) != (1, 1):
            return "torch", "", "torch runs pools with ceil_mode, dilation or indices", ""
        return "cpu", "", "a native pool", ""
    odd = isinstance(layer.padding, str) or pair(layer.dilation) != (1, 1) or layer.groups != 1
    if odd or layer.padding_mode != "zeros":
        return (
            "torch",
            "dense",
            "torch runs convolutions with groups, dilation or padding as a string",
            "",
        )
    with torch.no_grad():
        rows = once.flatten(0, 1)
        stride, padding = layer.stride, layer.padding
        bits = spikes_of(rows, layer.weight, (stride[0], stride[1]), padding)
    if bits is not None:
        return "cpu", "events", "event-driven", ""
    reason = "torch's convolution: the input is not sparse spikes, or the product is small"
    most = f"{100 * shares(layer.in_channels, layer.out_channels).spikes:.0f} %"
    advice = f"with fewer spikes (up to {most}) the product is event-driven"
    return "torch", "dense", reason, advice


def of_block(seen: Seen, names: dict[nn.Module, str], first: bool) -> Explained:
    """Layers that ran in one call of the kernels."""
    block: Block = seen.what
    choices: list[Any] | None = seen.how
    within: Sequence[Any] = seen.layers or [
        block.connection,
        block.divided,
        block.feedback or block.neuron,
    ]
    layers = tuple(names.get(part, "?") for part in within if part is not None)
    if choices is None:  # its neurons have no program, and ran by themselves
        return Explained(layers, "reference", "", "", "", None, "torch's product")
    assert block.choice is not None
    if not choices or isinstance(choices[0], str):
        reason = choices[0] if choices else block.choice.reason
        return Explained(layers, block.choice.backend, "", "", "", None, reason)
    choice, neuron, given = choices[0]
    if block.connection.edges is not None:
        return of_synapses(block, layers, choices[0], first)
    route, ones, nonzeros = _ROUTES[int(choice[0])], int(choice[1]), int(choice[2])
    steps, batch = given.shape[:2]
    size = steps * batch * block.connection.in_features
    activity = ones / size if ones >= 0 else None
    sizes = block.connection.in_features, block.connection.out_features
    limits = crossover(*sizes)
    events = activity is not None and activity <= limits.weight
    reason = "a separate product" if neuron is None else "with its neurons in one call"
    reason += of_feedback(block)
    if nonzeros >= 0:
        rows = batch if route == "once" else steps * batch
        share = nonzeros / (rows * block.connection.in_features)
        events = followed("weight", share, limits.weight, rows, sizes)
        reason += f"; {100 * share:.3g} % of inputs are not 0"
    weight = "once" if route == "once" else "events" if events else "dense"
    support = given.support
    back = "" if first else "dense" if support is None else sampled(support, size, limits)
    reason += f"; crossover table: {table().measured}"
    advice = ""
    if back == "dense" and support is None:
        advice = (
            "a surrogate of compact support in the layer before (triangle, boxcar) makes dx faster"
        )
    if activity is not None and activity > limits.forward:
        advice = f"below {100 * limits.forward:.3g} % of spikes the product is event-driven"
    return Explained(layers, "cpu", route, weight, back, activity, reason, advice=advice)


def of_synapses(block: Block, layers: tuple[str, ...], met: Any, first: bool) -> Explained:
    """The same of a connection with some synapses alone: its product, then the neurons."""
    choice, neuron, given = met
    edges = block.connection.edges
    assert edges is not None
    ones, nonzeros = int(choice[1]), int(choice[2])
    once = is_static(given.x) and given.bits is None
    size = given.shape[1] * edges.inputs * (1 if once else given.shape[0])
    reason = f"{share_of(edges):.3g} % of the synapses exist"
    reason += "; a separate product" if neuron is None else "; the product, then its neurons"
    if nonzeros >= 0:
        reason += f"; {100 * nonzeros / size:.3g} % of inputs are not 0"
    way = _ROUTES[int(choice[0])]
    ways = ("once" if once else way, way, "" if first else "synapses")
    activity = ones / size if ones >= 0 else None
    return Explained(layers, "cpu", *ways, activity, reason + of_feedback(block))


def of_feedback(block: Block) -> str:
    """How spikes are fed back where some synapses exist alone, else nothing."""
    edges = None if block.feedback is None else block.feedback.connection.edges
    return "" if edges is None else f"; feedback along {share_of(edges):.3g} % of the synapses"


def share_of(edges: Edges) -> float:
    """The synapses that exist, of all that could (%)."""
    return 100 * len(edges.targets) / (edges.inputs * edges.outputs)


def sampled(support: Tensor, size: int, limits: Crossover) -> str:
    """How the input's gradient is made where the lower surrogate has a compact support."""
    words = support.contiguous().view(torch.uint8).flatten()
    bits = torch.tensor([bin(k).count("1") for k in range(256)])
    share = int(bits[words.long()].sum()) / size
    return "sampled" if share <= limits.input else "dense"
