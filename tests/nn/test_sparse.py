"""Layers with some synapses alone are the dense ones with zeros: values, gradients, checkpoints."""

from __future__ import annotations

import copy
import io
import warnings
from typing import Any

import pytest
import torch
from native import needs_kernels
from torch import Tensor, nn

import spikegrad as sg
from spikegrad.diagnose import explain, gradient_flow, preflight, summary
from spikegrad.functional.linear import dense_weight
from spikegrad.nn import calibrate, initialise, no_decay, use_backend
from spikegrad.nn.edged import stored


def network(*, seed: int = 0, bias: bool = True, surrogate: str = "triangle") -> sg.Sequential:
    g = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    feedback = sg.Linear(24, 24, bias, connectivity=5, generator=g)
    return sg.Sequential(
        sg.Linear(30, 20, connectivity=0.3, generator=g),
        sg.LIF(10.0, surrogate=surrogate),
        sg.Linear(20, 24, bias, connectivity=6, generator=g),
        sg.Recurrent(sg.ALIF(10.0, 50.0, surrogate=surrogate), connection=feedback),
        sg.Linear(24, 3, connectivity=0.5, generator=g),
        sg.LI(10.0),
    )


def as_dense(sparse: sg.Sequential) -> sg.Sequential:
    """The same network with dense weights and zeros."""
    made = copy.deepcopy(sparse)
    for at in (0, 2, 4):
        made[at] = dense_of(sparse[at])
    made[3] = sg.Recurrent(made[3].neuron, connection=dense_of(sparse[3].connection))
    return made


def dense_of(layer: sg.Linear) -> sg.Linear:
    made = sg.Linear(layer.in_features, layer.out_features, layer.bias is not None)
    with torch.no_grad():
        made.weight.copy_(dense_weight(layer.weight, layer.edges))
        if layer.bias is not None:
            made.bias.copy_(layer.bias)
    return made


def spikes(steps: int = 20, batch: int = 4, inputs: int = 30, rate: float = 0.3) -> Tensor:
    drawn = torch.rand(steps, batch, inputs, generator=torch.Generator().manual_seed(1))
    return (drawn < rate).float()


