"""Delays of synapses as taps: what each synapse adds to the current, step after step, of one spike.

A delay d between two steps is the mean of both (`interpolated_taps`), or a Gaussian over many
(`gaussian_taps`), so that it has a gradient:

    integer:        w at d
    interpolation:  w (1 - f) at n = floor(d),  w f at n + 1,   f = d - n
    Gaussian:       w exp(-((k - d) / sigma)^2 / 2) / sum over k of the same, at every k

Source: Hammouamri, Khalfaoui-Hassani & Masquelier (2024), ICLR, "Learning delays in spiking neural
networks using dilated convolutions with learnable spacings", section 3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spikegrad.checks import check_positive, check_steps
from spikegrad.errors import UserError, message
from spikegrad.types import Taps

__all__ = ["gaussian_taps", "integer_taps", "interpolated_taps"]


def integer_taps(weight: Tensor, delay: Tensor, *, most: int) -> Taps:
    """One tap a synapse, at its delay rounded to whole steps (half to even).

    weight: `[out, in]`, or `[E]` with edges; delay: steps, of the weight's shape or one that
    broadcasts to it: `[]` for all synapses, `[in]` for those of each input; most: the longest delay
    (steps). There is no gradient by delay. Raises UserError for a delay outside [0, most].

    >>> integer_taps(torch.ones(2, 1), torch.tensor([[0.0], [2.6]]), most=4).first.tolist()
    [[0], [3]]
    """
    check_delay(delay, most)
    first = delay.detach().round().to(torch.int32)
    return Taps(first, weight.unsqueeze(-1), most)


def interpolated_taps(weight: Tensor, delay: Tensor, *, most: int) -> Taps:
    """Two taps a synapse, the steps on both sides of its delay.

    Arguments and errors: as `integer_taps`, most at least 1. The gradient by delay is the
    difference of the two taps; at a whole step that to the right.

    >>> taps = interpolated_taps(torch.ones(1, 1), torch.tensor([[1.25]]), most=4)
    >>> taps.first.tolist(), taps.values.tolist()
    ([[1]], [[[0.75, 0.25]]])
    """
    check_steps(most, "most", least=1)
    check_delay(delay, most)
    first = delay.detach().floor().clamp(max=most - 1)
    share = delay - first
    values = torch.stack((weight * (1 - share), weight * share), -1)
    return Taps(spread(first, weight), values, most)


def gaussian_taps(weight: Tensor, delay: Tensor, *, most: int, sigma: float) -> Taps:
    """A Gaussian around the delay of each synapse, its taps summing up to the weight.

    sigma: standard deviation (steps); other arguments and errors: as `integer_taps`. Taps count up
    to 3 sigma from the delay, and within [0, most] alone.

    >>> taps = gaussian_taps(torch.ones(1, 1), torch.tensor([[2.0]]), most=4, sigma=0.5)
    >>> taps.first.tolist(), [round(v, 3) for v in taps.values.flatten().tolist()]
    ([[0]], [0.0, 0.106, 0.787, 0.106, 0.0])
    """
    check_positive(sigma, "sigma", unit="steps")
    check_delay(delay, most)
    first, count = first_of_gaussian(delay.detach(), most, sigma)
    place = torch.arange(count, dtype=delay.dtype, device=delay.device)
    distance = first + place.reshape(-1, *[1] * delay.dim()) - delay  # [K, *]
    shares = shares_of(-0.5 * (distance / sigma).square()).movedim(0, -1)
    return Taps(spread(first, weight), weight.unsqueeze(-1) * shares, most)


def shares_of(logits: Tensor) -> Tensor:
    """Softmax over the first dimension.

    On a CPU the last bit of torch's own may depend on the sizes of the other dimensions and on the
    number of threads, and over a last dimension of five it takes nine times as long.
    """
    if logits.device.type != "cpu" or logits.dtype not in (torch.float32, torch.float64):
        return torch.softmax(logits, 0)
    rises = (logits - logits.detach().amax(0)).exp()
    total, *others = rises.unbind()
    for each in others:
        total = total + each
    return rises / total


def first_of_gaussian(delay: Tensor, most: int, sigma: float) -> tuple[Tensor, int]:
    """The first step of each Gaussian's taps, and how many there are."""
    half = math.ceil(3 * sigma + 0.5)
    count = min(most + 1, 2 * half + 1)
    return (delay.round() - half).clamp(0, most + 1 - count), count


def spread(first: Tensor, weight: Tensor) -> Tensor:
    """First steps of every synapse."""
    return first.to(torch.int32).expand(weight.shape)


def check_delay(delay: Tensor, most: int) -> None:
    """Finite delays in [0, most]."""
    check_steps(most, "most")
    if torch.compiler.is_compiling() or torch._C._functorch.is_functorch_wrapped_tensor(delay):
        return
    seen = delay.detach()
    if seen.numel() and not bool(((seen >= 0) & (seen <= most)).all()):  # NaN is not
        wrong = seen[~((seen >= 0) & (seen <= most))]
        raise UserError(
            message(f"expected delays in [0, {most}] steps", f"{wrong.flatten()[0].item():g}")
        )
