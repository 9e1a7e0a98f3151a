"""What every data set is: a training part, perhaps a test part, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from spikegrad.data import seeds
from spikegrad.errors import UserError, message
from spikegrad.ragged import check_lengths

__all__ = ["Dataset", "Split", "split_validation", "stratified", "usual_scale"]

_BYTE_SCALE = 255.0


def usual_scale(x: torch.Tensor) -> float:
    """What values are divided by unless somebody says: 255 for bytes that go above 1, else 1.

    >>> usual_scale(torch.tensor([0, 1], dtype=torch.uint8))
    1.0
    """
    bytes_above_1 = x.dtype == torch.uint8 and x.numel() > 0 and int(x.max()) > 1
    return _BYTE_SCALE if bytes_above_1 else 1.0


@dataclass(frozen=True, eq=False)
class Split:
    """Samples and their labels; bytes stay bytes in memory and are scaled batch by batch.

    Args:
        x: uint8 or float32, `[N, *features]` (static) or `[N, T, *features]` (sequence).
        y: int64 labels from 0, `[N]`.
        scale: what `scaled` divides `x` by; None stands for what `usual_scale` says.
        lengths: of sequences, the steps of every sample, int64 `[N]`, 1 to T; None for T each.

    Raises:
        TypeError: `x` is neither uint8 nor float32, or `y` or lengths are not int64.
        UserError: shapes that do not fit, no samples, a scale that is not positive, or lengths out
            of range.

    >>> part = Split(torch.tensor([[0, 255]], dtype=torch.uint8), torch.tensor([1]))
    >>> len(part), part.scaled().tolist()
    (1, [[0.0, 1.0]])
    """

    x: torch.Tensor
    y: torch.Tensor
    scale: float | None = None
    lengths: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if self.x.dtype not in (torch.uint8, torch.float32):
            raise TypeError(message("expected x of dtype uint8 or float32", str(self.x.dtype)))
        if self.y.dtype != torch.int64:
            raise TypeError(message("expected y of dtype int64", str(self.y.dtype)))
        if self.x.ndim < 2 or self.y.ndim != 1:
            got = f"{list(self.x.shape)} and {list(self.y.shape)}"
            raise UserError(message("expected x of shape [N, *features] and y of shape [N]", got))
        if len(self.x) != len(self.y) or not len(self.y):
            got = f"{len(self.x)} samples and {len(self.y)} labels"
            raise UserError(message("expected as many labels as samples, at least one", got))
        if self.scale is not None and not 0.0 < self.scale < float("inf"):
            raise UserError(message("expected scale > 0", str(self.scale)))
        if self.lengths is None:
            return
        if self.x.ndim < 3:
            expected = "expected sequences x [N, T, *features] with lengths"
            raise UserError(message(expected, str(list(self.x.shape))))
        found = check_lengths(self.lengths, self.x.shape[1], len(self.x))
        object.__setattr__(self, "lengths", found)

    def __len__(self) -> int:
        return len(self.y)

    @cached_property
    def divisor(self) -> float:
        """The number that `scaled` divides by."""
        return usual_scale(self.x) if self.scale is None else float(self.scale)

    def scaled(self, index: torch.Tensor | None = None, longest: int | None = None) -> torch.Tensor:
        """Return `x / divisor` in float32, of all samples or of those in `index` (int64 `[B]`);
        longest: the first steps of sequences alone.
        """
        x = self.x if longest is None else self.x[:, :longest]
        x = x if index is None else x[index.to(self.x.device)]
        x = x.to(torch.float32)
        return x if self.divisor == 1.0 else x / self.divisor

    def select(self, index: torch.Tensor) -> Split:
        """Return the samples in `index` (int64 `[n]`) as a part, scaled as the whole is."""
        x, y = self.x[index.to(self.x.device)], self.y[index.to(self.y.device)]
        lengths = None if self.lengths is None else self.lengths[index.cpu()]
        return Split(x, y, self.divisor, lengths)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set: its parts, its classes, its origin.

    Args:
        name: what it is called on the command line.
        train, test: the parts; `test` is None where the data have none.
        classes: the number of classes, C.
        class_names: C names.
        sequence: whether the first feature axis is time, `[N, T, *features]`.
        source, licence: whom to cite, and under which terms.

    >>> part = Split(torch.zeros(2, 3), torch.tensor([0, 1]))
    >>> Dataset("toy", part, None, 2, ("a", "b"), False, "", "").features
    (3,)
    """

    name: str
    train: Split
    test: Split | None
    classes: int
    class_names: tuple[str, ...]
    sequence: bool
    source: str
    licence: str

    @property
    def features(self) -> tuple[int, ...]:
        """The shape of one sample at one step."""
        return tuple(self.train.x.shape[2 if self.sequence else 1 :])

    @property
    def steps(self) -> int | None:
        """T of a sequence; None for static data."""
        return int(self.train.x.shape[1]) if self.sequence else None

    @property
    def images(self) -> bool:
        """Whether a sample (at one step) has a height and a width, as augmentation needs."""
        return len(self.features) >= 2


