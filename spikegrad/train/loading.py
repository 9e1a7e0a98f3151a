"""`load`: the trained network of a run."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from spikegrad.train.app import open_run, stored_config
from spikegrad.train.checkpoint import check_fits
from spikegrad.train.finish import read_weights
from spikegrad.train.folder import RunFolder
from spikegrad.train.parallel import device_of

__all__ = ["load"]


def load(run: str | Path, network: nn.Module | None = None, *, device: str = "cpu") -> nn.Module:
    """The network of a run with the weights of its chosen epoch, in evaluation mode.

    Args:
        run: the folder of a finished run.
        network: for a run of `fit`, whose folder cannot say how its network is built: the same
            network, with any weights; it takes those of the run and is what is returned.
        device: where to put it, "auto" for a GPU if there is one.
    Returns:
        the network: `[T, B, *features]` to outputs `[T, B, C]`, with its states (`nn.Sequential`).
        It reads encoded input; `train.app.open_run(run)` has the encoder, the objective and what
        the network must know of its data too, `train.app.predict_run(run, x)` takes raw samples.
    Raises:
        UserError: no run, one without weights, one of another network.

    >>> load("no/such/run")
    Traceback (most recent call last):
        ...
    spikegrad.errors.UserError: expected a run folder, got no/such/run: nothing there
    """
    if network is None:
        return open_run(run, device=device).network
    folder = RunFolder.open(Path(run))
    folder.check_weights("resume the run: it writes them when it is finished")
    place = device_of(device)
    weights, _ = read_weights(folder.weights)
    check_fits(network, weights, folder.weights)
    if stored_config(run).training.precision == "64":
        network.double()
    network.load_state_dict(weights)
    return network.to(place).eval()
