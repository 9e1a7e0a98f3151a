"""Neighbours that a Sequential runs as one: the reference's results, nothing hidden from anyone."""

from __future__ import annotations

import pytest
import torch

import spikegrad as sg
from spikegrad import functional as F
from spikegrad import surrogate as S
from spikegrad.kernels import cpu

pytestmark = pytest.mark.skipif(bool(cpu.load()), reason=f"no native kernels: {cpu.load()}")


def network(backend: str = "auto", **lif) -> sg.Sequential:
    torch.manual_seed(0)
    words = {"beta": 0.9, "backend": backend, **lif}
    layers = sg.Sequential(
        sg.Conv2d(1, 6, 3, padding=1, backend=backend), sg.LIF(**words), sg.MaxPool2d(2),
        sg.Conv2d(6, 5, 3, padding=1, backend=backend), sg.LIF(**words), sg.MaxPool2d(2),
        sg.Flatten(), sg.Linear(20, 7), sg.LIF(**words), sg.Linear(7, 3),
    )  # fmt: skip
    with torch.no_grad():
        for p in layers.parameters():  # dyadic, with beta = 0.5: no sum rounds
            p.copy_((p * 4 * 16).round() / 16)
    return layers


def learn(layers, x, states=None):
    y, states = layers(x, states)
    loss = y.mean(0).square().sum() + sum(s.v.square().mean() for s in states if s is not None)
    gradients = torch.autograd.grad(loss, list(layers.parameters()))
    return [y, *[s.v for s in states if s is not None], *gradients]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    from spikegrad import kernels

    found: list[int] = []
    cpu = kernels.get("cpu")
    real = cpu.spike_pool
    monkeypatch.setattr(cpu, "spike_pool", lambda *a, **k: found.append(1) or real(*a, **k))
    return found


@pytest.mark.parametrize("why", ["per neuron", "large windows", "fused"])
def test_a_convolution_runs_once_whether_its_neurons_fuse_or_not(calls, monkeypatch, why) -> None:
    """It once ran before it was known that nothing would be fused, and then again."""
    from spikegrad import kernels

    ran = []
    real = kernels.conv2d
    monkeypatch.setattr(kernels, "conv2d", lambda *a, **k: ran.append(1) or real(*a, **k))
    lif = {"threshold": torch.ones(6, 1, 1)} if why == "per neuron" else {}
    pool = 9 if why == "large windows" else 2
    layers = sg.Sequential(
        sg.Conv2d(1, 6, 3, padding=1), sg.LIF(beta=0.5, **lif), sg.MaxPool2d(pool)
    )
    x = F.direct(torch.rand(3, 1, 8, 8), 4)
    if why == "large windows":
        with pytest.raises(RuntimeError):
            layers(x)
    else:
        layers(x)
    assert ran == [1]
    assert calls == ([1] if why == "fused" else [])


@pytest.mark.parametrize("static", [True, False])
def test_a_container_fuses_and_equals_the_reference(calls, static: bool) -> None:
    x = (torch.rand(4, 3, 1, 9, 8) * 16).round() / 16
    x = F.direct(x[0], 4) if static else x
    fast, slow = network(beta=0.5), network("reference", beta=0.5)
    got, want = learn(fast, x), learn(slow, x)
    assert len(calls) == 2
    assert torch.equal(got[0], want[0])
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    a, states = fast(x[:2])  # two chunks are the whole
    b, states = fast(x[2:], states)
    torch.testing.assert_close(torch.cat([a, b]), fast(x)[0])
    for one, other in zip(states, fast(x)[1], strict=True):
        assert one is None or torch.equal(one.v, other.v)


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [sg.LIF(20.0, threshold=torch.rand(2, 6, 6) + 0.5), sg.MaxPool2d(2)],
        lambda: [sg.LIF(20.0, surrogate=S.arctan(2.0).soft()), sg.MaxPool2d(2)],
        lambda: [sg.LIF(20.0, backend="reference"), sg.MaxPool2d(2)],
        lambda: [sg.LIF(20.0), sg.MaxPool2d(3, stride=2, padding=1)],
        lambda: [sg.LIF(20.0), sg.MaxPool2d(2, stride=1)],
        lambda: [sg.LIF(20.0), sg.MaxPool2d(4, ceil_mode=True)],
        lambda: [sg.LIF(20.0), sg.MaxPool2d(2, dilation=2)],
        lambda: [sg.LIF(20.0), torch.nn.MaxPool2d(2)],
        lambda: [sg.LIF(20.0), sg.AvgPool2d(2)],
        lambda: [sg.LIF(20.0), sg.Flatten()],
        lambda: [sg.MaxPool2d(2), sg.LIF(20.0)],
        lambda: [sg.LI(20.0), sg.MaxPool2d(2)],
        lambda: [sg.LIF(20.0, spike="multiple"), sg.MaxPool2d(2)],
    ],
)
def test_what_is_not_fused_runs_one_by_one(calls, layers) -> None:
    x = torch.rand(4, 2, 2, 6, 6)
    network = sg.Sequential(*layers())
    y, states = network(x)
    assert 0 < y.mean() < 1
    z = x
    for layer in network:
        z = (
            layer(z)[0]
            if isinstance(layer, sg.nn.Stateful)
            else sg.nn.sequential.step(layer, z, None)[0]
        )
    assert torch.equal(y, z)
    assert len(states) == 2
    assert calls == []


