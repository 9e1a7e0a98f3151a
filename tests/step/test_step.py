"""A neuron written as a step: the loop, the layer made of it, and clear lines for bad steps."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

import spikegrad as sg
from spikegrad import functional
from spikegrad.step import Step
from spikegrad.surrogate import Surrogate, arctan, spike, triangle


def lif_step(x: Tensor, s: Any, p: Any) -> Any:
    """`functional.lif` as a step."""
    u = p.v_rest + p.beta * (s.v - p.v_rest) + x
    fired = p.spike(u, p.threshold)
    return fired, {"v": p.reset(u, fired)}


def alif_step(x: Tensor, s: Any, p: Any) -> Any:
    """`functional.alif` as a step."""
    u = p.v_rest + p.beta * (s.v - p.v_rest) + x
    fired = p.spike(u, p.threshold + p.kappa * s.a)
    return fired, {"v": p.reset(u, fired), "a": p.rho * s.a + fired}


LIF = Step(
    lif_step,
    states={"v": "v_rest"},
    parameters={
        "tau_mem": sg.TimeConstant(20.0, decay="beta"),
        "threshold": 1.0,
        "v_rest": 0.0,
        "v_reset": 0.0,
    },
)
ALIF = Step(
    alif_step,
    states={"v": "v_rest", "a": 0.0},
    parameters={
        "beta": 0.9,
        "rho": 0.95,
        "kappa": 0.2,
        "threshold": 1.0,
        "v_rest": 0.0,
        "v_reset": 0.0,
    },
)


@sg.neuron(
    states={"v": "v_start", "w": 0.0},
    parameters={
        "tau_mem": sg.TimeConstant(20.0, decay="beta"),
        "threshold": 1.0,
        "v_start": 0.0,
        "jump": sg.Parameter(0.1, low=0.0),
    },
)
def Tired(x: Tensor, s: Any, p: Any) -> Any:
    """A neuron whose current falls with each spike."""
    u = p.beta * s.v + x - s.w
    fired = p.spike(u, p.threshold)
    return fired, {"v": p.reset(u, fired), "w": 0.9 * s.w + p.jump * fired}


def leaves(values: dict[str, Any]) -> dict[str, Any]:
    """The same values as tensors that ask for a gradient."""
    return {k: torch.full((4,), float(v), dtype=torch.float64) for k, v in values.items()}


def by_hand(
    step: Step,
    x: Tensor,
    state: Any,
    values: dict[str, Tensor],
    surrogate: Surrogate,
    reset: str,
    refractory: int,
    detach: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """LIF or ALIF written out, one step after the other."""
    v, a, silent = state or (values["v_rest"].expand(x.shape[1:]), x.new_zeros(x.shape[1:]), None)
    counter = torch.zeros(x.shape[1:]) if silent is None else silent
    spikes = []
    for x_t in x:
        u = values["v_rest"] + values["beta"] * (v - values["v_rest"]) + x_t
        theta = values["threshold"] + (values["kappa"] * a if step is ALIF else 0.0)
        s = spike(u - theta, surrogate) * (counter == 0)
        counter = torch.where(s.detach() > 0, refractory, (counter - 1).clamp(min=0))
        known = s.detach() if detach else s
        if reset == "subtract":
            v = u - known * (values["threshold"] - values["v_rest"])
        else:
            v = u + known * (values["v_reset"] - u) if reset == "zero" else u
        if step is ALIF:
            a = values["rho"] * a + s
        spikes.append(s)
    return torch.stack(spikes), (v, a, counter)


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("refractory", [0, 2])
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("step", [LIF, ALIF], ids=["lif", "alif"])
def test_a_step_is_what_is_written_out(
    step: Step, detach: bool, refractory: int, reset: Any
) -> None:
    torch.manual_seed(0)
    x = torch.rand(12, 3, 4, dtype=torch.float64)
    values = {**step.defaults(), "v_rest": 0.125, "v_reset": 0.25}
    found = []
    for ours in (True, False):
        given = {k: v.requires_grad_() for k, v in leaves(values).items()}
        state: Any = None
        parts = []
        for chunk, surrogate in ((x[:7], triangle(1.5)), (x[7:], arctan(2.0))):
            chunk.requires_grad_()
            if ours:
                how = {"reset": reset, "refractory": refractory, "detach_reset": detach}
                y, state = step(chunk, state, surrogate=surrogate, **how, **given)
            else:
                y, state = by_hand(step, chunk, state, given, surrogate, reset, refractory, detach)
            parts.append(y)
        total = sum((y * y.detach().cumsum(0)).sum() for y in parts) + state[0].sum()
        grads = torch.autograd.grad(total, list(given.values()), allow_unused=True)
        found.append([*parts, state[0], *grads])
    assert 0 < found[0][0].mean() < 1
    for mine, theirs in zip(*found, strict=True):
        assert (mine is None) == (theirs is None)
        assert mine is None or torch.allclose(mine, theirs, rtol=1e-12)


def test_the_trace_is_the_scans() -> None:
    x = torch.rand(6, 2, 3)
    *_, ours = LIF(x, trace=True)
    *_, theirs = functional.lif(x, beta=LIF.defaults()["beta"], trace=True)
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine, other)


def test_chunks_equal_the_whole() -> None:
    layer = Tired(refractory=3.0)
    x = torch.rand(10, 2, 5)
    whole, end = layer(x)
    first, state = layer(x[:4])
    second, state = layer(x[4:], state)
    assert torch.equal(torch.cat([first, second]), whole)
    for mine, other in zip(state, end, strict=True):
        assert torch.equal(mine, other)


def test_a_layer_learns_what_it_is_asked_to() -> None:
    layer = Tired(learn=("tau_mem", "jump", "threshold", "v_start", "slope"), size=5)
    s, _ = layer(torch.rand(20, 3, 5))
    s.sum().backward()
    names = {name.split(".")[0] for name, p in layer.named_parameters() if p.grad is not None}
    assert names == {"beta", "jump", "threshold", "v_start", "slope"}
    assert layer.tau_mem().tolist() == [20.0] * 5


def test_a_layer_in_networks() -> None:
    torch.manual_seed(0)
    network = sg.Sequential(
        sg.Linear(6, 5),
        Tired(),
        sg.nn.Recurrent(Tired(refractory=1.0), 5),
        sg.Linear(5, 2),
        sg.LI(9.0),
    )
    x = torch.rand(20, 3, 6)
    sg.nn.calibrate(network, x, rate=0.1)
    with sg.record(network) as tapes:
        y, states = network(x)
    assert set(tapes) == {"1", "2.neuron", "4"}
    assert 0.05 < tapes["1"].spikes.mean() < 0.15
    assert pickle.loads(pickle.dumps(states[1])).w.shape == (3, 5)
    sg.diagnose.preflight(network, x, torch.zeros(3).long(), loss=lambda y, t: y.sum())
    assert sg.diagnose.gradient_flow(network, x, loss=lambda y: y.sum()).loss == pytest.approx(
        y.sum().item()
    )


def bad(change: str) -> Any:
    """A step with one mistake."""

    def step(x: Tensor, s: Any, p: Any) -> Any:
        u = p.beta * s.v + x
        if change == "in place":
            s.v.mul_(2.0)
        fired = p.spike(u, 1.0) if change != "no spike" else u
        if change == "twice":
            p.spike(u, 2.0)
        if change == "unknown":
            return fired, {"v": u * p.bta}
        if change == "undeclared":
            return fired, {"v": u, "w": u}
        if change == "dtype":
            return fired, {"v": u.double()}
        if change == "shape":
            return fired, {"v": u.sum(0)}
        return fired if change == "no states" else (fired, {"v": u})

    return step


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("in place", "changes nothing in place"),
        ("no spike", "expected a call of p.spike"),
        ("twice", "one call of p.spike"),
        ("unknown", "beta"),
        ("undeclared", "the states v"),
        ("dtype", "float64"),
        ("shape", "elementwise"),
        ("no states", r"return \(output, states\)"),
    ],
)
def test_a_bad_step_gets_a_clear_line(change: str, says: str) -> None:
    step = Step(bad(change), states={"v": 0.0}, parameters={"beta": 0.9})
    with pytest.raises((sg.UserError, TypeError, AttributeError), match=says):
        step(torch.rand(3, 2, 4))


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ({"states": {}, "parameters": {}}, "at least one state"),
        ({"states": {"v": "v_rst"}, "parameters": {"v_rest": 0.0}}, "the start of 'v'"),
        ({"states": {"refractory": 0.0}, "parameters": {}}, "reserved"),
        ({"states": ["v"], "parameters": {}}, "expected states by name"),
        ({"states": {"v": 0.0}, "parameters": 1.0}, "expected parameters by name"),
        ({"states": {"v": 0.0}, "parameters": {"dt": 1.0}}, "reserved"),
        ({"states": {"v": 0.0}, "parameters": {"values": 1.0}}, "reserved"),
        ({"states": {"v": 0.0}, "parameters": {"training": 1.0}}, "another parameter name"),
        ({"states": {"v": 0.0}, "parameters": {"k": "high"}}, "number"),
        ({"states": {"v": 0.0}, "parameters": {}, "reset": "hard"}, "hard"),
    ],
)
def test_a_bad_declaration_gets_a_clear_line(declared: dict[str, Any], says: str) -> None:
    with pytest.raises((sg.UserError, TypeError), match=says):
        sg.neuron(**declared)(bad("nothing"))


def test_bad_arguments_of_a_layer() -> None:
    with pytest.raises(sg.UserError, match="threshold"):
        Tired(treshold=2.0)
    with pytest.raises(sg.UserError, match="learnable"):
        Tired(learn="taumem")
    with pytest.raises(sg.UserError, match="either tau_mem or"):
        Tired(tau_mem=20.0, beta=0.9)
    with pytest.raises(TypeError, match="number"):
        Tired(jump="0.1")
    with pytest.raises(sg.UserError, match=r"jump from 0.0 to inf, got -0.1"):
        Tired(jump=-0.1)
    with pytest.raises(sg.UserError, match=r"jump from 0.0 to inf, got -1 to 2"):
        Tired(jump=torch.tensor([2.0, -1.0]))
    assert Tired(jump=0.0).jump() == 0.0
    assert Tired(jump=-0.5, bounds={"jump": (-1.0, 1.0)}).jump() == -0.5
    with pytest.raises(sg.UserError, match=r"jump from -1.0 to -0.2, got -0.1"):
        Tired(jump=-0.1, bounds={"jump": (-1.0, -0.2)})
    with pytest.raises(TypeError, match="bounds"):
        Tired(bounds={"jump": 3})
    with pytest.raises(sg.UserError, match="parameter with bounds of Tired 'tau_mem'") as seen:
        Tired(learn="tau_mem", bounds={"tau_mem": (1.0, 9.0)})
    assert "did you mean 'tau_mem'" not in str(seen.value)


def test_bounds_that_change_nothing_are_refused() -> None:
    """They were taken without a word, and the parameter stayed fixed."""
    with pytest.raises(sg.UserError, match=r"got jump fixed at 0\.1; add learn='jump', or omit"):
        Tired(bounds={"jump": (0.0, 0.5)})
    per_neuron = torch.tensor([0.5, 2.0])
    with pytest.raises(sg.UserError, match=r"got threshold fixed at 0\.5 to 2"):
        Tired(threshold=per_neuron, bounds={"threshold": (0.0, 3.0)}, learn="jump")
    learned = Tired(learn="jump", bounds={"jump": (0.0, 0.5)})
    assert (learned.jump.low, learned.jump.high) == (0.0, 0.5)


def test_a_decorator_without_arguments_shows_the_right_form() -> None:
    """Python's own error named the arguments of an inner function."""
    form = r"for example @sg.neuron\(states={'v': 0.0}, parameters={'threshold': 1.0}\)"
    with pytest.raises(TypeError, match=f"got no states; {form}"):
        sg.neuron(bad("nothing"))
    with pytest.raises(TypeError, match=f"got no states; {form}"):
        sg.neuron()
    with pytest.raises(TypeError, match=f"got no parameters; {form}"):
        sg.neuron(states={"v": 0.0})
    with pytest.raises(TypeError, match=f"got an argument without a name; {form}"):
        sg.neuron({"v": 0.0}, states={"v": 0.0}, parameters={})
