"""Layers and networks over sequences of different length equal their samples one by one."""

from functools import partial

import pytest
import torch
from ragged import compared, dyadic, one_by_one
from torch import nn

import spikegrad as sg
from spikegrad.ragged import Packed

LENGTHS = torch.tensor([3, 7, 1, 7, 5, 2])
STEPS, INPUTS = 8, 12
exact = partial(torch.testing.assert_close, rtol=0, atol=0)


def lif(**how):
    return sg.LIF(beta=0.5, threshold=0.25, surrogate="triangle", **how)


class Skip(sg.Module):
    """Two connections into one layer, an operation that needs numbers, a block in a block."""

    def __init__(self):
        super().__init__()
        self.a, self.one = sg.Linear(INPUTS, 16), lif()
        self.b, self.skip, self.two = sg.Linear(16, 16), sg.Linear(INPUTS, 16), lif()
        self.block = sg.Residual([sg.Linear(16, 16), lif()], join="concat")
        self.out, self.readout = sg.Linear(32, 4), sg.LI(beta=0.5)

    def flow(self, x):
        h = self.one(self.a(x))
        h = self.two(self.b(h) + self.skip(x) - 0.125)
        h = torch.exp2(h) - 1.0  # of padded numbers
        return self.readout(self.out(0.5 * self.block(h)))


def recurrent(size):
    return sg.Recurrent(lif(refractory=1.0), size)


def dense():
    return sg.Sequential(
        sg.Linear(INPUTS, 70),
        lif(),
        sg.Linear(70, 16),
        recurrent(16),
        sg.Linear(16, 4),
        sg.LI(beta=0.5),
    )


def many_neurons():
    return sg.Sequential(
        sg.Linear(INPUTS, 16),
        sg.CUBALIF(alpha=0.5, beta=0.5, threshold=0.25, surrogate="triangle"),
        nn.Linear(16, 16),  # torch's own: rows
        sg.ALIF(beta=0.5, rho=0.5, kappa=0.25, threshold=0.25, surrogate="triangle"),
        sg.Linear(16, 10),
        lif(output="membrane"),
        sg.Population(5),
    )


def nested():
    inner = sg.Sequential(
        sg.Linear(16, 16), sg.Branch([sg.Linear(16, 8), lif()], [sg.Linear(16, 8), lif()])
    )
    return sg.Sequential(sg.Linear(INPUTS, 16), lif(), inner, sg.Linear(8, 4), sg.Spiking(0.25))


NETWORKS = {"dense": dense, "many": many_neurons, "flow": Skip, "nested": nested}


