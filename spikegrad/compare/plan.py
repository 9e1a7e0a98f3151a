"""What a comparison will run: its variants, the config of each, and the seeds that all share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from spikegrad.compare.matching import check_equal, matched
from spikegrad.compare.vary import Vary, combinations, values_of
from spikegrad.errors import UserError, message, unknown
from spikegrad.train.config import OPTIONS, Config, flatten, gather
from spikegrad.train.fields import check_group, coerce
from spikegrad.train.sources import resolve

__all__ = ["METRICS", "Plan", "Trial", "Variant", "plan"]

METRICS = {"test_accuracy": True, "val_accuracy": True, "test_loss": False, "val_loss": False}
"""What variants can be ranked by, and whether larger is better."""

_SURROGATE = ("surrogate", "slope", "surrogate_normalisation")
_LONGEST = 60  # characters of a folder's name


@dataclass(frozen=True)
class Variant:
    """One way to train: the settings that tell it apart, and all settings (but for the seed).

    folder: the name of the folder with its runs, which stays when names in words change.
    """

    settings: dict[str, Any]
    config: Config
    folder: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        """The settings in words.

        >>> Variant({"surrogate": "arctan", "slope": 2.0, "epochs": 3}, Config()).name
        'arctan, slope 2, epochs 3'
        """
        words = [_words(name, value) for name, value in self.settings.items()]
        return ", ".join(words) or "the config as it is"


@dataclass(frozen=True)
class Trial:
    """A variant with one seed, in its own run folder."""

    variant: int
    seed: int
    config: Config
    folder: Path


@dataclass(frozen=True)
class Plan:
    """All that a comparison runs.

    variants: what is compared; seeds: the same for all; equal: what of the surrogates is (see
    `matching`); metric: what they are ranked by.
    """

    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    equal: tuple[str, ...]
    metric: str

    @property
    def dataset(self) -> str:
        """The data set of the first variant."""
        return self.variants[0].config.data.dataset

    def trials(self, folder: Path) -> list[Trial]:
        """Every variant with every seed: first all variants with the first seed."""
        return [
            Trial(i, seed, _with_seed(variant.config, seed), self.place(folder, i, seed))
            for seed in self.seeds
            for i, variant in enumerate(self.variants)
        ]

    def place(self, folder: Path, variant: int, seed: int) -> Path:
        """The run folder of a trial."""
        return folder / self.variants[variant].folder / f"seed-{seed}"

    def data(self) -> dict[str, Any]:
        """As values that JSON can hold."""
        return {
            "dataset": self.dataset,
            "metric": self.metric,
            "equal": list(self.equal),
            "seeds": list(self.seeds),
            "variants": [
                {
                    "folder": variant.folder,
                    "settings": variant.settings,
                    "config": flatten(variant.config),
                }
                for variant in self.variants
            ],
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Plan:
        """What `data` gave, through JSON; KeyError, TypeError or ValueError where it is not."""
        variants = []
        for each in data["variants"]:
            config = gather(each["config"])
            settings = {name: coerce(OPTIONS[name], v) for name, v in each["settings"].items()}
            variants.append(Variant(settings, config, _inside(each["folder"])))
        seeds = tuple(int(seed) for seed in data["seeds"])
        if not variants or not seeds or data["metric"] not in METRICS:
            raise ValueError("no variants, seeds or metric")
        return cls(tuple(variants), seeds, check_equal(data["equal"]), data["metric"])


def plan(
    dataset: str | None = None,
    *,
    surrogates: Sequence[str] | None = None,
    slopes: Sequence[float] | None = None,
    vary: Vary | None = None,
    seeds: int = 5,
    equal: str | Iterable[str] | None = None,
    metric: str = "test_accuracy",
    config: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Plan:
    """Every variant, with all of its settings checked; nothing is run.

    Args:
        dataset: a data set by name; None: that of the config, or digits.
        surrogates: names; slopes: of the first of them (see `matching`), or of all without `equal`.
        vary: `{field of the config: its values}`; every combination is a variant.
        seeds: how many, from `options["seed"]` on (0).
        equal: what of the surrogates shall be equal: area, peak, fwhm, or two of them.
        metric: what variants are ranked by.
        config: a recipe or a TOML file; options: fields that all variants share.
    Raises:
        UserError: an unknown name or a wrong value, in words that name the variant.

    >>> [each.name for each in plan("digits", surrogates=["arctan", "triangle"]).variants]
    ['arctan', 'triangle']
    """
    shared = dict(options or {})
    if dataset is not None:
        shared["dataset"] = dataset
    check_group(shared, OPTIONS, "the options")
    if metric not in METRICS:
        raise UserError(unknown("metric", metric, METRICS))
    if isinstance(seeds, bool) or not isinstance(seeds, int):
        raise TypeError(message("expected the number of seeds as a whole number", repr(seeds)))
    if seeds < 1:
        raise UserError(message("expected seeds >= 1", str(seeds), "5 or more show differences"))
    varied = values_of(vary or {})
    chosen, wanted = _surrogates(surrogates, slopes, varied, shared, check_equal(equal), config)
    _check_once(varied, shared)
    variants = []
    for own in chosen:
        for others in combinations(varied):
            variants.append(_variant({**own, **others}, shared, config))
    first = variants[0].config.run.seed
    told = [_told(each, variants) for each in variants]
    named = tuple(replace(v, folder=_slug(i, v.name)) for i, v in enumerate(told, 1))
    return Plan(named, tuple(range(first, first + seeds)), wanted, metric)


def _surrogates(
    surrogates: Sequence[str] | None,
    slopes: Sequence[float] | None,
    varied: dict[str, list[Any]],
    shared: dict[str, Any],
    equal: tuple[str, ...],
    config: str | None,
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """The settings of the surrogates, matched; what they use is taken from the other sources."""
    names = _one_source("surrogate", _listed(surrogates, "surrogates"), varied, shared)
    given = _one_source("slope", _listed(slopes, "slopes"), varied, shared)
    if names is None and given is None and not equal:
        return [{}], equal
    base = resolve(shared, config=config)
    if names is None:
        names = [base.network.surrogate]
    asked = shared.pop("surrogate_normalisation", None)
    if asked is not None and {"area", "peak"} & set(equal):
        expected = "expected either equal area or peak, or surrogate_normalisation"
        raise UserError(message(expected, "both", "omit surrogate_normalisation"))
    if given is not None:
        given = [coerce(OPTIONS["slope"], slope) for slope in given]
    for name, values in (("surrogates", names), ("slopes", given or [])):
        double = [v for i, v in enumerate(values) if v in values[:i]]
        if double:
            raise UserError(message(f"expected each of the {name} once", f"{double[0]} twice"))
    return matched(names, given, equal, normalisation=asked), equal


def _listed(values: Any, name: str) -> list[Any] | None:
    """A list that was given, or None."""
    if values is None:
        return None
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(message(f"expected {name} as a list", repr(values)))
    found = list(values)
    if not found:
        raise UserError(message(f"expected at least one of the {name}", "none"))
    return found


def _one_source(
    field: str, own: list[Any] | None, varied: dict[str, list[Any]], shared: dict[str, Any]
) -> list[Any] | None:
    """The values of a field that has a name of its own here; taken out of the other two."""
    sources = {f"{field}s": own, f"vary {field}": varied.pop(field, None)}
    sources[field] = [shared.pop(field)] if field in shared else None
    given = [name for name, values in sources.items() if values is not None]
    if len(given) > 1:
        expected = f"expected the values of {field} once"
        raise UserError(message(expected, " and ".join(given), f"omit {given[-1]}"))
    return next((values for values in sources.values() if values is not None), None)


def _check_once(varied: Mapping[str, Any], shared: Mapping[str, Any]) -> None:
    for name in varied:
        if name in shared:
            got = f"{name} among the settings of all variants too"
            raise UserError(message(f"expected {name} once, varied", got, f"omit {name} there"))


def _variant(own: dict[str, Any], shared: Mapping[str, Any], config: str | None) -> Variant:
    """A variant; what is wrong with its settings is said with its name.

    One thread each unless it is said: so the result does not depend on how many run at a time.
    """
    settings = {name: value for name, value in own.items() if value is not None}
    try:
        found = resolve({**shared, **settings}, config=config)
    except UserError as error:
        name = Variant(settings, Config()).name
        raise UserError(f"{name}: {error}" if settings else str(error)) from None
    run = replace(found.run, out="", threads=found.run.threads or 1)
    return Variant(settings, replace(found, run=run))


def _told(variant: Variant, all_of_them: Sequence[Variant]) -> Variant:
    """The variant with the settings alone in which some differ."""
    kept = {
        name: value
        for name, value in variant.settings.items()
        if len(all_of_them) == 1
        or name == "surrogate"
        or any(each.settings.get(name) != value for each in all_of_them)
    }
    return replace(variant, settings=kept)


def _slug(number: int, name: str) -> str:
    """A name of a folder that every system takes, and that no other variant has."""
    words = re.sub(r"[^A-Za-z0-9.]+", "-", name)[:_LONGEST].strip("-.")
    return f"{number:02d}-{words}"


def _inside(name: Any) -> str:
    """The name of a folder from a file; ValueError where it would lead elsewhere."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", name):
        raise ValueError(f"{name!r} is no name of a folder")
    return name


def _with_seed(config: Config, seed: int) -> Config:
    return replace(config, run=replace(config.run, seed=seed))


def _words(name: str, value: Any) -> str:
    """A setting in words; a surrogate is its name, what is 1 of it says so."""
    if name == "surrogate":
        return str(value)
    if name == "surrogate_normalisation":
        return f"{value} 1"
    if isinstance(value, bool):
        value = "on" if value else "off"
    if isinstance(value, tuple):
        value = "+".join(map(str, value)) or "none"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{name.replace('_', ' ')} {text}"
