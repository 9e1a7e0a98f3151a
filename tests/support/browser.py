"""A headless Chromium for the tests of pages; without one they are skipped with the reason."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

__all__ = ["chromium", "watched"]

PATH = shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser, driven by Playwright."""
    playwright = pytest.importorskip("playwright.sync_api")
    if PATH is None:
        pytest.skip("no chromium here: on Debian, apt-get install chromium")
    with playwright.sync_playwright() as driver:
        # Inside a container Chromium's own sandbox has no user to change to.
        browser = driver.chromium.launch(executable_path=PATH, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def watched(browser: Any, **options: Any) -> Iterator[tuple[Any, list[str], list[str]]]:
    """A page, what it complained of, and what it asked for beside itself."""
    context = browser.new_context(**options)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda m: said.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append("a dialog"), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    try:
        yield page, said, asked
    finally:
        context.close()
