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
from spikegrad.diagnose.trial import Trial, Vectors, pieces

__all__ = ["Draw", "one_draw"]


class Draw(NamedTuple):
    """What one draw of noise gave, by layer of parameters: the surrogate gradient, and an estimate
    of the gradient of the expected loss without bias; by layer of neurons: what the guess should
    have been multiplied by.
    """

    surrogate: Vectors
    exact: Vectors
    best: dict[str, float]


def one_draw(trial: Trial, flips: int, trust: dict[str, float], source: torch.Generator) -> Draw:
    """One draw of noise, with flips of so many units of each layer.

    trust: what the guess of each layer is multiplied by.
    """
    every = trial.range(0, trial.samples)
    noise = {
        name: torch.rand(size[0], trial.samples, *size[1:], generator=source, dtype=trial.dtype).to(
            trial.x.device
        )
        for name, size in trial.units.items()
    }
    live, still = (trial.passed(every, noise, still=s) for s in (False, True))
    base, slopes = trial.losses(live.y, every), trial.slopes(live.y, every)
    spikes = list(live.spikes.values())
    credit = torch.autograd.grad(live.y, spikes, slopes, allow_unused=True, retain_graph=True)
    surrogate = trial.gradient([(live.y, slopes / trial.samples)])
    pairs, best = [(still.y, slopes / trial.samples)], {}
    for (name, fired), guess in zip(live.spikes.items(), credit, strict=True):
        guessed = torch.zeros_like(fired) if guess is None else guess.contiguous()
        drawn = drawn_units(still.density[name], flips, source)
        told = flipped(trial, name, fired.detach(), drawn.units, noise, base)
        expected = guessed.flatten()[drawn.units]
        best[name] = float((told * expected).sum() / expected.square().sum().clamp(min=1e-30))
        worth = trust[name] * guessed
        error = (told - trust[name] * expected) * drawn.weights
        worth.view(-1).index_add_(0, drawn.units, error)
        pairs.append((still.chance[name], worth / trial.samples))
    return Draw(surrogate, trial.gradient(pairs), best)


class Drawn(NamedTuple):
    """Units of a layer, by their place in `[T, B, *features]`, and the inverse of how often each is
    drawn.
    """

    units: Tensor
    weights: Tensor


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


def flipped(
    trial: Trial,
    name: str,
    fired: Tensor,
    units: Tensor,
    noise: dict[str, Tensor],
    base: Tensor,
) -> Tensor:
    """The loss with a spike of each unit less the loss without, all other noise being the same."""
    features = fired[0, 0].numel()
    step, place = units // fired[0].numel(), units % features
    index = units // features % trial.samples
    was = fired.flatten()[units] > 0
    told = []
    for begin, end in pieces(len(units), trial.room):
        part, which = slice(begin, end), index[begin:end]
        other = {key: each.index_select(1, which) for key, each in noise.items()}
        copies = trial.range(0, end - begin)
        turned = torch.where(was[part], SILENT, FIRES).to(trial.dtype)
        other[name].view(len(fired), end - begin, -1)[step[part], copies, place[part]] = turned
        now = trial.losses(trial.output(which, other), which)
        told.append(torch.where(was[part], base[which] - now, now - base[which]))
    return torch.cat(told) if told else base[:0]
