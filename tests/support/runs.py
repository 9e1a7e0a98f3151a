"""Small runs of `fit` in folders, of the kinds that a report must know."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

import spikegrad as sg
from spikegrad.surrogate import boxcar, fast_sigmoid
from spikegrad.train import fit

ATTACK = '</script><script>window.harm=1</script><img src=x onerror="window.harm=2">\''
NAMES = [ATTACK, "<b>bold</b>&amp;", "=red \x1b[31m\u202e"]
"""What a user may call classes, and what no page, terminal or spreadsheet may execute."""


class Plain(nn.Module):
    """A network without a spiking layer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)


def network(outputs: int = 3) -> nn.Module:
    """Two spiking layers with different surrogates, one of them normalised by its peak."""
    return sg.Sequential(
        sg.Linear(12, 16),
        sg.LIF(10.0, surrogate=boxcar(2.0)),
        sg.Linear(16, 8),
        sg.LIF(10.0, surrogate=fast_sigmoid(3.0, normalisation="peak")),
        sg.Linear(8, outputs),
    )


def loader(x: torch.Tensor, y: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of 20."""
    return list(zip(x.split(20), y.split(20), strict=True))


def made(folder: Path, kind: str = "classes") -> Path:
    """A run: "classes", "regression", "no spikes", "silent" or "one" (a sample of one step)."""
    torch.manual_seed(0)
    count = 1 if kind == "one" else 60
    x, y = torch.rand(count, 12) * (kind != "silent"), torch.arange(count) % 3
    options: dict[str, object] = {"steps": 1 if kind == "one" else 6, "preflight": "off"}
    subject = Plain() if kind == "no spikes" else network()
    if kind == "classes":
        options |= {"class_names": NAMES, "about": {ATTACK: ATTACK}, "preflight": "warn"}
    if kind == "silent":
        options["preflight"] = "warn"
    if kind == "regression":
        y, options["objective"] = x[:, :3], nn.MSELoss()
    batches = loader(x, y)
    fit(
        subject,
        batches,
        val_loader=batches,
        out=folder,
        epochs=2,
        progress=False,
        tensorboard=False,
        threads=1,
        **options,
    )
    return folder
