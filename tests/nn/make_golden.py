"""Measure snnTorch's default `Leaky`, gradients included, to golden/snntorch_leaky.json.

Run it in an environment that has snntorch 1.0.0:

    python tests/nn/make_golden.py

The tests read the file, so that they need no other package.
"""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import torch

CASES = [
    (0.5, 1.0, "subtract"),
    (0.9, 1.0, "subtract"),
    (0.95, 0.6, "subtract"),
    (0.9, 1.0, "zero"),
    (0.8, 0.7, "zero"),
    (0.9, 1.0, "none"),
]
STEPS, BATCH, INPUTS, NEURONS = 12, 2, 3, 4


def measure(beta: float, threshold: float, reset: str) -> dict[str, object]:
    """A Linear with a Leaky behind it: what both did, and the gradients of a weighted sum of its
    spikes and, with other weights, its membranes.
    """
    import snntorch

    torch.manual_seed(0)
    x = (torch.rand(STEPS, BATCH, INPUTS, dtype=torch.float64) * 2).requires_grad_()
    weight = (torch.rand(NEURONS, INPUTS, dtype=torch.float64) * 0.8).requires_grad_()
    seen = torch.randn(STEPS, BATCH, NEURONS, dtype=torch.float64)
    seen_membrane = torch.randn(STEPS, BATCH, NEURONS, dtype=torch.float64)
    layer = snntorch.Leaky(
        beta=beta,
        threshold=threshold,
        reset_mechanism=reset,
        learn_beta=True,
        learn_threshold=True,
    ).double()
    mem = layer.init_leaky().double()
    spikes, membranes = [], []
    for current in torch.nn.functional.linear(x, weight):
        s, mem = layer(current, mem)
        spikes.append(s)
        membranes.append(mem)
    y, u = torch.stack(spikes), torch.stack(membranes)
    tensors = {"x": x, "weight": weight, "seen": seen, "seen_membrane": seen_membrane,
               "spikes": y, "membrane": u}  # fmt: skip
    inputs = [x, weight, layer.beta, layer.threshold]
    for loss, total in (("", y * seen), ("membrane_", u * seen_membrane)):
        found = torch.autograd.grad(total.sum(), inputs, retain_graph=True, allow_unused=True)
        for name, g in zip(("x", "weight", "beta", "threshold"), found, strict=True):
            tensors[f"{loss}d{name}"] = torch.zeros(()) if g is None else g
    made: dict[str, object] = {"beta": beta, "threshold": threshold, "reset": reset}
    return {**made, **{name: t.detach().tolist() for name, t in tensors.items()}}


def main() -> None:
    """Write the file."""
    cases = [measure(*case) for case in CASES]
    made = {"library": f"snntorch {metadata.version('snntorch')}", "cases": cases}
    path = Path(__file__).parent / "golden" / "snntorch_leaky.json"
    path.write_text(json.dumps(made) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
