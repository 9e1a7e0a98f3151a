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
from spikegrad.ragged import mask_of
from spikegrad.surrogate import Surrogate
from spikegrad.train import seeding
from spikegrad.train.batch import Batch, batch_of
from spikegrad.train.folder import write_atomic
from spikegrad.train.measure import epoch_of
from spikegrad.train.objective import AnyObjective
from spikegrad.train.running import (
    Encode,
    Place,
    evaluating,
    recorded,
    run,
    sequence_of,
    whole,
)
from spikegrad.train.titles import titles_of

__all__ = ["first_samples", "write_samples"]

_SAMPLES, _TRACES, _INPUTS = 16, 16, 4096


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
) -> Batch:
    """Run the network on the first samples of a loader and write what the pictures draw.

    The arrays are those of `docs/design.md`, "train"; the file is written whole or not at all.
    Without a confusion matrix there are no classes, and none are written.
    Returns the samples with their labels and lengths, where the network is.
    """
    given = first_samples(loader, place)
    x, labels, lengths = given
    seeding.seed_all(seed, seeding.EVALUATE, 0)
    with evaluating(network):
        sequence = whole(sequence_of(encode, x, lengths), network)
        with recorded(network, membrane=True) as tapes, place.autocast():
            y, _ = run(network, sequence, lengths=lengths)
    arrays: dict[str, Any] = {
        "layers": np.array(list(tapes)),
        "output": _floats(y),
        "dt": np.float64(_dt(network)),
    }
    if confusion is not None and labels is not None:
        arrays["labels"] = labels.cpu().numpy()
        scores = objective.scores(y, lengths=lengths)
        arrays["predictions"] = scores.argmax(1).cpu().numpy()
        arrays["confusion"] = confusion.numpy()
        arrays["class_names"] = np.array([str(name) for name in class_names])
    titles, modules = titles_of(network), dict(network.named_modules())
    arrays["titles"] = np.array([titles[name] for name in tapes])
    flat = sequence.flatten(2) if sequence.dim() > 2 else sequence.unsqueeze(-1)
    if lengths is not None:
        arrays["lengths"] = lengths.numpy()
        flat = flat * mask_of(lengths.to(flat.device), len(flat)).unsqueeze(2)
    if flat.shape[2] <= _INPUTS:
        arrays["input"] = _floats(flat)
        if isinstance(x, Tensor) and _is_image(x, sequence):
            arrays["image"] = _floats(x.flatten(1, -3).mean(1) if x.dim() > 3 else x)
    for index, (name, tape) in enumerate(tapes.items()):
        arrays.update(_layer(index, tape, modules[name]))
    arrays.update(_surrogate(network))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomic(path, buffer.getvalue())
    return given


def first_samples(loader: Iterable[Any], place: Place) -> Batch:
    """The first samples, over as many batches as it takes, with their labels and lengths if they
    have any.
    """
    parts: list[Batch] = []
    have = 0
    for given in epoch_of(loader):
        parts.append(batch_of(given).part(slice(_SAMPLES - have)))
        have += parts[-1].samples
        if have == _SAMPLES:
            break
    return place.put(Batch.joined(parts).trimmed())


def _is_image(x: Tensor, sequence: Tensor) -> bool:
    """Whether samples are images, and each step of the input is the image."""
    same = x[0].numel() == sequence[0, 0].numel()
    return x.dim() in (3, 4) and same and bool((sequence == sequence[:1]).all())


def _layer(index: int, tape: Tape, neuron: Any) -> dict[str, Any]:
    """Spikes of all neurons; of a few that spike, the membrane before and after the reset."""
    spikes, membrane = tape.spikes.flatten(2), tape.membrane.flatten(2)
    distance = tape.distance
    assert distance is not None
    real = tape.real
    rates = real.spikes.flatten(2).abs().float().mean((0, 1))
    chosen = _chosen(rates, real.membrane.flatten(2).amax((0, 1)))
    thresholds = (membrane - distance.flatten(2))[:, :, chosen]
    theta = thresholds[0, 0]
    after = _after(neuron, membrane[:, :, chosen], spikes[:, :, chosen], thresholds, chosen)
    return {
        f"after_{index}": _floats(after),
        f"spikes_{index}": (spikes != 0).to(torch.uint8).cpu().numpy(),
        f"membrane_{index}": _floats(membrane[:, :, chosen]),
        f"threshold_{index}": _floats(theta),
        f"neurons_{index}": chosen.cpu().numpy(),
    }


def _chosen(rates: Tensor, peaks: Tensor) -> Tensor:
    """A few neurons: evenly from the most to the least active of those that fire, then the
    silent ones that came nearest to firing."""
    firing = int((rates > 0).sum())
    order = rates.argsort(descending=True, stable=True)
    places = torch.linspace(0, max(firing - 1, 0), min(_TRACES, firing)).round().long()
    silent = order[firing:][peaks[order[firing:]].argsort(descending=True, stable=True)]
    chosen = torch.cat([order[places.to(order.device)], silent])
    return chosen[: min(_TRACES, len(order))]


def _after(neuron: Any, u: Tensor, fired: Tensor, theta: Tensor, chosen: Tensor) -> Tensor:
    """Membranes after the reset, `[T, n, m]`: what decays to the next step."""
    reset = getattr(neuron, "reset", "none")
    if getattr(neuron, "reset_delay", False) and reset == "subtract":
        return u  # it is subtracted behind the decay
    if reset == "subtract":
        drop = getattr(neuron, "drop", None)
        if drop is not None:
            return u - fired * _of_neurons(drop(), chosen)
        rest = torch.as_tensor(neuron.resting_potential(), dtype=u.dtype)
        return u - fired * (theta - _of_neurons(rest, chosen))
    if reset == "zero":
        return torch.where(fired != 0, _of_neurons(neuron.v_reset(), chosen).to(u.dtype), u)
    return u


def _of_neurons(value: Tensor, chosen: Tensor) -> Tensor:
    """A quantity of some neurons: one for each of them, or one for all."""
    return value.reshape(-1)[chosen] if value.numel() > 1 else value.reshape(())


def _surrogate(network: nn.Module) -> dict[str, Any]:
    """The surrogate of the first spiking layer as a curve."""
    found = [m.surrogate for m in network.modules() if isinstance(_of(m), Surrogate)]
    if not found:
        return {}
    surrogate: Any = found[0]
    x, derivative, primitive = surrogate.curve()
    arrays = {
        "surrogate_name": np.array(f"{surrogate.name}, slope {surrogate.slope:g}"),
        "surrogate_x": x.numpy(),
        "surrogate_derivative": derivative.numpy(),
    }
    if primitive is not None:
        arrays["surrogate_primitive"] = primitive.numpy()
    return arrays


def _of(module: nn.Module) -> Any:
    return getattr(module, "surrogate", None)


def _dt(network: nn.Module) -> float:
    found = (getattr(m, "dt", None) for m in network.modules())
    return next((float(dt) for dt in found if isinstance(dt, (int, float))), 1.0)


def _floats(x: Tensor) -> Any:
    return x.detach().float().cpu().numpy()
