"""`diagnose.fix`: what each repair does, what is refused, and that the network stays as it is."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from broken import digits, mlp, strong, tri
from torch import nn

import spikegrad as sg
from spikegrad import LIF, Linear, Sequential
from spikegrad.diagnose import Tempered, fix, health
from spikegrad.diagnose.repair import slope_for
from spikegrad.functional import membrane_cross_entropy, rate_cross_entropy
from spikegrad.nn import models
from spikegrad.surrogate import arctan, straight_through, triangle
from spikegrad.train.objective import Objective


def kinds(found) -> list[str]:
    return [finding.kind for finding in found.findings]


def test_the_network_itself_stays_as_it_is_and_a_healthy_one_is_left_alone():
    torch.manual_seed(0)
    network = strong()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fixed = fix(network, digits())
    assert fixed.network is not network
    assert fixed.options == {"calibrate": 0.05}
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    torch.manual_seed(0)
    nothing = fix(mlp(), digits())
    assert (nothing.repairs, nothing.refused) == ((), ())
    assert nothing.after is nothing.before
    assert "nothing to repair safely" in str(nothing)


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_calibration_reaches_the_rate_and_says_the_factor(rate):
    torch.manual_seed(0)
    fixed = fix(strong(), digits(), rate=rate)
    for layer in fixed.after.layers:
        assert layer.rate == pytest.approx(rate, rel=0.06)
    assert [repair.layer for repair in fixed.repairs] == ["2", "4"]
    assert "rate 1 before and" in fixed.repairs[0].line
    assert fixed.options == {"calibrate": rate}


@pytest.mark.parametrize("surrogate", [triangle(1000.0), arctan(5000.0)], ids=str)
def test_the_slope_is_that_of_the_membranes(surrogate):
    """Half of the membranes get at least half of the peak."""
    torch.manual_seed(0)
    network = mlp(neuron=lambda size: LIF(10.0, surrogate=surrogate))
    batch = digits()
    fixed = fix(network, batch)
    (repair,) = fixed.repairs
    assert (repair.option, repair.layer) == ("slope", "2")
    record = fixed.network[2].surrogate
    assert record.slope == pytest.approx(repair.value)
    with sg.record(fixed.network) as tapes, torch.no_grad():
        fixed.network(batch[0])
    half = record.derivative(tapes["2"].distance) >= 0.5 * record.peak
    assert half.float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert "narrow" not in kinds(fixed.after)


def test_a_learned_slope_starts_at_the_new_one_and_is_still_learned():
    torch.manual_seed(0)
    neuron = LIF(10.0, surrogate=triangle(1000.0), learn="slope", size=32)
    fixed = fix(mlp(neuron=lambda size: neuron), digits())
    slope = fixed.network[2].slope
    assert slope().shape == (32,)
    assert torch.allclose(slope(), torch.tensor(fixed.options["slope"]))
    assert slope.raw.requires_grad
    assert neuron.slope().max().item() == pytest.approx(1000.0)


def test_of_several_slopes_the_widest_is_the_option():
    torch.manual_seed(0)
    fixed = fix(models.mlp(64, [32, 32], 10, neuron=tri(1000.0)), digits())
    slopes = [repair.value for repair in fixed.repairs]
    assert len(slopes) == 2
    assert fixed.options == {"slope": min(slopes)}


@pytest.mark.parametrize("change", [{"width": math.inf}, {"typical": None}, {"typical": 0.0}])
def test_a_surrogate_without_a_width_has_no_other_slope(change):
    torch.manual_seed(0)
    network = mlp(neuron=tri(1000.0))
    (layer,) = health(network, digits()).layers
    assert slope_for(layer, network[2]) == pytest.approx(0.5, rel=0.1)
    assert slope_for(replace(layer, **change), network[2]) is None
    assert slope_for(layer, LIF(10.0, surrogate=straight_through())) is None


def test_what_cannot_be_calibrated_says_why_and_the_rest_goes_on():
    network = Sequential(Linear(64, 8), LIF(10.0), Linear(8, 10), LIF(10.0))
    nn.init.zeros_(network[0].weight)
    nn.init.zeros_(network[0].bias)
    fixed = fix(network, digits(), loss=rate_cross_entropy)
    (refused,) = fixed.refused
    assert refused.startswith("not calibrated: expected layer 1 to reach 0.05 spikes")
    assert fixed.options == {"temperature": 0.1}


def test_the_temperature_lowers_the_floor_of_rates():
    torch.manual_seed(0)
    network = mlp(readout="spikes", neuron=lambda size: LIF(10.0))
    for loss, before in (
        (rate_cross_entropy, 1.0),
        (partial(rate_cross_entropy, temperature=0.5), 0.5),
        (Objective("rate_ce", temperature=0.5), 0.5),
    ):
        fixed = fix(network, digits(), loss=loss)
        assert fixed.before.floor > 0.5
        assert fixed.after.floor < 0.01
        assert fixed.options == {"temperature": pytest.approx(0.1)}
        assert isinstance(fixed.loss, Tempered)
        assert fixed.loss.temperature == pytest.approx(0.1)
        assert f"temperature {before:g} before and 0.1 after" in fixed.repairs[-1].line
        y, labels = torch.rand(5, 6, 10), torch.arange(6)
        same = rate_cross_entropy(y, labels, temperature=0.1)
        assert fixed.loss(y, labels).item() == pytest.approx(same.item(), rel=1e-5)


def test_scores_far_too_large_get_a_temperature_above_one():
    torch.manual_seed(0)
    network = mlp()
    with torch.no_grad():
        network[3].weight.mul_(300.0)
    fixed = fix(network, digits(), loss=membrane_cross_entropy)
    assert kinds(fixed.before) == ["loss-high"]
    assert fixed.after.findings == ()
    assert fixed.options["temperature"] > 5
    assert fixed.after.loss < 1.1 * 2.3026


def test_where_the_input_is_wrong_nothing_else_is_repaired():
    torch.manual_seed(0)
    network = strong()
    fixed = fix(network, digits(255.0))
    assert fixed.repairs == ()
    assert "the input comes first: the input reaches 255" in fixed.refused[0]
    assert fix(network, (torch.zeros(5, 6, 64), torch.arange(6))).repairs == ()


def test_batches_without_labels_and_targets_that_are_numbers():
    torch.manual_seed(0)
    network, (x, _) = strong(), digits()
    for batch in (x, (x, torch.rand(128, 10))):
        fixed = fix(network, batch)
        assert fixed.options == {"calibrate": 0.05}
        assert health(fixed.network, batch).ok
