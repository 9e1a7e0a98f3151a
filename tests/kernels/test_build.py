"""Building in bad places: each works, or falls back to the reference with one clear warning."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spikegrad.kernels import cpu

pytestmark = pytest.mark.skipif(bool(cpu.load()), reason=f"no native kernels: {cpu.load()}")
BUILT = cpu.library_path()

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
    sources = len(list((Path(cpu.__file__).parent / "src").rglob("*.cpp")))
    assert log.read_text().count("call") == sources + 2  # a header before, the library after


def test_an_interrupted_build_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    """A lock file and half a build folder left by a killed process are no obstacle."""
    path = tmp_path / cpu.library_path().name
    path.with_suffix(".lock").write_text("")
    (tmp_path / "build-dead").mkdir()
    shutil.copy(cpu.library_path(), tmp_path / "ready.so")
    light = fake_compiler(
        tmp_path,
        'case "$1" in --version) echo 1; exit 0;; esac; for last; do :; done; '
        'case " $* " in *step.cpp*) exec g++ "$@";; esac; '
        'case " $* " in *" -shared "*) while [ "$1" != "-o" ]; do shift; done; '
        f'cp {tmp_path / "ready.so"} "$2";; *) : > "$last";; esac',
    )
    out = run(CXX=light, SPIKEGRAD_CACHE=str(tmp_path))
    assert out[:2] == ["cpu", "0"]


def light_compiler(folder: Path, before: str = ":") -> str:
    """A compiler that runs a command, then hands out the library that is there already;
    programs of steps are compiled.
    """
    return fake_compiler(
        folder,
        f'case "$1" in --version) echo 1; exit 0;; esac; {before}; for last; do :; done; '
        'case " $* " in *step.cpp*) exec g++ "$@";; esac; '
        'case " $* " in *" -shared "*) while [ "$1" != "-o" ]; do shift; done; '
        f'cp {BUILT} "$2";; *) : > "$last";; esac',
    )


def test_a_build_killed_half_way_is_taken_up_again(tmp_path: Path) -> None:
    """kill -9 while the compiler runs: the lock goes with the process, the next one builds."""
    mark, cache = tmp_path / "compiling", tmp_path / "cache"
    slow = light_compiler(tmp_path, f": > {mark}; sleep 600")
    program = "from spikegrad.kernels import cpu; cpu.build()"
    environment = {**os.environ, "CXX": slow, "SPIKEGRAD_CACHE": str(cache)}
    dead = subprocess.Popen(
        [sys.executable, "-c", program], env=environment, start_new_session=True
    )
    while not mark.exists():
        assert dead.poll() is None
        time.sleep(0.02)
    os.killpg(dead.pid, signal.SIGKILL)
    dead.wait()
    assert any(path.name.startswith("build-") for path in cache.iterdir())
    assert not list(cache.glob("*.so"))
    out = run(CXX=light_compiler(tmp_path), SPIKEGRAD_CACHE=str(cache))
    assert out[:2] == ["cpu", "0"]


def test_a_read_only_cache_that_has_the_library_is_read(tmp_path: Path) -> None:
    shutil.copy(cpu.library_path(), tmp_path / cpu.library_path().name)
    tmp_path.chmod(0o555)
    try:
        out = run(SPIKEGRAD_CACHE=str(tmp_path))
        assert out[:2] == ["cpu", "0"]
        # Not even a lock file; what is compiled of steps is written by root all the same.
        assert len([p for p in tmp_path.iterdir() if p.name != "steps"]) == 1
    finally:
        tmp_path.chmod(0o755)


def test_a_read_only_cache_without_it(tmp_path: Path) -> None:
    """/proc is read-only for root too."""
    folders = [Path("/proc/spikegrad")]
    if os.getuid() != 0:
        tmp_path.chmod(0o555)
        folders.append(tmp_path)
    for folder in folders:
        out = run(SPIKEGRAD_CACHE=str(folder))
        assert out[:2] == ["reference", "1"]
        assert "set SPIKEGRAD_CACHE to a writable folder" in out[2]
        assert out[3].startswith("refused:")
    tmp_path.chmod(0o755)


@pytest.mark.parametrize("name", ["torch", "cpu", "compiler", "flags", "source"])
def test_a_cache_written_for_something_else_is_left_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another torch, CPU, compiler, flags or source is another file; the stranger's stays."""
    monkeypatch.setenv("SPIKEGRAD_CACHE", str(tmp_path))
    if name == "cpu" and not cpu.in_force().native:
        pytest.skip("a library for a set that is not the CPU's best serves other CPUs too")
    module = sys.modules["spikegrad.kernels.cpu.build"]  # the function of that name hides it
    ours = module.library_path()
    with monkeypatch.context() as patch:
        if name == "torch":
            patch.setattr(module.torch, "__version__", "2.99.0+other")
        elif name == "cpu":
            patch.setattr(module, "described", lambda: "flags: another")
        elif name == "compiler":
            patch.setattr(module, "compiler_version", lambda: "another 1.0")
        elif name == "flags":
            patch.setenv("SPIKEGRAD_CXXFLAGS", "-g")
        else:
            sources = tmp_path / "src"
            shutil.copytree(module.SOURCES, sources)
            with next(sources.rglob("pool.cpp")).open("a") as file:
                file.write("// changed\n")
            patch.setattr(module, "SOURCES", sources)
        stranger = module.library_path()
    assert stranger != ours
    stranger.write_bytes(b"of another machine")
    light = light_compiler(tmp_path)
    out = run(CXX=light, SPIKEGRAD_CACHE=str(tmp_path))
    assert out[:2] == ["cpu", "0"]
    assert stranger.read_bytes() == b"of another machine"


def test_a_compiler_without_output_is_reported(tmp_path: Path) -> None:
    """A compiler that says it worked and wrote nothing."""
    silent = fake_compiler(tmp_path, 'case "$1" in --version) echo 1;; esac; exit 0')
    out = run(CXX=silent, SPIKEGRAD_CACHE=str(tmp_path / "cache"))
    assert out[:2] == ["reference", "1"]


def test_more_flags_reach_compiler_and_linker(tmp_path: Path) -> None:
    log = tmp_path / "log"
    light = light_compiler(tmp_path, f'echo "$*" >> {log}')
    out = run(
        CXX=light, SPIKEGRAD_CACHE=str(tmp_path / "cache"), SPIKEGRAD_CXXFLAGS="-DONE '-DTWO 2'"
    )
    assert out[:2] == ["cpu", "0"]
    lines = log.read_text().splitlines()
    assert len(lines) > 1
    assert all("-DONE -DTWO 2" in line for line in lines)
