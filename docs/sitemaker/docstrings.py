"""Docstrings, which are plain text with `code` in backticks, as reStructuredText for Sphinx.

They are written to be read in `help()`. What has a form there keeps it here: arguments as
`name: meaning; name: meaning` or under `Args:`, indented equations, lists, `>>>` examples.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["inline", "names_of", "read"]

SECTION = re.compile(r"(Args|Attributes|Returns|Yields|Raises):$")
TITLES = {"Args": "Arguments"}
BEGINS = re.compile(r"(Returns|Raises|Yields|Source)\b")
"""A line that begins a paragraph of its own."""
CODE = re.compile(r"`([^`]+)`")
UNIT = r"(?: \([^)]*\))?"


def inline(text: str) -> str:
    """One paragraph: code in backticks becomes literal, everything else is escaped."""
    text = " ".join(text.split())
    made, end = [], 0
    for code in CODE.finditer(text):
        before = text[end : code.start()]
        made.append(re.sub(r"([\\*|_`])", r"\\\1", before))
        if before and (before[-1].isalnum() or before[-1] in "_-/="):
            made.append("\\ ")
        made.append(f"``{code.group(1).strip()}``")
        end = code.end()
        if text[end : end + 1].isalnum() or text[end : end + 1] == "²":
            made.append("\\ ")
    made.append(re.sub(r"([\\*|_`])", r"\\\1", text[end:]))
    return "".join(made)


def names_of(thing: Any) -> set[str]:
    """What a docstring may call an argument: parameters, fields, parameters of a step."""
    found: set[str] = set()
    if isinstance(thing, type):
        for kind in thing.__mro__[:-1]:
            found |= set(vars(kind).get("__annotations__", {}))
            if "__init__" in vars(kind) and kind.__module__.startswith("spikegrad"):
                found |= set(inspect.signature(kind.__init__).parameters)
            found |= {name for name, value in vars(kind).items() if isinstance(value, property)}
        if dataclasses.is_dataclass(thing):
            found |= {field.name for field in dataclasses.fields(thing)}
        step = getattr(thing, "step", None)
        found |= {*getattr(step, "parameters", ()), *getattr(step, "reads", ())}
    elif callable(thing):
        try:
            found |= set(inspect.signature(thing).parameters)
        except (TypeError, ValueError):  # a function of C
            return set()
    return found - {"self"}


def items(text: str, names: Iterable[str]) -> list[tuple[str, str]]:
    """`name: meaning; a, b: meaning` as pairs, empty where the text does not begin so."""
    known = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    if not known:
        return []
    text = " ".join(text.split())
    name = rf"(?:{known}){UNIT}"
    begins = re.compile(rf"(?:^|(?<=[;.:)] ))({name}(?:(?:, | and ){name})*): ")
    found = list(begins.finditer(text))
    if not found or found[0].start() != 0:
        return []
    ends = [each.start() for each in found[1:]] + [len(text)]
    return [
        (each.group(1), text[each.end() : end].strip().removesuffix(";"))
        for each, end in zip(found, ends, strict=True)
    ]


def listed(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Pairs as a list, the names set apart."""
    for name, meaning in pairs:
        text = f"``{name}``: {inline(meaning)}" if name else inline(meaning)
        yield f"* {text}"
    yield ""


def entries(body: list[str], names: set[str]) -> Iterator[tuple[str, str]]:
    """The entries of a section: a line at its left edge begins one."""
    text: list[list[str]] = []
    for line in textwrap.dedent("\n".join(body)).splitlines():
        if line.strip() and (not line.startswith(" ") or not text):
            text.append([])
        if line.strip():
            text[-1].append(line.strip())
    for lines in text:
        name, colon, meaning = " ".join(lines).partition(": ")
        if not colon:
            yield "", name
            continue
        whole = " ".join(lines)
        firsts = {*names, *re.split(r", | and ", name)}
        yield from items(whole, firsts) or [(name, meaning)]


def section(title: str, body: list[str], names: set[str]) -> Iterator[str]:
    """One section as a field."""
    yield f":{TITLES.get(title, title)}:"
    if title in ("Args", "Attributes", "Raises"):
        made: Iterable[str] = listed(entries(body, names))
    else:
        made = [inline(" ".join(body)), ""]
    yield from ("    " + line if line else "" for line in made)


def paragraphs(lines: list[str]) -> Iterator[list[str]]:
    """Lines that belong together: a blank line, an indent, `>>>` or `Raises` begins anew."""
    block: list[str] = []
    for line in lines:
        first = block[0] if block else ""
        indented, was = line.startswith("    "), first.startswith("    ")
        heads = SECTION.match(first) is not None
        if not line.strip():
            if heads and block:  # a section ends at the next line at the left edge
                continue
            new = True
        elif heads:
            new = not line.startswith(" ")
        elif first.startswith(">>>"):
            new = False
        else:
            starts = line.startswith(">>>") or BEGINS.match(line) or SECTION.match(line)
            bullet = line.startswith("- ") and not first.startswith("- ")
            new = bool(starts) or indented != was or bullet
        if new and block:
            yield block
            block = []
        if line.strip():
            block.append(line)
    if block:
        yield block


def bullets(block: list[str]) -> Iterator[str]:
    """A list."""
    found: list[str] = []
    for line in block:
        if line.startswith("- "):
            found.append(line[2:])
        else:
            found[-1] += " " + line.strip()
    yield from (f"* {inline(each)}" for each in found)
    yield ""


def read(lines: list[str], names: set[str]) -> list[str]:
    """A docstring's lines as reStructuredText; names: what it may call an argument."""
    made: list[str] = []
    for block in paragraphs(inspect.cleandoc("\n".join(lines)).splitlines()):
        head = SECTION.match(block[0])
        if head is not None and len(block) > 1:
            made += section(head.group(1), block[1:], names)
        elif block[0].startswith(">>>"):
            made += [*block, ""]
        elif block[0].startswith("    "):
            made += [
                "::",
                "",
                *["    " + line for line in textwrap.dedent("\n".join(block)).splitlines()],
                "",
            ]
        elif block[0].startswith("- "):
            made += bullets(block)
        elif pairs := items(" ".join(block), names):
            made += [":Arguments:", *("    " + each if each else "" for each in listed(pairs))]
        else:
            made += [inline(" ".join(block)), ""]
    return made
