"""Ctrl-C before there is anything to save: while the program is still importing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

BROKEN = {
    "rich_click": "pause()",  # an ordinary KeyboardInterrupt
    "torch": "try: pause()\nexcept BaseException: pass\nraise AttributeError('half imported')",
    "numpy": "try: pause()\nexcept BaseException: pass\nraise ImportError('no numpy')",
}
"""{module: what its import does with a signal}; torch 2.13 did the second, by way of sympy."""
PAUSE = """
import os, time
def pause():
    if not os.path.exists({0!r}):
        open({0!r}, "w").close()
        time.sleep(60)
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("module", BROKEN)
def test_a_signal_during_an_import(tmp_path, module, number, status):
    ready = tmp_path / "ready"
    (tmp_path / f"{module}.py").write_text(PAUSE.format(str(ready)) + BROKEN[module])
    path = os.pathsep.join([str(tmp_path), *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-m", "spikegrad", "train"],
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 60
    while not ready.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (status, f"stopped by {signal.Signals(number).name}\n")
