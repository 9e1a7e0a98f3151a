"""Running what is left of a comparison on an executor, and collecting what comes back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spikegrad.compare.folder import ComparisonFolder
from spikegrad.compare.outcome import FLOW, Outcome, held
from spikegrad.compare.plan import Plan, Trial
from spikegrad.compare.processes import Processes
from spikegrad.compare.trial import INTERRUPTED, run_trial
from spikegrad.errors import UserError
from spikegrad.train.config import flatten
from spikegrad.train.parallel import device_of

__all__ = ["default_workers", "done_before", "execute"]

Outcomes = dict[tuple[int, int], Outcome]
Seen = Callable[[Outcomes], None]

_TICK = 0.5  # seconds between two looks at a signal


def default_workers(plan: Plan) -> int:
    """As many as there are cores for this process, at most one for each trial; one on a GPU."""
    trials = len(plan.variants) * len(plan.seeds)
    if any(device_of(each.config.run.device).type != "cpu" for each in plan.variants):
        return 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min(cores, trials))


def done_before(plan: Plan, folder: ComparisonFolder) -> Outcomes:
    """The trials that are finished already; one with a damaged result counts as failed."""
    found: Outcomes = {}
    for trial in plan.trials(folder.path):
        try:
            outcome = held(trial.folder)
        except UserError as error:
            outcome = Outcome(failed=str(error))
        if outcome is not None:
            found[(trial.variant, trial.seed)] = outcome
    return found


def execute(
    plan: Plan,
    folder: ComparisonFolder,
    executor: Executor | None,
    workers: int,
    *,
    seen: Seen = lambda outcomes: None,
) -> Outcomes:
    """Run every trial that is not finished.

    Args:
        plan: what; folder: where the runs are.
        executor: on what, None for `workers` processes of this machine, or this one where it is 1.
        seen: told of all outcomes at the start, whenever one came, and while others run.
    Returns:
        the outcome of every trial; a failure is one.
    Raises:
        KeyboardInterrupt: a signal, when the trials that ran here have saved.
    """
    outcomes = {
        key: outcome
        for key, outcome in done_before(plan, folder).items()
        if not outcome.failed and (plan.place(folder.path, *key) / FLOW).is_file()
    }  # a kill between result and flow: the trial only measures its flow
    left = [t for t in plan.trials(folder.path) if (t.variant, t.seed) not in outcomes]
    seen(outcomes)

    def keep(trial: Trial, outcome: Outcome) -> None:
        outcomes[(trial.variant, trial.seed)] = outcome
        reasons = {
            str(plan.place(Path(), i, seed)): each.failed
            for (i, seed), each in outcomes.items()
            if each.failed
        }
        folder.write_failed(reasons)
        seen(outcomes)

    if executor is not None:
        _on_executor(left, executor, keep, lambda: seen(outcomes))
    elif min(workers, len(left)) > 1:
        with _processes(min(workers, len(left))) as own:
            _on_executor(left, own, keep, lambda: seen(outcomes))
    else:
        _here(left, keep)
    if not any(outcome.failed for outcome in outcomes.values()):
        folder.write_failed({})
    return outcomes


def _here(trials: list[Trial], keep: Callable[[Trial, Outcome], None]) -> None:
    from spikegrad.train.build import data_kept

    with data_kept():
        for trial in trials:
            _take(trial, run_trial(*_job(trial)), keep)


def _job(trial: Trial) -> tuple[dict[str, Any], str]:
    return flatten(trial.config), str(trial.folder.resolve())  # a worker may be elsewhere


def _take(trial: Trial, answer: dict[str, Any], keep: Callable[[Trial, Outcome], None]) -> None:
    """Keep what came back; a trial that a signal stopped stops all."""
    if INTERRUPTED in answer:
        stop = KeyboardInterrupt()
        stop.number = answer[INTERRUPTED]  # type: ignore[attr-defined]
        raise stop
    keep(trial, Outcome.from_data(answer))


@contextmanager
def _processes(count: int) -> Iterator[Processes]:
    """Our own processes; they end with the context, after they have saved."""
    own = Processes(count)
    try:
        yield own
    except BaseException:
        own.interrupt()
        raise
    finally:
        own.shutdown(cancel_futures=True)


def _on_executor(
    trials: list[Trial],
    executor: Executor,
    keep: Callable[[Trial, Outcome], None],
    tick: Callable[[], None],
) -> None:
    waiting: dict[Future[Any], Trial] = {}
    try:
        for trial in trials:
            waiting[executor.submit(run_trial, *_job(trial))] = trial
        while waiting:
            tick()
            for future in _ended(waiting):
                trial = waiting.pop(future)
                try:
                    answer = future.result()
                except Exception as error:  # the executor's own: a worker that was lost
                    words = " ".join(f"{type(error).__name__}: {error}".split())
                    keep(trial, Outcome(failed=words.removeprefix("RunError: ")))
                else:
                    _take(trial, answer, keep)
    finally:
        for future in waiting:
            future.cancel()


def _ended(waiting: dict[Future[Any], Trial]) -> list[Future[Any]]:
    """Those that ended, after waiting a little.

    The jobs of some executors (submitit) are no futures of Python, but know whether they are done.
    """
    if all(isinstance(future, Future) for future in waiting):
        wait(waiting, timeout=_TICK, return_when=FIRST_COMPLETED)
    else:
        time.sleep(_TICK)
    return [future for future in waiting if future.done()]
