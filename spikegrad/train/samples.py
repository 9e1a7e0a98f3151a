"""`samples.npz`: what the network did on a few samples, for the pictures."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikegrad.nn import Tape
from spikegrad.surrogate import Surrogate
from spikegrad.train import seeding
from spikegrad.train.folder import write_atomic
from spikegrad.train.measure import epoch_of
from spikegrad.train.objective import AnyObjective
from spikegrad.train.running import (
    Encode,
    Place,
    evaluating,
    pair,
    recorded,
    run,
    sequence_of,
)

__all__ = ["write_samples"]

_SAMPLES, _TRACES, _INPUTS, _POINTS = 16, 5, 4096, 401


def write_samples(
    path: Path,
    network: nn.Module,
    loader: Iterable[Any],
    confusion: Tensor | None,
    *,
    objective: AnyObjective,
    encode: Encode,
    place: Place,
    class_names: Sequence[str],
    seed: int = 0,
) -> None:
    """Run the network on the first samples of a loader and write what the pictures draw.

    The arrays are those of `docs/design.md`, "train"; the file is written whole or not at all.
    Without a confusion matrix there are no classes, and none are written.
    """
    x, labels = _first(loader)
    x, labels = place.put(x, labels)
    seeding.seed_all(seed, seeding.EVALUATE, 0)
    with evaluating(network):
        sequence = sequence_of(encode, x)
        with recorded(network, membrane=True) as tapes, place.autocast():
            y, _ = run(network, sequence)
    arrays: dict[str, Any] = {
        "layers": np.array(list(tapes)),
        "output": _floats(y),
        "dt": np.float64(_dt(network)),
    }
    if confusion is not None and labels is not None:
        arrays["labels"] = labels.cpu().numpy()
        arrays["predictions"] = objective.scores(y).argmax(1).cpu().numpy()
        arrays["confusion"] = confusion.numpy()
        arrays["class_names"] = np.array([str(name) for name in class_names])
    flat = sequence.flatten(2) if sequence.dim() > 2 else sequence.unsqueeze(-1)
    if flat.shape[2] <= _INPUTS:
        arrays["input"] = _floats(flat)
    for index, tape in enumerate(tapes.values()):
        arrays.update(_layer(index, tape))
    arrays.update(_surrogate(network))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomic(path, buffer.getvalue())


def _first(loader: Iterable[Any]) -> tuple[Tensor, Tensor | None]:
    """The first samples, over as many batches as it takes, and their labels if they have any."""
    xs: list[Tensor] = []
    ys: list[Tensor] = []
    have = 0
    for batch in epoch_of(loader):
        x, y = pair(batch)
        xs.append(x[: _SAMPLES - have])
        ys += [y[: _SAMPLES - have]] if y is not None else []
        have += len(xs[-1])
        if have == _SAMPLES:
            break
    return torch.cat(xs), torch.cat(ys) if ys else None


def _layer(index: int, tape: Tape) -> dict[str, Any]:
    """Spikes of all neurons; membranes of a few, from the least to the most active."""
    spikes, membrane = tape.spikes.flatten(2), tape.membrane.flatten(2)
    distance = tape.distance
    assert distance is not None
    order = spikes.float().mean((0, 1)).argsort(stable=True)
    places = torch.linspace(0, len(order) - 1, min(_TRACES, len(order))).round().long()
    chosen = order[places.to(order.device)]
    theta = (membrane - distance.flatten(2))[0, 0, chosen]
    return {
        f"spikes_{index}": (spikes > 0).to(torch.uint8).cpu().numpy(),
        f"membrane_{index}": _floats(membrane[:, :, chosen]),
        f"threshold_{index}": _floats(theta),
        f"neurons_{index}": chosen.cpu().numpy(),
    }


def _surrogate(network: nn.Module) -> dict[str, Any]:
    """The surrogate of the first spiking layer over three half-widths, or three slopes."""
    found = [m.surrogate for m in network.modules() if isinstance(_of(m), Surrogate)]
    if not found:
        return {}
    surrogate: Any = found[0]
    reach = max(2.0, 4.0 / float(surrogate.slope))
    x = torch.linspace(-reach, reach, _POINTS, dtype=torch.float64)
    arrays = {
        "surrogate_name": np.array(f"{surrogate.name}, slope {surrogate.slope:g}"),
        "surrogate_x": x.numpy(),
        "surrogate_derivative": surrogate.derivative(x).detach().numpy(),
    }
    if surrogate.has_primitive:
        arrays["surrogate_primitive"] = surrogate.primitive(x).detach().numpy()
    return arrays


def _of(module: nn.Module) -> Any:
    return getattr(module, "surrogate", None)


def _dt(network: nn.Module) -> float:
    found = (getattr(m, "dt", None) for m in network.modules())
    return next((float(dt) for dt in found if isinstance(dt, (int, float))), 1.0)


def _floats(x: Tensor) -> Any:
    return x.detach().float().cpu().numpy()
