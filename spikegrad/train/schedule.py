"""The learning rate as a pure function of the step: nothing to save, nothing to get out of step."""

from __future__ import annotations

import math

__all__ = ["learning_rate_factor"]

_START, _END = 1 / 25, 1e-4  # one-cycle: first and last rate over the peak


def learning_rate_factor(kind: str, step: int, total: int, *, warmup: float = 0.0) -> float:
    """What to multiply the learning rate with at a step.

    With p = (step + 1/2)/total and w = warmup: "constant" is 1, "cosine" (1 + cos(pi q))/2 with
    q = (p-w)/(1-w), both after a linear rise p/w; "onecycle" rises from 1/25 and falls to 1e-4
    along half cosines.

    Args:
        kind: "constant", "cosine" or "onecycle".
        step: optimizer steps already taken; total: those of the whole run.
        warmup: share of the run spent rising, 0 to 1.
    Returns:
        a factor in (0, 1].
    Source: Loshchilov & Hutter (2017), eq. 5; Smith & Topin (2019) for one-cycle.

    >>> [round(learning_rate_factor("cosine", s, 4), 2) for s in range(4)]
    [0.96, 0.69, 0.31, 0.04]
    """
    done = (min(step, total - 1) + 0.5) / total
    if done < warmup:
        rise = done / warmup
        return rise if kind != "onecycle" else _START + (1 - _START) * _half_cosine(rise)
    if kind == "constant":
        return 1.0
    fall = 1.0 - _half_cosine((done - warmup) / (1.0 - warmup))
    return fall if kind == "cosine" else _END + (1 - _END) * fall


def _half_cosine(p: float) -> float:
    return 0.5 - 0.5 * math.cos(math.pi * p)
