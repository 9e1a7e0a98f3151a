"""Every example is short and runs, from an empty folder, with nothing but the package.

`SPIKEGRAD_EXAMPLE_FAST=1` asks an example for its shortest version (an epoch, a few samples).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
MOST_LINES = 99
SECONDS = 180  # far above what any needs: only a hanging example reaches it


def launch(script: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script as a user would, with `folder` as the working folder."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        env={**os.environ, "SPIKEGRAD_EXAMPLE_FAST": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_an_example_runs(script, tmp_path):
    done = launch(script, tmp_path)
    assert done.returncode == 0, f"{script.name} failed:\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_an_example_is_below_100_lines_and_says_what_it_shows(script):
    text = script.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    assert text.startswith('"""')


def test_a_failing_example_would_be_seen(tmp_path):
    script = tmp_path / "bad.py"
    script.write_text("import os\nraise SystemExit(int(os.environ['SPIKEGRAD_EXAMPLE_FAST']) + 2)")
    assert launch(script, tmp_path).returncode == 3
