"""Studies that anyone can run again: comparisons with a question, a source and a figure.

`shape-against-scale`: does the shape of a surrogate matter, or its scale? Zenke & Vogels (2021)
found that learning is robust to the shape, and not to the scale. Three shapes of equal width (of
theirs: the derivative of a fast sigmoid, of a sigmoid, and a triangle), at three widths, once with
peak 1 (which is their normalisation) and once with area 1, where the peak grows with the slope.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spikegrad.compare.comparison import Comparison
from spikegrad.compare.plan import Plan, plan
from spikegrad.compare.statistics import Pair
from spikegrad.errors import UserError, unknown

__all__ = ["STUDIES", "Contrast", "Study", "contrasts", "study"]

_HEIGHT = "surrogate_normalisation"


@dataclass(frozen=True)
class Study:
    """A question, whose work it is, and a comparison on each of some data sets.

    shared, own: arguments of `plan`; `options` of both are put together.
    """

    question: str
    source: str
    shared: Mapping[str, Any]
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def plans(self, options: Mapping[str, Any] | None = None) -> dict[str, Plan]:
        """The comparison of every data set.

        options: fields of the config instead of those of the study (`epochs`, for a quick look).
        """
        found = {}
        for dataset, own in self.own.items():
            fields = {**self.shared["options"], **own, **(options or {})}
            found[dataset] = plan(dataset, **{**self.shared, "options": fields})
        return found


STUDIES = {
    "shape-against-scale": Study(
        question="does the shape of a surrogate matter, or its scale?",
        source="Zenke & Vogels (2021), Neural Computation 33(4), 899-925",
        shared={
            "surrogates": ["fast_sigmoid", "sigmoid", "triangle"],
            "slopes": [2.0, 10.0, 50.0],
            "equal": "fwhm",
            "vary": {_HEIGHT: ["peak", "area"]},
            "seeds": 5,
            "options": {"model": "recurrent", "init": "fluctuation", "tensorboard": False},
        },
        own={"yin-yang": {"epochs": 8}, "randman": {"epochs": 3}},
    )
}


def study(name: str) -> Study:
    """A study by its name.

    Raises:
        UserError: an unknown name, with the close ones.
    """
    if name not in STUDIES:
        raise UserError(unknown("study", name, STUDIES))
    return STUDIES[name]


@dataclass(frozen=True)
class Contrast:
    """Pairs of variants that differ in one thing alone.

    what: "shape", "width" or "height"; where: what they have in common, in words; largest: the
    largest difference of their means; pairs: how many there are; shown: of how many the paired
    test shows a difference.
    """

    what: str
    where: str
    largest: float
    pairs: int
    shown: int


_COMMON = {"shape": ("width", "height"), "height": ("width",), "width": ("height",)}
"""What pairs that differ in one thing are put together by."""


def contrasts(found: Comparison) -> list[Contrast]:
    """What shape, height and width do alone, in a comparison of matched surrogates.

    Only pairs with a result count; a thing without such a pair is left out.
    """
    factors = _factors(found)
    groups: dict[tuple[str, str], list[Pair]] = {}
    for pair in found.pairs():
        a, b = factors[pair.a], factors[pair.b]
        differ = [what for what in _COMMON if a[what] != b[what]]
        if len(differ) == 1 and pair.difference is not None:
            where = ", ".join(a[common] for common in _COMMON[differ[0]] if a[common])
            groups.setdefault((differ[0], where), []).append(pair)
    order = sorted(groups, key=lambda key: list(_COMMON).index(key[0]))
    return [
        Contrast(
            what,
            where,
            max(abs(pair.difference or 0.0) for pair in groups[what, where]),
            len(groups[what, where]),
            sum(pair.shown for pair in groups[what, where]),
        )
        for what, where in order
    ]


def _factors(found: Comparison) -> list[dict[str, str]]:
    """Shape, width and height of each variant, in words.

    Matched slopes differ by shape: a width is called by the slope of the first surrogate, whose
    n-th slope is the width of every n-th slope.
    """
    settings = [variant.settings for variant in found.plan.variants]
    by_shape: dict[str, list[float]] = {}
    for own in settings:
        slopes = by_shape.setdefault(own.get("surrogate", ""), [])
        if "slope" in own and own["slope"] not in slopes:
            slopes.append(own["slope"])
    first = sorted(next(iter(by_shape.values())))
    rows = []
    for own in settings:
        shape, height = own.get("surrogate", ""), own.get(_HEIGHT)
        width = ""
        if "slope" in own:
            width = f"slope {first[sorted(by_shape[shape]).index(own['slope'])]:g}"
        rows.append({"shape": shape, "width": width, "height": f"{height} 1" if height else ""})
    return rows
