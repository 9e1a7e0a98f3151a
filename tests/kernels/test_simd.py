"""Each operation of the folder `simd/`, its functions included, for each instruction set.

`simd/operations.cpp` compares operations with plain code, `simd/functions.cpp` exp, log and others
with those of <cmath> in float64. Both are compiled without torch, with the flags of the kernels.
Sets of this CPU run as they are; NEON is cross-compiled and runs under qemu where both are
installed (`make simd-neon`).
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from minimax import computed

from spikegrad.kernels.cpu import build, compiler, instructions
from spikegrad.kernels.cpu.instructions import InstructionSet

SOURCES = Path(build.__code__.co_filename).parent / "src"
PROGRAMS = Path(__file__).parent / "simd"
ARGUMENTS: dict[str, list[str]] = {"operations": [], "functions": ["1021"]}
"""Of each program: functions.cpp tries every 1021st float32, four million of them."""
CROSS = "aarch64-linux-gnu-g++"
EMULATOR = "qemu-aarch64"
WIDE = "simd/functions_wide.h"


def ran(
    command: list[str],
    target: list[str],
    chosen: InstructionSet,
    folder: Path,
    program: str = "operations",
    arguments: Sequence[str] = (),
) -> str:
    """What a program says of a set: compiled by a command, run by another one if needed."""
    flags = [*compiler.flags_of(chosen), *target, f"-I{SOURCES}"]
    if command[0] != "g++":  # the flags of `make sanitize` are g++'s
        flags = [flag for flag in flags if flag not in compiler.more_flags()]
    made = folder / program
    done = subprocess.run(
        [*command, *flags, str(PROGRAMS / f"{program}.cpp"), "-o", str(made)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    emulator = [EMULATOR] if command[0] == CROSS else []
    said = subprocess.run([*emulator, str(made), *arguments], capture_output=True, text=True)
    assert said.returncode == 0, f"{said.stdout}{said.stderr} exit status {said.returncode}"
    return said.stdout


def checks(said: str, name: str) -> None:
    """All right, and not because nothing was checked."""
    first, _, rest = said.partition(": ")
    number = int(rest.split()[0])
    assert first == name
    assert number > 100_000
    assert said == f"{name}: {number} checked, 0 wrong\n"


@pytest.mark.parametrize("program", ARGUMENTS)
@pytest.mark.parametrize("cxx", ["g++", "clang++"])
@pytest.mark.parametrize("name", [*instructions.NEEDS, "native"])
def test_sets_of_this_cpu(name: str, cxx: str, program: str, tmp_path: Path) -> None:
    native = name == "native"
    name = instructions.best() if native else name
    if lacks := instructions.missing(name):
        pytest.skip(f"this CPU lacks {lacks}")
    if shutil.which(cxx) is None:
        pytest.skip(f"{cxx} is not installed")
    chosen = InstructionSet(name, native, "")
    target = compiler.target_flags(chosen)[:1]
    checks(ran([cxx], target, chosen, tmp_path, program, ARGUMENTS[program]), name)


def needs(*tools: str) -> None:
    """Skip where one of them is not installed."""
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed (Debian: g++-aarch64-linux-gnu, qemu-user)")


@pytest.mark.skipif(platform.machine() == "aarch64", reason="NEON is one of this CPU's sets")
@pytest.mark.parametrize(
    ("program", "arguments"),
    [("operations", []), ("functions", ["20011"])],
    ids=["operations", "functions"],
)
@pytest.mark.parametrize("name", ["neon", "generic"])
def test_sets_of_aarch64_under_qemu(
    name: str, program: str, arguments: list[str], tmp_path: Path
) -> None:
    """The functions with fewer numbers: under qemu they take twenty times as long."""
    needs(CROSS, EMULATOR)
    target = [compiler.LEVELS["aarch64", name], "-static"]
    chosen = InstructionSet(name, False, "")
    checks(ran([CROSS], target, chosen, tmp_path, program, arguments), name)


@pytest.mark.skipif(
    os.environ.get("SPIKEGRAD_NEON") != "all", reason="more than a minute: make simd-neon"
)
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


@pytest.mark.parametrize(
    ("program", "file", "right", "broken", "named"),
    [
        ("operations", "simd/vectors.h", "a >= b", "a > b", "at_least<float> is wrong"),
        ("functions", "simd/functions.h", "0.166666672f", "0.166676f", "exp_of<float> is wrong"),
        ("functions", WIDE, "0x1.0b4611a6", "0x1.0c4611a6", "sin_of<float> is wrong"),
        ("functions", WIDE, "(whole, unequal", "(whole, equal", "pow_of<float> is"),
    ],
    ids=["comparison", "exp", "sin", "pow"],
)
def test_what_is_wrong_is_found(
    program: str, file: str, right: str, broken: str, named: str, tmp_path: Path
) -> None:
    """A program that checks nothing would pass as well: one thing is broken, and is named."""
    cxx = shutil.which("g++") or shutil.which("clang++")
    if cxx is None:
        pytest.skip("no C++ compiler is installed")
    sources = tmp_path / "src"
    sources.mkdir()
    shutil.copytree(SOURCES / "simd", sources / "simd")
    text = (sources / file).read_text()
    assert text.count(right) == 1
    (sources / file).write_text(text.replace(right, broken))
    chosen = InstructionSet("generic", False, "")
    with pytest.raises(AssertionError, match=named):
        ran([cxx, f"-I{sources}"], [], chosen, tmp_path, program, ARGUMENTS[program])


def test_coefficients_are_those_of_minimax_polynomials() -> None:
    """In the order of the sources. Looser than a float32, as a fit ends when it is good enough."""
    texts = [(SOURCES / name).read_text() for name in ("simd/functions.h", WIDE)]
    lists = re.findall(r"static constexpr (float|double) \w\[\] = {([^}]*)}", "".join(texts))
    written = [
        [float.fromhex(x) if kind == "double" else float(x.rstrip("f")) for x in listed]
        for kind, listed in ((kind, text.replace(",", " ").split()) for kind, text in lists)
    ]
    expected = computed()
    assert len(written) == len(expected)
    for found, (name, numbers) in zip(written, expected.items(), strict=True):
        assert found == pytest.approx(numbers, rel=1e-6), name
