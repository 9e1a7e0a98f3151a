"""Which backend runs a call: the one asked for by name, or the first that can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from spikegrad.kernels.backend import Backend, Call
from spikegrad.kernels.obstacles import no_form, only_reference
from spikegrad.kernels.reference import REFERENCE
from spikegrad.kernels.refusal import refused, warn_once
from spikegrad.kernels.registry import check_backend, get, on_device, packed_types
from spikegrad.step import Step

__all__ = ["Choice", "decide", "found"]

TORCH = ("linear", "delayed_linear", "delayed_recurrent", "conv2d", "max_pool2d", "spiking")
"""What a backend asked for by name leaves to the reference if it does not have it: operations of
torch, and the loop over steps, each of which it runs.
"""


class Choice(NamedTuple):
    """One decision: which backend runs a scan, the reason in words, and the function."""

    scan: str
    backend: str
    reason: str
    function: Callable[..., Any]


def decide(call: Call, asked: str) -> Choice:
    """What runs a call; asked: "auto" or a backend's name.

    Raises UserError for an unknown backend, and for one asked for by name that cannot run the call.
    A neuron that "auto" leaves to torch because its step has no native form is named once.
    """
    if asked == "reference":
        return specification(call, "chosen by name")
    if call.args.get("trace"):
        # The same spikes, bit for bit, and membranes that are part of the graph.
        return specification(call, "only the reference records membranes")
    if call.by_name:
        check_backend(asked)
        if call.entry in TORCH and (why := left(get(asked), call)):
            return specification(call, why)
    choice = found(call, asked)
    if isinstance(choice, Choice):
        return choice
    if call.by_name:
        raise refused(call.name, asked, choice)
    if isinstance(call.neuron, Step) and call.entry == "step":
        why = no_form(call.neuron, call.args.get("surrogate"))
        if why and why in choice:
            warn_once(call.name, why)
    return specification(call, choice)


def found(call: Call, asked: str) -> Choice | str:
    """The backend besides the reference that runs a call, or why there is none."""
    if why := only_reference(call, packed_types()):
        return why
    backends = (get(asked),) if call.by_name else on_device(call.x)
    whys = []
    for backend in backends:
        why = refusal(backend, call)
        if not why:
            reason = "chosen by name" if call.by_name else backend.reason(call)
            return Choice(call.name, backend.name, reason, backend.function(call))
        whys.append((backend.name, why))
    if not whys:
        return f"the tensors are on {call.x.device}"
    if len(whys) == 1:
        return whys[0][1]
    return "; ".join(f"{name}: {why}" for name, why in whys)


def refusal(backend: Backend, call: Call) -> str:
    """Why a backend cannot run a call, or ""."""
    if why := left(backend, call):
        return why
    x = call.x
    if not (x is None or isinstance(x, Tensor) or (backend.packs and isinstance(x, backend.packs))):
        return f"{backend.name} does not read the {type(x).__name__} of the layer before"
    if call.sparse and not backend.sparse:
        return f"{backend.name} has no kernel for connections with some synapses alone"
    if call.ragged and not backend.ragged:
        return f"{backend.name} has no kernel for sequences of different length"
    return backend.missing() or backend.refuses(call)


def left(backend: Backend, call: Call) -> str:
    """Why a call is not one of a backend's at all, or ""."""
    if call.entry in backend.offers:
        return backend.leaves(call)
    torch = "; torch runs it" if call.entry in TORCH else ""
    return f"{backend.name} has no kernel for {call.entry}{torch}"


def specification(call: Call, reason: str) -> Choice:
    """The reference, for a reason."""
    return Choice(call.name, REFERENCE.name, reason, REFERENCE.function(call))
