"""Figures of what a user has at hand: tensors, recordings, surrogates, results."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from runs import loader, network

import spikegrad as sg
from spikegrad import report
from spikegrad.errors import UserError
from spikegrad.surrogate import arctan, register, unregister
from spikegrad.train import fit


@pytest.fixture(scope="module")
def tapes():
    torch.manual_seed(0)
    recorded = network()
    with sg.record(recorded) as found:
        recorded(torch.rand(9, 4, 12))
    return found


def ticks(axes):
    """(step, neuron) of every tick of a raster."""
    places = [(s[0][0], (s[0][1] + s[1][1]) / 2) for s in axes.collections[0].get_segments()]
    return {(round(t), round(n)) for t, n in places}


@pytest.mark.parametrize("kind", ["tensor", "with gradient", "bfloat16", "array", "bool", "lists"])
def test_a_raster_of_spikes_of_any_kind(kind):
    spikes = (torch.rand(7, 3, 5) < 0.3).float()
    given = {
        "tensor": spikes,
        "with gradient": spikes.clone().requires_grad_(),
        "bfloat16": spikes.bfloat16(),
        "array": spikes.numpy(),
        "bool": spikes.bool(),
        "lists": spikes.tolist(),
    }[kind]
    figure = report.raster(given, 2)
    assert ticks(figure.axes[0]) == {tuple(each) for each in spikes[:, 2].nonzero().tolist()}


def test_a_raster_of_one_sample_and_of_features_of_any_shape():
    one = torch.eye(6)
    assert ticks(report.raster(one).axes[0]) == {(i, i) for i in range(6)}
    image = torch.zeros(4, 2, 3, 2, 2)
    image[1, 0, 2, 1, 0] = 1.0
    assert ticks(report.raster(image).axes[0]) == {(1, 2 * 4 + 2)}


def test_a_raster_of_a_recording_has_a_panel_for_each_layer(tapes):
    figure = report.raster(tapes, 1, dt=0.5)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["3", "1"]
    assert "steps of 0.5 ms" in figure.axes[-1].get_xlabel()
    alone = report.raster(tapes["1"], 1)
    spikes = tapes["1"].spikes[:, 1]
    assert ticks(alone.axes[0]) == {tuple(each) for each in spikes.nonzero().tolist()}


def test_membranes_of_a_recording_are_those_of_the_tape(tapes):
    figure = report.membrane(tapes["1"], 2)
    u = tapes["1"].membrane[:, 2].detach().numpy()
    drawn = [axes.lines[0].get_ydata() for axes in figure.axes]
    assert len(drawn) == 3
    for axes, y in zip(figure.axes, drawn, strict=True):
        neuron = int(axes.get_title(loc="left").split()[1])
        np.testing.assert_array_equal(y, u[:, neuron])
        assert axes.lines[1].get_ydata()[0] == pytest.approx(1.0)  # the threshold
    assert len(report.membrane(tapes).axes) == 6


def test_a_tape_alone_is_called_membrane_once(tapes):
    tape = next(iter(tapes.values()))
    assert report.membrane(tape).axes[0].get_ylabel() == "membrane"
    assert report.membrane(tapes).axes[0].get_ylabel().endswith("\nmembrane")


def test_a_surrogate_is_drawn_at_its_slope():
    figure = report.surrogate(arctan(4.0))
    x, y = figure.axes[0].lines[0].get_data()
    expected = arctan(4.0).derivative(torch.as_tensor(x)).numpy()
    np.testing.assert_allclose(y, expected)
    assert "arctan(slope=4.0)" in figure.get_suptitle()
    curve = report.Curve("mine", torch.linspace(-1, 1, 5), torch.ones(5, requires_grad=True))
    assert len(report.surrogate(curve).axes) == 1
    assert len(report.compare([arctan(1.0), curve]).axes) == 2


def test_a_surrogate_without_a_primitive_is_drawn_without_one():
    register("only_derivative", lambda z: torch.exp(-z * z), area=math.sqrt(math.pi))
    try:
        assert len(report.surrogate(sg.surrogate.get("only_derivative")).axes) == 1
    finally:
        unregister("only_derivative")


def test_a_result_is_drawn_and_prints_as_a_table():
    torch.manual_seed(0)
    batches = loader(torch.rand(40, 12), torch.arange(40) % 3)
    result = fit(network(), batches, val_loader=batches, epochs=3, steps=4, progress=False)
    figure = result.plot()
    np.testing.assert_allclose(
        figure.axes[0].lines[0].get_ydata(), [line["train_loss"] for line in result.history]
    )
    table = result._repr_html_()
    assert f"{result.val_accuracy:.4g}" in table
    assert "rate, hidden 1" in table


def test_a_notebook_shows_every_figure(tapes):
    for figure in (report.raster(tapes), report.membrane(tapes), report.surrogate(arctan(1.0))):
        assert isinstance(figure, Figure)
        assert figure._repr_png_().startswith(b"\x89PNG\r\n")


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: report.raster(torch.ones(5)), UserError, r"expected spikes \[T, B"),
        (lambda: report.raster("spikes"), TypeError, "expected spikes as a tensor"),
        (lambda: report.raster(torch.ones(5, 2, 3), 2), UserError, "sample from 0 to 1, got 2"),
        (lambda: report.raster({}), UserError, "expected at least one layer"),
        (
            lambda: report.raster({"a": torch.ones(5, 2, 3), "b": torch.ones(4, 2, 3)}),
            UserError,
            "same T and B",
        ),
        (lambda: report.membrane(torch.ones(5, 2, 3)), TypeError, "expected a tape"),
        (lambda: report.surrogate("arctan"), TypeError, "expected a surrogate or a Curve, got str"),
    ],
)
def test_what_cannot_be_drawn_is_said(call, error, said):
    with pytest.raises(error, match=said):
        call()


def test_layers_that_never_spike_have_no_threshold_to_draw():
    integrator = sg.Sequential(sg.Linear(3, 2), sg.LI(10.0))
    with sg.record(integrator) as tapes:
        integrator(torch.rand(4, 1, 3))
    with pytest.raises(UserError, match="none that spikes"):
        report.membrane(tapes)
