"""`spikegrad train`, `eval` and `predict` as functions: a config, or a run folder, to a result."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad.data import Batches
from spikegrad.errors import UserError, message
from spikegrad.train import seeding
from spikegrad.train.agreement import agreed, from_first, in_touch
from spikegrad.train.batch import batch_of
from spikegrad.train.behind import Behind
from spikegrad.train.build import (
    Inputs,
    Parts,
    build_encoder,
    build_network,
    build_parts,
    calibrate_network,
)
from spikegrad.train.checkpoint import check_fits
from spikegrad.train.config import GROUPS, Config, gather
from spikegrad.train.encoder import Encoder
from spikegrad.train.finish import read_weights
from spikegrad.train.fitting import fit_job
from spikegrad.train.folder import RunFolder
from spikegrad.train.job import Job
from spikegrad.train.launcher import is_first, launched, machines, settled
from spikegrad.train.measure import Evaluation, Prediction, measured, predicted
from spikegrad.train.measures import write_measures
from spikegrad.train.objective import Objective, objective_of
from spikegrad.train.parallel import device_of, make_fabric
from spikegrad.train.result import Result
from spikegrad.train.running import Place, sequence_of, whole
from spikegrad.train.samples import write_samples
from spikegrad.train.scale import check_scale
from spikegrad.train.settings import check_threads, for_measuring, settings
from spikegrad.train.toml import read_file

__all__ = [
    "Plan",
    "Trained",
    "evaluate_run",
    "open_run",
    "plan_run",
    "predict_run",
    "sample_run",
    "stored_config",
    "train_run",
]


def train_run(
    config: Config,
    folder: Path,
    *,
    resume: bool = False,
    progress: bool = True,
    started: Callable[[nn.Module], None] | None = None,
) -> Result:
    """Train what a config describes, in a run folder.

    Args:
        config: all settings; folder: a new one, or with `resume` one that holds a run.
        progress: whether to show it.
        started: called with the network when data and settings have been found right.
    Returns:
        a `Result`.
    Raises:
        UserError: settings, data or a folder that will not do, before anything is written.
        RunError: the run failed on its way. Interrupted: a signal, after the checkpoint.
    """
    config = settled(config)
    with in_touch(folder), seeding.kept(), settings(config.run):
        if launched():
            make_fabric(config)  # connects: what fails in one process from here on ends all
        begins = from_first(lambda: not (folder / "checkpoint.pt").is_file())
        with agreed():
            check_threads(config.run.threads, config.run.processes // machines())
            if not resume and is_first():
                RunFolder.check_new(folder)
            parts = build_parts(config)
            network = build_network(config, parts.inputs)
            encode, _ = build_encoder(config, parts.inputs), device_of(config.run.device)
            if started is not None:
                started(network)
            if begins:
                calibrate_network(network, config, parts)
        job = Job(
            network=network,
            loader=parts.train,
            val_loader=parts.validation,
            test_loader=parts.test,
            objective=objective_of(config),
            encode=encode,
            optimizer=config.training.optimizer,
            config=config,
            folder=folder,
            progress=progress,
            class_names=parts.inputs.class_names,
            inputs=parts.inputs.to_dict(),
        )
        result = fit_job(job, resume=resume)
    if not result.new and (parts.test or parts.validation):
        with in_touch(folder):
            from_first(lambda: _sampled(folder, config.run.device))
    return result


def _sampled(folder: Path, device: str) -> None:
    """Write the samples of a finished run that lost them."""
    if not (folder / "samples.npz").is_file():
        sample_run(folder, device=device)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a config would train: its data, its network, and one sample as the network sees it."""

    parts: Parts
    network: nn.Module
    x: Tensor


