"""The article's theorem 4.1: what converges, and what does not.

Soft mode (the primitive in the forward pass): the field is a gradient, so every loop integral is 0,
and with L the Lipschitz constant of the gradient a step of 1.9/L never ascends while 2.5/L does
where the loss is as curved as L. Hard mode: the loop integral equals its closed form, which is not
0: the field that surrogate learning follows is the gradient of nothing.
"""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from spikegrad import LIF, UserError
from spikegrad.diagnose import loop_closed_form, loop_integral
from spikegrad.surrogate import Surrogate, arctan, boxcar, get, names, sigmoid, spike, triangle
from spikegrad.verify.claims.descent import readout, walk

BELOW = (0.1, 0.9, -0.5, 1.5)  # theta = 1, x = 1: the threshold is never reached
ABOVE = (1.1, 1.7, -0.5, 1.5)
ACROSS = (0.4, 1.7, -0.5, 1.5)
WITH_PRIMITIVE = [get(name) for name in names(aliases=False) if get(name).has_primitive]
WITH_PRIMITIVE += [arctan(5.0), triangle(3.0, normalisation="peak"), boxcar(4.0, gain=0.5)]

all_surrogates = pytest.mark.parametrize("surrogate", WITH_PRIMITIVE, ids=str)


@all_surrogates
@pytest.mark.parametrize(("x", "target"), [(1.0, 1.0), (0.7, -2.0)])
def test_the_loop_integral_below_threshold_is_the_articles(surrogate, x, target):
    a, b, c, d = BELOW
    ends = torch.tensor([a * x - 1.0, b * x - 1.0], dtype=torch.float64)
    low, high = surrogate.primitive(ends).tolist()
    expected = target * (d - c) * (high - low)
    got = loop_integral(surrogate, BELOW, x=x, target=target)
    assert got == pytest.approx(expected, abs=1e-9)
    assert loop_closed_form(surrogate, BELOW, x=x, target=target) == pytest.approx(expected)


@all_surrogates
@pytest.mark.parametrize("rectangle", [ABOVE, ACROSS])
def test_anywhere_else_it_is_what_greens_theorem_gives(surrogate, rectangle):
    """The hard step itself then adds terms, which ARTICLE 4.1 leaves out."""
    got = loop_integral(surrogate, rectangle, target=0.8)
    assert got == pytest.approx(loop_closed_form(surrogate, rectangle, target=0.8), abs=1e-8)


@all_surrogates
@pytest.mark.parametrize("rectangle", [BELOW, ABOVE, ACROSS])
def test_in_soft_mode_every_loop_integral_is_zero(surrogate, rectangle):
    assert loop_integral(surrogate.soft(), rectangle, target=0.8) == pytest.approx(0.0, abs=1e-9)


def test_the_field_of_a_hard_spike_is_no_gradient():
    """Not by rounding: a third of the loss itself."""
    assert abs(loop_integral(arctan(2.0), BELOW)) > 0.3


def test_the_closed_form_by_hand():
    """atan(-0.2)/pi - atan(-1.8)/pi for arctan(2), times t (d - c) = 2."""
    expected = 2.0 * (math.atan(-0.2) - math.atan(-1.8)) / math.pi
    assert loop_integral(arctan(2.0), BELOW) == pytest.approx(expected, abs=1e-12)


def test_the_same_around_the_layers_own_neuron():
    """The neuron layer gives the same field as the bare spike: a sum over a coarse path."""
    surrogate, (a, b, c, d) = triangle(1.0), BELOW
    n = 2000
    t = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    corners = torch.tensor([[a, c], [b, c], [b, d], [a, d], [a, c]], dtype=torch.float64)
    total = 0.0
    for p, q in pairwise(corners):
        w = (p + t[:, None] * (q - p)).requires_grad_()
        s, _ = LIF(20.0, surrogate=surrogate)(w[:, 0].reshape(1, n, 1))
        loss = 0.5 * (w[:, 1] * s.flatten() - 1.0) ** 2
        (field,) = torch.autograd.grad(loss.sum(), w)
        total += float((field @ (q - p)).sum()) / n
    assert total == pytest.approx(loop_closed_form(surrogate, BELOW), abs=1e-6)


