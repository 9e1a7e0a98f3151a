"""What layers with a state share, and what spiking neurons share.

A layer holds parameters, never membranes: `forward(x, state=None) -> (y, state)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, get_args

import torch
from torch import Tensor, nn

from spikegrad import kernels
from spikegrad.checks import check_choice, check_flag, check_number, check_positive
from spikegrad.errors import UserError, message, unknown
from spikegrad.functional.steps import STEPS
from spikegrad.kernels import check_backend
from spikegrad.nn.current import reads_packed
from spikegrad.nn.quantity import Decay, Quantity, Size
from spikegrad.nn.stateful import Stateful
from spikegrad.nn.tape import Recorded, taped
from spikegrad.ragged import Packed, by_segments
from spikegrad.step import Step
from spikegrad.step.modes import mode_of
from spikegrad.surrogate import Surrogate, arctan, get
from spikegrad.types import Backend, Output, Reset, SpikeMode, State, Value

__all__ = ["Neuron", "SpikingNeuron", "Stateful", "plain", "use_backend"]


class Neuron(Recorded, Stateful):
    """A neuron: one scan of `spikegrad.kernels` with this layer's quantities bound.

    tape: where a `record` context writes what the neuron does, else None; lean: keep little for the
    backward pass and compute the rest again (`Sequential(..., lean=True)`).
    """

    scan: str
    lean: bool = False
    spike: SpikeMode = "binary"
    most: int | None = None
    output: Output = "spikes"
    generator: torch.Generator | None = None

    def __init__(self, backend: Backend = "auto") -> None:
        super().__init__()
        check_backend(backend)
        self.backend = backend

    def quantities(self) -> dict[str, Any]:
        """The scan's keyword arguments as they are now."""
        raise NotImplementedError

    def definition(self) -> Step | None:
        """The step that this layer runs; None where that is the scan that `scan` names."""
        return None

    @property
    def step_ms(self) -> float | None:
        """Its dt, which time constants and a refractory period are made with.

        >>> from spikegrad.nn import LIF
        >>> LIF(20.0, dt=0.5).step_ms, LIF(beta=0.9, dt=0.5).step_ms
        (0.5, None)
        """
        decays = [part for part in self.modules() if isinstance(part, Decay)]
        timed = getattr(self, "refractory", 0) or not all(decay.direct for decay in decays)
        dt = getattr(self, "dt", None)
        return float(dt) if timed and isinstance(dt, (int, float)) else None

    def step_arguments(self) -> dict[str, Any]:
        """The keyword arguments of `definition()` as they are now."""
        return self.quantities()

    @property
    def law(self) -> str | Step:
        """What the neurons do: their step, or the name of their scan."""
        return self.definition() or self.scan

    def law_arguments(self) -> dict[str, Any]:
        """The keyword arguments of `law` as they are now."""
        return self.quantities() if self.definition() is None else self.step_arguments()

    def bound(self) -> Callable[..., Any]:
        """The scan with everything bound but input, state and `trace`.

        Raises TypeError for a class without a scan.
        """
        definition = self.definition()
        if definition is not None:
            return self.bound_to(definition)
        if getattr(self, "scan", None) not in kernels.NEURONS:
            raise TypeError(
                message(
                    "expected a neuron with a scan of spikegrad.kernels: "
                    + ", ".join(kernels.NEURONS),
                    f"{type(self).__name__} with {getattr(self, 'scan', 'none')}",
                    "set scan to one of them, or override bound()",
                )
            )
        return partial(getattr(kernels, self.scan), backend=self.backend, **self.quantities())

    def bound_to(self, definition: Step) -> Callable[..., Any]:
        """The same for a step."""
        how: dict[str, Any] = {"backend": self.backend, "lean": self.lean}
        return partial(kernels.step, definition, **how, **self.step_arguments())

    @reads_packed
    def forward(self, x: Any, state: State = None) -> tuple[Any, State]:
        """Run over x `[T, B, *features]`; return the outputs of the same shape, and the state."""
        tape = self.tape
        if type(x) is Packed and not does_as_its_class(self, Neuron):
            return taped(in_segments(self.bound()), tape, x, state)
        if self.output != "membrane" or tape is None or tape.membrane_wanted:
            return taped(self.bound(), tape, x, state)
        definition = self.definition()  # the tape wants spikes
        assert definition is not None
        both = definition.plain.variant(spike=self.spike, most=self.most, output="both")
        (_, u), after = taped(self.bound_to(both), tape, x, state)
        return u, after

    def set_output(
        self,
        spike: SpikeMode,
        most: int | None,
        output: Output,
        generator: torch.Generator | None,
    ) -> None:
        """Take what the neurons send and return, and where their noise comes from."""
        mode_of(spike, most)  # checks
        check_choice(output, "output", get_args(Output))
        if generator is not None and not isinstance(generator, torch.Generator):
            raise TypeError(
                message("expected generator as a torch.Generator", type(generator).__name__)
            )
        if generator is not None and spike != "escape":
            raise UserError(
                message("expected spike='escape' with a generator", repr(spike), "omit it")
            )
        self.spike, self.most, self.output, self.generator = spike, most, output, generator

    def variant_of(self, step: Step) -> Step:
        """A step as this layer's neurons send and return."""
        return step.variant(spike=self.spike, most=self.most, output=self.output)

    def noise_arguments(self) -> dict[str, Any]:
        """Where noise comes from, for neurons that take it."""
        hard = getattr(getattr(self, "surrogate", None), "mode", "") == "hard"
        return {"generator": self.generator} if self.spike == "escape" and hard else {}

    def output_repr(self) -> list[str]:
        """What is said of it where it is not the usual."""
        parts = [f"spike={self.spike!r}"] if self.spike != "binary" else []
        parts += [f"most={mode_of(self.spike, self.most).most}"] * (self.spike == "multiple")
        return parts + ([f"output={self.output!r}"] if self.output != "spikes" else [])


