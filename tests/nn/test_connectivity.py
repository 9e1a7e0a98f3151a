"""Where synapses come from: what each way of saying it makes, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from torch import Tensor

import spikegrad as sg
from spikegrad.functional.linear import dense_weight
from spikegrad.nn import connectivity
from spikegrad.nn.connectivity import check_edges, connect
from spikegrad.types import Edges


def mask_of(edges: Edges) -> Tensor:
    """bool `[out, in]`, by a loop over the synapses."""
    mask = torch.zeros(edges.outputs, edges.inputs, dtype=torch.bool)
    for j in range(edges.inputs):
        for e in range(int(edges.starts[j]), int(edges.starts[j + 1])):
            mask[edges.targets[e], j] = True
    return mask


MASK = torch.rand(7, 5, generator=torch.Generator().manual_seed(0)) < 0.4
PAIRS = [(int(j), int(i)) for i, j in MASK.nonzero()]
SAME: dict[str, Any] = {
    "mask": MASK,
    "numpy mask": MASK.numpy(),
    "edges": torch.tensor(PAIRS),
    "edges in any order": torch.tensor(PAIRS[::-1], dtype=torch.int32),
    "numpy edges": np.array(PAIRS, np.uint8),
    "list": PAIRS,
    "csr": scipy.sparse.csr_matrix(MASK.numpy()),
    "csc array": scipy.sparse.csc_array(MASK.numpy()),
    "another layer's": sg.Linear(5, 7, connectivity=MASK).edges,
}


@pytest.mark.parametrize("name", SAME)
def test_one_connectivity_said_in_many_ways(name: str) -> None:
    edges, values = connect(SAME[name], 5, 7)
    check_edges(edges, 5, 7)
    assert torch.equal(mask_of(edges), MASK)
    assert values is None
    assert (edges.starts.dtype, edges.targets.dtype) == (torch.int64, torch.int32)


def test_a_matrix_gives_the_first_weights() -> None:
    matrix = scipy.sparse.random(6, 9, 0.4, "coo", random_state=0)
    matrix.data[3] = 0.0  # a synapse all the same
    for kind in ("coo", "csr", "csc", "lil"):
        layer = sg.Linear(9, 6, connectivity=matrix.asformat(kind), dtype=torch.float64)
        found = dense_weight(layer.weight.detach(), layer.edges)
        assert torch.equal(found, torch.from_numpy(matrix.toarray()))
        assert len(layer.weight) == matrix.nnz


@pytest.mark.parametrize(("fan_in", "inputs"), [(1, 9), (4, 9), (5, 9), (8, 9), (9, 9), (3, 3000)])
def test_every_neuron_has_so_many_different_inputs(fan_in: int, inputs: int) -> None:
    edges, _ = connect(fan_in, inputs, 50, torch.Generator().manual_seed(0))
    check_edges(edges, inputs, 50)
    assert torch.equal(torch.bincount(edges.targets), torch.full((50,), fan_in))


@pytest.mark.parametrize("fan_in", [2, 3])
def test_sets_of_inputs_are_equally_likely(fan_in: int) -> None:
    """Ten sets of 2 (or of 3) of 5: each comes 2,000 times of 20,000, give or take 42."""
    edges, _ = connect(fan_in, 5, 20_000, torch.Generator().manual_seed(0))
    of_neuron = torch.zeros(20_000, dtype=torch.int64)
    of_neuron.index_add_(0, edges.targets.long(), 2 ** edges.sources())
    _, counts = of_neuron.unique(return_counts=True)
    assert len(counts) == 10
    assert int(counts.min()) > 1800
    assert int(counts.max()) < 2200


@pytest.mark.parametrize("density", [1.0, 0.3, 1e-3])
def test_every_place_has_the_same_chance(density: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connectivity, "CHUNK", 1 << 12)  # several parts
    edges, _ = connect(density, 200, 300, torch.Generator().manual_seed(0))
    check_edges(edges, 200, 300)
    mean, spread = 60_000 * density, (60_000 * density * (1 - density)) ** 0.5
    assert abs(len(edges.targets) - mean) <= 4 * spread
    for counts, others in ((torch.bincount(edges.targets, minlength=300), 200),
                           (edges.starts.diff(), 300)):  # fmt: skip
        expected = others * density * (1 - density)
        assert float(counts.double().var()) <= 1.5 * expected + 1e-9
        assert float(counts.double().var()) >= 0.5 * expected


def test_a_generator_decides() -> None:
    made = [
        sg.Linear(40, 30, connectivity=c, generator=torch.Generator().manual_seed(s))
        for c in (0.1, 4)
        for s in (1, 1, 2)
    ]
    for first in (0, 3):
        one, same, other = made[first : first + 3]
        assert torch.equal(one.targets, same.targets)
        assert torch.equal(one.weight, same.weight)
        assert torch.equal(one.bias, same.bias)
        assert not torch.equal(dense_weight(one.weight, one.edges) != 0,
                               dense_weight(other.weight, other.edges) != 0)  # fmt: skip


MADE = Edges(torch.tensor([0, 2, 3]), torch.tensor([0, 2, 1], dtype=torch.int32), 3)
WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "density 0": (0.0, ValueError, r"density in \(0, 1\], got 0.0"),
    "density 1.5": (1.5, ValueError, r"density in \(0, 1\], got 1.5; a whole number is a fan-in"),
    "density NaN": (float("nan"), ValueError, "density in"),
    "density that gave nothing": (1e-12, ValueError, "one synapse at least, got a density of"),
    "fan-in 0": (0, ValueError, "fan-in from 1 to 2"),
    "fan-in 3 of 2": (3, ValueError, "fan-in from 1 to 2, the number of inputs, got 3"),
    "True": (True, TypeError, "connectivity as a density .* got True"),
    "a word": ("all", TypeError, "connectivity as a density"),
    "an object": (object(), TypeError, "connectivity as a density .* got object"),
    "a mask turned around": (torch.ones(2, 3, dtype=torch.bool), ValueError,
                             r"mask \[out, in\] = \[3, 2\] as connectivity, got \[2, 3\]"),
    "an empty mask": (torch.zeros(3, 2, dtype=torch.bool), ValueError, "a mask without True"),
    "numbers as a mask": (torch.ones(3, 2), TypeError, "bool .* got torch.float32; a mask is"),
    "a list of numbers": ([0.5, 0.5], TypeError, "got float64"),
    "no edge": ([], ValueError, "one synapse at least, got no edge"),
    "edges [2, E]": (torch.zeros(2, 5, dtype=torch.int64), ValueError,
                     r"edges \[E, 2\].* got \[2, 5\]; transpose it"),
    "edges [E, 3]": (torch.zeros(4, 3, dtype=torch.int64), ValueError, r"edges \[E, 2\]"),
    "from too far": ([[2, 0]], ValueError, "connectivity from 0 to 1, got 2"),
    "from below 0": ([[-1, 0]], ValueError, "connectivity from 0 to 1, got -1"),
    "to too far": ([[0, 0], [1, 3]], ValueError, "connectivity to 0 to 2, got 3"),
    "twice": ([[1, 2], [0, 0], [1, 2]], ValueError, "each synapse once .* got 1 to 2 twice"),
    "a matrix turned around": (scipy.sparse.eye(2, 3), ValueError, r"\[out, in\] = \[3, 2\]"),
    "an empty matrix": (scipy.sparse.csr_matrix((3, 2)), ValueError, "one synapse at least"),
    "a matrix with NaN": (scipy.sparse.csr_matrix(np.full((3, 2), np.nan)), ValueError, "finite"),
    "a complex matrix": (scipy.sparse.csr_matrix(np.ones((3, 2)) * 1j), TypeError, "of numbers"),
    "edges of another layer": (MADE._replace(outputs=4), ValueError, "from 2 to 3 neurons, got"),
    "starts as int32": (MADE._replace(starts=MADE.starts.int()), TypeError, "starts int64"),
    "starts that fall": (MADE._replace(starts=torch.tensor([0, 4, 3])), ValueError, "rise"),
    "a target too far": (MADE._replace(targets=MADE.targets + 1), ValueError, "in range"),
    "targets that fall": (MADE._replace(targets=MADE.targets[[1, 0, 2]]), ValueError, "within"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_refused_names_connectivity(name: str) -> None:
    given, kind, words = WRONG[name]
    with pytest.raises(kind, match=words) as error:
        sg.Linear(2, 3, connectivity=given, generator=torch.Generator().manual_seed(0))
    assert "connectivity" in str(error.value)


def test_a_generator_without_connectivity() -> None:
    with pytest.raises(sg.UserError, match="a connectivity to draw"):
        sg.Linear(2, 3, generator=torch.Generator())
