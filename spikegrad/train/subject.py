"""What `spikegrad diagnose` looks at: the network of a run or a config, and a batch of its data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from spikegrad import diagnose
from spikegrad.diagnose import Fixed, GradientFlow, Health
from spikegrad.errors import UserError, message, unknown
from spikegrad.train import checkpoint, seeding
from spikegrad.train.app import stored_config
from spikegrad.train.batch import Batch, batch_of
from spikegrad.train.build import (
    Parts,
    build_encoder,
    build_network,
    build_parts,
    calibrate_network,
)
from spikegrad.train.config import OPTIONS, Config, flatten, gather
from spikegrad.train.fields import coerce
from spikegrad.train.finish import read_weights
from spikegrad.train.folder import RunFolder
from spikegrad.train.objective import Objective, objective_of
from spikegrad.train.own import is_own
from spikegrad.train.parallel import device_of
from spikegrad.train.running import Place, sequence_of
from spikegrad.train.settings import for_measuring, settings
from spikegrad.train.sources import resolve
from spikegrad.train.synonyms import SYNONYMS

__all__ = [
    "Subject",
    "changes_of",
    "config_of",
    "is_run",
    "own_run",
    "subject_of",
    "untrained",
    "with_options",
]


@dataclass(frozen=True, eq=False)
class Subject:
    """A network with a batch of its training part, as its first step sees it.

    what: which weights it has, in words; config: all settings; network: in training mode; x: the
    encoded input `[T, B, *features]`; labels: int64 `[B]`; objective: the loss; classes: C;
    lengths: the steps of every sample, None for T each.
    """

    what: str
    config: Config
    network: nn.Module
    x: Tensor
    labels: Tensor
    objective: Objective
    classes: int
    lengths: Tensor | None = None

    @property
    def batch(self) -> tuple[Tensor, Tensor]:
        """The batch, as diagnose takes it."""
        return self.x, self.labels

    @property
    def how(self) -> dict[str, Any]:
        """What else it takes."""
        return {"loss": self.objective, "classes": self.classes, "lengths": self.lengths}

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Threads and algorithms of the config, and dropout that draws as in the first step."""
        with seeding.kept(), settings(for_measuring(self.config.run)):
            seeding.seed_all(self.config.run.seed, seeding.STEP, 0)
            yield

    def health(self, *, truth: bool | None = False) -> Health:
        """What `diagnose.health` says."""
        with self.measuring():
            return diagnose.health(self.network, self.batch, truth=truth, **self.how)

    def fix(self) -> Fixed:
        """What `diagnose.fix` makes of it."""
        with self.measuring():
            return diagnose.fix(self.network, self.batch, **self.how)

    def flow(self) -> GradientFlow:
        """What `diagnose.gradient_flow` says."""
        with self.measuring():
            how: dict[str, Any] = {"loss": self.objective, "lengths": self.lengths}
            return diagnose.gradient_flow(self.network, self.x, self.labels, **how)


def is_run(target: str) -> bool:
    """Whether a run folder is meant, and no recipe or file."""
    return Path(target).is_dir()


def own_run(target: str) -> bool:
    """Whether it is the folder of a run of `fit`, which cannot say how its network is built.

    Raises:
        UserError: no run folder, or a damaged config.
    """
    return is_run(target) and is_own(stored_config(target))


def config_of(target: str, changes: Mapping[str, Any] | None = None) -> Config:
    """The config of a run folder, or of a recipe or file with some fields changed.

    Raises:
        UserError: no such run, recipe or file, a wrong field, or changes to a run.
    """
    given = dict(changes or {})
    if not is_run(target):
        return resolve(given, config=target)
    if given:
        expected = "expected a run as it was trained"
        remedy = f"give {Path(target) / 'config.toml'}, to look at its network before training"
        raise UserError(message(expected, f"{', '.join(given)} changed", remedy))
    return stored_config(target)


