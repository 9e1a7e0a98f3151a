"""How many layers each stage of a convolutional network has; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence

from spikegrad.errors import UserError, message

__all__ = ["per_stage"]


def per_stage(name: str, counts: Sequence[int], stages: int) -> tuple[int, ...]:
    """One count >= 1 for every stage of a network: as given, or the only one given for all."""
    if any(isinstance(count, bool) or count != int(count) or count < 1 for count in counts):
        raise UserError(message(f"expected counts >= 1 in {name}", str(list(counts))))
    if len(counts) not in (1, stages):
        expected = f"expected one number in {name}, or {stages}: one per stage of channels"
        raise UserError(message(expected, str(list(counts))))
    return tuple(counts) if len(counts) == stages else tuple(counts) * stages
