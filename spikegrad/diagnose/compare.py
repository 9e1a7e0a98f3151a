"""Whether every backend computes what a neuron's loop in torch does: `check(neuron)`.

The loop is the specification. A backend is run on the same input in several forms (resets, silence
after a spike, parameters learned per layer and per neuron, little kept), in two chunks, in both
dtypes; outputs, states and all gradients are compared.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from spikegrad import kernels
from spikegrad.diagnose.drive import by_chance, firing_current, input_shapes
from spikegrad.diagnose.text import columns, number
from spikegrad.errors import UserError, message
from spikegrad.nn.base import Neuron, check_slope
from spikegrad.nn.recurrent import inputs_of

__all__ = ["Check", "Compared", "check"]

STEPS, FIRST, BATCH, FEATURES = 40, 25, 3, 7  # FIRST: the steps of the first chunk
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-9}
OWN_ERRORS = 4.0
"""In float32 a backend may differ from the loop by so many times the loop's own rounding error."""
UNSTABLE = 0.05
"""A rounding error of the loop itself from which on nothing can be said in float32."""

Results = dict[str, list[Tensor | None]]


@dataclass(frozen=True)
class Compared:
    """One backend in one form and dtype, compared with the loop.

    output, states, gradients: the largest difference, as a share of the largest value (of the
    output and the states at least 1), None where it did not run; verdict: "equal" (every bit),
    "close" (within rounding), "undecided" (the loop's own rounding error is as large), "different",
    or "not run"; reason: for the last one, else "".
    """

    backend: str
    dtype: str
    form: str
    output: float | None = None
    states: float | None = None
    gradients: float | None = None
    verdict: str = "not run"
    reason: str = ""


