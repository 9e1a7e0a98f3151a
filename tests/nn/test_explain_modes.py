"""What `explain()` says of layers that send something else than binary spikes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import spikegrad as sg
from spikegrad import diagnose


@sg.neuron(
    states={"v": 0.0},
    parameters={"tau_mem": sg.TimeConstant(20.0, decay="beta"), "threshold": 1.0},
)
def Leaky(x: Tensor, s: Any, p: Any) -> Any:
    """LIF."""
    u = p.beta * s.v + x
    fired = p.spike(u, p.threshold)
    return fired, {"v": p.reset(u, fired)}


ELSE = [{"output": "both"}, {"spike": "escape"}, {"spike": "escape", "output": "both"}]


@pytest.mark.parametrize("words", ELSE)
def test_a_layer_that_sends_something_else_runs_natively_after_its_linear(
    words: dict[str, Any],
) -> None:
    """The class method spoke of the neuron without its words; `diagnose.explain` raised."""
    layer = Leaky(learn="threshold", **words)
    found = layer.explain()
    assert found.native is not None
    assert found.backend == "cpu"
    x = torch.rand(4, 2, 3)
    for alone in (layer, sg.LIF(20.0, learn="threshold", **words)):
        (seen,) = diagnose.explain(alone, x)
        assert seen.backend == "cpu"
        assert seen.backward_ms is not None
    network = sg.Sequential(sg.Linear(3, 3), layer)
    assert [each.layers for each in diagnose.explain(network, x)] == [("0",), ("1",)]


def test_a_layer_that_sends_something_else_tells_of_its_own_step() -> None:
    plain, several = Leaky().explain(), Leaky(spike="multiple").explain()
    assert plain.native is not None
    assert several.native is not None
    assert several.native.forward > plain.native.forward
