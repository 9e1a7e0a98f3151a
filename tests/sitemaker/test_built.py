"""The built site: complete, loads nothing from elsewhere, fits a phone, can be searched offline.

`make docs` builds it and names it in SPIKEGRAD_SITE; without that these tests are skipped.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from browser import chromium, watched

import spikegrad as sg
from docs.sitemaker import rooms
from docs.sitemaker.links import ROOT

SITE = Path(os.environ.get("SPIKEGRAD_SITE", ""))
built = pytest.mark.skipif(
    "SPIKEGRAD_SITE" not in os.environ, reason="no site here: make docs builds and tests it"
)
LOADS = re.compile(
    r"<(?:script|img|iframe|source|embed|audio|video)\b[^>]*?\bsrc=[\"']?((?:https?:)?//[^\"'\s>]*)"
    r"|<link\b(?![^>]*\brel=[\"']?canonical)[^>]*?\bhref=[\"']?((?:https?:)?//[^\"'\s>]*)",
    re.IGNORECASE,
)
STYLE = re.compile(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]*)", re.IGNORECASE)


def loads(name: str, text: str) -> list[str]:
    """What a page or a style sheet would load from elsewhere."""
    found = [a or b for a, b in LOADS.findall(text)] if name.endswith(".html") else []
    return found + STYLE.findall(text)


def test_loads_from_elsewhere_are_found() -> None:
    for text in (
        '<script async src="https://a.b/x.js"></script>',
        "<link rel=stylesheet href='//a.b/x.css'>",
        "<style>@import 'https://a.b/x.css'</style>",
        '<img alt="" src=http://a.b/x.png>',
    ):
        assert len(loads("page.html", text)) == 1, text
    assert len(loads("x.css", "src: url(https://a.b/f.woff2)")) == 1
    assert loads("page.html", '<a href="https://a.b">x</a><script src="_static/x.js">') == []


@built
def test_no_page_loads_from_elsewhere() -> None:
    pages = [*SITE.rglob("*.html"), *SITE.rglob("*.css")]
    assert len(pages) > 100
    found = {p.name: loads(p.name, p.read_text("utf-8")) for p in pages}
    assert {name: each for name, each in found.items() if each} == {}


@built
def test_every_public_name_has_an_entry_with_its_docstring() -> None:
    for room in rooms.ROOMS:
        page = (SITE / "reference" / f"{room}.html").read_text("utf-8")
        for name in rooms.public(room):
            assert f'id="spikegrad.{room}.{name}"' in page or (
                f'id="module-spikegrad.{room}.{name}"' in page
            ), f"{room}.{name}"
    top = (SITE / "reference" / "spikegrad.html").read_text("utf-8")
    for name in sg.__all__:
        assert f"sg.{name}<" in top, name
    text = (SITE / "reference" / "functional.html").read_text("utf-8")
    assert "Leaky integrate-and-fire neurons over a whole sequence." in text


@built
def test_every_page_of_docs_is_there() -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        assert (SITE / page.relative_to(ROOT / "docs").with_suffix(".html")).is_file(), page.name


@built
def test_a_build_leaves_the_sources_alone() -> None:
    made = {".ipynb", ".png", ".rst", ".html"}
    found = [
        p for p in (ROOT / "docs").rglob("*") if p.suffix in made and p.parent.name != "images"
    ]
    assert found == []


@built
def test_pages_fit_a_phone_and_a_screen_without_complaints() -> None:
    names = sorted(p.relative_to(SITE).as_posix() for p in SITE.glob("*.html"))
    names += sorted(p.relative_to(SITE).as_posix() for p in (SITE / "tutorials").glob("*.html"))
    names += ["reference/nn.html", "reference/spikegrad.html", "reference/commands/train.html"]
    with chromium() as browser:
        for width, scheme in ((360, "dark"), (1600, "light")):
            size = {"width": width, "height": 900}
            with watched(browser, viewport=size, color_scheme=scheme) as (page, said, asked):
                for name in names:
                    page.goto((SITE.resolve() / name).as_uri())
                    wide = page.evaluate("document.scrollingElement.scrollWidth")
                    assert wide <= width, f"{name} is {wide} pixels wide on {width}"
            assert said == []
            assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


@contextmanager
def served() -> Iterator[str]:
    """The site at an address of this machine, as `python -m http.server` shows it."""
    handler = partial(Quiet, directory=str(SITE))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    """No line for each request."""

    def log_message(self, *_: object) -> None:
        return


@built
def test_the_search_finds_names_and_words_and_asks_nobody_else() -> None:
    with served() as address, chromium() as browser, watched(browser) as (page, said, asked):
        for words, found in (("CUBALIF", "reference/nn.html"), ("refractory", "neurons.html")):
            page.goto(f"{address}search.html?q={words}")
            page.wait_for_selector(f"#search-results a[href*='{found}']")
            page.wait_for_load_state("networkidle")
        assert said == []
        assert all(url.startswith((address, "data:")) for url in asked)


@built
def test_the_search_works_from_a_folder_too() -> None:
    with chromium() as browser, watched(browser) as (page, _, _):
        page.goto((SITE.resolve() / "search.html").as_uri() + "?q=CUBALIF")
        page.wait_for_selector("#search-results a[href*='reference/nn.html']")
