"""MNIST and Fashion-MNIST: 60,000 + 10,000 images of 28x28 in ten classes, as IDX files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from spikegrad.data import fetch, idx
from spikegrad.data.dataset import Dataset, Split
from spikegrad.errors import UserError, message

__all__ = ["FASHION_MNIST", "MNIST", "IdxSet", "load_idx", "locate"]

_TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
_TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
FILES = (*_TRAIN, *_TEST)


@dataclass(frozen=True)
class IdxSet:
    """A known set of four IDX files.

    Args:
        name, title: on the command line, and in a sentence.
        digests: SHA-256 of the unpacked bytes of each of `FILES`.
        mirrors: addresses of folders that hold the gzipped files.
        class_names, source, licence: as in `Dataset`.
    """

    name: str
    title: str
    digests: tuple[str, str, str, str]
    mirrors: tuple[str, ...]
    class_names: tuple[str, ...]
    source: str
    licence: str

    @property
    def files(self) -> dict[str, str]:
        """{file name: digest}."""
        return dict(zip(FILES, self.digests, strict=True))


MNIST = IdxSet(
    name="mnist",
    title="MNIST",
    digests=(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    class_names=tuple(str(digit) for digit in range(10)),
    source="LeCun, Bottou, Bengio & Haffner (1998); LeCun, Cortes & Burges",
    licence="usually given as CC BY-SA 3.0",
)

FASHION_MNIST = IdxSet(
    name="fashion-mnist",
    title="Fashion-MNIST",
    digests=(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    class_names=(
        "T-shirt/top",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ),
    source="Xiao, Rasul & Vollgraf (2017), Zalando Research",
    licence="MIT",
)


def locate(known: IdxSet, folder: str | os.PathLike[str] | None = None) -> Path | None:
    """The first place that has all four files, or None; nothing is read.

    >>> locate(MNIST, "nowhere") is None
    True
    """
    for place in fetch.places(known.name, folder):
        if len(fetch.find(place, FILES)) == len(FILES):
            return place
    return None


def load_idx(
    known: IdxSet, *, folder: str | os.PathLike[str] | None = None, download: bool = True
) -> Dataset:
    """Load a known set: found in one of `fetch.places`, else downloaded into the cache.

    Args:
        known: `MNIST` or `FASHION_MNIST`.
        folder: look here only, and download to here.
        download: whether files may be fetched when no place has all four.

    Returns:
        static data, uint8 `[N, 28, 28]`, scale 255.

    Raises:
        UserError: files that are not here (names every place), or that are damaged, mislabelled,
            or not those of this set (checksum of the unpacked bytes).
    """
    place = locate(known, folder)
    if place is None:
        place = _fetched(known, folder, download)
    paths = fetch.find(place, FILES)
    return Dataset(
        name=known.name,
        train=_part(known, paths, _TRAIN),
        test=_part(known, paths, _TEST),
        classes=len(known.class_names),
        class_names=known.class_names,
        sequence=False,
        source=known.source,
        licence=known.licence,
    )


def _fetched(known: IdxSet, folder: str | os.PathLike[str] | None, download: bool) -> Path:
    looked = fetch.places(known.name, folder)
    by_hand = f"put the files in a folder and give it as folder= or ${fetch.ENVIRONMENT}"
    if not download:
        raise fetch.missing(known.name, FILES, looked, f"allow the download, or {by_hand}")
    target = looked[0] if folder else fetch.cache() / known.name
    failed = fetch.download(known.files, known.mirrors, target)
    if failed:
        reasons = "; ".join(f"{file} ({reason})" for file, reason in failed.items())
        remedy = f"the download failed: {reasons}; check the network, or {by_hand}"
        raise fetch.missing(known.name, FILES, looked, remedy)
    return target


def _part(known: IdxSet, paths: dict[str, Path], files: tuple[str, str]) -> Split:
    """Images and labels of one part; the form first (its errors say more), then the checksum."""
    raw = [idx.read_bytes(paths[file]) for file in files]
    images = idx.parse_images(raw[0], paths[files[0]])
    labels = idx.parse_labels(raw[1], paths[files[1]], len(known.class_names))
    idx.check_pair(images, labels, (paths[files[0]], paths[files[1]]))
    for file, data in zip(files, raw, strict=True):
        _verify(known, file, paths[file], data)
    return Split(torch.from_numpy(np.array(images)), torch.from_numpy(labels))


def _verify(known: IdxSet, file: str, path: Path, data: bytes) -> None:
    digest = idx.checksum(data)
    if digest == known.files[file]:
        return
    owner = {d: (s, f) for s in (MNIST, FASHION_MNIST) for f, d in s.files.items()}
    if digest in owner:
        got = f"{owner[digest][1]} of {owner[digest][0].title} in {path}"
        remedy = "the files of two sets or parts are mixed up"
    else:
        got = f"a wrong checksum for {path} (SHA-256 {digest[:12]}...)"
        remedy = "move it away and download it again; load data of your own from an .npz file"
    raise UserError(message(f"expected {file} of {known.title}", got, remedy))
