"""How every picture looks, and how one reaches the disk whole.

The series colours are those of Okabe & Ito (2008), which readers with any colour vision tell
apart. Figures are made without pyplot, so drawing leaves no global state behind.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spikegrad.errors import printable

__all__ = [
    "INK",
    "MUTED",
    "PALETTE",
    "ROLE",
    "clean",
    "colour",
    "integer_axis",
    "legend_below",
    "new_figure",
    "plain",
    "save",
    "time_axis",
]

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
INK = "#22303C"
MUTED = "#8A97A3"
GRID = "#E3E8EC"
ROLE = {"train": PALETTE[0], "val": PALETTE[1], "test": PALETTE[2]}

_STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.dpi": 120,
    "figure.facecolor": "white",
    "figure.titlesize": 12,
    "figure.titleweight": "bold",
    "font.size": 9.5,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "savefig.dpi": "figure",
    "text.color": INK,
    "text.hinting": "none",  # hinted to whole pixels, small bold letters grow serifs
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.width": 0.8,
    "ytick.major.width": 0.8,
}


@contextmanager
def clean() -> Iterator[None]:
    """The project's style for as long as the block lasts, whatever the user's own settings are.

    >>> with clean():
    ...     matplotlib.rcParams["axes.grid"]
    True
    """
    with matplotlib.style.context(["default", _STYLE]):
        yield


class Picture(Figure):
    """A figure that a notebook shows: one made without pyplot has no display of its own."""

    def _repr_png_(self) -> bytes:
        """The figure as a PNG."""
        stream = io.BytesIO()
        with clean():
            self.savefig(stream, format="png")
        return stream.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` by `height` inches whose parts never overlap.

    >>> new_figure(4.0, 3.0).get_size_inches().tolist()
    [4.0, 3.0]
    """
    figure = Picture(figsize=(width, height))
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.08, wspace=0.02, hspace=0.02)
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure as a PNG, whole or not at all, and return its path.

    Args:
        figure: what to write.
        path: the file; its folder is made if need be, an older picture is replaced.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(new_figure(1.0, 1.0), f"{folder}/pictures/empty.png").name
    'empty.png'
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # A fixed name: what a kill leaves behind is replaced by the next attempt.
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        with clean():
            # Not `savefig`, which draws a figure twice to find its size, which is known here.
            FigureCanvasAgg(figure).print_png(temporary, pil_kwargs={"compress_level": 4})
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return target


def colour(index: int) -> str:
    """The colour of the layer `index`, counted from the input.

    >>> colour(0) == colour(len(PALETTE))
    True
    """
    return PALETTE[index % len(PALETTE)]


def plain(text: object, limit: int = 40) -> str:
    """`text` as it is: no mathematics between dollars, one line, cut when longer than `limit`.

    A character that the font lacks becomes an empty box, as matplotlib would draw it, without its
    warning.

    >>> print(plain("cost in $"), plain("x" * 60, 6))
    cost in \\$ xxxxx…
    """
    line = "".join(c if _drawn(c) else "□" for c in printable(" ".join(str(text).split())))
    line = line if len(line) <= limit else line[: limit - 1] + "…"
    return line.replace("\\", "\\\\").replace("$", r"\$") if "$" in line else line


@cache
def _drawn(character: str) -> bool:
    """Whether the font of the pictures has a character."""
    with clean():
        font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties()))
    return bool(font.get_char_index(ord(character)))


def integer_axis(axes: Axes, which: str = "x", ticks: int = 8) -> None:
    """Whole numbers only on one axis, at most about `ticks` of them.

    >>> integer_axis(new_figure(2.0, 2.0).add_subplot())
    """
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(
        MaxNLocator(nbins=ticks, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
    )


def time_axis(axes: Axes, steps: int, dt: float = 1.0) -> None:
    """A time axis in ms that shows all `steps` steps of `dt` ms, with half a step of air.

    >>> axes = new_figure(2.0, 2.0).add_subplot()
    >>> time_axis(axes, 4, 1.0)
    >>> [float(end) for end in axes.get_xlim()]
    [-0.5, 3.5]
    """
    axes.set_xlim(-0.5 * dt, (steps - 0.5) * dt)
    axes.set_xlabel(f"time (ms)   ·   T = {steps} steps of {dt:g} ms")
    whole = dt >= 1.0
    axes.xaxis.set_major_locator(
        MaxNLocator(nbins=10, steps=[1, 2, 5, 10], integer=whole, min_n_ticks=1)
    )


def legend_below(axes: Axes, columns: int = 3, **options: Any) -> None:
    """A legend under the axis label, where no curve can pass.

    >>> axes = new_figure(2.0, 2.0).add_subplot()
    >>> _ = axes.plot([0, 1], label="train")
    >>> legend_below(axes)
    """
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        base: Mapping[str, Any] = {
            "loc": "upper center",
            "bbox_to_anchor": (0.5, -0.2),
            "ncols": min(columns, len(labels)),
            "columnspacing": 1.4,
            "handlelength": 1.6,
        }
        axes.legend(handles, labels, **{**base, **options})
