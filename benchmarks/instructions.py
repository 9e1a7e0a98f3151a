"""One instruction set for everything that is compared: ours, torch, what torch compiles, JAX.

Each library reads its own variable, once, when it is imported. So a set is chosen for a process
that has not started yet: `environment` is what a worker is started with, and `again` starts a
program anew that has torch in it already.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["SETS", "again", "environment"]

ROOT = Path(__file__).resolve().parents[1]
SETS: dict[str, dict[str, str]] = {
    "native": {},
    "avx512": {
        "SPIKEGRAD_ISA": "avx512",
        "ATEN_CPU_CAPABILITY": "avx512",
        "TORCHINDUCTOR_CPP_MARCH": "x86-64-v4",
        "MKL_ENABLE_INSTRUCTIONS": "AVX512",
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX512",
        "NUMBA_CPU_NAME": "skylake-avx512",
    },
    "avx2": {
        "SPIKEGRAD_ISA": "avx2",
        "ATEN_CPU_CAPABILITY": "avx2",  # the vectors of torch.compile too
        "TORCHINDUCTOR_CPP_MARCH": "x86-64-v3",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
        "NUMBA_CPU_NAME": "haswell",
    },
    "generic": {
        "SPIKEGRAD_ISA": "generic",
        "ATEN_CPU_CAPABILITY": "default",
        "TORCHINDUCTOR_CPP_MARCH": "x86-64",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2",
        "NUMBA_CPU_NAME": "nehalem",
    },
}
"""The variables of each set; `native` leaves every library its best. On a CPU that is not Intel's
MKL does not read its variable, and chooses by itself.
"""
FLAGS = "XLA_FLAGS"  # holds other settings too, which stay
VARIABLES = frozenset(name for values in SETS.values() for name in values)


def environment(isa: str, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """The given environment, or this process's, with the variables of one set, and of no other.

    >>> environment("avx2", {"ATEN_CPU_CAPABILITY": "avx512", "XLA_FLAGS": "--a"})["XLA_FLAGS"]
    '--a --xla_cpu_max_isa=AVX2'
    >>> environment("native", {"SPIKEGRAD_ISA": "avx2"})
    {}
    """
    given = os.environ if given is None else given
    kept = {name: value for name, value in given.items() if name not in VARIABLES}
    flags = [f for f in given.get(FLAGS, "").split() if not f.startswith("--xla_cpu_max_isa")]
    chosen = dict(SETS[isa])
    flags += chosen.pop(FLAGS, "").split()
    return kept | chosen | ({FLAGS: " ".join(flags)} if flags else {})


def again(module: str, arguments: Sequence[str] | None, isa: str) -> int | None:
    """Run a program in a new process that has the set from its start; its exit status.

    None where this process has it already, so that the caller goes on. The child finds the same set
    in its arguments, or in `SPIKEGRAD_ISA`.
    """
    wanted = environment(isa)
    if wanted == dict(os.environ):
        return None
    given = sys.argv[1:] if arguments is None else list(arguments)
    wanted["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(ROOT), *wanted.get("PYTHONPATH", "").split(os.pathsep)])
    )
    return subprocess.call([sys.executable, "-m", module, *given], env=wanted)
