"""Surrogates: the derivative that learning sees and the primitive it belongs to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spikegrad.errors import UserError, message
from spikegrad.report.given import curve_of
from spikegrad.report.read import Curve
from spikegrad.report.style import INK, MUTED, PALETTE, clean, new_figure, plain

__all__ = ["compare", "surrogate"]

_DERIVATIVE, _PRIMITIVE = PALETTE[0], PALETTE[1]
_STEP = (0, (4, 3))


def surrogate(curve: Any) -> Figure:
    """Draw one surrogate: derivative on the left, primitive against the hard step on the right.

    Args:
        curve: a surrogate (`spikegrad.surrogate.arctan(2.0)`), or a `Curve` of your own: name,
            `x = u - theta`, derivative and primitive (or None), tensors or arrays of one length.
    Raises:
        TypeError: something else.

    >>> x = np.linspace(-2.0, 2.0, 401)
    >>> figure = surrogate(Curve("triangle", x, np.maximum(0.0, 1.0 - abs(x))))
    >>> len(figure.axes)  # no primitive, no second panel
    1
    """
    curve = curve_of(curve)
    panels = 1 if curve.primitive is None else 2
    with clean():
        figure = new_figure(5.2 * panels, 3.8)
        grid = figure.subplots(1, panels, squeeze=False)[0]
        _derivative(grid[0], curve)
        if curve.primitive is not None:
            _primitive(grid[1], curve, curve.primitive)
        for axes in grid:
            axes.set_xlabel("distance to threshold, u − θ")
            axes.set_xlim(curve.x[0], curve.x[-1])
        figure.suptitle(f"Surrogate   ·   {plain(curve.name, 60)}", x=0.01, ha="left")
    return figure


def compare(curves: Sequence[Any]) -> Figure:
    """Draw many surrogates side by side on one scale, each with its derivative and primitive.

    Args:
        curves: at least one surrogate or `Curve`; give curves the same `x` to compare them by eye.

    Raises:
        UserError: there is no curve.

    >>> x = np.linspace(-1.0, 1.0, 3)
    >>> len(compare([Curve("one", x, x * 0 + 1), Curve("two", x, x * 0 + 1)]).axes)
    2
    """
    if not curves:
        raise UserError(message("expected at least one curve", "none"))
    curves = [curve_of(curve) for curve in curves]
    columns = min(4, len(curves), math.ceil(math.sqrt(len(curves))))
    rows = math.ceil(len(curves) / columns)
    with clean():
        figure = new_figure(max(2.9 * columns, 4.0), 2.15 * rows + 1.0)
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        limits = _limits(np.concatenate([_shown(curve) for curve in curves]))
        for axes, curve in zip(grid.flat, curves, strict=False):
            _small(axes, curve)
            axes.set_ylim(*limits)
        for axes in grid.flat[len(curves) :]:
            axes.set_visible(False)
        for column in range(columns):
            lowest = grid[(len(curves) - 1 - column) // columns, column]
            lowest.set_xlabel("u − θ")
            lowest.tick_params(labelbottom=True)
        rich = next((k for k, c in enumerate(curves) if c.primitive is not None), 0)
        handles, labels = grid.flat[rich].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
        if columns > 1:
            figure.suptitle("Surrogates   ·   one scale for all", x=0.01, ha="left")
    return figure


def _derivative(axes: Axes, curve: Curve) -> None:
    """The derivative, filled, with its peak and width in words."""
    axes.plot(curve.x, curve.derivative, color=_DERIVATIVE)
    axes.fill_between(curve.x, curve.derivative, color=_DERIVATIVE, alpha=0.15, linewidth=0)
    axes.axvline(0.0, color=MUTED, linewidth=0.8)
    axes.set_title("Derivative")
    axes.set_title(_facts(curve), loc="right", fontsize=8.5, fontweight="normal", color=MUTED)
    axes.set_ylabel("surrogate derivative")
    axes.set_ylim(*_limits(curve.derivative))


def _primitive(axes: Axes, curve: Curve, primitive: np.ndarray) -> None:
    """The primitive, and the step that it stands for in the forward pass."""
    axes.plot(
        curve.x,
        curve.x >= 0,
        color=INK,
        linewidth=1.1,
        linestyle=_STEP,
        label="hard step",
        drawstyle="steps-post",
    )
    axes.plot(curve.x, primitive, color=_PRIMITIVE, label="primitive")
    axes.set_title("Primitive")
    axes.set_ylabel("spike")
    axes.legend(loc="upper left")
    low, high = _limits(np.append(primitive, [0.0, 1.0]))
    axes.set_ylim(low, high)


def _small(axes: Axes, curve: Curve) -> None:
    """Both curves in one small panel."""
    axes.fill_between(curve.x, curve.derivative, color=_DERIVATIVE, alpha=0.15, linewidth=0)
    axes.plot(curve.x, curve.derivative, color=_DERIVATIVE, linewidth=1.6, label="derivative")
    if curve.primitive is not None:
        axes.plot(curve.x, curve.primitive, color=_PRIMITIVE, linewidth=1.3, label="primitive")
    axes.plot(
        curve.x,
        curve.x >= 0,
        color=INK,
        linewidth=0.8,
        linestyle=_STEP,
        label="hard step",
        drawstyle="steps-post",
        zorder=1.5,
    )
    axes.set_title(plain(curve.name, 36), fontsize=8.5)
    axes.set_xlim(curve.x[0], curve.x[-1])


def _shown(curve: Curve) -> np.ndarray:
    """Values that must be in view; a primitive without bounds must not flatten the others."""
    shown = [curve.derivative, np.array([0.0, 1.0])]
    if curve.primitive is not None:
        shown.append(np.clip(curve.primitive, -0.6, 1.6))
    return np.concatenate(shown)


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Room around finite values; 0 is always in view."""
    finite = values[np.isfinite(values)]
    low = min(0.0, float(finite.min(initial=0.0)))
    high = float(finite.max(initial=0.0))
    room = 0.08 * (high - low) or 0.08
    return low - room, high + room


def _facts(curve: Curve) -> str:
    """Peak and full width at half maximum, read off the drawn points."""
    d = np.nan_to_num(curve.derivative)
    peak = float(d.max())
    above = curve.x[d >= 0.5 * peak]
    if peak <= 0:
        return "no positive derivative here"
    if above[0] == curve.x[0] or above[-1] == curve.x[-1]:
        return f"peak {peak:.3g}"
    return f"peak {peak:.3g}, width at half height {float(above[-1] - above[0]):.2g}"
