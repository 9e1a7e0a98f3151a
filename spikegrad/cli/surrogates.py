"""`spikegrad surrogates`: every surrogate with its figures, and what it costs on this machine."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any

import rich_click as click

from spikegrad.errors import UserError, message

if TYPE_CHECKING:
    from spikegrad.surrogate import Surrogate

__all__ = ["surrogates"]

_ELEMENTS = 65_536
_HEADINGS = {"fwhm": "FWHM", "lipschitz": "Lipsch.", "forward_ns": "fwd", "backward_ns": "bwd"}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--slope", type=float, help="Slope of all surrogates; larger is sharper.")
@click.option(
    "--normalisation",
    type=click.Choice(["area", "peak"]),
    help="Quantity that is set to 1: area or peak.",
)
@click.option("--time/--no-time", "timed", default=True, help="Measure ns per element.")
@click.option("--plot", metavar="FILE.png", help="Draw derivatives and primitives.")
@click.option("--json", "as_json", is_flag=True, help='Print JSON; "inf" stands for infinity.')
def surrogates(
    names: tuple[str, ...],
    slope: float | None,
    normalisation: str | None,
    timed: bool,
    plot: str | None,
    as_json: bool,
) -> None:
    """Compare surrogates: all, or those named.

    x = u - threshold, z = slope x. Times are of 65,536 float32 numbers on one thread, per
    element: of the spike, and of its derivative times the incoming gradient.
    """
    if plot is not None and not plot.lower().endswith(".png"):
        raise UserError(message("expected --plot FILE.png", plot))
    chosen = records(names, slope, normalisation)
    rows = [figures(name, record, timed) for name, record in chosen]
    if plot is not None:
        draw(chosen, plot)
    if as_json:
        click.echo(json.dumps([{k: finite(v) for k, v in row.items()} for row in rows], indent=2))
    else:
        show(rows, plot)


def records(
    names: tuple[str, ...], slope: float | None, normalisation: str | None
) -> list[tuple[str, Surrogate]]:
    """The surrogates asked for. In the list of all, an option that one of them does not have leaves
    it as it is; asked for by name, it is an error.
    """
    from spikegrad.surrogate import get
    from spikegrad.surrogate import names as every

    found = []
    for name in names or every():
        options: dict[str, Any] = {} if normalisation is None else {"normalisation": normalisation}
        try:
            found.append((name, get(name, slope, **options)))
        except UserError:
            if names or not lacks(name, slope, normalisation):
                raise
            found.append((name, get(name)))
    return found


def lacks(name: str, slope: float | None, normalisation: str | None) -> bool:
    """Whether a surrogate has no slope, or one normalisation only, and the options ask for it."""
    from spikegrad.surrogate import get
    from spikegrad.surrogate import names as every

    alias = name not in every(aliases=False)
    return (slope is not None and not get(name).family.has_slope) or (
        alias and normalisation is not None and (slope is None or slope > 0)
    )


def figures(name: str, record: Surrogate, timed: bool) -> dict[str, Any]:
    """All that is known of one surrogate."""
    measured = record.properties()
    forward, backward = cost(record) if timed else (None, None)
    return {
        "name": name,
        "surrogate": str(record),
        "slope": record.slope if record.family.has_slope else None,
        "normalisation": record.normalisation,
        "formula": record.formula + (", over its peak" if record.normalisation == "peak" else ""),
        "peak": measured.peak,
        "fwhm": measured.fwhm,
        "area": measured.area,
        "tail": measured.tail,
        "lipschitz": measured.lipschitz,
        "support": record.support,
        "source": source_of(name, record),
        "forward_ns": forward,
        "backward_ns": backward,
    }


def source_of(name: str, record: Surrogate) -> str:
    """Of a name for a member of another family the paper that its own docstring names."""
    from spikegrad.surrogate.built_in import FACTORIES

    if name == record.family.name or name not in FACTORIES:
        return record.source
    lines = (FACTORIES[name].__doc__ or "").splitlines()
    named = (line.strip().removeprefix("Source: ") for line in lines if "Source: " in line)
    return next(named, record.source).rstrip(".").replace("`", "")


def cost(record: Surrogate, *, elements: int = _ELEMENTS, repeats: int = 60) -> tuple[float, float]:
    """ns per element of the spike and of its backward pass, float32, the best of some repeats."""
    import torch

    from spikegrad.surrogate import spike

    x = torch.linspace(-3.0, 3.0, elements).requires_grad_()
    gradient = torch.ones(elements)
    forward, backward, threads = [], [], torch.get_num_threads()
    torch.set_num_threads(1)  # several threads measure who else is using the machine
    try:
        for _ in range(repeats + 1):  # the first one warms up
            begin = time.perf_counter()
            s = spike(x, record)
            middle = time.perf_counter()
            torch.autograd.grad(s, x, gradient)
            forward.append(middle - begin)
            backward.append(time.perf_counter() - middle)
    finally:
        torch.set_num_threads(threads)
    ns = 1e9 / elements
    return ns * min(forward[1:]), ns * min(backward[1:])


def draw(chosen: list[tuple[str, Surrogate]], path: str) -> None:
    """All curves over one x, in one picture."""
    import torch

    from spikegrad.report import Curve, compare, save, surrogate

    x = torch.linspace(-3.0, 3.0, 1201, dtype=torch.float64)
    curves = [
        Curve(
            f"{name}, slope {record.slope:g}" if record.family.has_slope else f"{name}, no slope",
            x.numpy(),
            record.derivative(x).numpy(),
            record.primitive(x).numpy() if record.has_primitive else None,
        )
        for name, record in chosen
    ]
    try:
        save(surrogate(curves[0]) if len(curves) == 1 else compare(curves), path)
    except OSError as error:
        raise UserError(
            message(
                "expected a writable path for the picture", f"{path}: {error.strerror or error}"
            )
        ) from None


def show(rows: list[dict[str, Any]], plot: str | None) -> None:
    """Two tables: figures, then formulas and sources."""
    from spikegrad.train.terminal import Screen, plain_table

    console = Screen()
    numbers = ["slope", "peak", "fwhm", "area", "lipschitz"]
    timed = [key for key in ("forward_ns", "backward_ns") if rows[0][key] is not None]
    table = plain_table("name", gap=1)
    table.columns[0].no_wrap = True
    for key in (*numbers, "tail", *timed):
        heading = _HEADINGS.get(key, key)
        table.add_column(heading, justify="left" if key == "tail" else "right", no_wrap=True)
    for row in rows:
        cells = [short(row[key]) for key in numbers]
        table.add_row(row["name"], *cells, row["tail"], *(f"{row[key]:.1f}" for key in timed))
    console.print(table)
    if timed:
        console.print("fwd, bwd: ns per element on one thread", style="dim")
    words = plain_table("name", "derivative at slope 1", "source", gap=1)
    for row in rows:
        words.add_row(row["name"], row["formula"], row["source"])
    console.print()
    console.print(words)
    if plot is not None:
        console.say(f"\npicture: {plot}")


def short(value: float | None) -> str:
    """A figure of a table: `-` for none."""
    return "-" if value is None else f"{value:.3g}"


def finite(value: Any) -> Any:
    """What JSON can hold."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
