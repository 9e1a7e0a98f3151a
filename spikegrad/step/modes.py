"""What a neuron sends where its membrane u reaches the threshold theta, and with which gradient.

With the surrogate's derivative g, the rest r and `d = u - theta`:

    binary     s = H(d)                                        ds/du = g(d)
    ternary    s = H(d) - H(2 r - u - theta)                   ds/du = g(d) + g(2 r - u - theta)
    multiple   s = sum over k < most of H(d - k (theta - r))   ds/du = sum over k of g(d - k ...)
    escape     s = [n < G(d)], n uniform in [0, 1)             ds/du = g(d)

In soft mode H is G; "escape" is then the expected spike, without noise.

Ternary neurons spike with -1 as far below rest as theta is above it; multiple ones once for every
multiple of `theta - r` that the membrane has reached; theta is to be above r. G is the surrogate's
primitive, so that g is the gradient of the expected spike, exactly.

Sources: ternary: Guo, Chen, Liu, Peng, Zhang, Huang & Ma (2024), AAAI 38(11), "Ternary spike".
Several spikes: Luo, Yao, Chou, Xu & Li (2024), ECCV, "Integer-valued training and spike-driven
inference spiking neural network" (it rounds the membrane, here thresholds are counted). Escape
noise: Gerstner, Kistler, Naud & Paninski (2014), Neuronal Dynamics, chapter 9; its gradient: Gygax
& Zenke (2025), Neural Computation 37(5), "Elucidating the theoretical underpinnings of surrogate
gradient learning in spiking neural networks".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

from torch import Tensor

from spikegrad.checks import check_choice
from spikegrad.errors import UserError, message
from spikegrad.surrogate import Surrogate
from spikegrad.types import SpikeMode, Value

__all__ = [
    "BINARY",
    "MOST",
    "Mode",
    "Sent",
    "by_chance",
    "check_escape",
    "distances",
    "mode_of",
    "sent",
]

MOST = 4
"""Spikes a step at most, where nothing is said: as in Luo et al. 2024."""


@dataclass(frozen=True)
class Mode:
    """word: what a neuron sends; most: its spikes a step at most, 1 but for "multiple"."""

    word: SpikeMode = "binary"
    most: int = 1


BINARY = Mode()


def mode_of(word: SpikeMode, most: int | None = None) -> Mode:
    """The mode of a layer's words.

    most: of "multiple" alone, `MOST` where None. Raises UserError for an unknown word, and for most
    where nothing reads it; TypeError where it is no whole number.
    """
    check_choice(word, "spike", get_args(SpikeMode))
    if word != "multiple":
        if most is not None:
            raise UserError(
                message("expected spike='multiple' with most", f"spike={word!r}", "omit most")
            )
        return Mode(word)
    if most is None:
        return Mode(word, MOST)
    if isinstance(most, bool) or not isinstance(most, int):
        raise TypeError(message("expected most as a whole number of spikes", repr(most)))
    if most < 1:
        raise UserError(message("expected most >= 1 spike a step", str(most)))
    return Mode(word, most)


@dataclass(frozen=True)
class Sent:
    """s: what is sent; any: 1 where anything is, with the gradient of all parts, for a reset to a
    value; reached: the same as true and false, also where s is soft.
    """

    s: Tensor
    any: Tensor
    reached: Tensor


def distances(
    mode: Mode, u: Tensor, distance: Tensor, threshold: Value, rest: Value
) -> list[Tensor]:
    """Where the surrogate is evaluated, the distance `u - threshold` first."""
    if mode.word == "ternary":
        return [distance, 2.0 * rest - u - threshold]
    if mode.word == "multiple":
        return [distance, *(distance - k * (threshold - rest) for k in range(1, mode.most))]
    return [distance]


def sent(
    mode: Mode,
    fire: Callable[[Tensor], Tensor],
    u: Tensor,
    distance: Tensor,
    threshold: Value,
    rest: Value,
) -> Sent:
    """What neurons with the membrane u send; not of "escape".

    fire: from a distance to spikes, with the surrogate's gradient; distance: `u - threshold`.
    """
    all_distances = distances(mode, u, distance, threshold, rest)
    parts = [fire(d) for d in all_distances]
    reached = all_distances[0].detach() >= 0
    if mode.word == "ternary":
        above, below = parts
        return Sent(above - below, above + below, reached | (all_distances[1].detach() >= 0))
    if mode.word == "multiple":
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return Sent(total, parts[0], reached)
    return Sent(parts[0], parts[0], reached)


def by_chance(
    fire: Callable[[Tensor], Tensor], chance: Tensor, distance: Tensor, noise: Tensor
) -> Sent:
    """What neurons with escape noise send: 1 where noise, uniform, is below the chance."""
    reached = noise < chance
    hard = fire(distance)
    # 0 or 1 exactly: the difference of two such numbers is exact.
    s = hard + (reached.to(hard.dtype) - hard.detach())
    return Sent(s, s, reached)


def check_escape(surrogate: Surrogate) -> None:
    """A surrogate whose primitive is a probability: it has one, and goes from 0 to 1."""
    if surrogate.has_primitive and abs(surrogate.area - 1.0) < 1e-9:
        return
    raise UserError(
        message(
            "expected a surrogate with a primitive and of area 1 for spike='escape': it is the "
            "probability of a spike",
            str(surrogate),
            "for example arctan(2.0)",
        )
    )
