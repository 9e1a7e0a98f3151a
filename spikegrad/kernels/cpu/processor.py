"""What this CPU can do, by the names that Linux gives its features."""

from __future__ import annotations

import platform
import subprocess
from functools import lru_cache
from pathlib import Path

__all__ = ["architecture", "described", "features"]

CPUINFO = Path("/proc/cpuinfo")
TORCH_SAYS = {
    "AVX512": "avx512f avx512bw avx512cd avx512dq avx512vl avx2 fma bmi1 bmi2 abm f16c movbe",
    "AVX2": "avx2 fma bmi1 bmi2 abm f16c movbe",
}
"""What a CPU has of which torch knows the capability alone; every CPU sold has these together."""


def architecture() -> str:
    """`x86_64`, `aarch64`, or the system's own word for another one."""
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def features() -> frozenset[str]:
    """The CPU's features by the names of Linux (`avx2`, `asimd`), as the system lets them be used.

    Linux lists them in /proc/cpuinfo, macOS in sysctl; elsewhere torch is asked.
    """
    found: set[str] = set()
    for line in described().splitlines():
        name, _, words = line.partition(":")
        if name.strip().lower() != "model name":
            found |= {LINUX_NAMES.get(word, word) for word in words.lower().split()}
    return frozenset(found)


# macOS's names where they are not Linux's.
LINUX_NAMES = {"lzcnt": "abm", "avx2_0": "avx2", "neon": "asimd", "advsimd": "asimd"}


@lru_cache(maxsize=1)
def described() -> str:
    """Lines `name: words`: the model of CPU and its features; another text for another CPU."""
    if CPUINFO.exists():
        lines = CPUINFO.read_text(errors="replace").splitlines()
        kept = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
        if kept:
            return "\n".join(sorted(kept))
    if platform.system() == "Darwin":
        return darwin()
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    words = TORCH_SAYS.get(capability, "asimd" if architecture() == "aarch64" else "")
    return f"model name: {platform.processor() or platform.machine()}\nflags: {words}"


def darwin() -> str:
    """macOS's answer: Intel's features are lists of words, Arm's one switch each."""
    keys = {"brand_string": "model name", "features": "flags", "leaf7_features": "flags",
            "extfeatures": "flags"}  # fmt: skip
    lines = []
    for key, name in keys.items():
        if words := sysctl("-n", f"machdep.cpu.{key}"):
            lines.append(f"{name}: {words}")
    for line in sysctl("hw.optional").splitlines():
        name, _, value = line.partition(":")
        if value.strip() == "1":
            lines.append(f"flags: {name.rsplit('.', 1)[-1]}")
    return "\n".join(lines)


def sysctl(*arguments: str) -> str:
    """What sysctl prints, "" where it knows nothing."""
    command = ["/usr/sbin/sysctl", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
