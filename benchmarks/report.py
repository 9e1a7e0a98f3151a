"""`python -m benchmarks.report`: what the report of a run costs its training, and who watches it.

Each recipe is trained once, as `spikegrad train` does, without pictures. Against the processor time
of that stand: what is measured for the page and written (`measures.json`, `report.html`), and, with
`watch`, what a look at the folder takes every two seconds, where every look finds a new epoch. The
promise is below 3 % for each. With `--browser` the page is opened in the system's Chromium until
all of its first tab is drawn, the least of ten loads; the promise is below two seconds.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import turns
from benchmarks.table import words
from spikegrad.report.page import run_content, write_report
from spikegrad.report.page.write import escaped
from spikegrad.train.app import open_run, part_of, train_run
from spikegrad.train.behind import Behind
from spikegrad.train.build import build_parts
from spikegrad.train.measure import measured
from spikegrad.train.measures import write_measures
from spikegrad.train.samples import first_samples
from spikegrad.train.sources import resolve

__all__ = ["main"]

LIMIT = 0.03
LOAD = 2.0
"""Seconds until a page is drawn."""
LOOK = 2.0
"""Seconds between two looks of a page that watches."""
RECIPES = {"digits": {"dataset": "digits"}, "mnist": {"dataset": "mnist"}}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a row per recipe; 1 where a cost is above the limit."""
    options = parsed(arguments)
    turns.start(options.threads)
    setting = turns.setting(options.threads)
    print(words(setting))
    rows = [reported(name, options.epochs, browser=options.browser) for name in options.recipes]
    names = ("training s", "measures ms", "page ms", "of the run", "look ms", "watching", "load s")
    shown = Table("recipe", *names, box=None, padding=(0, 2, 0, 0))
    for row in rows:
        shown.add_row(
            row["recipe"],
            f"{row['training']:.2f}",
            f"{1e3 * row['measures']:.0f}",
            f"{1e3 * row['page']:.0f}",
            f"{100 * row['report']:.2f} %",
            f"{1e3 * row['look']:.1f}",
            f"{100 * row['watch']:.2f} %",
            "-" if row["load"] is None else f"{row['load']:.2f}",
        )
    Console().print(shown)
    if options.json:
        Path(options.json).write_text(json.dumps({**setting, "rows": rows}, indent=1) + "\n")
    slow = any((row["load"] or 0.0) > LOAD for row in rows)
    return int(slow or any(max(row["report"], row["watch"]) > LIMIT for row in rows))


def reported(name: str, epochs: int | None, *, browser: bool) -> dict[str, Any]:
    """One recipe: costs in seconds of processor time, and as shares of the run."""
    more = {} if epochs is None else {"epochs": epochs}
    config = resolve({**RECIPES[name], **more, "tensorboard": False, "device": "cpu", "threads": 1})
    with tempfile.TemporaryDirectory() as there:
        folder = Path(there) / "run"
        training = spent(lambda: train_run(config, folder, progress=False), 1)
        measures = measuring(folder)
        page = spent(lambda: write_report(folder), 3)
        look = spent(lambda: escaped(run_content(folder)), 5)
        load = loaded(folder / "report.html") if browser else None
    return {
        "recipe": name,
        "training": training - measures,
        "measures": measures,
        "page": page,
        "report": (measures + page) / (training - measures),
        "look": look,
        "watch": look / LOOK,
        "load": load,
    }


def loaded(page: Path, times: int = 10) -> float:
    """Seconds until the first tab of a page is drawn in Chromium, the least of some loads."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        raise SystemExit("no chromium here: on Debian, apt-get install chromium")
    found = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for _ in range(times):
            tab = browser.new_page(viewport={"width": 1600, "height": 900})
            begin = time.perf_counter()
            tab.goto(page.as_uri())
            tab.wait_for_selector("section:not([hidden]) .blocks[data-done]")
            found.append(time.perf_counter() - begin)
            tab.close()
        browser.close()
    return min(found)


def measuring(folder: Path) -> float:
    """What is measured for the page, beside what is measured anyway."""
    trained = open_run(folder)
    loader = part_of(build_parts(trained.config), "test")
    samples = first_samples(loader, trained.place)
    behind = Behind()
    part = (trained.network, loader, trained.objective, trained.encoder, trained.place)
    plain = spent(lambda: measured(*part), 3)
    kept = spent(lambda: measured(*part, behind=Behind()), 3)
    measured(*part, behind=behind)
    how: Any = {"objective": trained.objective, "encode": trained.encoder, "behind": behind}
    path = folder / "again.json"
    once = spent(lambda: write_measures(path, trained.network, samples, **how), 3)
    return max(kept - plain, 0.0) + once


def spent(call: Callable[[], object], times: int) -> float:
    """The least processor time of some calls, in seconds."""
    found = []
    for _ in range(times):
        begin = time.process_time()
        call()
        found.append(time.process_time() - begin)
    return min(found)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=summary)
    parser.add_argument("recipes", nargs="*", default=list(RECIPES), help="all by default")
    parser.add_argument("--epochs", type=int, help="epochs of a run; by default the recipe's")
    parser.add_argument("--browser", action="store_true", help="measure how long a page loads")
    parser.add_argument("--threads", type=int, default=1, help="of torch (%(default)s)")
    parser.add_argument("--json", metavar="OUT", help="write the rows to this file")
    options = parser.parse_args(arguments)
    for name in options.recipes:
        if name not in RECIPES:
            parser.error(f"expected a recipe among {', '.join(RECIPES)}, got {name}")
    return options


if __name__ == "__main__":
    raise SystemExit(main())
