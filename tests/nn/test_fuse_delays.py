"""Spikes that stay bits for a connection with delays: nothing but memory and time changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from native import needs_kernels, poisoned
from torch import Tensor, nn

import spikegrad as sg
from spikegrad.kernels.cpu.spikes import Spikes
from spikegrad.nn import fuse_delays

pytestmark = needs_kernels
T, B, INPUTS, N, C = 13, 34, 9, 70, 5
SURROGATES = {"triangle": sg.surrogate.triangle(1.0), "arctan": sg.surrogate.arctan(2.0)}


def lif(surrogate: str = "triangle", **more: Any) -> sg.LIF:
    return sg.LIF(beta=0.5, surrogate=SURROGATES[surrogate], **more)


FRONTS: dict[str, Callable[[str], list[nn.Module]]] = {
    "neurons alone": lambda s: [sg.DelayedLinear(INPUTS, N, 3.0, learn="interpolation"), lif(s)],
    "feedback": lambda s: [sg.Linear(INPUTS, N), sg.BatchNorm(N), sg.Recurrent(lif(s), N)],
    "sparse feedback": lambda s: [
        sg.DelayedLinear(INPUTS, N, 3.0),
        sg.Recurrent(lif(s), connection=sg.Linear(N, N, bias=True, connectivity=0.2)),
    ],
    "a connection in the same call": lambda s: [sg.Linear(INPUTS, N), lif(s)],
    "behind a norm": lambda s: [sg.Linear(INPUTS, N), sg.BatchNorm(N), lif(s)],
    "learned": lambda s: [
        sg.Linear(INPUTS, N),
        sg.BatchNorm(N),
        lif(s, learn=("tau_mem",), size=N),
    ],
}


def network(front: str, surrogate: str) -> sg.Sequential:
    torch.manual_seed(3)
    layers = FRONTS[front](surrogate)
    last = sg.DelayedLinear(N, C, 4.0, learn="interpolation")
    return sg.Sequential(*layers, last, sg.LI(beta=0.5)).double()


def outcome(made: sg.Sequential, x: Tensor, states: Any = None) -> dict[str, Tensor]:
    """Output, states and all gradients."""
    x = x.clone().requires_grad_()
    y, after = made(x, states)
    parts = [part for state in after if state is not None for part in flat(state)]
    value = y.sin().sum() + sum((part.cos().sum() for part in parts), torch.zeros(()))
    made.zero_grad()
    value.backward()
    grads = {f"d {name}": p.grad for name, p in made.named_parameters() if p.grad is not None}
    assert x.grad is not None
    return {"y": y, **{f"state {k}": part for k, part in enumerate(parts)}, "dx": x.grad, **grads}


def flat(state: Any) -> list[Tensor]:
    if isinstance(state, Tensor):
        return [state]
    if state is None:
        return []
    return [part for each in state for part in flat(each)]


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> list[type]:
    """What every connection with delays was given."""
    kinds: list[type] = []
    forward = sg.DelayedLinear.forward

    def noted(self: Any, x: Any, state: Any = None) -> Any:
        kinds.append(type(x))
        return forward(self, x, state)

    noted.packed = True  # type: ignore[attr-defined]
    monkeypatch.setattr(sg.DelayedLinear, "forward", noted)
    return kinds


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("front", FRONTS)
def test_bits_give_what_numbers_give(
    front: str, surrogate: str, received: list[type], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, x = network(front, surrogate), torch.randn(T, B, INPUTS, dtype=torch.float64)
    with poisoned():
        found = outcome(made, x)
    assert received[-1] is Spikes
    monkeypatch.setattr("spikegrad.nn.sequential.run_to_delays", lambda *_: None)
    monkeypatch.setattr("spikegrad.nn.sequential.hands_bits", lambda *_: False)
    want = outcome(made, x)
    assert received[-1] is Tensor
    assert found.keys() == want.keys()
    for name, value in want.items():
        torch.testing.assert_close(found[name], value, rtol=1e-12, atol=1e-12, msg=name)
    assert float(want["y"].abs().sum()) > 0


@pytest.mark.parametrize("front", ["neurons alone", "feedback"])
def test_chunks_equal_the_whole(front: str, received: list[type]) -> None:
    made, x = network(front, "triangle").eval(), torch.randn(T, B, INPUTS, dtype=torch.float64)
    whole, after = made(x)
    parts, states = [], None
    for part in x.split([1, 5, 7]):
        y, states = made(part, states)
        parts.append(y)
    readers = sum(isinstance(layer, sg.DelayedLinear) for layer in made)
    assert received[readers - 1 :: readers] == [Spikes] * 4  # the whole, and three chunks
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-12, atol=1e-12)
    for one, other in zip(flat(after), flat(states), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_who_looks_gets_numbers(received: list[type]) -> None:
    made, x = network("feedback", "triangle"), torch.randn(T, B, INPUTS, dtype=torch.float64)
    handle = made[2].register_forward_hook(lambda *_: None)
    made(x)
    assert received[-1] is Tensor
    handle.remove()
    with sg.record(made) as tape:
        made(x)
    assert received[-1] is Tensor
    assert len(tape) > 0
    made(x)
    assert received[-1] is Spikes


def test_one_delay_an_input_is_a_shift_of_numbers(received: list[type]) -> None:
    made = sg.Sequential(sg.Linear(INPUTS, N), lif(), sg.DelayedLinear(N, C, 4.0, per="input"))
    made(torch.randn(T, B, INPUTS))
    assert received == [Tensor]


def test_sequences_of_different_length_run_as_before(received: list[type]) -> None:
    made, x = network("neurons alone", "triangle").eval(), torch.randn(T, 4, INPUTS).double()
    lengths = torch.tensor([13, 2, 7, 13])
    y, _ = made(x, lengths=lengths)
    for b, many in enumerate(lengths.tolist()):
        alone, _ = made(x[:many, b : b + 1])
        torch.testing.assert_close(y[:many, b], alone[:, 0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_run_as_before(dtype: torch.dtype, received: list[type]) -> None:
    made = sg.Sequential(lif(), sg.DelayedLinear(4, 3, 5.0)).to(dtype)
    y, _ = made(torch.rand(6, 2, 4, dtype=dtype))
    assert received == [Tensor]
    assert y.dtype == dtype


def test_another_backend_that_packs_gets_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's layers pass on bits, and it has no connection with delays."""
    from spikegrad import kernels

    monkeypatch.setattr(type(kernels.get("cpu")), "delayed", False)
    layer = sg.DelayedLinear(N, C, 4.0)
    assert not fuse_delays.reads_bits(layer, "cpu", torch.float32)
    assert not kernels.reads_delayed("triton")