def made(name, backend="auto", dtype=torch.float32):
    torch.manual_seed(1)
    network = dyadic(NETWORKS[name]()).to(dtype)
    sg.nn.use_backend(network, backend)
    x = (torch.rand(STEPS, len(LENGTHS), INPUTS) < 0.4).to(dtype).requires_grad_()
    return network, x


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NETWORKS)
def test_values_and_gradients_equal_those_of_the_samples_alone(name, backend, dtype):
    network, x = made(name, backend, dtype)
    compared(
        network,
        lambda: network(x, lengths=LENGTHS),
        lambda: one_by_one(network, x, LENGTHS),
        x,
        exact,
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_chunks_equal_the_whole(name):
    network, x = made(name)

    def chunks():
        first, states = network(x[:3], lengths=LENGTHS.clamp(max=3))
        rest, states = network(x[3:], states, lengths=(LENGTHS - 3).clamp(min=0))
        return torch.cat([first, rest]), states

    compared(network, chunks, lambda: network(x, lengths=LENGTHS), x, exact)


@pytest.mark.parametrize("name", NETWORKS)
def test_states_that_are_given_get_their_gradients(name):
    network, x = made(name)
    _, before = network(x.detach(), lengths=LENGTHS)
    leaves = []

    def leaf(part):
        part = part.detach().clone()
        if part.is_floating_point():
            leaves.append(part.requires_grad_())
        return part

    states = sg.map_state(leaf, before)
    grads = []
    for run in (
        lambda: network(x, states, lengths=LENGTHS - 1),  # one sample has ended
        lambda: one_by_one(network, x, LENGTHS - 1, states),
    ):
        y, after = run()
        total = y.square().sum()
        for part in floats(after):
            total = total + (part * torch.arange(1.0, 1 + part.shape[1])).sum()
        grads.append(torch.autograd.grad(total, leaves, allow_unused=True))
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


def floats(states):
    found = []
    sg.map_state(lambda part: found.append(part) if part.is_floating_point() else None, states)
    return found


def test_what_stands_in_the_padding_is_never_read():
    network, x = made("dense")
    y, states = network(x, lengths=LENGTHS)
    spoiled = x.detach().clone()
    for b, n in enumerate(LENGTHS.tolist()):
        spoiled[n:, b] = torch.nan
    again, after = network(spoiled, lengths=LENGTHS)
    assert torch.equal(y, again)
    assert torch.equal(states[3].neuron.v, after[3].neuron.v)
    for b, n in enumerate(LENGTHS.tolist()):
        assert not y[n:, b].any()


def test_equal_lengths_are_the_dense_batch():
    network, x = made("dense")
    y, _ = network(x, lengths=[STEPS] * len(LENGTHS))
    assert torch.equal(y, network(x)[0])


def test_a_single_layer_takes_lengths():
    x = torch.rand(STEPS, len(LENGTHS), 4)
    for layer in (lif(), recurrent(4), sg.LI(20.0)):
        y, state = layer(x, lengths=LENGTHS)
        expected, ends = one_by_one(layer, x, LENGTHS)
        torch.testing.assert_close(y, expected)
        torch.testing.assert_close(state, ends)


class Own(sg.nn.Stateful):
    """A user's layer that knows nothing of lengths: a running sum, with its maximum."""

    def forward(self, x, state=None):
        total, most = (torch.zeros_like(x[0]), torch.zeros_like(x[0])) if state is None else state
        sums = x.cumsum(0) + total
        return sums, (sums[-1], torch.maximum(most, sums.amax(0)))


def test_a_layer_of_a_users_own_runs_over_the_real_steps():
    network = sg.Sequential(Own(), sg.Linear(INPUTS, 4), Own())
    x = torch.rand(STEPS, len(LENGTHS), INPUTS, dtype=torch.float32)
    y, states = network(x, lengths=LENGTHS)
    expected, ends = one_by_one(network, x, LENGTHS)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(states, ends)


def test_a_neuron_with_a_scan_of_its_own_runs_over_the_real_steps():
    layer = lif()
    scan = layer.bound()
    layer.bound = lambda: lambda x, state=None, **how: scan(x, state, **how)
    x = torch.rand(STEPS, len(LENGTHS), 3)
    y, _ = layer(x, lengths=LENGTHS)
    torch.testing.assert_close(y, one_by_one(layer, x, LENGTHS)[0])


def test_a_state_without_the_batch_first_is_refused():
    class Wrong(sg.nn.Stateful):
        def forward(self, x, state=None):
            return x, torch.zeros(3)

    with pytest.raises(sg.UserError, match=r"every part of the state as \[B, ...\]"):
        Wrong()(torch.rand(STEPS, len(LENGTHS), 4), lengths=LENGTHS)


@pytest.mark.parametrize("kind", [sg.BatchNorm, nn.BatchNorm1d])
def test_batch_norm_takes_its_moments_from_real_steps(kind):
    norm = kind(4)
    network = sg.Sequential(norm, lif())
    x = torch.randn(STEPS, len(LENGTHS), 4)
    network(x, lengths=LENGTHS)
    rows = torch.cat([x[:n, b] for b, n in enumerate(LENGTHS.tolist())])
    torch.testing.assert_close(norm.running_mean, 0.1 * rows.mean(0))


def test_dropout_draws_as_for_the_padded_batch():
    x = torch.ones(STEPS, len(LENGTHS), 5)
    layers = [sg.Dropout(0.5, generator=torch.Generator().manual_seed(1)) for _ in range(2)]
    whole, mask = layers[0](x)
    y, own = layers[1](x, lengths=LENGTHS)
    assert torch.equal(own.mask, mask.mask)
    for b, n in enumerate(LENGTHS.tolist()):
        assert torch.equal(y[:n, b], whole[:n, b])
    again, _ = layers[1](x, own, lengths=LENGTHS)
    assert torch.equal(again, y)


def test_convolutions_and_pools():
    torch.manual_seed(0)
    network = sg.Sequential(
        sg.Conv2d(1, 3, 3, padding=1),
        lif(),
        sg.MaxPool2d(2),
        sg.AvgPool2d(2),
        sg.Flatten(),
        sg.Linear(12, 4),
    )
    x = torch.rand(STEPS, len(LENGTHS), 1, 8, 8).requires_grad_()
    compared(
        network,
        lambda: network(x, lengths=LENGTHS),
        lambda: one_by_one(network, x, LENGTHS),
        x,
        torch.testing.assert_close,
    )


@pytest.mark.parametrize("membrane", [True, False])
def test_tapes_are_padded_and_have_what_is_real(membrane):
    network, x = made("dense")
    with sg.record(network, membrane=membrane) as tapes:
        y, _ = network(x, lengths=LENGTHS)
        y.sum().backward()
    tape = tapes["1"]
    assert tape.spikes.shape == (STEPS, len(LENGTHS), 70)
    assert torch.equal(tape.lengths, LENGTHS)
    assert tape.real.spikes.shape == (1, int(LENGTHS.sum()), 70)
    assert tape.real.spikes.sum() == tape.spikes.sum() > 0
    if not membrane:
        return
    with sg.record(network) as alone:
        one_by_one(network, x, LENGTHS)
    torch.testing.assert_close(tape.real.membrane.sum(), alone["1"].membrane.sum())
    assert tape.current_gradient.shape == tape.spikes.shape
    assert tape.real.current_gradient.shape == tape.real.spikes.shape
    assert not tape.current_gradient[-1].any()


def test_hooks_of_a_layer_with_a_state_see_the_padded_tensor():
    network, x = made("dense")
    seen = []
    network[1].register_forward_hook(lambda _, args, out: seen.append((args[0], out[0])))
    network(x, lengths=LENGTHS)
    current, spikes = seen[0]
    assert isinstance(spikes, Packed)
    assert torch.equal(torch.as_tensor(spikes.sum((0, 2))) > 0, torch.ones(6, dtype=torch.bool))
    assert current.shape == (STEPS, len(LENGTHS), 70)


@pytest.mark.parametrize(
    ("lengths", "error", "words"),
    [
        ([3, 7, 0, 7, 5, 2], ValueError, "lengths from 1 to T=8, got 0 of sample 2"),
        ([3, 9, 1, 7, 5, 2], ValueError, "lengths from 1 to T=8, got 9 of sample 1"),
        ([3, -1, 1, 7, 5, 2], ValueError, r"got -1 of sample 1.*clamp"),
        ([3, 7], ValueError, "lengths of 6 samples, one for each, got 2"),
        (LENGTHS.float(), TypeError, r"lengths as a tensor \[B\] of int64.*float32"),
        (LENGTHS > 2, TypeError, r"mask.sum\(0\)"),
        (LENGTHS.unsqueeze(1), ValueError, r"expected lengths \[B\], one for each sample"),
        ([3.0] * 6, TypeError, "lengths as a tensor"),
        (7, TypeError, "got int"),
    ],
)
def test_wrong_lengths_are_named(lengths, error, words):
    network, x = made("dense")
    with pytest.raises(error, match=words):
        network(x, lengths=lengths)


def test_lengths_of_zero_need_a_state_and_somebody_who_runs():
    network, x = made("dense")
    _, states = network(x, lengths=LENGTHS)
    with pytest.raises(sg.UserError, match="at least one sample with a step left"):
        network(x, states, lengths=[0] * 6)
    with pytest.raises(sg.UserError, match="a state of every layer where a length is 0"):
        network(x, (*states[:1], None, *states[2:]), lengths=LENGTHS - 1)


def test_lengths_within_a_flow_are_refused():
    class Net(sg.Module):
        def __init__(self):
            super().__init__()
            self.one = lif()

        def flow(self, x):
            return self.one(x, lengths=LENGTHS)

    with pytest.raises(sg.UserError, match="lengths in the call of the outermost network"):
        Net()(torch.rand(STEPS, 6, 3))


def test_a_flow_that_loses_the_time_is_refused():
    class Net(sg.Module):
        def __init__(self):
            super().__init__()
            self.one = lif()

        def flow(self, x):
            return self.one(x[2:])

    with pytest.raises(sg.UserError, match=r"\[T=8, B=6, ...\] into a layer"):
        Net()(torch.rand(STEPS, 6, 3), lengths=LENGTHS)


def test_torch_compile_runs_lengths_in_eager_mode():
    network, x = made("dense")
    compiled = torch.compile(network, backend="eager")
    assert torch.equal(compiled(x, lengths=LENGTHS)[0], network(x, lengths=LENGTHS)[0])


def test_calibration_is_at_the_rate_of_real_steps():
    network, x = made("dense")
    for layer in sg.nn.calibrate(network, x.detach(), rate=0.2, lengths=LENGTHS):
        assert layer.after == pytest.approx(0.2, rel=0.05)
    rates = [tape.real.activity.mean() for tape in recorded(network, x).values()]
    torch.testing.assert_close(torch.stack(rates[:2]), torch.tensor([0.2, 0.2]), rtol=0.05, atol=0)


def recorded(network, x):
    with sg.record(network, membrane=False) as tapes:
        network(x, lengths=LENGTHS)
    return tapes


def test_a_classifier_reads_the_real_steps():
    network, x = made("dense")
    scores = sg.nn.Classifier(network, readout="last")(x, lengths=LENGTHS)
    y, _ = network(x, lengths=LENGTHS)
    assert torch.equal(scores, y[LENGTHS - 1, torch.arange(6)])
