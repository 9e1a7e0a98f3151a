"""Decisions about layers are kept for calls that are alike, and for no others."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from native import needs_kernels
from torch import Tensor

import spikegrad as sg
from spikegrad import kernels, surrogate
from spikegrad.kernels import blocks, choose_layer, kept
from spikegrad.kernels.backend import Backend, Call
from spikegrad.kernels.registry import get
from spikegrad.types import Edges

pytestmark = needs_kernels

X, WEIGHT = torch.rand(4, 3, 5), torch.rand(6, 5)
EDGES = Edges(torch.tensor([0, 2, 2, 2, 2, 2]), torch.tensor([0, 1], dtype=torch.int32), 6)
RECORD = surrogate.triangle(2.0)


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_KEPT", {})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """The calls about which backends are asked."""
    calls: list[Call] = []
    found = blocks.found

    def counted(call: Call, word: str) -> Any:
        calls.append(call)
        return found(call, word)

    monkeypatch.setattr(blocks, "found", counted)
    return calls


def decision(x: Tensor = X, weight: Tensor = WEIGHT, **how: Any) -> Any:
    given = {"neuron": "lif", "surrogate": RECORD, "backends": ("auto", "auto"), **how}
    return choose_layer(x, weight, **given)


def test_backends_are_asked_once_about_calls_that_are_alike(asked: list[Call]) -> None:
    first = decision()
    assert decision(torch.rand(9, 2, 5), torch.rand(7, 5)) == first
    assert first.backend == "cpu"
    assert len(asked) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"neuron": None, "surrogate": None},
        {"neuron": "alif"},
        {"surrogate": surrogate.triangle(2.0)},
        {"backends": ("cpu", "auto")},
        {"feedback": True},
        {"ahead": True},
        {"ragged": True},
        {"edges": EDGES, "weight": torch.rand(2)},
        {"feedback": True, "feedback_edges": EDGES},
        {"x": X.to("meta"), "weight": WEIGHT.to("meta")},
        {"x": X.double(), "weight": WEIGHT.double()},
        {"weight": WEIGHT.double()},
        {"x": X[0]},
        {"x": X[:0]},
        {"surrogate": surrogate.triangle(2.0).soft()},
    ],
    ids="-".join,  # of the words: two workers must draw the same names
)
def test_other_calls_are_asked_about(asked: list[Call], other: dict[str, Any]) -> None:
    decision()
    kind = decision(**other)
    assert len(asked) == 2
    kept._KEPT.clear()
    assert decision(**other) == kind


def test_autocast_and_other_worlds_are_seen() -> None:
    decision()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert "autocast" in decision()
    seen: list[Any] = []
    torch.func.vmap(lambda x: (seen.append(decision(x)), x)[1])(X[None])
    assert "torch.func" in seen[0]
    assert decision().backend == "cpu"


def test_a_name_that_means_another_function_is_asked_about(
    asked: list[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    decision()
    monkeypatch.setitem(vars(RECORD.family), "content", RECORD.family.content + 1)
    decision()
    assert len(asked) == 2


def test_a_backend_that_comes_later_is_asked(asked: list[Call]) -> None:
    """And one whose answers do not follow from kinds is asked at every call."""

    class First(Backend):
        name = "first"
        order = 1
        willing: ClassVar[bool] = True

        def layer(self, x: Any, *rest: Any, **how: Any) -> Any:
            raise AssertionError

        def refuses(self, call: Call) -> str:
            return "" if self.willing else "not now"

    decision()
    kernels.register(First())
    try:
        assert decision().backend == "first"
        First.willing = False
        assert decision().backend == "cpu"
        First.willing = True
        assert decision().backend == "first"
    finally:
        kernels.unregister("first")
    assert decision().backend == "cpu"
    assert len(asked) == 5


def test_a_library_that_is_missing_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    decision()
    monkeypatch.setattr(type(get("cpu")), "missing", lambda self: "gone")
    assert decision() == "gone"


def test_what_is_no_tensor_is_named() -> None:
    network = sg.Sequential(sg.Linear(3, 4), sg.LIF(10.0))
    with pytest.raises(TypeError, match="expected x as a tensor"):
        network([[[1.0, 0.0, 0.0]]])


def test_a_backend_must_say_itself_that_it_answers_by_kinds(asked: list[Call]) -> None:
    class Sizes(type(get("cpu"))):  # type: ignore[misc]
        name = "sizes"
        order = 1

        def refuses(self, call: Call) -> str:
            return "too long" if len(call.x) > 4 else ""

    kernels.register(Sizes())
    try:
        assert decision().backend == "sizes"
        assert decision(torch.rand(5, 3, 5)).backend == "cpu"
        assert decision().backend == "sizes"
    finally:
        kernels.unregister("sizes")


def test_old_decisions_make_room() -> None:
    for _ in range(kept.MOST + 3):
        decision(surrogate=surrogate.triangle(2.0))
    assert len(kept._KEPT) <= kept.MOST
