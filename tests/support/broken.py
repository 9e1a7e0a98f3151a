"""Networks that do not learn, each for one reason, and networks that do.

Broken ones have the kind of finding that a diagnosis must put first, and a repair: "fix" where
`diagnose.fix` has to find it, else a function that follows the advice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import spikegrad as sg
from spikegrad.data import load_digits
from spikegrad.functional import membrane_cross_entropy, rate_cross_entropy
from spikegrad.nn import calibrate, initialise, models
from spikegrad.surrogate import arctan, straight_through, triangle

STEPS, SAMPLES = 10, 128
LAST = partial(membrane_cross_entropy, over="last")


@dataclass(frozen=True)
class Case:
    """A network with its data.

    kind: of the first finding; repair: a case that learns, or "fix"; chance: what its loss does not
    go below in so many steps while it is broken.
    """

    name: str
    network: Callable[[], nn.Module]
    kind: str = ""
    repair: Callable[[Case], Case] | str = "fix"
    batch: Callable[[], tuple[Tensor, Tensor]] | None = None
    loss: Callable[..., Tensor] = membrane_cross_entropy
    chance: float = 1.4
    steps: int = 40
    learning_rate: float = 1e-2

    def made(self) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
        """The network and its batch, always the same."""
        torch.manual_seed(0)
        batch = digits() if self.batch is None else self.batch()
        torch.manual_seed(0)
        return self.network(), batch


def digits(factor: float = 1.0) -> tuple[Tensor, Tensor]:
    """Real digits `[T, 128, 64]`, the same image at every step, times a factor; labels."""
    train = load_digits().train
    x = factor * train.scaled(torch.arange(SAMPLES)).flatten(1)
    return x.expand(STEPS, SAMPLES, 64), train.y[:SAMPLES]


def flashes(steps: int = 40) -> tuple[Tensor, Tensor]:
    """Two classes, told apart by the first five steps alone: one of two groups of 10 inputs.

    After that all inputs are the same for all samples.
    """
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(SAMPLES) % 2
    x = (torch.rand(steps, 1, 20, generator=g) < 0.1).float().repeat(1, SAMPLES, 1)
    lit = (torch.rand(5, SAMPLES, 20, generator=g) < 0.5).float()
    group = (torch.arange(20) // 10)[None] == labels[:, None]
    x[:5] = lit * group
    return x, labels


def train(
    network: nn.Module, batch: tuple[Tensor, Tensor], loss: Any, steps: int, rate: float
) -> float:
    """Adam on one batch; the lowest loss that it came to."""
    torch.manual_seed(0)
    x, labels = batch
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    least = float("inf")
    for _ in range(steps):
        optimiser.zero_grad()
        out = network(x)
        value = loss(out[0] if isinstance(out, tuple) else out, labels)
        least = min(least, value.item())
        if not value.requires_grad:
            break
        value.backward()
        optimiser.step()
    return least


# -- broken ---------------------------------------------------------------------------------------


def tri(slope: float = 1.0, **more: Any) -> Callable[[Any], nn.Module]:
    return lambda size: sg.LIF(10.0, surrogate=triangle(slope), **more)


def weak() -> nn.Module:
    network = models.mlp(64, [32, 32, 32], 10, neuron=tri(2.0))
    with torch.no_grad():
        for layer in network:
            if isinstance(layer, sg.Linear):
                layer.weight.mul_(0.02)
                layer.bias.zero_()
    return network


def strong() -> nn.Module:
    network = models.mlp(64, [32, 32], 10, neuron=tri(2.0))
    with torch.no_grad():
        network[1].weight.abs_().mul_(20.0)
        network[1].bias.zero_()
    return network


def inhibited() -> nn.Module:
    network = models.mlp(64, [32], 10, neuron=tri(2.0))
    with torch.no_grad():
        network[1].weight.abs_().neg_()
        network[1].bias.zero_()
    return network


def weak_output() -> nn.Module:
    network = models.mlp(64, [32], 10, neuron=tri(2.0), readout="spikes")
    initialise(network, "kaiming", gain=1.5)
    with torch.no_grad():
        network[3].weight.mul_(0.01)
        network[3].bias.zero_()
    return network


def feedback(surrogate: Any) -> nn.Module:
    network = sg.Sequential(
        sg.Linear(64, 32), sg.Recurrent(sg.LIF(20.0, surrogate=surrogate), 32), sg.Linear(32, 10)
    )
    initialise(network, "kaiming")
    nn.init.normal_(network[1].connection.weight, std=0.5)
    return network


def forgetful(beta: float) -> nn.Module:
    network = sg.Sequential(
        sg.Linear(20, 32), sg.LIF(beta=beta), sg.Linear(32, 2), sg.LI(beta=beta)
    )
    initialise(network, "kaiming", gain=3.0)
    return network


def drawn_anew(case: Case) -> Case:
    def network() -> nn.Module:
        made = case.network()
        initialise(made, "kaiming", gain=1.5)
        return made

    return replace(case, network=network)


BROKEN = [
    Case("weights far too small", weak, "silent"),
    Case(
        "a threshold out of reach",
        lambda: models.mlp(64, [32, 32], 10, neuron=tri(0.5, threshold=8.0)),
        "silent",
        steps=100,
    ),
    Case("weights far too large", strong, "saturated"),
    Case("weights that only inhibit", inhibited, "silent", drawn_anew),
    Case(
        "an output layer that never fires",
        weak_output,
        "silent",
        loss=rate_cross_entropy,
        steps=60,
    ),
    Case(
        "bytes as input",
        lambda: models.mlp(64, [32, 32, 32], 10, neuron=tri(4.0)),
        "input-large",
        lambda case: replace(case, batch=digits),
        batch=partial(digits, 255.0),
    ),
    Case(
        "a slope far too steep",
        lambda: models.mlp(64, [32, 32, 32], 10, neuron=tri(1000.0)),
        "narrow",
    ),
    Case(
        "cross-entropy of rates",
        lambda: models.mlp(64, [32], 10, readout="spikes"),
        "floor",
        loss=rate_cross_entropy,
    ),
    Case(
        "straight-through in feedback",
        lambda: feedback(straight_through()),
        "explodes",
        lambda case: replace(case, network=lambda: feedback(arctan(2.0))),
        loss=LAST,
    ),
    Case(
        "a membrane that forgets",
        lambda: forgetful(0.3),
        "vanishes",
        lambda case: replace(case, network=lambda: forgetful(0.98)),
        batch=flashes,
        loss=LAST,
        chance=0.6,
    ),
]

ARTICLE = Case(
    "the article's network",
    lambda: models.article(64, 32, 10, as_written=True),
    "silent",
    steps=80,
)

# -- healthy --------------------------------------------------------------------------------------


class Skip(sg.Module):
    """A network with a skip connection, written as a flow."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.lif1 = sg.Linear(64, 32), sg.LIF(10.0)
        self.on, self.skip, self.lif2 = sg.Linear(32, 32), sg.Linear(64, 32), sg.LIF(10.0)
        self.out = sg.Linear(32, 10)

    def flow(self, x: Tensor) -> Tensor:
        return self.out(self.lif2(self.on(self.lif1(self.into(x))) + self.skip(x)))


