"""What Linux says about a process: resident memory, its high-water mark, processor time."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import platform
from pathlib import Path
from typing import Any

__all__ = ["cores", "cpu_seconds", "machine", "peak_mb", "reset_peak", "resident_mb", "settle"]


def resident_mb() -> float:
    """Resident memory of this process now (MB, 2^20 bytes)."""
    return _status("VmRSS")


def peak_mb() -> float:
    """Its largest value since `reset_peak` (MB)."""
    return _status("VmHWM")


def reset_peak() -> None:
    """Start the high-water mark again from what is resident now (`man 5 proc`, clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


def settle() -> None:
    """Give back what was freed, so that what remains is held by someone."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another libc keeps its own counsel
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used so far, all threads (s, in ticks of 10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))


def machine() -> dict[str, Any]:
    """Enough to know later what was measured."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": model,
        "cores": cores(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _status(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"expected {field} in /proc/self/status, which only Linux has")
