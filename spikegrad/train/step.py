"""One step of training: forward through time, backward, clip, update.

Truncated BPTT cuts the sequence into chunks of `truncate` steps. Each chunk starts from the state
in which the one before ended, with its history cut off; its loss, weighted by its share of the
sequence, is propagated backward at once, and the gradients add up to one update per batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad.diagnose import Fired, Norms, fired
from spikegrad.errors import RunError, UserError, message
from spikegrad.nn import Tape
from spikegrad.nn.norm import standing_in
from spikegrad.ragged import Events
from spikegrad.step.modes import mode_of
from spikegrad.train.objective import AnyObjective, classified
from spikegrad.train.parallel import add_up_gradients
from spikegrad.train.running import Encode, Input, Place, evaluating, recorded, run, sequence_of
from spikegrad.train.shares import ALONE, Share
from spikegrad.types import State, cut

__all__ = ["Engine", "Outcome", "check_whole", "first_not_finite", "train_step"]


@dataclass(frozen=True)
class Engine:
    """What a step works with; `fabric` scales, casts and clips as the precision wants it."""

    fabric: Any
    network: nn.Module
    optimizer: Any
    objective: AnyObjective
    encode: Encode
    place: Place
    skips_overflow: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a step saw: mean loss over count samples, hits among those that have a class, gradient
    norm before clipping; where it was watched, how each layer fired, and the norms of gradient,
    before clipping, and weight of each parameter by name.
    """

    loss: float
    correct: int
    labelled: int
    count: int
    gradient_norm: float
    fired: dict[str, Fired]
    norms: dict[str, Norms]
    steps: int = 1

    @property
    def rates(self) -> dict[str, float]:
        """Firing rates by layer, where they were watched."""
        return {name: layer.rate for name, layer in self.fired.items()}


def train_step(
    engine: Engine,
    x: Input,
    labels: Tensor | None,
    lengths: Tensor | None = None,
    *,
    share: Share = ALONE,
    clip: float = 0.0,
    truncate: int = 0,
    watch: bool = False,
) -> Outcome:
    """Update the network once on a batch.

    Args:
        engine: network, optimizer, objective and where they run.
        x: samples `[B, ...]` as the encoder wants them; labels: `[B, ...]` or
            None; both in place; lengths: the steps of every sample, None for T each.
        share: how they lie in the whole batch; the update, and what is returned, are those of it.
        clip: largest gradient norm, 0 for none; the surrogate itself is never clipped.
        truncate: steps per chunk of truncated BPTT, 0 for the whole sequence: the only way with
            lengths.
        watch: whether to measure how the layers fire, and norms.
    Returns:
        an `Outcome`.
    Raises:
        RunError: the loss or a gradient is not finite; names the layer. Nothing was updated.
    """
    engine.optimizer.zero_grad(set_to_none=True)
    labels = None if labels is None else share.whole(labels)
    sequence = sequence_of(engine.encode, x, lengths)
    real = _Real.of(lengths, share)
    if lengths is not None:
        check_whole(truncate)
    loss, y, seen = _propagate(engine, sequence, labels, share, truncate, watch, real)
    add_up_gradients(engine.network, engine.place.world)
    norm, norms = _clip(engine, clip, watch)
    engine.optimizer.step()
    correct, labelled = 0, 0
    scores = engine.objective.scores(y, lengths=real.lengths)
    if (found := classified(engine.objective, scores, labels)) is not None:
        correct, labelled = int((found[0] == found[1]).sum()), len(found[1])
    steps = len(y) * y.shape[1] if real.lengths is None else int(real.lengths.sum())
    return Outcome(loss, correct, labelled, y.shape[1], norm, seen, norms, steps)


def check_whole(truncate: int) -> None:
    """Refuse chunks of time where samples end at different steps: a chunk's loss is the mean over
    samples, of which each would have another part in it.
    """
    if truncate:
        expected = "expected truncate=0 with batches (x, y, lengths) or of events"
        raise UserError(message(expected, str(truncate), "train on whole sequences"))


@dataclass(frozen=True)
class _Real:
    """Which steps are no padding. own: of our samples; lengths: of the whole batch; weight: our
    part of all its steps, None where that is our part of the samples.
    """

    own: Tensor | None = None
    lengths: Tensor | None = None
    weight: float | None = None

    @classmethod
    def of(cls, own: Tensor | None, share: Share) -> _Real:
        """Of our samples' lengths."""
        if own is None:
            return cls()
        lengths = share.whole(own)
        mine = own.sum() if share.alone else own[: share.counts[share.rank]].sum()
        return cls(own, lengths, float(mine) / float(lengths.sum()))


def first_not_finite(network: nn.Module, forward: Callable[[], Any]) -> str:
    """The name and kind of the first layer whose output is not finite, '' if there is none.

    >>> layers = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> with torch.no_grad(): _ = layers[2].weight.fill_(float("nan"))
    >>> first_not_finite(layers, lambda: layers(torch.ones(1, 2)))
    '2 (Linear)'
    """
    found: list[str] = []

    def looking(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, _: Any, out: Any) -> None:
            y = out[0] if isinstance(out, tuple) else out
            if not found and isinstance(y, Tensor) and not bool(torch.isfinite(y).all()):
                found.append(f"{name} ({type(module).__name__})")

        return hook

    named = [(name or "the network", module) for name, module in network.named_modules()]
    hooks = [module.register_forward_hook(looking(name)) for name, module in named]
    try:
        with torch.no_grad():
            forward()
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else ""


