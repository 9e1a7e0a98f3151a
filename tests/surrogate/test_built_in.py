"""A built-in surrogate is one file: found, named, checked and offered without an edit elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import spikegrad as sg
from spikegrad import surrogate as S
from spikegrad.surrogate import shapes
from spikegrad.surrogate.built_in import FACTORIES
from spikegrad.surrogate.families import FAMILIES

FOLDER = Path(shapes.__file__).parent
HEAD = """
import torch
from spikegrad.surrogate.built_in import alias, built_in
from spikegrad.surrogate.family import Interval
from spikegrad.surrogate.record import Normalisation, Surrogate
"""
ROOF = """
def derivative(z, *, width):
    return torch.relu(1.0 - z.abs() / width) / width

@built_in(formula="(1 - |z|/width) / width", source="a test", derivative=derivative,
          kinks=(-2.0, 0.0, 2.0), within={"width": Interval(1.0)})
def roof(slope=3.0, *, width=2.0, normalisation="area", gain=1.0):
    return Surrogate("roof", slope, normalisation, gain, parameters=(("width", width),))
"""


@contextmanager
def another_file(folder: Path, name: str, text: str) -> Iterator[None]:
    """The built-in surrogates with one more file."""
    (folder / f"{name}.py").write_text(HEAD + text, encoding="utf-8")
    before = dict(FACTORIES), dict(FAMILIES)
    shapes.__path__.append(str(folder))
    try:
        shapes.collect()
        yield
    finally:
        shapes.__path__.remove(str(folder))
        sys.modules.pop(f"{shapes.__name__}.{name}", None)
        vars(shapes).pop(name, None)
        for table, old in zip((FACTORIES, FAMILIES), before, strict=True):
            table.clear()
            table.update(old)


def test_every_file_is_a_surrogate_and_every_surrogate_a_file() -> None:
    files = {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}
    assert files == set(FACTORIES) == set(S.names())
    for name, factory in FACTORIES.items():
        assert getattr(S, name) is getattr(sg.surrogate, name) is factory
        assert factory.__module__ == f"{shapes.__name__}.{name}"
        assert name in dir(S)


def test_a_new_surrogate_is_one_new_file(tmp_path: Path) -> None:
    before = S.names()
    with another_file(tmp_path, "roof", ROOF):
        assert set(S.names()) - set(before) == {"roof"}
        assert S.roof() == S.get("roof") == S.get("roof", 3.0, width=2.0)
        assert "roof" in dir(S)
        S.verify(S.get("roof"))
        with pytest.raises(sg.UserError, match=r"width in \(1, inf\)"):
            S.roof(width=0.5)
        with pytest.raises(sg.UserError, match="taken"):
            S.register("roof", torch.relu)
    assert S.names() == before
    assert not hasattr(S, "roof")


def test_what_it_does_not_state_is_computed(tmp_path: Path) -> None:
    """Figures of a shape of its own, too: a roof ends at its width."""
    with another_file(tmp_path, "roof", ROOF):
        found = S.get("roof", 2.0, width=4.0)
        assert found.support == 2.0
        assert found.peak == pytest.approx(0.5)
        measured = found.properties()
        assert measured.fwhm == pytest.approx(2.0)
        assert measured.lipschitz == pytest.approx(0.25)
        assert measured.tail == "compact"
        assert S.get("roof", 2.0, width=4.0, normalisation="peak").peak == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("other", ROOF, "a surrogate 'other' in spikegrad.surrogate.shapes.other, got none"),
        ("empty", "", "a surrogate 'empty' in spikegrad.surrogate.shapes.empty, got none"),
        ("roof", ROOF.replace("roof", "arctan"), "arctan in spikegrad.surrogate.shapes.arctan and"),
        ("roof", ROOF.replace("width=2.0", "width"), "a default for width of roof, got none"),
        ("roof", ROOF.replace('{"width"', '{"witdh"'), "of roof, got 'witdh'; its own are width"),
    ],
)
def test_a_file_that_cannot_be_right_is_named(
    tmp_path: Path, name: str, text: str, says: str
) -> None:
    with pytest.raises(sg.UserError, match=says), another_file(tmp_path, name, text):
        pass


def test_a_name_that_no_surrogate_has() -> None:
    with pytest.raises(AttributeError, match="did you mean 'arctan'"):
        _ = S.arctn
    with pytest.raises(AttributeError, match="did you mean 'Schedule'"):
        _ = S.Schedul
