"""`python -m benchmarks.monitor`: what looking at a run costs its training.

A step at which the monitor looks (firing of every layer, norms of gradients and weights) against
one at which nobody looks: two trainers in one process, in turns, of which the least processor time
counts. In training one step in ten is looked at. The preflight, once a run, is set against the
steps of the recipe's run. The promise is below 3 % for both together.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import turns
from benchmarks.table import words
from spikegrad.train import seeding
from spikegrad.train.build import build_encoder, build_network, build_parts
from spikegrad.train.config import Config
from spikegrad.train.job import Job
from spikegrad.train.loop import Trainer
from spikegrad.train.objective import objective_of
from spikegrad.train.parallel import make_fabric
from spikegrad.train.preflight import preflight
from spikegrad.train.progress import Watcher
from spikegrad.train.signals import StopFlag
from spikegrad.train.sources import resolve
from spikegrad.train.step import train_step

__all__ = ["main"]

LIMIT = 0.03
EVERY = 10
"""Steps between two looks, as in training."""
RECIPES = {
    "digits": {"dataset": "digits"},
    "mnist": {"dataset": "mnist"},
    "mnist-fc": {"dataset": "mnist", "hidden": (800,), "steps": 4},
    "digits, feedback": {"dataset": "digits", "model": "recurrent", "steps": 20},
    "digits, convolutions": {"dataset": "digits", "model": "conv"},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a row per recipe; 1 where a cost is above the limit."""
    options = parsed(arguments)
    turns.start(options.threads)
    setting = turns.setting(options.threads)
    print(words(setting))
    rows = [looked_at(name, options.repeats) for name in options.recipes]
    shown = Table("recipe", "ms a step", "monitor", "preflight ms", "of a run", "together",
                  box=None, padding=(0, 2, 0, 0))  # fmt: skip
    for row in rows:
        shares = [f"{100 * row[name]:.2f} %" for name in ("monitor", "preflight", "together")]
        shown.add_row(
            row["recipe"],
            f"{row['step_ms']:.2f}",
            shares[0],
            f"{row['preflight_ms']:.0f}",
            *shares[1:],
        )
    Console().print(shown)
    if options.json:
        Path(options.json).write_text(json.dumps({**setting, "rows": rows}, indent=1) + "\n")
    return int(any(row["together"] > LIMIT for row in rows))


def looked_at(name: str, repeats: int) -> dict[str, Any]:
    """One recipe: both costs as shares of the time of its training steps."""
    config = resolve({**RECIPES[name], "tensorboard": False, "device": "cpu"})
    parts = build_parts(config)
    job, batch = made(config, parts), next(iter(parts.train.epoch(0)))
    ways = {watch: partial(step, trainer(config, parts), batch, watch=watch) for watch in (0, 1)}
    bare, watched = turns.least_ms(ways, repeats, time.process_time).values()
    check = {"preflight": lambda: preflight(job, batch, watcher=Watcher())}
    first = turns.least_ms(check, max(3, repeats // 10), time.process_time)["preflight"]
    steps = config.training.epochs * -(-len(parts.train.split) // config.training.batch_size)
    monitor, share = (watched / bare - 1.0) / EVERY, first / (steps * bare)
    return {
        "recipe": name,
        "step_ms": bare,
        "monitor": monitor,
        "preflight_ms": first,
        "preflight": share,
        "together": monitor + share,
    }


def made(config: Config, parts: Any) -> Job:
    """A run of `spikegrad train` without a folder."""
    return Job(
        network=build_network(config, parts.inputs),
        loader=parts.train,
        val_loader=None,
        test_loader=None,
        objective=objective_of(config),
        encode=build_encoder(config, parts.inputs),
        optimizer=config.training.optimizer,
        config=config,
        folder=None,
    )


def trainer(config: Config, parts: Any) -> Trainer:
    """A trainer that says and writes nothing."""
    fabric = make_fabric(config)
    fabric.launch()
    return Trainer(made(config, parts), fabric, StopFlag(), Watcher())


def step(run: Trainer, batch: Any, *, watch: int) -> None:
    """One step of training; watch: whether the monitor looks at it."""
    run.state.step += 1
    seeding.seed_all(0, seeding.STEP, run.state.step)
    outcome = train_step(run.engine, *batch, watch=bool(watch))
    run.monitoring.see(outcome, run.state)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.monitor", description=summary)
    parser.add_argument("recipes", nargs="*", default=list(RECIPES), help="all by default")
    parser.add_argument("--repeats", type=int, default=100, help="turns (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (%(default)s)")
    parser.add_argument("--json", metavar="OUT", help="write the rows to this file")
    options = parser.parse_args(arguments)
    for name in options.recipes:
        if name not in RECIPES:
            parser.error(f"expected a recipe among {', '.join(RECIPES)}, got {name}")
    return options


if __name__ == "__main__":
    raise SystemExit(main())
