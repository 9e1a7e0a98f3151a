"""The sources of the site in one folder: the pages of docs/, and those made from the program."""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path

from docs.sitemaker import commands, rooms
from docs.sitemaker.links import LINK, ROOT, place, rewritten

__all__ = ["contents", "stage"]

OTHERS = ("CONTRIBUTING.md", "CHANGELOG.md")
"""Pages outside of docs/ that the site has too."""


def contents(index: str) -> dict[str, list[str]]:
    """The groups of the sidebar: by heading of docs/index.md the pages that its table lists."""
    groups: dict[str, list[str]] = {}
    for part in re.split(r"^## ", index, flags=re.MULTILINE)[1:]:
        title, _, text = part.partition("\n")
        rows = [row.split("|")[1] for row in re.findall(r"^\|.*\|$", text, re.MULTILINE)]
        pages = [link.group(2) for row in rows for link in LINK.finditer(row)]
        if pages:
            groups[title.strip()] = pages
    return groups


def trees(groups: dict[str, list[str]]) -> str:
    """The groups as Sphinx wants them; the reference is made here, so it has no table."""
    made = []
    for title, pages in groups.items():
        if title == "For contributors":
            made.append(
                tree("Reference", ["reference/spikegrad", "reference/commands", "reference/rooms"])
            )
        made.append(tree(title, [Path(page).with_suffix("").as_posix() for page in pages]))
    return "\n" + "\n".join(made)


def tree(title: str, pages: list[str]) -> str:
    return "\n".join(["```{toctree}", ":hidden:", f":caption: {title}", "", *pages, "```", ""])


def program(path: str) -> str:
    """A file of code as a page: what its docstring says, and all of it."""
    text = (ROOT / path).read_text(encoding="utf-8")
    kind = "python" if path.endswith(".py") else "none"
    says = (ast.get_docstring(ast.parse(text)) or "") if kind == "python" else ""
    name = path if place(path).startswith("source/") else Path(path).name
    first = "" if says == "" else says.split("\n\n")[0] + "\n\n"
    orphan = "---\norphan: true\n---\n\n" if place(path).startswith("source/") else ""
    return f"{orphan}# {name}\n\n{first}````{kind}\n{text}````\n"


def folder(path: str) -> tuple[str, list[str]]:
    """A folder of code as a page of links, and the files that it lists."""
    files = sorted(
        each.name for each in (ROOT / path).iterdir() if each.suffix in (".py", ".js", ".css")
    )
    lines = [f"- [{name}]({name}.md)" for name in files]
    text = f"---\norphan: true\n---\n\n# {path}\n\n" + "\n".join(lines) + "\n"
    return text, [f"{path}/{name}" for name in files]


class Stage:
    """Writes pages; remembers which files of the repository they link to."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.wanted: list[str] = []

    def write(self, page: str, text: str) -> None:
        file = self.target / page
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def prose(self, path: str, more: str = "") -> None:
        """A page that is written by hand."""
        text = (ROOT / path).read_text(encoding="utf-8")
        self.write(place(path), rewritten(text, path, self.wanted.append) + more)

    def reference(self) -> None:
        """The pages made from the program."""
        self.write("reference/spikegrad.rst", rooms.overview())
        for room in rooms.ROOMS:
            self.write(f"reference/{room}.rst", rooms.page(room))
        made = [*rooms.heading("Rooms"), ".. toctree::", "   :maxdepth: 1", ""]
        self.write(
            "reference/rooms.rst", "\n".join([*made, *[f"   {room}" for room in rooms.ROOMS], ""])
        )
        self.write("reference/commands.rst", commands.overview())
        for name in commands.names():
            self.write(f"reference/commands/{name}.rst", commands.command(name))

    def code(self) -> None:
        """Files and folders of code that a page links to."""
        done: set[str] = set()
        while self.wanted:
            path = self.wanted.pop()
            page = place(path)
            if path in done or not page.startswith(("source/", "examples/")):
                continue
            done.add(path)
            if (ROOT / path).is_dir():
                text, files = folder(path)
                self.write(page, text)
                self.wanted += files
            else:
                self.write(page, program(path))


def stage(target: Path) -> None:
    """Write all sources to an empty folder, which is emptied first if it is there."""
    shutil.rmtree(target, ignore_errors=True)
    made = Stage(target)
    docs = ROOT / "docs"
    for path in sorted(docs.rglob("*.md")):
        name = path.relative_to(ROOT).as_posix()
        more = (
            trees(site_groups(path.read_text(encoding="utf-8"))) if name == "docs/index.md" else ""
        )
        made.prose(name, more)
    for name in OTHERS:
        made.prose(name)
    for name in ("images", "static", "tutorials"):
        for file in sorted((docs / name).glob("*")):
            if file.is_file() and file.suffix != ".md":
                (target / name).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target / name / file.name)
    made.reference()
    made.code()


def site_groups(index: str) -> dict[str, list[str]]:
    """The groups with the paths that the site has."""
    return {
        title: [
            place(str(Path("docs") / page)) if not page.startswith("../") else place(page[3:])
            for page in pages
        ]
        for title, pages in contents(index).items()
    }
