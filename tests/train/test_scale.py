"""Samples at another scale than in training are named, or refused."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from spikegrad.cli.main import main
from spikegrad.data import load_digits
from spikegrad.errors import SpikegradWarning, UserError
from spikegrad.train.scale import check_scale

WORDS = ["train", "--hidden", "8", "--steps", "2", "--epochs", "1", "--threads", "1", "--quiet"]
WORDS += ["--no-tensorboard", "--preflight", "off", "--no-pictures"]


@pytest.mark.parametrize(("least", "most"), [(0.0, 16.0), (1.0, 12.0), (-1.0, 17.0)])
def test_the_scale_of_training_passes_in_silence(least, most):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_scale(torch.tensor([[least, most]]), (0.0, 16.0))


@pytest.mark.parametrize(("least", "most"), [(0.0, 1.0), (3.0, 3.0), (-16.0, 16.0), (0.0, 32.0)])
def test_another_scale_is_named(least, most):
    said = f"from {least:g} to {most:g}, those in training 0 to 16"
    with pytest.warns(SpikegradWarning, match=said):
        check_scale(torch.tensor([[least, most]]), (0.0, 16.0))


@pytest.mark.parametrize(
    ("least", "most", "trained"),
    [(0.0, 255.0, (0.0, 1.0)), (0.0, 255.0, (0.0, 16.0)), (20.0, 30.0, (0.0, 16.0))],
)
def test_a_range_that_excludes_the_scale_of_training_is_refused(least, most, trained):
    with pytest.raises(UserError, match=f"{trained[0]:g} to {trained[1]:g}, got {least:g} to"):
        check_scale(torch.tensor([[least, most]]), trained)


def test_predict_names_both_ranges(tmp_path, capsys):
    """Digits as 0..1 gave an accuracy of 0.364 instead of 0.992, and nothing was said."""
    run, x = tmp_path / "run", load_digits().test.x.numpy()
    assert main([*WORDS, "--out", str(run)]) == 0
    for name, divisor in (("as trained", 1), ("one", 16), ("bytes", 1 / 16)):
        np.save(tmp_path / f"{name}.npy", x / divisor)
    capsys.readouterr()
    assert main(["predict", str(run), str(tmp_path / "as trained.npy")]) == 0
    assert capsys.readouterr().err == ""
    assert main(["predict", str(run), str(tmp_path / "one.npy")]) == 0
    err = capsys.readouterr().err
    assert err.startswith("warning: the samples have values from 0 to 1, those in training 0 to 16")
    assert err.count("\n") == 1
    assert main(["predict", str(run), str(tmp_path / "bytes.npy")]) == 2
    assert "scaled as in training, 0 to 16, got 0 to 256" in capsys.readouterr().err
