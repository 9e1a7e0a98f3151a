"""What a comparison found: the ranking, the figures of every variant, and what failed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from spikegrad.compare.outcome import Outcome
from spikegrad.compare.plan import METRICS, Plan
from spikegrad.compare.statistics import LEVEL, TEST, Pair, Ranked, Spread, ranked, spread

__all__ = ["FIGURES", "Comparison"]

Number = Callable[[Outcome], float | None]

FIGURES: dict[str, Number] = {
    "test_accuracy": lambda o: o.test_accuracy,
    "val_accuracy": lambda o: o.val_accuracy,
    "test_loss": lambda o: o.test_loss,
    "val_loss": lambda o: o.val_loss,
    "rate": lambda o: o.rate,
    "gradient": lambda o: o.gradient,
    "growth": lambda o: o.growth,
    "passing": lambda o: o.passing,
    "seconds_per_epoch": lambda o: o.seconds_per_epoch,
    "train_seconds": lambda o: o.train_seconds,
    "best_epoch": lambda o: o.best_epoch,
}
"""The figures of a trial that have a mean and a spread over the seeds."""

_INSTEAD = {
    "test_accuracy": ("val_accuracy", "test_loss", "val_loss"),
    "val_accuracy": ("val_loss",),
    "test_loss": ("val_loss",),
    "val_loss": (),
}
"""What ranks runs that have no such figure: without a test part, without classes."""


@dataclass(frozen=True)
class Comparison:
    """All outcomes of a plan so far; what is derived from them is computed when it is asked for.

    plan: what was to run; outcomes: by (variant, seed), those that came to an end; folder: where
    the runs are, None where they are not in one folder.
    """

    plan: Plan
    outcomes: Mapping[tuple[int, int], Outcome] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def metric(self) -> str:
        """What the variants are ranked by: that of the plan, or what the data set has instead."""
        wanted = self.plan.metric
        for metric in (wanted, *_INSTEAD[wanted]):
            if any(self.values(i, metric) for i in range(len(self.plan.variants))):
                return metric
        return wanted

    def values(self, variant: int, figure: str) -> dict[int, float]:
        """A figure of a variant by seed, where it is a finite number."""
        found = {}
        for seed in self.plan.seeds:
            outcome = self.outcomes.get((variant, seed))
            value = None if outcome is None else FIGURES[figure](outcome)
            if value is not None and math.isfinite(value):
                found[seed] = float(value)
        return found

    def spread(self, variant: int, figure: str) -> Spread | None:
        """A figure of a variant over the seeds."""
        return spread(list(self.values(variant, figure).values()))

    def ranking(self) -> list[Ranked]:
        """The variants from the best to the worst; those without a result come last."""
        return self._ranked()[0]

    def pairs(self) -> list[Pair]:
        """Every pair of variants, tested."""
        return self._ranked()[1]

    def failures(self) -> list[tuple[str, int, str]]:
        """What failed: the name of the variant, the seed, the reason."""
        return [
            (self.plan.variants[i].name, seed, outcome.failed)
            for (i, seed), outcome in sorted(self.outcomes.items())
            if outcome.failed
        ]

    @property
    def complete(self) -> bool:
        """Whether every trial has an outcome that is no failure."""
        wanted = len(self.plan.variants) * len(self.plan.seeds)
        return sum(not each.failed for each in self.outcomes.values()) == wanted

    def data(self) -> dict[str, Any]:
        """All of it as values that JSON can hold."""
        rows, pairs = self._ranked()
        return {
            "dataset": self.plan.dataset,
            "folder": str(self.folder) if self.folder else None,
            "metric": self.metric,
            "larger_is_better": METRICS[self.metric],
            "test": TEST,
            "level": LEVEL,
            "equal": list(self.plan.equal),
            "seeds": list(self.plan.seeds),
            "complete": self.complete,
            "variants": [self._variant(row) for row in rows],
            "pairs": [{**asdict(pair), "shown": pair.shown} for pair in pairs],
            "trials": [self._trial(*key) for key in sorted(self.outcomes)],
        }

    def rows(self) -> list[list[Any]]:
        """A heading, and a line for each trial: settings, seed, figures, reason of a failure."""
        names = list(self.plan.variants[0].settings)
        heading = [*names, "seed", *FIGURES, "ended_by", "failed"]
        found: list[list[Any]] = [heading]
        for (i, seed), outcome in sorted(self.outcomes.items()):
            settings = self.plan.variants[i].settings
            words = [_plain(settings.get(name, "")) for name in names]
            figures = [number(outcome) for number in FIGURES.values()]
            found.append([*words, seed, *figures, outcome.ended_by, outcome.failed])
        return found

    def __str__(self) -> str:
        from spikegrad.compare.table import text

        return text(self)

    def _ranked(self) -> tuple[list[Ranked], list[Pair]]:
        metric = self.metric
        values = [self.values(i, metric) for i in range(len(self.plan.variants))]
        return ranked(values, larger=METRICS[metric])

    def _variant(self, row: Ranked) -> dict[str, Any]:
        variant = self.plan.variants[row.place]
        spreads = {name: self.spread(row.place, name) for name in FIGURES}
        found = {name: None if s is None else asdict(s) for name, s in spreads.items()}
        best = row.best
        return {
            "name": variant.name,
            "variant": row.place,
            "settings": {name: _plain(value) for name, value in variant.settings.items()},
            "rank": row.rank,
            "figures": found,
            "against_best": None if best is None else {**asdict(best), "shown": best.shown},
        }

    def _trial(self, variant: int, seed: int) -> dict[str, Any]:
        place = self.plan.place(self.folder, variant, seed) if self.folder else None
        return {
            "variant": variant,
            "seed": seed,
            "folder": str(place) if place else None,
            **asdict(self.outcomes[(variant, seed)]),
        }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
