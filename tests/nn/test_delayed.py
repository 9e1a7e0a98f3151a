"""`DelayedLinear` in networks: states, chunks, streams, lengths, schedules, checkpoints."""

from __future__ import annotations

import copy
import io
import math
from typing import Any

import pytest
import torch
from native import needs_kernels
from torch import Tensor, nn

import spikegrad as sg
from spikegrad import kernels
from spikegrad.diagnose import explain, preflight, summary
from spikegrad.nn import anneal_delays, calibrate, initialise, no_decay
from spikegrad.nn.delayed import DelayedLinear
from spikegrad.types import PendingState


def network(learn: str | None = "interpolation", **how: Any) -> sg.Sequential:
    torch.manual_seed(0)
    return sg.Sequential(
        DelayedLinear(30, 16, most=6.0, learn=learn, **how),
        sg.Recurrent(sg.LIF(10.0, surrogate="triangle"), 16),
        DelayedLinear(16, 3, most=3.0, learn=learn, **how),
        sg.LI(10.0),
    )


def dyadic(net: nn.Module) -> nn.Module:
    """Weights in 8ths, delays in quarters of a step, decays of a half: no sum rounds."""
    with torch.no_grad():
        for name, p in net.named_parameters():
            if name.endswith("raw"):  # (1 + r / (1 + |r|)) / 2 is 3/4 at 1, 1/4 at -1
                p.copy_((p > 0).to(p) * 2 - 1)
            else:
                p.copy_((p * 24).round() / 8)
    for layer in net.modules():
        if isinstance(layer, (sg.LIF, sg.LI)):
            layer.decay_mem = sg.nn.Decay(beta=0.5)
    return net.double()


def spikes(steps: int = 24, batch: int = 4, inputs: int = 30, rate: float = 0.3) -> Tensor:
    drawn = torch.rand(steps, batch, inputs, generator=torch.Generator().manual_seed(1))
    return (drawn < rate).double()


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("cuts", [(1,), (7, 9), tuple(range(1, 24))])
def test_chunks_are_the_whole(cuts: tuple[int, ...], backend: str) -> None:
    net, x = dyadic(network()), spikes()
    sg.nn.use_backend(net, backend)
    whole, end = net(x)
    states, parts = None, []
    for part in torch.tensor_split(x, cuts):
        y, states = net(part, states)
        parts.append(y)
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(states[0].current, end[0].current)
    assert float(whole.detach().abs().sum()) > 0


def test_a_stream_is_the_whole_and_its_state_is_a_value() -> None:
    net, x = dyadic(network()).eval(), spikes()[:, :1]
    step = sg.stream(net, batch=1)
    with torch.no_grad():
        whole, _ = net(x)
    for t, x_t in enumerate(x):
        assert torch.equal(step(x_t), whole[t])
        if t == 9:
            kept = step.state
    step.state = kept
    assert torch.equal(step(x[10]), whole[10])
    assert isinstance(kept[0], PendingState)


def test_a_padded_batch_is_its_samples_alone() -> None:
    net, x = dyadic(network()), spikes()
    lengths = torch.tensor([24, 3, 11, 1])
    y, states = net(x, lengths=lengths)
    for b, n in enumerate(lengths.tolist()):
        alone, ends = net(x[:n, b : b + 1])
        assert torch.equal(y[:n, b], alone[:, 0])
        assert float(y[n:, b].detach().abs().sum()) == 0
        assert torch.equal(states[0].current[b], ends[0].current[0])


