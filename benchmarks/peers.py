"""`python -m benchmarks.peers --json OUT`: one training step, here and in other libraries.

Peers are optional and want an environment of their own:

    python3.11 -m venv peers && . peers/bin/activate
    pip install torch==2.13.0 && pip install -e .
    pip install scipy h5py loguru requests SciencePlots tqdm pbr psutil
    pip install --no-deps snntorch==1.0.0 spikingjelly==2.0.0 sinabs==3.1.3 nir==1.0.8 nirtorch==2.6
    pip install wheel setuptools setuptools_scm
    pip install --no-deps --no-build-isolation norse==1.1.0
    pip install jax jaxlib "flax>=0.12.7" optax jax-tqdm grain && pip install --no-deps spyx==1.0.0

brainevent 0.3.0 wants Python 3.12 and an environment of its own, without torch:

    python3.13 -m venv peers-brainevent
    peers-brainevent/bin/pip install "brainevent[cpu]==0.3.0" optax
    python -m benchmarks.peers --python brainevent=peers-brainevent/bin/python

What is not installed is skipped, and said so. `docs/benchmarks.md` explains the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import meter
from benchmarks import options as given
from benchmarks.harness import tasks, workload_rows
from benchmarks.networks.registry import IMPLEMENTATIONS, missing
from benchmarks.table import show
from benchmarks.workers import Settings
from benchmarks.workloads import SURROGATES, WORKLOADS, tiny

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the JSON, print the table; the exit status."""
    options = parsed(arguments)
    settings = Settings(options.threads, options.repeats, options.isa, pythons=dict(options.python))
    elsewhere = settings.pythons.keys()
    reasons = {
        n: why for n in options.only if (why := missing(IMPLEMENTATIONS[n], elsewhere)) is not None
    }
    for why in reasons.values():
        print(why)
    present = [n for n in options.only if n not in reasons]
    result: dict[str, Any] = {
        "machine": meter.machine(),
        "isa": options.isa,
        "torch": version("torch"),
        "threads": options.threads,
        "repeats": options.repeats,
        "skipped": list(reasons.values()),
        "inputs": {},
        "rows": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        for name in options.workload:
            measure(name, present, options, settings, Path(folder), result)
            write(options.json, result)
    show(result)
    return 0


def measure(
    name: str,
    present: list[str],
    options: argparse.Namespace,
    settings: Settings,
    folder: Path,
    result: dict[str, Any],
) -> None:
    """Add the rows of one workload to the result."""
    workload = tiny(WORKLOADS[name]) if options.tiny else WORKLOADS[name]
    chosen = tasks(workload, present, options.surrogate)
    if not chosen:
        return
    import torch

    from benchmarks.material import make

    torch.set_num_threads(options.threads)
    progress(f"{name}: makes input and weights")
    material, result["inputs"][name] = make(workload, folder)
    result["rows"] += workload_rows(chosen, material, settings, progress)
    material.unlink()


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; lists are comma-separated."""
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=summary)
    parser.add_argument("--workload", default=",".join(WORKLOADS), help="which (%(default)s)")
    parser.add_argument("--only", default=",".join(IMPLEMENTATIONS), help="which (%(default)s)")
    parser.add_argument("--surrogate", default=",".join(SURROGATES), help="which (%(default)s)")
    parser.add_argument("--repeats", type=int, default=7, help="turns (%(default)s)")
    given.threads(parser)
    given.isa(parser)
    parser.add_argument(
        "--python",
        type=elsewhere,
        action="append",
        default=[],
        metavar="PACKAGE=PATH",
        help="the interpreter that has a package, for example brainevent=other/bin/python",
    )
    parser.add_argument("--json", metavar="OUT", help="write the rows to this file")
    parser.add_argument("--tiny", action="store_true", help="a few neurons: tests the harness")
    options = parser.parse_args(arguments)
    known = {"workload": WORKLOADS, "only": IMPLEMENTATIONS, "surrogate": SURROGATES}
    given.listed(parser, options, known)
    if options.repeats < 1 or options.threads < 1:
        parser.error("expected --repeats and --threads of at least 1")
    return options


def elsewhere(given: str) -> tuple[str, str]:
    """`PACKAGE=PATH` as a pair; the path absolute, but no link followed: a venv's python is one.

    >>> elsewhere("brainevent=/other/bin/python")
    ('brainevent', '/other/bin/python')
    """
    package, _, path = given.partition("=")
    if package not in {i.package for i in IMPLEMENTATIONS.values() if i.jax}:
        raise argparse.ArgumentTypeError(f"expected a peer in JAX and a path, got {given}")
    return package, os.path.abspath(path)


def progress(text: str) -> None:
    """One line that replaces the last where a person looks on, else nothing."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def write(path: str | None, result: dict[str, Any]) -> None:
    """After every workload, so that a run that is cut short leaves what it had."""
    if path is not None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
