"""Initial weights: Kaiming with a gain, and fluctuation-driven.

Kaiming: `W ~ N(0, gain^2 2/fan)`. The article takes gain 1.5 with fan_out, which makes
a layer of 10 neurons behind 256 five times too strong; whether a layer fires depends on its
inputs, so fan_in is the default.

Fluctuation-driven: the membrane without spikes should fluctuate around `mu` such that the
threshold lies `xi` standard deviations above. For n inputs at rate nu (spikes per step) and the
PSP kernel eps[t] of the receiving neuron, summed on the grid of dt,

    W ~ N(mu / (n nu sum eps), ((theta - mu)/xi)^2 / (n nu sum eps^2) - mean^2)

Source: Rossbroich, Gygax & Zenke (2022), Neuromorphic Computing and Engineering 2(4), eqs. 7-13;
He, Zhang, Ren & Sun (2015), ICCV.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from spikegrad.checks import check_choice, check_positive
from spikegrad.errors import UserError, message
from spikegrad.nn.adaptive import ALIF
from spikegrad.nn.base import Neuron
from spikegrad.nn.cuba import CUBALIF
from spikegrad.nn.lif import LIF
from spikegrad.nn.norm import BatchNorm
from spikegrad.nn.readout import LI
from spikegrad.nn.recurrent import Recurrent
from spikegrad.nn.spiking import Spiking

__all__ = ["connections", "fluctuation_driven", "initialise", "kaiming", "psp"]

Connection = nn.Linear | nn.modules.conv._ConvNd


def connections(network: nn.Module) -> Iterator[tuple[str, Connection, nn.Module | None]]:
    """Every feed-forward connection in order, with the neuron layer behind it, if there is one.

    >>> from spikegrad.nn import LIF, Linear, Sequential
    >>> network = Sequential(Linear(4, 3), LIF(20.0), Linear(3, 2))
    >>> [(name, type(neuron).__name__) for name, _, neuron in connections(network)]
    [('0', 'LIF'), ('2', 'NoneType')]
    """
    waiting: tuple[str, Connection] | None = None
    for name, module in network.named_modules():
        if isinstance(module, (nn.Linear, nn.modules.conv._ConvNd)):
            if waiting:
                yield (*waiting, None)
            waiting = (name, module)
        elif isinstance(module, (Neuron, Spiking, Recurrent)) and waiting:
            yield (*waiting, module)
            waiting = None
    if waiting:
        yield (*waiting, None)


def initialise(
    network: nn.Module,
    method: str = "kaiming",
    *,
    gain: float = 1.5,
    rate: float = 0.05,
    xi: float = 1.5,
    generator: torch.Generator | None = None,
) -> None:
    """Give all connections of a network new weights, biases 0.

    method: "kaiming" (gain) or "fluctuation" (rate: spikes per neuron and step of the inputs; xi:
    standard deviations between mean membrane and threshold). A connection without a spiking layer
    behind it (a readout) gets Kaiming weights with gain 1.
    Raises UserError for a network without connections and for an unknown method.
    """
    check_choice(method, "method", ("kaiming", "fluctuation"))
    found = list(connections(network))
    if not found:
        raise UserError(
            message("expected a network with Linear or Conv layers", type(network).__name__)
        )
    for _, layer, neuron in found:
        spiking = neuron is not None and not isinstance(neuron, LI)
        if method == "kaiming" or not spiking or isinstance(neuron, Spiking):
            kaiming(layer, gain=gain if spiking else 1.0, generator=generator)
        else:
            assert neuron is not None
            fluctuation_driven(layer, neuron, rate=rate, xi=xi, generator=generator)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def kaiming(
    layer: Connection,
    *,
    gain: float = 1.5,
    fan: str = "fan_in",
    generator: torch.Generator | None = None,
) -> None:
    """`W ~ N(0, gain^2 2/fan)`: the article's `initialize_snn_weights`, with its 1.5.

    fan: "fan_in" keeps the scale of currents, "fan_out" (the article's) that of gradients.
    """
    check_positive(gain, "gain")
    check_choice(fan, "fan", ("fan_in", "fan_out"))
    with torch.no_grad():
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
    generator: torch.Generator | None = None,
) -> None:
    """Weights that put the membrane's standard deviation at `(theta - mu)/xi`.

    layer: the connection; neuron: the layer behind it; rate: of the inputs, spikes per step;
    xi: 1 to 3 in the paper; mu: the mean membrane; feedforward: share of the variance that comes
    from the input when the neuron is `Recurrent`, the rest comes from its feedback.
    Raises UserError when mu alone needs more variance than there is.
    """
    check_positive(rate, "rate")
    check_positive(xi, "xi")
    inner = neuron.neuron if isinstance(neuron, Recurrent) else neuron
    assert isinstance(inner, Neuron)
    total, squared = psp(inner)
    theta = float(inner.threshold().mean())  # type: ignore[operator]
    sigma = (theta - mu) / xi
    share = feedforward if isinstance(neuron, Recurrent) else 1.0
    draw(layer.weight, fan_in(layer.weight), rate, total, squared, mu, sigma, share, generator)
    if isinstance(neuron, Recurrent):
        n = neuron.weight.shape[0]
        draw(neuron.weight, n, rate, total, squared, 0.0, sigma, 1.0 - share, generator)


def draw(
    weight: Tensor,
    n: int,
    rate: float,
    total: float,
    squared: float,
    mu: float,
    sigma: float,
    share: float,
    generator: torch.Generator | None,
) -> None:
    """Fill a weight by the formula on top of this file."""
    mean = mu / (n * rate * total)
    variance = share * sigma**2 / (n * rate * squared) - mean**2
    if variance <= 0:
        raise UserError(
            message("expected a smaller |mu|", f"mu={mu:g} with sigma={sigma:g}", "or a smaller xi")
        )
    with torch.no_grad():
        weight.normal_(mean, math.sqrt(variance), generator=generator)


def fan_in(weight: Tensor) -> int:
    """Inputs of one neuron."""
    return weight[0].numel()


def psp(neuron: Neuron, *, steps: int = 1000) -> tuple[float, float]:
    """Sum and sum of squares of the membrane's response to one input spike of weight 1.

    The response is followed on the grid of dt for at most `steps` steps, without spikes.

    >>> from spikegrad.nn import LIF
    >>> total, squared = psp(LIF(beta=0.5))
    >>> round(total, 6), round(squared, 6)          # 1/(1-b), 1/(1-b^2)
    (2.0, 1.333333)
    """
    alpha, beta, gain = 0.0, 1.0, 1.0
    if isinstance(neuron, (LIF, ALIF, LI)):
        beta = float(neuron.decay_mem().mean())
        gain = 1.0 if neuron.gain == "unit" else 1.0 - beta
    elif isinstance(neuron, CUBALIF):
        alpha, beta = float(neuron.decay_syn().mean()), float(neuron.decay_mem().mean())
        gain = 1.0 if neuron.gain_syn == "unit" else 1.0 - alpha
        gain *= 1.0 if neuron.gain_mem == "unit" else 1.0 - beta
    i, u, total, squared = 1.0, 0.0, 0.0, 0.0
    for _ in range(steps):
        u = beta * u + gain * i
        i *= alpha
        total += u
        squared += u * u
    return total, squared


def has_norm_between(network: nn.Module, connection: str) -> BatchNorm | None:
    """The batch norm between a connection and its neuron, if there is one."""
    seen = False
    for name, module in network.named_modules():
        if name == connection:
            seen = True
        elif seen and isinstance(module, BatchNorm):
            return module
        elif seen and isinstance(module, (Neuron, Spiking, nn.Linear, nn.modules.conv._ConvNd)):
            return None
    return None
