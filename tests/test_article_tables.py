"""The figures in the tables 2.3 and 4.2 of docs/article.md, recomputed row by row."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch

from spikegrad import surrogate as room

PAGE = Path(__file__).resolve().parents[1] / "docs" / "article.md"


def rows(header: str) -> list[dict[str, str]]:
    """The rows of the table whose first line starts with the header, by column."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(header))
    found: list[dict[str, str]] = []
    titles = cells(lines[start])
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            return found
        found.append(dict(zip(titles, cells(line), strict=True)))
    raise AssertionError("a table ends with an empty line")


def cells(line: str) -> list[str]:
    """The cells of a table row; an escaped bar does not part two."""
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def record(row: dict[str, str]) -> room.Surrogate:
    """The surrogate a row is about: `arctan(1)` is code."""
    return eval(row["surrogate"].strip("`"), vars(room))


def mean_derivative(surrogate: room.Surrogate, sd: float) -> float:
    """The mean of g over a normal distribution around the threshold, by a fine sum."""
    z = torch.linspace(-12, 12, 480001, dtype=torch.float64)
    density = torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return float((surrogate.derivative(sd * z) * density).sum() * (z[1] - z[0]))


TABLE_23 = rows("| surrogate | formula")
TABLE_42 = rows("| surrogate | peak | area | mean")


@pytest.mark.parametrize("row", TABLE_23, ids=lambda row: row["surrogate"])
def test_table_23(row):
    surrogate = record(row)
    figures = surrogate.properties()
    assert row["peak"] == f"{figures.peak:.4f}"
    assert row["FWHM"] == f"{figures.fwhm:.4f}"
    assert row["area"] == f"{figures.area:g}"
    assert 0 < float(row["ns per element"]) < 100
    x = torch.linspace(-3, 3, 61, dtype=torch.float64)
    torch.testing.assert_close(formula(row["formula of g(x)"], x), surrogate.derivative(x))


def formula(text: str, x: torch.Tensor) -> torch.Tensor:
    """What a formula of table 2.3 says, at x."""
    known = {
        "(1/π) / (1 + x²)": lambda: 1 / math.pi / (1 + x**2),
        "σ(x) σ(-x)": lambda: torch.sigmoid(x) * torch.sigmoid(-x),
        "1 / (2 (1 + |x|)²)": lambda: 1 / (2 * (1 + x.abs()) ** 2),
        "max(0, 1 - |x|)": lambda: (1 - x.abs()).clamp(min=0),
        "1/2 where |x| <= 1": lambda: (x.abs() <= 1).double() / 2,
    }
    return known[text]()


@pytest.mark.parametrize("row", TABLE_42, ids=lambda row: row["surrogate"])
def test_table_42(row):
    surrogate = record(row)
    assert row["peak"] == f"{surrogate.peak:.4f}"
    assert row["area"] == f"{surrogate.area:g}"
    for sd in ("0.1", "1", "10"):
        # a jump inside a bin of the sum is worth half a bin: one unit of the last digit
        printed = float(row[f"mean g, sd = {sd}"])
        assert printed == pytest.approx(mean_derivative(surrogate, float(sd)), abs=1e-4)


def test_wide_membranes_see_the_area_and_narrow_ones_the_peak():
    """What the bullets under table 4.2 say; superspike(10) is narrow even against sd = 0.1."""
    for row in TABLE_42:
        surrogate = record(row)
        if math.isfinite(surrogate.area):
            wide = surrogate.area / (100 * math.sqrt(2 * math.pi))
            assert mean_derivative(surrogate, 100.0) == pytest.approx(wide, rel=0.03)
        assert mean_derivative(surrogate, 1e-4) == pytest.approx(surrogate.peak, rel=0.01)
