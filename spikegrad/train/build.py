"""From a config to what it describes: data set, network, encoder, loaders."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from spikegrad.data import (
    Augment,
    Batches,
    Dataset,
    Split,
    load,
    load_npz,
    names,
    split_validation,
    statistics,
)
from spikegrad.errors import UserError, message, unknown
from spikegrad.nn import (
    ALIF,
    CUBALIF,
    IF,
    LIF,
    Neuron,
    calibrate,
    initialise,
    models,
    use_backend,
)
from spikegrad.surrogate import get
from spikegrad.train import seeding
from spikegrad.train.batch import batch_of
from spikegrad.train.config import OPTIONS, Config, NetworkConfig
from spikegrad.train.encoder import Encoder
from spikegrad.train.running import sequence_of

__all__ = [
    "Inputs",
    "Parts",
    "build_encoder",
    "build_network",
    "build_parts",
    "calibrate_network",
    "data_kept",
]

_keeps = False
_last: dict[tuple[str, str, str, bool], Dataset] = {}
"""See `data_kept`."""


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What a network must know of its data, kept with its weights.

    features: shape of a sample at one step; classes: C; class_names: C names; sequence: whether
    samples have time; divisor: of raw values; range: lowest and highest raw value of the training
    part; normalise: (mean, std) after the division, or None.
    """

    features: tuple[int, ...]
    classes: int
    class_names: tuple[str, ...]
    sequence: bool
    divisor: float
    range: tuple[float, float]
    normalise: tuple[float, float] | None

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Inputs:
        """What `to_dict` gave, lists for tuples allowed."""
        known: dict[str, Any] = {f.name: data[f.name] for f in dataclasses.fields(cls)}
        for name, value in known.items():
            known[name] = tuple(value) if isinstance(value, list) else value
        return cls(**known)


@dataclasses.dataclass(frozen=True)
class Parts:
    """The parts of a data set as loaders, and what the network must know of it."""

    train: Batches
    validation: Batches | None
    test: Batches | None
    inputs: Inputs
    images: bool


def build_parts(config: Config) -> Parts:
    """Load the data set, hold out the validation part, make the loaders.

    Raises:
        UserError: no such data set, data that are damaged, augmentation of what is no image.
    """
    dataset = _dataset(config)
    data, batch = config.data, config.training.batch_size
    train, validation = _held_out(dataset.train, data.validation, config.run.seed)
    normalise = statistics(train) if data.normalise == "standard" else None
    inputs = Inputs(
        dataset.features,
        dataset.classes,
        tuple(dataset.class_names),
        dataset.sequence,
        train.divisor,
        (float(train.x.min()), float(train.x.max())),
        normalise,
    )
    augment = Augment(data.shift, data.rotate, data.scale, data.flip, data.erase)
    if augment != Augment() and not dataset.images:
        expected = "expected images for augmentation"
        remedy = "omit shift, rotate, scale, flip and erase"
        raise UserError(message(expected, f"samples of shape {list(dataset.features)}", remedy))

    def plain(split: Split | None) -> Batches | None:
        if split is None:
            return None
        size = max(batch, 256)
        return Batches(split, size, seed=0, shuffle=False, normalise=normalise)

    loader = Batches(
        train,
        batch,
        seed=config.run.seed,
        augment=augment if augment != Augment() else None,
        normalise=normalise,
    )
    return Parts(loader, plain(validation), plain(dataset.test), inputs, dataset.images)


def build_encoder(config: Config, inputs: Inputs) -> Encoder:
    """The encoder, which also gives samples the shape that the model reads."""
    network = config.network
    if inputs.sequence and network.steps != OPTIONS["steps"].default:
        expected = "expected static samples for steps"
        raise UserError(message(expected, "sequences, which have their own", "omit steps"))
    shape: tuple[int, ...] = (-1,)
    if network.model in ("conv", "sew_resnet"):
        shape = _image(inputs.features)
        if network.encoder == "delta":
            expected = f"expected another encoder for model {network.model}"
            raise UserError(message(expected, "delta"))
    return Encoder(network.encoder, network.steps, inputs.sequence, shape)


def build_network(config: Config, inputs: Inputs) -> nn.Module:
    """The network with its initial weights, which follow from the seed, not calibrated yet.

    Args:
        config: the network's part is read, and the seed.
        inputs: features and classes.
    """
    network = config.network
    seeding.seed_all(config.run.seed, seeding.BUILD)
    built = _model(network, inputs)
    backend: Any = network.backend
    use_backend(built, backend, lean=network.lean)
    method = network.init
    if method == "auto":  # torch's weights leave layers silent that no norm drives
        normed = network.batch_norm or network.model == "sew_resnet"
        method = "torch" if normed or network.model == "article" else "kaiming"
    if method != "torch":
        initialise(built, method, gain=network.init_gain)
    return built


