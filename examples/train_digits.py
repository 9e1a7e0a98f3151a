"""Train a spiking network on 1,797 real handwritten digits, from Python.

Shows `fit` on a network and loaders of your own: the epoch is chosen on a validation part, the
test part is read once, at the end. `spikegrad train digits` is the same as one command.
"""

from __future__ import annotations

import os

import torch

from spikegrad.data import Augment, Batches, load, split_validation
from spikegrad.nn import LIF, models
from spikegrad.surrogate import triangle
from spikegrad.train import fit, predict

FAST = bool(os.environ.get("SPIKEGRAD_EXAMPLE_FAST"))


def main() -> None:
    torch.manual_seed(0)
    data = load("digits")
    train, validation = split_validation(data.train, 0.1, seed=0)
    network = models.mlp(
        64,
        [256],
        data.classes,
        neuron=lambda size: LIF(beta=0.7, surrogate=triangle(1.0)),
        batch_norm=True,
        dropout=0.2,
    )
    result = fit(
        network,
        Batches(train, 64, seed=0, augment=Augment(shift=1)),
        val_loader=Batches(validation, 256, shuffle=False),
        test_loader=Batches(data.test, 256, shuffle=False),
        steps=8,
        epochs=4 if FAST else 40,
        optimizer="adamw",
        learning_rate=4e-3,
        weight_decay=0.01,
        schedule="onecycle",
        warmup=0.2,
        label_smoothing=0.1,
        progress=False,
    )
    for line in result.history[:: max(1, len(result.history) // 4)]:
        print(
            f"epoch {line['epoch']:2d}: loss {line['train_loss']:.3f}, "
            f"validation accuracy {line['val_accuracy']:.4f}"
        )
    print(f"chosen epoch {result.best_epoch}, test accuracy {result.test_accuracy:.4f}")
    print("spikes per neuron and step:", result.firing_rates)

    labels, scores = predict(network, data.test.scaled()[:8], steps=8)
    sure = scores.softmax(1).amax(1)
    print("predicted", labels.tolist(), "with confidence", [round(p, 2) for p in sure.tolist()])
    print("true     ", data.test.y[:8].tolist())


if __name__ == "__main__":
    main()
