"""A network while something is measured on it: `with measuring(network): ...`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from spikegrad.nn.norm import BatchNorm

__all__ = ["measuring"]


@contextmanager
def measuring(network: nn.Module) -> Iterator[None]:
    """Batch statistics without memory of them, and no dropout; modes come back afterwards."""
    kinds = (BatchNorm, nn.modules.batchnorm._BatchNorm)
    modes = {module: module.training for module in network.modules()}
    norms = [m for m in network.modules() if isinstance(m, kinds)]
    before = [(norm.momentum, batches(norm)) for norm in norms]
    try:
        network.eval()
        for norm in norms:
            norm.training, norm.momentum = True, 0.0
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for norm, (momentum, seen) in zip(norms, before, strict=True):
            norm.momentum = momentum
            if seen is not None:
                norm._buffers["num_batches_tracked"] = seen


def batches(norm: nn.Module) -> Tensor | None:
    """How many batches torch's norm has counted; ours counts none."""
    counted = norm._buffers.get("num_batches_tracked")
    return None if counted is None else counted.clone()
