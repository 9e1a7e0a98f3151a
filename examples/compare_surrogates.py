"""The same network, data and seed with several surrogates.

Shows that names, slopes and normalisations are values to loop over, and that the choice matters
less than its width against the spread of the membranes (docs/article.md, section 4.2).
"""

from __future__ import annotations

import os

import torch

import spikegrad as sg
from spikegrad.data import Batches, load, split_validation
from spikegrad.diagnose import gradient_flow
from spikegrad.functional import direct, membrane_cross_entropy
from spikegrad.surrogate import Surrogate, get
from spikegrad.train import fit

FAST = bool(os.environ.get("SPIKEGRAD_EXAMPLE_FAST"))
CHOICES: list[Surrogate] = [
    get("arctan", slope=2.0),
    get("sigmoid", slope=4.0),
    get("fast_sigmoid", slope=2.0),
    get("superspike", slope=10.0),
    get("triangle", slope=1.0),
    get("triangle", slope=20.0),  # too narrow: few membranes are near enough to learn
    get("boxcar", slope=1.0),
    get("straight_through"),
]


def network_with(surrogate: Surrogate) -> sg.Sequential:
    """Two hidden layers, always the same weights."""
    torch.manual_seed(0)
    first, second = sg.LIF(10.0, surrogate=surrogate), sg.LIF(10.0, surrogate=surrogate)
    return sg.Sequential(
        sg.Flatten(), sg.Linear(64, 100), first, sg.Linear(100, 100), second, sg.Linear(100, 10)
    )


def main() -> None:
    data = load("digits")
    train, validation = split_validation(data.train, 0.1, seed=0)
    x, labels = direct(train.scaled()[:128], 8), train.y[:128]
    print(f"{'surrogate':<48} {'peak':>5} {'area':>5} {'passing':>8} {'gradient':>9} {'test':>7}")
    for surrogate in CHOICES[::4] if FAST else CHOICES:
        network = network_with(surrogate)
        flow = gradient_flow(network, x, labels, loss=membrane_cross_entropy)
        passing = torch.tensor(flow.layers[0].passing).mean().item()
        result = fit(
            network,
            Batches(train, 64, seed=0),
            val_loader=Batches(validation, 256, shuffle=False),
            test_loader=Batches(data.test, 256, shuffle=False),
            steps=8,
            epochs=2 if FAST else 10,
            learning_rate=2e-3,
            progress=False,
            preflight="off",
        )
        print(
            f"{surrogate!s:<48} {surrogate.peak:5.2f} {surrogate.area:5.2f} {passing:8.1%} "
            f"{flow.layers[0].total:9.2e} {result.test_accuracy:7.4f}"
        )
    print("passing: neurons whose derivative exceeds 1 % of its peak, first layer, at the start")


if __name__ == "__main__":
    main()
