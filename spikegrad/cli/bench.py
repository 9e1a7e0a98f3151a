"""`spikegrad bench`: what a training step costs here, beside a ReLU network of the same size."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import rich_click as click

from spikegrad.cli.bench_peers import Work, both, peers

if TYPE_CHECKING:
    from torch import Tensor, nn

    from spikegrad.nn import LIF, Sequential

__all__ = ["bench"]


@dataclass(frozen=True)
class Task:
    """A thing to time. sizes: inputs, hidden layers, classes; for a scan, its neurons alone."""

    name: str
    kind: Literal["dense", "recurrent", "scan"]
    steps: int
    batch: int
    sizes: tuple[int, ...]
    density: float
    rate: float = 0.05

    def network(self) -> str:
        """The shape as a user would write it."""
        if self.kind == "scan":
            return f"{self.sizes[0]:,} neurons"
        return "-".join(str(size) for size in self.sizes)


TASKS = (
    Task("feed-forward", "dense", 100, 64, (700, 512, 512, 20), 0.05),
    Task("recurrent", "recurrent", 100, 64, (700, 512, 20), 0.03),
    Task("neuron scan", "scan", 100, 64, (1024,), 0.0),
)
GPU_TASKS = (
    Task("layer", "dense", 100, 64, (700, 512, 20), 0.05),
    Task("recurrent", "recurrent", 100, 64, (700, 256, 20), 0.03),
    Task("neuron scan", "scan", 100, 64, (1024,), 0.0),
)
HIDDEN = (512, 1024)  # sizes that the quick version divides by four
SECONDS = 5.0  # of timed steps, per task
QUICK_SECONDS = 0.4
SCAN_INPUT = 0.52  # standard deviation of the neuron scan's currents: 5 % of its neurons fire
LEARNING_RATE = 1e-12
"""Adam takes its whole time, and every step sees the spikes of the first."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--threads", type=click.IntRange(min=1), help="Threads of torch; by default torch's own choice."
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="What to time: the CPU, or a CUDA GPU.",
)
@click.option("--quick", is_flag=True, help="Smaller networks, about three seconds in all.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def bench(threads: int | None, device: str, quick: bool, as_json: bool) -> None:
    """Time a training step on this machine, beside a ReLU network of the same size.

    Forward, cross-entropy, backward and Adam, on random spikes, with weights scaled so that 5 % of
    the neurons fire per step. The ReLU network has the same layers and computes dense products
    over the same sequence (torch's RNN where recurrent). Takes about 20 seconds. On a GPU also
    SpikingJelly's Triton LIF, where it is installed.
    """
    import torch

    from spikegrad.cli.build import make_ready
    from spikegrad.train.settings import check_threads

    check_threads(threads or 0)
    check_device(device)
    if device == "cpu":
        make_ready("auto")
    before = torch.get_num_threads()
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        result = measured(TASKS if device == "cpu" else GPU_TASKS, quick, device)
    finally:
        torch.set_num_threads(before)
    if as_json:
        click.echo(json.dumps(result, indent=2))
    else:
        show(result)


def check_device(device: str) -> None:
    """A GPU that torch finds; raises UserError where there is none."""
    import torch

    from spikegrad.errors import UserError, message

    if device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            message(
                "expected a CUDA GPU for --device cuda",
                f"none (torch {torch.__version__})",
                "omit --device to time the CPU",
            )
        )


def measured(tasks: tuple[Task, ...], quick: bool, device: str) -> dict[str, Any]:
    """All tasks on this machine."""
    import torch

    from spikegrad.cli.doctor import processor
    from spikegrad.kernels import choose
    from spikegrad.kernels.cpu import isa
    from spikegrad.version import __version__

    rows = []
    with progress() as tell:
        for task in tasks:
            task = smaller(task) if quick else task
            tell(f"{task.name}: scales the weights")
            rows.append(row(task, pair(task, device), quick, tell))
            if task.kind == "scan":
                for name, step, activity in peers(scan_input(task, device)):
                    relu = scan_pair(task, device)[1]
                    rows.append(row(replace(task, name=name), (step, relu, activity), quick, tell))
    choice = choose("lif", "auto", torch.zeros(2, 1, 1, device=device))
    return {
        "spikegrad": __version__,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "backend": choice.backend,
        "reason": choice.reason,
        "isa": isa(),
        "threads": torch.get_num_threads(),
        "processor": processor(),
        "rows": rows,
    }


