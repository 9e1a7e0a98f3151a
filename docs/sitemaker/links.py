"""Where a file of the repository is on the site, and a page with its links changed so."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from docs.sitemaker.rooms import ROOMS

__all__ = ["ROOT", "place", "rewritten"]

ROOT = Path(__file__).resolve().parents[2]
FIXED = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "spikegrad/cli": "reference/commands.md",
    "examples": "index.md",
    "spikegrad": "reference/spikegrad.md",
    **{f"spikegrad/{room}": f"reference/{room}.md" for room in ROOMS},
}
FENCED = re.compile(r"^( *)(`{3,})[^\n]*\n.*?^\1\2[ \t]*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
NAMED = re.compile(r"\[([\w-]+\.md)\](\((?:[^)\s#]*/)?\1(?:#[^)\s]*)?\))")
"""A link whose text is the name of a page: the site shows the title instead."""


def place(path: str) -> str:
    """The page of the site for a file or folder of the repository; paths from the roots."""
    if path in FIXED:
        return FIXED[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path.startswith("examples/"):
        return f"{path.removesuffix('.py')}.md"
    return f"source/{path}/index.md" if (ROOT / path).is_dir() else f"source/{path}.md"


def prose(text: str) -> Iterator[tuple[bool, str]]:
    """A page in pieces: whether one is prose, and its text."""
    end = 0
    for block in FENCED.finditer(text):
        yield True, text[end : block.start()]
        yield False, block.group()
        end = block.end()
    yield True, text[end:]


def rewritten(text: str, path: str, wanted: Callable[[str], None]) -> str:
    """A page of the repository as a page of the site; `wanted` is told each file it links to."""
    here = PurePosixPath(place(path)).parent

    def change(link: re.Match[str]) -> str:
        target, mark, anchor = link.group(2).partition("#")
        if not target or ":" in target:
            return link.group()
        file = os.path.normpath(PurePosixPath(path).parent / target)
        wanted(file)
        there = place(file)
        if there.startswith("reference/"):
            there = there.removesuffix(".md") + ".rst"
        return f"{link.group(1)}{os.path.relpath(there, here)}{mark}{anchor}{link.group(3)}"

    return "".join(
        LINK.sub(change, NAMED.sub(r"[]\2", piece)) if is_prose else piece
        for is_prose, piece in prose(text)
    )
