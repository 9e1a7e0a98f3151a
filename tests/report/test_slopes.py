"""The picture of a study draws the numbers of `results.json`, and refuses what has none."""

from __future__ import annotations

import pytest

from spikegrad.errors import UserError
from spikegrad.report import slopes


def variant(number, name, slope, height, mean, gradient):
    figures = {
        "test_accuracy": {"n": 2, "mean": mean, "sd": 0.01, "half": 0.09},
        "gradient": gradient and {"n": 2, "mean": gradient, "sd": 0.1, "half": 0.9},
    }
    settings = {"surrogate": name, "slope": slope, "surrogate_normalisation": height}
    return {"variant": number, "name": name, "settings": settings, "figures": figures}


DATA = {
    "dataset": "digits $x$",
    "metric": "test_accuracy",
    "variants": [  # in the order of their ranks
        variant(2, "arctan", 10.0, "peak", 0.8, 1.0),
        variant(0, "arctan", 1.0, "peak", 0.9, 0.5),
        variant(1, "triangle", 0.5, "peak", 0.7, None),
        variant(3, "triangle", 5.0, "peak", 0.6, 2.0),
    ],
}


def test_means_stand_at_the_slopes_of_the_first_surrogate():
    top, below = slopes([DATA]).axes
    heights = [container.lines[0].get_ydata().tolist() for container in top.containers]
    assert heights == [[0.9, 0.8], [0.7, 0.6]]
    for container in top.containers:
        assert container.lines[0].get_xdata().tolist() == pytest.approx([1.0, 10.0], rel=0.1)
    bars = top.containers[0].lines[2][0].get_segments()
    assert [segment[:, 1].tolist() for segment in bars] == [
        pytest.approx([0.89, 0.91]),
        pytest.approx([0.79, 0.81]),
    ]
    assert below.containers[1].lines[0].get_ydata().tolist() == [2.0]  # one has no gradient
    assert below.get_yscale() == "log"
    assert len(slopes([DATA, DATA]).axes) == 4


def test_what_has_no_slopes_is_refused():
    with pytest.raises(UserError, match="at least one comparison"):
        slopes([])
    other = {**DATA, "variants": [{"variant": 0, "name": "epochs 3", "settings": {"epochs": 3}}]}
    with pytest.raises(UserError, match="with surrogate and slope, got a variant epochs 3"):
        slopes([other])
