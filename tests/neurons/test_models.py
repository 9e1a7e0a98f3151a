"""Every model of the library of neurons: what holds for each of them."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import spikegrad as sg
from spikegrad import neurons
from spikegrad.nn import StepNeuron

MODELS = neurons.models()
FIRES = re.compile(r"It fires regularly at x = (\d+(?:\.\d+)?)\.(?:\s|$)")


def current_of(kind: type[StepNeuron]) -> float:
    """The current at which the model's docstring says that it fires regularly."""
    text = " ".join((kind.__doc__ or "").split())
    found = FIRES.search(text)
    assert found, f"{kind.__name__}: 'It fires regularly at x = NUMBER.' is not in its docstring"
    return float(found.group(1))


def entering(kind: type[StepNeuron], x: Tensor, others: float = 0.1) -> Tensor:
    """x as the input of a model; of one with several inputs as the first, others that share of it
    at other steps, which may inhibit.
    """
    more = [others * x.roll(k, 0) for k in range(1, len(kind.step.inputs))]
    return torch.stack([x, *more], dim=2) if kind.step.inputs else x


def noise(kind: type[StepNeuron], *shape: int) -> Tensor:
    """Random currents around the one at which the model fires."""
    torch.manual_seed(0)
    return entering(kind, current_of(kind) * (1.0 + torch.randn(*shape)))


each = pytest.mark.parametrize("kind", MODELS.values(), ids=MODELS)


def test_the_library_has_its_models() -> None:
    """And each is found by its name."""
    assert {"AdEx", "EIF", "GLIF", "Izhikevich", "QIF", "ResonateAndFire"} <= set(MODELS)
    for name, kind in MODELS.items():
        assert getattr(sg, name) is kind is getattr(neurons, name)
        assert name in dir(sg)
        assert name in dir(neurons)
        assert kind.__name__ == name


def test_a_name_that_no_model_has() -> None:
    with pytest.raises(AttributeError, match="AdEx"):
        _ = sg.Adex
    with pytest.raises(AttributeError):
        _ = sg.adaptive_exponential
    assert not hasattr(neurons, "Lif")


