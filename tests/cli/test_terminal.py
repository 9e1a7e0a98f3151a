"""What users name reaches the terminal and the pictures as it is written, and obeyed by neither."""

from __future__ import annotations

import io
import sys
import warnings

import numpy as np
import pytest

from spikegrad.cli.main import main
from spikegrad.data import load_digits
from spikegrad.errors import printable
from spikegrad.train.terminal import Screen, plain_table

NAMES = [
    "[unknown]",
    "[/bold]",
    "\x1b[31mred",
    ":smile:",
    "猫",
    "a\rb",
    "$x$",
    "\u202eabc",
    "8",
    "9",
]
SMALL = ["--hidden", "8", "--steps", "2", "--epochs", "1", "--no-tensorboard", "--threads", "1"]


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """A run on classes with names that mean something to rich, a terminal or matplotlib."""
    there = tmp_path_factory.mktemp("named")
    digits = load_digits()
    x, y = digits.train.x[:200].numpy(), digits.train.y[:200].numpy()
    np.savez(there / "mine.npz", x_train=x, y_train=y, x_test=x[:40], y_test=y[:40], scale=16.0,
             class_names=NAMES)  # fmt: skip
    words = ["train", "--data", str(there / "mine.npz"), "--out", str(there / "run"), *SMALL]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*[Gg]lyph.*")  # seen even under --quiet
        assert main([*words, "--quiet", "--preflight", "off"]) == 0
    return there


def test_eval_prints_class_names_as_they_are(named, capsys):
    """ "[unknown]" printed nothing, "[/bold]" ended the command with an error, ESC was obeyed."""
    assert main(["eval", str(named / "run")]) == 0
    out = capsys.readouterr().out
    for name in ("[unknown]", "[/bold]", r"\x1b[31mred", ":smile:", "猫", r"a\rb", r"\u202eabc"):
        assert name in out
    assert "\x1b" not in out


def test_predict_prints_class_names_as_they_are(named, capsys):
    assert main(["predict", str(named / "run"), str(named / "mine.npz")]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_an_error_does_not_hand_control_characters_on(capsys):
    assert main(["train", "--data", "\x1b[31m.npz"]) == 2
    err = capsys.readouterr().err
    assert r"\x1b[31m.npz" in err
    assert "\x1b" not in err


def test_a_terminal_gets_its_colours_and_no_other_codes():
    stream = io.StringIO()
    screen = Screen(file=stream, force_terminal=True, color_system="standard", width=40)
    screen.say("\x1b]0;title\x07", style="yellow")
    table = plain_table("\x1b[5m")
    table.add_row("[bold]x[/bold]")
    screen.print(table)
    out = stream.getvalue()
    assert "\x1b[33m" in out
    assert r"\x1b]0;title\x07" in out
    assert "\x1b[5m" not in out
    assert "[bold]x[/bold]" in out


@pytest.mark.parametrize("text", ["plain", "é猫😀", "two\nlines\tand tab"])
def test_printable_leaves_text_alone(text):
    assert printable(text) == text


def test_an_encoding_without_a_character_breaks_no_table(named, monkeypatch):
    """With LC_ALL=C and without UTF-8 mode a table ended half-way in a UnicodeEncodeError."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", errors="strict"))
    assert main(["eval", str(named / "run")]) == 0
    sys.stdout.flush()
    lines = raw.getvalue().decode("ascii").splitlines()
    assert any(line.startswith("\\u732b") for line in lines)
    assert lines[-1].startswith("9 ")
