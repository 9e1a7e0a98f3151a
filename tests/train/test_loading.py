"""`spikegrad.load`: the trained network of a run, from its folder."""

from __future__ import annotations

import pytest
import torch

import spikegrad as sg
from spikegrad.errors import UserError
from spikegrad.train import fit, resolve
from spikegrad.train.app import open_run, predict_run, train_run


@pytest.mark.parametrize("precision", ["32", "64"])
def test_the_network_of_a_run_from_its_folder_alone(options, tmp_path, precision):
    run = tmp_path / "run"
    config = resolve({**options, "epochs": 1, "encoder": "direct", "precision": precision})
    result = train_run(config, run, progress=False)
    network = sg.load(run)
    assert not network.training
    x = torch.randint(0, 17, (7, 8, 8), dtype=torch.uint8)
    expected, inputs = predict_run(run, x, device="cpu")
    how = {"encoder": open_run(run).encoder, "objective": result.objective}
    _, scores = sg.predict(network, x.float() / inputs.divisor, **how)
    torch.testing.assert_close(scores, expected.scores, rtol=0, atol=0)


@pytest.mark.parametrize("precision", ["32", "64"])
def test_weights_of_fit_go_into_a_network_that_is_given(tmp_path, precision):
    def make(hidden: int = 8) -> sg.Sequential:
        return sg.Sequential(sg.Linear(4, hidden), sg.LIF(10.0), sg.Linear(hidden, 2))

    trained, run = make(), tmp_path / "run"
    x = torch.rand(12, 4)
    quiet = {"progress": False, "preflight": "off", "tensorboard": False}
    fit(trained, [(x, torch.arange(12) % 2)], out=run, epochs=1, precision=precision, **quiet)
    network = make()
    assert sg.load(run, network) is network
    torch.testing.assert_close(network.state_dict(), trained.state_dict(), rtol=0, atol=0)
    assert not network.training
    with pytest.raises(UserError, match=r"give it to spikegrad\.load\(RUN, network\)"):
        sg.load(run)
    other = make(9)
    before = other[0].weight.detach().clone()
    with pytest.raises(UserError, match="expected weights of this network"):
        sg.load(run, other)
    assert torch.equal(other[0].weight, before)
    (run / "weights.safetensors").unlink()
    with pytest.raises(UserError, match="got none; resume the run"):
        sg.load(run, network)
