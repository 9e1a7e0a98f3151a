"""Compilers that die, caches that cannot be used: the loop runs, and one line says why."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from native import needs_kernels
from scans import lif
from torch import Tensor

import spikegrad as sg
from spikegrad import kernels
from spikegrad.kernels.cpu import step_library
from spikegrad.kernels.dispatch import warn_once
from spikegrad.step import Step

pytestmark = needs_kernels

NUMBERS = itertools.count(1)


def fresh() -> Step:
    """A step that nothing has compiled in this process."""
    number = next(NUMBERS) / 1024

    def leaky(x: Tensor, s: Any, p: Any) -> Any:
        u = 0.9 * s.v + number + x
        fired = p.spike(u, p.threshold)
        return fired, {"v": p.reset(u, fired)}

    return Step(leaky, states={"v": 0.0}, parameters={"threshold": 1.0})


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache; the compiler is asked for its version again."""
    monkeypatch.setenv("SPIKEGRAD_CACHE", str(tmp_path / "cache"))
    version = step_library.version
    version.cache_clear()
    warn_once.cache_clear()
    yield tmp_path / "cache"
    version.cache_clear()
    warn_once.cache_clear()


def compiler(folder: Path, script: str) -> str:
    """A compiler that is a shell script and counts its calls in a file."""
    path = folder / "compiler"
    log = folder / "calls"
    path.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && {{ echo one 1.0; exit 0; }}\n'
        f'echo call >> "{log}"\n{script}\n',
        encoding="utf-8",
    )
    path.chmod(0o755)
    return str(path)


# The last argument is the library's place.
KILLED = 'for last; do :; done; echo partial > "$last"; kill -9 $$'
DYING = {
    "false": ("exit 1", "exit status 1 and no message"),
    "killed": (KILLED, "exit status -9 and no message"),
    "error": ("echo 'step.cpp:1: error: no such thing' >&2; exit 1", "error: no such thing"),
}


