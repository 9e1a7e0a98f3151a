"""The gradient of the expected loss by flips of single units, under common random numbers.

    dE[L]/dw = E[ sum_i c_i dp_i/dw ] + E[dL/dw of the readout],   c_i = L(s_i = 1) - L(s_i = 0)

where both losses have the same noise at all other units. Units are drawn with chances as large as
dp_i/du_i; what the surrogate gradient says of c_i, times a factor that is learned from a draw of
its own, is a control variate: it is there for every unit, and the drawn ones correct it.
Source: Titsias & Lazaro-Gredilla (2015), NeurIPS, "Local expectation gradients".
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from spikegrad.diagnose.escape import FIRES, SILENT
from spikegrad.diagnose.trial import Passed, Trial, Vectors, pieces, weighted

__all__ = ["Draw", "draws_of"]

GRAPH = 16
"""A pass with gradients has about so many times the memory of one without."""


class Draw(NamedTuple):
    """What one draw of noise gave, by layer of parameters: the surrogate gradient, and an estimate
    of the gradient of the expected loss without bias; by layer of neurons: what the guess should
    have been multiplied by.
    """

    surrogate: Vectors
    exact: Vectors
    best: dict[str, float]


def draws_of(
    trial: Trial, draws: int, flips: int, trust: dict[str, float], source: torch.Generator
) -> list[Draw]:
    """Draws of noise, with flips of so many units of each layer in each.

    trust: what the guess of each layer is multiplied by.
    """
    found = []
    together = max(1, trial.room // max(flips, GRAPH * trial.samples))
    for begin, end in pieces(draws, together):
        group = [begun(trial, flips, source) for _ in range(begin, end)]
        told = [flipped(trial, name, group) for name in trial.units]
        found += [
            ended(trial, each, dict(zip(trial.units, of_layers, strict=True)), trust)
            for each, *of_layers in zip(group, *told, strict=True)
        ]
    return found


class Drawn(NamedTuple):
    """Units of a layer, by their place in `[T, B, *features]`, and the inverse of how often each is
    drawn.
    """

    units: Tensor
    weights: Tensor


class Begun(NamedTuple):
    """A draw before its units are flipped. base: the loss of every sample; slopes: its gradient,
    that of the output; by layer of neurons: guesses `[T, B, *features]`, the surrogate gradient of
    the spikes, and the units that will be flipped.
    """

    noise: dict[str, Tensor]
    live: Passed
    base: Tensor
    slopes: Tensor
    surrogate: Vectors
    guesses: dict[str, Tensor]
    drawn: dict[str, Drawn]


def begun(trial: Trial, flips: int, source: torch.Generator) -> Begun:
    """Draw noise, run every sample with it once, and draw the units."""
    every = trial.range(0, trial.samples)
    noise = {
        name: torch.rand(size[0], trial.samples, *size[1:], generator=source, dtype=trial.dtype).to(
            trial.x.device
        )
        for name, size in trial.units.items()
    }
    live = trial.passed(every, noise)
    base, slopes = trial.losses(live.y, every), trial.slopes(live.y, every)
    spikes = list(live.spikes.values())
    total = weighted([(live.y, slopes)])
    credit = torch.autograd.grad(total, spikes, allow_unused=True, retain_graph=True)
    surrogate = trial.gradient([(live.y, slopes / trial.samples)], keep=True)
    guesses = {
        name: torch.zeros_like(fired) if guess is None else guess.contiguous()
        for (name, fired), guess in zip(live.spikes.items(), credit, strict=True)
    }
    drawn = {name: drawn_units(density, flips, source) for name, density in live.density.items()}
    return Begun(noise, live, base, slopes, surrogate, guesses, drawn)


def ended(trial: Trial, draw: Begun, told: dict[str, Tensor], trust: dict[str, float]) -> Draw:
    """The gradients of a draw; told: by layer, the difference that the spike of each unit makes."""
    pairs, best = [(draw.live.y, draw.slopes / trial.samples)], {}
    for name, guessed in draw.guesses.items():
        drawn = draw.drawn[name]
        expected = guessed.flatten()[drawn.units]
        norm = expected.square().sum().clamp(min=1e-30)
        best[name] = float((told[name] * expected).sum() / norm)
        worth = trust[name] * guessed
        error = (told[name] - trust[name] * expected) * drawn.weights
        worth.view(-1).index_add_(0, drawn.units, error)
        pairs.append((draw.live.chance[name], worth / trial.samples))
    with draw.live.through.closed():
        return Draw(draw.surrogate, trial.gradient(pairs), best)


def drawn_units(density: Tensor, flips: int, source: torch.Generator) -> Drawn:
    """Draw units with chances as large as the derivatives of their chances to spike."""
    flat = density.flatten().double()
    whole = flat.sum()
    if not bool(whole > 0):
        return Drawn(flat[:0].long(), density.flatten()[:0])
    steps = flat.cumsum(0)
    # One draw in each of as many equal parts: fewer units twice, the same expectation.
    parts = torch.arange(flips) + torch.rand(flips, generator=source, dtype=torch.float64)
    places = parts.to(flat.device) / flips
    units = torch.searchsorted(steps, places * steps[-1], right=True).clamp(max=len(flat) - 1)
    return Drawn(units, (whole / (flips * flat[units])).to(density.dtype))


def flipped(trial: Trial, name: str, group: list[Begun]) -> tuple[Tensor, ...]:
    """For each draw the loss with a spike of each of its units less the loss without, all other
    noise being the same. The units of all draws are flipped side by side.
    """
    fired = [draw.live.spikes[name].detach() for draw in group]
    each = [draw.drawn[name].units for draw in group]
    units, sizes = torch.cat(each), [len(part) for part in each]
    features, samples = fired[0][0, 0].numel(), trial.samples
    step, place = units // fired[0][0].numel(), units % features
    index = units // features % samples
    row = index + samples * torch.cat([torch.full_like(u, n) for n, u in enumerate(each)])
    was = torch.cat([f.flatten()[u] for f, u in zip(fired, each, strict=True)]) > 0
    noise = {key: torch.cat([draw.noise[key] for draw in group], 1) for key in trial.units}
    base, told = torch.cat([draw.base for draw in group]), []
    for begin, end in pieces(len(units), trial.room):
        part = slice(begin, end)
        other = {key: whole.index_select(1, row[part]) for key, whole in noise.items()}
        turned = torch.where(was[part], SILENT, FIRES).to(trial.dtype)
        copies = trial.range(0, end - begin)
        other[name].view(len(fired[0]), end - begin, -1)[step[part], copies, place[part]] = turned
        now = trial.losses(trial.output(index[part], other), index[part])
        before = base[row[part]]
        told.append(torch.where(was[part], before - now, now - before))
    return (torch.cat(told) if told else base[:0]).split(sizes)