def test_in_a_module_and_the_backends_agree() -> None:
    class Net(sg.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.lif = DelayedLinear(30, 16, most=6.0, learn="interpolation"), sg.LIF(10.0)

        def flow(self, x: Tensor) -> Tensor:
            return self.lif(self.fc(x))

    torch.manual_seed(0)
    net, x = dyadic(Net()), spikes()
    y, states = net(x)
    assert sorted(states) == ["fc", "lif"]
    first, states = net(x[:5])
    second, _ = net(x[5:], states)
    assert torch.equal(torch.cat([first, second]), y)
    sg.nn.use_backend(net, "reference")
    assert torch.equal(net(x)[0], y)
    assert float(y.detach().sum()) > 0


@pytest.mark.parametrize("connectivity", [None, 0.4])
@pytest.mark.parametrize("per", ["synapse", "input", "connection"])
@pytest.mark.parametrize("learn", [None, "interpolation", "gaussian"])
def test_every_kind_trains_on_both_backends(
    learn: str | None, per: str, connectivity: float | None
) -> None:
    g = torch.Generator().manual_seed(0)
    layer = DelayedLinear(
        12,
        5,
        4.0,
        learn=learn,
        per=per,
        connectivity=connectivity,
        generator=g,
        dtype=torch.float64,
    )
    x, found = spikes(inputs=12), []
    for backend in ("auto", "reference"):
        layer.backend = backend
        y, state = layer(x)
        value = y.square().sum() + state.current.sum()
        found.append([y, *torch.autograd.grad(value, list(layer.parameters()))])
    for ours, want in zip(*found, strict=True):
        assert torch.allclose(ours, want, atol=1e-9)
        assert float(want.abs().sum()) > 0
    assert len(list(layer.parameters())) == (2 if learn is None else 3)


def test_delays_are_milliseconds() -> None:
    for dt in (0.5, 1.0, 2.0):
        layer = DelayedLinear(1, 1, 8.0, delays=4.0, per="connection", dt=dt, bias=False)
        with torch.no_grad():
            layer.weight.fill_(1.0)
        y, state = layer(torch.tensor([1.0] + [0.0] * 9).reshape(10, 1, 1))
        assert y.flatten().nonzero().flatten().tolist() == [round(4.0 / dt)]
        assert state.current.shape == (1, round(8.0 / dt), 1)


def test_a_learned_delay_finds_where_the_spike_is_wanted() -> None:
    torch.manual_seed(0)
    x, want = torch.zeros(20, 1, 1), torch.zeros(20, 1, 1)
    x[2], want[11] = 1.0, 1.0
    for learn, rate in (("gaussian", 0.05), ("interpolation", 0.05)):
        first = torch.tensor([[4.3]]) if learn == "gaussian" else torch.tensor([[8.3]])
        layer = DelayedLinear(1, 1, 15.0, bias=False, delays=first, learn=learn, sigma=(
            (4.0, 0.5) if learn == "gaussian" else None
        ))  # fmt: skip
        with torch.no_grad():
            layer.weight.fill_(1.0)
        layer.weight.requires_grad_(False)
        optimizer = torch.optim.Adam(layer.parameters(), lr=rate)
        for step in range(200):
            layer.anneal(step / 200)
            optimizer.zero_grad()
            (layer(x)[0] - want).square().sum().backward()
            optimizer.step()
        assert abs(layer.delay().item() - 9.0) < 0.2, learn
        if learn == "gaussian":
            assert torch.equal(layer.eval()(x)[0], want)


def test_gaussians_narrow_within_the_first_quarter_and_are_rounded_in_eval() -> None:
    layer = DelayedLinear(3, 2, 8.0, learn="gaussian", dt=0.5)
    counts = []
    for progress in (0.0, 0.125, 0.25, 1.0):
        anneal_delays(nn.Sequential(layer), progress)
        counts.append((float(layer.sigma), layer.taps().values.shape[-1]))
    assert [round(s, 6) for s, _ in counts] == [4.0, 1.0, 0.25, 0.25]
    assert [k for _, k in counts] == [17, 15, 5, 5]
    taps = layer.eval().taps()
    assert taps.values.shape[-1] == 1
    assert torch.equal(taps.first, (layer.delay() / 0.5).round().int())


def test_fit_anneals_and_a_checkpoint_keeps_it() -> None:
    net, x = network("gaussian"), spikes(batch=12).float()
    batches = [(x.transpose(0, 1).contiguous(), torch.arange(12) % 3)]
    before, delays = float(net[0].sigma), net[0].delay().detach().clone()
    seen: list[float] = []

    class Watch:
        def on_step(self, step: Any) -> None:
            seen.append(round(float(net[0].sigma), 6))

    sg.fit(net, batches, sequence=True, epochs=9, progress=False, callbacks=[Watch()])
    assert before == 3.0
    assert seen == [3.0, round((3.0 * 0.5) ** 0.5, 6), *[0.5] * 7]
    assert not torch.equal(net[0].delay(), delays)
    other = network("gaussian")
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file))
    assert float(other[0].sigma) == 0.5
    assert torch.equal(other(x)[0], net(x)[0])


def test_a_checkpoint_with_other_synapses() -> None:
    g = torch.Generator().manual_seed(4)
    one, two = (DelayedLinear(9, 4, 5.0, learn="interpolation", connectivity=0.5, generator=g)
                for _ in range(2))  # fmt: skip
    assert len(one.weight) != len(two.weight)
    two.load_state_dict(one.state_dict())
    x = spikes(inputs=9).float()
    assert torch.equal(one(x)[0], two(x)[0])