def subject_of(
    target: str, config: Config, *, samples: int | None = None, device: str = "cpu"
) -> Subject:
    """Build the network of a config, with the weights of its run where target is one.

    Args:
        target: a run folder, or what the config is called; config: all settings.
        samples: how many of the first batch, None for all of it.
        device: where to compute.
    Raises:
        UserError: data, settings or files of the run that will not do.
    """
    run = RunFolder.open(Path(target)) if is_run(target) else None
    return _subject(target, config, run, samples, device)


def untrained(config: Config, *, device: str = "cpu") -> Subject:
    """The network of a config as it is before the first step, with the first batch.

    Raises:
        UserError: data or settings that will not do.
    """
    return _subject("this config", config, None, None, device)


def _subject(
    what: str, config: Config, run: RunFolder | None, samples: int | None, device: str
) -> Subject:
    with seeding.kept(), settings(for_measuring(config.run)):
        parts = build_parts(config)
        network = build_network(config, parts.inputs)
        if run is not None:
            words = _trained(network, run)
        else:
            words = f"the network of {what} before training"
            calibrate_network(network, config, parts)
        place = Place(device_of(device))
        x, labels, lengths = _batch(parts, config, place, samples)
        assert isinstance(x, Tensor)
        assert labels is not None
        return Subject(
            words,
            config,
            network.to(place.device, place.dtype).train(),
            x,
            labels,
            objective_of(config),
            parts.inputs.classes,
            lengths,
        )


def changes_of(words: tuple[str, ...]) -> dict[str, Any]:
    """Fields given as FIELD=VALUE, coerced.

    Raises:
        UserError: no such form, field or value.

    >>> changes_of(("slope=3", "hidden=64,32"))
    {'slope': 3.0, 'hidden': (64, 32)}
    """
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise UserError(message("expected FIELD=VALUE", repr(word), "for example slope=3"))
        if name not in OPTIONS:
            raise UserError(unknown("field", name, OPTIONS, SYNONYMS))
        found[name] = coerce(OPTIONS[name], value)
    return found


def with_options(config: Config, options: Mapping[str, Any]) -> Config:
    """The config with the options of a repair, without those that nothing in it reads.

    >>> with_options(Config(), {"calibrate": 0.05, "kappa": 1.0}).network.calibrate
    0.05
    """
    changed = config
    for name, value in options.items():
        with suppress(UserError):  # the field belongs to another model, neuron or objective
            changed = gather({**flatten(changed), name: value})
    return changed


def _batch(parts: Parts, config: Config, place: Place, samples: int | None) -> Batch:
    """The first batch of training, encoded as in the first step."""
    first = batch_of(next(iter(parts.train.epoch(0)))).part(slice(samples)).trimmed()
    seeding.seed_all(config.run.seed, seeding.STEP, 0)
    put = place.put(first)
    encode = build_encoder(config, parts.inputs)
    return put._replace(x=sequence_of(encode, put.x, put.lengths))


def _trained(network: nn.Module, folder: RunFolder) -> str:
    """Load the weights that a run has, the chosen ones first; which they are, in words."""
    weights: Mapping[str, Tensor]
    if folder.weights.is_file():
        weights, notes = read_weights(folder.weights)
        checkpoint.check_fits(network, weights, folder.weights)
        network.load_state_dict(weights)
        return f"the network of {folder.path}, chosen after epoch {notes.get('epoch', '?')}"
    if not folder.checkpoint.is_file():
        return f"the network of {folder.path} before training: there is no checkpoint yet"
    state = checkpoint.load(folder.checkpoint)
    with checkpoint.understood(folder.checkpoint):
        checkpoint.check_fits(network, state["network"], folder.checkpoint)
        network.load_state_dict(state["network"])
        epoch, step = state["state"]["epoch"], state["state"]["step"]
    return f"the network of {folder.path} in training: {epoch} epochs and {step} steps are done"
