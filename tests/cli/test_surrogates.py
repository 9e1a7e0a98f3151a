"""`spikegrad surrogates`: the figures are the library's, the options do what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from spikegrad.cli.main import COMMANDS, main
from spikegrad.cli.surrogates import surrogates
from spikegrad.surrogate import get, names

ROOT = Path(__file__).resolve().parents[2]


def rows(*arguments: str) -> dict[str, dict]:
    result = CliRunner().invoke(surrogates, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return {row["name"]: row for row in json.loads(result.output)}


def test_every_surrogate_is_there_with_its_own_figures():
    found = rows("--no-time")
    assert tuple(found) == names()
    for name, row in found.items():
        record = get(name)
        measured = record.properties()
        assert row["surrogate"] == str(record)
        assert row["formula"].removesuffix(", over its peak") == record.formula
        assert row["formula"].endswith(", over its peak") == (record.normalisation == "peak")
        if name == record.family.name:
            assert row["source"] == record.source
        for key in ("peak", "fwhm", "area", "lipschitz"):
            assert float(row[key]) == pytest.approx(getattr(measured, key)), (name, key)
        assert (row["forward_ns"], row["backward_ns"]) == (None, None)


def test_json_has_no_infinity_that_json_lacks():
    text = CliRunner().invoke(surrogates, ["boxcar", "--no-time", "--json"]).output
    assert json.loads(text, parse_constant=lambda word: pytest.fail(word))[0]["lipschitz"] == "inf"


def test_times_are_measured():
    row = rows("triangle")["triangle"]
    assert 0.01 < row["forward_ns"] < 1000
    assert 0.01 < row["backward_ns"] < 1000


def test_slope_and_normalisation():
    found = rows("arctan", "triangle", "--slope", "5", "--normalisation", "peak", "--no-time")
    assert {row["slope"] for row in found.values()} == {5.0}
    assert [row["peak"] for row in found.values()] == pytest.approx([1.0, 1.0])


def test_in_the_list_of_all_a_surrogate_keeps_what_it_cannot_change():
    found = rows("--slope", "3", "--normalisation", "area", "--no-time")
    assert found["arctan"]["slope"] == 3.0
    assert found["straight_through"]["slope"] is None
    assert found["superspike"]["normalisation"] == "peak"


@pytest.mark.parametrize("width", [80, 200])
def test_the_table_is_whole_in_a_terminal_of_any_width(width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    text = CliRunner().invoke(surrogates, ["--no-time"]).output
    figures = text.split("\n\n")[0]
    assert "…" not in figures
    assert all(name in figures for name in names())
    assert "arXiv:2007.05785" in text


@pytest.mark.parametrize("chosen", [["arctan"], ["arctan", "triangle", "boxcar"], []])
def test_plot_writes_a_picture(chosen, tmp_path):
    path = tmp_path / "some where" / "all.png"
    result = CliRunner().invoke(surrogates, [*chosen, "--no-time", "--plot", str(path)])
    assert result.exit_code == 0, result.output
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "all.png" in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["arctn"], "did you mean 'arctan'"),
        (["arctan", "--slope", "-1"], "slope"),
        (["--slope", "0"], "slope"),
        (["straight_through", "--slope", "2"], "slope"),
        (["superspike", "--normalisation", "area"], "peak normalisation"),
        (["arctan", "--plot", "x.pdf"], "FILE.png"),
        (["arctan", "--plot", "/dev/null/x.png"], "a writable path for the picture"),
        (["arctan", "--slope", "steep"], "steep"),
    ],
)
def test_an_error_is_one_line_and_status_2(arguments, words, capsys):
    assert main(["surrogates", *arguments, "--no-time"]) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert err.count("\n") == 1
    assert out == ""


@pytest.mark.parametrize("command", ["surrogates", "verify", "data", "doctor"])
def test_help_reads_well(command, capsys):
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert command in text
    assert "--json" in text
    assert command in COMMANDS


def test_the_program_itself():
    done = subprocess.run(
        [sys.executable, "-m", "spikegrad", "surrogates", "arctan", "--no-time"],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "0.637" in done.stdout  # 2/pi


def test_the_picture_says_each_slope(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("spikegrad.report.compare", lambda curves: drawn.extend(curves))
    monkeypatch.setattr("spikegrad.report.save", lambda figure, path: None)
    words = ["surrogates", "--no-time", "--plot", str(tmp_path / "a.png")]
    assert main([*words, "superspike", "straight_through"]) == 0
    assert [curve.name for curve in drawn] == ["superspike, slope 10", "straight_through, no slope"]


def test_formula_and_source_are_those_of_the_row() -> None:
    """A name for another family's member has its own paper, and the formula is over its peak."""
    text = (
        CliRunner().invoke(surrogates, ["clipped_straight_through", "--no-time", "--json"]).output
    )
    (row,) = json.loads(text)
    assert row["peak"] == 1
    assert row["formula"].endswith(", over its peak")
    assert row["source"].startswith("Hubara et al. 2016")
    (row,) = json.loads(CliRunner().invoke(surrogates, ["boxcar", "--no-time", "--json"]).output)
    assert row["source"].startswith("Wu et al. 2018")
    assert "peak" not in row["formula"]