def test_weight_decay_leaves_delays_alone() -> None:
    for how in ({}, {"connectivity": 0.5}):
        names = no_decay(network(**how))
        assert {"0.delay.raw", "2.delay.raw"} <= names
        assert {"0.weight", "2.weight"} & names == set()


def test_initialise_calibrate_summary_and_preflight_know_it() -> None:
    net, x = network(), spikes().float()
    delays = net[0].delay().detach().clone()
    initialise(net, "fluctuation", rate=0.3)
    calibrate(net, x, rate=0.1)
    assert torch.equal(net[0].delay(), delays)
    rate = next(iter(sg.diagnose.firing_rates(net, x).values()))
    assert 0.05 < rate < 0.2
    rows = summary(net, x).rows
    assert [row.kind for row in rows][::2] == ["DelayedLinear", "DelayedLinear"]
    assert rows[0].synops == float(x.sum()) * 16 / 4
    assert rows[0].parameters == 2 * 30 * 16 + 16
    loss = sg.functional.membrane_cross_entropy
    found = preflight(net, x, torch.arange(4) % 3, loss=loss)
    assert not [each for each in found if each.severity == "error"]


@needs_kernels
def test_explain_says_what_runs() -> None:
    x = spikes().float()
    lines = {each.layers: each.line() for each in explain(network(), x)}
    assert "a kernel for delays, 2 taps a synapse" in lines[("0",)]
    said = explain(network(None, per="input"), x)[0]
    assert said.reason == "its delays shift an ordinary product"
    slow = network()
    sg.nn.use_backend(slow, "reference")
    assert "7 products, one for every delay: chosen by name" in explain(slow, x)[0].reason


def test_a_copy_and_half_types() -> None:
    net, x = network(), spikes()
    assert torch.equal(copy.deepcopy(net).float()(x.float())[0], net.float()(x.float())[0])
    layer = DelayedLinear(30, 4, most=6.0, learn="interpolation").bfloat16()
    y, state = layer(x.bfloat16())
    assert y.dtype == state.current.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ({"most": 0.0}, "expected a finite most > 0 ms, got 0.0"),
        ({"most": 2.5}, r"expected DelayedLinear's most as a multiple of dt.*got 2.5 ms; use 2"),
        ({"delays": -1.0}, r"expected DelayedLinear's delays in \[0, 5\] ms, got -1; raise most"),
        ({"delays": 6.0}, r"expected DelayedLinear's delays in \[0, 5\] ms, got 6"),
        ({"delays": math.nan}, r"expected DelayedLinear's delays in \[0, 5\] ms, got nan"),
        ({"delays": 1.5}, "fixed delays in whole steps of dt = 1 ms, got some between two steps"),
        ({"delays": torch.ones(3)}, r"delays of shape \[2, 3\], got \[3\]; see per="),
        ({"delays": 5.0, "learn": "interpolation"}, r"learned delays inside \(0, 5\) ms, got 5"),
        ({"per": "neuron"}, "unknown per 'neuron'; .known: synapse, input, connection"),
        ({"learn": "linear"}, "unknown learn 'linear'; .known: interpolation, gaussian"),
        ({"sigma": (1.0, 0.5)}, "expected learn='gaussian' with sigma, got None"),
        ({"dt": 0.0}, "expected a finite dt > 0 ms"),
    ],
)
def test_bad_arguments(how: dict[str, Any], match: str) -> None:
    with pytest.raises(sg.UserError, match=match):
        DelayedLinear(3, 2, **{"most": 5.0, **how})


def test_bad_types_and_inputs() -> None:
    with pytest.raises(TypeError, match="delays as a number or a tensor"):
        DelayedLinear(3, 2, 5.0, delays="long")
    with pytest.raises(TypeError, match="expected sigma as the first and the last"):
        DelayedLinear(3, 2, 5.0, learn="gaussian", sigma=1.0)
    layer = DelayedLinear(3, 2, 5.0)
    with pytest.raises(sg.UserError, match=r"expected DelayedLinear's input as \[T, B, 3\]"):
        layer(torch.ones(4, 1, 2))
    with pytest.raises(TypeError, match="expected DelayedLinear's input of dtype"):
        layer(torch.ones(4, 1, 3).double())
    with pytest.raises(sg.UserError, match=r"expected state.current of shape \[1, 5, 2\]"):
        layer(torch.ones(4, 1, 3), PendingState(torch.zeros(1, 4, 2)))


