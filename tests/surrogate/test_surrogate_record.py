"""The record: a value that says what it is and refuses what it cannot be."""

import dataclasses
import math
import pickle

import pytest
import torch

from spikegrad import surrogate as S
from spikegrad.errors import UserError
from spikegrad.surrogate import (
    Surrogate,
    arctan,
    boxcar,
    clipped_straight_through,
    fast_sigmoid,
    get,
    leaky,
    multi_gaussian,
    names,
    q_pseudospike,
    sigmoid,
    straight_through,
    superspike,
    tanh,
    triangle,
)


@pytest.mark.parametrize("name", names())
def test_is_a_value(name):
    record = get(name)
    assert record == get(name)
    assert hash(record) == hash(get(name))
    assert pickle.loads(pickle.dumps(record)) == record
    assert record != dataclasses.replace(record, gain=2.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.slope = 3.0


@pytest.mark.parametrize("name", names())
def test_repr_is_the_call_that_makes_it(name):
    made = [get(name), get(name, gain=0.5)]
    made += [get(name).soft()] if get(name).has_primitive else []
    for record in made:
        assert eval(repr(record), {record.name: getattr(S, record.name)}) == record


@pytest.mark.parametrize("name", names())
def test_every_name_has_a_factory_with_the_same_default(name):
    assert getattr(S, name)() == get(name)


@pytest.mark.parametrize("name", names())
def test_says_where_it_comes_from(name):
    assert get(name).source
    assert get(name).formula


def test_reprs():
    assert repr(arctan(2.0)) == "arctan(slope=2.0)"
    assert repr(arctan(2).soft()) == "arctan(slope=2.0).soft()"
    assert repr(straight_through()) == "straight_through()"
    assert repr(get("triangle", 1, normalisation="peak", gain=0.3)) == (
        "triangle(slope=1.0, normalisation='peak', gain=0.3)"
    )


def test_aliases_are_the_record_they_are():
    assert tanh(2.0) == sigmoid(4.0)
    assert superspike(7.0) == fast_sigmoid(7.0, normalisation="peak")
    assert clipped_straight_through() == boxcar(1.0, normalisation="peak")
    assert get("tanh", slope=1.5, normalisation="peak") == sigmoid(3.0, normalisation="peak")
    assert get("superspike", slope=2.0, normalisation="peak") == superspike(2.0)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: get("arctn"), "did you mean 'arctan'"),
        (lambda: get("superspke"), "did you mean 'superspike'"),
        (lambda: Surrogate("arctn"), "did you mean 'arctan'"),
        (lambda: arctan(0.0), "slope finite and positive"),
        (lambda: arctan(-1.0), "slope finite and positive"),
        (lambda: arctan(math.nan), "slope finite and positive"),
        (lambda: arctan(math.inf), "slope finite and positive"),
        (lambda: arctan(2.0, gain=0.0), "gain finite and positive"),
        (lambda: arctan(2.0).with_slope(-2.0), "slope finite and positive"),
        (lambda: arctan(2.0, normalisation="peek"), "did you mean 'peak'"),
        (lambda: Surrogate("arctan", mode="sofd"), "did you mean 'soft'"),
        (lambda: get("arctan", q=2.0), "no shape parameter"),
        (lambda: get("multi_gaussian", hh=0.2), "did you mean 'h'"),
        (lambda: get("tanh", q=2.0), "unknown shape parameter 'q'"),
        (lambda: get("superspike", normalisation="area"), "peak normalisation"),
        (lambda: multi_gaussian(h=1.0), r"h in \[0, 1\)"),
        (lambda: multi_gaussian(s=0.5), r"s in \[1, inf\)"),
        (lambda: q_pseudospike(q=1.0), r"q in \(1, inf\)"),
        (lambda: leaky(leak=0.0), r"leak in \(0, 0.5\)"),
        (lambda: get("straight_through", slope=2.0), "no slope"),
        (lambda: get("straight_through", slope=1.0), "no slope"),
        (lambda: straight_through().with_slope(2.0), "no slope"),
    ],
)
def test_what_cannot_be_is_refused_at_construction(make, says):
    with pytest.raises(UserError, match=says):
        make()


@pytest.mark.parametrize("bad", ["2", None, True, torch.tensor(2.0), 1j])
def test_a_slope_that_is_no_number_is_a_type_error(bad):
    with pytest.raises(TypeError, match="slope as a number"):
        arctan(2.0).with_slope(bad)


def test_peak_area_and_support_are_exact():
    assert arctan(2.0).peak == 2.0 / math.pi
    assert arctan(2.0, gain=3.0).area == 3.0
    assert superspike(10.0, gain=0.5).peak == 0.5
    assert clipped_straight_through(2.0).area == 1.0
    assert triangle(4.0).support == 0.25
    assert boxcar(4.0, normalisation="peak").support == 0.25
    assert math.isinf(sigmoid(4.0).support)
    assert math.isinf(leaky().area)


def test_article_arctan():
    """The article's (alpha/pi)/(1 + alpha^2 x^2) with alpha = 2 is arctan(2.0)."""
    x = torch.linspace(-3, 3, 101, dtype=torch.float64)
    torch.testing.assert_close(
        arctan(2.0).derivative(x), (2.0 / math.pi) / (1 + 4.0 * x**2), rtol=1e-14, atol=0
    )


def test_multi_gaussian_is_the_papers():
    """Yin, Corradi & Bohte 2021: three normal densities, of area 1-h; sigma = 1/slope."""
    h, s, sigma = 0.15, 6.0, 0.5
    x = torch.linspace(-4, 4, 401, dtype=torch.float64)

    def normal(mean, deviation):
        return torch.distributions.Normal(mean, deviation).log_prob(x).exp()

    paper = (1 + h) * normal(0.0, sigma) - h * (
        normal(sigma, s * sigma) + normal(-sigma, s * sigma)
    )
    ours = multi_gaussian(1 / sigma, h=h, s=s, gain=1 - h)
    torch.testing.assert_close(ours.derivative(x), paper, rtol=1e-6, atol=1e-8)
    assert ours.area == pytest.approx(1 - h)
    assert float(ours.derivative(torch.tensor(2.0))) < 0


@pytest.mark.parametrize("name", names())
def test_integers_are_refused(name):
    with pytest.raises(TypeError, match="floating point"):
        get(name).derivative(torch.tensor([1, 2]))
    if get(name).has_primitive:
        with pytest.raises(TypeError, match="floating point"):
            get(name).primitive(torch.tensor([1, 2]))
