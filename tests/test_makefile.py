"""The Makefile that CI runs: every target that it names has a rule.

A merge once dropped the rules behind `check`: make called them up to date, and CI checked nothing.
"""

from __future__ import annotations

import re
from pathlib import Path

TEXT = (Path(__file__).parents[1] / "Makefile").read_text()


def test_every_named_target_has_a_rule() -> None:
    named = re.search(r"^\.PHONY:(.*)$", TEXT, re.MULTILINE)
    check = re.search(r"^check:.*\n((?:\t.*\n)+)", TEXT, re.MULTILINE)
    assert named is not None
    assert check is not None
    calls = [line.split() for line in check[1].splitlines() if "$(MAKE)" in line]
    called = {word for words in calls for word in words if re.fullmatch(r"[a-z][a-z-]*", word)}
    assert called == {"format-check", "lint", "types", "doctest", "docs", "test", "sets"}
    wanted = {*named[1].split(), *called}
    without = {t for t in wanted if not re.search(rf"^{t}:.*\n\t", TEXT, re.MULTILINE)}
    assert not without
