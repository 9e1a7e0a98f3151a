"""Losses against torch's own and against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy, mse_loss

from spikegrad import functional as F
from spikegrad.errors import UserError

Y = torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 2, 1, 1])


def test_cross_entropies_are_torchs_on_the_readout() -> None:
    for smoothing in (0.0, 0.1):
        pairs = [
            (F.rate_cross_entropy(Y, LABELS, label_smoothing=smoothing), Y.mean(0)),
            (F.count_cross_entropy(Y, LABELS, label_smoothing=smoothing), Y.sum(0)),
            (F.membrane_cross_entropy(Y, LABELS, label_smoothing=smoothing), Y.mean(0)),
            (
                F.membrane_cross_entropy(Y, LABELS, over="max", label_smoothing=smoothing),
                Y.amax(0),
            ),
            (F.membrane_cross_entropy(Y, LABELS, over="last", label_smoothing=smoothing), Y[-1]),
        ]
        for got, scores in pairs:
            want = cross_entropy(scores, LABELS, label_smoothing=smoothing)
            torch.testing.assert_close(got, want)
    cold = F.rate_cross_entropy(Y, LABELS, temperature=0.1)
    torch.testing.assert_close(cold, cross_entropy(Y.mean(0) / 0.1, LABELS))


@pytest.mark.parametrize("classes", [2, 10, 27])
@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_floor_is_what_gradient_descent_finds(
    classes: int, temperature: float, smoothing: float
) -> None:
    """Descend on rates kept in [0, 1]: the loss ends at the closed form and never below it."""
    rates = torch.full((1, 1, classes), 0.5, requires_grad=True)
    label = torch.tensor([0])
    floor = F.loss_floor("rate", classes, temperature=temperature, label_smoothing=smoothing)
    for _ in range(1200):
        loss = F.rate_cross_entropy(
            rates, label, temperature=temperature, label_smoothing=smoothing
        )
        (grad,) = torch.autograd.grad(loss, rates)
        with torch.no_grad():
            rates.sub_(0.3 * grad).clamp_(0, 1)
        assert loss.item() >= floor - 1e-5
    assert loss.item() == pytest.approx(floor, abs=2e-3)


def test_floor_of_the_article_and_others() -> None:
    assert F.loss_floor("rate", 10) == pytest.approx(math.log(1 + 9 / math.e))
    assert F.loss_floor("count", 10, steps=10) == pytest.approx(math.log1p(9 * math.exp(-10)))
    assert F.loss_floor("membrane", 10) == 0.0
    entropy = -(0.91 * math.log(0.91) + 9 * 0.01 * math.log(0.01))
    assert F.loss_floor("membrane", 10, label_smoothing=0.1) == pytest.approx(entropy)


def test_count_mse_by_hand() -> None:
    s = torch.zeros(10, 1, 2)
    s[:6, 0, 0] = 1.0
    # counts 6 and 0; targets 8 and 1: (4 + 1)/2/10
    assert F.count_mse(s, torch.tensor([0])).item() == pytest.approx(0.25)


def test_rate_mse_is_torchs_on_rates_and_one_hot_targets() -> None:
    """Both losses are the same up to a factor T: one on rates, one on counts."""
    hot = torch.nn.functional.one_hot(LABELS, 3).float()
    torch.testing.assert_close(F.rate_mse(Y, LABELS), mse_loss(Y.mean(0), hot))
    wanted = {"correct": 0.8, "incorrect": 0.1}
    torch.testing.assert_close(F.count_mse(Y, LABELS), 6 * F.rate_mse(Y, LABELS, **wanted))
    with pytest.raises(UserError, match="expected correct between 0 and 1"):
        F.rate_mse(Y, LABELS, correct=1.1)


def test_tet_by_hand() -> None:
    each = torch.stack([cross_entropy(y, LABELS) for y in Y]).mean()
    got = F.tet(Y, LABELS, weight=0.2, target=0.5)
    torch.testing.assert_close(got, 0.8 * each + 0.2 * ((Y - 0.5) ** 2).mean())


def test_rate_penalty_is_zero_inside_and_wakes_silent_neurons() -> None:
    s = torch.zeros(10, 2, 2)
    s[:3, :, 0] = 1.0  # rates 0.3 and 0
    assert F.rate_penalty(s, lower=0.0, upper=0.5).item() == 0.0
    assert F.rate_penalty(s, lower=0.1).item() == pytest.approx(0.1**2 / 2)
    assert F.rate_penalty(s, upper=0.2).item() == pytest.approx(0.1**2 / 2)
    x = torch.full((5, 2, 3), 0.1, requires_grad=True)
    F.rate_penalty(F.lif(x, beta=0.5)[0], lower=0.2).backward()
    assert (x.grad < 0).all()  # more current lowers the penalty


def test_labels_are_checked() -> None:
    for y, labels, words in [
        (Y, torch.tensor([0, 1]), r"shape \[4\]"),
        (Y, LABELS.float(), "integer labels"),
        (
            Y,
            LABELS + 1,
            r"labels in 0\.\.2, got 1 to 3; labels are counted from 0: if yours go from",
        ),
        (Y, LABELS + 5, r"labels in 0\.\.2, got 5 to 7; give the network as many outputs"),
        (Y[0], LABELS, r"y of shape \[T, B, C\]"),
    ]:
        for loss in (
            F.rate_cross_entropy,
            F.count_cross_entropy,
            F.membrane_cross_entropy,
            F.rate_mse,
            F.count_mse,
            F.tet,
        ):
            with pytest.raises(UserError, match=words):
                loss(y, labels)
    with pytest.raises(UserError, match="temperature > 0"):
        F.rate_cross_entropy(Y, LABELS, temperature=0.0)
    with pytest.raises(UserError, match="readout"):
        F.over_time(Y, "median")