def test_importing_the_package_imports_no_model() -> None:
    code = (
        "import sys, spikegrad, spikegrad.errors; from spikegrad import version, checks\n"
        "assert not hasattr(spikegrad, 'nowhere')\n"
        "print([m for m in sys.modules if m.startswith('spikegrad.neurons')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


ROW = re.compile(r"^\| `(\w+)` \| `([\w ]+)` \| `([\w ]+)` \| .* \| ([\d.]+)[^|]*\|$", re.MULTILINE)


def test_the_table_of_the_documentation_is_right() -> None:
    """Its states, parameters and currents; a model that it does not have yet is no error."""
    page = Path(__file__).parents[2] / "docs" / "neurons.md"
    rows = ROW.findall(page.read_text(encoding="utf-8"))
    assert len(rows) >= 9
    for name, states, parameters, current in rows:
        kind = MODELS[name]
        assert states.split() == list(kind.step.states)
        assert parameters.split() == list(kind.step.parameters)
        assert float(current) == current_of(kind)


@contextmanager
def another_file(tmp_path: Path, text: str) -> Iterator[None]:
    """The library with one more file."""
    (tmp_path / "one_more.py").write_text(text)
    neurons.__path__.append(str(tmp_path))
    neurons._found.cache_clear()
    try:
        yield
    finally:
        neurons.__path__.remove(str(tmp_path))
        sys.modules.pop("spikegrad.neurons.one_more", None)
        vars(neurons).pop("one_more", None)
        neurons._found.cache_clear()


NEW = """
from spikegrad.neurons.qif import QIF
from spikegrad.nn import neuron
@neuron(states={"v": 0.0}, parameters={})
def NAME(x, s, p):
    fired = p.spike(s.v + x, 1.0)
    return fired, {"v": s.v + x - fired}
@neuron(states={"v": 0.0}, parameters={})
def _Hidden(x, s, p):
    return p.spike(x, 1.0), {"v": x}
"""


def test_a_new_model_is_one_new_file(tmp_path: Path) -> None:
    before = neurons.models()
    with another_file(tmp_path, NEW.replace("NAME", "Counter")):
        assert neurons.models().keys() - before.keys() == {"Counter"}
        y, _ = sg.Counter()(torch.full((4, 1, 1), 0.5))
        assert y.flatten().tolist() == [0, 1, 0, 1]
    vars(sg).pop("Counter", None)
    assert neurons.models() == before


def test_two_models_of_one_name_are_an_error(tmp_path: Path) -> None:
    with (
        another_file(tmp_path, NEW.replace("NAME", "EIF")),
        pytest.raises(sg.UserError, match=r"EIF in spikegrad\.neurons\.eif and in"),
    ):
        neurons.models()


@each
def test_it_fires_regularly_where_it_says(kind: type[StepNeuron]) -> None:
    x = torch.full((1000, 1, 2), current_of(kind))
    spikes, _ = kind()(entering(kind, x, others=0.0))
    assert torch.equal(spikes[..., 0], spikes[..., 1])
    times = spikes[:, 0, 0].nonzero().flatten()
    assert 10 <= len(times) <= 500
    last = times[-9:].diff()
    assert last.max() <= 1.5 * last.min()


@each
def test_it_is_silent_without_input(kind: type[StepNeuron]) -> None:
    spikes, state = kind()(entering(kind, torch.zeros(500, 1, 1)))
    assert spikes.sum() == 0
    assert all(torch.isfinite(part).all() for part in state if part is not None)


@each
def test_the_states_are_those_of_its_step(kind: type[StepNeuron]) -> None:
    layer = kind(refractory=2.0)
    spikes, state = layer(noise(kind, 5, 2, 3))
    assert type(state) is kind.State
    assert state._fields == (*kind.step.states, "refractory")
    assert all(part.shape == spikes.shape[1:] for part in state)
    again = pickle.loads(pickle.dumps(state))
    assert type(again) is kind.State
    assert all(torch.equal(a, b) for a, b in zip(again, state, strict=True))


@each
def test_chunks_equal_the_whole(kind: type[StepNeuron]) -> None:
    layer, x = kind(refractory=1.0), noise(kind, 60, 2, 3)
    whole, end = layer(x)
    first, state = layer(x[:23])
    second, state = layer(x[23:], state)
    assert whole.sum() > 0
    assert torch.equal(torch.cat([first, second]), whole)
    for mine, other in zip(state, end, strict=True):
        assert torch.equal(mine, other)


@each
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes(kind: type[StepNeuron], dtype: torch.dtype) -> None:
    layer = kind(learn=tuple(kind.step.parameters), size=3).to(dtype)
    spikes, state = layer(noise(kind, 20, 2, 3).to(dtype))
    assert spikes.dtype == dtype
    inside = torch.float32 if dtype == torch.bfloat16 else dtype
    assert all(part.dtype == inside for part in state if part is not None)


@each
@pytest.mark.parametrize("detach", [True, False])
def test_everything_can_be_learned(kind: type[StepNeuron], detach: bool) -> None:
    """With every reset; a parameter that one of them does not read has no gradient there."""
    names = (*kind.step.parameters, "slope")
    x = noise(kind, 60, 4, 3)
    reached = set()
    for reset in ("subtract", "zero", "none"):
        layer = kind(learn=names, size=3, reset=reset, detach_reset=detach)
        spikes, state = layer(x)
        assert spikes.sum() > 0
        total = (spikes * torch.linspace(0, 1, 60)[:, None, None]).sum()
        (total + 1e-3 * sum(part.sum() for part in state if part is not None)).backward()
        for name, parameter in layer.named_parameters():
            if parameter.grad is not None:
                assert torch.isfinite(parameter.grad).all(), (reset, name)
                if parameter.grad.abs().max() > 0:
                    reached.add(name.split(".")[0])
    assert reached == {*kind.step.reads, "slope"}


@each
@pytest.mark.parametrize("factor", [1e4, 30.0, 1.0, -1.0, -30.0, -1e4])
def test_no_current_gives_infinity_or_nan(kind: type[StepNeuron], factor: float) -> None:
    """Constant, alternating and random; outputs, states, membranes and all gradients."""
    torch.manual_seed(0)
    shape = torch.ones(150, 1, 3)
    shape[:, :, 1] *= (-1.0) ** torch.arange(150).unsqueeze(1)
    shape[:, :, 2] = torch.randn(150, 1)
    x = entering(kind, current_of(kind) * factor * shape).requires_grad_()
    layer = kind(learn=tuple(kind.step.parameters), size=3)
    spikes, state, trace = layer.bound()(x, None, trace=True)
    for part in (spikes, trace.membrane, trace.distance, *state):
        assert part is None or torch.isfinite(part).all()
    spikes.sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name


TIMED = {
    name: kind
    for name, kind in MODELS.items()
    if any(isinstance(p, sg.TimeConstant) for p in kind.step.parameters.values())
}


@pytest.mark.parametrize("kind", TIMED.values(), ids=TIMED)
@pytest.mark.parametrize("tau", [1e-4, 1e9])
def test_no_time_constant_gives_infinity_or_nan(kind: type[StepNeuron], tau: float) -> None:
    """In float32 their decays are 0 and 1."""
    names = [n for n, p in kind.step.parameters.items() if isinstance(p, sg.TimeConstant)]
    layer = kind(**dict.fromkeys(names, tau), learn=names)
    spikes, state = layer(noise(kind, 50, 1, 3))
    assert all(torch.isfinite(part).all() for part in state if part is not None)
    (spikes.sum() + sum(part.sum() for part in state if part is not None)).backward()
    for name, parameter in layer.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name


@each
@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_gradients_are_the_derivatives_of_the_soft_neuron(
    kind: type[StepNeuron], reset: Any
) -> None:
    step = kind.step
    given = {
        name: torch.full((2,), value, dtype=torch.float64, requires_grad=True)
        for name, value in step.defaults().items()
    }
    x = entering(kind, 0.7 * current_of(kind) * torch.rand(6, 1, 2, dtype=torch.float64))
    x.requires_grad_()

    def soft(x: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        y, state = step(
            x,
            surrogate=step.surrogate.soft(),
            reset=reset,
            detach_reset=False,
            **dict(zip(given, values, strict=True)),
        )
        return y, *(part for part in state if part is not None)

    assert torch.autograd.gradcheck(soft, (x, *given.values()), eps=1e-6, atol=1e-6, rtol=1e-4)


@each
def test_numbers_and_tensors_give_the_same(kind: type[StepNeuron]) -> None:
    """The step as a function, with its defaults as numbers, and as a layer, whose are tensors."""
    x = noise(kind, 30, 2, 3).double()
    ours, end = kind().double()(x)
    theirs, other = kind.step(x)
    assert torch.equal(ours, theirs)
    for mine, its in zip(end[:-1], other[:-1], strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-4 * current_of(kind))


@each
def test_bad_arguments_are_refused(kind: type[StepNeuron]) -> None:
    with pytest.raises(sg.UserError, match="argument of"):
        kind(no_such_parameter=1.0)
    with pytest.raises(sg.UserError, match="dt"):
        kind(dt=0.0)
    with pytest.raises(sg.UserError, match="learnable"):
        kind(learn="everything")
    for name, declared in kind.step.parameters.items():
        with pytest.raises(TypeError):
            kind(**{name: "large"})
        if isinstance(declared, sg.TimeConstant):
            with pytest.raises(sg.UserError, match=name):
                kind(**{name: 0.0})
            continue
        if declared.low is not None:
            with pytest.raises(sg.UserError, match=name):
                kind(**{name: declared.low - 1.0})
        if declared.high is not None:
            with pytest.raises(sg.UserError, match=name):
                kind(**{name: declared.high + 1.0})
