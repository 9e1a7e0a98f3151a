"""The list of data sets, loading by name, and what of it is on this machine."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from spikegrad.data import fetch, mnist, randman, yin_yang
from spikegrad.data.dataset import Dataset
from spikegrad.data.digits import LICENCE, SOURCE, load_digits
from spikegrad.errors import UserError, unknown

__all__ = ["Entry", "catalogue", "load", "names"]


@dataclass(frozen=True)
class Entry:
    """What `catalogue` says about a data set.

    Args:
        name: for `load`.
        present: whether it can be loaded now, without a network.
        where: the folder, or how it comes about; for a set that is not here, the places looked at.
        size: samples and shape, in words.
        source, licence: whom to cite, and under which terms.
        how_to_get: what to do when it is not present; "" when nothing is needed.
    """

    name: str
    present: bool
    where: str
    size: str
    source: str
    licence: str
    how_to_get: str


@dataclass(frozen=True)
class _Member:
    make: Callable[..., Dataset]
    size: str
    source: str
    licence: str
    where: str
    files: mnist.IdxSet | None = None


def _idx_member(known: mnist.IdxSet) -> _Member:
    size = "60,000 + 10,000 images of 28x28, 10 classes"
    make = partial(mnist.load_idx, known)
    return _Member(make, size, known.source, known.licence, "", known)


_MEMBERS: dict[str, _Member] = {
    "digits": _Member(
        load_digits, "1,437 + 360 images of 8x8, 10 classes", SOURCE, LICENCE, "in the package"
    ),
    "mnist": _idx_member(mnist.MNIST),
    "fashion-mnist": _idx_member(mnist.FASHION_MNIST),
    "yin-yang": _Member(
        yin_yang.make_yin_yang,
        "5,000 + 1,000 points of 4 values, 3 classes",
        yin_yang.SOURCE,
        "generated",
        "generated",
    ),
    "randman": _Member(
        randman.make_randman,
        "4,000 + 1,000 rasters of 100 steps x 100 units, 10 classes",
        randman.SOURCE,
        "generated",
        "generated",
    ),
}


def names() -> list[str]:
    """The names that `load` knows.

    >>> names()
    ['digits', 'mnist', 'fashion-mnist', 'yin-yang', 'randman']
    """
    return list(_MEMBERS)


def load(
    name: str,
    *,
    folder: str | os.PathLike[str] | None = None,
    download: bool = True,
    **options: object,
) -> Dataset:
    """Load a data set by name.

    Args:
        name: one of `names()`; a file of your own is read by `load_npz`.
        folder: where the files of mnist and fashion-mnist lie, and where a download puts them.
        download: whether missing files may be fetched.
        options: of the generators, as `make_yin_yang` and `make_randman` have them.

    Raises:
        UserError: an unknown name or option, files that are not here or damaged.

    Source: see `Dataset.source` of each.

    >>> load("yin-yang", samples=30, test_samples=6).train.x.shape
    torch.Size([30, 4])
    """
    if name not in _MEMBERS:
        hint = "; load_npz reads a file of your own" if str(name).endswith(".npz") else ""
        raise UserError(unknown("data set", name, _MEMBERS) + hint)
    member = _MEMBERS[name]
    if member.files is not None:
        known: list[str] = []
        options_for_all: dict[str, object] = {"folder": folder, "download": download}
    else:
        known = list(inspect.signature(member.make).parameters)
        options_for_all = {}
    for option in options:
        if option not in known:
            raise UserError(unknown(f"option of the data set {name}", option, known))
    return member.make(**options_for_all, **options)


def catalogue(folder: str | os.PathLike[str] | None = None) -> list[Entry]:
    """List every data set and whether it is here; no file is read, nothing is fetched.

    >>> [entry.name for entry in catalogue() if entry.where == "generated"]
    ['yin-yang', 'randman']
    """
    return [_entry(name, member, folder) for name, member in _MEMBERS.items()]


def _entry(name: str, member: _Member, folder: str | os.PathLike[str] | None) -> Entry:
    present, where, how = True, member.where, ""
    if member.files is not None:
        place = mnist.locate(member.files, folder)
        present = place is not None
        where = str(place) if present else ", ".join(map(str, fetch.places(name, folder)))
        if not present:
            how = (
                f"training on it downloads it; or put the files {', '.join(mnist.FILES)} "
                f"(plain or .gz) in a folder {name} and let ${fetch.ENVIRONMENT} name its parent"
            )
    return Entry(name, present, where, member.size, member.source, member.licence, how)
