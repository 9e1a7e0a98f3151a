"""Scale a network, layer by layer, until every spiking layer fires at a wanted rate.

Source of the idea: layer-sequential unit-variance initialisation, Mishkin & Matas (2016), ICLR;
here the statistic is the firing rate, and the scale is found by bisection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from spikegrad.checks import check_current, check_finite, check_positive
from spikegrad.errors import UserError, message
from spikegrad.nn.init import spikes
from spikegrad.nn.measuring import measuring
from spikegrad.nn.recurrent import Recurrent
from spikegrad.nn.tape import Recorded, record
from spikegrad.nn.wiring import Wire, check_settable, drivers, wiring
from spikegrad.ragged import Events, as_frame

__all__ = ["Calibrated", "calibrate"]

USUAL, REACH, LEVEL = 1e4, 1e12, 8
"""Where nothing is said: the search goes to `REACH`, for currents in pA; beyond `USUAL` it ends
when `LEVEL` doublings in a row left a rate that is not 0 as it was."""


@dataclass(frozen=True)
class Calibrated:
    """What was done to one layer: its name, the factor, its rate before and after."""

    layer: str
    factor: float
    before: float
    after: float


def calibrate(
    network: nn.Module,
    x: Tensor | Events,
    *,
    rate: float = 0.05,
    tolerance: float = 0.05,
    largest: float | None = None,
    lengths: Tensor | None = None,
) -> list[Calibrated]:
    """Scale what drives each spiking layer, in the order of the run, until it fires at `rate`.

    x: a representative batch `[T, B, *features]`, or `Events`; rate: spikes per neuron and
    step; tolerance: relative; largest: bound of the factor, either way; None: as far as the rate
    still changes, at most 1e12, for neurons whose currents have a unit; lengths: int64 `[B]`, the
    steps of every sample, None for T each. The weights and the biases of the connections
    that drive the layer are scaled by one factor, or those of the norms behind them; nothing else
    changes, and on an error nothing at all. Returns one `Calibrated` per spiking layer that a
    connection drives.
    Raises UserError when a layer cannot reach the rate (its input is silent, for example), and when
    two layers are driven by the same connections alone; TypeError for a layer with a state that is
    no neuron of this package, whose rate nobody can measure.

    >>> from spikegrad.nn import LIF, Linear, Sequential
    >>> _ = torch.manual_seed(0)
    >>> network = Sequential(Linear(50, 40), LIF(20.0), Linear(40, 30), LIF(20.0))
    >>> for layer in calibrate(network, torch.rand(10, 20, 50), rate=0.1):
    ...     print(layer.layer, round(layer.after, 2))
    1 0.1
    3 0.1
    """
    x, lengths = as_frame(network, x, lengths)
    check_current(x)
    check_finite(x)
    if largest is not None:
        check_positive(largest, "largest")
    if not 0.0 < rate < 1.0:
        raise UserError(message("expected rate in (0, 1) spikes per neuron and step", str(rate)))
    how = {} if lengths is None else {"lengths": lengths}
    names = {module: name for name, module in network.named_modules()}
    saved = {name: value.detach().clone() for name, value in network.state_dict().items()}
    done = []
    with torch.no_grad(), measuring(network):
        try:
            for name, targets in planned(wiring(network, x), names):
                fires = rate_of(partial(network, x, **how), network, name)
                done.append(bisect(targets, fires, name, rate, tolerance, largest))
        except (UserError, TypeError):
            network.load_state_dict(saved)
            raise
    return done


def planned(wires: list[Wire], names: dict[nn.Module, str]) -> list[tuple[str, list[nn.Module]]]:
    """Every spiking layer's name and what is scaled for it, each thing once."""
    plan = []
    taken: dict[nn.Module, str] = {}
    for neuron, driving in drivers(wires).items():
        if not spikes(neuron):
            continue
        spiking = neuron.neuron if isinstance(neuron, Recurrent) else neuron
        name = names[spiking]
        if not isinstance(spiking, Recorded):
            raise TypeError(
                message(
                    "expected neuron layers of this package, whose rate can be measured",
                    f"layer {name} ({type(spiking).__name__})",
                    "calibrate the parts before and after it separately",
                )
            )
        for wire in driving:
            if scaled(wire) == [wire.connection]:
                check_settable(wire, "calibrate")
        all_targets = [t for wire in driving for t in scaled(wire)]
        targets = [t for t in dict.fromkeys(all_targets) if t not in taken]
        if not targets:
            raise UserError(
                message(
                    "expected a separate connection for every spiking layer",
                    f"layers {taken[all_targets[0]]} and {name} with the same",
                    "set their thresholds or weights yourself",
                )
            )
        taken.update(dict.fromkeys(targets, name))
        plan.append((name, targets))
    return plan


def scaled(wire: Wire) -> list[nn.Module]:
    """What sets the scale of a connection's current: the last norm with weights, or itself."""
    learned = [n for n in wire.norms if isinstance(getattr(n, "weight", None), nn.Parameter)]
    return learned[:1] or [wire.connection]


def rate_of(run: Callable[[], object], network: nn.Module, layer: str) -> Callable[[], float]:
    """A measurement of one layer's rate in a run of the network."""

    def measure() -> float:
        with record(network, membrane=False) as tapes:
            run()
        return float(tapes[layer].real.activity.float().mean())

    return measure


def bisect(
    targets: list[nn.Module],
    fires: Callable[[], float],
    layer: str,
    rate: float,
    tolerance: float,
    largest: float | None,
) -> Calibrated:
    """Find the factor on a geometric grid, then by bisection of its logarithm."""
    both = [p for target in targets for p in (target.weight, target.bias)]
    weights = [p for p in both if isinstance(p, nn.Parameter)]
    start = [p.detach().clone() for p in weights]

    def at(factor: float) -> float:
        for p, s in zip(weights, start, strict=True):
            p.copy_(s * factor)
        return fires()

    before, tried = (now := at(1.0)), 1.0
    factor, low, high, same = 1.0, 0.0, float("inf"), 0
    bound = REACH if largest is None else largest
    for _ in range(100):
        if abs(now - rate) <= tolerance * rate:
            return Calibrated(layer, factor, before, now)
        low, high = (factor, high) if now < rate else (low, factor)
        factor = 2 * low if high == float("inf") else high / 2 if low == 0 else (low * high) ** 0.5
        settled = largest is None and factor > USUAL and same >= LEVEL
        if settled or not 1 / bound <= factor <= bound or (low and high / low < 1 + 1e-6):
            break
        last, tried, now = now, factor, at(factor)
        same = same + 1 if 0 < now == last else 0
    best = f"rate {now:.4g} at a factor of {tried:.4g}"
    raise UserError(
        message(
            f"expected layer {layer} to reach {rate:g} spikes per neuron and step",
            best,
            "check that its input is not silent or constant, or take more samples or another rate",
        )
    )
