"""`spikegrad build`, and the note before a first run."""

from __future__ import annotations

from pathlib import Path

import pytest

from spikegrad.cli.build import make_ready
from spikegrad.cli.main import main
from spikegrad.kernels import cpu


@pytest.mark.skipif(bool(cpu.load()), reason=f"no native kernels: {cpu.load()}")
def test_build_says_what_is_there_and_measures_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "table.json"  # a table measured beside other tests must not be the user's
    here = cpu.loaded()
    assert here is not None
    monkeypatch.setattr(cpu, "loaded", lambda: here._replace(table=place))
    assert main(["build", "--no-measure"]) == 0
    assert capsys.readouterr().out.startswith(f"already built for {cpu.isa()} (")
    assert not place.exists()
    assert main(["build"]) == 0
    assert f": {place}" in capsys.readouterr().out
    table = cpu.Table.load(place)
    assert table is not None
    assert all(0 <= share <= 1 for share in table.at(700, 512))
    written = place.read_bytes()
    assert main(["build"]) == 0
    assert f"already measured: {place}" in capsys.readouterr().out
    assert place.read_bytes() == written


def test_a_table_needs_no_folder_but_a_place_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a wheel's kernels nothing has made the cache's folder yet."""
    here = cpu.loaded()
    if here is None:
        pytest.skip(f"no native kernels: {cpu.load()}")
    monkeypatch.setattr(cpu, "measure", lambda progress: cpu.table())
    monkeypatch.setattr(cpu, "loaded", lambda: here._replace(table=tmp_path / "a" / "b.json"))
    assert main(["build"]) == 0
    assert cpu.Table.load(tmp_path / "a" / "b.json") == cpu.table()
    monkeypatch.setattr(cpu, "loaded", lambda: here._replace(table=Path("/proc/a/b.json")))
    capsys.readouterr()
    assert main(["build"]) == 1
    assert "set SPIKEGRAD_CACHE to a writable folder" in capsys.readouterr().err


def test_build_without_a_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("SPIKEGRAD_CACHE", str(tmp_path))
    assert main(["build"]) == 1
    said = capsys.readouterr().err
    assert "no C++ compiler (no-such-compiler)" in said
    assert said.count("\n") == 1
    make_ready("auto")  # no error: the reference will run
    make_ready("reference")
    assert capsys.readouterr().err == ""  # nor a word of building


def test_a_compiler_that_fails_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was said to have failed "without a word", with nothing to do about it."""
    monkeypatch.setenv("CXX", "false")
    monkeypatch.setenv("SPIKEGRAD_CACHE", str(tmp_path))
    assert main(["build"]) == 1
    said = capsys.readouterr().err
    assert "failed: exit status 1 and no message; set CXX to a C++ compiler that works" in said
