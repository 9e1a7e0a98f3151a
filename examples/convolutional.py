"""A convolutional spiking network on images.

Shows `models.conv` and layers by hand on images `[T, B, C, H, W]`. Fashion-MNIST when it is on this
machine (`SPIKEGRAD_DATA` names the folder), else the digits that come with the package.
"""

from __future__ import annotations

import os

import torch

import spikegrad as sg
from spikegrad.data import Batches, Split, catalogue, load, split_validation
from spikegrad.nn import LIF, models
from spikegrad.surrogate import triangle
from spikegrad.train import fit

FAST = bool(os.environ.get("SPIKEGRAD_EXAMPLE_FAST"))
STEPS = 4


def with_channel(split: Split, most: int) -> Split:
    """At most so many images `[N, H, W]`, as `[N, 1, H, W]`."""
    return Split(split.x[:most].unsqueeze(1), split.y[:most], split.scale)


def main() -> None:
    torch.manual_seed(0)
    here = {entry.name: entry.present for entry in catalogue()}
    name = "fashion-mnist" if here["fashion-mnist"] else "digits"
    data = load(name, download=False)
    height, width = data.features
    train = with_channel(data.train, 200 if FAST else 12000)
    test = with_channel(data.test, 200 if FAST else 10000)
    train, validation = split_validation(train, 0.1, seed=0)
    print(f"{name}: {len(train)} images of {height}x{width} for training")

    network = models.conv(
        [1, height, width],
        [8, 16],
        [64],
        data.classes,
        neuron=lambda size: LIF(beta=0.5, surrogate=triangle(1.0)),
        batch_norm=True,
    )
    x = sg.functional.direct(train.scaled()[:2], STEPS)
    for layer in network:  # what a layer makes of [T, B, C, H, W]
        x = layer(x)[0] if isinstance(layer, sg.nn.Stateful) else layer(x)
        print(f"  {type(layer).__name__:<10} -> {list(x.shape)}")

    result = fit(
        network,
        Batches(train, 32 if FAST else 64, seed=0),
        val_loader=Batches(validation, 256, shuffle=False),
        test_loader=Batches(test, 256, shuffle=False),
        steps=STEPS,
        epochs=4 if FAST else 5,
        optimizer="adamw",
        learning_rate=4e-3,
        schedule="onecycle",
        warmup=0.2,
        progress=False,
        preflight="off",
    )
    seconds = result.summary["seconds_per_epoch"]
    print(f"test accuracy {result.test_accuracy:.4f}, {seconds:.1f} s per epoch")
    print("spikes per neuron and step:", result.firing_rates)


if __name__ == "__main__":
    main()