@dataclass(frozen=True, repr=False)
class Check:
    """All comparisons of one neuron; printed, it is a table.

    current: the largest input current; rate: spikes per neuron and step that the loop made with it,
    None for a neuron that never spikes; notes: what a reader must know of the comparison.
    """

    neuron: str
    current: float
    rate: float | None
    rows: tuple[Compared, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether no backend gave something else than the loop."""
        return all(row.verdict != "different" for row in self.rows)

    def text(self) -> str:
        """The table, and what was found in one line."""
        header = ["backend", "form", "dtype", "output", "states", "gradients", "verdict"]
        rows = [
            [
                row.backend,
                row.form,
                row.dtype,
                *(number(each) for each in (row.output, row.states, row.gradients)),
                row.verdict,
            ]
            for row in self.rows
            if row.verdict != "not run"
        ]
        reasons = {row.backend: row.reason for row in self.rows if row.reason}
        rate = "" if self.rate is None else f", {self.rate:.3g} spikes per neuron and step"
        head = f"{self.neuron}: differences from the loop in torch"
        head += f"; current up to {self.current:g}{rate}"
        return "\n".join(
            [
                head,
                *([columns(header, rows)] if rows else []),
                *(f"{backend} was not compared: {why}" for backend, why in reasons.items()),
                *self.notes,
                self.line(),
            ]
        )

    __str__ = __repr__ = text

    def line(self) -> str:
        """What was found, in one line."""
        ran = [row for row in self.rows if row.verdict != "not run"]
        wrong = [row for row in ran if row.verdict == "different"]
        if wrong:
            where = ", ".join(f"{r.backend} ({r.form}, {r.dtype})" for r in wrong[:3])
            return f"WRONG: {len(wrong)} of {len(ran)} comparisons differ: {where}"
        if not ran:
            return "nothing was compared: no backend besides the loop runs this neuron here"
        unsure = sum(row.verdict == "undecided" for row in ran)
        said = f"; {unsure} undecided, because rounding alone changes the result" if unsure else ""
        return f"every backend agrees with the loop in {len(ran) - unsure} comparisons{said}"


@dataclass(frozen=True)
class Form:
    """One way to call the neuron. learned: "", "per layer" or "per neuron"; features: of the
    neurons.
    """

    words: str
    learned: str = ""
    lean: bool = False
    args: tuple[tuple[str, Any], ...] = ()
    features: tuple[int, ...] = ()


def check(
    neuron: Neuron | type[Neuron],
    *,
    current: float | None = None,
    device: torch.device | str = "cpu",
    draw: int | None = None,
) -> Check:
    """Compare every backend that runs here with the loop in torch: values and all gradients.

    neuron: a layer, or a class made by `sg.neuron`, with its defaults; current: the largest input
    current, None for one that makes the neuron fire, found with the loop; device: of the tensors;
    draw: a seed, to compare only the neuron as it is and one more form that the seed draws.
    Compiles what a backend needs for eight small programs (some seconds, once). Nothing of the
    layer changes. Raises TypeError for something that is no neuron, and what the loop raises.

    >>> import spikegrad as sg
    >>> found = check(sg.LIF(20.0, backend="reference"))
    >>> found.ok, found.rate > 0
    (True, True)
    """
    layer = layer_of(neuron)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        values = {
            name: value.detach().to(device, torch.float64)
            if isinstance(value, Tensor) and value.is_floating_point()
            else value
            for name, value in arguments_of(layer).items()
            if name != "generator"  # `by_chance` draws
        }
        spikes = "surrogate" in values
        shape = torch.broadcast_shapes(
            *(value.shape for value in values.values() if isinstance(value, Tensor))
        ) or (FEATURES,)
        shapes = [
            given.to(device) for given in input_shapes((STEPS, BATCH), shape, inputs_of(layer))
        ]
        run, found = runner(layer), (shapes[0], 1.0)
        if current is None and spikes:
            found = firing_current(spiking(layer), shapes, values)
        current = found[1] if current is None else current
        x = found[0] * current
        y, state = run(x, None, backend="reference", **values)
        rate = None
        if spikes:
            rate = float(spiking(layer)(x, None, backend="reference", **values)[0].abs().mean())
        called = [replace(form, features=tuple(shape)) for form in forms(layer, values)]
        if draw is not None:
            called = [called[0], *random.Random(draw).sample(called[1:], k=1)]
        rows = [row for form in called for row in compared(run, form, x, values)]
    name = type(layer).__name__
    return Check(name, current, rate, tuple(rows), notes_of([y, *state], rate))


def layer_of(neuron: Neuron | type[Neuron]) -> Neuron:
    """The layer to check, with defaults where a class was given."""
    if isinstance(neuron, type) and issubclass(neuron, Neuron):
        try:
            return neuron()
        except (TypeError, UserError):
            raise TypeError(
                message("expected a layer", f"the class {neuron.__name__}", "give it its arguments")
            ) from None
    if not isinstance(neuron, Neuron):
        raise TypeError(
            message(
                "expected a neuron: a layer, or a class made by sg.neuron",
                type(neuron).__name__,
                "check the neurons of a network one by one",
            )
        )
    return neuron


def runner(layer: Neuron) -> Callable[..., Any]:
    """The neuron as a function of input, state, backend and its quantities."""
    if layer.output == "both":
        raise UserError(
            message(
                "expected output='spikes' or 'membrane' in check", "output='both'", "check each"
            )
        )
    definition = layer.definition()
    if definition is None:
        return partial(scan, layer.scan)
    run = partial(kernels.step, definition)
    return by_chance(run, definition.inputs) if layer.noise_arguments() else run


def spiking(layer: Neuron) -> Callable[..., Any]:
    """The same for the neuron's spikes, where the layer returns membranes."""
    definition = layer.definition()
    if definition is None or layer.output == "spikes":
        return runner(layer)
    alone = definition.plain.variant(spike=layer.spike, most=layer.most)
    run = partial(kernels.step, alone)
    return by_chance(run, alone.inputs) if layer.noise_arguments() else run


def arguments_of(layer: Neuron) -> dict[str, Any]:
    """The quantities of the layer now."""
    return layer.quantities() if layer.definition() is None else layer.step_arguments()


def scan(name: str, *given: Any, lean: bool = False, **named: Any) -> Any:
    """A built-in scan, which keeps what it keeps."""
    return getattr(kernels, name)(*given, **named)


def forms(layer: Neuron, values: dict[str, Any]) -> Iterator[Form]:
    """The ways to call a neuron: first as it is."""
    yield Form("as it is")
    if "surrogate" not in values:
        yield Form("learned per layer", "per layer")
        yield Form("learned per neuron, lean", "per neuron", True)
        return
    silent = (("reset", "zero"), ("refractory", 2), ("detach_reset", True))
    yield Form("reset to zero, refractory, learned per layer", "per layer", False, silent)
    attached = (("reset", "subtract"), ("detach_reset", False), ("refractory", 0))
    yield Form("attached reset, learned per neuron, lean", "per neuron", True, attached)
    yield Form("no reset, refractory, lean", "", True, (("reset", "none"), ("refractory", 2)))


def compared(
    run: Callable[..., Any], form: Form, x: Tensor, values: dict[str, Any]
) -> Iterator[Compared]:
    """A form in both dtypes on every backend."""
    exact = results(run, form, x, values, "reference")
    for dtype in TOLERANCE:
        loop = exact if dtype == x.dtype else results(run, form, x.to(dtype), values, "reference")
        own = {name: difference(exact[name], loop[name], name) for name in exact}
        for backend, missing in kernels.available().items():
            if backend == "reference":
                continue
            row = Compared(backend, str(dtype).removeprefix("torch."), form.words)
            if missing:
                yield replace(row, reason=missing)
                continue
            try:
                found = results(run, form, x.to(dtype), values, backend)
            except UserError as error:
                yield replace(row, reason=str(error))
                continue
            apart = {name: difference(loop[name], found[name], name) for name in loop}
            yield replace(
                row,
                output=apart["output"],
                states=apart["states"],
                gradients=apart["gradients"],
                verdict=verdict(apart, own, TOLERANCE[dtype]),
            )


def results(
    run: Callable[..., Any], form: Form, x: Tensor, values: dict[str, Any], backend: str
) -> Results:
    """Output, states at the end and gradients of two chunks from a state of their own."""
    x = x.detach().clone().requires_grad_()
    given, leaves = arguments(form, x, values)
    with torch.no_grad():
        begin = run(x[:2], backend="reference", **given)[1]
    run = partial(run, backend=backend, lean=form.lean, **given)
    begin = type(begin)(*(p.detach().requires_grad_() if is_real(p) else p for p in begin))
    first, state = run(x[:FIRST], begin)
    second, state = run(x[FIRST:], state)
    y = torch.cat([first, second])
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype, device=y.device).reshape(y.shape)
    total = (y * weights).sum() + sum(0.5 * part.sum() for part in state if is_real(part))
    wanted = [x, *leaves, *(part for part in begin if is_real(part))]
    return {
        "output": [y.detach()],
        "states": [part.detach() for part in state if part is not None],
        "gradients": list(torch.autograd.grad(total, wanted, allow_unused=True)),
    }


