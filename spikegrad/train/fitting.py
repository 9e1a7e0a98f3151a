"""`fit`: train any network on any loader, with or without a run folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spikegrad.errors import UserError, message
from spikegrad.train import seeding
from spikegrad.train.agreement import agreed, from_first, in_touch
from spikegrad.train.callbacks import check_callbacks
from spikegrad.train.checkpoint import check_fits
from spikegrad.train.config import Config, gather
from spikegrad.train.crossover import crossover_of, crossover_text
from spikegrad.train.depends import not_known, own_text, with_own
from spikegrad.train.encoder import Encoder
from spikegrad.train.finish import finish, read_weights
from spikegrad.train.folder import RunFolder
from spikegrad.train.given import check_job, configured
from spikegrad.train.job import Job
from spikegrad.train.launcher import is_first, launched, settled
from spikegrad.train.loop import Trainer
from spikegrad.train.memory import keep_freed_memory
from spikegrad.train.metrics import Metrics, check_metrics
from spikegrad.train.monitoring import entry
from spikegrad.train.objective import AnyObjective, as_objective, objective_of
from spikegrad.train.own_objective import Loss, OwnObjective, Scores
from spikegrad.train.parallel import launch, make_fabric
from spikegrad.train.preflight import check_loaders, preflight
from spikegrad.train.progress import watcher
from spikegrad.train.result import Result
from spikegrad.train.resuming import check_own, check_unchanged, is_longer, lengthen
from spikegrad.train.running import Encode
from spikegrad.train.settings import settings
from spikegrad.train.signals import StopFlag, listening
from spikegrad.train.titles import titles_of
from spikegrad.train.toml import read_file, to_toml

__all__ = ["fit", "fit_job"]


def fit(
    network: nn.Module,
    loader: Iterable[Any],
    *,
    val_loader: Iterable[Any] | None = None,
    test_loader: Iterable[Any] | None = None,
    objective: AnyObjective | Loss | str | None = None,
    scores: Scores | None = None,
    metrics: Metrics | None = None,
    callbacks: Iterable[Any] | None = None,
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
            `[B]`, or whatever your own loss takes; or x alone. Iterated once an epoch. Padded
            sequences come as (x, y, lengths), x `[B, T, *features]`, lengths int64 `[B]`: nothing
            of the padding is read (y may be None there). x may be `Events`, with (x, y) or alone.
        val_loader: chooses the epoch, by accuracy, then by loss; without it the last is taken.
            test_loader: measured once, at the end. The first batch of each is checked before
            anything is written.
        objective: an `Objective`, its name with the settings from the options, or a loss of your
            own: a function or module `loss(y, labels)`, or `loss(y)` for batches of x alone, that
            returns the mean over the batch. It reads the whole output `[T, B, C]`; one of torch's
            (`nn.CrossEntropyLoss()`, `nn.functional.mse_loss`) reads the scores `[B, C]`.
        scores: with a loss of your own, how `[T, B, C]` becomes scores `[B, C]`, the largest of
            which is the prediction: "mean" (default), "sum", "max", "last", a function, or "none"
            where nothing is predicted.
        metrics: `{name: function(scores, labels)}`, each called once with all scores and labels of
            validation and of test (`val_name`, `test_name` in the results).
        callbacks: objects with `on_step(seen)` or `on_epoch(seen)` (`StepSeen`, `EpochSeen`); one
            that returns True ends the run: the epoch is measured and is the last. What they return
            from `state_dict()`, if they have it, is kept in checkpoints.
        encoder: a name, or any picklable function from x to `[T, B, *features]`.
        optimizer: a name, an optimizer of this network's parameters, or a function from parameter
            groups to one; but for a name it has its learning rate itself.
        out: a new run folder; resume: go on with the run in it, with more epochs if you like.
        progress: whether to show it.
        config: all settings at once; options: single ones, any field of the groups training and
            run, and `steps` (T of static samples): `epochs=10`, `learning_rate=1e-3`,
            `schedule="cosine"`, `early_stopping=5`, `clip`, `truncate`, `precision`, `seed`,
            `device`, `processes`, ... What describes data and network is refused: both are yours.
        class_names: one for each class, for the pictures; about: what else to note in
            `result.json`, under "about".
    Returns:
        a `Result`; the network holds the weights of the chosen epoch.
    Raises:
        TypeError: a network, objective, optimizer, metric or callback that is none.
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
        raise UserError(message(expected, f"steps={options['steps']}", "omit steps"))
    settled = configured(config, options, optimizer, objective)
    job = Job(
        network=network,
        loader=loader,
        val_loader=val_loader,
        test_loader=test_loader,
        objective=_objective(objective, scores, settled),
        encode=_encoder(encoder, sequence, settled),
        optimizer=optimizer if optimizer is not None else settled.training.optimizer,
        config=settled,
        folder=Path(out) if out is not None else None,
        progress=progress,
        class_names=tuple(class_names) if class_names is not None else None,
        metrics=check_metrics(metrics),
        callbacks=check_callbacks(callbacks or ()),
        about=dict(about or {}),
    )
    return fit_job(job, resume=resume, own=True)


def fit_job(job: Job, *, resume: bool = False, own: bool = False) -> Result:
    """`fit` with everything in one record.

    Under torchrun every process comes here; the first one alone reads and writes the run folder.

    Args:
        job: the run; resume: go on with the one in its folder; own: what is in the job is not said
            by its config alone, so it is written down beside it.
    """
    job = dataclasses.replace(job, config=settled(job.config))
    fabric = make_fabric(job.config)
    with in_touch(job.folder):
        with agreed():
            check_job(job)
            job = with_own(job) if own else job
        run, longer = from_first(lambda: _open(job, resume))
        if from_first(lambda: run is not None and run.finished and not longer):
            assert run is not None
            return _held(run, job)
        job, outcome = _run(fabric, job, run, longer=longer)
    if job.config.training.precision == "64":
        job.network.double()
    job.network.load_state_dict(outcome["weights"])
    history, summary = outcome["history"], outcome["summary"]
    objective = _seen(job.objective, history)
    return Result(history, summary, outcome["confusion"], job.folder, job.encode, objective)


def _run(
    fabric: Any, job: Job, run: RunFolder | None, *, longer: bool
) -> tuple[Job, dict[str, Any]]:
    """Check, make the folder of a new run, train; the job as it was run, and what came of it."""
    with seeding.kept(), settings(job.config.run), ExitStack() as kept:
        watch = watcher(job.progress and is_first())
        begins = from_first(lambda: run is None or not run.checkpoint.is_file())
        with agreed():
            if begins:
                job, batch = check_loaders(job)
                found = preflight(job, batch, watcher=watch)
                job = dataclasses.replace(job, findings=tuple(entry(each, 0) for each in found))
        for line in not_known(job.own) if job.folder is not None else ():
            watch.say(line, "yellow")
        made = from_first(lambda: _made(job, run, longer=longer))
        with agreed():
            if is_first():
                kept.enter_context(_alone(made or run))
                kept.enter_context(_taken_back(made))
        folder = made or run
        job = dataclasses.replace(job, folder=folder.path if folder else None)
        return job, launch(fabric, _work, job)


def _seen(objective: AnyObjective, history: list[dict[str, Any]]) -> AnyObjective:
    """The objective, which knows now whether its targets are classes."""
    judged = any("train_accuracy" in line for line in history)
    if judged or not isinstance(objective, OwnObjective):
        return objective
    return dataclasses.replace(objective, classes=False)


def _made(job: Job, run: RunFolder | None, *, longer: bool) -> RunFolder | None:
    """The folder of a new run, None where there is one (which may get more epochs) or none."""
    text = to_toml(job.config, job.instead)
    if run is not None and longer:
        if run.weights.is_file():  # before the run is changed
            check_fits(job.network, read_weights(run.weights)[0], run.weights)
        lengthen(run, text)
    if run is not None or job.folder is None:
        return None
    return RunFolder.create(job.folder, text, crossover_text(), own_text(job.own))


def _work(fabric: Any, job: Job) -> dict[str, Any]:
    """One process of a run, from the checkpoint to the result; plain data."""
    worker = fabric.world_size > 1 and not launched()
    with settings(job.config.run), crossover_of(job.folder):
        if worker:
            keep_freed_memory()
            for tensor in [*job.network.parameters(), *job.network.buffers()]:
                tensor.data = tensor.data.clone()  # they came in memory shared with the parent
        flag = StopFlag()
        if job.folder is None and fabric.world_size == 1:
            return _train(fabric, job, flag)
        parent = "torchrun" if launched() else "parent" if worker else "user"
        with listening(flag, started_by=parent), in_touch(job.folder):
            return _train(fabric, job, flag)


def _train(fabric: Any, job: Job, flag: StopFlag) -> dict[str, Any]:
    trainer = Trainer(job, fabric, flag, watcher(job.progress, titles_of(job.network)))
    with trainer.failures_kept():
        trainer.train()
        return finish(trainer)


def _objective(wanted: Any, scores: Scores | None, config: Config) -> AnyObjective:
    """The objective of a run; a loss of one's own takes the penalty on rates from the config."""
    if wanted is None or isinstance(wanted, str):
        return as_objective(objective_of(config), scores)
    found = as_objective(wanted, scores)
    if not isinstance(found, OwnObjective):
        return found
    names = ("rate_lower", "rate_upper", "rate_weight")
    return dataclasses.replace(found, **{name: getattr(config.training, name) for name in names})


def _encoder(encoder: Encode | str, sequence: bool, config: Config) -> Encode:
    if callable(encoder):
        return encoder
    return Encoder(encoder, config.network.steps, sequence)


def _open(job: Job, resume: bool) -> tuple[RunFolder | None, bool]:
    """The run to go on with, None for a new one, and whether it gets more epochs; nothing is
    written.
    """
    if job.folder is None:
        if resume:
            raise UserError(message("expected out= to resume a run", "none"))
        return None, False
    if not resume:
        RunFolder.check_new(job.folder)
        return None, False
    run = RunFolder.open(job.folder)
    check_unchanged(gather(read_file(run.config)), job.config)
    longer = is_longer(run, job.config)
    check_own(run, job.own, done=run.finished and not longer)
    return run, longer


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
    objective = _seen(job.objective, history)
    return Result(history, summary, None, run.path, job.encode, objective, new=False)
