"""`torch.compile(dynamic=True)` as docs/native.md says that it works."""

from __future__ import annotations

import pytest
import torch
from native import needs_kernels

import spikegrad as sg


@torch._dynamo.config.patch(specialize_float=True)
@pytest.mark.parametrize("backend", ["reference", pytest.param("cpu", marks=needs_kernels)])
def test_dynamic_shapes_run_where_numbers_stay_numbers(backend) -> None:
    """Without it dynamo fails inside itself: the surrogate's slope is a variable then."""
    torch._dynamo.reset()
    network = sg.Sequential(sg.Linear(4, 3), sg.LIF(5.0), backend=backend)
    compiled = torch.compile(
        lambda x: network(x)[0], dynamic=True, backend="aot_eager", fullgraph=True
    )
    for steps in (5, 7):
        x = torch.rand(steps, 2, 4)
        ours, theirs = compiled(x), network(x)[0]
        assert torch.equal(ours, theirs)
        weight = network[0].weight
        a, b = (torch.autograd.grad(y.sum(), weight)[0] for y in (ours, theirs))
        torch.testing.assert_close(a, b)
