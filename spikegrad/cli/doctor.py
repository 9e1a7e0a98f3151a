"""`spikegrad doctor`: what this machine has, what would run, and what is likely to go wrong."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import rich_click as click

__all__ = ["doctor", "warnings_of"]

PACKAGES = (
    "torch",
    "numpy",
    "lightning-fabric",
    "rich",
    "rich-click",
    "tensorboard",
    "safetensors",
    "pooch",
    "matplotlib",
    "tomli-w",
)
"""What `pyproject.toml` asks for."""
REFUSED = "refused: "
RUNS = "can run"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Say what this machine has, what would run on it, and which problems it has.

    Put its output into a bug report.
    """
    found = examine()
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    from spikegrad.train.terminal import Screen, plain_table

    console = Screen()
    for group, facts in found.items():
        if group == "warnings":
            continue
        table = plain_table()
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for key, value in facts.items():
            table.add_row(key, str(value))
        console.print(group, style="bold")
        console.print(table)
        console.print()
    for warning in found["warnings"]:
        console.say(f"warning: {warning}", style="yellow")
    if not found["warnings"]:
        console.print("no problem found")


def examine() -> dict[str, Any]:
    """All facts by group, and the warnings that follow from them."""
    found: dict[str, Any] = {
        "versions": versions(),
        "processor": processor(),
        "devices": devices(),
        "kernels": kernels(),
        "data": data_found(),
        "terminal": terminal(),
        "determinism": determinism(),
    }
    found["warnings"] = warnings_of(found)
    return found


def versions() -> dict[str, str]:
    """Python, spikegrad and everything it depends on."""
    from spikegrad.version import __version__

    found = {"python": platform.python_version(), "spikegrad": __version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    found["system"] = platform.platform()
    return found


def processor() -> dict[str, Any]:
    """Cores that this process may use, and how many threads torch would start."""
    import torch

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cores": usable,
        "cores of the machine": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"),
        "instruction sets": instruction_sets(),
        "instruction set of torch": torch.backends.cpu.get_cpu_capability(),
    }


def instruction_sets() -> str:
    """Those of ours that the CPU has, the best first."""
    from spikegrad.kernels.cpu.instructions import NEEDS, missing

    return ", ".join(name for name in NEEDS if not missing(name))


def devices() -> dict[str, str]:
    """Where torch can run; the first is what `--device auto` takes."""
    import torch

    found = {}
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            found[f"cuda:{index}"] = torch.cuda.get_device_name(index)
    if torch.backends.mps.is_available():
        found["mps"] = "Apple GPU"
    found["cpu"] = platform.processor() or platform.machine()
    return found


def kernels() -> dict[str, str]:
    """Backends, and which would run each scan, with the reason."""
    from spikegrad.errors import UserError
    from spikegrad.kernels import available, choose, get
    from spikegrad.kernels.cpu import in_force, loaded, table
    from spikegrad.kernels.dispatch import SCANS

    try:
        chosen = in_force()
    except UserError as error:
        return {"instruction set": f"{REFUSED}{error}"}
    here = available()
    backends = {f"backend {name}": why or RUNS for name, why in here.items()}
    library = loaded()
    found = {
        "instruction set": f"{chosen.name} ({chosen.reason})",
        "library": f"{library.origin}: {library.path}" if library else "none",
        **backends,
        **{name: said for name in here if (said := get(name).about())},
    }
    for scan in SCANS:
        choice = choose(scan)
        found[scan] = f"{choice.backend} ({choice.reason})"
    found["event-driven or dense"] = f"by the crossover table ({table().measured})"
    return found


def data_found() -> dict[str, str]:
    """The folder named by the environment, and every data set's place."""
    from spikegrad.data import catalogue

    named = os.environ.get("SPIKEGRAD_DATA")
    found = {"SPIKEGRAD_DATA": named or "not set"}
    for entry in catalogue():
        found[entry.name] = entry.where if entry.present else "not found (see `spikegrad data`)"
    return found


def terminal() -> dict[str, Any]:
    """Whether progress can be drawn."""
    return {
        "a terminal": "yes" if sys.stdout.isatty() else "no: progress is shown as plain lines",
        "width": shutil.get_terminal_size().columns,
        "encoding": sys.stdout.encoding or "unknown",
    }


def determinism() -> dict[str, Any]:
    """What decides whether two runs are the same to the last bit."""
    import torch

    return {
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "float32 matmul": torch.get_float32_matmul_precision(),
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
        "CUBLAS_WORKSPACE_CONFIG": os.environ.get("CUBLAS_WORKSPACE_CONFIG", "not set"),
    }


def warnings_of(found: dict[str, Any]) -> list[str]:
    """The problems, each with its remedy."""
    said = [
        f"{package} is missing; install it: pip install {package}"
        for package, number in found["versions"].items()
        if number == "missing"
    ]
    release = tuple(
        int(part) for part in found["versions"]["torch"].split(".")[:2] if part.isdigit()
    )
    if release and release < (2, 10):
        said.append(f"torch {found['versions']['torch']} is older than 2.10; upgrade it")
    cores, threads = found["processor"]["cores"], found["processor"]["threads"]
    asked = found["processor"]["OMP_NUM_THREADS"]
    if asked.isdigit() and int(asked) > cores:
        said.append(f"OMP_NUM_THREADS={asked} on {cores} cores; set it to {cores} or less")
    elif threads > cores:
        said.append(f"torch starts {threads} threads on {cores} cores; use --threads {cores}")
    if found["kernels"]["instruction set"].startswith(REFUSED):
        said.append(found["kernels"]["instruction set"].removeprefix(REFUSED))
    elif (why := found["kernels"]["backend cpu"]) != RUNS:
        said.append(
            f"the fast CPU kernels are missing, so networks run several times slower: {why}"
        )
    folder = found["data"]["SPIKEGRAD_DATA"]
    if folder != "not set" and not Path(folder).expanduser().is_dir():
        said.append(f"SPIKEGRAD_DATA={folder} is not a folder; correct it or unset it")
    if "not used" in found["kernels"].get("triton", ""):
        said.append(f"Triton kernels are not used: {found['kernels']['triton']}")
    if any(name.startswith("cuda") for name in found["devices"]):
        if (why := found["kernels"].get("backend triton", RUNS)) != RUNS:
            said.append(f"neurons run one step after the other on the GPU: {why}")
        if found["determinism"]["CUBLAS_WORKSPACE_CONFIG"] == "not set":
            said.append("for repeatable runs on CUDA set CUBLAS_WORKSPACE_CONFIG=:4096:8")
        if found["determinism"]["cudnn.benchmark"]:
            said.append("cudnn.benchmark is on: convolutions may differ from run to run")
    return said
