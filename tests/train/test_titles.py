"""What people call layers, and what the pictures are told of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import spikegrad as sg
from spikegrad.train import Objective
from spikegrad.train.encoder import Encoder
from spikegrad.train.running import Place
from spikegrad.train.samples import write_samples
from spikegrad.train.titles import titles_of


def test_hidden_layers_are_counted_and_the_output_is_named():
    spiking = sg.Sequential(sg.Linear(4, 8), sg.LIF(5.0), sg.Linear(8, 3), sg.LIF(5.0))
    assert titles_of(spiking) == {"1": "hidden 1 (layer 1)", "3": "output (layer 3)"}
    read = sg.Sequential(sg.Linear(4, 8), sg.LIF(5.0), sg.Linear(8, 3))
    assert titles_of(read) == {"1": "hidden 1 (layer 1)"}
    loop = sg.Sequential(sg.Linear(4, 8), sg.Recurrent(sg.LIF(5.0), 8), sg.Linear(8, 3))
    assert titles_of(loop) == {"1.neuron": "hidden 1 (layer 1)"}
    assert titles_of(sg.LIF(5.0)) == {"": "output"}


@pytest.mark.parametrize(
    ("neuron", "after"),
    [
        (sg.LIF(5.0, threshold=0.8), lambda u, s: u - 0.8 * s),
        (sg.LIF(5.0, reset="zero", v_reset=0.1), lambda u, s: np.where(s > 0, 0.1, u)),
        (sg.LIF(5.0, reset="none"), lambda u, s: u),
        (sg.LIF(5.0, drop=0.3), lambda u, s: u - 0.3 * s),
    ],
    ids=["subtract", "zero", "none", "drop"],
)
def test_samples_hold_membranes_after_the_reset_and_images(tmp_path, neuron, after):
    """The pictures drew membranes before the reset alone, and an image as stripes."""
    torch.manual_seed(0)
    network = sg.Sequential(sg.Linear(16, 12), neuron, sg.Linear(12, 3))
    x, y = torch.rand(8, 4, 4), torch.arange(8) % 3
    how = {"objective": Objective(), "place": Place(), "class_names": "abc"}
    encode = Encoder("direct", 30, shape=(-1,))
    write_samples(tmp_path / "s.npz", network, [(x, y)], torch.eye(3).long(), encode=encode, **how)
    with np.load(tmp_path / "s.npz") as held:
        chosen = held["neurons_0"]
        u, s = held["membrane_0"], held["spikes_0"][:, :, chosen]
        assert s.any()
        np.testing.assert_allclose(held["after_0"], after(u, s), atol=1e-6)
        np.testing.assert_array_equal(held["image"], x.numpy())
        counts = held["spikes_0"].sum((0, 1))
        fire = counts > 0
        assert (counts[chosen[: fire.sum()]] > 0).all()  # those that fire come first
        assert list(held["titles"]) == ["hidden 1 (layer 1)"]
    encode = Encoder("poisson", 30, shape=(-1,))
    write_samples(tmp_path / "s.npz", network, [(x, y)], torch.eye(3).long(), encode=encode, **how)
    assert "image" not in np.load(tmp_path / "s.npz").files
