"""`spikegrad build`: compile the native CPU kernels ahead of their first use."""

from __future__ import annotations

import json
import time

import rich_click as click

__all__ = ["build", "make_ready"]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--force", is_flag=True, help="Build and measure even if the cache has them.")
@click.option("--no-measure", is_flag=True, help="Build only; cautious crossovers hold.")
def build(force: bool, no_measure: bool) -> None:
    """Build the native CPU kernels now rather than at their first use, and measure them.

    They are compiled for this CPU (or for the instruction set that SPIKEGRAD_ISA names: avx512,
    avx2, neon or generic) and this torch, and kept in SPIKEGRAD_CACHE or the user's cache
    folder. Measured is up to which activity a product that follows the spikes beats the dense one,
    in a few seconds on a quiet machine; runs started from then on store and use that table.
    """
    from spikegrad.errors import RunError
    from spikegrad.kernels import cpu

    start = time.perf_counter()
    try:
        there = cpu.library_path().exists()
        chosen = cpu.in_force()
        path = cpu.build(force=force)
    except cpu.BuildError as error:
        raise RunError(str(error)) from None
    if there and not force:
        click.echo(f"already built for {chosen.name} ({chosen.reason}): {path}")
    else:
        seconds = time.perf_counter() - start
        click.echo(f"built for {chosen.name} ({chosen.reason}) in {seconds:.0f} s: {path}")
    if not no_measure:
        measure_once(force=force)


def measure_once(*, force: bool) -> None:
    """Measure the crossover table unless the cache has it."""
    from spikegrad.errors import RunError
    from spikegrad.kernels import cpu
    from spikegrad.train.folder import write_atomic

    place = cpu.crossover_path()
    if cpu.Table.load(place) is not None and not force:
        click.echo(f"already measured: {place}")
        return
    if why := cpu.load():
        raise RunError(why)
    from rich.progress import Progress

    with Progress(transient=True) as bar:
        task = bar.add_task("measuring")
        found = cpu.measure(lambda done, of: bar.update(task, completed=done, total=of))
    write_atomic(place, (json.dumps(found.json(), indent=1) + "\n").encode())
    click.echo(f"measured {found.measured}: {place}")


def make_ready(backend: str) -> None:
    """Build the kernels if a run will want them and they are not there, saying so on stderr."""
    from spikegrad.kernels import cpu

    if backend == "reference":
        return
    try:
        if not cpu.library_path().exists():
            click.echo("building the CPU kernels (once, about half a minute)", err=True)
            cpu.build()
    except cpu.BuildError:
        pass  # `load` warns once and the reference runs
