"""The gradient of the expected loss by enumeration of all patterns of spikes.

With the probability P of a pattern, a product over its units of p or 1 - p,

    E[L] = sum P L,     dE[L]/dw = sum (dP/dw L + P dL/dw)

where the second term is that of the readout alone: within a pattern the spikes are fixed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spikegrad.diagnose.escape import FIRES, SILENT
from spikegrad.diagnose.trial import Passed, Trial, Vectors, add, pieces

__all__ = ["PATTERNS", "enumerated", "expected_loss"]

PATTERNS = 1 << 14
"""Patterns of all samples together, at most."""


def enumerated(trial: Trial) -> tuple[Vectors, Vectors]:
    """The expected surrogate gradient, and the gradient of the expected loss, by layer."""
    expected: Vectors = {}
    exact: Vectors = {}
    for begin, end in pieces(trial.samples << trial.count, trial.room):
        index, bits, noise = patterns(trial, begin, end)
        live = trial.passed(index, noise)
        weight = likelihood(live, bits, trial) / trial.samples
        alone, slopes = trial.losses(live.y, index), trial.slopes(live.y, index)
        along = [1] * live.y.dim()
        along[trial.axis] = -1
        fixed = weight.detach().reshape(along)
        add(expected, trial.gradient([(live.y, slopes * fixed)], keep=True))
        with live.through.closed():
            add(exact, trial.gradient([(weight, alone), (live.y, slopes * fixed)]))
    return expected, exact


def expected_loss(trial: Trial) -> float:
    """The expected loss itself."""
    total = 0.0
    for begin, end in pieces(trial.samples << trial.count, trial.room):
        index, bits, noise = patterns(trial, begin, end)
        live = trial.passed(index, noise)
        weight = likelihood(live, bits, trial).detach() / trial.samples
        total += float((weight * trial.losses(live.y, index)).sum())
    return total


def patterns(trial: Trial, begin: int, end: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Copies from begin to end: which sample each is, its pattern `[R, units]`, and its noise."""
    copies = trial.range(begin, end)
    numbers = copies & ((1 << trial.count) - 1)
    bits = (numbers[:, None] >> trial.range(0, trial.count)) & 1
    return copies >> trial.count, bits, forced(trial, bits)


def forced(trial: Trial, bits: Tensor) -> dict[str, Tensor]:
    """Noise that forces a pattern of spikes on every copy."""
    found, at = {}, 0
    for name, size in trial.units.items():
        part = bits[:, at : at + size.numel()].reshape(len(bits), *size).movedim(0, 1)
        found[name] = torch.where(part > 0, FIRES, SILENT).to(trial.dtype)
        at += size.numel()
    return found


def likelihood(passed: Passed, bits: Tensor, trial: Trial) -> Tensor:
    """The probability of every copy's pattern, `[R]`, with the graph of the membranes."""
    whole, at = torch.ones_like(bits[:, 0], dtype=torch.float64), 0
    for name, size in trial.units.items():
        part = bits[:, at : at + size.numel()] > 0
        p = passed.chance[name].double().movedim(1, 0).reshape(len(bits), -1)
        whole = whole * torch.where(part, p, 1.0 - p).prod(1)
        at += size.numel()
    return whole
