"""Losses on an output sequence `[T, B, C]`, and the floor below which each cannot go.

lengths, where a loss takes it: int64 `[B]`, the steps of every sample, None for T each. What stands
behind them does not count: the loss is the mean of those of the samples alone.

A plain cross-entropy on firing rates cannot fall below `ln(1 + (C-1)/e)`, 1.4612 for ten classes,
since rates lie in [0, 1]: divide them by a temperature, or read membranes.
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from spikegrad.checks import check_choice, check_current, check_positive
from spikegrad.errors import UserError, message
from spikegrad.functional.readout import over_time
from spikegrad.ragged import check_lengths

__all__ = [
    "count_cross_entropy",
    "count_mse",
    "loss_floor",
    "membrane_cross_entropy",
    "rate_cross_entropy",
    "rate_mse",
    "rate_penalty",
    "tet",
]


def rate_cross_entropy(
    s: Tensor,
    labels: Tensor,
    *,
    temperature: float = 1.0,
    label_smoothing: float = 0.0,
    lengths: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of the firing rates: `CE(mean_t s / temperature, labels)`.

    s: output spikes `[T, B, C]`; labels: int64 `[B]`. See `loss_floor("rate", ...)`.

    >>> import torch
    >>> s = torch.zeros(5, 1, 10); s[:, 0, 3] = 1.0      # all an output can do
    >>> round(rate_cross_entropy(s, torch.tensor([3])).item(), 4)
    1.4612
    """
    check_labels(s, labels)
    check_positive(temperature, "temperature")
    scores = over_time(s, "mean", lengths=lengths).float() / temperature
    return cross_entropy(scores, labels, label_smoothing=label_smoothing)