@pytest.mark.parametrize("how", DYING)
def test_a_compiler_that_dies(
    how: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, says = DYING[how]
    monkeypatch.setenv("CXX", compiler(tmp_path, script))
    step, x = fresh(), torch.rand(5, 2, 3)
    with pytest.warns(sg.SpikegradWarning, match=says):
        y, _ = kernels.step(step, x)
    assert torch.equal(y, step(x)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kernels.step(step, x)  # said once, and tried once
    calls = (tmp_path / "calls").read_text()
    with pytest.raises(sg.UserError, match=f"{says}.*set CXX to a C.. compiler that works"):
        kernels.step(step, x, backend="cpu")
    assert (tmp_path / "calls").read_text() == calls
    assert not list(cache.rglob("*.so"))


def test_no_compiler(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    step, x = fresh(), torch.rand(5, 2, 3)
    with pytest.warns(sg.SpikegradWarning, match=r"no C.. compiler"):
        y, _ = kernels.step(step, x)
    assert torch.equal(y, step(x)[0])
    with pytest.raises(sg.UserError, match=r"no C.. compiler"):
        kernels.step(step, x, backend="cpu")


def test_a_cache_that_cannot_be_written(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SPIKEGRAD_CACHE", str(tmp_path / "file"))
    step, x = fresh(), torch.rand(5, 2, 3)
    says = r"cannot write the kernel cache .*SPIKEGRAD_CACHE"
    with pytest.warns(sg.SpikegradWarning, match=says):
        y, _ = kernels.step(step, x)
    assert torch.equal(y, step(x)[0])
    with pytest.raises(sg.UserError, match="cannot write the kernel cache"):
        kernels.step(step, x, backend="cpu")


def test_a_library_that_is_cut_off_is_built_again(
    cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    step, x = fresh(), torch.rand(5, 2, 3)
    kernels.step(step, x, backend="cpu")
    (path,) = cache.rglob("*.so")
    whole = path.read_bytes()
    path.unlink()  # the one in memory keeps its pages
    path.write_bytes(whole[:1000])
    step_library.key_or_error.cache_clear()
    import_module("spikegrad.kernels.cpu.prepare").program_of.cache_clear()
    y, _ = kernels.step(step, x, backend="cpu")
    assert torch.equal(y, step(x)[0])
    assert path.read_bytes() == whole
    said = capfd.readouterr().err
    assert said.count("compiling leaky for") == 2
    assert "the one in the cache is damaged" in said


def test_a_library_that_cannot_be_loaded(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def foreign(name: str, text: str, chosen: Any) -> Path:
        cache.mkdir(exist_ok=True)
        path = cache / "foreign.so"
        path.write_bytes(b"of another system")
        return path

    monkeypatch.setattr(step_library, "built", foreign)
    step, x = fresh(), torch.rand(5, 2, 3)
    with pytest.warns(sg.SpikegradWarning, match="cannot load a compiled neuron: .*foreign"):
        y, _ = kernels.step(step, x)
    assert torch.equal(y, step(x)[0])


PROGRAM = """
import sys, torch
from spikegrad import kernels
from spikegrad.step import Step
def leaky(x, s, p):
    u = 0.75 * s.v + x
    fired = p.spike(u, p.threshold)
    return fired, {"v": p.reset(u, fired)}
step, x = Step(leaky, states={"v": 0.0}, parameters={"threshold": 1.0}), torch.rand(5, 2, 3)
kernels.cpu.load()
print("ready", flush=True)
sys.stdin.readline()
assert torch.equal(kernels.step(step, x, backend="cpu")[0], step(x)[0])
"""


@pytest.mark.parametrize("name", ["g++", "clang++"])
def test_a_compiled_header_that_is_of_no_use(
    name: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second program uses the compiled header; the third finds it damaged, the fourth whole."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    monkeypatch.setenv("CXX", name)
    x = torch.rand(5, 2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(4):
            step = fresh()
            assert torch.equal(kernels.step(step, x)[0], step(x)[0])
            found = list((cache / "steps").glob("*.gch"))
            if number == 1:
                assert found[0].stat().st_size > 1 << 20
                found[0].write_bytes(b"not a header")
            elif number == 2 and found:
                found[0].unlink()  # g++ leaves it where it is, and takes the header itself
        (compiled,) = (cache / "steps").glob("*.gch")
        assert compiled.stat().st_size > 1 << 20


def test_two_processes_at_once(tmp_path: Path) -> None:
    # The library of all kernels is taken as it is; the folder of the programs is a new one.
    steps = "import spikegrad.kernels.cpu.step_library as l, pathlib\n"
    steps += f"l.cache_folder = lambda: pathlib.Path({str(tmp_path)!r})\n"
    pipe = subprocess.PIPE
    both = [
        subprocess.Popen([sys.executable, "-c", steps + PROGRAM], stdin=pipe, stdout=pipe,
                         stderr=pipe, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        for _ in range(2)
    ]  # fmt: skip
    for each in both:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    said = [each.communicate("go\n")[1] for each in both]
    assert [each.returncode for each in both] == [0, 0], said
    assert "".join(said).count("compiling leaky") == 1
    assert len(list(tmp_path.rglob("*.so"))) == 1


def test_a_library_of_another_machine_is_not_taken(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = step_library.in_force()
    here = step_library.digest("text", chosen)
    monkeypatch.setattr(step_library, "described", lambda: "another CPU")
    assert (step_library.digest("text", chosen) != here) == chosen.native
    monkeypatch.setattr(step_library, "version", lambda: "another compiler")
    assert step_library.digest("text", chosen) != here


def test_a_programs_numbers_are_those_that_the_operators_read() -> None:
    """One list in Python, one struct in C++, in the same order: nothing else names them."""
    header = (step_library.SOURCES / "programs.h").read_text(encoding="utf-8")
    fields = header.split("struct Program {")[1].split("};")[0]
    code = " ".join(line.split("//")[0] for line in fields.splitlines())
    named = [word for part in re.findall(r"int64_t ([^;]+);", code) for word in part.split(", ")]
    lif(torch.rand(2, 3, 4), beta=0.5)
    program = next(iter(step_library.PROGRAMS.values()))
    assert list(step_library.table(program, (1, 2))) == named
