"""Layers over sequences of different length in one native call: equal to the reference."""

from __future__ import annotations

import sys

import pytest
import torch
from native import needs_kernels
from ragged import dyadic, sums_of

import spikegrad as sg
from spikegrad.kernels.cpu import layer_operator
from spikegrad.nn.base import use_backend
from spikegrad.ragged.states import zipped
from spikegrad.types import map_state

pytestmark = needs_kernels
HOW = {"threshold": 0.25, "surrogate": "triangle"}
NEURONS = {
    "IF": lambda: sg.IF(**HOW),
    "LIF": lambda: sg.LIF(beta=0.5, **HOW),
    "LIF tails": lambda: sg.LIF(beta=0.5, threshold=0.25),
    "LIF zero": lambda: sg.LIF(beta=0.5, reset="zero", refractory=2.0, **HOW),
    "LIF learned": lambda: sg.LIF(beta=0.5, learn="threshold", **HOW),
    "CUBALIF": lambda: sg.CUBALIF(alpha=0.5, beta=0.5, **HOW),
    "ALIF": lambda: sg.ALIF(beta=0.5, rho=0.5, kappa=0.25, **HOW),
    "LI": lambda: sg.LI(beta=0.5),
}
INPUTS, WIDE = 70, 130


def lengths_of(steps: int, batch: int, seed: int = 0) -> torch.Tensor:
    """Any lengths, one of them 1 and one whole."""
    source = torch.Generator().manual_seed(seed)
    found = torch.randint(1, steps + 1, (batch,), generator=source)
    found[0], found[batch // 2] = 1, steps
    return found


def spikes(steps: int, batch: int, dtype: torch.dtype, seed: int = 1) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    return (torch.rand(steps, batch, INPUTS, generator=source) < 0.15).to(dtype)


def network(name: str, *, fed: bool, dtype: torch.dtype, lean: bool = False) -> sg.Sequential:
    torch.manual_seed(5)
    neuron = NEURONS[name]()
    second = sg.Recurrent(neuron, WIDE) if fed else neuron
    made = sg.Sequential(
        *(sg.Linear(INPUTS, WIDE), sg.LIF(beta=0.5, **HOW)),
        *(sg.Linear(WIDE, WIDE), second),
        *(sg.Linear(WIDE, 5), sg.LI(beta=0.5)),
        lean=lean,
    )
    return dyadic(made.to(dtype), 64)


def outcome(made, x, lengths, states=None):
    """Output, states, and all gradients."""
    made.zero_grad()
    x = x.detach().clone().requires_grad_() if x.requires_grad else x
    y, after = made(x, states, lengths=lengths)
    sums_of((y, after), torch.Generator().manual_seed(3)).backward()
    grads = {n: p.grad for n, p in made.named_parameters() if p.grad is not None}
    if x.requires_grad:
        grads["x"] = x.grad
    return y.detach(), map_state(torch.Tensor.detach, after), grads


def check(native, reference, dtype) -> None:
    for part, other in zip(native[:2], reference[:2], strict=True):
        zipped(lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0) or a, part, other)
    assert set(native[2]) == set(reference[2])
    close = 1e-12 if dtype == torch.float64 else 2e-5
    for name, grad in reference[2].items():
        assert grad.abs().max() > 0, name
        scale = float(grad.abs().max())
        torch.testing.assert_close(native[2][name], grad, rtol=close, atol=close * scale)


def counted(monkeypatch) -> list[int]:
    """How many rows each call of the native layer had."""
    seen: list[int] = []
    run, module = layer_operator.run, sys.modules["spikegrad.kernels.cpu.layer"]

    def counting(*args):
        call = layer_operator.LayerCall(*args)
        seen.append(call.starts[-1] if call.starts else 0)
        return run(*args)

    monkeypatch.setattr(module, "run", counting)
    return seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("fed", [False, True])
@pytest.mark.parametrize("name", NEURONS)
def test_values_equal_the_reference_bit_for_bit(name, fed, dtype, monkeypatch):
    if fed and name == "LI":
        pytest.skip("a leaky integrator sends no spikes")
    x, lengths = spikes(9, 37, dtype), lengths_of(9, 37)
    seen = counted(monkeypatch)
    made = network(name, fed=fed, dtype=dtype)
    native = outcome(made, x, lengths)
    assert seen == [int(lengths.sum())] * 3
    use_backend(made, "reference")
    reference = outcome(made, x, lengths)
    assert len(seen) == 3
    check(native, reference, dtype)


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("fed", [False, True])
def test_chunks_given_states_and_numbers(fed, lean):
    """A chunk in which samples have ended, an input with a gradient, values that are no spikes."""
    x, lengths = spikes(12, 34, torch.float64), lengths_of(12, 34, seed=2)
    x = (x * 0.75).requires_grad_()
    made = network("LIF", fed=fed, dtype=torch.float64, lean=lean)
    y, after, grads = outcome(made, x, lengths)
    made.zero_grad()
    leaf = x.detach().clone().requires_grad_()
    first, states = made(leaf[:5], lengths=lengths.clamp(max=5))
    rest, states = made(leaf[5:], states, lengths=(lengths - 5).clamp(min=0))
    whole = torch.cat([first, rest])
    sums_of((whole, states), torch.Generator().manual_seed(3)).backward()
    parts = {n: p.grad for n, p in made.named_parameters() if p.grad is not None}
    parts["x"] = leaf.grad
    check((whole.detach(), map_state(torch.Tensor.detach, states), parts), (y, after, grads),
          torch.float64)  # fmt: skip
    assert not leaf.grad[torch.arange(12)[:, None] >= lengths].any()


