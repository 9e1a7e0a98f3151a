"""What a wheel carries, compiled: the kernels, and programs of the built-in neurons.

A wheel cannot hold a program for every choice of learned parameters. It has three for each neuron,
surrogate and reset: with parameters fixed at their defaults or at any number, the same for all
neurons, and with every parameter learned and one per neuron, which serves all other choices with
some work for nothing.
"""

from __future__ import annotations

import platform
import re
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import product
from pathlib import Path
from typing import NamedTuple

from spikegrad.functional.steps import STEPS
from spikegrad.kernels.cpu.build import SOURCES, compile_into
from spikegrad.kernels.cpu.compiler import compile_file, link
from spikegrad.kernels.cpu.prepare import Kind, emitted
from spikegrad.kernels.cpu.ready_made import SETS, alone, file_name, steps_name
from spikegrad.kernels.cpu.step_library import INCLUDES, define
from spikegrad.kernels.emit.program import key_of
from spikegrad.kernels.forms import everything_learned, form_of, known_of
from spikegrad.step import Step
from spikegrad.surrogate import Surrogate, get, names
from spikegrad.types import Reset

__all__ = ["make", "platform_tag"]

GLIBC_WITH_GLIBCXX = {25: 28, 28: 31, 29: 34, 30: 35, 32: 38, 33: 39}
"""The glibc 2.G of the first distributions whose libstdc++ has the symbols of version 3.4.N."""

RESETS: tuple[Reset, ...] = ("subtract", "zero", "none")


KINDS = ("default", "fixed", "general")


class Wanted(NamedTuple):
    """One program: a neuron, its surrogate and reset, and of what kind it is.

    program: a whole scan, or a step inside a layer; kind: "default": parameters that are 0 or 1 by
    default are; "fixed": any numbers; "general":
    everything learned, and per neuron.
    """

    step: Step
    record: Surrogate
    reset: Reset
    kind: str
    program: Kind


def wanted() -> Iterator[Wanted]:
    """The programs that a wheel carries."""
    programs: tuple[Kind, ...] = ("scan", "rows")
    steps = {id(step): step for step, _ in STEPS.values()}.values()
    for definition, kind, program in product(steps, KINDS, programs):
        if not definition.spikes:
            yield Wanted(definition, definition.surrogate, "none", kind, program)
            continue
        for name, reset in product(names(aliases=False), RESETS):
            yield Wanted(definition, get(name), reset, kind, program)


@cache
def text_of(want: Wanted) -> str:
    """The program's text."""
    general = want.kind == "general"
    learned = everything_learned(want.step, want.record) if general else ()
    defaults = {**want.step.defaults(), "dt": 1.0}
    known = known_of(want.step, defaults) if want.kind == "default" else ()
    form = form_of(want.step, want.record, want.reset, True, False, learned, known)
    return emitted(want.program, want.step, form, general, False)[0].text


def make(folder: Path) -> list[Path]:
    """Compile every set that a wheel carries into a folder, which then holds no other library.

    The file `tag` says on which systems they run. Raises BuildError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name in SETS:
        kernels, steps = folder / file_name(name), folder / steps_name(name)
        if not kernels.exists():
            compile_into(kernels, alone(name), portable=True)
        if not steps.exists():
            make_steps(steps, name)
        made += [kernels, steps]
    for old in {*folder.glob("kernels-*"), *folder.glob("steps-*.so")} - set(made):
        old.unlink()
    (folder / "tag").write_text(platform_tag(made), encoding="utf-8")
    return made


def platform_tag(libraries: list[Path]) -> str:
    """`manylinux_2_G_ARCHITECTURE`: the oldest glibc whose systems have every symbol needed."""
    needed = 0
    for library in libraries:
        command = ["objdump", "-p", str(library)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        needed = max(needed, glibc_of(done.stdout))
    return f"manylinux_2_{needed}_{platform.machine()}"


def glibc_of(headers: str) -> int:
    """G of the oldest glibc 2.G that can load a library, from what `objdump -p` prints of it.

    >>> glibc_of("GLIBC_2.2.5 GLIBC_2.32 GLIBCXX_3.4.29")
    34
    """
    libc = [int(minor) for minor in re.findall(r"\bGLIBC_2\.(\d+)", headers)]
    stdcxx = max((int(n) for n in re.findall(r"\bGLIBCXX_3\.4\.(\d+)", headers)), default=0)
    return max(*libc, min(g for n, g in GLIBC_WITH_GLIBCXX.items() if n >= stdcxx))


def make_steps(path: Path, isa: str) -> None:
    """Compile all of them for an instruction set into one library; raises BuildError."""
    texts = {key_of(text): text for text in map(text_of, wanted())}
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="steps-") as folder:
        header = Path(folder) / "first.h"
        header.write_text(INCLUDES, encoding="utf-8")
        compile_file(header, Path(f"{header}.gch"), alone(isa), SOURCES, portable=True)

        def compiled(key: int) -> Path:
            source, made = Path(folder) / f"{key}.cpp", Path(folder) / f"{key}.o"
            source.write_text(define(key) + texts[key], encoding="utf-8")
            compile_file(source, made, alone(isa), SOURCES, header=header, portable=True)
            return made

        with ThreadPoolExecutor(max_workers=2) as pool:
            objects = list(pool.map(compiled, texts))
        made = Path(folder) / path.name
        link(objects, made, portable=True)
        made.replace(path)
