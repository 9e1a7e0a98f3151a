"""Run another library's blocks of its page in docs/tutorials, and record what they compute.

Run it in an environment that has that library, once per library:

    python tests/peers/make_golden.py snntorch

It writes golden/<library>.json, and what the blocks print into the page. The tests read both, so
that they need none of these packages.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["COMPARED", "VERSIONS", "kept", "pieces"]

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = {"snntorch": "1.0.0", "spikingjelly": "2.0.0", "norse": "1.1.0"}
COMPARED = [
    "spikes",
    "membranes",
    "after_reset",
    "gradient",
    "losses",
    "fed_back",
    "feedback_gradient",
    "plain",
    "plain_gradient",
    "current_gradient",
    "trained",
]
"""Names that both sides give to what is compared."""
BLOCK = re.compile(
    r"(?P<peer><!-- no-test: [^\n]*make_golden[^\n]* -->\n)?"
    r"```(?P<kind>python|\{code-cell\}|text)\n(?P<code>.*?)```",
    re.DOTALL,
)


def pieces(text: str) -> list[tuple[str, str, tuple[int, int]]]:
    """The blocks of a page: "peer", "ours" or "printed", the text, and where it is."""
    kinds = {"{code-cell}": "ours", "text": "printed"}
    found = []
    for block in BLOCK.finditer(text):
        kind = "peer" if block["peer"] else kinds[block["kind"]]
        found.append((kind, block["code"], block.span("code")))
    return found


def run(text: str) -> tuple[dict[str, Any], list[str]]:
    """The names after the shared block and all of the peer's, and what each of these printed."""
    blocks = pieces(text)
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(blocks[0][1], space)
    printed = []
    for kind, code, _ in blocks:
        if kind == "peer":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(code, space)
            printed.append(out.getvalue())
    return space, printed


def filled(text: str, printed: list[str]) -> str:
    """The page with what the peer's blocks printed."""
    spans = [span for kind, _, span in pieces(text) if kind == "printed"]
    for (begin, end), new in reversed(list(zip(spans, printed, strict=True))):
        text = text[:begin] + new + text[end:]
    return text


def kept(value: Any) -> Any:
    """Of a sequence `[T, B, N]` the first two samples: what is printed is of all of them."""
    return value[:, :2] if getattr(value, "ndim", 0) == 3 else value


def values(value: Any) -> Any:
    """A tensor as lists of numbers; numbers that float32 tells apart."""
    numbers = value.detach().tolist() if hasattr(value, "detach") else value
    if isinstance(numbers, list):
        return [values(each) for each in numbers]
    return int(numbers) if float(numbers).is_integer() else float(f"{numbers:.7g}")


def main(library: str) -> None:
    """Write the file and the page of one library."""
    version = metadata.version(library)
    if version != VERSIONS[library]:
        sys.exit(f"expected {library} {VERSIONS[library]}, got {version}")
    page = ROOT / "docs" / "tutorials" / f"from-{library}.md"
    text = page.read_text(encoding="utf-8")
    space, printed = run(text)
    page.write_text(filled(text, printed), encoding="utf-8")
    made = {name: values(kept(space[name])) for name in COMPARED if name in space}
    golden = {"library": f"{library} {version}", "printed": printed, "values": made}
    path = Path(__file__).parent / "golden" / f"{library}.json"
    path.write_text(json.dumps(golden, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
