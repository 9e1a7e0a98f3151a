"""The harness on a few neurons: rows, windows, conventions. Nothing here asserts a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace

import pytest
import torch

from benchmarks import harness, material, meter, peers, worker, workers
from benchmarks.arrays import read, scaled
from benchmarks.networks.registry import IMPLEMENTATIONS, Implementation
from benchmarks.table import ratios, show
from benchmarks.workloads import WORKLOADS, tiny, void

KEYS = {"workload", "implementation", "version", "surrogate", "median_ms", "min_ms", "max_ms",
        "peak_mb", "activity"}  # fmt: skip


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch):
    """Making a workload seeds torch's generator and may set its threads; collecting all garbage of
    a test session takes longer than most of these tests.
    """
    monkeypatch.setattr(meter, "settle", lambda: None)
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def order(tmp_path_factory) -> Callable[..., dict]:
    """What a parent would send a worker; the material of a workload is made once."""
    folder, made = tmp_path_factory.mktemp("material"), {}

    def order(name: str, implementation: str, surrogate: str = "triangle") -> dict:
        workload = tiny(WORKLOADS[name])
        if name not in made:
            with pytest.MonkeyPatch.context() as patch:
                patch.delenv("SPIKEGRAD_DATA", raising=False)
                made[name] = str(material.make(workload, folder)[0])
        return {
            "workload": asdict(workload),
            "implementation": implementation,
            "surrogate": surrogate,
            "material": made[name],
            "threads": 1,
        }

    return order


def test_rows_of_ours_and_of_what_needs_no_peer(tmp_path, capsys):
    out = tmp_path / "rows.json"
    only = "ours,relu,lstm"
    given = ["--workload", "W3s", "--only", only, "--surrogate", "triangle", "--threads", "1"]
    assert peers.main([*given, "--tiny", "--repeats", "1", "--json", str(out)]) == 0
    result = json.loads(out.read_text())
    assert [row["implementation"] for row in result["rows"]] == only.split(",")
    for row in result["rows"]:
        assert row.keys() >= KEYS
        assert row["workload"] == "W3s"
        if row["void"] is None:
            assert 0 < row["min_ms"] <= row["median_ms"] <= row["max_ms"]
            assert row["peak_mb"] >= 0
    assert result["rows"][0]["spikes_differ"] == 0
    assert "lstm" in capsys.readouterr().out


def test_a_worker_that_fails_leaves_a_void_row_with_its_last_words(tmp_path):
    workload = tiny(WORKLOADS["W2"])
    chosen = harness.tasks(workload, ["ours"], ["triangle"])
    (row,) = harness.workload_rows(chosen, tmp_path / "none.npz", workers.Settings(1, 1))
    assert "none.npz" in row["void"]
    assert row["median_ms"] is None


def test_a_peer_that_is_missing_is_named_and_skipped(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(Implementation, "version", lambda self: "")
    out = tmp_path / "rows.json"
    assert peers.main(["--only", "norse", "--workload", "W2", "--tiny", "--json", str(out)]) == 0
    assert "norse: skipped, norse is not installed" in capsys.readouterr().out
    assert json.loads(out.read_text())["rows"] == []


@pytest.mark.parametrize("name", WORKLOADS)
def test_ours_fires_as_the_equation_says_in_every_workload(name, order):
    for surrogate in ("triangle", "arctan") if name == "W2" else ("triangle",):
        given = order(name, "ours", surrogate)
        trainer, found = worker.prepare(given)
        assert found["spikes_differ"] == 0
        assert len(found["activities"]) == len(given["workload"]["hidden"])
        assert trainer.surrogate.startswith(surrogate)
        trainer.step()


@pytest.mark.parametrize("convention", ["delayed", "late"])
def test_spikes_of_another_convention_are_not_taken_for_ours(convention, order):
    given = order("W2", "ours")
    spikes = worker.build(given).spikes()
    differ = worker.differing(spikes, convention, given["material"])
    assert differ > 10 * workers.MOST_DIFFERING


@pytest.mark.parametrize("convention", ["delayed", "late"])
def test_weights_are_scaled_so_that_another_convention_fires_as_often(convention):
    workload = replace(WORKLOADS["W2"], steps=25, batch=16, hidden=(64, 64))
    torch.manual_seed(0)
    x, _ = material.inputs_of(workload)
    network = material.ours(workload)
    material.scale(network, x, workload)
    arrays = {**material.weights_of(network), "x": x.numpy()}
    factors = material.rescaled(workload, arrays, convention)
    value = material.tensors(scaled(arrays, factors), torch.float32)
    for i, factor in enumerate(factors):
        x = material.layer(value, i, x, convention)
        assert factor > 1
        assert float(x.mean()) == pytest.approx(workload.rate, rel=0.05)


@pytest.mark.parametrize(
    ("name", "implementation"),
    [("W1", "relu"), ("W1", "relu-still"), ("W3", "relu"), ("W3", "lstm"), ("W4", "copy"),
     ("W4", "relu"), ("W5", "relu"), ("W5", "relu-still")],
)  # fmt: skip
def test_what_has_no_spikes_is_never_void(name, implementation, order):
    trainer, found = worker.prepare(order(name, implementation))
    trainer.step()
    assert found["activities"] == []
    assert found["spikes_differ"] is None
    assert void(WORKLOADS[name], found["activities"]) is None


def task_row(activities: list[float], name: str = "W3") -> dict:
    task = workers.Task(WORKLOADS[name], IMPLEMENTATIONS["ours"], "triangle")
    found = {"activities": activities, "peak_mb": 30.0, "baseline_mb": 10.0}
    done = workers.Worker(task, workers.Settings(1), None, None, found=found, ms=[3.0, 1.0, 2.0])
    return harness.row_of(done)


def test_activity_outside_the_window_voids_a_row():
    row = task_row([0.075])
    assert (row["median_ms"], row["min_ms"], row["max_ms"]) == (2.0, 1.0, 3.0)
    assert (row["peak_mb"], row["activity"], row["void"]) == (20.0, 0.075, None)
    for rate in (0.0, 0.064, 0.086):
        row = task_row([rate])
        assert row["median_ms"] is None
        assert row["activity"] == rate
        assert row["void"].startswith("layer 1 fires at")
    assert task_row([0.05, 0.061], "W2")["void"].startswith("layer 2")


def test_ratios_are_to_the_fastest_peer_and_to_the_relu_network():
    names = {"ours": 10.0, "snntorch": 40.0, "norse": 20.0, "sinabs": None, "relu": 5.0}
    rows = [{"implementation": name, "median_ms": ms} for name, ms in names.items()]
    expected = [(0.5, 2.0), (2.0, 8.0), (1.0, 4.0), (None, None), (0.25, 1.0)]
    assert ratios(rows) == expected
    assert ratios(rows[:1]) == [(None, None)]


def test_the_table_says_where_it_was_measured_and_what_its_ratios_are(capsys):
    """ "x peer" reads as so many times faster, where it says the time over the peer's."""
    result = {
        "machine": {"processor": "some CPU", "cores": 2},
        "isa": "avx2",
        "threads": 1,
        "torch": "2.13.0",
        "rows": [{**task_row([0.075]), "median_ms": 3.0}],
    }
    show(result)
    first, head, row = capsys.readouterr().out.splitlines()
    assert first == "some CPU, 2 cores; isa avx2; 1 threads; torch 2.13.0"
    assert head.split("activity")[1].split() == ["time", "/", "peer", "time", "/", "ReLU"]
    assert row.startswith("W3")


def test_the_relu_network_has_the_weights_and_the_products_of_ours(order):
    given = order("W2", "relu")
    trainer = worker.build(given)
    arrays = read(given["material"], "subtract")
    x = torch.from_numpy(arrays["x"])
    for i in range(2):
        x = torch.relu(x @ torch.from_numpy(arrays[f"w{i}"]).T + torch.from_numpy(arrays[f"b{i}"]))
    y = x @ torch.from_numpy(arrays["w2"]).T + torch.from_numpy(arrays["b2"])
    torch.testing.assert_close(trainer.net(trainer.x), y)