def _propagate(
    engine: Engine,
    sequence: Input,
    labels: Tensor | None,
    share: Share,
    truncate: int,
    watch: bool,
    real: _Real,
) -> tuple[float, Tensor, dict[str, Fired]]:
    """Forward and backward, chunk by chunk: the loss, the outputs `[T, B, C]`, who fired."""
    steps = sequence.shape[0]
    watch = watch or engine.objective.rate_weight > 0
    states: State = None
    total, outputs, rates = 0.0, [], dict[str, Tensor]()
    parts = [sequence] if isinstance(sequence, Events) else sequence.split(truncate or steps)
    for part in parts:
        length = part.shape[0] / steps
        with recorded(engine.network, on=watch) as tapes, engine.fabric.autocast():
            with standing_in(not share.weight):
                y, after = run(engine.network, part, states, lengths=real.own)
            y, tapes = share.whole(y, 1), _whole(tapes, share, real)
            value_of = engine.objective(y, labels, lengths=real.lengths)
            loss = value_of + engine.objective.penalty(tapes)
        value = loss.item()
        if not math.isfinite(value):
            raise RunError(_bad_loss(engine, value, part, states, real.own))
        if not loss.requires_grad:
            remedy = "give the network parameters that require gradients, and do not detach"
            raise UserError(message("expected a loss with a gradient", "none", remedy))
        engine.fabric.backward(loss * length)
        for name, tape in tapes.items():
            mean = length * tape.real.activity.float().mean((0, 1))
            rates[name] = rates[name] + mean if name in rates else mean
        states = cut(after)
        total += length * value
        outputs.append(y.detach())
    return total, torch.cat(outputs), _fired(engine.network, rates)


def _fired(network: nn.Module, rates: dict[str, Tensor]) -> dict[str, Fired]:
    """How each layer fired, from the mean spikes of each of its neurons."""
    found = {}
    for name, each in rates.items():
        layer: Any = network.get_submodule(name)
        several = getattr(layer, "spike", "binary") == "multiple"
        found[name] = fired(each, mode_of("multiple", layer.most).most if several else 1)
    return found


def _whole(tapes: dict[str, Tape], share: Share, real: _Real) -> dict[str, Tape]:
    """The firing rates of the whole batch, as one step of one sample."""
    if share.alone:
        return tapes
    found = {name: Tape(membrane=False, signed=tape.signed) for name, tape in tapes.items()}
    for name, tape in tapes.items():
        spikes = tape.real.activity if tape.signed else tape.real.spikes
        own = spikes.float().mean((0, 1), keepdim=True)
        found[name].add_output(share.mean(own, real.weight))
    return found


def _clip(engine: Engine, clip: float, watch: bool) -> tuple[float, dict[str, Norms]]:
    """Scale the gradients down to the norm `clip`, if it is not 0; return the norm before, and
    those of each parameter and its gradient if they are watched.
    """
    engine.fabric.strategy.precision.unscale_gradients(engine.optimizer.optimizer)
    parameters = [p for p in engine.network.parameters() if p.grad is not None]
    total = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    norm = total.item()
    norms = _norms(engine.network) if watch else {}
    if math.isfinite(norm) and clip:
        torch.nn.utils.clip_grads_with_norm_(parameters, clip, total)
    if not math.isfinite(norm) and not engine.skips_overflow:
        raise RunError(_bad_gradient(engine.network, norm))
    return norm, norms


def _norms(network: nn.Module) -> dict[str, Norms]:
    """The norms of every parameter that has a gradient, and of the gradient."""
    named = [(name, p) for name, p in network.named_parameters() if p.grad is not None]
    if not named:
        return {}
    pairs = [part for _, p in named for part in (p.grad, p.detach())]
    found = torch.stack([torch.linalg.vector_norm(part).float() for part in pairs]).tolist()
    numbers = zip(found[::2], found[1::2], strict=True)
    return {name: Norms(*both) for (name, _), both in zip(named, numbers, strict=True)}


def _bad_loss(engine: Engine, value: float, x: Input, states: State, lengths: Tensor | None) -> str:
    def forward() -> None:
        with engine.fabric.autocast():
            run(engine.network, x, states, lengths=lengths)

    if engine.place.world > 1:  # batch norm in training mode would wait for the other processes
        with evaluating(engine.network):
            layer = first_not_finite(engine.network, forward)
    else:
        layer = first_not_finite(engine.network, forward)
    where = (
        f"the first layer whose output is not finite is {layer}"
        if layer
        else ("every layer's output is finite, so the cause is the objective")
    )
    return message("expected a finite loss", f"{value}: {where}", _REMEDY)


def _bad_gradient(network: nn.Module, norm: float) -> str:
    names = [
        name
        for name, p in network.named_parameters()
        if p.grad is not None and not bool(torch.isfinite(p.grad).all())
    ]
    where = (
        f"(the parameter nearest to the output: {names[-1]})" if names else "(the norm overflows)"
    )
    return message("expected finite gradients", f"a norm of {norm} {where}", _REMEDY)


_REMEDY = "lower the learning rate, or clip the gradient norm (clip=1)"
