"""The sources of the site: every page, name and command is there; links lead where they led."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import spikegrad as sg
from docs.sitemaker import commands, rooms
from docs.sitemaker.links import ROOT, place, rewritten
from docs.sitemaker.stage import contents, program, stage
from spikegrad.cli.main import COMMANDS


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    """The staged sources."""
    folder = tmp_path_factory.mktemp("site") / "sources"
    stage(folder)
    return folder


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("docs/neurons.md", "neurons.md"),
        ("docs/tutorials/a.md", "tutorials/a.md"),
        ("examples/train_digits.py", "examples/train_digits.md"),
        ("spikegrad/nn", "reference/nn.md"),
        ("spikegrad/nn/lif.py", "source/spikegrad/nn/lif.py.md"),
        ("spikegrad/surrogate/shapes", "source/spikegrad/surrogate/shapes/index.md"),
        ("CONTRIBUTING.md", "contributing.md"),
    ],
)
def test_every_file_has_its_place(path: str, page: str) -> None:
    assert place(path) == page


def test_links_change_in_prose_and_stay_in_code() -> None:
    text = (
        "[a](../examples/x.py) [b](neurons.md#reset) [c](#here) [d](https://a.b)\n\n"
        "```python\n[e](../examples/x.py)\n```\n[f](../../spikegrad/nn)\n"
    )
    wanted: list[str] = []
    made = rewritten(
        text.replace("../examples", "../../examples"), "docs/tutorials/p.md", wanted.append
    )
    assert made == (
        "[a](../examples/x.md) [b](neurons.md#reset) [c](#here) [d](https://a.b)\n\n"
        "```python\n[e](../../examples/x.py)\n```\n[f](../reference/nn.rst)\n"
    )
    assert wanted == ["examples/x.py", "docs/tutorials/neurons.md", "spikegrad/nn"]


def test_the_name_of_a_page_becomes_its_title() -> None:
    made = rewritten(
        "[data.md](data.md) ([data.md](data.md#x)) [my data](data.md)", "docs/a.md", [].append
    )
    assert made == "[](data.md) ([](data.md#x)) [my data](data.md)"


def test_every_link_of_the_sources_leads_to_a_source(sources: Path) -> None:
    count = 0
    for page in sources.rglob("*.md"):
        text = re.sub(r"^( *)(`{3,}).*?^\1\2", "", page.read_text("utf-8"), flags=re.M | re.S)
        for target in re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", text):
            if ":" not in target:
                count += 1
                assert (page.parent / target).resolve().exists(), f"{page.name}: {target}"
    assert count > 100


def test_every_page_is_in_the_sidebar(sources: Path) -> None:
    index = (sources / "index.md").read_text("utf-8")
    listed = set(re.findall(r"^([\w/-]+)$", index, re.MULTILINE))
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix("").as_posix()
        assert name == "index" or name in listed, name
    captions = re.findall(r":caption: (.*)", index)
    assert captions[-2:] == ["Reference", "For contributors"]
    assert len(captions) == len(set(captions)) == len(contents(index)) + 1


def test_every_public_name_is_in_the_reference(sources: Path) -> None:
    top = (sources / "reference" / "spikegrad.rst").read_text("utf-8")
    for name in [*sg.__all__, *sg.neurons.models()]:
        assert f"sg.{name} <" in top or f"sg.{name}``" in top, name
    for room in rooms.ROOMS:
        text = (sources / "reference" / f"{room}.rst").read_text("utf-8")
        module = rooms.import_module(f"spikegrad.{room}")
        assert f".. py:module:: spikegrad.{room}" in text
        for name in module.__all__:
            assert f":: spikegrad.{room}.{name}\n" in text, f"{room}.{name}"
    for name in sg._ROOMS:
        assert name in rooms.ROOMS, name


def test_a_name_in_no_room_is_an_error(monkeypatch) -> None:
    monkeypatch.setattr(sg, "__all__", [*sg.__all__, "version"])
    with pytest.raises(LookupError, match=r"spikegrad.version is in no room"):
        rooms.home("version")


def test_pages_are_the_same_in_every_process() -> None:
    code = "from docs.sitemaker import rooms; print(rooms.page('surrogate'), rooms.overview())"
    made = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=ROOT,
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(made) == 1
    assert b"sg.surrogate" in made.pop()


def test_every_command_and_option_is_in_the_reference(sources: Path) -> None:
    assert commands.names() == list(COMMANDS)
    for name in COMMANDS:
        text = (sources / "reference" / "commands" / f"{name}.rst").read_text("utf-8")
        assert text.startswith(f"spikegrad {name}\n=")
        assert "--help" in text
    train = (sources / "reference" / "commands" / "train.rst").read_text("utf-8")
    for group in ("Which run", "Data", "Network", "Training", "Run"):
        assert f"\n{group}\n---" in train
    assert "``--tau-mem" in train


def test_a_program_is_a_page_with_all_of_its_code(sources: Path) -> None:
    for file in (ROOT / "examples").glob("*.py"):
        page = (sources / "examples" / f"{file.stem}.md").read_text("utf-8")
        assert file.read_text("utf-8") in page
        assert page == program(f"examples/{file.name}")
