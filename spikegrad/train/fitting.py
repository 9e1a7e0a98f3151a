"""`fit`: train any network on any loader, with or without a run folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad.errors import UserError, message
from spikegrad.train import seeding
from spikegrad.train.agreement import agreed, from_first, in_touch
from spikegrad.train.batches import length
from spikegrad.train.checkpoint import check_fits
from spikegrad.train.config import OPTIONS, Config, flatten, gather
from spikegrad.train.crossover import crossover_of, crossover_text
from spikegrad.train.encoder import Encoder
from spikegrad.train.fields import check_group
from spikegrad.train.finish import finish, read_weights
from spikegrad.train.folder import RunFolder
from spikegrad.train.launcher import is_first, launched, machines, settled
from spikegrad.train.loop import Job, Trainer
from spikegrad.train.objective import Objective, objective_of
from spikegrad.train.own import OWN, check_read
from spikegrad.train.parallel import launch, make_fabric
from spikegrad.train.preflight import check_loaders, preflight
from spikegrad.train.progress import watcher
from spikegrad.train.running import Encode
from spikegrad.train.settings import check_threads, settings
from spikegrad.train.shares import check_divisible
from spikegrad.train.signals import StopFlag, listening
from spikegrad.train.toml import read_file, to_toml

__all__ = ["MAY_CHANGE", "Result", "check_unchanged", "fit"]

MAY_CHANGE = ("checkpoint_seconds", "folder", "preflight", "tensorboard", "threads")
"""What a resumed run may change: nothing that its result depends on (threads: to rounding)."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run came to; the network holds the weights of the chosen epoch.

    history: the lines of `metrics.jsonl`; summary: what `result.json` says; confusion: counts
    `[C, C]` on the test part, or on validation without one; folder: the run folder, if there is
    one; encoder, objective: with which it was trained, T included (`predict` and `evaluate` take
    them as they are); new: False when the run was finished already and nothing was done.
    """

    history: list[dict[str, Any]]
    summary: dict[str, Any]
    confusion: Tensor | None
    folder: Path | None
    encoder: Encode
    objective: Objective
    new: bool = True

    def __repr__(self) -> str:
        measured = {name: self.summary[name] for name in ("test_accuracy", "val_accuracy")}
        shown = ", ".join(f"{k}={v:.4f}" for k, v in measured.items() if v is not None)
        where = f", folder={str(self.folder)!r}" if self.folder else ""
        return f"Result({len(self.history)} epochs, {shown or 'not measured'}{where})"

    @property
    def test_accuracy(self) -> float | None:
        """Fraction of the test part that the chosen epoch classifies rightly."""
        return self.summary["test_accuracy"]

    @property
    def val_accuracy(self) -> float | None:
        """Fraction of the validation part, at the chosen epoch."""
        return self.summary["val_accuracy"]

    @property
    def best_epoch(self) -> int:
        """The chosen epoch, from 1."""
        return self.summary["best_epoch"]

    @property
    def firing_rates(self) -> dict[str, float]:
        """Spikes per neuron and step by layer, at the chosen epoch."""
        return self.summary["firing_rates"]


def fit(
    network: nn.Module,
    loader: Iterable[Any],
    *,
    val_loader: Iterable[Any] | None = None,
    test_loader: Iterable[Any] | None = None,
    objective: Objective | str | None = None,
    encoder: Encode | str = "direct",
    sequence: bool = False,
    optimizer: str | torch.optim.Optimizer | Callable[..., torch.optim.Optimizer] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    config: Config | None = None,
    class_names: Iterable[str] | None = None,
    about: dict[str, Any] | None = None,
    **options: Any,
) -> Result:
    """Train a network with surrogate gradients; `spikegrad train` calls this too.

    Args:
        network: maps `[T, B, *features]` to outputs `[T, B, C]`; returns them alone or with its
            states, which it then takes as second argument (as `nn.Sequential` does).
        loader: yields (x, y), x `[B, *features]` or with `sequence` `[B, T, *features]`, y int64
            `[B]`; iterated once an epoch.
        val_loader: chooses the epoch, without it the last is; test_loader: measured once, at the
            end. The first batch of each is checked before anything is written.
        objective: an `Objective`, or its name with the settings from the options.
        encoder: a name, or any picklable function from x to `[T, B, *features]`.
        optimizer: a name, an optimizer of this network's parameters, or a function from parameter
            groups to one.
        out: a new run folder; resume: go on with the run in it.
        progress: whether to show it.
        config: all settings at once; options: single ones, any field of the groups training and
            run, and `steps` (T of static samples): `epochs=10`, `learning_rate=1e-3`,
            `schedule="cosine"`, `clip`, `truncate`, `precision`, `seed`, `device`, `processes`, ...
            What describes data and network is refused: both are yours.
        class_names: for the pictures; about: what else to note in `result.json`.
    Returns:
        a `Result`; the network holds the weights of the chosen epoch.
    Raises:
        UserError: wrong settings, batches or shapes; before anything is written where possible.
        RunError: the loss or a gradient is not finite.
        Interrupted: a signal, after the checkpoint was written.

    >>> from spikegrad.nn import LIF, Linear, Sequential
    >>> x, y = torch.rand(32, 4), torch.arange(32) % 2
    >>> network = Sequential(Linear(4, 16), LIF(10.0), Linear(16, 2))
    >>> result = fit(network, [(x, y)], epochs=2, progress=False, preflight="off")
    >>> len(result.history), result.best_epoch
    (2, 2)
    """
    if sequence and "steps" in options:
        expected = "expected no steps for sequences, whose length is T"
        raise UserError(message(expected, f"steps={options['steps']}", "leave steps out"))
    config = _configured(config, options, optimizer, objective)
    network_job = Job(
        network=network,
        loader=loader,
        val_loader=val_loader,
        test_loader=test_loader,
        objective=objective if isinstance(objective, Objective) else objective_of(config),
        encode=_encoder(encoder, sequence, config),
        optimizer=optimizer if optimizer is not None else config.training.optimizer,
        config=config,
        folder=Path(out) if out is not None else None,
        progress=progress,
        class_names=tuple(class_names) if class_names is not None else None,
        about=about or {},
    )
    return fit_job(network_job, resume=resume)


def fit_job(job: Job, *, resume: bool = False) -> Result:
    """`fit` with everything in one record.

    Under torchrun every process comes here; the first one alone reads and writes the run folder.
    """
    job = dataclasses.replace(job, config=settled(job.config))
    fabric = make_fabric(job.config)
    with in_touch(job.folder):
        with agreed():
            _check_job(job)
        run = from_first(lambda: _open(job, resume))
        if from_first(lambda: run is not None and run.finished):
            assert run is not None
            return _held(run, job)
        job, outcome = _run(fabric, job, run)
    if job.config.training.precision == "64":
        job.network.double()
    job.network.load_state_dict(outcome["weights"])
    return Result(
        outcome["history"],
        outcome["summary"],
        outcome["confusion"],
        job.folder,
        job.encode,
        job.objective,
    )


def _run(fabric: Any, job: Job, run: RunFolder | None) -> tuple[Job, dict[str, Any]]:
    """Check, make the folder of a new run, train; the job as it was run, and what came of it."""
    with seeding.kept(), settings(job.config.run), ExitStack() as kept:
        begins = from_first(lambda: run is None or not run.checkpoint.is_file())
        with agreed():
            if begins:
                job, batch = check_loaders(job)
                preflight(job, batch, watcher=watcher(job.progress and is_first()))
        made = from_first(lambda: _made(job, run))
        with agreed():
            if is_first():
                kept.enter_context(_alone(made or run))
                kept.enter_context(_taken_back(made))
        folder = made or run
        job = dataclasses.replace(job, folder=folder.path if folder else None)
        return job, launch(fabric, _work, job)


def check_unchanged(old: Config, new: Config) -> None:
    """Refuse to go on with settings that the result depends on changed.

    Raises:
        UserError: names the first of them and what may be changed.

    >>> check_unchanged(Config(), gather({"threads": 2}))
    """
    before, after = flatten(old), flatten(new)
    for name, value in before.items():
        if name not in (*MAY_CHANGE, "out") and after[name] != value:
            expected = f"expected {name} = {value} as the run was started with"
            remedy = f"a resumed run may change {', '.join(MAY_CHANGE)}; start another with --out"
            raise UserError(message(expected, str(after[name]), remedy))


def _made(job: Job, run: RunFolder | None) -> RunFolder | None:
    """The folder of a new run, None where there is one or none is wanted."""
    if run is not None or job.folder is None:
        return None
    return RunFolder.create(job.folder, to_toml(job.config), crossover_text())


def _work(fabric: Any, job: Job) -> dict[str, Any]:
    """One process of a run, from the checkpoint to the result; plain data."""
    worker = fabric.world_size > 1 and not launched()
    with settings(job.config.run), crossover_of(job.folder):
        if worker:
            for tensor in [*job.network.parameters(), *job.network.buffers()]:
                tensor.data = tensor.data.clone()  # they came in memory shared with the parent
        flag = StopFlag()
        if job.folder is None and fabric.world_size == 1:
            return _train(fabric, job, flag)
        parent = "torchrun" if launched() else "parent" if worker else "user"
        with listening(flag, started_by=parent), in_touch(job.folder):
            return _train(fabric, job, flag)


def _train(fabric: Any, job: Job, flag: StopFlag) -> dict[str, Any]:
    trainer = Trainer(job, fabric, flag, watcher(job.progress))
    trainer.train()
    return finish(trainer)


def _configured(
    config: Config | None, options: dict[str, Any], optimizer: Any, objective: Any
) -> Config:
    check_group(options, OPTIONS, "fit()")
    check_read(options)
    values = {**(flatten(config) if config else {"dataset": OWN}), **options}
    if isinstance(optimizer, str):
        values["optimizer"] = optimizer
    if isinstance(objective, str):
        values["objective"] = objective
    return gather(values)


def _encoder(encoder: Encode | str, sequence: bool, config: Config) -> Encode:
    if callable(encoder):
        return encoder
    return Encoder(encoder, config.network.steps, sequence)


def _check_job(job: Job) -> None:
    """What can be known to be wrong before anything runs."""
    training, processes = job.config.training, job.config.run.processes
    check_threads(job.config.run.threads, processes // machines())
    if length(job.loader) is None and training.schedule != "constant":
        expected = f"expected a loader with a length for schedule {training.schedule}"
        raise UserError(message(expected, "one without", "use schedule='constant'"))
    if length(job.loader) is None and training.warmup:
        expected = "expected a loader with a length to warm up"
        raise UserError(message(expected, "one without", "use warmup=0"))
    if processes > 1 and not launched() and isinstance(job.optimizer, torch.optim.Optimizer):
        expected = "expected the optimizer as a name or a function with several processes"
        raise UserError(message(expected, "an optimizer", "each process makes its own"))
    if processes > 1:
        check_divisible(job.network, job.loader)


def _open(job: Job, resume: bool) -> RunFolder | None:
    """The run to go on with, or None for a new one; nothing is written."""
    if job.folder is None:
        if resume:
            raise UserError(message("expected out= to resume a run", "none"))
        return None
    if not resume:
        RunFolder.check_new(job.folder)
        return None
    run = RunFolder.open(job.folder)
    check_unchanged(gather(read_file(run.config)), job.config)
    return run


def _alone(run: RunFolder | None) -> AbstractContextManager[None]:
    return run.locked() if run is not None else nullcontext()


@contextmanager
def _taken_back(run: RunFolder | None) -> Iterator[None]:
    """Leave no folder behind if the run fails before it has begun."""
    try:
        yield
    except Exception:
        if run is not None:
            run.take_back()
        raise


def _held(run: RunFolder, job: Job) -> Result:
    """The result of a run that is finished; the network takes its weights if all is whole."""
    history, summary = from_first(lambda: (run.metrics(), run.result()))
    weights, _ = from_first(lambda: read_weights(run.weights))
    check_fits(job.network, weights, run.weights)
    if job.config.training.precision == "64":
        job.network.double()
    job.network.load_state_dict(weights)
    return Result(history, summary, None, run.path, job.encode, job.objective, new=False)