class Plain(nn.Module):
    """Plain torch around a neuron layer, step by step; scores without time."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.cell, self.head = nn.Linear(64, 32), sg.LIF(10.0), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        state, total = None, torch.zeros(())
        for x_t in x:
            s, state = self.cell(self.embed(x_t)[None], state)
            total = total + self.head(s[0])
        return total / len(x)


def images() -> tuple[Tensor, Tensor]:
    x, labels = digits()
    return x.reshape(STEPS, SAMPLES, 1, 8, 8), labels


def events() -> tuple[Tensor, Tensor]:
    """The digits as Poisson spikes."""
    x, labels = digits()
    return (torch.rand(20, *x.shape[1:]) < 0.5 * x[0]).float(), labels


def angles() -> tuple[Tensor, Tensor]:
    """A regression: sine and cosine of an angle, from 20 tuned inputs."""
    angle = torch.arange(SAMPLES) / SAMPLES * 6.283
    x = torch.exp(3 * (torch.cos(angle[:, None] - torch.arange(20) / 20 * 6.283) - 1))
    return x.expand(STEPS, SAMPLES, 20), torch.stack([angle.sin(), angle.cos()], 1)


def squared(y: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.mse_loss(y.mean(0), targets)


def spikes_of_adex() -> nn.Module:
    """Its currents, and so its weights, are in pA."""
    network = sg.Sequential(sg.Linear(64, 32), sg.AdEx(), sg.Linear(32, 10))
    calibrate(network, digits()[0], rate=0.05)
    return network


def mlp(**more: Any) -> nn.Module:
    neuron = more.pop("neuron", lambda size: sg.LIF(10.0))
    return models.mlp(64, [32], 10, neuron=neuron, **more)


HEALTHY = [
    Case("LIF", mlp),
    Case(
        "triangle, batch norm and dropout",
        lambda: mlp(neuron=tri(1.0), batch_norm=True, dropout=0.2),
    ),
    Case(
        "three layers, leaky readout",
        lambda: models.mlp(64, [48, 48, 48], 10, batch_norm=True, readout="li"),
    ),
    Case(
        "convolutions",
        lambda: models.conv([1, 8, 8], [8], [32], 10, batch_norm=True),
        batch=images,
    ),
    Case("feedback", lambda: models.recurrent(64, [32], 10), loss=LAST),
    Case("adaptive neurons", lambda: mlp(neuron=lambda size: sg.ALIF(10.0, 100.0))),
    Case("the article's network, repaired", lambda: models.article(64, 32, 10)),
    Case(
        "spikes without leak as output",
        lambda: mlp(neuron=lambda size: sg.IF(), readout="spikes"),
        loss=partial(rate_cross_entropy, temperature=0.1),
    ),
    Case("a skip connection", Skip),
    Case("plain torch", Plain, loss=nn.functional.cross_entropy),
    Case("AdEx", spikes_of_adex, learning_rate=0.2),
    Case("Poisson spikes", mlp, batch=events, loss=partial(membrane_cross_entropy, over="max")),
    Case("soft mode", lambda: mlp(neuron=lambda size: sg.LIF(10.0, surrogate=arctan(2.0).soft()))),
    Case(
        "a regression",
        lambda: sg.Sequential(sg.Linear(20, 32), sg.LIF(10.0), sg.Linear(32, 2), sg.LI(10.0)),
        batch=angles,
        loss=squared,
    ),
]
