"""What comparisons of kernels with the reference found: in this process and in the cache."""

from __future__ import annotations

import contextlib
import hashlib
import json
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch

from spikegrad.errors import SpikegradWarning
from spikegrad.kernels.triton.module import folder, installed, interpreting, put
from spikegrad.step import Step
from spikegrad.tracing import constant

__all__ = ["FAILED", "KNOWN", "Verdict", "digest", "failed", "judged", "tell", "verdicts"]


class Verdict(NamedTuple):
    """What a comparison found; differs: "" or what differed."""

    neuron: str
    device: str
    torch: str
    triton: str
    differs: str


CAPTURING = (
    "its first call compares it with the reference, which a CUDA graph cannot capture; call the "
    "neuron once before the capture"
)
KNOWN: dict[str, Verdict] = {}
FAILED: dict[tuple[str, Step | None], str] = {}
"""Ways, and neurons if any, with a kernel that differs in this process, and how."""


@constant
def failed(way: str, definition: Step | None = None) -> str:
    """How a kernel differs that has been compared in this process, or ""."""
    return FAILED.get((way, definition), "")


def tell(way: str, definition: Step | None, device: torch.device, why: str) -> None:
    """Say once that the reference runs, and remember it."""
    if (way, definition) not in FAILED:
        what = f"{way} of spikes as bits runs in torch"
        if definition is not None:
            what = f"{definition.name} runs in torch, one step after the other"
        warnings.warn(
            f"{what}: its Triton kernel is not used on {device_name(device)}: {why}",
            SpikegradWarning,
            stacklevel=3,
        )
    if why != CAPTURING:
        FAILED[way, definition] = why


def judged(key: str, name: str, device: torch.device, compare: Callable[[], str]) -> str:
    """How a kernel differs from the reference on a device, "" where it does not.

    key: what the verdict holds for; name: for people; compare: says how it differs, and runs where
    nobody has compared before.
    """
    if key not in KNOWN:
        verdict = stored(key)
        if verdict is None and device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            return CAPTURING
        KNOWN[key] = verdict or found(key, name, device, compare)
    return KNOWN[key].differs


def found(key: str, name: str, device: torch.device, compare: Callable[[], str]) -> Verdict:
    """Compare, and keep the verdict."""
    about = (name, device_name(device), torch.__version__, installed())
    try:
        verdict = Verdict(*about, compare())
    except Exception as error:  # of the compiler, the driver, a launch, or no memory
        # The next process tries again.
        said = f"it failed with {type(error).__name__}: {str(error).strip()[:300]}"
        return Verdict(*about, said)
    with contextlib.suppress(OSError):  # without a cache the next process compares again
        put(folder() / "verdicts" / f"{key}.json", json.dumps(verdict._asdict()))
    return verdict


def stored(key: str) -> Verdict | None:
    """A verdict of the cache."""
    try:
        text = (folder() / "verdicts" / f"{key}.json").read_text(encoding="utf-8")
        return Verdict(**json.loads(text))
    except (OSError, ValueError, TypeError):
        return None


def verdicts() -> list[Verdict]:
    """All that the cache has."""
    files = sorted((folder() / "verdicts").glob("*.json"))
    return [verdict for file in files if (verdict := stored(file.stem))]


def digest(text: str, dtype: torch.dtype, how: str, device: torch.device) -> str:
    """What a verdict holds for: the kernels' text, dtype and way, the device and what compiles."""
    return digest_of(text, dtype, how, device_name(device))


@lru_cache(maxsize=1024)
def digest_of(text: str, dtype: torch.dtype, how: str, device: str) -> str:
    """The same, once for each: a step of a stream has no time for it."""
    parts = (
        text,
        str(dtype),
        how,
        device,
        torch.__version__,
        str(torch.version.cuda or torch.version.hip),
        installed(),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


@lru_cache(maxsize=64)
def device_name(device: torch.device) -> str:
    """A GPU's name and generation."""
    if device.type != "cuda":
        return "Triton's interpreter" if interpreting() else str(device)
    major, minor = torch.cuda.get_device_capability(device)
    return f"{torch.cuda.get_device_name(device)} ({major}.{minor})"
