"""Which instruction set is in force: the CPU's best or the one asked for, and what is compiled."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spikegrad.errors import UserError
from spikegrad.kernels import cpu
from spikegrad.kernels.cpu import compiler, instructions, processor

build = sys.modules["spikegrad.kernels.cpu.build"]  # the function of that name hides it
V3 = "fpu sse2 avx avx2 fma bmi1 bmi2 abm f16c movbe"
V4 = f"{V3} avx512f avx512bw avx512cd avx512dq avx512vl"
CPUS = {
    "server": ("x86_64", f"flags : {V4} gfni", "avx512"),
    "skylake without CD": ("x86_64", f"flags : {V4.replace('avx512cd ', '')}", "avx2"),
    "laptop": ("x86_64", f"flags : {V3}", "avx2"),
    "without LZCNT": ("x86_64", f"flags : {V3.replace(' abm', '')}", "generic"),
    "old": ("x86_64", "flags : fpu sse2 avx", "generic"),
    "arm": ("aarch64", "Features : fp asimd evtstrm", "neon"),
    "an arm's words on x86": ("x86_64", "flags : asimd", "generic"),
    "riscv": ("riscv64", "", "generic"),
}


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Make this machine look like another one running Linux."""

    def become(name: str) -> str:
        machine, words, best = CPUS[name]
        (tmp_path / "cpuinfo").write_text(f"processor : 0\nmodel name : avx2 in a name\n{words}\n")
        monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
        monkeypatch.setattr(processor.platform, "machine", lambda: machine)
        processor.described.cache_clear()
        return best

    monkeypatch.delenv("SPIKEGRAD_ISA", raising=False)
    yield become
    monkeypatch.undo()
    processor.described.cache_clear()


@pytest.mark.parametrize("name", CPUS)
def test_the_best_set_of_a_cpu_is_in_force(on, name: str) -> None:
    best = on(name)
    chosen = instructions.in_force()
    assert (chosen.name, chosen.native) == (best, True)
    assert chosen.reason == "the best set of this CPU"


def test_a_set_can_be_asked_for(on, monkeypatch: pytest.MonkeyPatch) -> None:
    on("server")
    found = {}
    for name in ("avx512", "avx2", "generic"):
        monkeypatch.setenv("SPIKEGRAD_ISA", name)
        found[name] = instructions.in_force()
        assert found[name].name == name
        assert found[name].reason.startswith("SPIKEGRAD_ISA")
    assert [one.native for one in found.values()] == [True, False, False]
    assert "the best set of this CPU is avx512" in found["avx2"].reason


@pytest.mark.parametrize(
    ("name", "asked", "words"),
    [
        ("laptop", "avx512", "avx512bw avx512cd avx512dq avx512f avx512vl"),
        ("skylake without CD", "avx512", "lacks avx512cd;"),
        ("laptop", "neon", "aarch64 (this is x86_64)"),
        ("arm", "avx2", "x86_64 (this is aarch64)"),
        ("arm", "avx", "unknown instruction set 'avx'; did you mean 'avx2'"),
        ("server", "AVX512F", "known: avx512, avx2, neon, generic"),
    ],
)
def test_what_the_cpu_does_not_have_is_refused(
    on, monkeypatch: pytest.MonkeyPatch, name: str, asked: str, words: str
) -> None:
    on(name)
    monkeypatch.setenv("SPIKEGRAD_ISA", asked)
    with pytest.raises(UserError, match="SPIKEGRAD_ISA") as caught:
        instructions.in_force()
    assert words in str(caught.value)
    assert "unset" in str(caught.value)


