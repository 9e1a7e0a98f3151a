"""Layers of neurons that are written as one step: `neuron` makes a layer class of a function.

Everything else follows from the step: the loop over time, learned parameters, states, recording,
feedback, the native kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from spikegrad.checks import check_choice, check_flag, check_number, check_positive
from spikegrad.errors import UserError, message, unknown
from spikegrad.nn.base import (
    Neuron,
    check_slope,
    check_threshold,
    default_bounds,
    record_of,
    steps_of,
    words,
)
from spikegrad.nn.explained import ExplainedStep, OfClassOrLayer, explained
from spikegrad.nn.quantity import Decay, Quantity, Size
from spikegrad.step import Parameter, Step, TimeConstant
from spikegrad.surrogate import Surrogate
from spikegrad.types import Backend, Output, Reset, SpikeMode, Value

__all__ = ["StepNeuron", "neuron"]

TAKEN = ("backend", "detach_reset", "learn", "names", "slope", "surrogate", "tape", "training")
"""Attributes that a layer has besides those of its class."""
Bounds = Mapping[str, tuple[float | None, float | None]]


class StepNeuron(Neuron):
    """A layer of neurons of which a `Step` is the definition; `neuron` makes its subclasses.

    dt: step (ms); surrogate, reset: by default the definition's; detach_reset: no gradient through
    the reset's spike; refractory: silence after a spike (ms); spike, most, output, generator: as of
    `SpikingNeuron`; learn: which parameters are learned, a word or several ("slope" is the
    surrogate's); size: one value per neuron; bounds: by name the
    open interval of a learned value, or one that a fixed value may lie in besides the declared one;
    backend: "auto", "reference" or another by name;
    given: the definition's parameters by name, numbers, or tensors (per neuron); a time constant
    (ms) or, instead, the decay per step that the step reads. A fixed value outside of its declared
    interval is refused unless bounds say otherwise.
    Raises UserError or TypeError for an unknown name and for a value out of its range.
    """

    step: ClassVar[Step]
    State: ClassVar[type]

    def __init__(
        self,
        *,
        dt: float = 1.0,
        surrogate: Surrogate | str | None = None,
        learn: str | Iterable[str] = (),
        size: Size = None,
        bounds: Bounds | None = None,
        reset: Reset | None = None,
        detach_reset: bool = True,
        refractory: float = 0.0,
        spike: SpikeMode = "binary",
        most: int | None = None,
        output: Output = "spikes",
        generator: torch.Generator | None = None,
        backend: Backend = "auto",
        **given: Value,
    ) -> None:
        super().__init__(backend)
        step = self.step
        check_positive(dt, "dt", unit="ms")
        check_flag(detach_reset, "detach_reset")
        self.set_output(spike, most, output, generator)
        step.variant(spike=spike, most=most, output=output)  # refused without spikes
        check_number(refractory, "refractory")
        self.reset: Reset = step.reset if reset is None else reset
        check_choice(self.reset, "reset", ("subtract", "zero", "none"))
        self.learn = words(learn, (*step.parameters, *(("slope",) if step.spikes else ())))
        check_given(step, given, bounds or {})
        self.dt, self.detach_reset = dt, detach_reset
        self.refractory = steps_of(refractory, dt)
        self.names = tuple(step.reads)
        for read, name in step.reads.items():
            value = {key: given[key] for key in (name, read) if key in given}
            setattr(self, read, self.quantity_of(read, name, value, size, (bounds or {}).get(name)))
        self.slope: Quantity | None = None
        if step.spikes:
            self.surrogate = step.surrogate if surrogate is None else record_of(surrogate)
            if "slope" in self.learn:
                check_slope(self.surrogate)
                self.slope = Quantity(self.surrogate.slope, learn=True, size=size, low=0.0)
        elif surrogate is not None or refractory:
            raise UserError(
                message(f"expected no surrogate and no refractory period of {step.name}", "one",
                        "it never spikes")
            )  # fmt: skip
        now = {name: getattr(self, name)().detach() for name in self.names}
        if {"threshold", "v_rest"} <= now.keys():
            check_threshold(now["threshold"], float(now["v_rest"].max()), self.reset)

    @property
    def step_ms(self) -> float | None:
        """Its dt, also where the definition reads it; in functions that it calls nobody looks."""
        code = getattr(self.step.function, "__code__", None)
        reads = code is None or "dt" in code.co_names
        return float(self.dt) if reads else super().step_ms

    def quantity_of(
        self,
        read: str,
        name: str,
        value: dict[str, Value],
        size: Size,
        bounds: tuple[float | None, float | None] | None,
    ) -> Decay | Quantity:
        """The quantity behind one parameter."""
        given, learn = self.step.parameters[name], name in self.learn
        if isinstance(given, TimeConstant):
            tau = value.get(name, None if read in value else given.value)
            beta = value.get(read) if read != name else None
            return Decay(tau, beta=beta, dt=self.dt, learn=learn, size=size, name=name)
        start = value.get(name, given.value)
        check_number(start, name)
        if not learn:
            check_fixed(name, given, start, bounds)
        low, high = bounds or interval_of(name, given, start)
        return Quantity(start, learn=learn, size=size, low=low, high=high)

    def quantities(self) -> dict[str, Any]:
        """The step's values now, and how its neurons spike and reset."""
        values = {name: getattr(self, name)() for name in self.names}
        if not self.step.spikes:
            return {"dt": self.dt, **values}
        return {
            **self.noise_arguments(),
            "dt": self.dt,
            "surrogate": self.surrogate,
            "slope": None if self.slope is None else self.slope(),
            "reset": self.reset,
            "detach_reset": self.detach_reset,
            "refractory": self.refractory,
            **values,
        }

    def definition(self) -> Step:
        """The step that this layer runs."""
        return self.variant_of(self.step)

    def resting_potential(self) -> Value:
        rest = self.step.rest
        value: Value = getattr(self, rest)() if isinstance(rest, str) else rest
        return value

    @OfClassOrLayer
    def explain(self) -> ExplainedStep:
        """What is kept for the backward pass, and what each backend made of the step.

        Of a class, with its defaults, or of a layer, with what it learns. Compiles nothing.
        """
        given: Any = self
        layer: StepNeuron = given() if isinstance(given, type) else given
        with torch.enable_grad():
            quantities = layer.quantities()
        return explained(type(layer).__name__, layer.definition(), layer.backend, quantities)

    def extra_repr(self) -> str:
        parts = [f"reset={self.reset!r}"] if self.step.spikes else []
        if self.step.spikes:
            parts.insert(0, f"surrogate={self.surrogate}")
            parts += [] if self.detach_reset else ["detach_reset=False"]
            parts += [f"refractory={self.refractory * self.dt:g} ms"] if self.refractory else []
        parts += self.output_repr()
        return ", ".join(parts)


def neuron(
    *unnamed: Any,
    states: Mapping[str, str | float] | None = None,
    parameters: Mapping[str, Parameter | TimeConstant | float] | None = None,
    inputs: Sequence[str] = (),
    reset: Reset = "subtract",
    surrogate: Surrogate | None = None,
    spikes: bool = True,
    rest: str | float | None = None,
) -> Callable[[Callable[..., Any]], type[StepNeuron]]:
    """Make a layer of neurons from one step, `(x, s, p) -> (output, states)`, in plain torch.

    The step gets the input current x `[B, *features]`, the states `s.v` and the parameters
    `p.threshold`, by name; `p.spike(u, threshold)` gives spikes with the surrogate's gradient,
    `p.reset(u, fired)` the membrane after the layer's reset, `p.dt` the step (ms). It returns the
    output and every state by name, and is elementwise over neurons.

    states: by name the start, a number or the name of a parameter; parameters: by name a number, a
    `Parameter` with bounds and a unit, or a `TimeConstant` (ms) that the step reads as a decay;
    inputs: names of several currents, which the step reads as `x.ampa`, `x.gaba`; the layer then
    takes them side by side, `[T, B, inputs, *features]`, and returns `[T, B, *features]`;
    reset, surrogate: the layer's defaults; spikes: False for a neuron that never spikes;
    rest: the resting potential, by default the parameter `v_rest`, 0 where there is none.
    Raises UserError or TypeError for a declaration that does not fit together.

    >>> import torch
    >>> @neuron(
    ...     states={"v": 0.0},
    ...     parameters={"tau_mem": TimeConstant(20.0, decay="beta"), "threshold": 1.0},
    ... )
    ... def Leaky(x, s, p):
    ...     '''Leaky integrate-and-fire.'''
    ...     u = p.beta * s.v + x
    ...     fired = p.spike(u, p.threshold)
    ...     return fired, {"v": p.reset(u, fired)}
    >>> layer = Leaky(tau_mem=10.0, learn="tau_mem", size=3)
    >>> s, state = layer(torch.ones(5, 2, 3))
    >>> s.shape, state.v.shape, layer.tau_mem().shape
    (torch.Size([5, 2, 3]), torch.Size([2, 3]), torch.Size([3]))
    """

    if unnamed or states is None or parameters is None:
        missing = "no states" if states is None else "no parameters"
        raise TypeError(
            message(
                "expected @sg.neuron(states=..., parameters=...), each by name",
                "an argument without a name" if unnamed and states is not None else missing,
                "for example @sg.neuron(states={'v': 0.0}, parameters={'threshold': 1.0})",
            )
        )

    def made(function: Callable[..., Any]) -> type[StepNeuron]:
        step = Step(
            function,
            states=states,
            parameters=parameters,
            inputs=inputs,
            reset=reset,
            surrogate=surrogate,
            spikes=spikes,
            rest=rest,
        )
        return layer_of(step)

    return made


def layer_of(step: Step) -> type[StepNeuron]:
    """The layer class of a definition, in the place of its function."""
    function = step.function
    for name in {*step.reads, *step.parameters}:
        if hasattr(StepNeuron, name) or name in TAKEN:
            raise UserError(
                message(
                    f"expected another parameter name in {step.name}",
                    repr(name),
                    "layers have an attribute of this name",
                )
            )
    members: dict[str, Any] = {
        "__doc__": function.__doc__,
        "__module__": function.__module__,
        "__qualname__": function.__qualname__,
        "step": step,
        "State": step.State,
    }
    for read, name in step.reads.items():
        if read != name:
            members[name] = tau_of(read, name)
    return type(step.name, (StepNeuron,), members)


def tau_of(read: str, name: str) -> Callable[[Any], Tensor]:
    """A method that gives a time constant now."""

    def tau(self: StepNeuron) -> Tensor:
        now: Tensor = getattr(self, read).tau()
        return now

    tau.__name__ = name
    tau.__doc__ = f"{name} now (ms), a scalar or `[*features]`."
    return tau


def check_given(step: Step, given: Mapping[str, Value], bounds: Bounds) -> None:
    """Names that the definition has."""
    known = [*step.parameters, *(name for name in step.reads if name not in step.parameters)]
    for name in given:
        if name not in known:
            raise UserError(unknown(f"argument of {step.name}", name, known))
    for name, pair in bounds.items():
        if name not in step.parameters or isinstance(step.parameters[name], TimeConstant):
            plain = [n for n, p in step.parameters.items() if isinstance(p, Parameter)]
            raise UserError(unknown(f"parameter with bounds of {step.name}", name, plain))
        if not (isinstance(pair, tuple) and len(pair) == 2):
            raise TypeError(message(f"expected bounds[{name!r}] as (low, high)", repr(pair)))


def check_fixed(
    name: str, declared: Parameter, start: Value, bounds: tuple[float | None, float | None] | None
) -> None:
    """A fixed value in the declared interval, or in bounds that it needs; ends included."""
    inside = lies_in(start, declared.low, declared.high)
    if bounds is not None and inside:
        expected = "expected bounds of a learned parameter, or for a value that is not declared"
        remedy = f"add learn={name!r}, or omit its bounds"
        raise UserError(message(expected, f"{name} fixed at {shown(start)}", remedy))
    low, high = (declared.low, declared.high) if bounds is None else bounds
    if not (inside or lies_in(start, low, high)):
        span = f"{'-inf' if low is None else low} to {'inf' if high is None else high}"
        raise UserError(message(f"expected {name} from {span}", shown(start)))


def lies_in(value: Value, low: float | None, high: float | None) -> bool:
    """Whether all of a value lies in an interval, its ends included."""
    tensor = torch.as_tensor(value)
    above = low is None or not bool(tensor.min() < low)
    return above and (high is None or not bool(tensor.max() > high))


def shown(value: Value) -> str:
    """A value, or the lowest and the highest of several."""
    if not isinstance(value, Tensor):
        return f"{value:g}"
    return f"{value.min():g} to {value.max():g}"


def interval_of(name: str, declared: Parameter, start: Value) -> tuple[float | None, float | None]:
    """The open interval of a learned value: the declared one, or a threshold's."""
    if name == "threshold" and declared.low is None and declared.high is None:
        return default_bounds(start)
    return declared.low, declared.high
