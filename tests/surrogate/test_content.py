"""What a function does as a number: equal for equal content, alone where content cannot be read."""

from __future__ import annotations

import functools
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import clamp

from spikegrad import surrogate as S
from spikegrad.surrogate.content import content

factor = 2.0


def helper(z):
    return z * factor


def scaled(by):
    return lambda z: z * by


def with_default(by):
    def f(z, by=by):
        return z * by

    return f


def twice(z):
    return twice(z) if z is None else 2 * z


@pytest.mark.parametrize(
    "pair",
    [
        (lambda z: 2 * z, lambda z: 3 * z),
        (lambda z: 2 * z, lambda z: 2 * z + 0),
        (lambda z: torch.exp(z), lambda z: torch.sin(z)),
        (scaled(2.0), scaled(3.0)),
        (scaled(1), scaled(True)),
        (scaled(torch.tensor(2.0)), scaled(torch.tensor(3.0))),
        (scaled(torch.ones(2)), scaled(torch.ones(2, 1))),
        (scaled(torch.ones(2, dtype=torch.bfloat16)), scaled(torch.ones(2))),
        (scaled(np.arange(3)), scaled(np.arange(4))),
        (scaled(helper), scaled(twice)),
        (scaled((1, 2)), scaled([1, 2])),
        (scaled({"a": 1}), scaled({"a": 2})),
        (scaled({1, 2}), scaled({1, 3})),
        (with_default(2.0), with_default(3.0)),
        (functools.partial(helper), functools.partial(twice)),
        (lambda z: [2 * v for v in z], lambda z: [3 * v for v in z]),
        (clamp, torch.exp),
        (math.exp, math.sin),
        (torch.nn.functional.relu, torch.nn.functional.gelu),
    ],
)
def test_other_content_is_another_number(pair) -> None:
    first, second = pair
    assert content(first) == content(first)
    assert content(second) == content(second)
    assert content(first) != content(second)
    assert 0 < content(first) < 2**62


def test_a_global_counts_by_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    outer, before = scaled(helper), content(helper)
    whole = content(outer)
    monkeypatch.setitem(globals(), "factor", 3.0)
    assert content(helper) != before
    assert content(outer) != whole


def test_where_a_function_stands_and_what_it_is_called_do_not_count() -> None:
    made = [{}, {}]
    exec("def f(z):\n    return 2 * z", made[0])
    exec("\n\n\ndef f(z):\n    return 2 * z\ng = f", made[1])
    assert content(made[0]["f"]) == content(made[1]["g"])


class Callable_:
    def __call__(self, z):
        return z


@pytest.mark.parametrize(
    "function",
    [
        Callable_(),
        scaled(Callable_()),
        torch.nn.ReLU(),
        torch.ones(2).mul,
        lambda z: pytest.approx(z),  # a module that is none of torch's: what it does may change
        lambda z: eval("2 * z"),
        scaled(torch.empty(2, device="meta")),
    ],
)
def test_what_cannot_be_read_equals_nothing(function) -> None:
    assert content(function) != content(function)


def test_an_import_within_counts_as_unread() -> None:
    def f(z):
        import rich

        return rich.inspect(z)

    assert content(f) != content(f)


def test_another_process_finds_the_same_number(tmp_path: Path) -> None:
    source = "import torch\ndef f(z, k=torch.tensor([2.0])):\n    return torch.exp(-z * z) * k\n"
    (tmp_path / "own.py").write_text(source)
    program = (
        "from own import f; from spikegrad.surrogate.content import content; print(content(f))"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_a_family_knows_its_content_and_built_in_ones_differ() -> None:
    numbers = {S.get(name).family.content for name in S.names(aliases=False)}
    assert len(numbers) == len(S.names(aliases=False))
