"""The loop over epochs and batches, with checkpoints at any batch and an exact way back to it."""

from __future__ import annotations

import copy
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from spikegrad.errors import RunError, UserError, message
from spikegrad.nn import anneal_delays
from spikegrad.train import callbacks, checkpoint, seeding
from spikegrad.train.agreement import from_first
from spikegrad.train.average import Average, copied, using
from spikegrad.train.batches import batches, length
from spikegrad.train.behind import Behind
from spikegrad.train.curves import Curves
from spikegrad.train.folder import RunFolder
from spikegrad.train.glimpses import Glimpses
from spikegrad.train.job import Job
from spikegrad.train.measure import Evaluation, measured
from spikegrad.train.monitoring import Monitoring
from spikegrad.train.optimizers import make_optimizer
from spikegrad.train.parallel import sum_over_processes
from spikegrad.train.progress import Watcher
from spikegrad.train.running import Place
from spikegrad.train.schedule import learning_rate_factor
from spikegrad.train.shares import Shared, shares
from spikegrad.train.signals import StopFlag
from spikegrad.train.slopes import current_slope, set_slopes, slope_schedules
from spikegrad.train.state import RunState, Tally
from spikegrad.train.step import Engine, Outcome, train_step

__all__ = ["Trainer"]

_WATCH_EVERY = 10  # batches between two measurements of firing rates, never by the clock


