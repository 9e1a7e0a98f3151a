"""Layers, connections and containers."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn as tnn

import spikegrad as sg
from spikegrad import functional as F
from spikegrad.errors import UserError
from spikegrad.nn.fold import fold, is_static
from spikegrad.types import LIFState

X = torch.rand(6, 3, 4, generator=torch.Generator().manual_seed(0)) * 2


def gradients(network, x, backwards=None):
    y, _ = network(x)
    (y * torch.arange(y.shape[-1])).sum().backward()
    return y, [p.grad.clone() for p in network.parameters()]


LAYERS = [
    sg.IF(),
    sg.LIF(5.0),
    sg.LIF(beta=0.5, refractory=2.0),
    sg.CUBALIF(5.0, 3.0),
    sg.ALIF(5.0, 50.0),
    sg.LI(5.0),
    sg.Recurrent(sg.LIF(5.0), 4),
    sg.Recurrent(sg.ALIF(5.0, 20.0), 4),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: repr(layer).split("\n")[0][:40])
def test_layers_equal_the_specification_in_chunks_and_whole(layer) -> None:
    whole, _ = layer(X)
    first, state = layer(X[:2])
    second, state = layer(X[2:], state)
    assert torch.equal(torch.cat([first, second]), whole)
    if not isinstance(layer, sg.Recurrent):
        want, _ = getattr(F, layer.scan)(X, **layer.quantities())
        assert torch.equal(whole, want)


def test_layers_hold_no_membrane() -> None:
    """Two calls are two calls: nobody meets "backward through the graph a second time"."""
    network = sg.Sequential(sg.Linear(4, 5), sg.LIF(5.0), sg.Linear(5, 2), sg.LI(5.0))
    for _ in range(2):
        y, states = network(X)
        y.sum().backward()
    again, _ = network(X)
    assert torch.equal(again, network(X)[0])
    assert all(buffer.dim() == 0 for buffer in network[1].buffers())
    state = sg.cut(states)
    network(X, state)[0].sum().backward()


def test_sequential_threads_states_in_chunks() -> None:
    network = sg.Sequential(
        sg.Linear(4, 5),
        sg.Recurrent(sg.LIF(5.0), 5),
        sg.Sequential(sg.Linear(5, 5), sg.ALIF(5.0, 50.0), sg.Dropout(0.5)),
        tnn.Linear(5, 2),
        sg.LI(5.0),
    )
    torch.manual_seed(0)
    whole, states = network(X)
    assert states[0] is None
    assert states[3] is None
    torch.manual_seed(0)
    first, middle = network(X[:4])
    second, _ = network(X[4:], middle)
    torch.testing.assert_close(torch.cat([first, second]), whole)  # products of other batch sizes


def test_plain_modules_see_folded_time() -> None:
    seen = []

    class Spy(tnn.Module):
        def forward(self, x):
            seen.append(x.shape)
            return x

    y, states = sg.Sequential(Spy(), tnn.Linear(4, 2), tnn.ReLU())(X)
    assert seen == [(18, 4)]
    assert y.shape == (6, 3, 2)
    assert states == (None, None, None)


def test_an_embedding_of_integers_is_a_plain_module() -> None:
    network = sg.Sequential(tnn.Embedding(7, 4), sg.LIF(5.0))
    tokens = torch.randint(7, (6, 3))
    assert network(tokens)[0].shape == (6, 3, 4)
    with pytest.raises(UserError, match="T=0"):
        network(tokens[:0])


def test_plain_modules_that_break_the_batch_are_named() -> None:
    with pytest.raises(UserError, match=r"LSTM to map \[T\*B=18"):
        sg.Sequential(tnn.LSTM(4, 2))(X)
    with pytest.raises(UserError, match="Flatten"):
        sg.Sequential(tnn.Flatten(0))(X)


def test_containers_check_once_and_say_what_is_wrong() -> None:
    network = sg.Sequential(sg.Linear(4, 5), sg.LIF(5.0))
    bad = X.clone()
    bad[0, 0, 0] = float("nan")
    with pytest.raises(UserError, match="1 of 72 values NaN or infinite"):
        network(bad)
    bad[0, 0, 0] = float("inf")
    with pytest.raises(UserError, match="finite"):
        network(bad)
    with pytest.raises(TypeError, match="floating"):
        network(X.int())
    with pytest.raises(UserError, match=r"\[T, B, 4\], got \[6, 3, 5\].*T=6, B=3"):
        network(torch.rand(6, 3, 5))
    with pytest.raises(UserError, match=r"Linear's input as \[T, B, 4\], got \[3, 4\]"):
        network(torch.rand(3, 4))
    with pytest.raises(UserError, match="T=0"):
        network(torch.rand(0, 3, 4))
    with pytest.raises(UserError, match="expected 2 states, one per layer, got 1"):
        network(X, (None,))
    with pytest.raises(TypeError, match="tuple of 2 states, got LIFState"):
        network(X, LIFState(X[0]))
    with pytest.raises(UserError, match="None as the state of the stateless Linear"):
        network(X, (LIFState(X[0]), None))
    with pytest.raises(UserError, match=r"shape \[3, 5\], got \[2, 5\]"):
        network(X, (None, LIFState(torch.zeros(2, 5))))
    huge = torch.full((4, 8, 4), 3e38)
    network(huge)  # the sum overflows, no value does


def test_a_static_input_is_computed_once_and_stays_a_view() -> None:
    x = F.direct(torch.rand(3, 4), 6)
    calls = []
    linear = sg.Linear(4, 5)
    linear.register_forward_hook(lambda m, i, o: calls.append(o))
    y = linear(x)
    assert is_static(y)
    torch.testing.assert_close(y, linear(x.contiguous()))
    norm = sg.BatchNorm(5)
    assert is_static(norm(y))
    assert is_static(sg.Flatten()(F.direct(torch.rand(3, 2, 2), 6)))
    assert is_static(fold(tnn.Linear(4, 5), x))
    network = sg.Sequential(sg.Linear(4, 5), sg.BatchNorm(5), sg.LIF(5.0), sg.Linear(5, 2))
    network, x = network.double(), F.direct(torch.rand(3, 4, dtype=torch.float64), 6)
    twin = copy.deepcopy(network)
    y, got = gradients(network, x)
    want_y, want = gradients(twin, x.contiguous())
    torch.testing.assert_close(y, want_y)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)  # sums over T in another order
    for a, b in zip(network.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(a, b)


def test_convolutions_and_pools_over_time() -> None:
    x = torch.rand(5, 2, 3, 8, 8)
    conv, pool = sg.Conv2d(3, 4, 3, padding=1), sg.MaxPool2d(2)
    y = pool(conv(x))
    assert y.shape == (5, 2, 4, 4, 4)
    torch.testing.assert_close(y[3], pool(conv(x[3:4]))[0])
    assert sg.AvgPool2d(2)(x).shape == (5, 2, 3, 4, 4)
    assert sg.Flatten()(y).shape == (5, 2, 64)
    with pytest.raises(UserError, match=r"Conv2d's input as \[T, B, 3, H, W\]"):
        conv(x[:, :, :1])
    with pytest.raises(UserError, match="MaxPool2d"):
        pool(x[0])


def test_dropout_keeps_its_mask_over_time() -> None:
    x = torch.ones(10, 4, 50)
    layer = sg.Dropout(0.4, generator=torch.Generator().manual_seed(0))
    y, state = layer(x)
    assert torch.equal(y, y[:1].expand_as(y))
    assert y.unique().tolist() == pytest.approx([0.0, 1 / 0.6])
    later, _ = layer(x, state)
    assert torch.equal(later, y)
    each, none = sg.Dropout(0.4, over_time="independent")(x)
    assert none is None
    assert not torch.equal(each[0], each[1])
    layer.eval()
    assert torch.equal(layer(x)[0], x)
    with pytest.raises(UserError, match=r"p in \[0, 1\)"):
        sg.Dropout(1.0)


def test_batch_norm_is_torchs_over_time_and_batch() -> None:
    x = torch.randn(5, 7, 3) * 2 + 1
    ours, theirs = sg.BatchNorm(3), tnn.BatchNorm1d(3)
    want = theirs(x.flatten(0, 1)).unflatten(0, (5, 7))
    torch.testing.assert_close(ours(x), want)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(x), theirs(x.flatten(0, 1)).unflatten(0, (5, 7)))
    scaled = sg.BatchNorm(3, threshold=0.5, alpha=2.0)
    torch.testing.assert_close(scaled(x), want)
    half = sg.BatchNorm(3, threshold=0.5)(x)
    torch.testing.assert_close(half, want * 0.5)
    image = torch.randn(5, 2, 3, 4, 4)
    assert sg.BatchNorm(3)(image).shape == image.shape
    with pytest.raises(UserError, match=r"\[T, B, 3, \.\.\.\]"):
        ours(torch.rand(5, 2, 4))
    with pytest.raises(UserError, match="more than one value"):
        sg.BatchNorm(3)(torch.rand(1, 1, 3))


def test_the_memoryless_layer_trains() -> None:
    """The article's SurrogateGradientLinear: a linear layer, then a step without memory."""
    torch.manual_seed(0)
    network = sg.Sequential(sg.Linear(2, 16), sg.Spiking(learn="threshold"), sg.Linear(16, 2))
    x = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]]).unsqueeze(0)
    labels = torch.tensor([0, 1, 1, 0])
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        F.membrane_cross_entropy(network(x)[0], labels).backward()
        optimizer.step()
    assert (network(x)[0][0].argmax(-1) == labels).all()  # XOR
    assert network[1].threshold().item() != 1.0


