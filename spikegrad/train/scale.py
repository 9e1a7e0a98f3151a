"""Whether samples are scaled as those that a network was trained on."""

from __future__ import annotations

import warnings

from torch import Tensor

from spikegrad.errors import SpikegradWarning, UserError, message

__all__ = ["check_scale"]

_SAME = 0.1  # of the training range: as far beyond it other samples may go unnoticed
_FAR = 2.0  # of the training range: no sample of the same kind goes so far beyond it


def check_scale(x: Tensor, trained: tuple[float, float]) -> None:
    """Compare the range of raw samples with that of the training part.

    Args:
        x: samples, before they are divided; trained: lowest and highest raw value in training.

    Raises:
        UserError: a range that cannot be of samples at the scale of training: it goes beyond the
            training range by twice its width, or does not touch it. A range that is less than
            half as wide, or goes somewhat beyond, is a SpikegradWarning.

    >>> import torch
    >>> check_scale(torch.tensor([[0.0, 15.0]]), (0.0, 16.0))
    """
    low, high = trained
    least, most = float(x.min()), float(x.max())
    width = high - low or 1.0
    got = f"{least:g} to {most:g}"
    far = least < low - _FAR * width or most > high + _FAR * width
    if far or most < low or least > high:
        expected = f"expected samples scaled as in training, {low:g} to {high:g}"
        raise UserError(message(expected, got, "scale them as the training data were"))
    beyond = least < low - _SAME * width or most > high + _SAME * width
    if beyond or most - least < 0.5 * width:
        warnings.warn(
            f"the samples have values from {got}, those in training {low:g} to {high:g}; "
            "if they are scaled differently, the classes are wrong",
            SpikegradWarning,
            stacklevel=2,
        )
