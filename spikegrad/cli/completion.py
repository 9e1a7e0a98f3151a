"""Tab completion: what a shell offers for an argument or an option."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from click.shell_completion import CompletionItem, shell_complete

__all__ = ["VARIABLE", "answer", "dataset", "file", "folder", "one_of", "recipe"]

VARIABLE = "_SPIKEGRAD_COMPLETE"
"""Set by the shell that asks; `VARIABLE=bash_source spikegrad` prints what the shell needs."""

Complete = Callable[[Any, Any, str], list[CompletionItem]]


def answer(command: Any) -> int | None:
    """Answer a shell that asks, with the exit status; None where nobody asks."""
    wanted = os.environ.get(VARIABLE)
    return shell_complete(command, {}, "spikegrad", VARIABLE, wanted) if wanted else None


def one_of(words: Sequence[str]) -> Complete:
    """Complete one of some words, after a comma the next one."""

    def complete(ctx: Any, param: Any, incomplete: str) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",")
        return [CompletionItem(before + comma + w) for w in words if w.startswith(last)]

    return complete


def dataset(ctx: Any, param: Any, incomplete: str) -> list[CompletionItem]:
    """Data sets by name: those recipes that are named like theirs."""
    from spikegrad.train.sources import read, recipes

    names = tuple(name for name in recipes() if read(name).get("dataset") == name)
    return one_of(names)(ctx, param, incomplete)


def recipe(ctx: Any, param: Any, incomplete: str) -> list[CompletionItem]:
    """Shipped recipes; where none fits, files."""
    from spikegrad.train.sources import recipes

    return one_of(tuple(recipes()))(ctx, param, incomplete) or file(ctx, param, incomplete)


def file(ctx: Any, param: Any, incomplete: str) -> list[CompletionItem]:
    """Files."""
    return [CompletionItem(incomplete, type="file")]


def folder(ctx: Any, param: Any, incomplete: str) -> list[CompletionItem]:
    """Folders, a run for example."""
    return [CompletionItem(incomplete, type="dir")]
