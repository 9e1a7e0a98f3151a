"""The network of the article: dead as it is written, diagnosed, repaired, and trained.

Shows `diagnose.fix`: the health of the network with the reasons why it cannot learn, the repairs of
a copy, its health after them, and the same training of both. `models.article()` is the other cure:
other gains and weights from the start. Adam, which divides a gradient by its own size, wakes even
the dead network up, after some 200 steps, since the tails of an arctan let a little through.
"""

from __future__ import annotations

import os

import torch

import spikegrad as sg
from spikegrad import diagnose
from spikegrad.functional import direct, membrane_cross_entropy
from spikegrad.nn import models

FAST = os.environ.get("SPIKEGRAD_EXAMPLE_FAST") == "1"


def like_mnist(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ten patterns of 784 values, one in five lit, each with noise of its own; labels."""
    labels = torch.arange(batch) % 10
    lit = (torch.rand(10, 784) < 0.2)[labels]
    return lit * (0.3 + 0.7 * torch.rand(batch, 784)), labels


def train(network: sg.Sequential, x: torch.Tensor, labels: torch.Tensor, steps: int) -> float:
    """Train on one batch; the last loss."""
    optimiser = torch.optim.SGD(network.parameters(), lr=0.5)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = membrane_cross_entropy(network(x)[0], labels)
        loss.backward()
        optimiser.step()
    return loss.item()


def main() -> None:
    torch.manual_seed(0)
    images, labels = like_mnist(64)
    x, steps = direct(images, 25), 10 if FAST else 100

    dead = models.article(as_written=True)
    fixed = diagnose.fix(dead, (x, labels), loss=membrane_cross_entropy)
    print("as the article writes it\n")
    print(fixed.before)
    print("\nrepairs\n")
    for repair in fixed.repairs:
        print(repair.line)
    print("\nafter them\n")
    print(fixed.after)

    print(f"\nloss after {steps} steps of SGD; a guess costs 2.303")
    print(f"  as written  {train(dead, x, labels, steps):.3f}")
    print(f"  repaired    {train(fixed.network, x, labels, steps):.3f}")
    print(f"  ours        {train(models.article(), x, labels, steps):.3f}")


if __name__ == "__main__":
    main()
