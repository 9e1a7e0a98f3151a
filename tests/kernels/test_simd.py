"""Each operation of the folder `simd/` against plain code, for each instruction set.

`simd/operations.cpp` is compiled without torch, with the flags of the kernels. Sets of this CPU run
as they are; NEON is cross-compiled and runs under qemu where both are installed (`make simd-neon`).
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from spikegrad.kernels.cpu import build, compiler, instructions
from spikegrad.kernels.cpu.instructions import InstructionSet

SOURCES = Path(build.__code__.co_filename).parent / "src"
PROGRAM = Path(__file__).parent / "simd" / "operations.cpp"
CROSS = "aarch64-linux-gnu-g++"
EMULATOR = "qemu-aarch64"


def ran(command: list[str], target: list[str], chosen: InstructionSet, folder: Path) -> str:
    """What the program says of a set: compiled by a command, run by another one if needed."""
    flags = [*compiler.flags_of(chosen), *target, f"-I{SOURCES}"]
    if command[0] != "g++":  # the flags of `make sanitize` are g++'s
        flags = [flag for flag in flags if flag not in compiler.more_flags()]
    made = folder / "operations"
    done = subprocess.run(
        [*command, *flags, str(PROGRAM), "-o", str(made)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    emulator = [EMULATOR] if command[0] == CROSS else []
    said = subprocess.run([*emulator, str(made)], capture_output=True, text=True)
    assert said.returncode == 0, f"{said.stdout}{said.stderr} exit status {said.returncode}"
    return said.stdout


def checks(said: str, name: str) -> None:
    """All right, and not because nothing was checked."""
    first, _, rest = said.partition(": ")
    number = int(rest.split()[0])
    assert first == name
    assert number > 100_000
    assert said == f"{name}: {number} checked, 0 wrong\n"


@pytest.mark.parametrize("cxx", ["g++", "clang++"])
@pytest.mark.parametrize("name", [*instructions.NEEDS, "native"])
def test_operations_of_the_sets_of_this_cpu(name: str, cxx: str, tmp_path: Path) -> None:
    native = name == "native"
    name = instructions.best() if native else name
    if lacks := instructions.missing(name):
        pytest.skip(f"this CPU lacks {lacks}")
    if shutil.which(cxx) is None:
        pytest.skip(f"{cxx} is not installed")
    chosen = InstructionSet(name, native, "")
    checks(ran([cxx], compiler.target_flags(chosen)[:1], chosen, tmp_path), name)


def needs(*tools: str) -> None:
    """Skip where one of them is not installed."""
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed (Debian: g++-aarch64-linux-gnu, qemu-user)")


@pytest.mark.skipif(platform.machine() == "aarch64", reason="NEON is one of this CPU's sets")
@pytest.mark.parametrize("name", ["neon", "generic"])
def test_operations_on_aarch64_under_qemu(name: str, tmp_path: Path) -> None:
    needs(CROSS, EMULATOR)
    target = [compiler.LEVELS["aarch64", name], "-static"]
    checks(ran([CROSS], target, InstructionSet(name, False, ""), tmp_path), name)


@pytest.mark.parametrize("source", sorted(SOURCES.glob("*.cpp")), ids=lambda path: path.stem)
def test_every_kernel_compiles_for_aarch64(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without optimisation, which takes six times as long and finds no other error."""
    needs(CROSS)
    monkeypatch.setenv("CXX", CROSS)
    monkeypatch.setenv("SPIKEGRAD_CXXFLAGS", "-O0")
    made = tmp_path / "made.o"
    compiler.compile_file(source, made, InstructionSet("neon", False, ""), SOURCES)
    assert made.stat().st_size > 0


def test_a_wrong_operation_is_found(tmp_path: Path) -> None:
    """A program that checks nothing would pass as well: one operation is broken, and is named."""
    cxx = shutil.which("g++") or shutil.which("clang++")
    if cxx is None:
        pytest.skip("no C++ compiler is installed")
    broken = tmp_path / "simd"
    shutil.copytree(SOURCES / "simd", broken)
    text = (broken / "vectors.h").read_text()
    assert text.count("a >= b") == 1
    (broken / "vectors.h").write_text(text.replace("a >= b", "a > b"))
    chosen = InstructionSet("generic", False, "")
    with pytest.raises(AssertionError, match="at_least<float> is wrong"):
        ran([cxx, f"-I{tmp_path}"], [], chosen, tmp_path)
