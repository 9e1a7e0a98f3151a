"""What runs a connection with delays, and why; for `explain`."""

from __future__ import annotations

from torch import Tensor

from spikegrad import kernels
from spikegrad.nn.delayed import DelayedLinear
from spikegrad.nn.recurrent import Recurrent

__all__ = ["of_delayed", "of_delayed_feedback"]


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


def of_delayed_feedback(
    layer: Recurrent, connection: DelayedLinear, x: Tensor | None
) -> tuple[str, str, str]:
    """Backend, reason and advice of feedback with delays."""
    taps = connection.taps()
    given = {"weight": taps.values, "edges": connection.edges}
    bound = layer.neuron.bound()
    own = getattr(bound, "keywords", {})
    whole = kernels.choose("delayed_recurrent", layer.asked, x, {**own, **given, "neuron": bound})
    if whole.backend != "reference":
        return whole.backend, "delayed feedback, all steps in one call", ""
    choice = kernels.choose("delayed_linear", layer.asked, x, given)
    steps = 1 + int(taps.first.min())
    at_once = "one step" if steps == 1 else f"{steps} steps"
    reason = f"delayed feedback, {at_once} at a time, because of its shortest delay"
    reason += f": {whole.reason}"
    advice = "" if steps > 1 else "a shortest delay of more than 0 lets more steps run at once"
    return choice.backend, reason, advice