@pytest.mark.parametrize("front", ["neurons alone", "feedback"])
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_without_gradients(context: Any, front: str, received: list[type]) -> None:
    made, x = network(front, "triangle").eval(), torch.randn(T, B, INPUTS, dtype=torch.float64)
    want, _ = made(x)
    with context():
        found, _ = made(x)
    assert received[-1] is Spikes
    assert torch.equal(found, want)


@pytest.mark.parametrize("more", [{"refractory": 2.0}, {"reset": "zero"}, {"spike": "ternary"}])
def test_other_neurons(
    more: dict[str, Any], received: list[type], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(3)
    reader = sg.DelayedLinear(N, C, 4.0, learn="gaussian", connectivity=0.5)
    made = sg.Sequential(sg.BatchNorm(N), lif("triangle", **more), reader).double()
    x = torch.randn(T, B, N, dtype=torch.float64)
    found = outcome(made, x)
    assert received[-1] is (Tensor if "spike" in more else Spikes)
    monkeypatch.setattr("spikegrad.nn.sequential.run_to_delays", lambda *_: None)
    want = outcome(made, x)
    for name, value in want.items():
        torch.testing.assert_close(found[name], value, rtol=1e-12, atol=1e-12, msg=name)


def test_a_global_hook_sees_numbers(received: list[type]) -> None:
    made, x = network("feedback", "triangle"), torch.randn(T, B, INPUTS, dtype=torch.float64)
    seen: list[type] = []
    handle = nn.modules.module.register_module_forward_hook(
        lambda layer, given, _: seen.extend(map(type, given))
    )
    try:
        made(x)
    finally:
        handle.remove()
    assert received[-1] is Tensor
    assert Spikes not in seen


def test_other_widths_are_an_error_that_names_them() -> None:
    made = sg.Sequential(lif(), sg.DelayedLinear(N + 1, C, 4.0))
    with pytest.raises(ValueError, match=r"DelayedLinear"):
        made(torch.randn(T, B, N))


def test_it_says_what_it_reads() -> None:
    layer = sg.DelayedLinear(N, C, 4.0)
    assert fuse_delays.reads_bits(layer, "cpu", torch.float32)
    assert not fuse_delays.reads_bits(layer, "cpu", torch.float64)
    assert not fuse_delays.reads_bits(sg.Linear(N, C), "cpu", torch.float32)
    layer.backend = "reference"
    assert not fuse_delays.reads_bits(layer, "cpu", torch.float32)
