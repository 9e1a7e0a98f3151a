"""Rows of sequences of different length, and what torch's operations make of them."""

import copy

import pytest
import torch
from torch.nn import functional as F

import spikegrad as sg
from spikegrad.ragged import Packed, Packing, as_lengths, by_segments, check_lengths

LENGTHS = torch.tensor([2, 4, 0, 4, 1])
STEPS = 5


def packed(*features, grad=False):
    x = torch.rand(STEPS, len(LENGTHS), *features, generator=torch.Generator().manual_seed(0))
    return Packed.of(x.requires_grad_(grad), Packing(LENGTHS, STEPS)), x


def real():
    return (torch.arange(STEPS).unsqueeze(1) < LENGTHS).unsqueeze(2)


def test_rows_are_the_real_steps_the_longest_sample_first():
    p = Packing(LENGTHS, STEPS)
    assert p.order.tolist() == [1, 3, 0, 4]  # equal lengths keep their order
    assert (p.rows, p.active, p.longest) == (11, 4, 4)
    assert p.starts.tolist() == [0, 4, 7, 9, 11]
    assert [tuple(s) for s in p.segments] == [(0, 1, 4, 0), (1, 2, 3, 4), (2, 4, 2, 7)]
    x = torch.arange(STEPS * len(LENGTHS)).reshape(STEPS, len(LENGTHS)).float()
    expected = [x[t, b] for t in range(STEPS) for b in p.order.tolist() if LENGTHS[b] > t]
    assert torch.equal(Packed.of(x, p).rows[0], torch.stack(expected))


@pytest.mark.parametrize("lay", ["time first", "batch first", "static"])
def test_padding_comes_back_as_zeros_with_gradients(lay):
    x = torch.rand(STEPS, len(LENGTHS), 3)
    if lay == "batch first":
        x = x.transpose(0, 1).contiguous().transpose(0, 1)
    leaf = (x[0] if lay == "static" else x).detach().requires_grad_()
    x = leaf.expand(STEPS, -1, -1) if lay == "static" else leaf
    whole = Packed.of(x, Packing(LENGTHS, STEPS)).padded()
    expected = torch.where(real(), x, 0.0)
    assert torch.equal(whole, expected)
    grads = [torch.autograd.grad(y.square().sum(), leaf)[0] for y in (whole, expected)]
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize(
    "operation",
    [
        lambda a, b: a + b,
        lambda a, b: 2.0 - a,
        lambda a, b: a / 3 * torch.arange(3.0),
        lambda a, b: -abs(a),
        lambda a, b: torch.relu(a - 0.5),
        lambda a, b: torch.arange(3.0) * a,
        lambda a, b: F.dropout(a, 0.5, training=False),
        lambda a, b: torch.add(a, b, alpha=2),
        lambda a, b: F.linear(a, torch.eye(3) * 2, torch.ones(3)),
        lambda a, b: torch.cat([a, b], dim=-1),
        lambda a, b: torch.cat((a, b), 2),
    ],
)
def test_operations_on_numbers_and_features_stay_packed(operation):
    (a, x), (b, y) = packed(3), packed(3)
    b = Packed(b.rows + 1, a.packing)
    found = operation(a, b)
    assert type(found) is Packed
    assert torch.equal(found.padded(), torch.where(real(), operation(x, y + 1), 0.0))


@pytest.mark.parametrize(
    "operation",
    [
        lambda a: a.sum(0),
        lambda a: a.mean(),
        lambda a: torch.cat([a, a]),
        lambda a: torch.exp(a),
        lambda a: a + torch.ones(STEPS, len(LENGTHS), 3),
        lambda a: torch.ones(STEPS, len(LENGTHS), 3) - a,
        lambda a: a[1:, 2],
        lambda a: a > 0.5,
        lambda a: a.flatten(1),
        lambda a: 2**a,
        lambda a: torch.einsum("tbn,mn->tbm", a, torch.ones(2, 3)),
        lambda a: torch.stack(list(a)),
    ],
)
def test_any_other_operation_gets_the_padded_tensor(operation):
    a, x = packed(3)
    found = operation(a)
    assert type(found) is torch.Tensor
    assert torch.equal(found, operation(torch.where(real(), x, 0.0)))


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.add_(1),
        lambda a: a.__setitem__(0, 1.0),
        lambda a: F.relu(a, inplace=True),
        lambda a: torch.relu_(a),
        lambda a: torch.add(torch.ones(3), 1, out=a),
    ],
)
def test_changes_in_place_are_refused(change):
    with pytest.raises(sg.UserError, match="no change in place"):
        change(packed(3)[0])


def test_it_can_be_copied_and_says_what_it_is():
    a, _ = packed(3)
    assert torch.equal(copy.deepcopy(a).rows, a.rows)
    assert repr(a) == "Packed([5, 5, 3], lengths [2, 4, 0, 4, 1])"
    assert (a.dtype, a.dim(), a.requires_grad) == (torch.float32, 3, False)
    assert not hasattr(a, "_fields")


def test_segments_keep_the_states_of_samples_that_end():
    a, x = packed(2)

    def run(part, state):
        total = part.sum(0) + (0 if state is None else state["sum"])
        return part.cumsum(0), {"sum": total, "none": None}

    y, state = by_segments(run, a)
    sums = torch.where(real(), x, 0.0).sum(0)
    torch.testing.assert_close(state["sum"], sums[a.packing.order])
    assert state["none"] is None
    assert y.padded().shape == x.shape


def test_lengths_are_checked():
    assert as_lengths(torch.tensor([1, 2], dtype=torch.int32)).dtype == torch.int64
    assert check_lengths([0, 2], 2, 2, least=0).tolist() == [0, 2]
    with pytest.raises(sg.UserError, match="expected n from 1 to T=2, got 3 of sample 1"):
        check_lengths([1, 3], 2, 2, name="n")
