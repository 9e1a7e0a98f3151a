"""A recurrent network on spike times alone, with the gradient through all of time or cut.

Randman (Zenke & Vogels 2021): every input fires exactly once, so rates say nothing. Shows
`models.recurrent`, sequences in `fit`, and truncated BPTT: the state is carried from chunk to
chunk, the gradient is cut, memory follows the chunk. The readout is trained at every chunk, so a
chunk must be long enough to see what it is asked for.
"""

from __future__ import annotations

import os

import torch

from spikegrad.data import Batches, load
from spikegrad.nn import CUBALIF, calibrate, models
from spikegrad.surrogate import superspike
from spikegrad.train import fit

FAST = bool(os.environ.get("SPIKEGRAD_EXAMPLE_FAST"))
STEPS = 50


def main() -> None:
    data = load(
        "randman",
        classes=4,
        units=40,
        dim=1,
        steps=STEPS,
        samples=30 if FAST else 200,
        test_samples=50,
    )
    print(f"{data.train.x.shape[0]} samples of {STEPS} steps, {data.classes} classes")
    for truncate in (0, STEPS // 2):
        torch.manual_seed(0)
        network = models.recurrent(
            40,
            [64],
            data.classes,
            neuron=lambda size: CUBALIF(10.0, 5.0, surrogate=superspike(10.0)),
        )
        loader = Batches(data.train, 50, seed=0)
        x, _ = next(iter(loader.epoch(0)))
        calibrate(network, x.transpose(0, 1), rate=0.05)  # [B, T, N] -> [T, B, N]
        result = fit(
            network,
            loader,
            test_loader=Batches(data.test, 200, shuffle=False),
            sequence=True,
            objective="membrane_mean",
            truncate=truncate,
            epochs=2 if FAST else 10,
            learning_rate=2e-3,
            progress=False,
            preflight="off",
        )
        what = f"gradient cut every {truncate} steps" if truncate else "gradient through all steps"
        seconds = result.summary["seconds_per_epoch"]
        print(f"{what}: test accuracy {result.test_accuracy:.3f}, {seconds:.2f} s per epoch")


if __name__ == "__main__":
    main()
