"""Every function of the registry: primitive, support, tails, figures; independent of `verify`."""

import math
import re
from pathlib import Path

import pytest
import torch

from spikegrad.surrogate import Surrogate, get, measure, names, verify
from spikegrad.surrogate.properties import MEASURES, curve_of

PAGE = Path(__file__).parents[2] / "docs" / "surrogates.md"
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def shapes(name):
    """Other values of each shape parameter of a surrogate: near its ends, and one in between."""
    for key, interval in get(name).family.parameters.items():
        low, high = interval.low, min(interval.high, interval.low + 4.0)
        ends = [low] if interval.closed else [low + 0.05 * (high - low)]
        for value in (*ends, low + 0.4 * (high - low), low + 0.9 * (high - low)):
            yield {key: value}


def variants(*, primitive=False):
    """Every name with its defaults, sharper and flatter, in both normalisations, every shape."""
    made = [get(name) for name in names()]
    made += [
        Surrogate(name, slope, normalisation, 1.7)
        for name in names(aliases=False)
        if get(name).family.has_slope
        for slope in (0.4, 3.0, 100.0)
        for normalisation in ("area", "peak")
    ]
    made += [get(name, **shape) for name in names(aliases=False) for shape in shapes(name)]
    made += [get("multi_gaussian", h=h, s=s) for h, s in ((0.0, 1.0), (0.5, 2.0), (0.9, 3.0))]
    return [record for record in made if record.has_primitive or not primitive]


@pytest.mark.parametrize("record", variants(), ids=repr)
def test_keeps_the_contract(record):
    verify(record)


@pytest.mark.parametrize("record", variants(primitive=True), ids=repr)
def test_derivative_is_the_numeric_derivative_of_the_primitive(record):
    z = torch.linspace(-5.003, 5.001, 1000, dtype=torch.float64)
    for kink in record.family.kinks:
        z = z[(z - kink).abs() > 1e-4]
    x, h = z / record.slope, 1e-5 / record.slope
    numeric = (record.primitive(x + h) - record.primitive(x - h)) / (2 * h)
    # central difference: h^2 from the series, 1e-16/h from rounding, both about 1e-10 of the peak
    torch.testing.assert_close(numeric, record.derivative(x), rtol=0, atol=1e-8 * record.peak)


@pytest.mark.parametrize("record", variants(), ids=repr)
def test_support_is_where_the_derivative_is_not_zero(record):
    x = torch.linspace(-3, 3, 2001, dtype=torch.float64) / record.slope
    value = record.derivative(x)
    if math.isinf(record.support):
        crossings = 4 if record.name == "multi_gaussian" else 0  # its lobes pass through 0
        assert int((value == 0).sum()) <= crossings
    else:
        inside = x.abs() < record.support * (1 - 1e-9)
        outside = x.abs() > record.support * (1 + 1e-9)
        assert bool((value[inside] != 0).all())
        assert bool((value[outside] == 0).all())


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", names())
def test_finite_to_ten_thousand(name, dtype):
    record = get(name)
    slopes = [100.0, 1e-2] if record.family.has_slope else [1.0]
    for slope in slopes:
        sharp = record.with_slope(slope) if record.family.has_slope else record
        ends = torch.tensor([0.0, 1e-3, 1.0, 30.0, 89.0, 1e3, 1e4])
        x = torch.cat((-ends, ends)).to(dtype)
        soft = [sharp.primitive(x)] if record.has_primitive else []
        for value in (sharp.derivative(x), *soft):
            assert value.dtype == dtype
            assert value.isfinite().all()
        assert sharp.slope_derivative(x, torch.tensor(slope)).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", names())
def test_half_types_are_the_rounded_float32(name, dtype):
    x = torch.linspace(-3, 3, 301).to(dtype)
    record = get(name)
    assert torch.equal(record.derivative(x), record.derivative(x.float()).to(dtype))
    if record.has_primitive:
        assert torch.equal(record.primitive(x), record.primitive(x.float()).to(dtype))


