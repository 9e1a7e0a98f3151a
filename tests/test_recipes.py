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


def follow(heading: str, folder: Path) -> None:
    """A copy of the package in a folder, with the one new file of a recipe."""
    shutil.copytree(ROOT / "spikegrad", folder / "spikegrad")
    name, text = block_of(heading)
    assert not (folder / name).exists()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")


def run(folder: Path, *words: str, **environment: str) -> str:
    """What Python prints with the package of that folder; it must not fail."""
    where = {**os.environ, "PYTHONPATH": str(folder), **environment}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=where, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_kernels
def test_a_neuron_is_one_new_file(tmp_path):
    follow("Add a neuron", tmp_path)
    code = (
        "import spikegrad as sg\n"
        f"assert sg.__file__.startswith({str(tmp_path)!r}), sg.__file__\n"
        "assert sg.neurons.models()['Cubic'] is sg.Cubic\n"
        "assert sg.Cubic.explain().backend == 'cpu', sg.Cubic.explain()\n"
        "found = sg.check(sg.Cubic)\n"
        "assert found.ok, found\n"
    )
    run(tmp_path, "-c", code)


TRAINED = """
import warnings
import torch, spikegrad as sg
from spikegrad.nn import use_backend

warnings.simplefilter("error")
assert sg.__file__.startswith(FOLDER), sg.__file__
record = sg.surrogate.parabola(1.5)
assert record == sg.surrogate.get("parabola", 1.5) and "parabola" in sg.surrogate.names()
sg.surrogate.verify(record)
assert abs(record.support - 1 / 1.5) < 1e-9 and abs(record.peak - 1.5 * 0.75) < 1e-9

z = torch.linspace(-1.2, 1.2, 500, dtype=torch.float64, requires_grad=True)
(slope,) = torch.autograd.grad(record.primitive(z).sum(), z)
torch.testing.assert_close(slope, record.derivative(z), rtol=1e-12, atol=1e-12)

found = sg.check(sg.LIF(5.0, surrogate="parabola"))
assert found.ok, found

torch.manual_seed(0)
network = sg.Sequential(
    sg.Linear(20, 16), sg.LIF(5.0, surrogate=record), sg.Linear(16, 8),
    sg.Recurrent(sg.LIF(5.0, surrogate=record, learn="slope"), 8), sg.Linear(8, 3), sg.LI(5.0),
)
x, target = (torch.rand(12, 4, 20) < 0.4).float(), torch.rand(12, 4, 3)
for each in sg.diagnose.explain(network, x):
    assert each.backend == "cpu", each
names = [name for name, _ in network.named_parameters()]
results = []
for backend in ("auto", "reference"):
    use_backend(network, backend)
    y, _ = network(x)
    loss = (y - target).square().mean()
    results.append([y, *torch.autograd.grad(loss, list(network.parameters()))])
for name, ours, theirs in zip(["output", *names], *results):
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6, msg=name)
    assert float(ours.detach().abs().max()) > 0, name

use_backend(network, "cpu")
optimizer, losses = torch.optim.Adam(network.parameters(), lr=0.02), []
for _ in range(30):
    optimizer.zero_grad()
    loss = (network(x)[0] - target).square().mean()
    loss.backward()
    optimizer.step()
    losses.append(float(loss.detach()))
assert losses[-1] < 0.7 * losses[0], losses
"""


@needs_kernels
def test_a_surrogate_is_one_new_file(tmp_path):
    """Its derivative is that of its primitive, and layers train with it natively as by the loop."""
    follow("Add a surrogate", tmp_path)
    run(tmp_path, "-c", TRAINED.replace("FOLDER", repr(str(tmp_path))))
    listed = run(tmp_path, "-m", "spikegrad", "surrogates", "parabola", "--no-time", "--json")
    assert "Epanechnikov 1969" in listed


def test_the_tests_find_a_new_surrogate_by_themselves(tmp_path):
    follow("Add a surrogate", tmp_path)
    files = [
        "tests/surrogate/test_surrogate_functions.py",
        "tests/surrogate/test_surrogate_record.py",
    ]
    words = [
        "-q",
        "-k",
        "parabola",
        "-p",
        "no:cacheprovider",
        *(str(ROOT / name) for name in files),
    ]
    passed = re.search(r"(\d+) passed", run(tmp_path, "-m", "pytest", *words))
    assert passed is not None
    assert int(passed[1]) >= 20


BACKEND = """
import torch
from spikegrad import kernels
from spikegrad.train.config import NetworkConfig

x, step = torch.rand(5, 2, 3), sg.AdEx.step
assert kernels.available()["eager"] == ""
assert "eager" in NetworkConfig.__dataclass_fields__["backend"].metadata["choices"]
assert kernels.choose_step(step, "auto", x).backend == "eager"
assert kernels.choose("lif", "auto", x).backend == "eager"
ran, own = [], kernels.get("eager").step
kernels.get("eager").step = lambda *a, **k: ran.append(1) or own(*a, **k)
for backend in ("auto", "eager"):
    layer = sg.LIF(20.0, backend=backend)
    y, _ = layer(x)
    assert torch.equal(y, sg.LIF(20.0, backend="reference")(x)[0])
    sg.Sequential(sg.Linear(3, 4, backend=backend), layer)(x)
assert len(ran) == 4, ran

# What it refuses, or does not have, is another's, or an error by name.
other = kernels.choose_step(step, "auto", x.double())
assert other.backend == "reference", other
assert "eager: it has no torch.float64" in other.reason, other
assert "eager: eager has no kernel for recurrent" in kernels.choose("recurrent", "auto", x).reason
assert kernels.choose("linear", "eager", x).backend == "reference"
for call in (
    lambda: kernels.step(step, x.double(), backend="eager"),
    lambda: kernels.choose("recurrent", "eager", x),
):
    try:
        call()
    except sg.UserError as error:
        assert "backend='eager' can run, got e" in str(error) or "it has no" in str(error), error
    else:
        raise AssertionError("no error")

rows = [row for row in sg.check(sg.AdEx).rows if row.backend == "eager"]
assert {row.verdict for row in rows if row.dtype == "float32"} == {"equal"}, rows
assert all("it has no torch.float64" in row.reason for row in rows if row.dtype == "float64"), rows

# The same one from outside of the package.
class Guest(type(kernels.get("eager"))):
    name, order = "guest", -1

guest = Guest()
kernels.register(guest)
assert kernels.choose("lif", "auto", x).backend == "guest"
assert "guest" in NetworkConfig.__dataclass_fields__["backend"].metadata["choices"]
try:
    kernels.register(guest)
except sg.UserError as error:
    assert "taken" in str(error), error
else:
    raise AssertionError("no error")
kernels.unregister("guest")
assert kernels.choose("lif", "auto", x).backend == "eager"
"""


def test_a_backend_is_one_new_folder(tmp_path):
    """Without the other kernels, so that what it refuses is the reference's."""
    follow("Add a backend", tmp_path)
    name, _ = block_of("Add a backend")
    (tmp_path / name).with_name("__init__.py").write_text('"""An example."""\n', encoding="utf-8")
    first = f"import spikegrad as sg\nassert sg.__file__.startswith({str(tmp_path)!r})\n"
    run(tmp_path, "-c", first + BACKEND, SPIKEGRAD_KERNELS="off")