def test_recording_needs_no_hooks_and_ends() -> None:
    network = sg.Sequential(
        sg.Linear(4, 5), sg.Recurrent(sg.LIF(5.0), 5), sg.Spiking(0.5), sg.Linear(5, 2), sg.LI(5.0)
    )
    plain, _ = network(X)
    with sg.record(network) as tapes:
        y, states = network(X[:4])
        network(X[4:], states)
        y.sum().backward()
    assert list(tapes) == ["1.neuron", "2", "4"]
    assert tapes["1.neuron"].membrane.shape == (6, 3, 5)
    assert torch.equal(tapes["4"].spikes, plain)
    assert tapes["4"].distance is None
    assert tapes["2"].distance is not None
    spikes = (tapes["1.neuron"].distance >= 0).float()
    assert torch.equal(spikes, tapes["1.neuron"].spikes)
    assert network[1].neuron.tape is None
    with sg.record(network, membrane=False) as light:
        network(X)
    assert torch.equal(light["1.neuron"].spikes, tapes["1.neuron"].spikes)
    with pytest.raises(RuntimeError), sg.record(network):
        raise RuntimeError
    assert all(getattr(m, "tape", None) is None for m in network.modules())


def test_recorded_currents_have_gradients() -> None:
    network = sg.Sequential(sg.Linear(4, 5), sg.Recurrent(sg.LIF(5.0), 5), sg.Linear(5, 2))
    with sg.record(network) as tapes:
        network(X)[0].sum().backward()
    gradient = tapes["1.neuron"].current_gradient
    assert gradient.shape == (6, 3, 5)
    # the weight's gradient is the sum of current gradients times inputs
    torch.testing.assert_close(torch.einsum("tbn,tbi->ni", gradient, X), network[0].weight.grad)


