"""The pages "from another library": both sides compute the same, and the pages say what they do.

What the other library computed is in golden/, made by make_golden.py from the page's own blocks.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

HERE = Path(__file__).parent
spec = importlib.util.spec_from_file_location("make_golden", HERE / "make_golden.py")
assert spec is not None
assert spec.loader is not None
made = importlib.util.module_from_spec(spec)
spec.loader.exec_module(made)

LEAST = {"snntorch": 7, "spikingjelly": 8, "norse": 8}
"""How many quantities each page compares, so that none gets lost."""
SPIKES = ("spikes", "fed_back", "plain")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def page(library: str) -> str:
    return (made.ROOT / "docs" / "tutorials" / f"from-{library}.md").read_text("utf-8")


def golden(library: str) -> dict[str, Any]:
    return json.loads((HERE / "golden" / f"{library}.json").read_text("utf-8"))


def ours(library: str) -> tuple[dict[str, Any], list[str]]:
    """Our blocks of a page: the names after them, and what each printed."""
    space: dict[str, Any] = {"__name__": "__main__"}
    printed = []
    for kind, code, _ in made.pieces(page(library)):
        if kind == "ours":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(code, space)
            printed.append(out.getvalue())
    return space, printed[1:]  # the first block is of both, and prints nothing


@pytest.mark.parametrize("library", made.VERSIONS)
def test_both_sides_of_a_page_compute_the_same(library: str) -> None:
    space, printed = ours(library)
    recorded = golden(library)
    assert recorded["library"] == f"{library} {made.VERSIONS[library]}"
    assert len(recorded["values"]) == LEAST[library]
    for name, value in recorded["values"].items():
        mine = torch.as_tensor(made.kept(space[name])).detach()
        theirs = torch.tensor(value, dtype=mine.dtype)
        assert theirs.abs().sum() > 0, name  # an empty recording compares with anything
        assert mine.shape == theirs.shape, name
        error = (mine - theirs).norm() / theirs.norm()
        assert error <= (0.0 if name in SPIKES else 1e-5), f"{name}: {error}"
    for mine, theirs in zip(printed, recorded["printed"], strict=True):
        assert NUMBER.sub("", mine) == NUMBER.sub("", theirs)
        numbers = [[float(n) for n in NUMBER.findall(text)] for text in (mine, theirs)]
        assert numbers[0] == pytest.approx(numbers[1], rel=1e-4, abs=2e-4)


@pytest.mark.parametrize("library", made.VERSIONS)
def test_a_page_shows_what_the_other_library_printed(library: str) -> None:
    shown = [code for kind, code, _ in made.pieces(page(library)) if kind == "printed"]
    assert shown == golden(library)["printed"]
    assert all(shown)


@pytest.mark.parametrize(
    ("library", "right", "wrong"),
    [
        ("snntorch", "reset_delay=True", "reset_delay=False"),
        ("spikingjelly", "detach_reset=False", "detach_reset=True"),
        ("norse", "superspike(1.0)", "superspike(100.0)"),
    ],
)
def test_another_convention_is_seen(library: str, right: str, wrong: str, monkeypatch) -> None:
    text = page(library)
    assert right in text
    monkeypatch.setitem(globals(), "page", lambda _: text.replace(right, wrong))
    with pytest.raises(AssertionError):
        test_both_sides_of_a_page_compute_the_same(library)
