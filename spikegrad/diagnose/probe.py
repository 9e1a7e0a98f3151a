"""One recorded forward and backward pass, which every measurement of this room reads.

Gradients are asked for by `torch.autograd.grad`, so nothing is added to any `.grad` and no hook on
a parameter's accumulation (of an optimiser, of a process group) runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from spikegrad.checks import check_finite
from spikegrad.diagnose.untouched import untouched
from spikegrad.errors import UserError, message
from spikegrad.functional import over_time as read_over_time
from spikegrad.nn.recurrent import Recurrent
from spikegrad.nn.tape import Recorded, Tape, listened, record, rows_of
from spikegrad.ragged import Packed, mask_of, padded, with_lengths

__all__ = [
    "HAND_ON",
    "Loss",
    "Probe",
    "check_network",
    "forward",
    "output_of",
    "outputs_of",
    "probe",
    "shown",
    "spiking",
]

HAND_ON = "use spikegrad's Sequential or Module, or hand lengths on to one in forward"
Loss: TypeAlias = Callable[..., Tensor]
"""`loss(y, labels)`, or `loss(y)` where there are no labels, to a scalar."""


@dataclass(frozen=True, eq=False)
class Probe:
    """What one pass left behind.

    x: what went in; y: what came out; loss: the scalar; tapes: `{layer: Tape}`; gradients: of each
    layer's input current `[T, B, *features]`, None where the loss does not depend on it;
    parameters: the gradient of every trainable parameter by full name, None likewise; order: the
    names of all modules that ran, by their first call, which `tapes` and `gradients` follow; last:
    as `gradients`, of a fixed random projection of the output's last step (of the loss where the
    output has no time), where it was asked for; lengths: int64 `[B]`, the steps of every sample,
    None for T each: behind them everything is 0.
    """

    x: Tensor
    y: Tensor
    loss: Tensor
    tapes: dict[str, Tape]
    gradients: dict[str, Tensor | None]
    parameters: dict[str, Tensor | None]
    order: tuple[str, ...]
    last: dict[str, Tensor | None] = field(default_factory=dict)
    lengths: Tensor | None = None

    @property
    def samples(self) -> int:
        """B of x `[T, B, *features]`."""
        return self.x.shape[1] if self.x.dim() > 1 else 1


def probe(
    network: nn.Module,
    x: Tensor,
    labels: Any = None,
    *,
    loss: Loss,
    memory: bool = False,
    lengths: Tensor | None = None,
) -> Probe:
    """Run the network on x, the loss on its output, and ask for every gradient once.

    memory: whether to ask for `last` too, by another backward pass; lengths: the steps of every
    sample, checked, which the loss knows already.
    Raises UserError for a network that no tape can listen to, an input that is not finite, a loss
    that is no scalar or depends on nothing.
    """
    check_network(network)
    with untouched(network), torch.inference_mode(False), torch.enable_grad():
        x = watched(x, lengths)
        labels = labels.clone() if isinstance(labels, Tensor) and labels.is_inference() else labels
        with own_currents(network), in_order(network) as order, listened(network) as listening:
            y = output_of(with_lengths(network, lengths, "a network", HAND_ON)(x))
        tapes = {n: listening[n] for n in (*order, *listening) if n in listening}
        value = loss(y) if labels is None else loss(y, labels)
        check_loss(value)
        # In rows, where samples have lengths.
        currents = [(name, *each) for name, tape in tapes.items() for each in tape.currents]
        trained = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
        asked = [rows_of(tensor) for _, tensor, *_ in (*currents, *trained)]
        last = []
        if memory:
            end = last_step(y, value, len(x), lengths)
            last = gradients_of(end, asked[: len(currents)], keep=True)
        found = gradients_of(value, asked)
    split = len(currents)
    return Probe(
        x=x.detach(),
        y=y.detach(),
        loss=value.detach(),
        tapes=tapes,
        gradients=over_time(tapes, currents, found[:split]),
        parameters={name: g for (name, _), g in zip(trained, found[split:], strict=True)},
        order=tuple(order),
        last=over_time(tapes, currents, last) if memory else {},
        lengths=lengths,
    )


@contextmanager
def own_currents(network: nn.Module) -> Iterator[None]:
    """Give every neuron an input current of its own: one that other layers read too (a skip
    connection, the data) would show the gradients of all its readers.
    """

    def view(layer: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        if given and type(given[0]) is Packed:
            return (given[0].map(lambda rows: rows.view_as(rows)), *given[1:])
        if not given or not isinstance(given[0], Tensor):
            return given
        return (given[0].view_as(given[0]), *given[1:])

    layers = [m for m in network.modules() if isinstance(m, (Recorded, Recurrent))]
    handles = [m.register_forward_pre_hook(view) for m in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def in_order(network: nn.Module) -> Iterator[dict[str, None]]:
    """The names of the modules that run, in the order of their first calls.

    The order of registration is another where a network has a forward of its own.
    """
    order: dict[str, None] = {}
    handles = []

    def note(names: tuple[str, ...], module: nn.Module, given: Any) -> None:
        order.update(dict.fromkeys(names))

    try:
        for name, module in network.named_modules():
            within = (f"{name}.neuron".lstrip("."),) if isinstance(module, Recurrent) else ()
            handles.append(module.register_forward_pre_hook(partial(note, (name, *within))))
        yield order
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def forward(
    network: nn.Module, x: Tensor, *, membrane: bool = False, lengths: Any = None
) -> Iterator[tuple[Tensor, dict[str, Tape]]]:
    """The output and the tapes of one pass without gradients; the network is as before after it."""
    check_network(network)
    call = with_lengths(network, lengths, "a network", HAND_ON)
    with untouched(network), torch.no_grad(), record(network, membrane=membrane) as tapes:
        yield output_of(call(x)), tapes


def check_network(network: nn.Module) -> None:
    """A module with at least one layer that records."""
    if not isinstance(network, nn.Module):
        raise TypeError(message("expected a torch.nn.Module", type(network).__name__))
    if not any(isinstance(m, Recorded) for m in network.modules()):
        raise UserError(
            message(
                "expected a network with neurons of this package",
                f"{type(network).__name__} without any",
                "use spikegrad.LIF, Spiking, ...: only they can be recorded",
            )
        )


def output_of(out: Any) -> Tensor:
    """The output tensor of a network, with or without its states."""
    y = out[0] if isinstance(out, (tuple, list)) and out else out
    if not isinstance(y, Tensor):
        raise TypeError(message("expected a tensor, or (tensor, states)", type(y).__name__))
    return y


def outputs_of(out: Any) -> tuple[Tensor, ...]:
    """The same, or the spikes and the membranes of a last layer that returns both."""
    y = out[0] if isinstance(out, (tuple, list)) and out else out
    pair = isinstance(y, tuple) and bool(y) and all(isinstance(part, Tensor) for part in y)
    return y if pair else (output_of(out),)


def spiking(network: nn.Module, tapes: dict[str, Tape]) -> Iterator[tuple[str, Any, Tape]]:
    """The spiking layers that ran, in order: (name, module, tape)."""
    modules = dict(network.named_modules())
    for name, tape in tapes.items():
        if tape.traces and tape.distance is not None:
            yield name, modules[name], tape


def shown(name: str, module: object) -> str:
    """A layer's name; of a network that is one layer, its class."""
    return name or type(module).__name__


