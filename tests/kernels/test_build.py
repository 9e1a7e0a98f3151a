"""Building in bad places: each works, or falls back to the reference with one clear warning."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from spikegrad.kernels import cpu

pytestmark = pytest.mark.skipif(bool(cpu.load()), reason=f"no native kernels: {cpu.load()}")

PROGRAM = """
import warnings, torch, spikegrad as sg
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    s, _ = sg.LIF(5.0)(torch.rand(4, 2, 3))
    s, _ = sg.LIF(5.0)(torch.rand(4, 2, 3))
print(sg.nn.base.kernels.choose("lif").backend)
print(len([w for w in seen if issubclass(w.category, sg.SpikegradWarning)]))
print(*[str(w.message) for w in seen])
try:
    sg.LIF(5.0, backend="cpu")
except sg.UserError as error:
    print("refused:", error)
"""


def run(**environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def fake_compiler(folder: Path, body: str) -> str:
    path = folder / "fake-cxx"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_no_compiler(tmp_path: Path) -> None:
    out = run(CXX="no-such-compiler", SPIKEGRAD_CACHE=str(tmp_path))
    assert out[:2] == ["reference", "1"]
    assert "no C++ compiler (no-such-compiler)" in out[2]
    assert "apt-get install g++" in out[2]
    assert out[3].startswith("refused:")


def test_broken_compiler(tmp_path: Path) -> None:
    broken = fake_compiler(
        tmp_path, 'case "$1" in --version) echo 1;; *) echo "fatal error: boom" >&2; exit 1;; esac'
    )
    out = run(CXX=broken, SPIKEGRAD_CACHE=str(tmp_path / "cache"))
    assert out[:2] == ["reference", "1"]
    assert "fatal error: boom" in out[2]
    left = [p.name for p in (tmp_path / "cache").iterdir()]
    assert all(name.endswith(".lock") for name in left)


def test_cache_that_is_no_folder(tmp_path: Path) -> None:
    """As root a folder cannot be made read-only; a file in its place is refused all the same."""
    place = tmp_path / "file"
    place.write_text("")
    out = run(SPIKEGRAD_CACHE=str(place))
    assert out[:2] == ["reference", "1"]
    assert "SPIKEGRAD_CACHE" in out[2]


def test_a_library_that_does_not_load(tmp_path: Path) -> None:
    """A truncated file under the right name, as a full disk would leave it elsewhere."""
    name = cpu.library_path().name
    (tmp_path / name).write_bytes(b"\x7fELF nonsense")
    out = run(SPIKEGRAD_CACHE=str(tmp_path))
    assert out[:2] == ["reference", "1"]


def test_kernels_switched_off(tmp_path: Path) -> None:
    out = run(SPIKEGRAD_KERNELS="off", SPIKEGRAD_CACHE=str(tmp_path))
    assert out[:2] == ["reference", "0"]


def test_processes_that_start_at_once_build_once(tmp_path: Path) -> None:
    """A slow compiler that counts its calls and hands out the library that is already there."""
    log = tmp_path / "log"
    real = shutil.which("g++") or shutil.which("c++")
    if real is None:
        pytest.skip("no g++")
    light = fake_compiler(
        tmp_path,
        f'case "$1" in --version) echo 1; exit 0;; esac; echo call >> {log}; sleep 0.2; '
        f'for last; do :; done; case " $* " in *" -shared "*) '
        f'while [ "$1" != "-o" ]; do shift; done; cp {cpu.library_path()} "$2";; '
        '*) : > "$last";; esac',
    )
    program = "from spikegrad.kernels import cpu; print(repr(cpu.load()))"
    environment = {**os.environ, "CXX": light, "SPIKEGRAD_CACHE": str(tmp_path / "cache")}
    many = [
        subprocess.Popen(
            [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    assert [p.communicate()[0].strip() for p in many] == ["''"] * 4
    sources = len(list((Path(cpu.__file__).parent / "src").glob("*.cpp")))
    assert log.read_text().count("call") == sources + 1


def test_an_interrupted_build_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    """A lock file and half a build folder left by a killed process are no obstacle."""
    path = tmp_path / cpu.library_path().name
    path.with_suffix(".lock").write_text("")
    (tmp_path / "build-dead").mkdir()
    shutil.copy(cpu.library_path(), tmp_path / "ready.so")
    light = fake_compiler(
        tmp_path,
        'case "$1" in --version) echo 1; exit 0;; esac; for last; do :; done; '
        f'case " $* " in *" -shared "*) while [ "$1" != "-o" ]; do shift; done; '
        f'cp {tmp_path / "ready.so"} "$2";; *) : > "$last";; esac',
    )
    out = run(CXX=light, SPIKEGRAD_CACHE=str(tmp_path))
    assert out[:2] == ["cpu", "0"]
