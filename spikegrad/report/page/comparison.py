"""From the results of a comparison to the content of its page."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from spikegrad.errors import UserError, message
from spikegrad.report.page.parts import (
    Block,
    axis,
    cleaned,
    figure,
    link,
    series,
    tab,
    table,
    text,
    tiles,
)
from spikegrad.report.recorded import read_json
from spikegrad.version import __version__

__all__ = ["comparison_content", "is_comparison", "runs_of"]

FIGURES = {
    "rate": ("Firing rate", "spikes per neuron and step"),
    "gradient": ("Gradient before training", "L2 norm, first spiking layer"),
    "growth": ("Gradient per step back", "factor"),
    "passing": ("Surrogate derivatives above 1 % of the peak", "share"),
    "seconds_per_epoch": ("Time of an epoch", "training (s)"),
}
LONGEST = 400  # characters of a failure


def is_comparison(folder: str | Path) -> bool:
    """Whether a folder is that of a comparison."""
    return (Path(folder) / "comparison.json").is_file()


def comparison_content(folder: str | Path) -> dict[str, Any]:
    """What the page of a comparison shows, as values that JSON can hold.

    Raises:
        UserError: no results yet, or a damaged file.
    """
    path = Path(folder)
    held = results(path)
    try:
        made = tabs(held, path)
        title = f"{held['dataset']}: {len(held['variants'])} variants"
        seeds = f"{len(held['seeds'])} seeds"
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        expected = f"expected results of spikegrad {__version__} in {path / 'results.json'}"
        raise UserError(message(expected, f"{type(error).__name__}: {error}")) from error
    return cleaned(
        {
            "title": title,
            "subtitle": f"{path.resolve().name}  ·  {seeds}  ·  {held['test']}",
            "state": "finished",
            "version": __version__,
            "notes": [],
            "tabs": [each for each in made if each is not None],
        }
    )


def results(path: Path) -> dict[str, Any]:
    """What `results.json` holds.

    Raises:
        UserError: no such file yet, or a damaged one.
    """
    held: dict[str, Any] | None = read_json(path / "results.json", dict, None)
    if held is None:
        remedy = f"spikegrad compare --resume {path} finishes it"
        raise UserError(message(f"expected results in {path}", "no results.json", remedy))
    return held


def runs_of(folder: str | Path) -> list[Path]:
    """The run folders of a comparison that are there.

    Raises:
        UserError: no results yet, or a damaged file.
    """
    path = Path(folder)
    held = results(path)
    places = [inside(held, each) for each in held.get("trials") or []]
    return [path / place for place in places if place is not None and (path / place).is_dir()]


def inside(held: dict[str, Any], trial: Any) -> PurePath | None:
    """Where a run lies in the folder of its comparison, which may have been moved since."""
    try:
        place = PurePath(trial["folder"]).relative_to(held["folder"])
    except (KeyError, TypeError, ValueError):
        return None
    return None if ".." in place.parts else place


def tabs(held: dict[str, Any], path: Path) -> list[dict[str, Any] | None]:
    """Ranking, other figures, pairs, trials."""
    metric = held["metric"]
    others = [measure(held, key, *words) for key, words in FIGURES.items()]
    return [
        tab(
            "ranking",
            "Ranking",
            [
                tiles(figures(held)),
                {**measure(held, metric, title_of(metric), words(metric)), "wide": True},
                ranking(held),
                text(reading(held)),
                text(*failures(held)),
            ],
        ),
        tab("figures", "Figures", others),
        tab("pairs", "Pairs", [pairs(held)]),
        tab("trials", "Runs", [trials(held, path)]),
    ]


def title_of(metric: str) -> str:
    """A figure's name at the head of it."""
    return metric.replace("_", " ").capitalize()


def words(metric: str) -> str:
    """The title of an axis."""
    return "share correct" if metric.endswith("accuracy") else "loss"


