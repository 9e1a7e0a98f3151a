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

CASES = [(0.5, 1.0), (0.9, 1.0), (0.95, 0.6)]
STEPS, BATCH, INPUTS, NEURONS = 12, 2, 3, 4


def measure(beta: float, threshold: float) -> dict[str, object]:
    """A Linear with a Leaky behind it: what both did, and the gradients of a weighted sum."""
    import snntorch

    torch.manual_seed(0)
    x = (torch.rand(STEPS, BATCH, INPUTS, dtype=torch.float64) * 2).requires_grad_()
    weight = (torch.rand(NEURONS, INPUTS, dtype=torch.float64) * 0.8).requires_grad_()
    seen = torch.randn(STEPS, BATCH, NEURONS, dtype=torch.float64)
    layer = snntorch.Leaky(beta=beta, threshold=threshold).double()
    mem = layer.init_leaky().double()
    spikes, membranes = [], []
    for current in torch.nn.functional.linear(x, weight):
        s, mem = layer(current, mem)
        spikes.append(s)
        membranes.append(mem)
    y, u = torch.stack(spikes), torch.stack(membranes)
    (y * seen).sum().backward()
    tensors = {"x": x, "weight": weight, "seen": seen, "spikes": y, "membrane": u,
               "dx": x.grad, "dweight": weight.grad}  # fmt: skip
    return {"beta": beta, "threshold": threshold,
            **{name: t.detach().tolist() for name, t in tensors.items()}}  # fmt: skip


def main() -> None:
    """Write the file."""
    cases = [measure(*case) for case in CASES]
    made = {"library": f"snntorch {metadata.version('snntorch')}", "cases": cases}
    path = Path(__file__).parent / "golden" / "snntorch_leaky.json"
    path.write_text(json.dumps(made) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
