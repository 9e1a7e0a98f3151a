"""The health of a network that is not here: from spikes and membranes that a run wrote down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spikegrad.diagnose.activity import check_activity
from spikegrad.diagnose.finding import ordered
from spikegrad.diagnose.health import Health
from spikegrad.diagnose.layer import LayerHealth
from spikegrad.diagnose.rates import never_and_always

__all__ = ["Written", "recorded_health"]

NOTE = "from samples.npz: no gradients; membranes from 0, of the neurons in it"
NOTHING = "there is no samples.npz: nothing is known of its layers"


@dataclass(frozen=True, eq=False)
class Written:
    """One layer as it was written down.

    name: the module's full name; spikes `[T, n, N]`, 0 or 1; membrane `[T, n, m]` of some neurons
    before a reset; threshold `[m]`.
    """

    name: str
    spikes: Tensor
    membrane: Tensor
    threshold: Tensor


def recorded_health(layers: Sequence[Written], output: Any = None) -> Health:
    """What spikes and membranes of a few samples say, without a network: no gradients.

    output: `[T, n, C]`, or None. Membranes are measured from 0, since nobody wrote down the rest.

    >>> spikes = torch.zeros(5, 2, 3)
    >>> layer = Written("1", spikes, torch.full((5, 2, 3), 0.2), torch.ones(3))
    >>> found = recorded_health([layer])
    >>> found.layers[0].silent, round(found.layers[0].mean, 3), found.findings[0].kind
    (1.0, 0.2, 'silent')
    """
    found = [layer_of(each) for each in layers]
    steps, samples = (layers[0].spikes.shape[:2]) if layers else (0, 0)
    dead = () if output is None else same_for_all(torch.as_tensor(output))
    return Health(
        layers=tuple(found),
        findings=tuple(ordered(check_activity(found, samples))),
        loss=None,
        floor=None,
        outputs=0 if output is None else int(output.shape[-1]),
        dead=dead,
        steps=steps,
        samples=samples,
        parameters={},
        notes=(NOTE if layers else NOTHING,),
    )


def layer_of(written: Written) -> LayerHealth:
    """One layer."""
    spikes = written.spikes.float()
    silent, always = never_and_always(spikes)
    u = written.membrane / written.threshold
    return LayerHealth(
        name=written.name,
        kind="recorded",
        neurons=spikes[0, 0].numel(),
        rate=float(spikes.mean()),
        silent=silent,
        always=always,
        mean=float(u.mean()),
        spread=float(u.std(correction=0)),
        reach=float(u.max()),
    )


def same_for_all(y: Tensor) -> tuple[int, ...]:
    """Outputs that are the same for every sample at every step, of y `[T, n, C]`."""
    same = (y == y[:, :1]).all(0).all(0) if y.shape[1] > 1 else (y == 0).all(0).all(0)
    return tuple(same.nonzero().flatten().tolist())