def figures(held: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The tiles."""
    failed = sum(bool(each["failed"]) for each in held["trials"])
    first = next((v for v in held["variants"] if v["rank"] == 1), None)
    best = () if first is None else (("best mean", first["name"], ""),)
    equal = ", ".join(held["equal"])
    return [
        *best,
        ("variants", str(len(held["variants"])), f"made equal in {equal}" if equal else ""),
        ("seeds", str(len(held["seeds"])), "the same for every variant"),
        ("runs", str(len(held["trials"])), f"{failed} failed" if failed else "none failed"),
    ]


def measure(held: dict[str, Any], key: str, title: str, label: str) -> Block:
    """A figure of every variant: mean and standard deviation, and each seed."""
    variants = held["variants"]
    names = {v["variant"]: v["name"] for v in variants}
    known = [v for v in variants if v["figures"][key] is not None]
    spreads = [v["figures"][key] for v in known]
    seeds = [t for t in held["trials"] if not t["failed"] and t.get(key) is not None]
    order = {v["variant"]: i for i, v in enumerate(variants)}
    seeds.sort(key=lambda t: order[t["variant"]])
    lines = [
        series(
            "mean and standard deviation",
            [v["name"] for v in known],
            [s["mean"] for s in spreads],
            0,
            mode="markers",
            error=[s["sd"] or 0.0 for s in spreads],
        ),
        series(
            "one seed", [names[t["variant"]] for t in seeds], [t[key] for t in seeds], "muted",
            mode="markers",
        ),
    ]  # fmt: skip
    x = axis("variant, the best first", kind="category")
    return figure(f"measure-{key}", title, lines, x=x, y=axis(label))


def ranking(held: dict[str, Any]) -> Block:
    """The variants from the best to the worst."""
    metric = held["metric"]
    rows = []
    for each in held["variants"]:
        spread, best = each["figures"][metric] or {}, each["against_best"]
        shown = "" if best is None else "worse" if best["shown"] else "no difference shown"
        difference, half, p = (
            (None, None, None)
            if best is None
            else (best["difference"], best["half"], best["adjusted"])
        )
        settings = ", ".join(f"{name} {value}" for name, value in each["settings"].items())
        mean, sd = spread.get("mean"), spread.get("sd")
        rows.append([each["rank"], each["name"], mean, sd, difference, half, p, shown, settings])
    columns = ["rank", "variant", metric.replace("_", " "), "standard deviation", "minus the best"]
    return table(
        "ranking",
        "Ranking",
        [*columns, "half of its 95 % interval", "p", "against the best", "settings"],
        rows,
    )


def reading(held: dict[str, Any]) -> str:
    """How to read the ranking."""
    return (
        f"p: {held['test']}. Rank: 1 + the variants that are shown to be better (p below "
        f"{held['level']:g}). No difference shown: these seeds show none; there may be one as "
        "large as the interval says."
    )


def failures(held: dict[str, Any]) -> list[str]:
    """What failed, a line each."""
    names = {v["variant"]: v["name"] for v in held["variants"]}
    return [
        f"Failed: {names[t['variant']]}, seed {t['seed']}: {str(t['failed'])[:LONGEST]}"
        for t in held["trials"]
        if t["failed"]
    ]


def pairs(held: dict[str, Any]) -> Block:
    """Every pair of variants, tested."""
    names = {v["variant"]: v["name"] for v in held["variants"]}
    rows = [
        [
            names[each["a"]],
            names[each["b"]],
            each["n"],
            each["difference"],
            each["half"],
            each["p"],
            each["adjusted"],
            "shown" if each["shown"] else "not shown",
        ]
        for each in held["pairs"]
    ]
    columns = ["variant", "minus", "seeds", "difference", "half of its 95 % interval", "p"]
    return table("pairs", "Pairs", [*columns, "p, adjusted", "difference"], rows, reading(held))


def trials(held: dict[str, Any], path: Path) -> Block:
    """Every run with its figures, and its own page where it has one."""
    names = {v["variant"]: v["name"] for v in held["variants"]}
    keys = ["test_accuracy", "val_accuracy", "test_loss", "val_loss", *FIGURES, "ended_by"]
    rows = [
        [
            page_of(names[t["variant"]], held, t, path),
            t["seed"],
            *(t.get(key) for key in keys),
            t["folder"],
            t["failed"],
        ]
        for t in held["trials"]
    ]
    heads = [key.replace("_", " ") for key in keys]
    note = (
        f"A link leads to the page of a run; `spikegrad report {path} --runs` writes those of all "
        "runs."
    )
    return table("trials", "Runs", ["variant", "seed", *heads, "folder", "failed"], rows, note)


def page_of(name: str, held: dict[str, Any], trial: dict[str, Any], path: Path) -> Any:
    """The name of a run's variant, as a link where the run has a page."""
    place = inside(held, trial)
    if place is None or not (path / place / "report.html").is_file():
        return name
    return link(name, f"./{quote(place.as_posix())}/report.html")