def count_cross_entropy(
    s: Tensor,
    labels: Tensor,
    *,
    temperature: float = 1.0,
    label_smoothing: float = 0.0,
    lengths: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of the spike counts: `CE(sum_t s / temperature, labels)`.

    s: output spikes `[T, B, C]`; labels: int64 `[B]`.

    >>> import torch
    >>> s = torch.ones(3, 1, 2); s[:, 0, 1] = 0.0       # counts 3 and 0: ln(1 + exp(-3))
    >>> round(count_cross_entropy(s, torch.tensor([0])).item(), 4)
    0.0486
    """
    check_labels(s, labels)
    check_positive(temperature, "temperature")
    scores = over_time(s, "sum", lengths=lengths).float() / temperature
    return cross_entropy(scores, labels, label_smoothing=label_smoothing)


def membrane_cross_entropy(
    u: Tensor,
    labels: Tensor,
    *,
    over: Literal["mean", "max", "last"] = "mean",
    temperature: float = 1.0,
    label_smoothing: float = 0.0,
    lengths: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of an output membrane, its mean, maximum or last value over time.

    u: `[T, B, C]`; labels: int64 `[B]`. Membranes are unbounded: the floor is 0.
    Source (max over time): Cramer et al. (2022), IEEE TNNLS 33(7).

    >>> import torch
    >>> round(membrane_cross_entropy(torch.zeros(5, 1, 2), torch.tensor([0])).item(), 4)
    0.6931
    """
    check_labels(u, labels)
    check_positive(temperature, "temperature")
    check_choice(over, "over", ("mean", "max", "last"))
    scores = over_time(u, over, lengths=lengths).float() / temperature
    return cross_entropy(scores, labels, label_smoothing=label_smoothing)


def count_mse(
    s: Tensor,
    labels: Tensor,
    *,
    correct: float = 0.8,
    incorrect: float = 0.1,
    lengths: Tensor | None = None,
) -> Tensor:
    """Squared error of spike counts against target counts, per step.

    mean over B and C of `(sum_t s - T rate)^2 / T`, where `rate` is `correct` for the labelled
    class and `incorrect` for the others (spikes per step, 0 to 1); T: the sample's own steps.

    >>> import torch
    >>> s = torch.ones(4, 1, 2); s[:, 0, 1] = 0.0
    >>> count_mse(s, torch.tensor([0]), correct=1.0, incorrect=0.0).item()
    0.0
    """
    check_labels(s, labels)
    counts = over_time(s, "sum", lengths=lengths).float()
    rates = _target_rates(s, labels, correct, incorrect)
    if lengths is None:
        steps = s.shape[0]
        return ((counts - steps * rates) ** 2).mean() / steps
    own = check_lengths(lengths, *s.shape[:2]).to(s.device).unsqueeze(1)
    return ((counts - own * rates) ** 2 / own).mean()


def rate_mse(
    s: Tensor,
    labels: Tensor,
    *,
    correct: float = 1.0,
    incorrect: float = 0.0,
    lengths: Tensor | None = None,
) -> Tensor:
    """Squared error of firing rates against target rates.

    mean over B and C of `(mean_t s - rate)^2`, where `rate` is `correct` for the labelled class
    and `incorrect` for the others (spikes per step, 0 to 1).

    s: output spikes `[T, B, C]`; labels: int64 `[B]`.
    Source: Fang et al. (2023), Science Advances 9(40): the loss of SpikingJelly's first example.

    >>> import torch
    >>> s = torch.ones(4, 1, 2); s[:2, 0, 1] = 0.0      # rates 1 and 0.5
    >>> rate_mse(s, torch.tensor([0])).item()
    0.125
    """
    check_labels(s, labels)
    target = _target_rates(s, labels, correct, incorrect)
    return ((over_time(s, "mean", lengths=lengths).float() - target) ** 2).mean()


def tet(
    u: Tensor,
    labels: Tensor,
    *,
    weight: float = 0.05,
    target: float = 1.0,
    label_smoothing: float = 0.0,
    lengths: Tensor | None = None,
) -> Tensor:
    """Temporal efficient training: the mean over steps of each step's cross-entropy.

    `(1 - weight) mean_t CE(u[t], labels) + weight mean (u - target)^2`.

    u: output membranes or currents `[T, B, C]`; target: usually the threshold.
    Source: Deng, Li, Zhang & Gu (2022), ICLR, eqs. 9, 11, 12.

    >>> import torch
    >>> round(tet(torch.zeros(5, 1, 2), torch.tensor([0]), weight=0.0).item(), 4)
    0.6931
    """
    check_labels(u, labels)
    if not 0.0 <= weight <= 1.0:
        raise UserError(message("expected weight between 0 and 1", str(weight)))
    steps, flat = u.shape[0], u.float().flatten(0, 1)
    repeated = labels.repeat(steps)
    if lengths is None:
        each = cross_entropy(flat, repeated, label_smoothing=label_smoothing)
        return (1.0 - weight) * each + weight * ((u.float() - target) ** 2).mean()
    own = cross_entropy(flat, repeated, label_smoothing=label_smoothing, reduction="none")
    away = ((u.float() - target) ** 2).mean(2)
    both = (1.0 - weight) * own.unflatten(0, u.shape[:2]) + weight * away
    return over_time(both, "mean", lengths=lengths).mean()


def rate_penalty(
    s: Tensor,
    *,
    lower: float | None = None,
    upper: float | None = None,
    lengths: Tensor | None = None,
) -> Tensor:
    """Firing-rate regulariser: zero inside [lower, upper], quadratic outside.

    mean over neurons of `relu(lower - r)^2 + relu(r - upper)^2`, r the neuron's rate over all real
    steps of the batch, in spikes per step. The lower part wakes silent neurons through the
    surrogate.

    s: spikes `[T, B, *features]`.
    Source: Zenke & Vogels (2021), Neural Computation 33(4), eqs. 6-8.

    >>> import torch
    >>> round(rate_penalty(torch.zeros(5, 2, 3), lower=0.1).item(), 4)
    0.01
    """
    check_current(s, name="s")
    rate = s.float().mean((0, 1))
    if lengths is not None:
        own = check_lengths(lengths, *s.shape[:2]).to(s.device)
        rate = over_time(s.float(), "sum", lengths=own).sum(0) / own.sum()
    loss = rate.new_zeros(())
    if lower is not None:
        loss = loss + (lower - rate).relu().square().mean()
    if upper is not None:
        loss = loss + (rate - upper).relu().square().mean()
    return loss


def loss_floor(
    kind: Literal["rate", "count", "membrane"],
    classes: int,
    *,
    temperature: float = 1.0,
    steps: int = 1,
    label_smoothing: float = 0.0,
) -> float:
    """The lowest value that a cross-entropy can reach, whatever the weights.

    The best margin m between the right score and the others is 1/temperature for rates,
    steps/temperature for counts and unbounded for membranes; the loss is then
    `ln(e^m + C - 1) - q m` with `q = 1 - eps + eps/C`.

    >>> round(loss_floor("rate", 10), 4), round(loss_floor("rate", 10, temperature=0.1), 4)
    (1.4612, 0.0004)
    """
    check_choice(kind, "kind", ("rate", "count", "membrane"))
    reach = {"rate": 1.0, "count": float(steps), "membrane": math.inf}[kind] / temperature
    q = 1.0 - label_smoothing * (1.0 - 1.0 / classes)
    best = math.log(q * (classes - 1) / (1.0 - q)) if q < 1.0 else math.inf
    margin = min(reach, best)
    if math.isinf(margin):
        return 0.0
    return margin * (1.0 - q) + math.log1p((classes - 1) * math.exp(-margin))


def _target_rates(s: Tensor, labels: Tensor, correct: float, incorrect: float) -> Tensor:
    """The rate that each output should have, `[B, C]`."""
    for name, rate in (("correct", correct), ("incorrect", incorrect)):
        if not 0.0 <= rate <= 1.0:
            raise UserError(message(f"expected {name} between 0 and 1 spikes per step", str(rate)))
    hot = one_hot(labels, s.shape[2]).to(s.device)
    return incorrect + (correct - incorrect) * hot


def check_labels(y: Tensor, labels: Tensor) -> None:
    """An output sequence `[T, B, C]` and int64 labels `[B]` in 0..C-1."""
    check_current(y, name="y")
    if y.dim() != 3:
        raise UserError(message("expected y of shape [T, B, C]", str(list(y.shape))))
    if labels.dtype.is_floating_point or labels.shape != y.shape[1:2]:
        raise UserError(
            message(
                f"expected integer labels of shape [{y.shape[1]}] for y {list(y.shape)}",
                f"{labels.dtype} {list(labels.shape)}",
            )
        )
    if bool(((labels < 0) | (labels >= y.shape[2])).any()):
        low, high = int(labels.min()), int(labels.max())
        remedy = "give the network as many outputs as there are classes"
        if low >= 1 and high == y.shape[2]:
            remedy = f"labels are counted from 0: if yours go from 1 to {high}, subtract 1"
        expected = f"expected labels in 0..{y.shape[2] - 1}"
        raise UserError(message(expected, f"{low} to {high}", remedy))