def calibrate_network(network: nn.Module, config: Config, parts: Parts) -> None:
    """Scale the weights on the first batch, if the config asks for it; right after the build."""
    if config.network.calibrate:
        x, _, lengths = batch_of(next(iter(parts.train.epoch(0)))).trimmed()
        sequence = sequence_of(build_encoder(config, parts.inputs), x, lengths)
        calibrate(network, sequence, rate=config.network.calibrate, lengths=lengths)


@contextmanager
def data_kept() -> Iterator[None]:
    """Keep the last data set that a config loaded while the context is open.

    Several runs on one data set, one after the other in this process, load it once. No run changes
    its data.
    """
    global _keeps
    before = _keeps
    _keeps = True
    try:
        yield
    finally:
        _keeps = before
        if not _keeps:
            _last.clear()


def _dataset(config: Config) -> Dataset:
    data = config.data
    key = (data.data, data.dataset, data.folder, data.sequence)
    if key in _last:
        return _last[key]
    if data.data:
        found = load_npz(Path(data.data), sequence=data.sequence or None)
    elif data.dataset not in names():
        raise UserError(unknown("data set", data.dataset, names()) + ", or give --data FILE.npz")
    else:
        found = load(data.dataset, folder=data.folder or None)
    if _keeps:
        _last.clear()
        _last[key] = found
    return found


def _held_out(split: Split, wanted: float, seed: int) -> tuple[Split, Split | None]:
    if not wanted:
        return split, None
    if wanted >= len(split):
        expected = f"expected validation below the {len(split)} training samples"
        raise UserError(message(expected, f"{wanted:g}"))
    if wanted >= 1 and wanted != int(wanted):
        expected = "expected validation as a share below 1 or a whole number of samples"
        raise UserError(message(expected, f"{wanted:g}"))
    return split_validation(split, wanted, seed)


def _model(network: NetworkConfig, inputs: Inputs) -> nn.Module:
    common: dict[str, Any] = {
        "neuron": _Neurons(network),
        "batch_norm": network.batch_norm,
        "dropout": network.dropout,
        "readout": "linear" if network.readout == "auto" else network.readout,
        "tau_out": network.tau_out,
    }
    if network.model == "conv":
        shape, channels, dense = _image(inputs.features), network.channels, network.hidden
        return models.conv(shape, channels, dense, inputs.classes, blocks=network.blocks, **common)
    if network.model == "sew_resnet":
        return models.sew_resnet(
            _image(inputs.features),
            inputs.classes,
            channels=network.channels,
            blocks=network.blocks,
            neuron=_Neurons(network),
        )
    size = 2 if network.encoder == "delta" else 1
    for n in inputs.features:
        size *= n
    if network.model == "article":
        readout: Any = "rate" if network.readout == "auto" else network.readout
        return models.article(size, network.hidden[0], inputs.classes, readout=readout)
    make = models.mlp if network.model == "mlp" else models.recurrent
    return make(size, network.hidden, inputs.classes, **common)


def _image(features: tuple[int, ...]) -> tuple[int, ...]:
    if len(features) not in (2, 3):
        expected = "expected images [H, W] or [C, H, W] for a convolutional model"
        raise UserError(message(expected, f"samples of shape {list(features)}", "use model mlp"))
    return features if len(features) == 3 else (1, *features)


@dataclasses.dataclass(frozen=True)
class _Neurons:
    """Makes a layer of neurons of a size, as the config describes them."""

    network: NetworkConfig

    def __call__(self, size: int) -> Neuron:
        n = self.network
        normalisation = n.surrogate_normalisation
        options = {} if normalisation is None else {"normalisation": normalisation}
        common: dict[str, Any] = {
            "threshold": n.threshold,
            "v_reset": n.v_reset,
            "reset": n.reset,
            "detach_reset": n.detach_reset,
            "refractory": n.refractory,
            "surrogate": get(n.surrogate, n.slope, **options),
            "learn": n.learn,
            "size": size if n.learn else None,
            "backend": n.backend,
        }
        if n.neuron == "if":
            return IF(**common)
        decay: dict[str, Any] = {"tau_mem": n.tau_mem} if n.beta is None else {"beta": n.beta}
        if n.neuron == "cuba":
            return CUBALIF(tau_syn=n.tau_syn, **decay, **common)
        if n.neuron == "alif":
            return ALIF(tau_adapt=n.tau_adapt, kappa=n.kappa, **decay, **common)
        return LIF(**decay, **common)