@pytest.mark.parametrize("lean", [False, True])
def test_what_is_kept_of_the_support_alone(lean):
    """So large that the kernels keep numbers of the support alone, and time is cut in segments."""
    x, lengths = spikes(170, 70, torch.float32), lengths_of(170, 70, seed=3)
    made = network("LIF", fed=True, dtype=torch.float32, lean=lean)
    native = outcome(made, x, lengths)
    assert 3 * int(lengths.sum()) * 64 * 4 > 4 << 20
    use_backend(made, "reference")
    check(native, outcome(made, x, lengths), torch.float32)


@pytest.mark.parametrize("seed", [0, 1])
def test_feedback_along_some_synapses(seed):
    torch.manual_seed(7)
    made = sg.Sequential(
        sg.Linear(INPUTS, WIDE, connectivity=0.3),
        sg.Recurrent(
            sg.LIF(beta=0.5, **HOW), connection=sg.Linear(WIDE, WIDE, connectivity=0.2)
        ),
    ).double()  # fmt: skip
    made = dyadic(made, 64)
    x, lengths = spikes(9, 37, torch.float64), lengths_of(9, 37, seed)
    native = outcome(made, x, lengths)
    use_backend(made, "reference")
    check(native, outcome(made, x, lengths), torch.float64)


def test_threads_do_not_change_a_bit():
    x, lengths = spikes(20, 70, torch.float32), lengths_of(20, 70, seed=4)
    made = network("LIF", fed=True, dtype=torch.float32)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(outcome(made, x, lengths))
    finally:
        torch.set_num_threads(before)
    for name, grad in found[0][2].items():
        assert torch.equal(grad, found[1][2][name]), name


@pytest.mark.parametrize("starts", [[0], [0, 2, 5], [1, 3], [0, 3, 3, 4], [0, 2, 3]])
def test_rows_that_are_not_those_of_sorted_samples_are_refused(starts):
    linear, lif = sg.Linear(3, 4), sg.LIF(10.0)
    from spikegrad.kernels.cpu import layer

    how = {"weight": linear.weight, "neuron": lif.law, "args": lif.law_arguments()}
    with pytest.raises((RuntimeError, IndexError), match=r"sorted by length|index|range"):
        layer(torch.ones(1, 4, 3), starts=starts, **how)


def test_the_bits_of_an_input_are_packed_from_the_padded_batch():
    x, lengths = spikes(9, 5, torch.float32), lengths_of(9, 5)
    x[~(torch.arange(9)[:, None] < lengths)] = float("nan")
    made = network("LIF", fed=False, dtype=torch.float32)
    y, _ = made(x, lengths=lengths)
    turned, _ = made(x.transpose(0, 1).contiguous().transpose(0, 1), lengths=lengths)
    clean, _ = made(x.nan_to_num(), lengths=lengths)
    assert torch.equal(y, turned)
    assert torch.equal(y, clean)
    with pytest.raises(RuntimeError, match="rows that are there"):
        torch.ops.spikegrad.pack_rows(x.flatten(0, 1), torch.tensor([45]))
    events = (torch.tensor([0, 2, 2]), torch.tensor([69, 3, 3]), 3, 70)
    tests = ("test_schema", "test_faketensor")
    torch.library.opcheck(torch.ops.spikegrad.pack_events.default, events, test_utils=tests)
    for row, unit in ((3, 0), (-1, 0), (0, 70), (0, -1)):
        with pytest.raises(RuntimeError, match="an event must be in a row"):
            torch.ops.spikegrad.pack_events(torch.tensor([row]), torch.tensor([unit]), 3, 70)


@pytest.mark.parametrize("index", [[4, 0, 7], [2, 2, 5, 2], [], [8, 7, 6, 5, 4, 3, 2, 1, 0]])
def test_rows_are_packed_in_any_order_and_as_often_as_they_are_wanted(index):
    flat, at = spikes(9, 1, torch.float32).flatten(0, 1), torch.tensor(index, dtype=torch.int64)
    bits, ones = torch.ops.spikegrad.pack_rows(flat, at)
    want, many = torch.ops.spikegrad.pack(flat[at].unsqueeze(0))
    assert torch.equal(bits, want)
    assert ones.item() == many.item()
