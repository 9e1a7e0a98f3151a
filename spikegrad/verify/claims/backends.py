"""Every backend that runs here computes, for every neuron, what the loop in torch computes."""

from __future__ import annotations

from collections.abc import Iterator

from spikegrad.diagnose import Check, check
from spikegrad.neurons import models
from spikegrad.nn import ALIF, CUBALIF, IF, LI, LIF
from spikegrad.nn.base import Neuron
from spikegrad.verify.claim import Measured, NotRun, claim

__all__ = ["backends"]


@claim(
    statement="outputs, states and all gradients of every neuron equal those of its definition, on "
    "every backend of this machine",
    source="spikegrad/functional and spikegrad/neurons (the definitions)",
    remedy="print spikegrad.check(NEURON) for the neuron named, put it into an issue, and use "
    "backend='reference'",
)
def backends(seed: int) -> Iterator[Measured]:
    """Each neuron as it is, and in one more form that the seed draws."""
    ran, reasons = 0, []
    for number, (name, neuron) in enumerate(neurons().items()):
        found = check(neuron, draw=seed + number)
        rows = [row for row in found.rows if row.verdict != "not run"]
        reasons += [row.reason for row in found.rows if row.reason]
        ran += len(rows)
        if rows:
            wrong = sum(row.verdict == "different" for row in rows)
            yield Measured(f"{name}: of {len(rows)} comparisons differ", wrong, most=0)
            yield Measured(f"{name}: largest difference in float64", largest(found), most=1e-9)
    if not ran:
        why = reasons[0] if reasons else "none is installed"
        raise NotRun(f"no backend but the loop in torch runs here: {why}")


def neurons() -> dict[str, Neuron | type[Neuron]]:
    """The built-in layers and the library of neurons, with their defaults."""
    return {
        "IF": IF(),
        "LIF": LIF(20.0),
        "CUBALIF": CUBALIF(20.0, tau_syn=5.0),
        "ALIF": ALIF(20.0, tau_adapt=50.0),
        "LI": LI(20.0),
        **models(),
    }


def largest(found: Check) -> float:
    """The largest share by which a backend differs in float64."""
    rows = [row for row in found.rows if row.dtype == "float64" and row.verdict != "undecided"]
    every = [part for row in rows for part in (row.output, row.states, row.gradients)]
    return max((part for part in every if part is not None), default=0.0)
