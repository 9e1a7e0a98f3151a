"""The Python blocks of README.md and docs/ run, as a reader would run them.

Blocks of one page share a namespace and run in their order, in an empty folder. A block right after
a line `<!-- no-test: reason -->` is skipped. Tutorials run where the site is built (`make docs`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^( *)(`{3,})[ \t]*(\w*)[^\n]*\n(.*?)^\1\2[ \t]*$", re.MULTILINE | re.DOTALL)
SKIP = re.compile(r"<!-- no-test: (\S.*?) -->\s*\Z")


class Block(NamedTuple):
    """One block: the line its code starts on, its code, and why it is skipped (or "")."""

    line: int
    code: str
    reason: str


def blocks(text: str) -> list[Block]:
    """The ```python blocks of a page."""
    found = []
    for match in FENCE.finditer(text):
        if match.group(3) not in ("python", "py"):
            continue
        skip = SKIP.search(text[: match.start()])
        indent = len(match.group(1))
        code = "".join(line[indent:] or "\n" for line in match.group(4).splitlines(keepends=True))
        line = text.count("\n", 0, match.start()) + 2
        found.append(Block(line, code, skip.group(1) if skip else ""))
    return found


def run(page: str, text: str) -> int:
    """Run the blocks of a page; return how many ran. A failure shows the page's own line."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    count = 0
    for block in blocks(text):
        if not block.reason:
            code = "\n" * (block.line - 1) + block.code
            exec(compile(code, page, "exec"), namespace)
            count += 1
    return count


def runnable() -> list[Path]:
    """The pages that have a block to run."""
    pages = [path for path in PAGES if path.is_file()]
    return [p for p in pages if any(not b.reason for b in blocks(p.read_text(encoding="utf-8")))]


@pytest.mark.parametrize("page", runnable(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(str(page), page.read_text(encoding="utf-8")) > 0


# The collector itself.

PAGE = """# Page

```python
first = 1
```

```bash
not python
```

<!-- no-test: needs a GPU -->
```python
raise RuntimeError("skipped")
```

1. in a list

   ```python
   if first:

       second = first + 1
   ```
"""


def test_blocks_are_found_with_their_lines_and_reasons():
    found = blocks(PAGE)
    assert [block.line for block in found] == [4, 13, 19]
    assert [block.reason for block in found] == ["", "needs a GPU", ""]
    assert found[2].code == "if first:\n\n    second = first + 1\n"


def test_blocks_of_a_page_share_their_names_and_a_failure_is_one():
    assert run("page", PAGE) == 2
    with pytest.raises(NameError, match="nowhere"):
        run("page", "```python\nnowhere\n```\n")


def test_a_skip_needs_a_reason():
    text = "<!-- no-test: -->\n```python\nraise KeyError\n```\n"
    with pytest.raises(KeyError):
        run("page", text)