def test_torch_sees_the_same_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torch may use AVX-512 we find it, and the reverse."""
    program = "import torch; print(torch.backends.cpu.get_cpu_capability())"
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    said = done.stdout.decode().strip()
    if processor.architecture() != "x86_64":
        pytest.skip("torch has other words there")
    assert instructions.best() == {"AVX512": "avx512", "AVX2": "avx2"}.get(said, "generic")


def test_without_a_list_of_features_torch_is_asked(on, monkeypatch: pytest.MonkeyPatch) -> None:
    on("server")
    monkeypatch.setattr(processor, "CPUINFO", Path("/no/such/file"))
    monkeypatch.setattr(processor.platform, "system", lambda: "FreeBSD")
    for said, best in [("AVX512", "avx512"), ("AVX2", "avx2"), ("DEFAULT", "generic")]:
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda said=said: said)
        processor.described.cache_clear()
        assert instructions.best() == best


@pytest.mark.parametrize(
    ("machine", "answers", "best"),
    [
        ("arm64", {"machdep.cpu.brand_string": "Apple M1",
                   "hw.optional": "hw.optional.floatingpoint: 1\nhw.optional.neon: 1"}, "neon"),
        ("x86_64", {"machdep.cpu.features": "FPU SSE2 FMA MOVBE AVX1.0 F16C",
                    "machdep.cpu.leaf7_features": "BMI1 AVX2 BMI2",
                    "machdep.cpu.extfeatures": "SYSCALL LZCNT",
                    "hw.optional": "hw.optional.avx2_0: 1\nhw.optional.avx512f: 0"}, "avx2"),
    ],
)  # fmt: skip
def test_macos_answers_by_sysctl(
    on, monkeypatch: pytest.MonkeyPatch, machine: str, answers: dict[str, str], best: str
) -> None:
    on("old")
    monkeypatch.setattr(processor, "CPUINFO", Path("/no/such/file"))
    monkeypatch.setattr(processor.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(processor.platform, "machine", lambda: machine)
    monkeypatch.setattr(processor, "sysctl", lambda *words: answers.get(words[-1], ""))
    processor.described.cache_clear()
    assert instructions.best() == best
    assert compiler.library_suffix() == ".dylib"
    flags = compiler.target_flags(instructions.in_force())
    assert flags == (
        ["-march=native"] if machine == "x86_64" else ["-mcpu=native", "-mcpu=apple-m1"]
    )


@pytest.mark.parametrize(
    ("name", "asked", "flags"),
    [
        ("server", "", ["-march=native"]),
        ("server", "avx512", ["-march=native"]),
        ("server", "avx2", ["-march=x86-64-v3"]),
        ("server", "generic", ["-march=x86-64"]),
        ("laptop", "", ["-march=native"]),
        ("arm", "", ["-mcpu=native", "-march=native"]),
        ("arm", "generic", ["-march=armv8-a"]),
    ],
)
def test_the_compiler_is_told_the_set_and_the_cpu(
    on, monkeypatch: pytest.MonkeyPatch, name: str, asked: str, flags: list[str]
) -> None:
    """One define, and flags that let the compiler use no more than the set when it is forced."""
    best = on(name)
    monkeypatch.setenv("SPIKEGRAD_ISA", asked)
    chosen = instructions.in_force()
    defines = [flag for flag in compiler.flags_of(chosen) if flag.startswith("-D")]
    assert defines == [f"-DSPIKEGRAD_SIMD_{(asked or best).upper()}"]
    assert compiler.target_flags(chosen) == flags


def test_each_set_has_a_library_of_its_own(on, monkeypatch: pytest.MonkeyPatch) -> None:
    on("server")
    found = {}
    for asked in ("", "avx512", "avx2", "generic"):
        monkeypatch.setenv("SPIKEGRAD_ISA", asked)
        found[asked] = cpu.library_path()
    assert found[""] == found["avx512"]
    assert len(set(found.values())) == 3
    assert "-avx2-" in found["avx2"].name
    on("laptop")  # whose best it is: another CPU, so another library
    monkeypatch.setenv("SPIKEGRAD_ISA", "avx2")
    assert cpu.library_path() != found["avx2"]
    monkeypatch.setenv("SPIKEGRAD_ISA", "generic")
    assert cpu.library_path() == found["generic"]


@pytest.mark.parametrize("accepts", ["-mcpu=native", "-mcpu=apple-m1", "neither"])
def test_a_flag_that_the_compiler_does_not_know_is_not_passed(
    on, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, accepts: str
) -> None:
    on("arm")
    monkeypatch.setattr(compiler.platform, "system", lambda: "Darwin")
    fake = tmp_path / "cxx"
    fake.write_text(f'#!/bin/sh\ncase " $* " in *" {accepts} "*) exit 0;; esac; exit 1\n')
    fake.chmod(0o755)
    monkeypatch.setenv("CXX", str(fake))
    chosen = instructions.InstructionSet("neon", True, "")
    assert compiler.accepted(chosen) == ([] if accepts == "neither" else [accepts])


def test_sources_are_a_tree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The digest sees content and place in every subfolder; every .cpp is compiled."""
    (tmp_path / "simd").mkdir()
    (tmp_path / "a.cpp").write_text('#include "simd/a.h"\nint a() { return kA; }\n')
    (tmp_path / "simd" / "a.cpp").write_text('#include "simd/a.h"\nint b() { return kA; }\n')
    (tmp_path / "common.h").write_text('#pragma once\n#include "simd/a.h"\n')
    header = tmp_path / "simd" / "a.h"
    header.write_text("#pragma once\nconstexpr int kA = 1;\n")
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    digests = [build.sources_digest()]
    header.write_text("#pragma once\nconstexpr int kA = 2;\n")
    digests.append(build.sources_digest())
    (tmp_path / "simd" / "a.cpp").rename(tmp_path / "simd" / "b.cpp")
    digests.append(build.sources_digest())
    assert len(set(digests)) == 3
    (tmp_path / "simd" / "b.cpp").rename(tmp_path / "simd" / "a.cpp")  # the stem of the other one
    monkeypatch.setattr(
        build, "link", lambda objects, to, portable: to.write_text(str(len(objects)))
    )
    out = tmp_path.parent / f"{tmp_path.name}-out"
    out.mkdir()
    build.compile_into(out / "x.so", instructions.in_force())
    assert (out / "x.so").read_text() == "2"
    # An editor or git at work during a build: half of the objects are of other sources.
    monkeypatch.setattr(build, "link", lambda objects, to, portable: header.write_text("// new"))
    with pytest.raises(build.BuildError, match="sources changed while they were compiled"):
        build.compile_into(out / "y.so", instructions.in_force())
    assert [path.name for path in out.iterdir()] == ["x.so"]