@pytest.mark.parametrize("bad", [(1.0, 1.0, 0.0, 1.0), (0.0, 1.0, 1.0, 0.0)])
def test_an_empty_rectangle_is_an_error(bad):
    with pytest.raises(UserError, match="rectangle"):
        loop_integral(arctan(2.0), bad)
    with pytest.raises(UserError, match="x > 0"):
        loop_integral(arctan(2.0), BELOW, x=-1.0)


# -- descent ------------------------------------------------------------------


@pytest.mark.parametrize("surrogate", [arctan(2.0), sigmoid(4.0), triangle(1.0)], ids=str)
def test_steps_of_a_readout_whose_lipschitz_constant_is_exact(surrogate):
    """`spikegrad verify descent` does the same for arctan over 400 steps."""
    problem = readout(1, surrogate)
    excess = float(problem.loss(problem.start)) - problem.lowest
    assert walk(problem, 1.9 / problem.lipschitz, steps=100)[0] <= 1e-12 * excess
    # Along the steepest direction the error is multiplied by 1 - 2.5: 2.25 times the excess.
    rise = walk(problem, 2.5 / problem.lipschitz, steps=1)[0]
    assert rise == pytest.approx((1.5**2 - 1) * excess, rel=1e-6)


BOX = 2.0


def box_lipschitz(surrogate: Surrogate, t: float) -> float:
    """A bound of the Hessian of (w2 P(w1 - 1) - t)^2/2 for |w1|, |w2| <= BOX, by Frobenius norm.

    With p = max|g|, q = max|g'|, P in [0, 1] and |y - t| <= r = BOX + |t|:
    |L11| <= (BOX p)^2 + r BOX q,   |L12| <= BOX p + r p,   |L22| <= 1.
    """
    measured, r = surrogate.properties(), BOX + abs(t)
    p, q = measured.peak, measured.lipschitz
    l11, l12 = (BOX * p) ** 2 + r * BOX * q, (BOX + r) * p
    return math.sqrt(l11**2 + 2 * l12**2 + 1.0)


def witness(surrogate: Surrogate, w: Tensor, t: float) -> Tensor:
    return 0.5 * (w[..., 1] * spike(w[..., 0] - 1.0, surrogate) - t) ** 2


def one_step(surrogate: Surrogate, t: float, count: int = 2000) -> tuple[Tensor, Tensor]:
    """The change of loss of a step of 1.9/L from many points, and which steps stay in the box."""
    g = torch.Generator().manual_seed(0)
    w = ((2 * torch.rand(count, 2, generator=g, dtype=torch.float64) - 1) * BOX).requires_grad_()
    before = witness(surrogate, w, t)
    (field,) = torch.autograd.grad(before.sum(), w)
    with torch.no_grad():
        after = w - 1.9 / box_lipschitz(surrogate, t) * field
        return witness(surrogate, after, t) - before, (after.abs() <= BOX).all(1)


@pytest.mark.parametrize("surrogate", [arctan(2.0), sigmoid(4.0), triangle(1.0)], ids=str)
@pytest.mark.parametrize("t", [1.0, -0.5])
def test_a_step_of_all_weights_never_ascends_in_soft_mode(surrogate, t):
    change, inside = one_step(surrogate.soft(), t)
    assert int(inside.sum()) > 1500
    assert float(change[inside].max()) <= 1e-15


@pytest.mark.parametrize("surrogate", [arctan(2.0), sigmoid(4.0), triangle(1.0)], ids=str)
def test_the_same_step_can_ascend_in_hard_mode(surrogate):
    """The step takes w1 over the threshold, and the loss jumps: no rate is small enough."""
    change, inside = one_step(surrogate, 1.0)
    assert float(change[inside].max()) > 1e-3


def test_in_hard_mode_the_field_need_not_vanish_where_the_loss_is_flat():
    """Below threshold the loss is constant, its gradient 0, and the field still pushes."""
    w = torch.tensor([0.5, 1.0], dtype=torch.float64, requires_grad=True)
    (field,) = torch.autograd.grad(witness(arctan(2.0), w, 1.0), w)
    assert field[0].item() == pytest.approx(-1.0 / math.pi, rel=1e-12)  # -t w2 g(-0.5)
    with torch.no_grad():
        near = witness(arctan(2.0), w + torch.tensor([1e-3, 0.0]), 1.0)
        assert near.item() == witness(arctan(2.0), w, 1.0).item()
