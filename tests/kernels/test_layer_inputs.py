"""Neurons with several inputs inside the layer kernel, fed back or not, against the reference."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from native import needs_kernels
from torch import Tensor, nn

import spikegrad as sg
from spikegrad.kernels.cpu.backend import MOST_INPUTS, obstacle_to_neuron
from spikegrad.nn.base import use_backend
from spikegrad.surrogate import arctan, boxcar, triangle

pytestmark = needs_kernels
F64 = torch.float64
INPUTS = 40


@sg.neuron(
    inputs=("excite", "inhibit", "shunt"),
    states={"g_e": 0.0, "g_i": 0.0, "v": 0.0},
    parameters={
        "tau_mem": sg.TimeConstant(10.0, decay="beta"),
        "tau_e": sg.TimeConstant(3.0, decay="alpha"),
        "threshold": 1.0,
        "v_reset": 0.0,
        "e_e": 4.0,
    },
    surrogate=arctan(2.0),
)
def Conductance(x: Any, s: Any, p: Any) -> Any:
    """Three inputs, whose products with states make the backward pass read them."""
    g_e = p.alpha * s.g_e + x.excite * x.excite
    g_i = 0.5 * s.g_i + x.inhibit * s.v
    u = p.beta * s.v + 0.25 * g_e * (p.e_e - s.v) - 0.125 * g_i - 0.25 * x.shunt * s.v
    fired = p.spike(u, p.threshold)
    return fired, {"g_e": g_e, "g_i": g_i, "v": p.reset(u, fired)}


def spikes_of(steps: int, batch: int, rate: float = 0.2, inputs: int = INPUTS) -> Tensor:
    """Zeros and ones."""
    source = torch.Generator().manual_seed(1)
    return (torch.rand(steps, batch, inputs, generator=source) < rate).double()


def mask(outputs: int, inputs: int, share: float, seed: int = 3) -> Tensor:
    """Which synapses exist, with a neuron that sends to nobody and one that nobody reaches."""
    made = torch.rand(outputs, inputs, generator=torch.Generator().manual_seed(seed)) < share
    made[:, 1] = False
    made[min(2, outputs - 1)] = False
    return made


def network(
    neuron: Any,
    n: int,
    *,
    feedback: str = "dense",
    front: str = "dense",
    bias: bool = True,
    last: bool = True,
) -> sg.Sequential:
    """`Linear, Unflatten, neurons` with feedback, then a readout."""
    torch.manual_seed(0)
    many = len(neuron.step.inputs)
    sparse = {"connectivity": mask(many * n, INPUTS, 0.3)} if front == "sparse" else {}
    layers: list[nn.Module] = [
        sg.Linear(INPUTS, many * n, bias, **sparse),
        nn.Unflatten(1, (many, n)),
    ]
    if front == "given":
        layers.insert(1, nn.Identity())
    if feedback == "none":
        layers.append(neuron)
    else:
        share = {"dense": None, "sparse": 0.1, "tiles": 0.7}[feedback]
        how = {} if share is None else {"connectivity": mask(many * n, n, share, 5)}
        layers.append(sg.Recurrent(neuron, connection=sg.Linear(n, many * n, bias, **how)))
    layers += [sg.Linear(n, 3), sg.LI(10.0)] if last else []
    made = sg.Sequential(*layers).double()
    with torch.no_grad():
        made[0].weight.mul_(1.5)
    return made


def results(
    net: sg.Sequential, x: Tensor, backend: str, cuts: tuple[int, ...] = (), **how: Any
) -> tuple[list[Tensor], list[Tensor]]:
    """Output and states over chunks, gradients of x and all parameters."""
    use_backend(net, backend)
    net.zero_grad()
    x = x.clone().requires_grad_()
    state, ys = None, []
    for part in x.tensor_split(cuts):
        y, state = net(part, state, **how)
        ys.append(y)
    y = torch.cat(ys)
    weights = torch.arange(y.numel(), dtype=y.dtype).reshape(y.shape).cos()
    ends: list[Tensor] = []
    sg.types.map_state(lambda part: ends.append(part) or part, state)  # type: ignore[func-returns-value]
    smooth = [end for end in ends if end.requires_grad]
    total = (y * weights).sum() + sum((end * end).sum() for end in smooth)
    parameters = [x, *net.parameters()]
    return [y, *ends], list(torch.autograd.grad(total, parameters))


def compared(net: sg.Sequential, x: Tensor, cuts: tuple[int, ...] = (), **how: Any) -> None:
    """Native and reference."""
    want, theirs = results(net, x, "reference", cuts, **how)
    with sg.record(net, membrane=False) as tapes, torch.no_grad():
        net(x, **how)
    rate = next(iter(tapes.values())).spikes.mean()
    assert 0.02 < rate < 0.98, rate
    got, ours = results(net, x, "auto", cuts, **how)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)
        assert b.any()


def ran(net: sg.Sequential, x: Tensor) -> list[tuple[str, ...]]:
    """Which layers ran natively, in one call each."""
    found = sg.diagnose.explain(net, x)
    return [each.layers for each in found if each.backend == "cpu"]


@pytest.mark.parametrize("n", [3, 64, 70, 130])
@pytest.mark.parametrize("feedback", ["none", "dense", "sparse", "tiles"])
def test_two_synapses(n: int, feedback: str) -> None:
    """Neurons that fill words, and that do not; from rest and in chunks."""
    net = network(sg.SynapticLIF(tau_ampa=3.0, tau_gaba=6.0), n, feedback=feedback)
    x = spikes_of(40, 9)
    assert ran(net, x.clone())[0] == ("0", "1", "2")
    compared(net, x)
    compared(net, x, (13, 14))


@pytest.mark.parametrize("surrogate", [triangle(1.0), boxcar(0.5)], ids=["triangle", "boxcar"])
@pytest.mark.parametrize("feedback", ["none", "dense", "sparse"])
def test_surrogates_of_compact_support(surrogate: Any, feedback: str) -> None:
    neuron = sg.SynapticLIF(surrogate=surrogate, refractory=2.0, detach_reset=False)
    compared(network(neuron, 70, feedback=feedback), spikes_of(40, 40), (20,))


@pytest.mark.parametrize("feedback", ["none", "dense", "sparse"])
@pytest.mark.parametrize("lean", [False, True])
def test_a_step_that_reads_its_inputs_back(feedback: str, lean: bool) -> None:
    """Three inputs with numbers kept of each; everything learned, for each neuron."""
    neuron = Conductance(learn=("tau_mem", "tau_e", "threshold", "e_e"), size=70)
    net = network(neuron, 70, feedback=feedback)
    use_backend(net, lean=lean)
    compared(net, spikes_of(60, 33, 0.1), (30,))


@pytest.mark.parametrize("front", ["sparse", "given"])
@pytest.mark.parametrize("feedback", ["none", "dense", "sparse"])
@pytest.mark.parametrize("lean", [False, True])
def test_currents_that_are_made_before(front: str, feedback: str, lean: bool) -> None:
    """A sparse connection in front, and a connection that is none of the call."""
    net = network(sg.SynapticLIF(learn="tau_gaba"), 70, feedback=feedback, front=front)
    use_backend(net, lean=lean)
    compared(net, spikes_of(60, 33), (30,))


@pytest.mark.parametrize("kind", ["numbers", "few", "constant", "images"])
def test_inputs_of_every_kind(kind: str) -> None:
    """Spikes had their tests; dense numbers, mostly zeros, one step seen at all, many of them."""
    source = torch.Generator().manual_seed(2)
    x = torch.rand(20, 30, INPUTS, generator=source, dtype=F64) - 0.3
    x = {
        "numbers": x,
        "few": x * (torch.rand(x.shape, generator=source) < 0.1),
        "constant": x[:1].expand(20, 30, INPUTS),
        "images": x[:1].expand(20, 30, INPUTS).contiguous(),
    }[kind]
    for feedback in ("none", "dense"):
        net = network(sg.SynapticLIF(), 70, feedback=feedback)
        compared(net, x)
        found = [run(net, x, backend) for backend in ("auto", "reference")]  # no gradient of x
        for ours, theirs in zip(*found, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


def run(net: sg.Sequential, x: Tensor, backend: str) -> list[Tensor]:
    """The gradients of the parameters alone."""
    use_backend(net, backend)
    y, _ = net(x)
    return list(torch.autograd.grad(y.square().sum(), list(net.parameters())))


@pytest.mark.parametrize("feedback", ["none", "dense", "sparse"])
def test_dyadic_values_are_equal_bit_for_bit(feedback: str) -> None:
    """In float32: weights of some 32nds, decays of powers of 2, spikes that depend on each bit."""
    half = {"beta": 0.5, "alpha_ampa": 0.5, "alpha_gaba": 0.75}
    neuron = sg.SynapticLIF(surrogate=triangle(1.0), **half)
    net = network(neuron, 70, feedback=feedback, last=False).float()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_((p * 32).round() / 32)
    x = spikes_of(12, 20).float()
    (ours, end), (theirs, last) = (
        (use_backend(net, backend), net(x))[1] for backend in ("auto", "reference")
    )
    assert 0.02 < theirs.mean() < 0.7
    assert torch.equal(ours, theirs)
    sg.types.map_state(lambda part: part, end)
    flat: list[list[Tensor]] = [[], []]
    for state, to in zip((end, last), flat, strict=True):
        sg.types.map_state(lambda part, to=to: to.append(part) or part, state)  # type: ignore[misc]
    assert all(torch.equal(a, b) for a, b in zip(*flat, strict=True))


@pytest.mark.parametrize("feedback", ["none", "dense", "sparse"])
def test_results_do_not_depend_on_the_number_of_threads(feedback: str) -> None:
    net, found = network(Conductance(size=130, learn="e_e"), 130, feedback=feedback).float(), []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(results(net, spikes_of(30, 70).float(), "auto", (11,)))
    finally:
        torch.set_num_threads(before)
    names = ["x", *(name for name, _ in net.named_parameters())]
    (ends, one), (same, two) = found
    assert all(torch.equal(a, b) for a, b in zip(ends, same, strict=True))
    for name, a, b in zip(names, one, two, strict=True):
        # Of few outputs torch computes it, and MKL adds up in an order that depends on the threads.
        assert torch.equal(a, b) or (name == "3.weight" and torch.allclose(a, b, 1e-3)), name


def test_bits_pass_from_layer_to_layer() -> None:
    """Two such layers one behind the other; the second reads the spikes of the first as bits."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before in (INPUTS, 70):
        layers += [
            sg.Linear(before, 140),
            nn.Unflatten(-1, (2, -1)),
            sg.Recurrent(sg.SynapticLIF(surrogate=triangle(1.0)), 70),
        ]
    net = sg.Sequential(*layers).double()
    with torch.no_grad():
        net[0].weight.mul_(1.5)
        net[3].weight.mul_(3.0)
    x = spikes_of(40, 20)
    assert ran(net, x.clone()) == [("0", "1", "2"), ("3", "4", "5")]
    compared(net, x, (17,))