def plan_run(config: Config) -> Plan:
    """Load the data and build the network of a run; nothing is trained or written.

    Raises:
        UserError: settings or data that will not do.
    """
    with seeding.kept(), settings(config.run):
        parts = build_parts(config)
        network = build_network(config, parts.inputs)
        encode, _ = build_encoder(config, parts.inputs), device_of(config.run.device)
        x = batch_of(next(iter(parts.train.epoch(0)))).part(slice(1)).trimmed().x
        return Plan(parts, network, whole(sequence_of(encode, x), network))


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained network with everything around it."""

    config: Config
    network: nn.Module
    encoder: Encoder
    objective: Objective
    inputs: Inputs
    place: Place


def stored_config(run: str | Path) -> Config:
    """The config in a run folder.

    Raises:
        UserError: no run folder, or a damaged config: one without all its tables.
    """
    path = RunFolder.open(Path(run)).config
    values = read_file(path)
    lacking = [name for name in GROUPS if f"[{name}]" not in path.read_text(encoding="utf-8")]
    if lacking:
        remedy = "restore it from a copy, or train again"
        got = f"no table [{lacking[0]}]"
        raise UserError(message(f"expected the complete config of a run in {path}", got, remedy))
    return gather(values)


def open_run(run: str | Path, *, device: str = "auto") -> Trained:
    """The trained network of a run, from `config.toml` and `weights.safetensors` alone.

    Raises:
        UserError: no run, one that is not finished, or one of a network of your own.
    """
    config, folder = stored_config(run), RunFolder.open(Path(run))
    folder.check_weights(f"spikegrad train --resume {run} finishes it and writes them")
    weights, notes = read_weights(folder.weights)
    if notes.get("inputs") is None:
        expected = f"expected a run of spikegrad train in {run}"
        remedy = "build the network in Python and give it to spikegrad.load(RUN, network)"
        raise UserError(message(expected, "a run of fit() with a network of your own", remedy))
    inputs = _inputs(notes["inputs"], folder)
    with seeding.kept():
        network = build_network(config, inputs)
    check_fits(network, weights, folder.weights)
    network.load_state_dict(weights)
    place = _place(config.training.precision, device_of(device))
    return Trained(
        config,
        network.to(place.device, place.dtype).eval(),
        build_encoder(config, inputs),
        objective_of(config),
        inputs,
        place,
    )


def evaluate_run(run: str | Path, split: str = "test", *, device: str = "auto") -> Evaluation:
    """Measure a run's network on a part of its data set: "test", "validation" or "train".

    Raises:
        UserError: no such run or part.
    """
    trained = open_run(run, device=device)
    with seeding.kept(), settings(for_measuring(trained.config.run)):
        loader = part_of(build_parts(trained.config), split)
        return measured(
            trained.network,
            loader,
            trained.objective,
            trained.encoder,
            trained.place,
            seed=trained.config.run.seed,
        )


def sample_run(run: str | Path, *, device: str = "auto") -> None:
    """Write a run's `samples.npz` and `measures.json` again, as at the end of its training."""
    trained, folder = open_run(run, device=device), RunFolder.open(Path(run))
    with seeding.kept(), settings(for_measuring(trained.config.run)):
        parts, seed = build_parts(trained.config), trained.config.run.seed
        loader = parts.test or parts.validation
        if loader is None:
            raise UserError(message("expected a test or validation part", "none"))
        place, behind = trained.place, Behind()
        parted = (trained.network, loader, trained.objective, trained.encoder, place)
        confusion = measured(*parted, seed=seed, behind=behind).confusion
        how: dict[str, Any] = {"objective": trained.objective, "encode": trained.encoder}
        how["seed"] = seed
        samples = write_samples(
            folder.samples,
            trained.network,
            loader,
            confusion,
            place=place,
            class_names=trained.inputs.class_names,
            **how,
        )
        write_measures(folder.measures, trained.network, samples, behind=behind, **how)


def predict_run(
    run: str | Path, x: Tensor, *, lengths: Tensor | None = None, device: str = "auto"
) -> tuple[Prediction, Inputs]:
    """Predict samples with a run's network.

    Args:
        x: raw samples as in the data set, `[N, *features]` or `[N, T, *features]`; lengths: of
            sequences, the steps of every sample, int64 `[N]`, None for T each.
    Returns:
        labels and scores, and what the run knows of its classes.
    Raises:
        UserError: samples of another shape or at another scale (see `scale.check_scale`).
    """
    trained = open_run(run, device=device)
    inputs = trained.inputs
    have = tuple(x.shape[2:] if inputs.sequence else x.shape[1:])
    if have != inputs.features:
        form = "[N, T, " if inputs.sequence else "[N, "
        want = form + ", ".join(map(str, inputs.features)) + "]"
        raise UserError(message(f"expected samples {want}", str(list(x.shape))))
    x = x.float()
    check_scale(x, inputs.range)
    x = x / inputs.divisor
    if inputs.normalise is not None:
        x = (x - inputs.normalise[0]) / inputs.normalise[1]
    with seeding.kept(), settings(for_measuring(trained.config.run)):
        found = predicted(
            trained.network,
            batch_of((x, None, lengths)) if lengths is not None else batch_of(x),
            trained.objective,
            trained.encoder,
            trained.place,
            seed=trained.config.run.seed,
        )
    return found, inputs


def part_of(parts: Parts, split: str) -> Batches:
    """The loader of a part, in order and not augmented."""
    loaders: dict[str, Callable[[], Batches | None]] = {
        "test": lambda: parts.test,
        "validation": lambda: parts.validation,
        "train": lambda: _plain(parts),
    }
    loader = loaders[split]()
    if loader is None:
        there = [name for name, other in loaders.items() if other() is not None]
        remedy = f"choose --split {' or '.join(there)}"
        raise UserError(message(f"expected a {split} part", "a data set without one", remedy))
    return loader


def _inputs(notes: Any, folder: RunFolder) -> Inputs:
    """What the weights say of their inputs."""
    try:
        return Inputs.from_dict(notes)
    except (KeyError, TypeError, ValueError) as error:
        expected = f"expected the inputs of the network in {folder.weights}"
        remedy = folder.again(folder.weights)
        raise UserError(message(expected, f"{type(error).__name__}: {error}", remedy)) from None


def _place(precision: str, device: torch.device) -> Place:
    """Where a trained network runs: in the number format it was trained in."""
    if precision == "64":
        return Place(device, torch.float64)
    if not precision.endswith("-mixed"):
        return Place(device)
    half = torch.bfloat16 if precision == "bf16-mixed" else torch.float16
    return Place(device, autocast=partial(torch.autocast, device.type, dtype=half))


def _plain(parts: Parts) -> Batches:
    split, normalise = parts.train.split, parts.inputs.normalise
    return Batches(split, 256, seed=0, shuffle=False, normalise=normalise)