def smaller(task: Task) -> Task:
    """The quick version of a task."""
    sizes = tuple(size // 4 if size in HIDDEN else size for size in task.sizes)
    return replace(task, steps=25, batch=32, sizes=sizes)


def row(
    task: Task, works: tuple[Work, Work, float], quick: bool, tell: Callable[[str], None]
) -> dict[str, Any]:
    """A training step and the ReLU network's in turns, until the time is up."""
    step, relu, activity = works
    times: tuple[list[float], list[float]] = ([], [])
    for work in (step, relu):
        work()
    end = time.perf_counter() + (QUICK_SECONDS if quick else SECONDS)
    while time.perf_counter() < end or len(times[0]) < 3:
        for work, found in zip((step, relu), times, strict=True):
            start = time.perf_counter()
            work()
            found.append(1000 * (time.perf_counter() - start))
        tell(f"{task.name}: {len(times[0])} steps, {statistics.median(times[0]):.1f} ms")
    ms, relu_ms = (statistics.median(found) for found in times)
    return {
        "task": task.name,
        "network": task.network(),
        "steps": task.steps,
        "batch": task.batch,
        "median_ms": ms,
        "min_ms": min(times[0]),
        "max_ms": max(times[0]),
        "samples_per_second": 1000 * task.batch / ms,
        "relu_median_ms": relu_ms,
        "times_relu": ms / relu_ms,
        "activity": activity,
        "repeats": len(times[0]),
    }


def pair(task: Task, device: str) -> tuple[Work, Work, float]:
    """A training step of ours, one of the ReLU network, and the firing rate of ours."""
    step, relu, activity = (scan_pair if task.kind == "scan" else network_pair)(task, device)
    return finished(step, device), finished(relu, device), activity


def finished(work: Work, device: str) -> Work:
    """The same, with the end of what a GPU was given to do."""
    import torch

    def run() -> None:
        work()
        torch.cuda.synchronize()

    return run if device == "cuda" else work


def network_pair(task: Task, device: str) -> tuple[Work, Work, float]:
    """`pair` of networks."""
    import torch

    from spikegrad.diagnose import firing_rates
    from spikegrad.errors import UserError
    from spikegrad.nn import calibrate

    generator = torch.Generator().manual_seed(0)
    x = torch.rand(task.steps, task.batch, task.sizes[0], generator=generator)
    x = (x < task.density).float().to(device)
    labels = torch.randint(task.sizes[-1], (task.batch,), generator=generator).to(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = spiking(task).to(device)
        layers, dense = relu_network(task)
        layers.to(device)
    # where a few neurons cannot fire at the rate, the activity in the result says so
    with suppress(UserError):
        calibrate(network, x, rate=task.rate, tolerance=0.1)
    rates = firing_rates(network, x)
    return (
        training(network, lambda: network(x)[0], labels),
        training(layers, lambda: dense(x), labels),
        sum(rates.values()) / len(rates),
    )


def scan_input(task: Task, device: str) -> Tensor:
    """Currents `[T, B, N]` that ask for a gradient."""
    import torch

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(task.steps, task.batch, task.sizes[0], generator=generator)
    return (x * SCAN_INPUT).to(device).requires_grad_()


def scan_pair(task: Task, device: str) -> tuple[Work, Work, float]:
    """Forward and backward of a neuron layer alone, and of ReLU on the same numbers."""
    import torch

    x, layer = scan_input(task, device), neuron()
    activity = float(layer(x.detach())[0].mean())
    return both(x, lambda x: layer(x)[0]), both(x, torch.relu), activity


def training(layers: nn.Module, forward: Callable[[], Tensor], labels: Tensor) -> Work:
    """One step of Adam on the cross-entropy of the outputs' mean over time."""
    import torch

    optimizer = torch.optim.Adam(layers.parameters(), lr=LEARNING_RATE, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(forward().mean(0), labels).backward()
        optimizer.step()

    return step


def spiking(task: Task) -> Sequential:
    """The network of a task in this library."""
    from spikegrad.nn.models import mlp, recurrent

    first, *hidden, last = task.sizes
    make = recurrent if task.kind == "recurrent" else mlp
    return make(first, hidden, last, neuron=neuron, readout="linear")


def neuron(size: Any = None) -> LIF:
    """The neurons of all tasks."""
    from spikegrad.nn import LIF
    from spikegrad.surrogate import triangle

    return LIF(beta=0.9, surrogate=triangle(2.0))


def relu_network(task: Task) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """The same layers with ReLU: their parameters, and `[T, B, N] -> [T, B, C]`."""
    from torch import nn

    first, *hidden, last = task.sizes
    readout = nn.Linear(hidden[-1], last)
    if task.kind == "recurrent":
        memory = nn.RNN(first, hidden[0], nonlinearity="relu")
        return nn.ModuleList([memory, readout]), lambda x: readout(memory(x)[0])
    layers: list[nn.Module] = []
    for before, size in zip([first, *hidden], hidden, strict=False):
        layers += [nn.Linear(before, size), nn.ReLU()]
    whole = nn.Sequential(*layers, readout)
    return whole, whole


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Tell what is under way: a line that moves on a terminal, nothing elsewhere."""
    from spikegrad.train.terminal import Screen

    console = Screen(stderr=True)
    if not console.is_terminal:
        yield lambda text: None
        return
    with console.status("") as status:
        yield lambda text: status.update(text)


def show(result: dict[str, Any]) -> None:
    """A table, and how to read it."""
    from spikegrad.train.terminal import Screen, plain_table

    console = Screen()
    table = plain_table("", "network")
    for heading in ("T", "B", "ms a step", "samples/s", "time / ReLU", "activity"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in result["rows"]:
        table.add_row(
            row["task"],
            row["network"],
            str(row["steps"]),
            str(row["batch"]),
            f"{row['median_ms']:.1f}",
            f"{row['samples_per_second']:,.0f}",
            f"{row['times_relu']:.2f}",
            f"{row['activity']:.3f}",
        )
    console.print(table)
    threads, backend = result["threads"], result["backend"]
    if backend == "cpu":
        backend = f"cpu with {result['isa']}"
    if result.get("device", "cpu") != "cpu":
        why = f" ({result['reason']})" if backend == "reference" else ""
        backend += f"{why} on {result['device']}"
    console.print(
        f"\nMedians; {threads} thread{'s' if threads > 1 else ''}, backend {backend}. time / ReLU: "
        "the time of the spiking network divided by that of a ReLU network with the same layers "
        "and dense products; below 1 the spiking network is faster. "
        "Activity: spikes per neuron and step.",
        style="dim",
    )