def test_a_network_compiles_and_runs_under_func() -> None:
    network = sg.Sequential(
        sg.Linear(4, 5),
        sg.LIF(5.0, learn=("tau_mem", "threshold", "slope")),
        sg.Linear(5, 2),
        sg.LI(5.0),
    )
    torch._dynamo.reset()
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(X)[0], network(X)[0])
    params = dict(network.named_parameters())

    def loss(params, x):
        return torch.func.functional_call(network, params, (x,))[0].square().sum()

    per_sample = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 1))(params, X.unsqueeze(2))
    total = torch.func.grad(loss)(params, X)
    for name, value in total.items():
        torch.testing.assert_close(per_sample[name].sum(0), value, rtol=1e-4, atol=1e-5)


def test_soft_network_gradcheck_over_weights_tau_threshold_and_slope() -> None:
    from spikegrad.surrogate import arctan

    network = sg.Sequential(
        sg.Linear(4, 3),
        sg.Recurrent(
            sg.LIF(
                5.0,
                learn=("tau_mem", "threshold", "slope"),
                detach_reset=False,
                surrogate=arctan(2.0).soft(),
            ),
            3,
        ),
        sg.Linear(3, 2),
        sg.LI(5.0, learn="tau_mem"),
    ).double()
    names, leaves = zip(*network.named_parameters(), strict=True)

    def run(x, *values):
        return torch.func.functional_call(network, dict(zip(names, values, strict=True)), (x,))[0]

    x = X[:4, :2].double().requires_grad_()
    assert torch.autograd.gradcheck(run, (x, *leaves), atol=1e-6, rtol=1e-4)


def test_spikes_stay_bits_between_layers_behind_a_static_input(monkeypatch) -> None:
    """A look ahead that judged the next layer by this one's input once made them numbers again."""
    from spikegrad.kernels import cpu

    if cpu.load():
        pytest.skip(f"no native kernels: {cpu.load()}")
    seen = []
    real = cpu.linear
    monkeypatch.setattr(cpu, "linear", lambda x, **rest: seen.append(x) or real(x, **rest))
    network = sg.Sequential(sg.Linear(4, 5), sg.LIF(5.0), sg.Linear(5, 2))
    network(F.direct(torch.rand(3, 4), 6))
    assert isinstance(seen[0], cpu.Spikes)


