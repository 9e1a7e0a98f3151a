"""Whatever moment a run is killed at, it ends as if it had not been."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from spikegrad.errors import UserError
from spikegrad.train import resolve
from spikegrad.train.app import stored_config, train_run
from spikegrad.train.folder import RunFolder

TRAIN = """
from pathlib import Path
from spikegrad.train import resolve
from spikegrad.train.app import train_run
run = Path({run!r})
train_run(resolve({options!r}), run, resume=(run / "config.toml").is_file(), progress=False)
"""

CRASH = """
import os, signal
real, calls = os.replace, []
def replace(source, target):
    calls.append(target)
    if len(calls) == {call} and {before}:
        if os.path.isfile(source):
            os.truncate(source, os.path.getsize(source) // 2)
        os.kill(os.getpid(), signal.SIGKILL)
    real(source, target)
    if len(calls) == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = replace
"""


@pytest.fixture(scope="module")
def whole(options, outcome, tmp_path_factory):
    """The run that nobody disturbs."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train_run(resolve(options), run, progress=False)
    return outcome(run)


def test_same_seed_same_bytes(options, outcome, whole, tmp_path):
    train_run(resolve(options), tmp_path / "run", progress=False)
    assert outcome(tmp_path / "run") == whole


def test_other_seed_other_weights(options, outcome, whole, tmp_path):
    train_run(resolve({**options, "seed": 1}), tmp_path / "run", progress=False)
    assert outcome(tmp_path / "run")[0] != whole[0]


@pytest.mark.parametrize("before", [True, False], ids=["half-written", "just-written"])
def test_killed_at_every_write(options, outcome, whole, child, tmp_path, before):
    """One kill at each file that a run writes: config, first checkpoint, metrics, ..., result."""
    quiet = {**options, "epochs": 2, "checkpoint_seconds": 1000.0}
    calm = tmp_path / "calm"
    train_run(resolve(quiet), calm, progress=False)
    expected = outcome(calm)
    killed, call = 0, 0
    while True:
        call += 1
        run = tmp_path / f"run{call}"
        code = TRAIN.format(run=str(run), options=quiet)
        process = child(CRASH.format(call=call, before=before) + code)
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        killed += 1
        train_run(resolve(quiet), run, resume=run.exists(), progress=False)
        assert outcome(run) == expected, f"killed at write {call}"
        assert not list(run.glob(".*.tmp"))
    # config, crossover table and their folder, 3 checkpoints, findings, 2 metrics, weights,
    # samples, measures, result
    assert killed == 13
    assert outcome(run) == expected


def test_killed_at_random_moments(options, outcome, child, tmp_path):
    """Twelve kills in a row of one run of some seconds, anywhere in it."""
    longer = {**options, "epochs": 40}
    train_run(resolve(longer), tmp_path / "calm", progress=False)
    run, clock = tmp_path / "run", random.Random(0)
    code, kills = TRAIN.format(run=str(run), options=longer), 0
    while kills < 12:
        process = child(code)
        time.sleep(clock.uniform(0.02, 0.5))
        if not process.is_alive():
            process.join()
            assert process.exitcode == 0
            break
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        kills += 1
    if not (run / "result.json").exists():
        train_run(resolve(longer), run, resume=run.exists(), progress=False)
    assert kills >= 2
    assert outcome(run) == outcome(tmp_path / "calm")


def test_nothing_happens_to_a_finished_run(options, tmp_path):
    run = tmp_path / "run"
    first = train_run(resolve(options), run, progress=False)
    before = {path: path.stat().st_mtime_ns for path in run.iterdir()}
    again = train_run(resolve(options), run, resume=True, progress=False)
    assert first.new
    assert not again.new
    assert again.summary == first.summary
    assert {path: path.stat().st_mtime_ns for path in run.iterdir()} == before


def test_a_changed_setting_is_refused(options, tmp_path):
    run = tmp_path / "run"
    train_run(resolve(options), run, progress=False)
    (run / "result.json").unlink()
    with pytest.raises(UserError, match=r"expected epochs = 3 .* got 2; a resumed run may change"):
        train_run(resolve({**options, "epochs": 2}), run, resume=True, progress=False)
    changed = {**options, "threads": 0, "checkpoint_seconds": 5.0}
    assert train_run(resolve(changed), run, resume=True, progress=False).new


def test_ten_more_epochs_are_the_longer_run(options, outcome, tmp_path):
    """The commonest resume was refused always: of a finished run, and of one broken off."""
    constant = {**options, "schedule": "constant"}
    longer = resolve({**constant, "epochs": 5})
    train_run(longer, tmp_path / "whole", progress=False)
    run = tmp_path / "run"
    train_run(resolve(constant), run, progress=False)
    (run / "pictures").mkdir()
    (run / "pictures" / "index.json").write_text("[]")
    assert train_run(longer, run, resume=True, progress=False).new
    assert outcome(run) == outcome(tmp_path / "whole")
    assert stored_config(run) == stored_config(tmp_path / "whole")
    assert not RunFolder(run).pictured, "they show the shorter run"
    assert not train_run(longer, run, resume=True, progress=False).new
    (run / "result.json").unlink()
    train_run(resolve({**constant, "epochs": 6}), run, resume=True, progress=False)
    train_run(resolve({**constant, "epochs": 6}), tmp_path / "six", progress=False)
    assert outcome(run) == outcome(tmp_path / "six")


@pytest.mark.parametrize("call", [1, 2, 3])
def test_killed_while_it_gets_more_epochs(options, outcome, child, tmp_path, call):
    """At the config's write, the first new metrics and the first new checkpoint."""
    constant = {**options, "schedule": "constant", "checkpoint_seconds": 1000.0}
    longer = {**constant, "epochs": 4}
    train_run(resolve(longer), tmp_path / "whole", progress=False)
    run = tmp_path / "run"
    train_run(resolve(constant), run, progress=False)
    process = child(
        CRASH.format(call=call, before=True) + TRAIN.format(run=str(run), options=longer)
    )
    process.join()
    assert process.exitcode == -signal.SIGKILL
    train_run(resolve(longer), run, resume=True, progress=False)
    assert outcome(run) == outcome(tmp_path / "whole")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "got schedule cosine: every learning rate would have been different"),
        ({"schedule": "constant", "warmup": 0.1}, "got warmup 0.1, a share of all steps"),
        (
            {"schedule": "constant", "slope_schedule": "linear", "slope_end": 9.0},
            "got slope_schedule linear: the slope of every epoch",
        ),
    ],
)
def test_more_epochs_where_they_would_change_what_is_done(options, tmp_path, change, words):
    run, settings = tmp_path / "run", {**options, "epochs": 1, **change}
    train_run(resolve(settings), run, progress=False)
    before = {path: path.stat().st_mtime_ns for path in run.iterdir()}
    with pytest.raises(UserError, match=f"expected a constant schedule to resume .*{words}"):
        train_run(resolve({**settings, "epochs": 4}), run, resume=True, progress=False)
    assert {path: path.stat().st_mtime_ns for path in run.iterdir()} == before


