"""`spikegrad build`, and the note before a first run."""

from __future__ import annotations

from pathlib import Path

import pytest

from spikegrad.cli.build import make_ready
from spikegrad.cli.main import main
from spikegrad.kernels import cpu


@pytest.mark.skipif(bool(cpu.load()), reason=f"no native kernels: {cpu.load()}")
def test_build_says_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build"]) == 0
    assert capsys.readouterr().out.startswith("already built: ")


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
