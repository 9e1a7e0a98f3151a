"""The recipes of CONTRIBUTING.md, followed to the letter in a copy of the package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from native import needs_kernels

ROOT = Path(__file__).resolve().parents[1]


def block_of(heading: str) -> tuple[str, str]:
    """The file that the first block below a heading names, and the block."""
    part = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split(f"## {heading}\n")[1]
    text = re.split(r"^## ", part, flags=re.MULTILINE)[0]
    block = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert block is not None
    first = block[1].splitlines()[0]
    assert first.startswith("# spikegrad/")
    return first.removeprefix("# "), block[1]


@needs_kernels
def test_a_neuron_is_one_new_file(tmp_path):
    shutil.copytree(ROOT / "spikegrad", tmp_path / "spikegrad")
    name, text = block_of("Add a neuron")
    assert not (tmp_path / name).exists()
    (tmp_path / name).write_text(text, encoding="utf-8")
    code = (
        "import spikegrad as sg\n"
        f"assert sg.__file__.startswith({str(tmp_path)!r}), sg.__file__\n"
        "assert sg.neurons.models()['Cubic'] is sg.Cubic\n"
        "assert sg.Cubic.explain().backend == 'cpu', sg.Cubic.explain()\n"
        "found = sg.check(sg.Cubic)\n"
        "assert found.ok, found\n"
    )
    where = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=where, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
