"""Runs that are there as a comparison: variants are what differs but for the seed."""

from __future__ import annotations

from collections.abc import Sequence

from spikegrad.compare.comparison import Comparison
from spikegrad.compare.outcome import Outcome
from spikegrad.compare.plan import Plan, Variant
from spikegrad.compare.seen import Seen, differing
from spikegrad.train.config import gather

__all__ = ["grouped"]


def grouped(runs: Sequence[Seen], metric: str = "test_accuracy") -> Comparison | None:
    """The finished runs as variants with seeds.

    Returns:
        None where they are no such thing: less than two variants, two runs of one variant with the
        same seed, or no seed that two variants share.
    """
    done = [run for run in runs if run.outcome is not None and "seed" in run.settings]
    names = [name for name in differing(done) if name != "seed"]
    variants: list[Variant] = []
    outcomes: dict[tuple[int, int], Outcome] = {}
    for run in done:
        settings = {name: run.settings.get(name) for name in names}
        place = next((i for i, v in enumerate(variants) if v.settings == settings), None)
        if place is None:
            place = len(variants)
            variants.append(Variant(settings, gather(run.settings)))
        key = (place, int(run.settings["seed"]))
        if key in outcomes:
            return None
        assert run.outcome is not None
        outcomes[key] = run.outcome
    seeds = sorted({seed for _, seed in outcomes})
    shared = [
        seed for seed in seeds if sum((i, seed) in outcomes for i in range(len(variants))) > 1
    ]
    if len(variants) < 2 or len(shared) < 2:
        return None
    return Comparison(Plan(tuple(variants), tuple(seeds), (), metric), outcomes)