def watched(x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """x as a leaf of its own that requires grad, so that currents fed with data are seen too; 0
    behind the lengths.
    """
    if not isinstance(x, Tensor):
        remedy = getattr(type(x), "remedy", "")
        raise TypeError(message("expected x as a tensor [T, B, ...]", type(x).__name__, remedy))
    if lengths is not None:
        behind = ~mask_of(lengths.to(x.device), len(x))
        x = x.masked_fill(behind.reshape(*behind.shape, *[1] * (x.dim() - 2)), 0)
    check_finite(x)
    x = x.clone() if x.is_inference() else x.detach()
    return x.requires_grad_() if x.is_floating_point() else x


def check_loss(value: object) -> None:
    """A scalar with a history."""
    if not isinstance(value, Tensor):
        raise TypeError(message("expected the loss as a tensor", type(value).__name__))
    if value.numel() != 1:
        raise UserError(message("expected a scalar loss", str(list(value.shape)), "take its mean"))
    if not value.requires_grad:
        raise UserError(
            message(
                "expected a loss that depends on the network",
                "one without a gradient",
                "look for .detach(), .item() or an argmax between output and loss",
            )
        )


def last_step(y: Tensor, loss: Tensor, steps: int, lengths: Tensor | None = None) -> Tensor:
    """A fixed random projection of the output's last step, of every sample its own; the loss of an
    output without time.

    What the loss reads of the last step may be nothing, or the same for every output.
    """
    if y.dim() < 3 or len(y) != steps or not y.requires_grad:
        return loss
    source = torch.Generator().manual_seed(0)
    direction = torch.randn(y.shape[1:], generator=source, dtype=torch.float64)
    last = y[-1] if lengths is None else read_over_time(y, "last", lengths=lengths)
    return (last * direction.to(y.device, y.dtype)).sum()


def gradients_of(
    value: Tensor, tensors: list[Tensor], *, keep: bool = False
) -> list[Tensor | None]:
    """The gradient of a scalar for each tensor, None where it does not depend on it.

    keep: the graph, for another pass.
    """
    wanted = [t for t in tensors if t.requires_grad]
    value = value.reshape(())
    found = iter(torch.autograd.grad(value, wanted, allow_unused=True, retain_graph=keep))
    return [next(found) if t.requires_grad else None for t in tensors]


def over_time(
    tapes: dict[str, Tape],
    currents: list[tuple[str, Any, Callable[[Any], Any]]],
    found: list[Tensor | None],
) -> dict[str, Tensor | None]:
    """Each layer's pieces as one tensor; a piece that the loss does not see is zero."""
    pieces: dict[str, list[tuple[Any, Tensor | None]]] = {name: [] for name in tapes}
    for (name, current, placed), gradient in zip(currents, found, strict=True):
        if gradient is not None:
            inside = type(current) is Packed
            whole = Packed(gradient, current.packing) if inside else placed(gradient)
            gradient = padded(whole)
        pieces[name].append((padded(placed(current)), gradient))
    return {
        name: torch.cat([torch.zeros_like(c) if g is None else g for c, g in parts])
        if any(g is not None for _, g in parts)
        else None
        for name, parts in pieces.items()
    }
