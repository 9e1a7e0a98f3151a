"""Which library runs: one built here, the wheel's own, or one still to be built."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spikegrad.cli.build import make_ready
from spikegrad.cli.main import main
from spikegrad.kernels import cpu
from spikegrad.kernels.cpu import compiler, instructions, processor, ready_made
from spikegrad.kernels.cpu import wheel as wheels

pytestmark = pytest.mark.skipif(bool(cpu.load()), reason=f"no native kernels: {cpu.load()}")
LOADED = cpu.loaded()
NO_COMPILER = "no-such-compiler"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The `lib` of an installed wheel: a file for every set that a wheel carries."""
    folder = tmp_path / "lib"
    folder.mkdir()
    monkeypatch.delenv("SPIKEGRAD_CXXFLAGS", raising=False)
    for name in ready_made.SETS:
        (folder / ready_made.file_name(name)).write_bytes(b"a library")
    monkeypatch.setattr(ready_made, "FOLDER", folder)
    monkeypatch.setenv("SPIKEGRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(instructions, "architecture", lambda: "x86_64")
    monkeypatch.setattr(compiler, "architecture", lambda: "x86_64")
    return folder


def on(monkeypatch: pytest.MonkeyPatch, isa: str, features: frozenset[str]) -> None:
    monkeypatch.setenv("SPIKEGRAD_ISA", isa)
    monkeypatch.setattr(instructions, "features", lambda: features)


@pytest.mark.parametrize("cxx", ["", NO_COMPILER])
@pytest.mark.parametrize(
    ("isa", "features", "name"),
    [
        ("", instructions.V4 | {"gfni"}, "avx512"),
        ("avx2", instructions.V4, "avx2"),
        ("", instructions.V3, "avx2"),
        ("", frozenset({"sse2"}), None),
        ("generic", instructions.V4, None),
    ],
)
def test_the_wheels_library_is_that_of_the_set_in_force(
    wheel: Path, monkeypatch: pytest.MonkeyPatch, cxx: str, isa: str, features, name: str | None
) -> None:
    on(monkeypatch, isa, features)
    if cxx:
        monkeypatch.setenv("CXX", cxx)
    found = cpu.installed()
    if name is None:
        assert found is None
        return
    assert found is not None
    assert (found.path, found.isa) == (wheel / ready_made.file_name(name), name)
    assert found.origin == "ready-made"
    assert found.table.parent == cpu.cache_folder()  # the wheel's folder may be read-only


def test_one_that_was_built_here_comes_first(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "", instructions.V4)
    assert cpu.installed().origin == "ready-made"
    path = cpu.library_path()
    path.parent.mkdir()
    path.write_bytes(b"built")
    assert cpu.installed() == (path, "avx512", "built here", path.with_suffix(".json"))
    monkeypatch.setenv("SPIKEGRAD_ISA", "avx2")  # of another set: that of the wheel
    assert cpu.installed().origin == "ready-made"


def test_other_sources_or_flags_do_not_use_the_wheels_library(
    wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch, "avx2", instructions.V4)
    assert cpu.installed() is not None
    with monkeypatch.context() as patch:
        patch.setenv("SPIKEGRAD_CXXFLAGS", "-fsanitize=address")
        assert cpu.installed() is None
    with monkeypatch.context() as patch:
        patch.setattr(ready_made, "sources_digest", lambda: b"changed")
        assert cpu.installed() is None


def test_tables_of_two_machines_do_not_meet(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One home folder for several machines: what was measured on one holds there alone."""
    on(monkeypatch, "avx2", instructions.V4)
    here = cpu.installed()
    module = sys.modules["spikegrad.kernels.cpu.installed"]
    monkeypatch.setattr(module, "described", lambda: "model name: another")
    there = cpu.installed()
    assert here.path == there.path
    assert here.table != there.table


def test_with_the_wheels_library_nothing_is_built(
    wheel: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on(monkeypatch, "", instructions.V4)
    make_ready("auto")
    assert capsys.readouterr().err == ""
    assert not cpu.cache_folder().exists()
    monkeypatch.setenv("CXX", NO_COMPILER)
    assert main(["build", "--no-measure"]) == 0
    said = capsys.readouterr().out
    assert f"nothing was compiled: no C++ compiler ({NO_COMPILER})" in said
    assert f"the kernels of the wheel for avx512 are used: {wheel}" in said


PROGRAM = """
import sys
from pathlib import Path
from spikegrad.kernels import cpu
from spikegrad.kernels.cpu import ready_made
ready_made.FOLDER = Path(sys.argv[1])
print(repr(cpu.load()), cpu.loaded() and cpu.loaded().origin, cpu.isa())
"""


def load_in(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.skipif(processor.architecture() != "x86_64", reason="wheels are for x86-64 alone")
def test_a_ready_made_library_is_loaded_without_a_compiler(tmp_path: Path) -> None:
    """The library that runs here stands for the wheel's; a damaged one is told apart."""
    assert LOADED is not None
    if LOADED.isa not in ready_made.SETS:
        pytest.skip("the wheel has none for this set")
    lib = tmp_path / "lib"
    lib.mkdir()
    place = lib / ready_made.file_name(LOADED.isa)
    shutil.copy(LOADED.path, place)
    environment = {"CXX": NO_COMPILER, "SPIKEGRAD_CACHE": str(tmp_path / "cache")}
    done = load_in(lib, SPIKEGRAD_ISA=LOADED.isa, **environment)
    assert done.stdout == f"'' ready-made {LOADED.isa}\n"
    place.write_bytes(b"\x7fELF nonsense")
    done = load_in(lib, SPIKEGRAD_ISA=LOADED.isa, **environment)
    assert done.stdout.startswith(f"'no C++ compiler ({NO_COMPILER})")


STEPS = """
import sys
from pathlib import Path
import torch
import spikegrad as sg
from spikegrad.kernels import cpu
from spikegrad.kernels.cpu import ready_made
ready_made.FOLDER = Path(sys.argv[1])
assert cpu.load() == "", cpu.load()
x = torch.rand(20, 3, 7, generator=torch.Generator().manual_seed(0))
for learn in ((), "threshold", ("tau_mem", "slope")):
    found = []
    for backend in ("reference", "cpu"):
        layer = sg.LIF(20.0, learn=learn, backend=backend)
        given = x.clone().requires_grad_()
        s, _ = layer(given)
        s.square().sum().backward()
        found.append([s.detach(), given.grad, *(p.grad for p in layer.parameters())])
    assert found[0][0].any()
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)
try:
    sg.LIF(20.0, reset="zero", backend="cpu")(x)
except sg.UserError as error:
    print(error)
s, _ = sg.LIF(20.0, reset="zero")(x)
print(s.shape)
"""


@pytest.mark.skipif(processor.architecture() != "x86_64", reason="wheels are for x86-64 alone")
def test_programs_of_a_wheel_serve_every_choice_of_learned_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a compiler; a form that the wheel does not have runs in torch and says so."""
    assert LOADED is not None
    if LOADED.isa not in ready_made.SETS:
        pytest.skip("the wheel has none for this set")
    some = [w for w in wheels.wanted() if w.record.name == "arctan" and w.reset == "subtract"]
    some = [w for w in some if w.step.name == "lif" and w.program == "scan"]
    assert [w.kind for w in some] == list(wheels.KINDS)
    monkeypatch.setattr(wheels, "wanted", lambda: some)
    shutil.copy(LOADED.path, tmp_path / ready_made.file_name(LOADED.isa))
    wheels.make_steps(tmp_path / ready_made.steps_name(LOADED.isa), LOADED.isa)
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", STEPS, str(tmp_path)],
        env={
            **os.environ,
            "CXX": NO_COMPILER,
            "SPIKEGRAD_ISA": LOADED.isa,
            "SPIKEGRAD_CACHE": str(tmp_path / "cache"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("expected a call of lif that backend='cpu' can run, got no C++")
    assert done.stdout.endswith("torch.Size([20, 3, 7])\n")
    assert done.stderr.count("lif runs in torch") == 1


def test_a_wheel_is_made_anew_from_other_sources_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, bool]] = []

    def compile_into(path: Path, chosen: instructions.InstructionSet, *, portable: bool) -> None:
        made.append((chosen.name, chosen.native))
        assert portable
        path.write_bytes(b"")

    def make_steps(path: Path, isa: str) -> None:
        path.write_bytes(b"")

    monkeypatch.setattr(wheels, "compile_into", compile_into)
    monkeypatch.setattr(wheels, "make_steps", make_steps)
    monkeypatch.setattr(compiler, "architecture", lambda: "x86_64")
    monkeypatch.setattr(wheels, "platform_tag", lambda libraries: f"for {len(libraries)}")
    first = wheels.make(tmp_path)
    assert made == [("avx2", False), ("avx512", False)]
    assert wheels.make(tmp_path) == first
    assert len(made) == 2
    monkeypatch.setattr(ready_made, "sources_digest", lambda: b"changed")
    second = wheels.make(tmp_path)
    assert len(made) == 4
    assert (tmp_path / "tag").read_text() == "for 4"
    there = {*tmp_path.glob("kernels-*"), *tmp_path.glob("steps-*")}
    assert there == set(second)  # a wheel takes all that is there


@pytest.mark.parametrize(
    ("symbols", "glibc"),
    [
        ("GLIBC_2.2.5 GLIBC_2.32 GLIBCXX_3.4 GLIBCXX_3.4.29", 34),
        ("GLIBC_2.28 GLIBC_2.14 GLIBCXX_3.4.21", 28),
        ("GLIBC_2.36 GLIBCXX_3.4.30", 36),
        ("GLIBC_2.17", 28),
    ],
)
def test_the_wheels_tag_asks_for_what_the_library_needs(symbols: str, glibc: int) -> None:
    """GLIBCXX_3.4.29 came with gcc 11, which no system had before glibc 2.34."""
    assert wheels.glibc_of(symbols) == glibc
