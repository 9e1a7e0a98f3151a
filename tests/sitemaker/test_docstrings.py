"""Docstrings of every form become reStructuredText that keeps the form; nothing is lost."""

from __future__ import annotations

import inspect
import re
from importlib import import_module

import pytest
from docutils.core import publish_doctree

from docs.sitemaker.docstrings import inline, names_of, read
from docs.sitemaker.rooms import ROOMS, public


def shown(text: str, *names: str) -> str:
    """What a reader sees; docutils complains of markup that is wrong, and that is an error."""
    lines = read(text.splitlines(), set(names))
    tree = publish_doctree(
        "\n".join(lines), settings_overrides={"halt_level": 2, "report_level": 2}
    )
    return tree.pformat()


def test_code_is_literal_and_all_else_is_escaped() -> None:
    assert inline("of `[B]`s, `*x` and *args, a_, |x|") == (
        r"of ``[B]``\ s, ``*x`` and \*args, a\_, \|x\|"
    )
    tree = shown("A `[T, B, *features]` of x_ and **more**; half`s.")
    assert "<literal>\n            [T, B, *features]" in tree
    assert "x_ and **more**; half`s." in tree


def test_arguments_in_a_sentence_become_a_list() -> None:
    text = "Text.\n\nx: current (pA); beta, tau: decay: `exp(-1/tau)`. other: text; z (ms): end."
    tree = shown(text, "x", "beta", "tau", "z")
    names = ["x", "beta, tau", "z (ms)"]
    assert tree.count("<list_item>") == len(names)
    for name in names:
        assert f"<literal>\n                                {name}\n" in tree
    assert "other: text" in tree


def test_a_sentence_with_a_colon_stays_a_sentence() -> None:
    tree = shown("Note: this is text; x: is inside of it.", "x")
    assert "<list_item>" not in tree
    assert "Note: this is text; x: is inside of it." in tree


GOOGLE = """Do it.

    v[t] = beta v[t-1] * 2_

Args:
    x: input `[T]`; y: the
        other one.
    z: last.
Returns:
    a value_ of
    two lines.
Raises:
    UserError: never.

- one `a`
  and more
- two

>>> 1 + 1
2
"""


def test_sections_equations_lists_and_examples_keep_their_form() -> None:
    tree = shown(GOOGLE, "x", "y", "z")
    assert "v[t] = beta v[t-1] * 2_" in tree
    assert tree.count("<field>") == 3
    assert tree.count("<list_item>") == 3 + 1 + 2
    assert "a value_ of two lines." in tree
    assert "<doctest_block" in tree
    assert ">>> 1 + 1\n        2" in tree


def test_raises_at_the_start_of_a_line_is_a_paragraph() -> None:
    tree = shown("x: input.\nReturns y.\nRaises UserError: never.", "x")
    assert tree.count("<list_item>") == 1
    assert "<paragraph>\n        Returns y." in tree
    assert "<paragraph>\n        Raises UserError: never." in tree


def test_names_are_those_of_signatures_fields_and_steps() -> None:
    import spikegrad as sg

    assert {"beta", "threshold"} <= names_of(sg.functional.lif)
    assert {"tau_mem", "surrogate", "threshold"} <= names_of(sg.LIF)
    assert {"tau_adapt", "rho", "delta_t"} <= names_of(sg.AdEx)
    assert {"layers", "findings"} <= names_of(sg.diagnose.Health)


def letters(text: str) -> list[str]:
    """All letters and digits, but for the title that sections get."""
    return sorted(c for c in re.sub("Arguments|Args", "", text) if c.isalnum())


@pytest.mark.parametrize("room", ROOMS)
def test_no_letter_of_a_public_docstring_is_lost(room: str) -> None:
    module = import_module(f"spikegrad.{room}")
    for name in public(room):
        thing = getattr(module, name)
        if isinstance(thing, type) or inspect.isroutine(thing):
            text = inspect.getdoc(thing) or ""
            made = "\n".join(read(text.splitlines(), names_of(thing)))
            assert text, name
            assert letters(made) == letters(text), name


@pytest.mark.parametrize("text", ["", "One line.", "x: only an argument."])
def test_short_docstrings(text: str) -> None:
    assert text.rstrip(".").split(": ")[-1] in shown(text, "x")
