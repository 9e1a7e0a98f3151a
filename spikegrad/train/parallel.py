"""Several processes, each with a share of every batch (`shares`).

Fabric starts the processes (`spawn`, so that it works from a terminal, a script and a notebook's
module alike: a script needs the usual `if __name__ == "__main__"`), chooses the device of each and
connects them. Gradients are added up in one flat reduction after the backward pass, so that any
network trains, truncated BPTT included, without a wrapper around it.
"""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from spikegrad.errors import RunError, UserError, message
from spikegrad.train.config import Config
from spikegrad.train.launcher import launched, machines
from spikegrad.train.signals import Interrupted

__all__ = ["add_up_gradients", "device_of", "launch", "make_fabric", "sum_over_processes"]

PRECISIONS = {"32": "32-true", "64": "64-true", "16-mixed": "16-mixed", "bf16-mixed": "bf16-mixed"}


def make_fabric(config: Config) -> Any:
    """A Fabric for the device, the processes and the precision of a config.

    Under torchrun, which has started the processes, they are connected when this returns;
    otherwise `launch` starts them.

    Raises:
        UserError: the device is not there, or there are fewer of it than processes.
    """
    from lightning_fabric import Fabric

    _silence()
    processes = config.run.processes
    kind, here = _device_kind(config.run.device), processes // machines()
    if kind != "cpu" and here > (available := _devices(kind)):
        expected = f"expected at most {available} processes on {kind}"
        raise UserError(message(expected, str(here), "lower --processes"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fabric = Fabric(
            accelerator=kind,
            devices=here,
            num_nodes=machines(),
            precision=PRECISIONS[config.training.precision],  # type: ignore[arg-type]
            **_together(processes),
        )
        if launched():
            ours = not dist.is_initialized()
            fabric.launch()
            if ours:
                atexit.register(_disconnect)
    return fabric


def _disconnect() -> None:
    """End the connections while the interpreter is whole.

    A thread of Gloo may hold the last tensor until after its reduction has returned. Where it lets
    go of it while the interpreter ends, torch aborts the process, and torchrun ends the others.
    Fabric does the same for NCCL.
    """
    if dist.is_initialized() and dist.get_backend() == "gloo":
        dist.destroy_process_group()


def _together(processes: int) -> dict[str, Any]:
    """How Fabric starts processes and connects them.

    Named in full: it would take a job of SLURM, in which a single command runs, for one that SLURM
    has divided into processes.
    """
    from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
    from lightning_fabric.strategies import DDPStrategy

    environment = TorchElasticEnvironment() if launched() else LightningEnvironment()
    if processes == 1:
        return {"plugins": [environment]}
    method: Any = "popen" if launched() else "spawn"
    return {"strategy": DDPStrategy(cluster_environment=environment, start_method=method)}


def add_up_gradients(network: nn.Module, world: int) -> None:
    """Replace every gradient by its sum over the processes: that of the whole batch.

    A parameter that took no part in any process keeps None, as in one process.
    """
    if world == 1:
        return
    parameters = [p for p in network.parameters() if p.requires_grad]
    if not parameters:
        return
    present = parameters[0].new_tensor([p.grad is not None for p in parameters])
    parts = [p.new_zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in parameters]
    flat = torch.cat([*parts, present])
    dist.all_reduce(flat)
    sizes = [*(p.numel() for p in parameters), len(parameters)]
    *sums, present = flat.split(sizes)
    for parameter, total, known in zip(parameters, sums, present.tolist(), strict=True):
        if known:
            parameter.grad = total.view_as(parameter).to(parameter.dtype)


def sum_over_processes(numbers: list[float], world: int, device: torch.device) -> list[float]:
    """The sums of these numbers over the processes; the same on each."""
    if world == 1:
        return numbers
    dtype = torch.float32 if device.type == "mps" else torch.float64
    total = torch.tensor(numbers, dtype=dtype, device=device)
    dist.all_reduce(total)
    return total.tolist()


def launch(fabric: Any, work: Callable[..., Any], job: Any) -> Any:
    """Run `work(fabric, job)` in every process of the fabric; return what the first one returned.

    Under torchrun this is one of them already. Otherwise they start here, and results and errors
    come back through a file: a pipe would block on a large result, and an error of ours would
    arrive as the text of a traceback.
    """
    if fabric.world_size == 1 or launched():
        return work(fabric, job)
    with tempfile.TemporaryDirectory(prefix="spikegrad-") as there, _passing_on() as stopped:
        outcome = Path(there) / "outcome.pt"
        try:
            fabric.launch(_worker, _Parcel((work, job)), str(outcome))
        except Exception as error:
            if not outcome.is_file():
                reason = str(error).strip().splitlines()[-1] if str(error).strip() else repr(error)
                raise RunError(message("expected every process to finish", reason)) from error
        return _unwrap(torch.load(outcome, weights_only=True), stopped)


class _Parcel:
    """Travels to a process as it is: Fabric looks for modules in collections and rebuilds those.

    Where it is unpacked, Fabric falls silent, before it tells about its connections.
    """

    def __init__(self, content: Any) -> None:
        self.content = content

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        _silence()


def _silence() -> None:
    """Leave Fabric's warnings and errors, not its messages."""
    import lightning_fabric  # noqa: F401  (its import sets the level that is overruled here)

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)


def _worker(fabric: Any, parcel: _Parcel, outcome: str) -> None:
    work, job = parcel.content
    atexit.register(_disconnect)
    try:
        found = ("result", work(fabric, job))
    except Interrupted as stop:
        found = ("interrupted", (stop.number, str(stop.folder or "")))
    except (UserError, RunError) as error:
        _put(outcome, (type(error).__name__, str(error)))
        raise
    if fabric.global_rank == 0:
        _put(outcome, found)


def _put(outcome: str, found: Any) -> None:
    temporary = f"{outcome}.{os.getpid()}"
    torch.save(found, temporary)
    os.replace(temporary, outcome)


def _unwrap(found: tuple[str, Any], stopped: list[int]) -> Any:
    kind, value = found
    if kind == "interrupted":
        number, folder = value
        raise Interrupted(stopped[0] if stopped else number, Path(folder) if folder else None)
    if kind == "UserError":
        raise UserError(value)
    if kind == "RunError":
        raise RunError(value)
    return value


@contextmanager
def _passing_on() -> Iterator[list[int]]:
    """Pass SIGINT and SIGTERM on to the workers as SIGTERM; a second one ends them at once."""
    stopped: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        for child in multiprocessing.active_children():
            if stopped:
                child.kill()
            elif child.pid is not None:
                os.kill(child.pid, signal.SIGTERM)
        if stopped:
            raise KeyboardInterrupt
        stopped.append(number)

    try:
        before = {n: signal.signal(n, handler) for n in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # off the main thread
        before = {}
    try:
        yield stopped
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _device_kind(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cpu" and not _devices(device):
        got = f"none that torch {torch.__version__} can use"
        raise UserError(message(f"expected a {device} device", got, "use --device cpu"))
    return device


def _devices(kind: str) -> int:
    if kind == "cuda":
        return torch.cuda.device_count() if torch.cuda.is_available() else 0
    return int(kind == "mps" and torch.backends.mps.is_available())


def device_of(device: str | torch.device) -> torch.device:
    """The device a word stands for; "auto" is a GPU if there is one, "cuda:1" the second one.

    Raises:
        UserError: it is not there.
    """
    kind, _, index = str(device).partition(":")
    found = _device_kind(kind)
    if not index:
        return torch.device(found)
    if not index.isdigit() or (found != "cpu" and int(index) >= _devices(found)):
        got = f"{_devices(found) if found != 'cpu' else 1} of them"
        raise UserError(message(f"expected a device {device}", got, "use --device cpu"))
    return torch.device(found, int(index))