@pytest.mark.parametrize("feedback", ["none", "dense", "sparse"])
def test_samples_of_different_length(feedback: str) -> None:
    net = network(Conductance(size=70, learn="e_e"), 70, feedback=feedback)
    lengths = torch.tensor([30, 1, 17, 30, 8, 2, 29, 11, 5])
    compared(net, spikes_of(30, 9), lengths=lengths)


def test_what_is_no_such_block_runs_one_by_one() -> None:
    """Another Unflatten, one with a hook, neurons with one input behind one, no Unflatten."""
    x, two = torch.rand(6, 4, INPUTS), sg.SynapticLIF()
    net = sg.Sequential(sg.Linear(INPUTS, 12), nn.Unflatten(1, (2, 6)), two)
    assert ran(net, x) == [("0", "1", "2")]
    handle = net[1].register_forward_hook(lambda *_: None)
    assert ran(net, x) == [("0",), ("2",)]
    handle.remove()
    with pytest.raises(sg.UserError, match="inputs ampa, gaba"):
        sg.Sequential(sg.Linear(INPUTS, 12), two)(x)
    with pytest.raises(sg.UserError, match="inputs ampa, gaba"):
        sg.Sequential(sg.Linear(INPUTS, 12), nn.Unflatten(1, (6, 2)), two)(x)
    images = sg.Sequential(sg.Linear(INPUTS, 12), nn.Unflatten(1, (2, 6)), sg.LIF(20.0))
    assert images(x)[0].shape == (6, 4, 2, 6)
    deep = sg.Sequential(sg.Linear(INPUTS, 12), nn.Unflatten(1, (2, 2, 3)), two)
    assert deep(x)[0].shape == (6, 4, 2, 3)
    wrong = sg.Sequential(net[0], net[1], sg.Recurrent(two, 5))
    with pytest.raises(sg.UserError, match=r"use a feedback weight \[12, 6\]"):
        wrong(x)


