"""The config of a run: four groups of fields, each field with its help, its choices and its range.

Every field becomes an option of `spikegrad train` and a line of `config.toml`; names are unique
across the groups. Reading checks everything: an unknown key or a wrong value is one clear error.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from spikegrad import backends
from spikegrad.train.fields import SET, Option, check_group, coerce, declare, options_of
from spikegrad.train.together import check_together

__all__ = [
    "GROUPS",
    "OPTIONS",
    "Config",
    "DataConfig",
    "NetworkConfig",
    "RunConfig",
    "TrainingConfig",
    "flatten",
    "gather",
]


_OURS = {"model": ("mlp", "recurrent", "conv", "sew_resnet")}
"""What the article's network, which is built as written there, does not read."""
_FREE = {"model": ("mlp", "recurrent", "conv")}
"""What a SEW-ResNet does not read either: its norms and its readout belong to it."""
_DENSE = {"model": ("mlp", "recurrent", "conv", "article")}
_IMAGES = {"model": ("conv", "sew_resnet")}
_LEAKY = {**_OURS, "neuron": ("lif", "cuba", "alif")}
_TARGETS = {"objective": ("count_mse", "rate_mse")}
_CROSS_ENTROPIES = (
    *("rate_ce", "count_ce", "membrane_mean", "membrane_max", "membrane_last"),
    "first_spike",
)
_ADAPTIVE = {**_OURS, "neuron": ("alif",)}
_PENALTY = {"rate_weight": SET}


class _Group:
    """Checks and coerces the fields at construction, whoever constructs it."""

    def __post_init__(self) -> None:
        for name, option in options_of("", type(self)).items():
            object.__setattr__(self, name, coerce(option, getattr(self, name)))


@dataclasses.dataclass(frozen=True)
class DataConfig(_Group):
    """What to learn from."""

    dataset: str = declare("digits", "data set by name; `spikegrad data` lists them")
    data: str = declare("", "your own arrays instead: an .npz file with x_train, y_train, ...")
    folder: str = declare(
        "", "folder of the data files; empty: the usual folders", needs=[{"data": ("",)}]
    )
    sequence: bool = declare(
        False, "your own arrays are sequences [N, T, ...]", needs=[{"data": SET}]
    )
    validation: float = declare(0.1, "share (< 1) or count held out to choose the epoch", least=0)
    normalise: str = declare(
        "none", "input scaling by the training part's mean and std", choices=("none", "standard")
    )
    shift: int = declare(0, "augmentation: largest shift (pixels)", least=0)
    rotate: float = declare(0.0, "augmentation: largest rotation (degrees)", least=0, most=180)
    scale: float = declare(0.0, "augmentation: largest change of size (fraction)", least=0)
    flip: bool = declare(False, "augmentation: mirror half of the images left to right")
    erase: float = declare(0.0, "augmentation: probability to erase a box", least=0, most=1)


