"""A comparison as rows of text: while it runs, at its end, and in a script's output."""

from __future__ import annotations

from collections.abc import Sequence

from spikegrad.compare.comparison import Comparison
from spikegrad.compare.statistics import LEVEL, TEST, Ranked, Spread
from spikegrad.diagnose.text import columns, number

__all__ = ["figures", "notes", "progress", "ranking", "text", "unusual"]

Rows = list[list[str]]

_BUDGET = ("epochs", "batch_size")  # settings that decide how many steps there are

_TITLES = {
    "test_accuracy": "test accuracy",
    "val_accuracy": "validation accuracy",
    "test_loss": "test loss",
    "val_loss": "validation loss",
}
_FIGURES = {
    "rate": "rate",
    "gradient": "gradient",
    "growth": "per step back",
    "passing": "passing",
    "seconds_per_epoch": "s per epoch",
}


def ranking(found: Comparison) -> Rows:
    """A heading, and the variants from the best to the worst, with what is shown of them."""
    rows = [["rank", "variant", _TITLES[found.metric], "minus the best", "p", ""]]
    for row in found.ranking():
        name = found.plan.variants[row.place].name
        if row.rank is None:
            rows.append(["-", name, "-", "-", "-", "no result"])
            continue
        rows.append([str(row.rank), name, with_spread(row.spread), *_against(row)])
    return rows


def figures(found: Comparison) -> Rows:
    """A heading, and the other figures of every variant: their means over the seeds."""
    rows = [["variant", "seeds", *_FIGURES.values()]]
    for row in found.ranking():
        cells = [_mean(found, row.place, name) for name in _FIGURES]
        rows.append([found.plan.variants[row.place].name, _seeds(found, row.place), *cells])
    return rows


def unusual(found: Comparison) -> Rows:
    """A heading, and the variants of which some trial failed or was found to be ill."""
    said = [(row.place, _note(found, row.place)) for row in found.ranking()]
    rows = [[found.plan.variants[place].name, note] for place, note in said if note]
    return [["variant", "what happened"], *rows]


def progress(found: Comparison) -> Rows:
    """A heading, and every variant in the order of the plan, with what there is so far."""
    rows = [["variant", "seeds", _TITLES[found.metric], "rate", "gradient", "s per epoch", ""]]
    for i, variant in enumerate(found.plan.variants):
        cells = [with_spread(found.spread(i, found.metric))]
        cells += [_mean(found, i, name) for name in ("rate", "gradient", "seconds_per_epoch")]
        rows.append([variant.name, _seeds(found, i), *cells, _under_way(found, i)])
    return rows


def notes(found: Comparison) -> list[str]:
    """What one must know to read the tables, and what the runs warned of."""
    lines = []
    ranks = found.ranking()
    tested = any(row.best is not None and row.best.p is not None for row in ranks)
    if tested:
        lines.append(
            f"mean ± standard deviation over the seeds; minus the best: difference ± half of its "
            f"95 % interval; p: {TEST}. Rank: 1 + the variants that are shown to be better "
            f"(p < {LEVEL:g}). No difference: these seeds show none; there may be one as large as "
            "the interval says."
        )
    elif len(found.plan.seeds) == 1 and len(ranks) > 1:
        lines.append("one seed has no spread, and so shows no difference: give --seeds 5 or more")
    budget = [name for name in _BUDGET if name in found.plan.variants[0].settings]
    if budget:
        names = " and ".join(name.replace("_", " ") for name in budget)
        lines.append(f"the variants differ in {names}: they do not have the same budget")
    lines.append(
        "rate: spikes per neuron and step; gradient: norm at the input current of the first "
        "spiking layer before the first step, its factor per step back in time, and the share of "
        "its surrogate derivatives above 1 % of the peak"
    )
    warned = [(k, w) for k, each in sorted(found.outcomes.items()) for w in each.warnings]
    for text in dict.fromkeys(w for _, w in warned):
        lines.append(f"warning: {text}")
    return lines


def text(found: Comparison) -> str:
    """All of it as text."""
    parts = []
    for rows in (ranking(found), figures(found), unusual(found)):
        if len(rows) > 1:
            parts.append(columns(rows[0], rows[1:]))
    return "\n\n".join([*parts, "\n".join(notes(found))])


def with_spread(found: Spread | None) -> str:
    """A mean with its standard deviation.

    >>> with_spread(Spread(2, 0.975, 0.0123, 0.1)), with_spread(None)
    ('0.9750 ± 0.0123', '-')
    """
    if found is None:
        return "-"
    return f"{found.mean:.4f}" + ("" if found.sd is None else f" ± {found.sd:.4f}")


def _mean(found: Comparison, variant: int, figure: str) -> str:
    """The mean of a figure in a table."""
    seen = found.spread(variant, figure)
    return number(None if seen is None else seen.mean)


def _seeds(found: Comparison, variant: int) -> str:
    """How many seeds have a result, of how many."""
    outcomes = [found.outcomes.get((variant, seed)) for seed in found.plan.seeds]
    done = sum(outcome is not None and not outcome.failed for outcome in outcomes)
    return f"{done}/{len(outcomes)}"


def _against(row: Ranked) -> Sequence[str]:
    """Difference from the best, its p, and what is shown."""
    pair = row.best
    if pair is None:
        return ["", "", "best mean"]
    difference = "-" if pair.difference is None else f"{round(pair.difference, 4) + 0.0:+.4f}"
    if pair.half is not None:
        difference += f" ± {pair.half:.4f}"
    if pair.adjusted is None:
        return [difference, "-", "not tested"]
    p = "< 0.0001" if pair.adjusted < 1e-4 else f"{pair.adjusted:.4f}"
    return [difference, p, "worse" if pair.shown else "no difference"]


def _under_way(found: Comparison, variant: int) -> str:
    """How many trials of a variant failed, and how far those are that run."""
    words, epochs = [], found.plan.variants[variant].config.training.epochs
    failed = sum(found.outcomes[key].failed != "" for key in found.outcomes if key[0] == variant)
    if failed:
        words.append(f"{failed} failed")
    for seed in found.plan.seeds:
        if (variant, seed) in found.outcomes or found.folder is None:
            continue
        try:
            metrics = found.plan.place(found.folder, variant, seed) / "metrics.jsonl"
            words.append(f"epoch {metrics.read_bytes().count(10)}/{epochs}")
        except OSError:  # it has not begun, or no epoch is done
            continue
    return ", ".join(words)


def _note(found: Comparison, variant: int) -> str:
    """What is unusual about a variant's trials."""
    outcomes = {seed: found.outcomes.get((variant, seed)) for seed in found.plan.seeds}
    failed = {seed: o.failed for seed, o in outcomes.items() if o is not None and o.failed}
    words = [f"{len(failed)} failed: {next(iter(failed.values()))}"] if failed else []
    kinds: dict[str, int] = {}
    for outcome in outcomes.values():
        for kind in dict.fromkeys(outcome.findings if outcome is not None else []):
            kinds[kind] = kinds.get(kind, 0) + 1
    words += [f"{kind} in {count} of {len(outcomes)}" for kind, count in kinds.items()]
    early = sum(o is not None and o.ended_by == "monitor" for o in outcomes.values())
    if early:
        words.append(f"ended by the monitor: {early}")
    return "; ".join(words)