def test_an_input_that_repeats_one_step_is_computed_once(monkeypatch) -> None:
    """The article repeats the image; its product is the same at every step."""
    from spikegrad.kernels import cpu

    if cpu.load():
        pytest.skip(f"no native kernels: {cpu.load()}")
    seen = []
    real = cpu.layer
    monkeypatch.setattr(cpu, "layer", lambda x, *a, **k: seen.append(x) or real(x, *a, **k))
    network = sg.Sequential(sg.Linear(4, 5), sg.LIF(5.0), sg.Linear(5, 2))
    x, twin = torch.rand(3, 4).repeat(6, 1, 1), copy.deepcopy(network)
    y, got = gradients(network, x)
    assert is_static(seen[-1])
    want_y, want = gradients(twin, F.direct(x[0], 6))
    assert torch.equal(y, want_y)
    torch.testing.assert_close(got, want)
    network(x.clone().requires_grad_())
    assert not is_static(seen[-1])  # the gradient of every step is wanted
    x[5, 2, 3] += 1e-3
    network(x)
    assert not is_static(seen[-1])


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("kind", ["IF", "LIF", "CUBALIF", "ALIF", "LI", "Recurrent"])
def test_a_neuron_layer_that_comes_first_sees_nan_and_infinity(kind, reset, backend) -> None:
    """By the state that it ends in, wherever in x they stood."""
    taus = {"IF": (), "CUBALIF": (5.0, 20.0), "ALIF": (20.0, 100.0)}.get(kind, (20.0,))
    words = {} if kind == "LI" else {"reset": reset}
    made = sg.LIF(20.0, **words) if kind == "Recurrent" else getattr(sg, kind)(*taus, **words)
    first = sg.Recurrent(made, 3) if kind == "Recurrent" else made
    network = sg.Sequential(first, backend=backend)
    x = torch.rand(6, 2, 3) * 3
    network(x)
    for bad, (t, b, n) in [
        (float("nan"), (0, 0, 0)),
        (float("inf"), (2, 1, 2)),
        (-float("inf"), (5, 0, 1)),
    ]:
        wrong = x.clone()
        wrong[t, b, n] = bad
        with pytest.raises(UserError, match="1 of 36 values NaN or infinite"):
            network(wrong)
        network(x)
    network(torch.full((6, 2, 3), 3e38))  # finite, but the membrane is not


@pytest.mark.parametrize(("place", "backend"), [(0, "auto"), (2, "auto"), (2, "reference")])
def test_a_weight_changed_between_forward_and_backward_is_an_error(place, backend) -> None:
    """As docs/design.md says; torch needs a first layer's weight for nothing and allows it."""
    from spikegrad.kernels import cpu

    if cpu.load():
        pytest.skip(f"no native kernels: {cpu.load()}")
    network = sg.Sequential(
        sg.Linear(4, 5), sg.LIF(5.0), sg.Linear(5, 3), sg.LIF(5.0), backend=backend
    )
    y, _ = network(X)
    with torch.no_grad():
        network[place].weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("seen", [False, True], ids=["fused", "hooked"])
@pytest.mark.parametrize("training", [True, False])
def test_a_static_input_gives_what_its_copies_give(training: bool, seen: bool) -> None:
    """Values, gradients and running moments, where a convolution and a norm compute one step."""
    found = []
    step = torch.rand(3, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    for x in (step.expand(5, -1, -1, -1, -1), step.expand(5, -1, -1, -1, -1).contiguous()):
        torch.manual_seed(0)
        network = sg.Sequential(
            *(sg.Conv2d(1, 4, 3, bias=False), sg.BatchNorm(4, momentum=1.0), sg.LIF(5.0)),
            *(sg.MaxPool2d(2), sg.Flatten()),
        ).train(training)
        shapes: list[torch.Size] = []
        if seen:
            network[1].register_forward_hook(lambda m, i, y, shapes=shapes: shapes.append(y.shape))
        x = x.clone() if x.stride(0) else x
        y, grads = gradients(network, x)
        assert shapes == ([torch.Size([5, 3, 4, 4, 4])] if seen else [])
        found.append([y, *grads, network[1].running_mean, network[1].running_var])
    for one, copies in zip(*found, strict=True):
        torch.testing.assert_close(one, copies, rtol=1e-4, atol=1e-5)
