"""`spikegrad build`: compile the native CPU kernels ahead of their first use."""

from __future__ import annotations

import time

import rich_click as click

__all__ = ["build", "make_ready"]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--force", is_flag=True, help="Build even if the cache has them.")
def build(force: bool) -> None:
    """Build the native CPU kernels now rather than at their first use.

    They are compiled for this CPU and this torch, and kept in SPIKEGRAD_CACHE or the user's cache
    folder.
    """
    from spikegrad.errors import RunError
    from spikegrad.kernels import cpu

    start = time.perf_counter()
    try:
        there = cpu.library_path().exists()
        path = cpu.build(force=force)
    except cpu.BuildError as error:
        raise RunError(str(error)) from None
    if there and not force:
        click.echo(f"already built: {path}")
    else:
        click.echo(f"built in {time.perf_counter() - start:.0f} s: {path}")


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
