"""A user's own surrogate is held to the contract of the built-in ones."""

import math
import pickle

import pytest
import torch

from spikegrad.errors import UserError
from spikegrad.surrogate import get, names, register, spike, unregister, verify


def parabola(z):
    return 0.75 * torch.clamp(1 - z * z, min=0)


def cubic(z):
    z = z.clamp(-1, 1)
    return 0.5 + 0.75 * (z - z**3 / 3)


HONEST = {"primitive": cubic, "support": 1.0, "kinks": (-1, 1)}


@pytest.fixture(autouse=True)
def clean():
    before = names()
    yield
    for name in set(names()) - set(before):
        unregister(name)


def test_an_honest_one_is_like_the_rest():
    record = register("parabola", parabola, source="Epanechnikov 1969", **HONEST)
    assert record == get("parabola") == pickle.loads(pickle.dumps(record))
    assert repr(get("parabola", 2.0)) == "parabola(slope=2.0)"
    assert record.source == "Epanechnikov 1969"
    verify(get("parabola", 3.0, normalisation="peak", gain=0.5))
    figures = get("parabola", 2.0).properties()
    assert figures.peak == pytest.approx(1.5)
    assert figures.fwhm == pytest.approx(math.sqrt(0.5))
    assert figures.area == pytest.approx(1.0)
    assert figures.lipschitz == pytest.approx(6.0)
    assert figures.tail == "compact"
    x = torch.linspace(-1.1, 1.1, 12, dtype=torch.float64, requires_grad=True)
    slope = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, k: spike(x, record.soft(), k), (x, slope))


def test_one_that_jumps_is_found_out():
    record = register(
        "half_box", lambda z: (z.abs() <= 2).to(z.dtype) / 4, support=2.0, kinks=(-2, 2)
    )
    assert math.isinf(record.properties().lipschitz)


@pytest.mark.parametrize(
    ("derivative", "kinks", "support"),
    [
        (parabola, (-1, 1), 1.0),
        (lambda z: parabola(z / 3) / 3, (-3, 3), 3.0),
        (lambda z: torch.relu(1.0 - (z - 0.5).abs()), (-0.5, 0.5, 1.5), 1.5),  # from -0.5 on
        (lambda z: torch.relu(1.0 - z * z) ** 4 * (315 / 256), (), 1.0),  # ends without a kink
        (lambda z: (z.abs() < 1) * 0.5 * (1 + torch.cos(math.pi * z)), (-1, 1), 1.0),
        (lambda z: 0.5 * torch.exp(-z.abs()), (0,), math.inf),  # computed as 0 beyond 745
        (lambda z: torch.exp(-z * z) / math.sqrt(math.pi), (), math.inf),
        (lambda z: 0.5 / torch.cosh(z.clamp(-300, 300)) ** 2, (), math.inf),
    ],
)
def test_the_support_is_found(derivative, kinks, support):
    assert register("found", derivative, kinks=kinks).support == support


def test_lopsided_and_infinite_ones_are_admitted():
    record = register(
        "one_sided",
        lambda z: torch.where(z >= 0, 1.0, 0.1).to(z.dtype),
        primitive=lambda z: torch.where(z >= 0, z, 0.1 * z),
        kinks=(0.0,),
        area=math.inf,
    )
    assert math.isinf(record.properties().area)


def test_without_a_primitive_it_trains_but_says_what_is_missing():
    record = register("parabola", parabola, support=1.0, kinks=(-1, 1))
    x = torch.tensor([0.0], requires_grad=True)
    spike(x, record).sum().backward()
    assert float(x.grad) == 0.75
    assert not record.has_primitive
    with pytest.raises(UserError, match=r"for soft mode, got 'parabola'.*primitive="):
        record.soft()
    with pytest.raises(UserError, match=r"for a learnable slope, got 'parabola'.*primitive="):
        spike(x, record, torch.tensor(1.0))
    with pytest.raises(UserError, match="a primitive"):
        record.primitive(x)


@pytest.mark.parametrize(
    ("claims", "says"),
    [
        ({**HONEST, "primitive": torch.sigmoid}, "expected primitive' = derivative"),
        ({**HONEST, "primitive": lambda z: -cubic(z)}, "expected primitive' = derivative"),
        ({**HONEST, "area": 2.0}, "an area of 2, got 1"),
        ({**HONEST, "support": 0.5}, "beyond the support 0.5"),
        ({**HONEST, "support": 2.0}, "up to the support 2"),
        ({**HONEST, "support": 0.0}, "support > 0"),
        ({**HONEST, "area": math.nan}, "area as a number"),
        ({**HONEST, "primitive": lambda z: cubic(z).sum()}, "of the shape of x"),
        ({**HONEST, "primitive": lambda z: cubic(z) + 1 / (1e4 - z)}, "finite primitive"),
    ],
)
def test_a_false_claim_is_refused_and_leaves_nothing_behind(claims, says):
    before = names()
    with pytest.raises(UserError, match=says):
        register("parabola", parabola, **claims)
    assert names() == before


def test_an_undeclared_jump_is_refused():
    with pytest.raises(UserError, match="continuous derivative between its kinks"):
        register("box", lambda z: (z.abs() <= 1.0).to(z.dtype) / 2, support=1.0)


def test_an_overflow_is_refused():
    """exp(-z)/(1+exp(-z))^2 is how sigmoid derivatives usually become NaN."""
    with pytest.raises(UserError, match=r"finite derivative for \|x\| <= 1e4"):
        register("naive", lambda z: torch.exp(-z) / (1 + torch.exp(-z)) ** 2)


def test_what_the_users_function_raises_is_passed_on_and_nothing_is_left():
    before = names()
    with pytest.raises(ZeroDivisionError):
        register("broken", lambda z: z / (1 / 0))
    with pytest.raises(TypeError, match="derivative as a function"):
        register("broken", 3.0)
    assert names() == before


@pytest.mark.parametrize("name", ["arctan", "superspike", "no name", "", 3])
def test_names_that_cannot_be_taken(name):
    with pytest.raises(UserError, match="expected a n"):
        register(name, parabola, **HONEST)


def test_replacing_needs_a_word_and_a_failure_keeps_the_old_one():
    first = register("parabola", parabola, **HONEST)
    with pytest.raises(UserError, match="replace_own"):
        register("parabola", parabola, **HONEST)
    with pytest.raises(UserError, match="area"):
        register("parabola", parabola, area=3.0, replace_own=True, **HONEST)
    assert first.has_primitive
    assert not register(
        "parabola", parabola, support=1.0, kinks=(-1, 1), replace_own=True
    ).has_primitive


def test_unregister_keeps_its_hands_off_the_rest():
    for name in ("arctan", "tanh", "nothing"):
        with pytest.raises(UserError, match=r"given by register\(\)"):
            unregister(name)


def test_verify_finds_a_wrong_record():
    from dataclasses import replace

    from spikegrad.surrogate.families import FAMILIES
    from spikegrad.surrogate.family import Figures

    FAMILIES["fake"] = replace(FAMILIES["arctan"], name="fake", figures=Figures(peak=1.0))
    with pytest.raises(UserError, match=r"surrogate 'fake': expected a peak of 2, got 0.63662"):
        verify(get("fake"))
