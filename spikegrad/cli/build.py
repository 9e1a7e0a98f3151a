"""`spikegrad build`: compile the native CPU kernels ahead of their first use."""

from __future__ import annotations

import json
import os
import time

import rich_click as click

__all__ = ["build", "make_ready"]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--force", is_flag=True, help="Compile and measure even if the cache has the results."
)
@click.option("--no-measure", is_flag=True, help="Compile only; default crossover values are used.")
def build(force: bool, no_measure: bool) -> None:
    """Build the native CPU kernels now rather than at their first use, and measure them.

    They are compiled for this CPU (or for the instruction set that SPIKEGRAD_ISA names: avx512,
    avx2, neon or generic) and this torch, and kept in SPIKEGRAD_CACHE or the user's cache folder.
    Where a wheel brought ready-made kernels they take their place, and may be faster. Measured is
    up to which activity a product that follows the spikes beats the dense one, in a few seconds on
    a quiet machine; runs started from then on store and use that table.
    """
    from spikegrad.errors import RunError
    from spikegrad.kernels import cpu

    try:
        compile_once(force=force)
    except cpu.BuildError as error:
        library = cpu.installed()
        if library is None:
            raise RunError(str(error)) from None
        click.echo(f"nothing was compiled: {error}")
        click.echo(f"the kernels of the wheel for {library.isa} are used: {library.path}")
    if not no_measure:
        measure_once(force=force)


def compile_once(*, force: bool) -> None:
    """Build unless the cache has it, and say which; raises BuildError."""
    from spikegrad.kernels import cpu

    start, chosen = time.perf_counter(), cpu.in_force()
    there = cpu.library_path().exists() and not force
    path = cpu.build(force=force)
    if there:
        click.echo(f"already built for {chosen.name} ({chosen.reason}): {path}")
    else:
        seconds = time.perf_counter() - start
        click.echo(f"built for {chosen.name} ({chosen.reason}) in {seconds:.0f} s: {path}")


def measure_once(*, force: bool) -> None:
    """Measure the crossover table unless the cache has it."""
    from spikegrad.errors import RunError
    from spikegrad.kernels import cpu
    from spikegrad.train.folder import write_atomic

    why = cpu.load()
    library = cpu.loaded()
    if library is None:
        raise RunError(why)
    place = library.table
    if cpu.Table.load(place) is not None and not force:
        click.echo(f"already measured: {place}")
        return
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"cannot write {place.parent}: {error.strerror or error}"
        raise RunError(f"{what}; set SPIKEGRAD_CACHE to a writable folder") from None
    from rich.progress import Progress

    with Progress(transient=True) as bar:
        task = bar.add_task("measuring")
        found = cpu.measure(lambda done, of: bar.update(task, completed=done, total=of))
    write_atomic(place, (json.dumps(found.json(), indent=1) + "\n").encode())
    click.echo(f"measured {found.measured}: {place}")


def make_ready(backend: str) -> None:
    """Build the kernels if a run will want them and they are not there, saying so on stderr."""
    from spikegrad.kernels import cpu

    if backend == "reference" or os.environ.get("SPIKEGRAD_KERNELS", "") == "off":
        return
    try:
        if cpu.installed() is None:
            cpu.library_path()  # raises where there is no compiler: then nothing is built
            click.echo("building the CPU kernels (once, about a minute)", err=True)
            cpu.build()
    except cpu.BuildError:
        pass  # `load` warns once and the reference runs