class Trainer:
    """One process of a run.

    `train` brings the network to the end of the last epoch; the state, the weights and the
    optimizer are at every moment either those of the last checkpoint or on a path from it that
    another process would take step for step alike.
    """

    def __init__(self, job: Job, fabric: Any, stop: StopFlag, watcher: Watcher) -> None:
        self.job, self.fabric, self.stop = job, fabric, stop
        self.training, self.running = job.config.training, job.config.run
        self.first = fabric.global_rank == 0
        self.watcher = watcher if self.first else Watcher()
        self.folder = RunFolder(job.folder) if job.folder is not None else None
        dtype = torch.float64 if self.training.precision == "64" else torch.float32
        self.place = Place(
            fabric.device, dtype, fabric.autocast, fabric.global_rank, fabric.world_size
        )
        self.network = job.network.to(self.place.device)
        if self.training.precision == "64":
            self.network.double()
        self.objective = job.objective.placed(self.place.device, dtype)
        self.raw_optimizer = make_optimizer(job.optimizer, self.network, self.training)
        self.engine = Engine(
            fabric,
            self.network,
            fabric.setup_optimizers(self.raw_optimizer),
            self.objective,
            job.encode,
            self.place,
            skips_overflow=self.training.precision == "16-mixed",
        )
        self.loader = _shared(job.loader, self.place)
        self.batches = length(self.loader)
        self.slopes = slope_schedules(self.network, self.training)
        self.average = Average(self.network, self.training.ema) if self.training.ema else None
        self.state = RunState(findings=list(job.findings))
        writes = self.folder if self.first else None
        self.monitoring = Monitoring(self.running.monitor, self.network, self.watcher, writes)
        self.glimpses = Glimpses()
        self.saved = self.mark = time.perf_counter()
        self.curves = Curves(None)
        self.restore()
        # Its epoch is measured and drawn again.
        ending = self.state.batch == self.batches or (self.state.stopped and self.state.batch > 0)
        done = self.state.step - 1 if ending else self.state.step
        self.curves = Curves(self._curves_folder(), done)

    def train(self) -> RunState:
        """Run all epochs that are left."""
        self.watcher.start(
            epochs=self.training.epochs, batches=self.batches, epoch=self.state.epoch
        )
        try:
            while not self.over:
                self.network.train()
                self.train_epoch()
                self.end_epoch()
        finally:
            self.watcher.stop()
            self.curves.close()
        return self.state

    @property
    def over(self) -> bool:
        """Whether no epoch is left: all are done, or a callback or early stopping ended the run."""
        return self.state.epoch >= self.training.epochs or bool(self.state.ended(self.training))

    def train_epoch(self) -> None:
        """The batches that are left of the current epoch."""
        state, self.mark = self.state, time.perf_counter()
        if state.batch and (state.batch == self.batches or state.stopped):
            return  # broken off between the last batch and the end of the epoch
        source = batches(self.loader, state.epoch, start=state.batch, seed=self.running.seed)
        parts = getattr(self.loader, "world_size", 1) == self.place.world
        for shared in shares(source, self.place, parts=parts):
            outcome = self.one_step(shared)
            state.tally.add(outcome)
            state.batch += 1
            state.step += 1
            if self.average is not None:
                self.average.update(self.network, state.step)
            self.show(outcome)
            hopeless = self.monitoring.see(outcome, state)
            number, due, state.stopped = self.agree(self.call_step(outcome) or hopeless)
            if number:
                self.save()
                self.stop.number = number
                self.stop.check(self.job.folder)
            elif due:
                self.save()
            if state.stopped:
                break
        self._clock()

    def one_step(self, shared: Shared) -> Outcome:
        """Learning rate, slope, random state, then one step; errors say where they happened."""
        state = self.state
        self.set_schedules()
        seeding.seed_all(self.running.seed, seeding.STEP, state.step, self.place.rank)
        try:
            return train_step(
                self.engine,
                *shared.batch,
                share=shared.share,
                clip=self.training.clip,
                truncate=self.training.truncate,
                watch=state.batch % _WATCH_EVERY == 0,
            )
        except RunError as error:
            where = f"epoch {state.epoch + 1}, step {state.step + 1}: {error}"
            kept = self.folder is not None and self.folder.checkpoint.is_file()
            note = f"; the last checkpoint in {self.job.folder} is unchanged" if kept else ""
            raise RunError(where + note) from None

    def call_step(self, outcome: Outcome) -> bool:
        """Tell the callbacks about a step; whether one of them ends the run."""
        seen = callbacks.StepSeen(
            self.network,
            self.state.epoch + 1,
            self.state.step,
            outcome.loss,
            outcome.gradient_norm,
            outcome.rates,
            self.place.rank,
        )
        return callbacks.call(self.job.callbacks, "on_step", seen)

    def agree(self, stop: bool = False) -> tuple[int, bool, bool]:
        """The signal that came to any process, whether a checkpoint is due, and whether a callback
        of any process ends the run.
        """
        late = time.perf_counter() - self.saved > self.running.checkpoint_seconds
        asked = self.stop.number  # one that comes later waits a step
        if self.place.world == 1:
            return asked, late and self.folder is not None, stop
        own = [float(asked), float(late and self.first), float(stop)]
        signals, due, stops = sum_over_processes(own, self.place.world, self.place.device)
        number = (asked or signal.SIGTERM) if signals else 0
        return int(number), due > 0 and self.folder is not None, stops > 0

    def end_epoch(self) -> None:
        """Measure, choose, write the line and the checkpoint, go to the next epoch."""
        state, job = self.state, self.job
        if not state.tally.batches:
            raise UserError(message(f"expected a batch in epoch {state.epoch + 1}", "none"))
        try:
            with using(self.network, self.average.weights if self.average else None):
                behind = Behind() if self.glimpses.due(self) else None
                validation = self.measure(job.val_loader, behind)
                if behind is not None:
                    self.glimpses.take(self, validation, behind)
                test = self.measure(job.test_loader) if self.running.track_test else None
                weights = copied(self.network)
        except KeyboardInterrupt:
            self.mark = time.perf_counter()
            self.save()  # at the end of the epoch's batches: a resumed run measures again
            raise
        accuracy = validation.accuracy if validation else None
        loss = validation.loss if validation else None
        chosen = state.best.beaten_by(accuracy, loss)
        if chosen:
            state.best.epoch, state.best.weights = state.epoch + 1, weights
            state.best.accuracy, state.best.loss = accuracy, loss
        line = self.line(validation, test)
        if job.callbacks:
            seen = callbacks.EpochSeen(self.network, line, chosen, self.place.rank)
            _, _, stop = self.agree(callbacks.call(job.callbacks, "on_epoch", seen))
            state.stopped = state.stopped or stop
        state.history.append(line)
        state.epoch, state.batch, state.seconds, state.tally = state.epoch + 1, 0, 0.0, Tally()
        if self.first and self.folder is not None:
            self.folder.write_metrics(state.history)
        self.curves.epoch(line)
        self.mark = time.perf_counter()
        self.save()
        self.watcher.epoch(line, chosen=chosen)

    def measure(
        self, loader: Iterable[Any] | None, behind: Behind | None = None
    ) -> Evaluation | None:
        """Evaluate on a loader, if there is one; a signal breaks it off in a single process."""
        if loader is None:
            return None
        alone = self.place.world == 1
        return measured(
            self.network,
            loader,
            self.objective,
            self.job.encode,
            self.place,
            seed=self.running.seed,
            metrics=self.job.metrics,
            check=(lambda: self.stop.check(self.job.folder)) if alone else (lambda: None),
            behind=behind,
        )

    def line(self, validation: Evaluation | None, test: Evaluation | None) -> dict[str, Any]:
        """The epoch's line of `metrics.jsonl`."""
        loss, accuracy, norm = self.state.tally.means
        judged = accuracy is not None  # whether there are classes
        line: dict[str, Any] = {
            "epoch": self.state.epoch + 1,
            "step": self.state.step,
            "train_loss": loss,
            **({"train_accuracy": accuracy} if judged else {}),
            **part_of_line("val", validation, judged=judged),
            **(part_of_line("test", test, judged=judged) if test else {}),
        }
        return {
            **line,
            "learning_rate": self.raw_optimizer.param_groups[0]["lr"],
            "slope": current_slope(self.network),
            "gradient_norm": norm,
            "firing_rates": self.state.tally.firing_rates,
            "gradient_norms": self.monitoring.together(self.state.tally.gradient_norms),
            "seconds": round(self.state.seconds, 6),
        }

    def set_schedules(self) -> None:
        """Learning rate, slope and width of delays of this step."""
        kind, step = self.training.schedule, self.state.step
        total = self.training.epochs * (self.batches or 1)
        factor = 1.0
        if self.batches:
            factor = learning_rate_factor(kind, step, total, warmup=self.training.warmup)
        for group in self.raw_optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        progress = self.state.epoch / max(self.training.epochs - 1, 1)
        set_slopes(self.slopes, min(progress, 1.0))
        anneal_delays(self.network, min(progress, 1.0))

    def show(self, outcome: Outcome) -> None:
        """Tell the watcher and the curves about a step."""
        state = self.state
        loss, accuracy, _ = state.tally.means
        rates = state.tally.firing_rates
        self.watcher.step(batch=state.batch, loss=loss, accuracy=accuracy, rates=rates)
        lr = self.raw_optimizer.param_groups[0]["lr"]
        self.curves.step(state.step, outcome.loss, outcome.gradient_norm, lr)

    def save(self) -> None:
        """Write the checkpoint; only the first process does."""
        self._clock()
        self.saved = time.perf_counter()
        if not self.first or self.folder is None:
            return
        self.curves.flush()
        self.state.monitor = self.monitoring.monitor.state_dict()
        checkpoint.save(
            self.folder.checkpoint,
            {
                "network": self.network.state_dict(),
                "optimizer": self.raw_optimizer.state_dict(),
                "precision": self.fabric.strategy.precision.state_dict(),
                "average": self.average.weights if self.average else None,
                "state": self.state.to_dict(),
                "random": seeding.states(),
                "callbacks": callbacks.states(self.job.callbacks),
            },
        )
        self.mark = time.perf_counter()

    def restore(self) -> None:
        """Go on from the checkpoint; without one write that of the start.

        The first process alone reads it, since the others may be on machines without the folder.
        """
        path = self.folder.checkpoint if self.folder is not None else None
        held = from_first(lambda: checkpoint.load(path) if path and path.is_file() else None)
        if path is None or held is None:
            # Those that torchrun started have each built a network of their own.
            self.network.load_state_dict(from_first(self.network.state_dict))
            self.save()
            self.monitoring.write(self.state)
            return
        with checkpoint.understood(path):
            state = RunState.from_dict(held["state"])
            checkpoint.check_fits(self.network, held["network"], path)
            if state.best.epoch:
                checkpoint.check_fits(self.network, state.best.weights, path)
            self.raw_optimizer.load_state_dict(held["optimizer"])
            self.fabric.strategy.precision.load_state_dict(held["precision"])
            if self.average is not None:
                for name, value in held["average"].items():
                    self.average.weights[name].copy_(value)
            callbacks.load_states(self.job.callbacks, held["callbacks"])
            seeding.restore(held["random"])
            self.network.load_state_dict(held["network"])
            if state.monitor:
                self.monitoring.monitor.load_state_dict(state.monitor)
            self.state = state
        if self.first and self.folder is not None:
            self.folder.remove_failure()
            self.folder.write_metrics(self.state.history)
            self.monitoring.write(self.state)

    @contextmanager
    def failures_kept(self) -> Iterator[None]:
        """Leave the reason in the run folder if what is done here fails; a signal is no failure."""
        try:
            yield
        except Exception as error:
            if self.first and self.folder is not None:
                ours = isinstance(error, (RunError, UserError))
                with suppress(RunError):  # a full disk must not hide what happened
                    self.folder.write_failure(
                        str(error) if ours else f"{type(error).__name__}: {error}"
                    )
            raise

    def _clock(self) -> None:
        now = time.perf_counter()
        self.state.seconds += now - self.mark
        self.mark = now

    def _curves_folder(self) -> Path | None:
        wanted = self.first and self.running.tensorboard and self.folder is not None
        return self.folder.tensorboard if wanted and self.folder else None


def part_of_line(
    part: str, found: Evaluation | None, *, judged: bool = True
) -> dict[str, float | None]:
    """What a line says of a part: loss, accuracy where there are classes, your own metrics."""
    line = {f"{part}_loss": found.loss if found else None}
    if judged:
        line[f"{part}_accuracy"] = found.accuracy if found else None
    own = found.metrics if found else {}
    return {**line, **{f"{part}_{name}": value for name, value in own.items()}}


def _shared(loader: Iterable[Any], place: Place) -> Iterable[Any]:
    """The loader, told which part of each batch is ours if it can be told (`data.Batches`)."""
    if place.world == 1 or not hasattr(loader, "world_size"):
        return loader
    own: Any = copy.copy(loader)
    own.rank, own.world_size = place.rank, place.world
    return own