def test_more_inputs_than_a_layer_has_run_in_their_scan() -> None:
    names = [f"x{k}" for k in range(MOST_INPUTS + 1)]

    def step(x: Any, s: Any, p: Any) -> Any:
        u = 0.5 * s.v + sum(getattr(x, name) for name in names)
        fired = p.spike(u, p.threshold)
        return fired, {"v": p.reset(u, fired)}

    many = sg.neuron(inputs=names, states={"v": 0.0}, parameters={"threshold": 1.0})(step)
    assert obstacle_to_neuron(many.step, None) == "only the scan reads more than 8 inputs"
    net = network(many(), 4, feedback="none")
    assert ran(net, spikes_of(6, 3))[:2] == [("0",), ("2",)]
    compared(net, spikes_of(20, 3))
    net = network(many(), 4, feedback="dense")
    compared(net, spikes_of(20, 3))


def test_a_stream_takes_its_own_steps() -> None:
    net = network(sg.SynapticLIF(), 5)
    x = spikes_of(8, 2)
    step = sg.stream(net, batch=2)
    whole, _ = net(x)
    torch.testing.assert_close(torch.stack([step(part) for part in x]), whole)


def test_the_operators_pass_torchs_own_check() -> None:
    from spikegrad.kernels.cpu import layer as module

    calls = []

    def seen(*inputs: Any) -> Any:
        calls.append(inputs)
        return torch.ops.spikegrad.layer(*inputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(module.__globals__, "run", seen)
        for feedback in ("dense", "sparse"):
            network(Conductance(learn="e_e"), 7, feedback=feedback)(spikes_of(6, 3))
    for call in calls[:1] + calls[2:3]:
        given = [
            part.detach().requires_grad_(part.requires_grad) if isinstance(part, Tensor) else part
            for part in call
        ]
        tests = ("test_schema", "test_faketensor", "test_autograd_registration")
        torch.library.opcheck(torch.ops.spikegrad.layer, tuple(given), test_utils=tests)


def test_under_torch_compile() -> None:
    net = network(sg.SynapticLIF(surrogate=triangle(1.0)), 10, feedback="sparse").float()
    x = spikes_of(12, 3).float()
    want, _ = net(x)
    net.zero_grad()
    want.sum().backward()
    gradients = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    got, _ = torch.compile(net, backend="aot_eager")(x)
    got.sum().backward()
    torch.testing.assert_close(got, want)
    for p, theirs in zip(net.parameters(), gradients, strict=True):
        torch.testing.assert_close(p.grad, theirs)
