"""The Fano factor: how spike counts vary from window to window, or from trial to trial."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from spikegrad.analysis.counts import counts
from spikegrad.checks import check_choice
from spikegrad.errors import UserError, message

__all__ = ["fano"]


def fano(
    spikes: Tensor,
    *,
    window: float,
    dt: float = 1.0,
    over: Literal["windows", "trials"] = "windows",
) -> Tensor:
    """Variance over mean of the spike counts in windows; 1 for a Poisson process.

    Args:
        spikes: `[T, B, *features]`.
        window: length of a window (ms), a whole number of steps.
        dt: time step (ms).
        over: "windows": one train's counts in the windows that follow one another;
            "trials": the counts of the batch's samples in the same window.
    Returns:
        `[B, *features]` over windows, `[W, *features]` over trials; NaN where there is no spike.
        The variance is the unbiased one (divided by n - 1).
    Raises:
        UserError: fewer than two counts to compare, or what `counts` refuses.
    Source: Fano (1947), Physical Review 72(1); of spikes in windows: Teich (1989), IEEE
        Trans. Biomed. Eng. 36(1).

    >>> import torch
    >>> s = torch.tensor([1.0, 1, 0, 0, 1, 0]).reshape(6, 1)   # counts 2, 0, 1
    >>> fano(s, window=2.0).item()
    1.0
    """
    check_choice(over, "over", ("windows", "trials"))
    n = counts(spikes, window=window, dt=dt)
    axis = 0 if over == "windows" else 1
    if n.shape[axis] < 2:
        expected = f"expected at least 2 {over} for a variance"
        remedy = "take a shorter window" if over == "windows" else "put more trials into the batch"
        raise UserError(message(expected, str(n.shape[axis]), remedy))
    return n.var(axis) / n.mean(axis)
