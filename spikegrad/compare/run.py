"""`compare.run`: variants with the same seeds and the same budget, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikegrad.compare.check import check_plan, check_workers
from spikegrad.compare.comparison import Comparison
from spikegrad.compare.execute import default_workers, done_before, execute
from spikegrad.compare.folder import ComparisonFolder
from spikegrad.compare.outcome import Outcome
from spikegrad.compare.plan import Plan, plan
from spikegrad.compare.vary import Vary
from spikegrad.errors import UserError, message

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["begun", "load", "resumed", "run", "run_plan"]


def run(
    dataset: str | None = None,
    *,
    surrogates: Sequence[str] | None = None,
    slopes: Sequence[float] | None = None,
    vary: Vary | None = None,
    seeds: int = 5,
    equal: str | Iterable[str] | None = None,
    metric: str = "test_accuracy",
    config: str | None = None,
    out: str | Path,
    resume: bool = False,
    workers: int | None = None,
    executor: Executor | None = None,
    progress: bool = True,
    **options: Any,
) -> Comparison:
    """Train every variant with the same seeds and the same budget; `spikegrad compare` calls this.

    Args:
        dataset: a data set by name; None: that of `config`, or digits.
        surrogates: names; slopes: of the first one, k (1/unit of x), or of all without `equal`.
        vary: `{field of the config: its values}`; every combination is a variant.
        seeds: how many, from `seed=` on (0). Each decides validation part, order and start.
        equal: what of the surrogates shall be equal: "area", "peak", "fwhm", or two of them with a
            comma; `compare.matched` has the formula.
        metric: what variants are ranked by: test_accuracy, val_accuracy, test_loss, val_loss. To
            choose settings take the validation part: the best of many on the test part is chance
            too.
        config: a recipe or a TOML file; options: any of its fields, the same for all variants.
        out: a new folder; resume: go on with the comparison in it, which may get more seeds.
        workers: processes of this machine, default one a core; a script then needs
            `if __name__ == "__main__":`. executor: any `concurrent.futures.Executor` instead, or
            what has a `submit` like it (submitit), whose workers see the same files.
        progress: whether to show the table that fills.
    Returns:
        a `Comparison`; printed it is the ranking and the table. A trial that failed is a line in
        `failures()`.
    Raises:
        UserError: wrong settings, or a folder that will not do; before anything runs.
        KeyboardInterrupt: a signal, after the runs have saved; `resume=True` goes on.
    """
    wanted = plan(
        dataset,
        surrogates=surrogates,
        slopes=slopes,
        vary=vary,
        seeds=seeds,
        equal=equal,
        metric=metric,
        config=config,
        options=options,
    )
    check_workers(workers, executor)
    folder = resumed(Path(out), wanted) if resume else begun(Path(out), wanted)
    wanted = folder.plan()
    if not progress:
        return run_plan(wanted, folder, workers=workers, executor=executor)
    from spikegrad.compare.live import live

    with live(wanted, folder.path) as seen:
        return run_plan(wanted, folder, workers=workers, executor=executor, seen=seen)


def run_plan(
    wanted: Plan,
    folder: ComparisonFolder,
    *,
    workers: int | None = None,
    executor: Executor | None = None,
    seen: Callable[[Comparison], None] = lambda found: None,
) -> Comparison:
    """Run what is left of a plan in its folder, and write the results.

    Args:
        seen: told of what there is so far whenever a trial ended.
    Raises:
        UserError: another process runs this comparison.
    """
    count = workers if workers is not None else default_workers(wanted)

    def so_far(outcomes: dict[tuple[int, int], Outcome]) -> None:
        seen(Comparison(wanted, dict(outcomes), folder.path))

    with folder.locked(), _told(folder.path):
        outcomes = execute(wanted, folder, executor, count, seen=so_far)
        found = Comparison(wanted, outcomes, folder.path)
        folder.write_results(found.data(), found.rows())
    return found


def begun(path: Path, wanted: Plan) -> ComparisonFolder:
    """The folder of a new comparison, when its data and networks have been found right.

    Raises:
        UserError: they are not, or the folder is not empty; nothing is written.
    """
    check_plan(wanted)
    return ComparisonFolder.create(path, wanted)


def resumed(path: Path, wanted: Plan) -> ComparisonFolder:
    """The folder of a comparison to go on with, which may get more seeds.

    Raises:
        UserError: no comparison, a damaged one, or one of other variants, metric or seeds.
    """
    folder = ComparisonFolder(path)
    before = folder.plan()
    if replace(before, seeds=wanted.seeds, metric=wanted.metric) != wanted:
        expected = f"expected the settings that the comparison in {path} was started with"
        got, remedy = (
            "others",
            "it may get more seeds alone; start another in a new folder (--out, out=)",
        )
        raise UserError(message(expected, got, remedy))
    if wanted.seeds[: len(before.seeds)] != before.seeds:
        expected = f"expected the seeds {before.seeds[0]} to {before.seeds[-1]} and more"
        got = f"{wanted.seeds[0]} to {wanted.seeds[-1]}"
        raise UserError(message(expected, got, "a comparison may only get more seeds"))
    if before != wanted:
        folder.write_plan(replace(before, seeds=wanted.seeds, metric=wanted.metric))
    return folder


def load(path: str | Path) -> Comparison:
    """What the comparison in a folder has found so far; nothing is run.

    Raises:
        UserError: no comparison there, or a damaged one.
    """
    folder = ComparisonFolder(Path(path))
    wanted = folder.plan()
    outcomes = done_before(wanted, folder)
    failed = folder.failed()
    for trial in wanted.trials(folder.path):
        key = (trial.variant, trial.seed)
        name = str(wanted.place(Path(), *key))
        if key not in outcomes and name in failed:
            outcomes[key] = Outcome(failed=failed[name])
    return Comparison(wanted, outcomes, folder.path)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """A signal says how to go on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.folder = folder  # type: ignore[attr-defined]
        stop.command = "spikegrad compare"  # type: ignore[attr-defined]
        raise
