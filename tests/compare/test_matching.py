"""Matched surrogates have the figures that shall be equal, measured on the curves themselves."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from spikegrad.compare import matched
from spikegrad.compare.matching import EQUAL
from spikegrad.errors import UserError
from spikegrad.surrogate import get, names

OF_FINITE_AREA = [n for n in names() if np.isfinite(get(n).area) and get(n).family.has_slope]
IN_AREA = [n for n in OF_FINITE_AREA if n not in ("superspike", "clipped_straight_through")]


def curve(settings):
    """A fine grid, wide enough, and the derivative on it."""
    record = get(
        settings["surrogate"], settings["slope"],
        normalisation=settings.get("surrogate_normalisation", "area"),
    )  # fmt: skip
    x = torch.cat([torch.linspace(-5, 5, 400_001), torch.logspace(0.7, 6, 20_000)]).double()
    return x, record.derivative(x)


def figure(settings, which):
    x, g = curve(settings)
    if which == "peak":
        return float(g.abs().max())
    if which == "fwhm":
        inside = x[(g >= g.max() / 2)]
        return float(inside.max() - inside.min())
    near, tail = g[:400_001], g[400_001:]
    return float(torch.trapezoid(near, x[:400_001]) + 2 * torch.trapezoid(tail, x[400_001:]))


@pytest.mark.parametrize("equal", [("fwhm",), ("peak",), *itertools.combinations(EQUAL, 2)])
@pytest.mark.parametrize("name", OF_FINITE_AREA)
def test_what_shall_be_equal_is(name, equal):
    if "area" in equal and name not in IN_AREA:
        with pytest.raises(UserError, match="in peak normalisation"):
            matched(["arctan", name], [3.0], equal)
        return
    first, second = matched(["arctan", name], [3.0], equal)
    assert first["slope"] == 3.0
    if equal == ("fwhm",):  # each its own normalisation
        second = {**second, "surrogate_normalisation": get(name).normalisation}
    for which in equal:
        tolerance = {"area": 0.02, "peak": 1e-4, "fwhm": 1e-3}[which]  # of the grid
        assert figure(second, which) == pytest.approx(figure(first, which), rel=tolerance), which


def test_equal_area_alone_keeps_the_slopes_and_none_the_own_ones():
    found = matched(["arctan", "triangle"], [1.0, 5.0], "area")
    assert [each["slope"] for each in found] == [1.0, 1.0, 5.0, 5.0]
    assert {each["surrogate_normalisation"] for each in found} == {"area"}
    assert matched(["arctan", "triangle"]) == [{"surrogate": "arctan"}, {"surrogate": "triangle"}]


def test_without_slopes_the_first_surrogate_has_its_default():
    first, second = matched(["tanh", "sigmoid"], None, "area,fwhm")
    assert first["slope"] == pytest.approx(get("tanh").slope / 2)  # tanh(k) is sigmoid(2k)
    assert second["slope"] == pytest.approx(get("tanh").slope)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((["arctan"], [1.0], "width"), "unknown quantity to be equal 'width'"),
        ((["arctan"], [1.0], "area,peak,fwhm"), "at most two"),
        ((["arctan"], [1.0], "area,area"), "each quantity once"),
        ((["arctan", "straight_through"], [1.0], "peak"), "with a slope"),
        ((["arctan", "straight_through"], [1.0], None), "no slope for straight_through"),
        ((["leaky"], [1.0], "area"), "finite area"),
        ((["arctn"], None, None), "did you mean 'arctan'"),
        ((["arctan"], [-1.0], None), "slope"),
    ],
)
def test_what_cannot_be_is_said(given, words):
    with pytest.raises(UserError, match=words):
        matched(*given)
