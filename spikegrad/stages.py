"""How many layers each stage of a convolutional network has; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence

from spikegrad.errors import UserError, message

__all__ = ["per_stage"]


def per_stage(name: str, counts: Sequence[int], stages: int) -> tuple[int, ...]:
    """One count >= 1 for every stage of a network: as given, or the only one given for all."""
    if any(isinstance(count, bool) or not isinstance(count, int) or count < 1 for count in counts):
        raise UserError(message(f"expected whole numbers >= 1 in {name}", str(list(counts))))
    if len(counts) not in (1, stages):
        each = f", or {stages}: one per stage of channels" if stages > 1 else ""
        raise UserError(message(f"expected one number in {name}{each}", str(list(counts))))
    return tuple(counts) if len(counts) == stages else tuple(counts) * stages
