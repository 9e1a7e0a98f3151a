"""Spikes of two signs, several a step, and by chance: values, gradients, resets, layers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

import spikegrad as sg
from spikegrad.functional.lif import LIF, lif_values
from spikegrad.kernels import cpu
from spikegrad.step import Step
from spikegrad.step.modes import mode_of
from spikegrad.surrogate import Surrogate, arctan, fast_sigmoid, sigmoid, triangle

F64 = torch.float64


def written_out(
    word: str, most: int, x: Tensor, values: dict[str, Any], surrogate: Surrogate, reset: str,
    refractory: int, detach: bool, noise: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """LIF in a mode, one step after the other: spikes and the last membrane."""
    theta, rest, spike = values["threshold"], values["v_rest"], sg.spike
    v, silent, out = rest.expand(x.shape[1:]), torch.zeros(x.shape[1:]), []
    for t, x_t in enumerate(x):
        u = rest + values["beta"] * (v - rest) + x_t
        parts = [spike(u - rest - k * (theta - rest), surrogate) for k in range(1, most + 1)]
        if word == "ternary":
            below = spike(-(u - rest) - (theta - rest), surrogate)
            s, one = parts[0] - below, parts[0] + below
        elif word == "escape":
            hard, p = parts[0], surrogate.primitive(u - theta)
            s = one = hard + ((noise[t] < p).to(hard.dtype) - hard).detach()
        else:
            s, one = sum(parts), parts[0]
        ready = silent == 0
        fired = (one.detach() > 0) & ready
        silent = torch.where(fired, refractory, (silent - 1).clamp(min=0))
        s, one = s * ready, one * ready
        out.append(s)
        if reset == "subtract":
            v = u - (s.detach() if detach else s) * (theta - rest)
        else:
            one = one.detach() if detach else one
            v = u + one * (values["v_reset"] - u) if reset == "zero" else u
    return torch.stack(out), v


VALUES = {"beta": 0.9, "threshold": 0.75, "v_rest": -0.25, "v_reset": 0.125}
MODES = [("ternary", None), ("multiple", 3), ("multiple", 1), ("escape", None)]


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize(("refractory", "detach"), [(0, True), (0, False), (2, True), (2, False)])
@pytest.mark.parametrize(("word", "most"), MODES)
def test_every_mode_is_what_is_written_out(
    word: Any, most: int | None, refractory: int, detach: bool, reset: Any
) -> None:
    torch.manual_seed(0)
    x = (torch.randn(15, 3, 4, dtype=F64) * 1.5).requires_grad_()
    noise = torch.rand(15, 3, 4, dtype=F64) if word == "escape" else None
    more = {} if noise is None else {"noise": noise}
    how = {"reset": reset, "refractory": refractory, "surrogate": triangle(1.5)}
    found = []
    for ours in (True, False):
        given = {k: torch.full((4,), v, dtype=F64).requires_grad_() for k, v in VALUES.items()}
        if ours:
            args = lif_values(**given, **how, detach_reset=detach)
            y, state = LIF.variant(spike=word, most=most)(x, **args, **more)
            v = state.v
        else:
            y, v = written_out(word, most or 1, x, given, detach=detach, **how, noise=noise)
        weights = torch.linspace(-1, 1, y.numel(), dtype=F64).reshape(y.shape)
        total = (y * weights).sum() + v.square().sum()
        grads = torch.autograd.grad(total, [x, *given.values()], allow_unused=True)
        found.append([y, v, *grads])
    for k, (mine, theirs) in enumerate(zip(*found, strict=True)):
        if mine is None or theirs is None:
            assert mine is None or not mine.any()
            assert theirs is None or not theirs.any()
        else:
            assert torch.allclose(mine, theirs, rtol=1e-10, atol=1e-12), k
    sizes = {"ternary": {-1.0, 0.0, 1.0}, "multiple": set(range((most or 0) + 1))}
    assert set(found[0][0].unique().tolist()) == sizes.get(word, {0.0, 1.0})


def test_ternary_and_multiple_spikes_by_hand() -> None:
    x = torch.tensor([2.6, -3.0, 0.5, 1.0]).reshape(4, 1, 1)
    s, state = sg.IF(spike="multiple", most=3)(x)
    # u: 2.6, 0.6 - 3 = -2.4, -1.9, -0.9
    assert s.flatten().tolist() == [2.0, 0.0, 0.0, 0.0]
    assert state.v.item() == pytest.approx(-0.9)
    s, state = sg.IF(spike="ternary")(x)
    # u: 2.6, -1.4, 0.1, 1.1
    assert s.flatten().tolist() == [1.0, -1.0, 0.0, 1.0]
    assert state.v.item() == pytest.approx(0.1)


@pytest.mark.parametrize("surrogate", [arctan(2.0), triangle(1.5), sigmoid(3.0)], ids=str)
def test_the_gradient_of_the_membrane_is_the_sum_over_thresholds(surrogate: Surrogate) -> None:
    u = torch.linspace(-4, 4, 81, dtype=F64).reshape(1, 1, -1).requires_grad_()
    g = surrogate.derivative
    for word, most, want in (
        ("ternary", None, g(u - 1) + g(-u - 1)),
        ("multiple", 3, g(u - 1) + g(u - 2) + g(u - 3)),
        ("escape", None, g(u - 1)),
    ):
        s, _ = LIF.variant(spike=word, most=most)(u, surrogate=surrogate)
        (found,) = torch.autograd.grad(s.sum(), u)
        assert torch.allclose(found, want, rtol=1e-12), word


@pytest.mark.parametrize("word", ["ternary", "multiple"])
def test_soft_mode_has_the_true_gradient(word: Any) -> None:
    x = torch.randn(3, 1, 4, dtype=F64, requires_grad=True)
    step = LIF.variant(spike=word)
    for reset in ("subtract", "zero"):
        how = {"surrogate": arctan(2.0).soft(), "detach_reset": False, "reset": reset}

        def run(given: Tensor, how: dict[str, Any] = how) -> Tensor:
            return step(given, **how)[0]

        assert torch.autograd.gradcheck(run, (x,))


def test_escape_noise_spikes_with_the_probability_of_the_primitive() -> None:
    distance = torch.linspace(-2, 2, 9, dtype=F64)
    for surrogate in (arctan(2.0), sigmoid(4.0), triangle(1.0)):
        u, step = (distance + 1.0).expand(1, 40000, 9), LIF.variant(spike="escape")
        s, _ = step(u, surrogate=surrogate, generator=torch.Generator().manual_seed(0))
        chance = surrogate.primitive(distance)
        # five standard deviations of a mean over 40000
        bound = 5 * (chance * (1 - chance) / 40000).sqrt() + 1e-12
        assert ((s.mean((0, 1)) - chance).abs() <= bound).all()
        for edge in (0.0, 1e-9):  # exactly: below the chance a spike, at it none
            noise = (chance - edge).reshape(1, 1, 9).clamp(min=0)
            fired, _ = step(u[:, :1], noise=noise, surrogate=surrogate)
            want = (edge > 0) & (chance > edge)
            assert torch.equal(fired.flatten() > 0, want)


def test_the_gradient_of_escape_noise_is_that_of_the_expectation() -> None:
    torch.manual_seed(0)
    u = torch.randn(1, 1, 6, dtype=F64, requires_grad=True)
    slope = torch.tensor(2.0, dtype=F64, requires_grad=True)
    expected, _ = LIF(u, surrogate=arctan(2.0).soft(), slope=slope)
    want = torch.autograd.grad(expected.sum(), [u, slope])
    # of one step, whatever was drawn
    for seed in range(3):
        noise = torch.Generator().manual_seed(seed)
        s, _ = LIF.variant(spike="escape")(u, surrogate=arctan(2.0), slope=slope, generator=noise)
        for mine, exact in zip(torch.autograd.grad(s.sum(), [u, slope]), want, strict=True):
            assert torch.allclose(mine, exact, rtol=1e-12)
    # and by Monte Carlo: (E s)(u + h) - (E s)(u - h) over 2 h with the same noise
    noise = (torch.arange(40000, dtype=F64) + 0.5).reshape(1, -1, 1).expand(1, -1, 6) / 40000
    h, step = 0.05, LIF.variant(spike="escape")
    high, low = (
        step((u + e).detach().expand(1, 40000, 6), noise=noise)[0].mean((0, 1)) for e in (h, -h)
    )
    assert torch.allclose((high - low) / (2 * h), want[0].flatten(), atol=0.01)


def test_noise_of_chunks_is_that_of_the_whole() -> None:
    x = torch.rand(20, 2, 5)

    def layer() -> sg.LIF:
        return sg.LIF(
            20.0, spike="escape", refractory=2.0, generator=torch.Generator().manual_seed(3)
        )

    whole, end = layer()(x)
    chunked = layer()
    first, state = chunked(x[:7])
    second, state = chunked(x[7:], state)
    assert torch.equal(torch.cat([first, second]), whole)
    assert torch.equal(state.v, end.v)
    assert 0 < whole.mean() < 0.5
    other, _ = chunked(x)
    assert not torch.equal(other, whole)
    copied = copy.deepcopy(chunked)
    assert torch.equal(copied(x)[0], chunked(x)[0])
    torch.manual_seed(0)
    first, _ = sg.LIF(20.0, spike="escape")(x)  # torch's own generator
    torch.manual_seed(0)
    assert torch.equal(sg.LIF(20.0, spike="escape")(x)[0], first)
    # in soft mode it is the expected spike, without noise
    soft = arctan(2.0).soft()
    noisy = sg.LIF(20.0, spike="escape", surrogate=soft, generator=torch.Generator())
    assert torch.equal(noisy(x)[0], sg.LIF(20.0, surrogate=soft)(x)[0])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: sg.LIF(20.0, spike="binry"), "binary"),
        (lambda: sg.LIF(20.0, most=3), "spike='multiple' with most"),
        (lambda: sg.LIF(20.0, spike="multiple", most=0), "most >= 1"),
        (lambda: sg.LIF(20.0, spike="multiple", most=2.0), "whole number"),
        (lambda: sg.LIF(20.0, generator=torch.Generator()), "spike='escape'"),
        (lambda: sg.LIF(20.0, spike="escape", generator=3), "torch.Generator"),
        (lambda: sg.LIF(20.0, output="spike"), "spikes"),
        (lambda: run(surrogate=fast_sigmoid(5.0, normalisation="peak")), "area 1"),
        (lambda: run(surrogate=arctan(2.0, gain=0.5)), "area 1"),
        (lambda: run(noise=torch.rand(3, 2, 5)), r"noise of shape \[3, 2, 4\]"),
        (lambda: run(noise=torch.rand(3, 2, 4), generator=torch.Generator()), "or a generator"),
        (lambda: LIF(torch.rand(3, 2, 4), noise=torch.rand(3, 2, 4)), "spike='escape'"),
        (lambda: AVERAGE.variant(spike="ternary"), "never spikes"),
        (
            lambda: sg.LIF(20.0, spike="ternary", reset="zero", reset_delay=True),
            "reset_delay and several spikes",
        ),
    ],
)
def test_clear_lines(make: Any, says: str) -> None:
    with pytest.raises((sg.UserError, TypeError), match=says):
        make()


def run(**args: Any) -> Any:
    return LIF.variant(spike="escape")(torch.rand(3, 2, 4), **args)


AVERAGE = Step(
    lambda x, s, p: (s.v + x, {"v": s.v + x}),
    name="average", states={"v": 0.0}, parameters={}, spikes=False,
)  # fmt: skip


def test_a_reset_to_a_value_takes_what_spiked_in_the_same_step() -> None:
    def other(x: Tensor, s: Any, p: Any) -> Any:
        fired = p.spike(s.v + x, p.threshold)
        return fired, {"v": p.reset(s.v + x, 1.0 * fired)}

    step = Step(other, states={"v": 0.0}, parameters={"threshold": 1.0}, reset="zero")
    step(torch.rand(3, 2, 4))
    with pytest.raises(sg.UserError, match=r"what p\.spike returned"):
        step.variant(spike="multiple")(torch.rand(3, 2, 4))


LAYERS = {
    "IF": lambda **how: sg.IF(**how),
    "LIF": lambda **how: sg.LIF(10.0, refractory=1.0, **how),
    "delayed": lambda **how: sg.LIF(10.0, reset_delay=True, **how),
    "CUBALIF": lambda **how: sg.CUBALIF(10.0, 3.0, reset="zero", **how),
    "ALIF": lambda **how: sg.ALIF(10.0, 50.0, detach_reset=False, **how),
    "SEAdLIF": lambda **how: sg.SEAdLIF(threshold=0.1, **how),
    "Izhikevich": lambda **how: sg.Izhikevich(**how),
}


@pytest.mark.parametrize("word", ["ternary", "multiple"])
@pytest.mark.parametrize("name", LAYERS)
def test_native_scans_equal_the_loop(name: str, word: str) -> None:
    if cpu.load():
        pytest.skip(f"no native kernels: {cpu.load()}")
    torch.manual_seed(0)
    layer = LAYERS[name](spike=word)
    scale = 30.0 if name == "Izhikevich" else 3.0
    x = torch.randn(30, 2, 9) * scale + (0.2 if word == "ternary" else 0.7) * scale
    found = []
    for backend in ("reference", "cpu"):
        layer.backend = backend
        given = x.clone().requires_grad_()
        y, state = layer(given)
        (y * torch.linspace(-1, 1, y.numel()).reshape(y.shape)).sum().backward()
        found.append((y, state[0], given.grad))
    assert torch.equal(found[0][0], found[1][0])
    for mine, theirs in zip(*found, strict=True):
        mine, theirs = mine.detach(), theirs.detach()
        assert torch.allclose(mine, theirs, rtol=3e-4, atol=3e-4 * float(mine.abs().max()))
    least, largest = found[0][0].min(), found[0][0].max()
    if name == "Izhikevich":  # its membrane stays above -120 mV
        assert largest == (1 if word == "ternary" else 4)
    else:
        assert (least, largest) == (-1, 1) if word == "ternary" else largest > 1


NETWORKS = {
    "linear": lambda lif: (sg.Linear(6, 4), lif, sg.Linear(4, 3), sg.LI(5.0)),
    "feedback": lambda lif: (sg.Linear(6, 4), sg.nn.Recurrent(lif, 4), sg.Linear(4, 3)),
    "image": lambda lif: (sg.Conv2d(2, 2, 1), lif, sg.MaxPool2d(2), sg.Conv2d(2, 2, 1)),
}


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("how", [{"spike": "ternary"}, {"spike": "multiple"}], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_no_faster_path_takes_a_mode_for_binary(name: str, how: Any, gradients: bool) -> None:
    torch.manual_seed(0)
    network = sg.Sequential(*NETWORKS[name](sg.LIF(beta=0.5, **how)))
    for p in network.parameters():  # few bits, so that every order of sums gives the same
        p.data = torch.round(p.data * 16) / 8
    x = torch.randint(0, 32, (6, 2, 2, 4, 4)) / 8
    x = x[:1].expand_as(x) if name == "image" else x.flatten(2)[..., :6]
    with torch.set_grad_enabled(gradients):
        fast, _ = network(x)
        states, steps = None, []
        for x_t in x:
            y, states = network(x_t.unsqueeze(0), states)
            steps.append(y)
        sg.nn.base.use_backend(network, "reference")
        slow, _ = network(x)
        for layer in network.modules():
            if isinstance(layer, sg.LIF):
                layer.spike = "binary"
        plain, _ = network(x)
    assert torch.allclose(fast, slow, rtol=1e-5)
    assert torch.allclose(torch.cat(steps), slow, rtol=1e-5)
    assert not torch.allclose(plain, slow, rtol=1e-2)


def test_rates_count_spikes_of_either_sign() -> None:
    x = torch.tensor([1.5, -1.5, 0.0, 0.0]).reshape(4, 1, 1).expand(4, 2, 3)
    network = sg.Sequential(sg.IF(spike="ternary", reset="zero"))
    assert sg.diagnose.firing_rates(network, x) == {"0": 0.5}
    (counts,) = sg.diagnose.spike_counts(network, x)
    assert counts.rate == 0.5
    assert counts.histogram == (0, 0, 6, 0, 0)
    objective = sg.train.Objective("rate_mse", rate_weight=1.0, rate_upper=0.1)
    with sg.record(network) as tapes:
        network(x)
    with pytest.raises(sg.UserError, match="spikes of two signs"):
        objective.penalty(tapes)


@pytest.mark.parametrize("make", [*LAYERS.values()], ids=LAYERS)
@pytest.mark.parametrize("word", ["ternary", "multiple"])
def test_gradient_flow_sees_every_threshold(make: Any, word: str) -> None:
    torch.manual_seed(0)
    layer = make(spike=word)
    scale = 30.0 if isinstance(layer, sg.Izhikevich) else 3.0
    x = torch.randn(10, 2, 5) * scale
    with sg.record(layer) as tapes:
        layer(x)
    derivative, _ = sg.diagnose.flow.slopes_seen(layer, tapes[""])
    u, rest = tapes[""].membrane, layer.resting_potential()
    theta = u - tapes[""].distance
    g = layer.surrogate.derivative
    if word == "ternary":
        want = g(u - theta) + g(2 * rest - u - theta)
    else:
        want = sum(g(u - rest - k * (theta - rest)) for k in range(1, 5))
    refractory = torch.zeros_like(u[0])
    for t, s in enumerate(tapes[""].spikes):
        want[t] *= refractory == 0
        refractory = (s != 0).float() * getattr(layer, "refractory", 0)
    assert torch.allclose(derivative, want, rtol=1e-4, atol=1e-5)


def test_the_preflight_knows_the_rest_of_a_library_neuron() -> None:
    network = sg.Sequential(sg.Linear(5, 4), sg.AdEx(), sg.Linear(4, 2), sg.LI(20.0))
    found = sg.diagnose.preflight(
        network, torch.rand(20, 3, 5), torch.zeros(3).long(), loss=lambda y, _: y.sum()
    )
    assert any("never fires: membrane reaches" in str(each) for each in found)


def test_check_compares_variants_by_their_spikes() -> None:
    if cpu.load():
        pytest.skip(f"no native kernels: {cpu.load()}")
    plain = sg.check(sg.LIF(10.0))
    membrane = sg.check(sg.LIF(10.0, output="membrane"))
    assert (membrane.rate, membrane.current) == (plain.rate, plain.current)
    assert membrane.ok
    signed = sg.check(sg.IF(spike="ternary"))
    assert signed.ok
    assert signed.rate is not None
    assert signed.rate > 0
    with pytest.raises(sg.UserError, match="output='both'"):
        sg.check(sg.LIF(10.0, output="both"))


def test_a_mode_of_words() -> None:
    assert mode_of("multiple").most == 4
    assert LIF.variant() is LIF
    assert LIF.variant(spike="multiple", most=4) is LIF.variant(spike="multiple")
    layer = sg.AdEx(spike="multiple", most=2, output="membrane")
    assert layer.definition() is layer.step.variant(spike="multiple", most=2, output="membrane")
    assert "spike='multiple', most=2, output='membrane'" in repr(layer)