def test_a_folder_in_use_is_refused(options, child, tmp_path):
    run = tmp_path / "run"
    long = {**options, "epochs": 1000}
    process = child(TRAIN.format(run=str(run), options=long))
    try:
        _until(run / "metrics.jsonl")
        with pytest.raises(UserError, match="another process training in it"):
            train_run(resolve(long), run, resume=True, progress=False)
    finally:
        process.kill()
        process.join()


def test_an_occupied_folder_is_refused_before_anything_is_written(options, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="expected an empty or new run folder"):
        train_run(resolve(options), tmp_path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_curves_are_whole_after_a_kill(options, child, tmp_path):
    """TensorBoard shows each step once: what a broken-off run wrote too much is hidden."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    wanted = {**options, "tensorboard": True, "checkpoint_seconds": 1000.0}
    run = tmp_path / "run"
    slow = "import time; import spikegrad.train.loop as l; f = l.train_step\n"
    slow += "l.train_step = lambda *a, **k: (time.sleep(0.03), f(*a, **k))[1]\n"
    process = child(slow + TRAIN.format(run=str(run), options=wanted))
    _until(run / "metrics.jsonl")
    time.sleep(0.15)
    process.kill()
    process.join()
    train_run(resolve(wanted), run, resume=True, progress=False)
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    steps = [event.step for event in events.Scalars("epoch/train_loss")]
    assert steps == [8, 16, 24]
    by_step = [event.step for event in events.Scalars("step/loss")]
    assert by_step == sorted(set(by_step))


def test_samples_hold_what_the_pictures_need(options, tmp_path):
    run = tmp_path / "run"
    train_run(resolve(options), run, progress=False)
    with np.load(run / "samples.npz", allow_pickle=False) as held:
        assert held["spikes_0"].shape == (4, 16, 16)
        assert held["output"].shape == (4, 16, 10)
        assert held["confusion"].sum() == 60
        assert list(held["layers"]) == ["3"]
        np.testing.assert_allclose(held["threshold_0"], 1.0, rtol=1e-6)


def _until(path: Path, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not (path.exists() and path.stat().st_size):
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.01)