def stratified(y: np.ndarray, count: int, *words: int) -> np.ndarray:
    """Choose exactly `count` samples so that every class keeps its share; sorted int64 `[count]`.

    Class c gets `floor(count*n_c/N)`, the largest remainders one more; which samples of a class
    is a pure function of the integers `words` (see `seeds`).

    >>> stratified(np.array([0, 0, 0, 0, 1, 1]), 3, 0).size
    3
    """
    classes, sizes = np.unique(y, return_counts=True)
    exact = count * sizes / len(y)
    shares = np.floor(exact).astype(np.int64)
    largest = np.argsort(shares - exact, kind="stable")  # ties: the lower class first
    shares[largest[: count - shares.sum()]] += 1
    order = seeds.permutation(len(y), *words)
    chosen = [order[y[order] == c][:n] for c, n in zip(classes, shares, strict=True)]
    return np.sort(np.concatenate(chosen))


def split_validation(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """Split off a stratified validation part of `round(fraction*N)` or of `fraction` samples.

    Args:
        split: the samples to divide; order is kept within both parts.
        fraction: the share of the validation part, in (0, 1), or its size, a whole number in
            1..N-1.
        seed: which samples; the same seed chooses the same samples on every machine.

    Returns:
        (train, validation).

    Raises:
        UserError: a fraction out of range, or one that leaves a class without a sample in
            either part.

    >>> part = Split(torch.zeros(20, 3), torch.arange(20) % 2)
    >>> train, validation = split_validation(part, 0.2, 0)
    >>> len(train), len(validation), validation.y.sum().item()
    (16, 4, 2)
    """
    seeds.check_seed(seed)
    count = round(fraction * len(split)) if 0.0 < fraction < 1.0 else fraction
    if count != count // 1 or not 0 <= count < len(split) or not fraction:
        expected = f"expected a validation share in (0, 1) or a size in 1..{len(split) - 1}"
        left = "which leaves no sample to train on" if 0.0 < fraction < 1.0 else ""
        raise UserError(message(expected, f"{fraction}{', ' if left else ''}{left}"))
    y = split.y.cpu().numpy()
    chosen = np.zeros(len(y), dtype=bool)
    chosen[stratified(y, int(count), seed)] = True
    for part, kept in (("training", ~chosen), ("validation", chosen)):
        empty = sorted(set(np.unique(y).tolist()) - set(np.unique(y[kept]).tolist()))
        if empty:
            expected = f"expected every class in the {part} part"
            size = f"{fraction:g}" if fraction < 1 else f"{int(count)} of {len(split)} samples"
            got = f"no sample of class {', '.join(map(str, empty))} at {size}"
            remedy = "choose a share nearer to 0.5, or give more samples of each class"
            raise UserError(message(expected, got, remedy))
    index = torch.from_numpy(np.flatnonzero(~chosen)), torch.from_numpy(np.flatnonzero(chosen))
    return split.select(index[0]), split.select(index[1])