@pytest.mark.parametrize(
    "name", [n for n in names() if get(n).has_primitive and math.isfinite(get(n).area)]
)
def test_primitive_runs_from_zero_to_the_area(name):
    record = get(name)
    far = torch.tensor([-1e12, 1e12], dtype=torch.float64)
    low, high = record.primitive(far).tolist()
    assert low == pytest.approx(0.0, abs=1e-9)
    assert high == pytest.approx(record.area, abs=1e-9)
    middle = float(record.primitive(torch.zeros((), dtype=torch.float64)))
    assert middle == pytest.approx(record.area / 2)


def figures():
    """The rows of the page's table of figures: name -> its five columns."""
    text = PAGE.read_text(encoding="utf-8").split("## The figures")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|(.+)\|$", text, re.MULTILINE)
    return {name: [cell.strip().strip("`") for cell in cells.split("|")] for name, cells in rows}


def formula(text, record):
    known = {name: getattr(math, name) for name in ("pi", "e", "sqrt", "log", "exp", "acosh")}
    values = {"k": record.slope, "inf": math.inf, **dict(record.parameters)}
    return eval(text, {"__builtins__": {}}, {**known, **values})


def test_the_page_knows_its_surrogates():
    """One that it does not have yet is no error."""
    assert set(figures()) <= set(names(aliases=False))
    assert len(figures()) >= 12


def figure_records():
    made = [get(name) for name in figures()]
    made += [get(name, 3.7) for name in figures() if get(name).family.has_slope]
    return [*made, get("q_pseudospike", 2.0, q=3.0), get("leaky", 5.0, leak=0.1)]


@pytest.mark.parametrize("record", figure_records(), ids=repr)
def test_the_figures_of_the_page_are_those_of_the_record(record):
    peak, fwhm, area, tail, lipschitz = figures()[record.name]
    found = record.properties()
    # 1e-6 is the promise of properties()
    assert found.peak == pytest.approx(formula(peak, record), rel=1e-6)
    assert found.fwhm == pytest.approx(formula(fwhm, record), rel=1e-6)
    assert found.area == pytest.approx(formula(area, record), rel=1e-6)
    assert found.lipschitz == pytest.approx(formula(lipschitz, record), rel=1e-6)
    q = dict(record.parameters).get("q", 0.0)
    assert found.tail == tail.replace("power q", f"power {q:g}")


def each_shape():
    """Every name once, and again with every shape."""
    made = [get(name) for name in names()]
    return made + [get(name, 3.7, **s) for name in names(aliases=False) for s in shapes(name)]


@pytest.mark.parametrize("record", each_shape(), ids=repr)
def test_closed_forms_equal_numbers(record):
    found, curve = record.properties(), curve_of(record)
    for figure, measured in MEASURES.items():
        assert getattr(found, figure) == pytest.approx(measured(curve), rel=1e-6)
    assert record.peak == found.peak
    assert record.area == found.area
    if math.isfinite(record.area):
        assert measure.area(curve) == pytest.approx(record.area, rel=1e-6)
    assert measure.support(curve) == pytest.approx(record.support, rel=1e-9)


@pytest.mark.parametrize("name", names(aliases=False))
def test_peak_normalisation_and_gain_scale_all_alike(name):
    record = get(name)
    scaled = get(name, normalisation="peak", gain=0.3).properties()
    plain, factor = record.properties(), 0.3 / record.peak
    assert scaled.peak == pytest.approx(0.3)
    assert scaled.fwhm == pytest.approx(plain.fwhm)
    assert scaled.area == pytest.approx(factor * plain.area)
    assert scaled.lipschitz == pytest.approx(factor * plain.lipschitz)


def test_properties_do_not_care_for_the_callers_grad_mode():
    with torch.no_grad():
        quiet = get("gaussian").properties()
    with torch.inference_mode():
        assert get("gaussian").properties() == quiet == get("gaussian").properties()
