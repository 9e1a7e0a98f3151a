"""The end of a run: the chosen weights, one look at the test part, the files."""

from __future__ import annotations

import hashlib
import json
import platform
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from spikegrad.errors import UserError, message
from spikegrad.train.agreement import from_first
from spikegrad.train.behind import Behind
from spikegrad.train.folder import RunFolder, write_atomic
from spikegrad.train.measure import Evaluation
from spikegrad.train.measures import write_measures
from spikegrad.train.samples import write_samples
from spikegrad.train.titles import titles_of
from spikegrad.version import __version__

if TYPE_CHECKING:
    from spikegrad.train.loop import Trainer

__all__ = ["finish", "read_weights", "versions"]


def finish(trainer: Trainer) -> dict[str, Any]:
    """Measure the chosen epoch and write weights, samples and, last of all, the result.

    Every process waits until the first one has written: a process that is gone cannot be told of
    an error, and torchrun may stop the others some minutes after it.

    Returns:
        `{weights, history, summary, confusion}`, plain data; files only from the first process.
    """
    best, job = trainer.state.best, trainer.job
    trainer.network.load_state_dict(best.weights)
    behind = Behind() if trainer.folder is not None else None
    test = trainer.measure(job.test_loader, behind)
    validation = trainer.measure(job.val_loader, behind) if test is None else None
    seen = test or validation
    summary = _summary(trainer, test, seen)
    folder = trainer.folder
    if folder is not None:
        from_first(lambda: _write(trainer, folder, seen, summary, behind))
    return {
        "weights": {name: value.cpu() for name, value in best.weights.items()},
        "history": trainer.state.history,
        "summary": summary,
        "confusion": seen.confusion if seen else None,
    }


def versions() -> dict[str, str]:
    """Versions of what a result depends on.

    >>> "torch" in versions()
    True
    """
    from importlib.metadata import version

    found = {"spikegrad": __version__, "python": platform.python_version()}
    return {**found, **{name: version(name) for name in ("torch", "numpy", "lightning-fabric")}}


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of `weights.safetensors` and what is noted with them; executes nothing.

    Raises:
        UserError: no such file, or a damaged one: it cannot be read, or its checksum differs.
    """
    from safetensors import SafetensorError, safe_open

    expected, remedy = f"expected complete weights in {path}", RunFolder(path.parent).again(path)
    try:
        with safe_open(path, framework="pt") as file:
            notes = json.loads((file.metadata() or {}).get("spikegrad", "null"))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(message(expected, str(error)[:120], remedy)) from None
    if not isinstance(notes, dict):
        raise UserError(message(expected, "a file without the metadata of a run", remedy))
    if "sha256" in notes and notes["sha256"] != _checksum(weights, notes):
        raise UserError(message(expected, "a damaged file: its checksum differs", remedy))
    return weights, notes


def _checksum(weights: dict[str, Tensor], notes: dict[str, Any]) -> str:
    """SHA-256 over names, types, shapes and bytes of the tensors, and over the other notes."""
    others = {name: value for name, value in notes.items() if name != "sha256"}
    found = hashlib.sha256(json.dumps(others, sort_keys=True).encode())
    for name, value in sorted(weights.items()):
        found.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        found.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _summary(trainer: Trainer, test: Evaluation | None, seen: Evaluation | None) -> dict[str, Any]:
    state, job = trainer.state, trainer.job
    seconds = [line["seconds"] for line in state.history]
    tracked = [line["test_accuracy"] for line in state.history if "test_accuracy" in line]
    chosen = state.history[state.best.epoch - 1]
    accuracies = {
        "test_accuracy": test.accuracy if test else None,
        "val_accuracy": state.best.accuracy,
        "best_test_accuracy": max(tracked) if tracked else None,
    }
    own = {name: chosen.get(f"val_{name}") for name in job.metrics if job.val_loader is not None}
    return {
        "dataset": job.config.data.dataset,
        **(accuracies if "train_accuracy" in chosen else {}),
        "test_loss": test.loss if test else None,
        "val_loss": state.best.loss,
        **{f"test_{name}": value for name, value in (test.metrics if test else {}).items()},
        **{f"val_{name}": value for name, value in own.items()},
        "best_epoch": state.best.epoch,
        "epochs": len(state.history),
        "ended_by": state.ended(job.config.training) or None,
        "train_seconds": round(sum(seconds), 3),
        "seconds_per_epoch": round(statistics.median(seconds), 4),
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "firing_rates": seen.firing_rates if seen else chosen["firing_rates"],
        "layers": titles_of(trainer.network),
        "seed": job.config.run.seed,
        "device": str(trainer.place.device.type),
        "processes": trainer.place.world,
        "versions": versions(),
        **({"about": job.about} if job.about else {}),
    }


def _write(
    trainer: Trainer,
    folder: RunFolder,
    seen: Evaluation | None,
    summary: dict[str, Any],
    behind: Behind | None,
) -> None:
    job = trainer.job
    _write_weights(trainer, folder)
    loader = job.test_loader or job.val_loader
    if seen is not None and loader is not None:
        classes = 0 if seen.confusion is None else len(seen.confusion)
        how: dict[str, Any] = {"objective": trainer.objective, "encode": job.encode}
        how["seed"] = job.config.run.seed
        samples = write_samples(
            folder.samples,
            trainer.network,
            loader,
            seen.confusion,
            place=trainer.place,
            class_names=job.class_names or [str(c) for c in range(classes)],
            **how,
        )
        write_measures(folder.measures, trainer.network, samples, behind=behind, **how)
    for leftover in folder.path.glob(".*.tmp"):
        leftover.unlink()
    folder.write_result(summary)


def _write_weights(trainer: Trainer, folder: RunFolder) -> None:
    """The weights with one note: a second one would make the order of the header's keys random."""
    from safetensors.torch import save

    tensors = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in trainer.state.best.weights.items()
        if isinstance(value, torch.Tensor)
    }
    notes = {
        "version": __version__,
        "epoch": trainer.state.best.epoch,
        "val_accuracy": trainer.state.best.accuracy,
        "class_names": list(trainer.job.class_names or ()),
        **({"inputs": trainer.job.inputs} if trainer.job.inputs is not None else {}),
    }
    notes["sha256"] = _checksum(tensors, notes)
    write_atomic(folder.weights, save(tensors, metadata={"spikegrad": json.dumps(notes)}))
