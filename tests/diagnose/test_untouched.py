"""No measurement leaves a trace in a network, not even one that fails."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from spikegrad import LIF, BatchNorm, Dropout, Linear, Sequential, UserError
from spikegrad.diagnose import (
    firing_rates,
    gradient_flow,
    preflight,
    spike_counts,
    summary,
    untouched,
)
from spikegrad.functional import membrane_cross_entropy as loss

X, LABELS = torch.rand(5, 6, 4), torch.arange(6) % 3
WRONG = torch.rand(5, 6, 7)


def network() -> Sequential:
    torch.manual_seed(0)
    return Sequential(
        Linear(4, 8),
        BatchNorm(8),
        LIF(10.0, learn=("threshold", "slope"), size=8),
        Dropout(0.5, generator=torch.Generator().manual_seed(3)),
        nn.BatchNorm1d(8),
        nn.Dropout(0.5),
        Linear(8, 3),
    )


MEASURES = {
    "gradient_flow": lambda n: gradient_flow(n, X, LABELS, loss=loss),
    "preflight": lambda n: preflight(n, X, LABELS, loss=loss),
    "firing_rates": lambda n: firing_rates(n, X),
    "spike_counts": lambda n: spike_counts(n, X),
    "summary": lambda n: summary(n, X),
}


def failing(y, labels):
    raise KeyError("the user's loss")


FAILURES = {
    "loss raises": (lambda n: preflight(n, X, LABELS, loss=failing), KeyError),
    "loss without a gradient": (
        lambda n: gradient_flow(n, X, LABELS, loss=lambda y, _: y.detach().sum()),
        UserError,
    ),
    "wrong features": (lambda n: firing_rates(n, WRONG), UserError),
    "NaN": (lambda n: preflight(n, X * float("nan"), LABELS, loss=loss), UserError),
    "hooked": (lambda n: summary(n, WRONG), UserError),
}


def photograph(net: nn.Module) -> dict:
    return {
        "state": {k: v.clone() for k, v in net.state_dict().items()},
        "identity": [id(t) for t in (*net.parameters(), *net.buffers())],
        "grad": [
            None if p.grad is None else (id(p.grad), p.grad.clone()) for p in net.parameters()
        ],
        "modes": [m.training for m in net.modules()],
        "tapes": [getattr(m, "tape", None) for m in net.modules()],
        "hooks": [len(m._forward_hooks) for m in net.modules()],
        "rng": torch.get_rng_state(),
        "own": net[3].generator.get_state(),
    }


def unchanged(net: nn.Module, before: dict) -> None:
    after = photograph(net)
    for key in ("identity", "modes", "tapes", "hooks"):
        assert after[key] == before[key], key
    torch.testing.assert_close(after["state"], before["state"], rtol=0, atol=0)
    torch.testing.assert_close(after["rng"], before["rng"], rtol=0, atol=0)
    torch.testing.assert_close(after["own"], before["own"], rtol=0, atol=0)
    for a, b in zip(after["grad"], before["grad"], strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert a[0] == b[0]
            assert torch.equal(a[1], b[1])


def prepared(training: bool) -> Sequential:
    net = network().train(training)
    net[5].eval()  # mixed modes must survive too
    loss(net(X)[0], LABELS).backward()
    net[0].bias.grad = None
    return net


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", MEASURES)
def test_a_measurement_changes_nothing(name, training):
    net = prepared(training)
    before, x = photograph(net), X.clone()
    MEASURES[name](net)
    unchanged(net, before)
    assert torch.equal(X, x)
    assert X.grad is None
    assert not X.requires_grad


@pytest.mark.parametrize("name", FAILURES)
def test_a_measurement_that_fails_changes_nothing(name):
    net = prepared(True)
    before = photograph(net)
    measure, error = FAILURES[name]
    with pytest.raises(error):
        measure(net)
    unchanged(net, before)


def test_the_photograph_sees_what_a_plain_pass_changes():
    """The tests above can fail: an ordinary training pass moves all of it."""
    net = prepared(True)
    before = photograph(net)
    loss(net(X)[0], LABELS).backward()
    for key in ("state", "grad", "own"):
        with pytest.raises(AssertionError):
            unchanged(net, {**photograph(net), key: before[key]})


def test_untouched_gives_back_values_objects_and_modes_after_an_error():
    net = prepared(True)
    before = photograph(net)

    def spoil() -> None:
        with untouched(net), torch.no_grad():
            net[0].weight.fill_(float("nan"))
            net[0].weight.grad = None
            net[1]._buffers["running_mean"] = torch.full((8,), 7.0)
            net[4].running_var.zero_()
            net.eval()
            torch.rand(3)
            torch.rand(3, generator=net[3].generator)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        spoil()
    unchanged(net, before)


def test_no_hook_on_a_gradient_runs():
    """An optimiser that steps inside backward would train on the measurement."""
    net, seen = network(), []
    for p in net.parameters():
        p.register_post_accumulate_grad_hook(seen.append)
    preflight(net, X, LABELS, loss=loss)
    assert seen == []
    loss(net(X)[0], LABELS).backward()
    assert seen


def test_a_graph_of_the_user_survives():
    net = network().eval()
    value = loss(net(X)[0], LABELS)
    preflight(net, X, LABELS, loss=loss)
    value.backward()
    assert net[0].weight.grad is not None


def test_the_same_numbers_twice_with_dropout():
    net = network()
    one, two = (gradient_flow(net, X, LABELS, loss=loss) for _ in range(2))
    assert one == two


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_a_measurement_inside_a_context_without_gradients(context):
    net = network()
    expected = gradient_flow(net, X, LABELS, loss=loss)
    with context():
        assert gradient_flow(net, X.clone(), LABELS.clone(), loss=loss) == expected
