"""Comparisons that run: the same on every executor, resumed, with failures, stopped by force."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from small_runs import SMALL

from spikegrad import compare
from spikegrad.compare.processes import Processes
from spikegrad.errors import RunError, UserError
from spikegrad.kernels.cpu import crossover
from spikegrad.kernels.cpu.library import isa, loaded
from spikegrad.train import app

TIMES = ("seconds_per_epoch", "train_seconds")


def figures(found):
    """What does not depend on the clock."""
    trials = found.data()["trials"]
    return [{k: v for k, v in each.items() if k not in (*TIMES, "folder")} for each in trials]


@pytest.fixture(scope="module", autouse=True)
def _the_table_of_other_processes():
    """Those that a comparison starts take what was measured here, if it was: so does this one."""
    library = loaded()
    if library is not None:
        crossover.adopt(library.table, library.isa)
    yield
    crossover.adopt(Path("no table"), isa())


@pytest.fixture(scope="module")
def first(tiny, tmp_path_factory):
    """A finished comparison, run in this process."""
    out = tmp_path_factory.mktemp("comparison") / "first"
    options = {**SMALL, "data": str(tiny)}
    return compare.run(
        surrogates=["arctan", "triangle"], seeds=2, equal="area,fwhm", out=out, workers=1,
        progress=False, **options,
    )  # fmt: skip


def again(first, out, small, **more):
    given = {"surrogates": ["arctan", "triangle"], "seeds": 2, "equal": "area,fwhm"}
    return compare.run(**{**given, **more}, out=out, progress=False, **small)


def test_every_trial_is_a_run_with_the_same_seeds_and_figures_of_all_kinds(first):
    assert first.complete
    assert first.failures() == []
    data = json.loads((first.folder / "results.json").read_text())
    assert data == json.loads(json.dumps(first.data()))
    assert [(each["variant"], each["seed"]) for each in data["trials"]] == [
        (0, 0), (0, 1), (1, 0), (1, 1),
    ]  # fmt: skip
    for each in data["trials"]:
        result = json.loads((Path(each["folder"]) / "result.json").read_text())
        assert each["test_accuracy"] == result["test_accuracy"]
        assert each["rates"] == result["firing_rates"]
        assert each["seed"] == result["seed"]
        assert each["gradient"] > 0
        assert 0 < each["passing"] <= 1
        assert each["growth"] > 0
        assert each["seconds_per_epoch"] > 0
    with open(first.folder / "trials.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["test_accuracy"]) for row in rows] == [
        each["test_accuracy"] for each in data["trials"]
    ]
    assert [row["surrogate"] for row in rows] == ["arctan", "arctan", "triangle", "triangle"]
    assert "arctan" in str(first)
    assert "no difference" in str(first)
    assert compare.load(first.folder).data() == first.data()


def test_the_gradient_flow_is_that_of_the_network_before_its_first_step(first):
    from spikegrad.train.subject import untrained

    config = first.plan.trials(first.folder)[0].config
    layers = untrained(config).flow().layers
    held = json.loads((first.plan.place(first.folder, 0, 0) / "flow.json").read_text())
    assert held[layers[0].name]["gradient"] == pytest.approx(layers[0].total, rel=1e-6)


def test_processes_give_the_same_as_this_process(first, tmp_path, small):
    found = again(first, tmp_path / "two", small, workers=2)
    assert figures(found) == figures(first)
    assert multiprocessing.active_children() == []


def test_threads_of_one_process_give_the_same(first, tmp_path, small):
    """Runs share torch's random numbers: side by side in threads they would disturb each other."""
    with ThreadPoolExecutor(4) as executor:
        found = again(first, tmp_path / "threads", small, executor=executor)
    assert figures(found) == figures(first)


def test_dask_gives_the_same(first, tmp_path, small):
    distributed = pytest.importorskip("distributed")
    how = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    with (
        distributed.LocalCluster(**how, processes=False) as cluster,
        distributed.Client(cluster) as client,
    ):
        found = again(first, tmp_path / "dask", small, executor=client.get_executor())
    assert figures(found) == figures(first)


def test_finished_trials_are_not_run_again_and_more_seeds_are_taken(
    first, tmp_path, small, monkeypatch
):
    there = tmp_path / "copy"
    shutil.copytree(first.folder, there)
    shutil.rmtree(first.plan.place(there, 1, 0))
    ran = []
    real = app.train_run

    def counting(config, folder, **more):
        ran.append((config.network.surrogate, config.run.seed))
        return real(config, folder, **more)

    monkeypatch.setattr(app, "train_run", counting)
    found = again(first, there, small, resume=True, workers=1)
    assert ran == [("triangle", 0)]
    assert figures(found) == figures(first)
    ran.clear()
    (first.plan.place(there, 0, 1) / "flow.json").unlink()  # killed before it was written
    kept = (first.plan.place(there, 0, 1) / "result.json").stat().st_mtime_ns
    assert figures(again(first, there, small, resume=True, workers=1)) == figures(first)
    assert (first.plan.place(there, 0, 1) / "result.json").stat().st_mtime_ns == kept
    ran.clear()
    found = again(first, there, small, resume=True, workers=1, seeds=3)
    assert ran == [("arctan", 2), ("triangle", 2)]
    assert found.complete
    assert compare.load(there).plan.seeds == (0, 1, 2)
    for more, words in (
        ({"seeds": 1}, "only get more seeds"),
        ({"seeds": 3, "equal": "peak,fwhm"}, "settings that the comparison"),
        ({"seeds": 3, "surrogates": ["arctan"]}, "settings that the comparison"),
    ):
        with pytest.raises(UserError, match=words):
            again(first, there, small, resume=True, **more)
    with pytest.raises(UserError, match="--resume"):
        again(first, there, small)


