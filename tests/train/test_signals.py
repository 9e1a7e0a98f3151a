"""Ctrl-C and SIGTERM, on the real command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from spikegrad.train import resolve
from spikegrad.train.app import train_run
from spikegrad.train.config import OPTIONS


def command(options, run, **more):
    """`spikegrad train` with these options."""
    words = [sys.executable, "-m", "spikegrad", "train", "--out", str(run)]
    for name, value in {**options, **more}.items():
        flag = OPTIONS[name].flag
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        else:
            shown = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            words += [flag, shown]
    return words


def started(words, run):
    """A process that has finished an epoch."""
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 120
    while not (run / "metrics.jsonl").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)
    return process


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_go_on(options, tmp_path, number, status, outcome):
    run, wanted = tmp_path / "run", {**options, "epochs": 25, "checkpoint_seconds": 1000.0}
    process = started(command(wanted, run), run)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert err.splitlines()[-1].endswith(f"continue with: spikegrad train --resume {run}")
    assert "Traceback" not in err
    from spikegrad.train import checkpoint

    state = checkpoint.load(run / "checkpoint.pt")["state"]
    assert state["batch"] > 0 or state["epoch"] > 0
    if number == signal.SIGTERM:
        train_run(resolve(wanted), run, resume=True, progress=False)
        train_run(resolve(wanted), tmp_path / "whole", progress=False)
        assert outcome(run) == outcome(tmp_path / "whole")


def test_a_second_ctrl_c_leaves_at_once(options, tmp_path):
    """While a step that would take a minute is running."""
    run = tmp_path / "run"
    code = (
        "import sys, time, spikegrad.train.loop as l; f = l.train_step\n"
        "def slow(*a, **k):\n"
        f"    if l.os.path.exists({str(run / 'metrics.jsonl')!r}): time.sleep(60)\n"
        "    return f(*a, **k)\n"
        "l.train_step = slow\n"
        "from spikegrad.cli.main import main; sys.exit(main(sys.argv[1:]))\n"
    ).replace("l.os.path", "__import__('os').path")
    words = [sys.executable, "-c", code, *command(options, run)[3:]]
    process = started(words, run)
    began = time.monotonic()
    for _ in range(2):
        time.sleep(0.3)
        os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - began < 30
    assert "Traceback" not in err