@pytest.mark.parametrize(
    "neuron",
    [
        lambda: sg.LIF(20.0, learn=("threshold", "tau_mem")),
        lambda: sg.LIF(20.0, refractory=2.0),
        lambda: sg.ALIF(20.0, tau_adapt=50.0),
        lambda: sg.SEAdLIF(threshold=0.02),
    ],
)
def test_other_neurons_are_fused_too(calls, neuron) -> None:
    torch.manual_seed(0)
    x = torch.rand(4, 2, 2, 6, 6, requires_grad=True)
    network = sg.Sequential(neuron(), sg.MaxPool2d(2))
    asked = [x, *network.parameters()]
    y, states = network(x)
    assert calls == [1]
    grads = torch.autograd.grad(y.sum(), asked)
    sg.nn.use_backend(network, "reference")
    z, others = network(x)
    assert calls == [1]
    assert 0 < y.mean() < 1
    assert torch.equal(y, z)
    torch.testing.assert_close(states[0][0], others[0][0])
    for a, b in zip(grads, torch.autograd.grad(z.sum(), asked), strict=True):
        torch.testing.assert_close(a, b)


def test_whoever_watches_sees_every_layer(calls) -> None:
    layers, x = network(), torch.rand(4, 3, 1, 9, 8)
    plain = layers(x)[0]
    assert len(calls) == 2
    calls.clear()
    with sg.record(layers) as tapes:
        y, _ = layers(x)
    assert calls == []
    torch.testing.assert_close(y, plain)
    assert tapes["1"].spikes.shape == (4, 3, 6, 9, 8)
    for position in (1, 2):  # the neuron, or the pool
        seen: list[torch.Size] = []
        handle = layers[position].register_forward_hook(
            lambda m, a, out, seen=seen: seen.append(a[0].shape)
        )
        torch.testing.assert_close(layers(x)[0], plain)
        assert seen == [torch.Size((4, 3, 6, 9, 8))]
        handle.remove()
        assert len(calls) == 1  # the other pair
        calls.clear()
    seen = []
    handle = layers[0].register_forward_hook(lambda m, a, out: seen.append(out.shape))
    layers(F.direct(x[0], 4))
    assert seen == [torch.Size((4, 3, 6, 9, 8))]
    handle.remove()

    class Own(sg.LIF):
        def forward(self, x, state=None):
            y, state = super().forward(x, state)
            return 1 - y, state

    own = sg.Sequential(Own(20.0), sg.MaxPool2d(2))
    assert own(torch.zeros(2, 1, 1, 2, 2))[0].min() == 1.0


def test_other_dtypes_transforms_and_gradients_of_inputs(calls) -> None:
    layers, x = network().double(), torch.rand(4, 3, 1, 9, 8, dtype=torch.float64)
    slow = network("reference").double()
    torch.testing.assert_close(learn(layers, x), learn(slow, x))
    assert len(calls) == 2
    calls.clear()
    layers, slow, x = network(), network("reference"), x.float()
    weights = dict(layers.named_parameters())
    gradients = torch.func.grad(
        lambda w: torch.func.functional_call(layers, w, (x,))[0].square().sum()
    )(weights)
    assert calls == []
    layers(x)[0].square().sum().backward()
    for name, p in layers.named_parameters():
        torch.testing.assert_close(gradients[name], p.grad, rtol=1e-4, atol=1e-5)
    half = x.bfloat16()
    assert network().bfloat16()(half)[0].dtype == torch.bfloat16
    leaf = x[0].clone().requires_grad_()  # a static input that is differentiated
    a = torch.autograd.grad(layers(F.direct(leaf, 4))[0].square().sum(), leaf)[0]
    b = torch.autograd.grad(slow(F.direct(leaf, 4))[0].square().sum(), leaf)[0]
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_states_in_the_wrong_place_are_refused() -> None:
    layers, x = network(), torch.rand(4, 3, 1, 9, 8)
    _, states = layers(x)
    for position in (0, 2):
        wrong = list(states)
        wrong[position] = states[1]
        with pytest.raises(sg.UserError, match="stateless"):
            layers(x, wrong)
    with pytest.raises(sg.UserError, match=r"state\.v of shape"):
        layers(x[:, :2], states)


def test_a_norm_behind_the_convolution_of_a_static_input_is_in_the_same_call() -> None:
    network = sg.Sequential(sg.Conv2d(1, 4, 3), sg.BatchNorm(4), sg.LIF(5.0), sg.MaxPool2d(2))
    x = torch.rand(1, 3, 1, 6, 6).expand(5, -1, -1, -1, -1)
    (said,) = sg.diagnose.explain(network, x)
    assert said.layers == ("0", "1", "2", "3")
    assert "the convolution and the norm once" in said.reason
    before = network[1].running_mean.clone()
    network(x)
    assert not torch.equal(before, network[1].running_mean)
    wrong = sg.Sequential(sg.Conv2d(1, 4, 3), sg.BatchNorm(5), sg.LIF(5.0), sg.MaxPool2d(2))
    with pytest.raises(sg.errors.UserError, match=r"expected x \[T, B, 5, ...\], got \[5, 3, 4"):
        wrong(x)
    assert len(sg.diagnose.explain(network, x.clone())) > 1  # of other steps each is its own
