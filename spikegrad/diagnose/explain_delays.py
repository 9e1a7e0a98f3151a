"""What runs a connection with delays, and why; for `explain`."""

from __future__ import annotations

from torch import Tensor

from spikegrad import kernels
from spikegrad.nn.delayed import DelayedLinear

__all__ = ["of_delayed"]


def of_delayed(layer: DelayedLinear, x: Tensor) -> tuple[str, str, str, str]:
    """Backend, way, reason and advice of a connection with delays."""
    taps = layer.taps()
    given = {"weight": taps.values, "edges": layer.edges}
    choice = kernels.choose("delayed_linear", layer.backend, x, given)
    count = taps.values.shape[-1]
    if choice.backend != "reference" and kernels.is_shift(taps, layer.edges):
        return choice.backend, "", "its delays shift an ordinary product", ""
    if choice.backend == "reference":
        named = layer.backend == "reference"
        reason = f"{taps.most + 1} products, one for every delay: {choice.reason}"
        return "reference", "", reason, "use_backend(network, 'auto')" if named else ""
    said = f"{count} taps" if count > 1 else "one tap"
    return choice.backend, "synapses", f"a kernel for delays, {said} a synapse", ""