def fed(learn: str | None = "interpolation", **how: Any) -> sg.Sequential:
    torch.manual_seed(0)
    back = DelayedLinear(16, 16, most=6.0, learn=learn, **how)
    with torch.no_grad():
        back.weight.mul_(2.0)
    lif = sg.LIF(10.0, surrogate="triangle")
    recurrent = sg.Recurrent(lif, connection=back)
    return sg.Sequential(sg.Linear(30, 16), recurrent, sg.Linear(16, 3), sg.LI(10.0))


@pytest.mark.parametrize("how", [{}, {"connectivity": 0.4}, {"bias": False, "per": "input"}])
@pytest.mark.parametrize("learn", [None, "interpolation"])
def test_feedback_with_delays_in_chunks_streams_and_lengths(
    learn: str | None, how: dict[str, Any]
) -> None:
    net, x = dyadic(fed(learn, **how)).eval(), spikes()
    with torch.no_grad():
        whole, end = net(x)
        first, states = net(x[:7])
        second, states = net(x[7:], states)
        assert torch.equal(torch.cat([first, second]), whole)
        assert torch.equal(states[1].current, end[1].current)
        padded, _ = net(x, lengths=torch.tensor([24, 3, 11, 1]))
        assert torch.equal(padded[:11, 2], whole[:11, 2])
        step = sg.stream(net, batch=4)
        for t, x_t in enumerate(x):
            assert torch.equal(step(x_t), whole[t])
        sg.nn.use_backend(net, "reference")
        assert torch.equal(net(x)[0], whole)
    rate = next(iter(sg.diagnose.firing_rates(net, x).values()))
    assert 0.02 < rate < 0.98
    with torch.no_grad():
        net[1].connection.weight.zero_()
    assert not torch.equal(net(x)[0], whole)


@pytest.mark.parametrize("learn", ["interpolation", "gaussian"])
def test_feedback_with_delays_has_every_gradient(learn: str) -> None:
    net, x, found = fed(learn).double(), spikes(), []
    for backend in ("auto", "reference"):
        sg.nn.use_backend(net, backend)
        with sg.record(net) as tapes:
            value = net(x)[0].square().sum()
        assert float(next(iter(tapes.values())).spikes.sum()) > 0
        found.append(torch.autograd.grad(value, list(net.parameters())))
    for (name, _), ours, want in zip(net.named_parameters(), *found, strict=True):
        assert torch.allclose(ours, want, atol=1e-9), name
        assert float(want.abs().sum()) > 0, name


def test_feedback_with_delays_is_explained_and_trained() -> None:
    x = spikes().float()
    said = {each.layers: each for each in explain(fed(), x)}
    if kernels.choose("delayed_recurrent", "auto", x).backend == "cpu":
        assert said[("1",)].reason == "delayed feedback, all steps in one call"
    slow = fed()
    sg.nn.use_backend(slow, "reference")
    said = {each.layers: each for each in explain(slow, x)}
    assert "delayed feedback, one step at a time" in said[("1",)].reason
    later = fed(None, delays=torch.full((16, 16), 3.0))
    sg.nn.use_backend(later, "reference")
    said = {each.layers: each for each in explain(later, x)}
    assert "delayed feedback, 4 steps at a time" in said[("1",)].reason
    net = fed("gaussian")
    batches = [(x.transpose(0, 1).contiguous(), torch.arange(4) % 3)]
    before = net[1].connection.delay().detach().clone()
    sg.fit(net, batches, sequence=True, epochs=3, progress=False)
    assert float(net[1].connection.sigma) == 0.5
    assert not torch.equal(before, net[1].connection.delay())
    assert summary(net, x).rows[1].parameters == 2 * 16 * 16 + 16


@pytest.mark.parametrize("connectivity", [None, 0.5])
def test_feedback_with_delays_compiles(connectivity) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    back = DelayedLinear(16, 16, most=5.0, learn="interpolation", connectivity=connectivity)
    layer = sg.Recurrent(sg.LIF(10.0, surrogate="triangle"), connection=back)
    network = sg.Sequential(sg.Linear(5, 16), layer, sg.Linear(16, 2))
    x, parameters = torch.rand(20, 3, 5) * 3, list(network.parameters())
    y, _ = network(x)
    compiled = torch.compile(lambda x: network(x)[0], backend="aot_eager", fullgraph=True)
    z = compiled(x)
    torch.testing.assert_close(y, z)
    pair = [torch.autograd.grad(out.sum(), parameters) for out in (y, z)]
    for ours, theirs in zip(*pair, strict=True):
        torch.testing.assert_close(ours, theirs)
