"""The network of the article, dead as it is written and alive as it is here.

Shows `preflight`, which finds that out from one batch before any training, and two cures: scaling
the weights until every layer fires (`calibrate`), or other gains and weights (`models.article()`).
"""

from __future__ import annotations

import torch

import spikegrad as sg
from spikegrad.diagnose import firing_rates, preflight
from spikegrad.functional import direct, membrane_cross_entropy
from spikegrad.nn import calibrate, models


def like_mnist(batch: int) -> torch.Tensor:
    """Images of 784 values in [0, 1] with one pixel in five lit, `[B, 784]`."""
    lit = torch.rand(batch, 784) < 0.2
    return lit * (0.3 + 0.7 * torch.rand(batch, 784))


def look(title: str, network: sg.Sequential, x: torch.Tensor, labels: torch.Tensor) -> None:
    """Print firing rates, and what the preflight has to say."""
    with sg.record(network) as tapes:
        y, _ = network(x)
        membrane_cross_entropy(y, labels).backward()
    print(f"\n{title}")
    rates = {name: round(rate, 4) for name, rate in firing_rates(network, x).items()}
    highest = tapes["3"].membrane.max().item()
    print(f"  spikes per neuron and step: {rates}; output membrane at most {highest:.3f}")
    for name in ("0.weight", "2.weight", "4.weight"):
        gradient = network.get_parameter(name).grad
        print(f"  largest gradient of {name}: {gradient.abs().max().item():.2e}")
    found = preflight(network, x, labels, loss=membrane_cross_entropy)
    for finding in found:
        print(f"  {finding.severity}: {finding.line()}")
    if not found:
        print("  preflight: ready to learn")


def main() -> None:
    torch.manual_seed(0)
    x, labels = direct(like_mnist(64), 25), torch.arange(64) % 10

    dead = models.article(as_written=True)
    look("as the article writes it", dead, x, labels)

    dead.zero_grad()
    for layer in calibrate(dead, x, rate=0.05):
        print(f"  layer {layer.layer}: weights times {layer.factor:.1f}, rate {layer.after:.3f}")
    look("the same, calibrated to a rate of 0.05", dead, x, labels)

    look("with input gain 1 and Kaiming weights", models.article(), x, labels)


if __name__ == "__main__":
    main()