@pytest.mark.skipif(cpu.load() != "", reason="no compiler")
def test_a_compiled_header_stands_for_its_text(tmp_path: Path) -> None:
    """The text says something else afterwards, and the file still means what was compiled."""
    if "clang" in compiler.compiler_version():
        pytest.skip("clang looks at the text's date, and refuses one that changed")
    header, source = tmp_path / "first.h", tmp_path / "a.cpp"
    chosen = instructions.in_force()
    header.write_text("#pragma once\nconstexpr int kA = 1;\n")
    compiler.compile_file(header, Path(f"{header}.gch"), chosen, tmp_path)
    header.write_text("#pragma once\n#error the text was read\n")
    source.write_text("static_assert(kA == 1);\n")
    compiler.compile_file(source, tmp_path / "a.o", chosen, tmp_path, header=header)


X86 = pytest.mark.skipif(processor.architecture() != "x86_64", reason="x86 alone")
# zmm registers, mask registers, and the upper sixteen vectors that only AVX-512 can name
OF_AVX512 = re.compile(r"%zmm|%k[0-7]\b|%[xy]mm(1[6-9]|2\d|3[01])\b")
OF_AVX = re.compile(r"%ymm|\bv[a-z]+[ps][sd]\b")


@X86
@pytest.mark.skipif(shutil.which("objdump") is None, reason="no objdump")
@pytest.mark.parametrize("name", ["avx2", "generic"])
def test_a_forced_set_holds_no_instruction_of_a_better_one(
    on, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """On a server too: loops that a compiler vectorises as far as it may."""
    on("server")
    monkeypatch.setenv("SPIKEGRAD_ISA", name)
    chosen = instructions.in_force()
    source, made = tmp_path / "loops.cpp", tmp_path / "loops.o"
    source.write_text(
        "typedef float V __attribute__((vector_size(64)));\n"
        "V add(const V& a, const V& b) { return a < b ? a + b : a * b; }\n"
        "void f(float* x, const float* y, int n) {\n"
        "  for (int i = 0; i < n; ++i) x[i] = y[i] > 0 ? x[i] + y[i] : 0;\n}\n"
    )
    compiler.compile_file(source, made, chosen, tmp_path)
    done = subprocess.run(["objdump", "-d", made], capture_output=True, text=True, check=True)
    assert not OF_AVX512.search(done.stdout)
    assert bool(OF_AVX.search(done.stdout)) == (name == "avx2")


@X86
@pytest.mark.skipif(shutil.which("objdump") is None, reason="no objdump")
@pytest.mark.skipif(bool(cpu.load()), reason=f"no native kernels: {cpu.load()}")
def test_the_library_that_runs_holds_no_instruction_of_a_better_set() -> None:
    """The whole library, where it was built for avx2 or generic."""
    if cpu.isa() == "avx512":
        pytest.skip("the best set there is")
    done = subprocess.run(
        ["objdump", "-d", cpu.library_path()], capture_output=True, text=True, check=True
    )
    assert not OF_AVX512.search(done.stdout)
    assert cpu.isa() == "avx2" or not OF_AVX.search(done.stdout)


PROGRAM = """
import torch, spikegrad as sg
from spikegrad.kernels import cpu
try:
    print(repr(cpu.load()), cpu.isa())
except sg.UserError as error:
    print("refused:", error)
"""


@pytest.mark.skipif(bool(cpu.load()), reason=f"no native kernels: {cpu.load()}")
def test_isa_says_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was loaded, whatever the environment says later; a wrong name is never a slow run."""
    loaded = cpu.isa()
    monkeypatch.setenv("SPIKEGRAD_ISA", "avx1024")
    assert cpu.isa() == loaded
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.stdout.startswith("refused: SPIKEGRAD_ISA: unknown instruction set 'avx1024'")
    monkeypatch.setenv("SPIKEGRAD_ISA", loaded)
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.stdout == f"'' {loaded}\n"
