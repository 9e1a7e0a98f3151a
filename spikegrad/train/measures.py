"""`measures.json`: what the report draws of a network beside the samples.

Layers with rates, gradients and membranes, the surrogates as tables, the parts of the network with
their operations, and the samples behind the confusion matrix.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad import diagnose
from spikegrad.surrogate import Surrogate
from spikegrad.train import seeding
from spikegrad.train.batch import Batch
from spikegrad.train.behind import Behind
from spikegrad.train.folder import write_atomic
from spikegrad.train.objective import AnyObjective
from spikegrad.train.running import Encode, evaluating, sequence_of, whole
from spikegrad.train.titles import titles_of

__all__ = ["measures_of", "table_of", "write_measures"]

_REACH, _POINTS = 100.0, 801


def write_measures(
    path: Path,
    network: nn.Module,
    samples: Batch,
    *,
    objective: AnyObjective,
    encode: Encode,
    behind: Behind | None = None,
    epoch: int | None = None,
    seed: int = 0,
) -> None:
    """Measure the network on samples, and write what was found, whole or not at all.

    network: where the samples are, in any mode; it stays as it is. samples: as the loader gives
    them, on the network's device; behind: what was kept of the part that was measured; epoch: after
    which it is, where the run is not at its end.
    """
    seeding.seed_all(seed, seeding.EVALUATE, 0)
    sequence = sequence_of(encode, samples.x, samples.lengths)
    encoded = samples._replace(x=whole(sequence, network))
    found = measures_of(network, encoded, objective=objective)
    if behind is not None:
        found |= behind.data()
    if epoch is not None:
        found["epoch"] = epoch
    write_atomic(path, (json.dumps(found) + "\n").encode())


def measures_of(network: nn.Module, encoded: Batch, *, objective: AnyObjective) -> dict[str, Any]:
    """What is known of the network on a batch with an encoded x `[T, B, *features]`; plain data.

    What cannot be measured is left out, and `notes` says why: a run that is done must not fail for
    it.
    """
    notes: list[str] = []
    x, labels, lengths = encoded
    assert isinstance(x, Tensor)
    found: dict[str, Any] = {"notes": notes, "steps": len(x), "samples": x.shape[1]}
    batch = x if labels is None else (x, labels)
    with evaluating(network):
        try:
            health = diagnose.health(network, batch, loss=objective, lengths=lengths).data()
            found["health"] = health
        except Exception as error:  # a loss of the user's own may fail in any way
            notes.append(f"the layers were not measured: {first_line(error)}")
        try:
            found["network"] = diagnose.summary(network, x, lengths=lengths).data()
        except Exception as error:  # so may a forward of the user's own under hooks
            notes.append(f"the operations were not counted: {first_line(error)}")
        found["surrogates"] = surrogates_of(network)
    found["titles"] = titles_of(network)
    return found


def first_line(error: Exception) -> str:
    """An error in one line."""
    lines = str(error).splitlines()
    return lines[0][:300] if lines else type(error).__name__


def surrogates_of(network: nn.Module) -> dict[str, Any]:
    """By layer: its surrogate as a table, with the slope that it has now."""
    found = {}
    for name, module in network.named_modules():
        surrogate = getattr(module, "surrogate", None)
        if isinstance(surrogate, Surrogate):
            learned = getattr(module, "slope", None)
            slopes = None if learned is None else learned().detach().float().flatten()
            found[name or type(module).__name__] = table_of(surrogate, slopes)
    return found


def table_of(surrogate: Surrogate, slopes: Tensor | None = None) -> dict[str, Any]:
    """A surrogate as a table of its family at slope 1, from which every slope can be drawn.

    With p the derivative and P the primitive of the family at slope 1, the derivative at slope k is
    gain k p(k x) where it is normalised by area, gain p(k x) / peak where it is by peak; the
    primitive is gain P(k x), or gain P(k x) / (k peak).

    >>> table = table_of(Surrogate("triangle", 2.0))
    >>> table["slope"], table["z"][0], len(table["z"]) == len(table["p"]) == len(table["P"])
    (2.0, -100.0, True)
    """
    family, shape = surrogate.family, dict(surrogate.parameters)
    z = torch.linspace(-1, 1, _POINTS, dtype=torch.float64) * math.asinh(_REACH * 5)
    # Points are close to one another where surrogates bend, and on both sides of a jump.
    places = [torch.sinh(z) / 5, torch.zeros(1, dtype=torch.float64)]
    for kink in family.kinks:
        places.append(torch.tensor([kink - 1e-9, kink, kink + 1e-9], dtype=torch.float64))
    z = torch.cat(places).clamp(-_REACH, _REACH).unique()
    with torch.no_grad():
        p = family.derivative(z, **shape)
        primitive = None if family.primitive is None else family.primitive(z, **shape)
    slope = surrogate.slope if slopes is None else float(slopes.mean())
    return {
        "name": surrogate.name,
        "text": str(surrogate),
        "formula": surrogate.formula,
        "source": surrogate.source,
        "slope": slope,
        "slopes": None if slopes is None else [float(slopes.min()), float(slopes.max())],
        "has_slope": family.has_slope,
        "normalisation": surrogate.normalisation,
        "gain": surrogate.gain,
        "peak": family.peak(**shape),
        "z": digits(z, 11),
        "p": digits(p, 6),
        "P": None if primitive is None else digits(primitive, 6),
    }


def digits(values: Tensor, count: int) -> list[float | None]:
    """Numbers with so many digits; None for one that is not finite."""
    numbers = values.double().tolist()
    return [float(f"{v:.{count}g}") if math.isfinite(v) else None for v in numbers]