@dataclasses.dataclass(frozen=True)
class NetworkConfig(_Group):
    """What learns."""

    model: str = declare(
        "mlp", "shape of the network", choices=("mlp", "recurrent", "conv", "sew_resnet", "article")
    )
    hidden: tuple[int, ...] = declare(
        (256,), "neurons per hidden layer: 512,512", least=1, needs=[_DENSE]
    )
    channels: tuple[int, ...] = declare(
        (16, 32), "conv, sew_resnet: channels of the stages", least=1, needs=[_IMAGES]
    )
    blocks: tuple[int, ...] = declare(
        (1,),
        "convolutions of conv, or residual blocks of sew_resnet, per stage: 2 for all, or 1,2,2",
        least=1,
        needs=[_IMAGES],
    )
    neuron: str = declare(
        "lif", "kind of neuron", choices=("lif", "if", "cuba", "alif"), needs=[_OURS]
    )
    tau_mem: float = declare(
        10.0,
        "membrane time constant (ms; one step is 1 ms)",
        above=0,
        needs=[{**_LEAKY, "beta": (None,)}],
    )
    beta: float | None = declare(
        None, "membrane decay per step, instead of tau_mem", above=0, below=1, needs=[_LEAKY]
    )
    tau_syn: float = declare(
        5.0,
        "synaptic time constant (ms), for cuba",
        above=0,
        needs=[{**_OURS, "neuron": ("cuba",)}],
    )
    tau_adapt: float = declare(
        100.0, "time constant of the threshold (ms), for alif", above=0, needs=[_ADAPTIVE]
    )
    kappa: float = declare(
        0.2, "amount that a spike adds to the threshold, for alif", least=0, needs=[_ADAPTIVE]
    )
    threshold: float = declare(1.0, "spike threshold", above=0, needs=[_OURS])
    reset: str = declare(
        "subtract",
        "reset of the membrane after a spike",
        choices=("subtract", "zero", "none"),
        needs=[_OURS],
    )
    v_reset: float = declare(
        0.0, "membrane after a reset, for reset zero", needs=[{**_OURS, "reset": ("zero",)}]
    )
    detach_reset: bool = declare(
        True,
        "no gradient through the reset's spike",
        needs=[{**_OURS, "reset": ("subtract", "zero")}],
    )
    refractory: float = declare(0.0, "refractory period (ms)", least=0, needs=[_OURS])
    surrogate: str = declare(
        "arctan", "surrogate gradient; `spikegrad surrogates` lists them", needs=[_OURS]
    )
    slope: float | None = declare(
        None,
        "slope of the surrogate, larger is sharper; by default its own",
        above=0,
        needs=[_OURS],
    )
    surrogate_normalisation: str | None = declare(
        None,
        "quantity of the surrogate that is 1; by default its own",
        choices=("area", "peak"),
        needs=[_OURS],
    )
    learn: tuple[str, ...] = declare(
        (),
        "learned quantities of the neurons: tau_mem,threshold",
        choices=("tau_mem", "tau_syn", "threshold", "v_reset", "slope", "tau_adapt", "kappa"),
        needs=[_OURS],
    )
    batch_norm: bool = declare(
        False, "batch norm over time before each hidden layer", needs=[_FREE]
    )
    dropout: float = declare(
        0.0, "dropout of hidden spikes, one mask for all steps", least=0, most=0.99, needs=[_FREE]
    )
    readout: str = declare(
        "auto",
        "output: linear on spikes, spiking, leaky integrators; auto: linear, article: rate",
        choices=("auto", "linear", "spikes", "li", "rate"),
    )
    tau_out: float = declare(
        20.0,
        "time constant of a leaky readout (ms)",
        above=0,
        needs=[{**_FREE, "readout": ("li",)}],
    )
    encoder: str = declare(
        "direct",
        "encoder: how values become a sequence",
        choices=("direct", "poisson", "latency", "delta"),
    )
    steps: int = declare(10, "time steps T of samples without a time axis", least=1)
    init: str = declare(
        "auto",
        "weights at the start; auto: torch's own with batch norm, else kaiming",
        choices=("auto", "torch", "kaiming", "fluctuation"),
    )
    init_gain: float = declare(
        1.5,
        "gain of the kaiming initialisation",
        above=0,
        needs=[{"init": ("kaiming",)}, {**_FREE, "init": ("auto",), "batch_norm": (False,)}],
    )
    calibrate: float = declare(
        0.0, "scale weights until each layer fires at this rate; 0: off", least=0, below=1
    )
    backend: str = declare("auto", "backend: the kernels that run", choices=backends.NAMES)
    lean: bool = declare(False, "recompute membranes in the backward pass: less memory, more time")


