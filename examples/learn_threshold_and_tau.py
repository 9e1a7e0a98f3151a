"""Neurons that learn their threshold and time constant, one of each per neuron.

Shows `learn=` and what becomes of the quantities: they start equal, spread out, and stay inside
their bounds whatever the optimiser does. The task is yin-yang, three classes in the plane.
"""

from __future__ import annotations

import os

import torch

import spikegrad as sg
from spikegrad.data import Batches, load, split_validation
from spikegrad.nn import no_decay
from spikegrad.train import fit

FAST = bool(os.environ.get("SPIKEGRAD_EXAMPLE_FAST"))
HIDDEN = 64


def train(learn: tuple[str, ...]) -> tuple[sg.Sequential, float]:
    """A network trained with these quantities learned, and its test accuracy."""
    torch.manual_seed(0)
    data = load("yin-yang", samples=900 if FAST else 5000)
    part, validation = split_validation(data.train, 0.1, seed=0)
    bounds = (0.5, 2.0) if "threshold" in learn else None
    neuron = sg.LIF(10.0, learn=learn, size=HIDDEN, threshold_bounds=bounds)
    network = sg.Sequential(sg.Linear(4, HIDDEN), neuron, sg.Linear(HIDDEN, 3), sg.LI(10.0))
    result = fit(
        network,
        Batches(part, 100, seed=0),
        val_loader=Batches(validation, 500, shuffle=False),
        test_loader=Batches(data.test, 500, shuffle=False),
        steps=10,
        epochs=3 if FAST else 40,
        learning_rate=1e-2,
        weight_decay=0.01,
        optimizer="adamw",
        schedule="cosine",
        progress=False,
        preflight="off",
    )
    return network, result.test_accuracy or 0.0


def spread(name: str, values: torch.Tensor) -> None:
    """Print smallest, median and largest of a quantity."""
    low, middle, high = values.min().item(), values.median().item(), values.max().item()
    print(f"  {name}: {low:.2f} to {high:.2f}, median {middle:.2f}")


def main() -> None:
    _, fixed = train(())
    print(f"threshold 1, tau_mem 10 ms for all: test accuracy {fixed:.3f}")

    network, learned = train(("threshold", "tau_mem"))
    print(f"both learned, per neuron:           test accuracy {learned:.3f}")
    neuron = network[1]
    with torch.no_grad():
        spread("threshold (bounds 0.5 and 2)", neuron.threshold())
        spread("tau_mem in ms (above 0)", neuron.tau_mem())
    spared = sorted(name for name in no_decay(network) if "raw" in name)
    print("  weight decay leaves alone:", ", ".join(spared))


if __name__ == "__main__":
    main()