def outcome(net: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Output, and gradients of the input and of every parameter by name."""
    x = x.clone().requires_grad_()
    y, _ = net(x)
    wanted = {"x": x, **dict(net.named_parameters())}
    found = torch.autograd.grad(y.square().sum(), list(wanted.values()))
    return {"y": y.detach(), **dict(zip(wanted, found, strict=True))}


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_sparse_network_is_the_dense_one_with_zeros(bias: bool, backend: str) -> None:
    made = network(bias=bias)
    sparse, dense = outcome_of(made, backend), outcome_of(as_dense(made), "reference")
    assert float(sparse["y"].abs().sum()) > 0
    layers = dict(made.named_modules())
    for name, found in sparse.items():
        layer = layers.get(name.removesuffix(".weight"))
        want = dense[name]
        if name.endswith("weight") and isinstance(layer, sg.Linear):
            found, there = (dense_weight(v, layer.edges) for v in (found, torch.ones_like(found)))
            want = want * there
        torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-4)


def outcome_of(net: sg.Sequential, backend: str) -> dict[str, Tensor]:
    use_backend(net, backend)
    return outcome(net, spikes())


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_chunks_equal_the_whole(backend: str) -> None:
    net, x = network(), spikes()
    use_backend(net, backend)
    whole, end = net(x)
    first, states = net(x[:7])
    second, states = net(x[7:8], states)
    third, states = net(x[8:], states)
    torch.testing.assert_close(torch.cat([first, second, third]), whole, rtol=1e-6, atol=1e-6)
    assert torch.equal(states[3].s, end[3].s)


def test_lengths_freeze_samples() -> None:
    net, x = network(), spikes()
    lengths = torch.tensor([20, 3, 11, 1])
    y, states = net(x, lengths=lengths)
    for b, n in enumerate(lengths.tolist()):
        alone, end = net(x[:n, b : b + 1])
        torch.testing.assert_close(y[:n, b : b + 1], alone, rtol=1e-5, atol=1e-5)
        assert torch.equal(states[3].s[b : b + 1], end[3].s)


def test_a_constant_input_passes_once() -> None:
    layer, x = sg.Linear(30, 20, connectivity=0.3), torch.rand(4, 30)
    y = layer(x.expand(9, 4, 30))
    assert y.stride(0) == 0
    torch.testing.assert_close(y, layer(x.repeat(9, 1, 1)))


def test_a_checkpoint_holds_the_synapses() -> None:
    """Also other synapses than those of the layer that it is loaded into, and more of them."""
    net, other = network(seed=0), network(seed=5)
    assert len(net[0].weight) != len(other[0].weight)
    weight = other[0].weight
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other[0].weight is weight  # an optimiser still has it
    for name, value in net.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    assert torch.equal(other(spikes())[0], net(spikes())[0])
    again = copy.deepcopy(net)
    assert torch.equal(again(spikes())[0], net(spikes())[0])


def test_a_damaged_checkpoint_is_refused_by_name() -> None:
    net = network()
    state = net.state_dict()
    state["2.targets"] = state["2.targets"] + 1
    with pytest.raises(RuntimeError, match=r"2.starts and 2.targets: expected connectivity"):
        network().load_state_dict(state)
    state = net.state_dict()
    del state["2.targets"]
    with pytest.raises(RuntimeError, match=r"2\.targets"):
        network().load_state_dict(state)


def test_weights_start_by_their_fan_in() -> None:
    layer = sg.Linear(400, 300, connectivity=25, generator=torch.Generator().manual_seed(0))
    assert float(layer.weight.detach().abs().max()) <= 0.2
    assert float(layer.weight.detach().std()) == pytest.approx(0.2 / 3**0.5, rel=0.05)
    assert float(layer.bias.detach().abs().max()) <= 0.2
    wide = sg.Linear(3, 2, connectivity=[[0, 1], [1, 1]])
    assert float(wide.bias.detach()[0]) == 0.0  # a neuron without inputs


def test_initialise_scales_by_synapses() -> None:
    mask = torch.ones(200, 900, dtype=torch.bool)
    mask[100:, 90:] = False  # the second half has a tenth of the inputs
    net = sg.Sequential(sg.Linear(900, 200, connectivity=mask), sg.LIF(10.0))
    for method in ("kaiming", "fluctuation"):
        initialise(net, method, generator=torch.Generator().manual_seed(0))
        weight = dense_weight(net[0].weight.detach(), net[0].edges)
        few, many = weight[100:, :90].std(), weight[:100].std()
        assert float(few / many) == pytest.approx(10**0.5, rel=0.05)
    initialise(net, "kaiming", generator=torch.Generator().manual_seed(0))
    assert float(net[0].weight.detach()[net[0].targets < 100].std()) == pytest.approx(
        1.5 * (2 / 900) ** 0.5, rel=0.05
    )
    sg.nn.kaiming(net[0], fan="fan_out", generator=torch.Generator().manual_seed(0))
    of_many = net[0].weight.detach()[net[0].edges.sources() < 90]
    assert float(of_many.std()) == pytest.approx(1.5 * (2 / 200) ** 0.5, rel=0.05)


def test_what_looks_at_networks_knows_them() -> None:
    net, x = network(), spikes(40, 8)
    initialise(net, "fluctuation", generator=torch.Generator().manual_seed(0))
    assert not bool(net[3].connection.bias.any())
    rates = {c.layer: c.after for c in calibrate(net, x, rate=0.1, tolerance=0.2)}
    assert list(rates) == ["1", "3.neuron"]
    rows = {row.name: row for row in summary(net, x).rows}
    assert rows["0"].macs == len(net[0].weight)
    assert rows["3"].macs == 24 * 5
    assert rows["0"].synops == pytest.approx(
        float((x.sum((0, 1)) * (dense_weight(net[0].weight, net[0].edges) != 0).sum(0)).sum()) / 8
    )
    with sg.record(net) as tapes:
        net(x)
    assert sorted(tapes) == ["1", "3.neuron", "5"]
    flow = gradient_flow(net, x, loss=lambda y: y.square().sum())
    assert flow.parameters["3.connection.weight"] > 0
    labels = torch.arange(8) % 3
    found = preflight(net, x, labels, loss=lambda y, k: nn.functional.cross_entropy(y.mean(0), k))
    assert all(f.severity != "error" for f in found)
    assert "0.weight" not in no_decay(net)
    assert "3.connection.weight" not in no_decay(net)
    assert "3.connection.bias" in no_decay(net)
    assert "synapses=" in repr(net)


@needs_kernels
def test_explain_says_what_ran() -> None:
    rows = explain(network(), spikes())
    assert {name for row in rows for name in row.layers} == {"0", "1", "2", "3", "4", "5"}
    backend, reason = rows[0].backend, rows[0].reason
    assert backend == "cpu" or "some synapses alone" in reason


def test_a_stream_runs_them() -> None:
    net, x = network().eval(), spikes()
    step = sg.stream(net, batch=4)
    with torch.no_grad():
        want, _ = net(x)
    torch.testing.assert_close(torch.stack([step(part) for part in x]), want)


def test_a_module_runs_them() -> None:
    class Net(sg.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.lif = sg.Linear(30, 20, connectivity=0.3), sg.LIF(10.0)
            self.skip, self.on = sg.Linear(20, 20), sg.Linear(20, 20, connectivity=3)
            self.back = sg.Linear(20, 20, connectivity=4)
            self.last = sg.Recurrent(sg.LIF(10.0), connection=self.back)

        def flow(self, x: Tensor) -> Tensor:
            a = self.lif(self.into(x))
            return self.last(self.on(a) + self.skip(a))

    torch.manual_seed(0)
    net = Net()
    ours, _ = net(spikes())
    use_backend(net, "reference")
    assert torch.equal(ours, net(spikes())[0])
    assert float(ours.sum()) > 0


def test_the_reference_says_that_it_is_dense() -> None:
    """Of a matrix of 1 GiB and more, once."""
    layer = sg.Linear(20_000, 20_000, connectivity=1, backend="reference", device="cpu")
    from spikegrad.kernels.refusal import say_dense, warn_dense

    warn_dense.cache_clear()
    with pytest.warns(sg.SpikegradWarning, match=r"dense matrix of 1.49 GiB: chosen by name"):
        say_dense(layer.edges, layer.weight, "chosen by name")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        say_dense(network()[0].edges, network()[0].weight, "chosen by name")


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "both": (lambda lif: sg.Recurrent(lif, 3, connection=sg.Linear(3, 3)), ValueError, "got both"),
    "neither": (lambda lif: sg.Recurrent(lif), ValueError, "either features or a connection"),
    "another kind": (lambda lif: sg.Recurrent(lif, connection=nn.Linear(3, 3)), TypeError,
                     "connection as a spikegrad Linear or DelayedLinear, got Linear"),
    "not square": (lambda lif: sg.Recurrent(lif, connection=sg.Linear(3, 4)), ValueError,
                   "from N to N neurons, got 3 to 4"),
    "features": (lambda lif: sg.Recurrent(lif, 0), ValueError, "features >= 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_feedback(name: str) -> None:
    make, kind, words = WRONG[name]
    with pytest.raises(kind, match=words):
        make(sg.LIF(10.0))


def test_feedback_of_another_size_or_forward() -> None:
    layer = sg.Recurrent(sg.LIF(10.0), connection=sg.Linear(4, 4, connectivity=2))
    for net in (layer, sg.Sequential(sg.Linear(3, 5), layer)):
        with pytest.raises(sg.UserError, match=r"feedback weight \[N, N\].* weight \[4, 4\]"):
            net(torch.zeros(2, 1, 5 if net is layer else 3))
    layer.connection.forward = lambda x: x
    for net in (layer, sg.Sequential(sg.Linear(3, 4), layer)):
        with pytest.raises(TypeError, match="without a forward of its own"):
            net(torch.zeros(2, 1, 4 if net is layer else 3))


def test_a_weight_of_another_length() -> None:
    layer = sg.Linear(4, 4, connectivity=2)
    with pytest.raises(sg.UserError, match=r"one number for each of 8 synapses, got \[7\]"):
        sg.functional.linear(torch.zeros(2, 1, 4), weight=torch.zeros(7), edges=layer.edges)


def test_the_stored_weight() -> None:
    layer = sg.Linear(4, 4, connectivity=2)
    assert stored(layer) is layer.weight
    nn.utils.parametrize.register_parametrization(layer, "weight", nn.Softplus(), unsafe=True)
    assert stored(layer) is layer.parametrizations.weight.original
    other = sg.Linear(4, 4, connectivity=2)
    nn.utils.parametrizations.weight_norm(other)
    with pytest.raises(sg.UserError, match="stored in one parameter"):
        stored(other)
