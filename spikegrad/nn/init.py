"""Initial weights: Kaiming with a gain, and fluctuation-driven.

Kaiming: `W ~ N(0, gain^2 2/fan)`. The article takes gain 1.5 with fan_out, which makes
a layer of 10 neurons behind 256 five times too strong; whether a layer fires depends on its
inputs, so fan_in is the default.

Fluctuation-driven: the membrane without spikes should fluctuate around `mu` such that the
threshold lies `xi` standard deviations above. For n inputs at rate nu (spikes per step) and the
PSP kernel eps[t] of the receiving neuron, summed on the grid of dt,

    W ~ N(mu / (n nu sum eps), ((theta - mu)/xi)^2 / (n nu sum eps^2) - mean^2)

with mu and theta counted from rest. Of a neuron that is written as a step the response is measured,
and theta is where it fires (`response.py`).

Source: Rossbroich, Gygax & Zenke (2022), Neuromorphic Computing and Engineering 2(4), eqs. 7-13;
He, Zhang, Ren & Sun (2015), ICCV.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad.checks import check_choice, check_positive
from spikegrad.errors import UserError, message
from spikegrad.nn.adaptive import ALIF
from spikegrad.nn.cuba import CUBALIF
from spikegrad.nn.edged import edges_of, fan_in_of
from spikegrad.nn.lif import IF, LIF
from spikegrad.nn.measuring import measuring
from spikegrad.nn.readout import LI
from spikegrad.nn.recurrent import Recurrent
from spikegrad.nn.response import response
from spikegrad.nn.spiking import Spiking
from spikegrad.nn.stepped import StepNeuron
from spikegrad.nn.wiring import Connection, Wire, check_settable, drivers, wiring
from spikegrad.types import Edges

__all__ = ["fluctuation_driven", "initialise", "kaiming", "psp"]


def initialise(
    network: nn.Module,
    method: str = "kaiming",
    *,
    x: Any = None,
    gain: float = 1.5,
    rate: float = 0.05,
    xi: float = 1.5,
    generator: torch.Generator | None = None,
) -> None:
    """Give all connections of a network new weights, biases 0.

    method: "kaiming" (gain) or "fluctuation" (rate: spikes per neuron and step of the inputs; xi:
    standard deviations between mean membrane and threshold). A connection that drives no spiking
    layer (a readout) gets Kaiming weights with gain 1; connections that drive one layer together
    share its fluctuations. x: a batch as the network's `forward` takes it, to see which connection
    drives which layer; a `Sequential` and a `Classifier` need none.
    Raises UserError for a network without connections, for an unknown method, and for a network
    with a forward of its own and no x; TypeError for neurons that "fluctuation" does not know.
    """
    check_choice(method, "method", ("kaiming", "fluctuation"))
    with measuring(network), torch.random.fork_rng(devices=[]):
        wires = wiring(network, x)
    if not wires:
        raise UserError(
            message("expected a network with Linear or Conv layers", type(network).__name__)
        )
    for wire in wires:
        check_settable(wire, "initialise")
    together = drivers(wires)
    if method == "fluctuation":
        for neuron in together:
            if spikes(neuron) and not isinstance(neuron, Spiking):
                response_of(inner(neuron))  # raises for a neuron that it does not know
    for wire in wires:
        start(wire, together, method, gain, rate, xi, generator)


def start(
    wire: Wire,
    together: dict[nn.Module, list[Wire]],
    method: str,
    gain: float,
    rate: float,
    xi: float,
    generator: torch.Generator | None,
) -> None:
    """The first weights of one connection."""
    driven = [neuron for neuron in wire.neurons if spikes(neuron)]
    told = [neuron for neuron in driven if not isinstance(neuron, Spiking)]
    if method == "kaiming" or not told:
        kaiming(wire.connection, gain=gain if driven else 1.0, generator=generator)
    else:
        fluctuation_driven(
            wire.connection,
            told[0],
            rate=rate,
            xi=xi,
            connections=len(together[told[0]]),
            generator=generator,
        )
    fed_back = [neuron.connection for neuron in wire.neurons if isinstance(neuron, Recurrent)]
    for connection in (wire.connection, *fed_back):
        if connection.bias is not None:
            nn.init.zeros_(connection.bias)


def spikes(neuron: nn.Module) -> bool:
    """Whether a driven layer is a spiking one."""
    within = inner(neuron)
    return within.step.spikes if isinstance(within, StepNeuron) else not isinstance(within, LI)


def inner(neuron: nn.Module) -> nn.Module:
    """The neuron itself, with or without feedback."""
    return neuron.neuron if isinstance(neuron, Recurrent) else neuron


def kaiming(
    layer: Connection,
    *,
    gain: float = 1.5,
    fan: str = "fan_in",
    generator: torch.Generator | None = None,
) -> None:
    """`W ~ N(0, gain^2 2/fan)`: the article's `initialize_snn_weights`, with its 1.5.

    fan: "fan_in" keeps the scale of currents, "fan_out" (the article's) that of gradients; of a
    sparse connection the number of synapses of each neuron.
    """
    check_positive(gain, "gain")
    check_choice(fan, "fan", ("fan_in", "fan_out"))
    edges = edges_of(layer)
    with torch.no_grad():
        if edges is not None:
            many = fan_in_of(edges)[edges.targets] if fan == "fan_in" else fan_out_of(edges)
            layer.weight.normal_(generator=generator).mul_(many.div_(2.0).rsqrt_().mul_(gain))
            return
        nn.init.kaiming_normal_(
            layer.weight,
            mode="fan_in" if fan == "fan_in" else "fan_out",
            nonlinearity="relu",
            generator=generator,
        )
        layer.weight.mul_(gain)


def fluctuation_driven(
    layer: Connection,
    neuron: nn.Module,
    *,
    rate: float = 0.05,
    xi: float = 1.5,
    mu: float = 0.0,
    feedforward: float = 0.9,
    connections: int = 1,
    generator: torch.Generator | None = None,
) -> None:
    """Weights that put the membrane's standard deviation at `(theta - mu)/xi`.

    layer: the connection; neuron: the layer behind it; rate: of the inputs, spikes per step;
    xi: 1 to 3 in the paper; mu: the mean membrane, from rest; feedforward: share of the variance
    that comes from the input when the neuron is `Recurrent`, the rest comes from its feedback;
    connections: how many drive the neuron together, each with its part of mean and variance.
    Raises UserError when mu alone needs more variance than there is, and for a neuron whose
    response is not linear or does not decay; TypeError for a neuron of an unknown kind.
    """
    check_positive(rate, "rate")
    check_positive(xi, "xi")
    total, squared, theta = response_of(inner(neuron))
    sigma = (theta - mu) / xi
    share = (feedforward if isinstance(neuron, Recurrent) else 1.0) / connections
    mean = mu / connections
    draw(layer, rate, total, squared, mean, sigma, share, generator)
    if isinstance(neuron, Recurrent):
        check_settable(Wire("of the feedback", neuron.connection, [], []), "initialise")
        draw(neuron.connection, rate, total, squared, 0.0, sigma, 1.0 - feedforward, generator)


def draw(
    layer: Connection,
    rate: float,
    total: float,
    squared: float,
    mu: float,
    sigma: float,
    share: float,
    generator: torch.Generator | None,
) -> None:
    """Fill a weight by the formula on top of this file."""
    edges = edges_of(layer)
    n = torch.tensor(fan_in(layer.weight)) if edges is None else fan_in_of(edges).clamp(min=1)
    mean = mu / (n.double() * rate * total)
    variance = share * sigma**2 / (n.double() * rate * squared) - mean**2
    if not bool((variance > 0).all()):
        raise UserError(
            message("expected a smaller |mu|", f"mu={mu:g} with sigma={sigma:g}", "or a smaller xi")
        )
    with torch.no_grad():
        if edges is None:
            layer.weight.normal_(float(mean), math.sqrt(variance), generator=generator)
            return
        of_synapse = [v.to(layer.weight.dtype)[edges.targets] for v in (variance.sqrt(), mean)]
        layer.weight.normal_(generator=generator).mul_(of_synapse[0]).add_(of_synapse[1])


def fan_in(weight: Tensor) -> int:
    """Inputs of one neuron."""
    return weight[0].numel()


def fan_out_of(edges: Edges) -> Tensor:
    """float32 `[E]`: how many synapses the neuron has that sends, synapse by synapse."""
    counts = edges.starts.diff()
    return counts.float().repeat_interleave(counts)


def response_of(neuron: nn.Module) -> tuple[float, float, float]:
    """Sum and sum of squares of the response, and how far from rest the neuron fires."""
    if isinstance(neuron, StepNeuron):
        found = response(neuron)
        return float(found.membrane.sum()), float(found.membrane.square().sum()), found.distance
    total, squared = psp(neuron)
    above = neuron.threshold().mean() - neuron.v_rest  # type: ignore[operator]
    return total, squared, float(above)


def psp(neuron: nn.Module, *, steps: int = 1000) -> tuple[float, float]:
    """Sum and sum of squares of the membrane's response to one input spike of weight 1.

    The response is followed on the grid of dt for at most `steps` steps, without spikes; of a
    neuron that is written as a step it is measured (`response.py`).
    Raises TypeError for a neuron whose equation is not known here, UserError for a step whose
    response does not decay within the steps, or is not linear.

    >>> from spikegrad.nn import LIF
    >>> total, squared = psp(LIF(beta=0.5))
    >>> round(total, 6), round(squared, 6)          # 1/(1-b), 1/(1-b^2)
    (2.0, 1.333333)
    """
    if isinstance(neuron, StepNeuron):
        membrane = response(neuron, steps=steps).membrane
        return float(membrane.sum()), float(membrane.square().sum())
    alpha, beta, gain = 0.0, 1.0, 1.0
    if isinstance(neuron, (LIF, ALIF, LI)):
        beta = float(neuron.decay_mem().mean())
        gain = 1.0 if neuron.gain == "unit" else 1.0 - beta
    elif isinstance(neuron, CUBALIF):
        alpha, beta = float(neuron.decay_syn().mean()), float(neuron.decay_mem().mean())
        gain = 1.0 if neuron.gain_syn == "unit" else 1.0 - alpha
        gain *= 1.0 if neuron.gain_mem == "unit" else 1.0 - beta
    elif not isinstance(neuron, IF):
        raise TypeError(
            message(
                "expected a neuron whose response is known: IF, LIF, CUBALIF, ALIF, LI, or a step",
                type(neuron).__name__,
                "set the weights yourself, or use initialise(network, 'kaiming')",
            )
        )
    i, u, total, squared = 1.0, 0.0, 0.0, 0.0
    for _ in range(steps):
        u = beta * u + gain * i
        i *= alpha
        total += u
        squared += u * u
    return total, squared