def in_segments(run: Callable[..., Any]) -> Callable[..., Any]:
    """A scan that knows dense sequences alone, for packed ones."""

    def over(x: Packed, state: State, **how: Any) -> Any:
        return by_segments(partial(run, **how), x, state)

    return over


def has_own_forward(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a layer's `forward` is another than that of a kind, by its class or on the object."""
    return "forward" in vars(module) or type(module).forward is not kind.forward


def does_as_its_class(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a layer is of a kind and has no `forward` of its own; a neuron no `bound` either, and
    a step or a scan that the kernels know.
    """
    if not isinstance(module, kind) or has_own_forward(module, kind):
        return False
    if not isinstance(module, Neuron):
        return True
    if "bound" in vars(module) or type(module).bound is not Neuron.bound:
        return False
    return module.definition() is not None or getattr(module, "scan", None) in kernels.NEURONS


def plain(module: nn.Module | None, kind: type[nn.Module]) -> bool:
    """A layer that does what its class says and nothing else."""
    if module is None or not does_as_its_class(module, kind):
        return False
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    return not any(hooks)


class SpikingNeuron(Neuron):
    """What IF, LIF, CUBALIF and ALIF share: threshold, reset, refractory period, surrogate.

    threshold, v_reset: a number (per layer), or a tensor (per neuron), or a number with `size=`;
    v_rest: resting membrane; reset: "subtract", "zero" or "none"; detach_reset: no gradient
    through the reset's spike; refractory: silence after a spike (ms); dt: step (ms);
    surrogate: a record, or a name; learn: which quantities are learned, a word or several;
    threshold_bounds: open interval of a learned threshold, by default (0.5, 2) times its start
    (the article's AdaptiveThreshold); spike: "binary", "ternary" (-1, 0 or 1), "multiple" (0 to
    `most` a step, 4 by default) or "escape" (by chance, with noise from the generator, torch's own
    by default), see `step/modes.py`; output: what the layer returns, "spikes", "membrane" (before
    the reset, what the threshold is compared with) or "both" as a pair; backend: "auto",
    "reference" or another by name.
    """

    learnable: tuple[str, ...] = ("threshold", "v_reset", "slope")

    def __init__(
        self,
        *,
        threshold: Value = 1.0,
        v_rest: float = 0.0,
        v_reset: Value = 0.0,
        reset: Reset = "subtract",
        detach_reset: bool = True,
        refractory: float = 0.0,
        dt: float = 1.0,
        surrogate: Surrogate | str = arctan(2.0),  # noqa: B008  (an immutable record)
        learn: str | Iterable[str] = (),
        size: Size = None,
        threshold_bounds: tuple[float, float] | None = None,
        spike: SpikeMode = "binary",
        most: int | None = None,
        output: Output = "spikes",
        generator: torch.Generator | None = None,
        backend: Backend = "auto",
    ) -> None:
        super().__init__(backend)
        check_choice(reset, "reset", ("subtract", "zero", "none"))
        for name, value in {
            "threshold": threshold,
            "v_rest": v_rest,
            "v_reset": v_reset,
            "refractory": refractory,
            "dt": dt,
        }.items():
            check_number(value, name)
        check_flag(detach_reset, "detach_reset")
        self.set_output(spike, most, output, generator)
        check_positive(dt, "dt", unit="ms")
        check_threshold(threshold, v_rest, reset)
        self.learn = words(learn, self.learnable)
        self.dt, self.v_rest, self.reset, self.detach_reset = dt, v_rest, reset, detach_reset
        self.refractory = steps_of(refractory, dt)
        self.surrogate = record_of(surrogate)
        low, high = threshold_interval(threshold, threshold_bounds, self.learn)
        self.threshold = Quantity(
            threshold, learn="threshold" in self.learn, size=size, low=low, high=high
        )
        self.v_reset = Quantity(v_reset, learn="v_reset" in self.learn, size=size)
        self.slope: Quantity | None = None
        if "slope" in self.learn:
            check_slope(self.surrogate)
            self.slope = Quantity(self.surrogate.slope, learn=True, size=size, low=0.0)

    def quantities(self) -> dict[str, Any]:
        return {
            "threshold": self.threshold(),
            "v_rest": self.v_rest,
            "v_reset": self.v_reset(),
            "reset": self.reset,
            "detach_reset": self.detach_reset,
            "refractory": self.refractory,
            "surrogate": self.surrogate,
            "slope": None if self.slope is None else self.slope(),
        }

    def extra_repr(self) -> str:
        parts = [f"surrogate={self.surrogate}", f"reset={self.reset!r}"]
        if not self.detach_reset:
            parts.append("detach_reset=False")
        if self.refractory:
            parts.append(f"refractory={self.refractory * self.dt:g} ms")
        return ", ".join([*parts, *self.output_repr()])

    def definition(self) -> Step | None:
        usual = self.spike == "binary" and self.output == "spikes"
        return None if usual else self.variant_of(STEPS[self.scan][0])

    def step_arguments(self) -> dict[str, Any]:
        return {**STEPS[self.scan][1](**self.quantities()), **self.noise_arguments()}

    def resting_potential(self) -> Value:
        return self.v_rest


def use_backend(
    network: nn.Module, backend: Backend | None = None, *, lean: bool | None = None
) -> None:
    """Set the backend, or lean mode, of every layer of a network that has one; None leaves it.

    lean: keep next to nothing of the forward pass and compute it again for the backward pass,
    segment by segment: the same gradients, a fraction of the memory, about a quarter more time.
    Raises UserError for an unknown backend, and for one that cannot run here.

    >>> from spikegrad.nn import LIF, Linear, Sequential
    >>> network = Sequential(Linear(3, 2), LIF(20.0))
    >>> use_backend(network, "reference")
    >>> [layer.backend for layer in network]
    ['reference', 'reference']
    """
    if backend is not None:
        check_backend(backend)
    for module in network.modules():
        if backend is not None and hasattr(module, "backend"):
            setattr(module, "backend", backend)  # noqa: B010  (a word, not a submodule)
        if lean is not None and isinstance(module, Neuron):
            module.lean = lean


def words(learn: str | Iterable[str], known: tuple[str, ...]) -> tuple[str, ...]:
    """The quantities to learn, each known to the layer."""
    if not isinstance(learn, Iterable):
        expected = "expected learn as a word or several words"
        raise TypeError(message(expected, repr(learn), "omit it to learn nothing"))
    chosen = (learn,) if isinstance(learn, str) else tuple(learn)
    for word in chosen:
        if word not in known:
            raise UserError(unknown("learnable quantity", word, known))
        if chosen.count(word) > 1:
            raise UserError(message("expected each word of learn once", f"{word!r} twice"))
    return chosen


def steps_of(refractory: float, dt: float) -> int:
    """A refractory period (ms) as whole steps."""
    if not 0.0 <= refractory < float("inf"):
        raise UserError(message("expected refractory >= 0 ms", str(refractory)))
    steps = round(refractory / dt)
    if refractory > 0 and abs(steps * dt - refractory) > 1e-6 * dt:
        raise UserError(
            message(
                "expected refractory as a multiple of dt",
                f"refractory={refractory} ms, dt={dt} ms",
                f"use {max(steps, 1) * dt:g}",
            )
        )
    return steps


def check_threshold(threshold: Value, v_rest: float, reset: Reset) -> None:
    """A threshold above rest: at or below it a neuron fires without input."""
    lowest = float(threshold.min()) if isinstance(threshold, Tensor) else float(threshold)
    if not lowest > v_rest:
        raise UserError(
            message(f"expected threshold > v_rest = {v_rest}", f"{lowest:g}", "raise the threshold")
        )


def threshold_interval(
    threshold: Value, given: tuple[float, float] | None, learn: tuple[str, ...]
) -> tuple[float, float]:
    """The open interval of a learned threshold; a fixed one has none."""
    if given is not None and "threshold" not in learn:
        expected = "expected threshold_bounds with a learned threshold"
        raise UserError(message(expected, "a fixed one", "add learn='threshold', or omit them"))
    return default_bounds(threshold) if given is None else given


def default_bounds(threshold: Value) -> tuple[float, float]:
    """Half the lowest to twice the highest threshold."""
    check_number(threshold, "threshold")
    if isinstance(threshold, Tensor):
        low, high = float(threshold.min()), float(threshold.max())
    else:
        low = high = float(threshold)
    return (low - 0.5 * abs(low), high + abs(high))


def record_of(surrogate: Surrogate | str) -> Surrogate:
    """A surrogate given as a record, or by name."""
    if isinstance(surrogate, str):
        return get(surrogate)
    if not isinstance(surrogate, Surrogate):
        expected = "expected a Surrogate or a name"
        raise TypeError(message(expected, type(surrogate).__name__, "for example arctan(2.0)"))
    return surrogate


def check_slope(surrogate: Surrogate) -> None:
    """A slope that can be learned: with a primitive, and of unit area."""
    if not surrogate.has_primitive or surrogate.normalisation != "area":
        raise UserError(
            message(
                "expected a surrogate with a primitive and area normalisation to learn its slope",
                str(surrogate),
                "for example arctan(2.0)",
            )
        )