def is_real(part: Any) -> bool:
    """Whether a part of a state has a gradient: not the refractory counter."""
    return isinstance(part, Tensor) and part.is_floating_point()


def arguments(form: Form, x: Tensor, values: dict[str, Any]) -> tuple[dict[str, Any], list[Tensor]]:
    """The quantities of a call, and those that are learned; the same numbers in every call."""
    features = torch.Size(form.features)
    shift = torch.linspace(0.99, 1.0, features.numel(), dtype=torch.float64, device=x.device)
    given = {**values, **dict(form.args)}
    leaves = []
    surrogate = given.get("surrogate")
    if surrogate is not None and form.learned and given["slope"] is None and learnable(surrogate):
        given["slope"] = torch.tensor(surrogate.slope, dtype=torch.float64, device=x.device)
    for name, value in given.items():
        if not (isinstance(value, Tensor) and value.is_floating_point()):
            continue
        if form.learned == "per neuron":
            value = value * shift.reshape(features)
        given[name] = value.detach().to(x.dtype).clone().requires_grad_(bool(form.learned))
        leaves += [given[name]] if form.learned else []
    return given, leaves


def learnable(surrogate: Any) -> bool:
    """Whether a surrogate's slope can be learned."""
    try:
        check_slope(surrogate)
    except UserError:
        return False
    return bool(surrogate.family.has_slope)


def difference(want: list[Tensor | None], got: list[Tensor | None], what: str) -> float:
    """The largest difference as a share of the largest value; a missing gradient is 0."""
    largest = 0.0
    for a, b in zip(want, got, strict=True):
        if a is None or b is None:
            there = b if a is None else a
            largest = max(largest, float("inf") if there is not None and there.any() else 0.0)
            continue
        a, b = a.double(), b.double()
        apart = torch.where((a == b) | (a.isnan() & b.isnan()), 0.0, (a - b).abs())
        if not apart.any():
            continue
        least = 0.0 if what == "gradients" else 1.0
        scale = a[a.isfinite()].abs().max() if a.isfinite().any() else a.new_ones(())
        share = float(torch.nan_to_num(apart / scale.clamp(min=least), nan=float("inf")).max())
        largest = max(largest, share)
    return largest


def verdict(apart: dict[str, float], own: dict[str, float], tolerance: float) -> str:
    """What the differences mean. own: those of the loop in this dtype from the loop in float64."""
    if not any(apart.values()):
        return "equal"
    if all(apart[name] <= max(tolerance, OWN_ERRORS * own[name]) for name in apart):
        unsure = any(apart[name] > max(tolerance, UNSTABLE) for name in apart)
        return "undecided" if unsure else "close"
    return "different"


def notes_of(parts: list[Tensor | None], rate: float | None) -> tuple[str, ...]:
    """What a reader must know. parts: output and states of the loop."""
    notes = []
    if rate == 0.0:
        notes.append(
            "no neuron fired, so spikes and resets were not compared; give the current= at which "
            "it fires"
        )
    if not all(part.isfinite().all() for part in parts if part is not None):
        notes.append(
            "the loop's own result is not finite (a division by zero at rest, or an overflow); "
            "see that the step is finite before a network uses it"
        )
    return tuple(notes)