def test_a_failing_trial_says_why_and_the_others_finish(tmp_path, small):
    found = compare.run(
        vary={"learning_rate": [1e37, 0.01]}, seeds=2, out=tmp_path / "c", workers=1,
        progress=False, **small,
    )  # fmt: skip
    assert [(name, seed) for name, seed, _ in found.failures()] == [
        ("learning rate 1e+37", 0), ("learning rate 1e+37", 1),
    ]  # fmt: skip
    assert all("finite" in why for _, _, why in found.failures())
    assert not found.complete
    row, last = found.ranking()
    assert (row.place, row.spread.n, last.place, last.rank) == (1, 2, 0, None)
    assert "2 failed: " in str(found)
    assert "no result" in str(found)
    assert compare.load(tmp_path / "c").failures() == found.failures()


def test_a_process_that_dies_fails_its_task_alone():
    with Processes(1) as own:
        dead = own.submit(os._exit, 3)
        after = own.submit(sum, [1, 2])
        with pytest.raises(RunError, match="ended without a word"):
            dead.result(120)
        assert after.result(120) == 3


def test_what_has_not_begun_does_not_begin_after_an_interrupt():
    with Processes(1) as own:
        own.interrupt()
        with pytest.raises(RunError, match="stopped before it began"):
            own.submit(sum, [1]).result(60)


def test_an_executor_that_loses_a_task_is_a_failure_of_that_trial(tmp_path, small):
    class Losing(ThreadPoolExecutor):
        def submit(self, function, values, folder):
            def lost():
                raise ConnectionError("worker 3 is gone")

            if values["seed"] == 1:
                return super().submit(lost)
            return super().submit(function, values, folder)

    with Losing(1) as executor:
        found = compare.run(out=tmp_path / "c", seeds=2, executor=executor, progress=False, **small)
    assert found.failures() == [("the config as it is", 1, "ConnectionError: worker 3 is gone")]
    assert found.spread(0, "test_accuracy").n == 1
    with pytest.raises(UserError, match="either workers or an executor"):
        compare.run(out=tmp_path / "d", workers=2, executor=executor, progress=False, **small)
    with pytest.raises(TypeError, match=r"concurrent\.futures\.Executor, got int"):
        compare.run(out=tmp_path / "e", executor=3, progress=False, **small)


def test_jobs_that_are_no_futures_are_waited_for(tmp_path, small, monkeypatch):
    """As those of submitit: done() and result()."""

    class Job:
        def __init__(self, *call):
            self.call, self.asked = call, 0

        def done(self):
            self.asked += 1
            return self.asked > 2

        def result(self):
            function, *arguments = self.call
            return function(*arguments)

        def cancel(self):
            raise AssertionError("it has ended")

    class Scheduler:
        def submit(self, *call):
            return Job(*call)

    monkeypatch.setattr("spikegrad.compare.execute._TICK", 0.01)
    found = compare.run(out=tmp_path / "c", seeds=2, executor=Scheduler(), progress=False, **small)
    assert found.complete


def test_torchrun_is_refused(tmp_path, small, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    with pytest.raises(UserError, match="without torchrun"):
        compare.run(out=tmp_path / "c", progress=False, **small)


def test_two_processes_cannot_run_one_comparison(first, small):
    from spikegrad.compare.folder import ComparisonFolder

    code = (
        "import sys, fcntl; f = open(sys.argv[1]); fcntl.flock(f, 2); print('held', flush=True); "
    )
    code += "sys.stdin.read()"
    file = str(ComparisonFolder(first.folder).plan_file)
    with subprocess.Popen(
        [sys.executable, "-c", code, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match="to be free"):
            again(first, first.folder, small, resume=True, workers=1)
        other.stdin.close()


SCRIPT = """
import sys
from spikegrad import compare

if __name__ == "__main__":
    options = dict(hidden=(12,), steps=3, epochs=400, batch_size=40, validation=0.2)
    compare.run(surrogates=["arctan", "triangle"], seeds=1, out=sys.argv[2], workers=2,
                progress=False, data=sys.argv[1], tensorboard=False, preflight="off", **options)
"""


def test_a_stop_by_force_loses_nothing_and_leaves_no_process(tiny, tmp_path):
    """All that is on disk is whole, the processes end with their parent, and resuming goes on."""
    script, out = tmp_path / "script.py", tmp_path / "c"
    script.write_text(SCRIPT)
    other = subprocess.Popen([sys.executable, str(script), str(tiny), str(out)])
    try:
        end = time.monotonic() + 120
        while len(list(out.glob("*/*/metrics.jsonl"))) < 2:
            assert time.monotonic() < end
            assert other.poll() is None
            time.sleep(0.05)
        other.kill()
    finally:
        other.kill()
        other.wait(60)
    found = compare.load(out)
    assert not found.complete
    assert len(found.plan.variants) == 2
    held = {path: len(path.read_text().splitlines()) for path in out.glob("*/*/metrics.jsonl")}
    end = time.monotonic() + 60
    for path in held:  # the lock is free when the process is gone
        while True:
            try:
                with app.RunFolder(path.parent).locked():
                    break
            except UserError:
                assert time.monotonic() < end
                time.sleep(0.05)
    for path in held:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert 1 <= len(lines) < 400