@dataclasses.dataclass(frozen=True)
class TrainingConfig(_Group):
    """How it learns."""

    objective: str = declare(
        "membrane_mean",
        "loss, named after the output that it reads",
        choices=(*_CROSS_ENTROPIES, "rate_mse", "count_mse", "tet"),
    )
    temperature: float = declare(1.0, "divides the scores before the softmax", above=0)
    target_correct: float | None = declare(
        None,
        "target rate of the right output (spikes per step); default: rate_mse 1, count_mse 0.8",
        least=0,
        most=1,
        needs=[_TARGETS],
    )
    target_incorrect: float | None = declare(
        None,
        "target rate of the other outputs (spikes per step); default: rate_mse 0, count_mse 0.1",
        least=0,
        most=1,
        needs=[_TARGETS],
    )
    tet_weight: float = declare(
        0.05,
        "tet: weight of the squared distance from tet_target",
        least=0,
        most=1,
        needs=[{"objective": ("tet",)}],
    )
    tet_target: float = declare(
        1.0,
        "tet: target of the squared distance, usually the threshold",
        needs=[{"objective": ("tet",)}],
    )
    label_smoothing: float = declare(
        0.0,
        "label smoothing: share of the target given to all classes",
        least=0,
        most=0.99,
        needs=[{"objective": (*_CROSS_ENTROPIES, "tet")}],
    )
    epochs: int = declare(10, "passes over the training part", least=1)
    batch_size: int = declare(128, "samples per step, over all processes", least=1)
    optimizer: str = declare("adam", "optimizer", choices=("adam", "adamw", "sgd"))
    learning_rate: float = declare(1e-3, "learning rate, the peak of its schedule", above=0)
    weight_decay: float = declare(
        0.0, "weight decay of weights (never of tau, thresholds, norms)", least=0
    )
    momentum: float = declare(
        0.9, "momentum of sgd", least=0, most=1, needs=[{"optimizer": ("sgd",)}]
    )
    schedule: str = declare(
        "constant", "learning rate over time", choices=("constant", "cosine", "onecycle")
    )
    warmup: float = declare(0.0, "share of all steps used for the warm-up", least=0, most=1)
    clip: float = declare(0.0, "largest gradient norm; 0: off", least=0)
    truncate: int = declare(0, "truncated BPTT: steps per chunk; 0: the whole sequence", least=0)
    rate_lower: float = declare(
        0.0, "firing rates below this are penalised", least=0, most=1, needs=[_PENALTY]
    )
    rate_upper: float = declare(
        1.0, "firing rates above this are penalised", least=0, most=1, needs=[_PENALTY]
    )
    rate_weight: float = declare(0.0, "weight of the rate penalty; 0: off", least=0)
    slope_schedule: str = declare(
        "constant",
        "slope over the run, from slope to slope_end",
        choices=("constant", "linear", "geometric", "cosine", "step"),
    )
    slope_end: float | None = declare(
        None, "slope at the end of the run", above=0, needs=[{"slope_schedule": SET}]
    )
    precision: str = declare("32", "number format", choices=("32", "bf16-mixed", "16-mixed", "64"))
    early_stopping: int = declare(
        0, "end after this many epochs without a better validation; 0: off", least=0
    )
    ema: float = declare(
        0.0, "average the weights with this decay per step; 0: off", least=0, most=0.99999
    )


@dataclasses.dataclass(frozen=True)
class RunConfig(_Group):
    """Where and with what it runs."""

    out: str = declare("", "run folder; by default runs/DATASET-TIME")
    seed: int = declare(0, "seed of all random numbers", least=0, most=2**31)
    device: str = declare("auto", "device to run on", choices=("auto", "cpu", "cuda", "mps"))
    threads: int = declare(0, "CPU threads per process; 0: torch's own choice", least=0)
    processes: int = declare(1, "data-parallel processes (each has a part of every batch)", least=1)
    track_test: bool = declare(
        False, "read the test part every epoch (result.json: best_test_accuracy)"
    )
    checkpoint_seconds: float = declare(
        60.0, "time between checkpoints inside an epoch (s)", above=0
    )
    tensorboard: bool = declare(True, "write curves for TensorBoard")
    preflight: str = declare(
        "warn", "check one batch before training", choices=("off", "warn", "strict")
    )
    monitor: str = declare(
        "warn",
        "watch the layers in training: warn if one dies, saturates or its gradient explodes; "
        "stop: also end a run without hope",
        choices=("off", "warn", "stop"),
    )
    deterministic: bool = declare(True, "use deterministic algorithms where torch has them")


GROUPS: dict[str, type] = {
    "data": DataConfig,
    "network": NetworkConfig,
    "training": TrainingConfig,
    "run": RunConfig,
}
OPTIONS: dict[str, Option] = {
    name: option
    for group, kind in GROUPS.items()
    for name, option in options_of(group, kind).items()
}


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of a run.

    >>> Config(network=NetworkConfig(hidden=(64,))).network.hidden
    (64,)
    >>> NetworkConfig(model="mpl")
    Traceback (most recent call last):
    ...
    spikegrad.errors.UserError: unknown model 'mpl'; did you mean 'mlp'? (known: mlp, recurrent, \
conv, sew_resnet, article)
    """

    data: DataConfig = DataConfig()
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    run: RunConfig = RunConfig()

    def __post_init__(self) -> None:
        check_together(flatten(self), OPTIONS)


def flatten(config: Config) -> dict[str, Any]:
    """All fields by name, the groups forgotten.

    >>> flatten(Config())["epochs"]
    10
    """
    return {name: getattr(getattr(config, o.group), name) for name, o in OPTIONS.items()}


def gather(values: Mapping[str, Any]) -> Config:
    """The config with these fields and the defaults for all others.

    Raises:
        UserError: an unknown name (with the close ones), a value out of range.

    >>> gather({"epochs": 3}).training.epochs
    3
    """
    check_group(values, OPTIONS, "the config")
    groups: dict[str, dict[str, Any]] = {group: {} for group in GROUPS}
    for name, value in values.items():
        groups[OPTIONS[name].group][name] = value
    return Config(**{group: kind(**groups[group]) for group, kind in GROUPS.items()})
