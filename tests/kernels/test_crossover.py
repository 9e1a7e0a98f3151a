"""The crossover table: read or refused, in force while a run goes on, cautious without one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spikegrad.errors import UserError
from spikegrad.kernels.cpu import crossover as module
from spikegrad.kernels.cpu.crossover import (
    CAUTIOUS,
    Crossover,
    Table,
    adopt,
    crossover,
    table,
    unmeasured,
    using,
)
from spikegrad.kernels.cpu.instructions import NEEDS
from spikegrad.train.crossover import crossover_of, crossover_text

SMALL, LARGE = 0.1, 0.9
TABLE = Table(
    "by hand",
    (64, 1024),
    dict.fromkeys(("forward", "weight", "input"), ((SMALL, SMALL), (SMALL, LARGE))),
)


@pytest.mark.parametrize(
    ("inputs", "outputs", "share"),
    [
        (1, 1, SMALL),
        (64, 1024, SMALL),
        (255, 4096, SMALL),
        (257, 4096, LARGE),
        (10**6, 1024, LARGE),
    ],
)
def test_the_nearest_size_counts(inputs: int, outputs: int, share: float) -> None:
    assert set(TABLE.at(inputs, outputs)) == {share}


def test_a_file_gives_the_same_table(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(json.dumps(TABLE.json()))
    assert Table.load(path) == TABLE
    assert Table.read(unmeasured("avx2").json()) == unmeasured("avx2")


@pytest.mark.parametrize(
    "damage",
    [
        {"sizes": []},
        {"sizes": [64]},
        {"sizes": [0, 64]},
        {"shares": {}},
        {"shares": {p: [[0.1, 2.0], [0.1, 0.1]] for p in ("forward", "weight", "input")}},
        {"measured": None, "sizes": "many"},
    ],
)
def test_anything_else_is_refused(tmp_path: Path, damage: dict) -> None:
    made = {**TABLE.json(), **damage}
    with pytest.raises(UserError, match="spikegrad build"):
        Table.read(made)
    path = tmp_path / "table.json"
    path.write_text(json.dumps(made))
    assert Table.load(path) is None
    path.write_text("{")
    assert Table.load(path) is None
    assert Table.load(tmp_path / "nothing") is None


def test_every_instruction_set_has_cautious_values(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(CAUTIOUS) == set(NEEDS)
    other = Crossover(0.1, 0.2, 0.3)
    monkeypatch.setattr(module, "_now", [TABLE])
    monkeypatch.setitem(CAUTIOUS, "neon", other)
    for isa in NEEDS:
        adopt(Path("no table"), isa)
        assert table().at(700, 512) == CAUTIOUS[isa]
        assert f"default values for {isa};" in table().measured
    assert unmeasured("neon").at(1, 1) == other


def test_a_measured_table_comes_before_cautious_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_now", [unmeasured("avx2")])
    (tmp_path / "table.json").write_text(json.dumps(TABLE.json()))
    adopt(tmp_path / "table.json", "avx2")
    assert table() == TABLE


def test_a_run_goes_on_with_its_own_table(tmp_path: Path) -> None:
    before = table()
    with using(TABLE):
        (tmp_path / "crossover.json").write_text(crossover_text())
        assert crossover(64, 64).forward == SMALL
    assert table() is before
    with crossover_of(tmp_path):
        assert table() == TABLE
    assert table() is before
    with crossover_of(None), crossover_of(tmp_path / "elsewhere"):
        assert table() is before
    (tmp_path / "crossover.json").write_text('{"sizes": [')
    with pytest.raises(UserError, match="move it away"), crossover_of(tmp_path):
        pass
