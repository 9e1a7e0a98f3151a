"""Options that several of these programs have."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterable, Mapping

from benchmarks import meter
from benchmarks.instructions import SETS

__all__ = ["clock", "cpu_time", "isa", "listed", "threads"]


def isa(parser: argparse.ArgumentParser) -> None:
    """Add `--isa`; what `SPIKEGRAD_ISA` names is its default, so that it holds for all."""
    named = os.environ.get("SPIKEGRAD_ISA", "")
    default = named if named in SETS else "native"
    text = "the instruction set of all that is measured (%(default)s)"
    parser.add_argument("--isa", choices=list(SETS), default=default, help=text)


def threads(parser: argparse.ArgumentParser) -> None:
    """Add `--threads`: all cores by default."""
    text = "of each (%(default)s)"
    parser.add_argument("--threads", type=int, default=meter.cores(), help=text)


def cpu_time(parser: argparse.ArgumentParser) -> None:
    """Add `--cpu-time`."""
    text = "processor time of all threads, on a machine that others use"
    parser.add_argument("--cpu-time", action="store_true", help=text)


def clock(options: argparse.Namespace) -> Callable[[], float]:
    """The one that `cpu_time` asks for."""
    return time.process_time if options.cpu_time else time.perf_counter


def listed(
    parser: argparse.ArgumentParser,
    options: argparse.Namespace,
    known: Mapping[str, Iterable[str]],
) -> None:
    """Turn options of comma-separated words into lists; end where a word is not known."""
    for key, names in known.items():
        words = [word for word in getattr(options, key).split(",") if word]
        for word in words:
            if word not in names:
                parser.error(f"expected --{key} among {', '.join(names)}, got {word}")
        setattr(options, key, words)
