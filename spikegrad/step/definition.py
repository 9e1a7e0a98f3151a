"""A neuron as one step: its equations, the states it keeps, the parameters it reads.

The step is a pure function in plain torch, elementwise over neurons:

    def step(x, s, p):                    # x: input current [B, *features]
        u = p.beta * s.v + x              # s: the states, p: the parameters
        fired = p.spike(u, p.threshold)
        return fired, {"v": p.reset(u, fired)}

`Step` calls it in a loop over time (`loop.py`), which is the specification of the neuron.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from keyword import iskeyword
from typing import Any, NamedTuple, get_args

from torch import Tensor

from spikegrad.checks import check_choice, check_flag, check_number
from spikegrad.errors import UserError, message
from spikegrad.step.loop import run
from spikegrad.step.modes import BINARY, Mode, mode_of
from spikegrad.step.outside import Outside
from spikegrad.step.parameter import Declared, TimeConstant, declared, names_read
from spikegrad.surrogate import Surrogate, arctan
from spikegrad.types import Output, Reset, SpikeMode, State

__all__ = ["Step"]

RESERVED = ("refractory", "output", "dt", "spike", "reset", "reset_by", "fired", "values", "x")


class Step:
    """The definition of a neuron; calling it runs the step over a sequence.

    function: the step, `(x, s, p) -> (output, states)`; states: by name the value at the start, a
    number or the name of a parameter; parameters: by name a number, `Parameter` or `TimeConstant`;
    inputs: names of several input currents, which the step reads as `x.ampa`, `x.gaba`; the neuron
    then takes them side by side, `[T, B, inputs, *features]`; none: the step reads x itself;
    reset, surrogate: what a layer takes by default; spikes: False for a neuron that never spikes;
    rest: the resting potential, a number or the name of a parameter; None: `v_rest`, and 0 for a
    neuron that does not declare it; name: the function's where None; state: the NamedTuple of the
    states, made where None.
    Raises UserError or TypeError for a declaration that does not fit together.

    >>> import torch
    >>> def leaky(x, s, p):
    ...     u = p.beta * s.v + x
    ...     fired = p.spike(u, p.threshold)
    ...     return fired, {"v": p.reset(u, fired)}
    >>> step = Step(leaky, states={"v": 0.0}, parameters={"beta": 0.5, "threshold": 1.0})
    >>> s, state = step(torch.full((4, 1, 1), 0.6))
    >>> s.flatten().tolist(), round(state.v.item(), 4)
    ([0.0, 0.0, 1.0, 0.0], 0.625)
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        states: Mapping[str, str | float],
        parameters: Mapping[str, Declared | float],
        inputs: Sequence[str] = (),
        reset: Reset = "subtract",
        surrogate: Surrogate | None = None,
        spikes: bool = True,
        rest: str | float | None = None,
        name: str | None = None,
        state: type | None = None,
    ) -> None:
        check_choice(reset, "reset", get_args(Reset))
        check_flag(spikes, "spikes")
        check_declared(states, "states", "{'v': 0.0}")
        check_declared(parameters, "parameters", "{'threshold': 1.0}")
        check_function(function, name)
        self.inputs = checked_inputs(inputs)
        self.function, self.name, self.spikes = function, name or function.__name__, spikes
        self.parameters = declared(parameters)
        self.states = dict(states)
        self.reset: Reset = reset
        self.surrogate = arctan(2.0) if surrogate is None else surrogate
        self.rest = ("v_rest" if "v_rest" in self.parameters else 0.0) if rest is None else rest
        self.mode: Mode = BINARY
        self.output: Output = "spikes"
        self.plain = self  # of a variant: what it is a variant of
        self._variants: dict[tuple[Mode, Output], Step] = {}
        self.reads = names_read(self.parameters)
        check_names(self)
        check_start(self, "rest", self.rest)
        self.outside = Outside(function)
        self._first: tuple[tuple[str, Any], ...] | None = None
        self.State = state_type(self) if state is None else state

    def defaults(self, dt: float = 1.0) -> dict[str, float]:
        """The values that the step reads where nothing else is given; dt: step (ms)."""
        values = {}
        for read, name in self.reads.items():
            given = self.parameters[name]
            tau = isinstance(given, TimeConstant)
            values[read] = math.exp(-dt / given.value) if tau else given.value
        return values

    def changed(self) -> str:
        """Which number from outside of the step is another one than at the first call, or "".

        A kernel that was generated then would compute with the old one.
        """
        now = self.outside.now()
        if self._first is None:
            self._first = now
        if now == self._first or repr(now) == repr(self._first):  # NaN is never equal
            return ""
        pairs = zip(self._first, now, strict=False)
        name = next((new[0] for old, new in pairs if repr(old) != repr(new)), "one of them")
        return f"{name}, which it reads from outside, has changed; declare it as a parameter"

    def variant(
        self, *, spike: SpikeMode = "binary", most: int | None = None, output: Output = "spikes"
    ) -> Step:
        """The same neuron that sends something else, or returns something else.

        spike: "binary", "ternary" (-1, 0, 1), "multiple" (0 to most spikes a step, `most` is 4 by
        default) or "escape" (spikes by chance), see `step/modes.py`; output: "spikes", "membrane"
        (before the reset, what the threshold is compared with), or "both" as a pair.
        Raises UserError for an unknown word, and for one that a neuron without spikes cannot do.
        """
        check_choice(output, "output", get_args(Output))
        mode = mode_of(spike, most)
        if (mode, output) == (BINARY, "spikes"):
            return self.plain
        if not self.spikes:
            raise UserError(
                message(
                    f"expected spike='binary' and output='spikes' of {self.name}",
                    f"spike={spike!r}, output={output!r}",
                    "it never spikes; omit both",
                )
            )
        known = self.plain._variants
        if (mode, output) not in known:
            made = copy(self)
            made.mode, made.output, made.plain = mode, output, self.plain
            known[mode, output] = made
        return known[mode, output]

    def __call__(self, x: Tensor, state: State = None, **args: Any) -> Any:
        """Run over x by the loop in torch: see `spikegrad.step.loop.run`."""
        return run(self, x, state, **args)

    def __repr__(self) -> str:
        return f"Step({self.name}: {', '.join(self.states)})"


def is_name(name: Any) -> bool:
    """Whether `p.name` can be written."""
    return isinstance(name, str) and name.isidentifier() and not iskeyword(name)


def check_function(function: Callable[..., Any], name: str | None) -> None:
    """A function of input, states and parameters, with a name."""
    own = getattr(function, "__name__", None)
    if not (callable(function) and is_name(name or own)):
        got = str(name or own or type(function).__name__)
        raise TypeError(message("expected a step as a function with a name", got, "use def"))
    given = [
        p
        for p in inspect.signature(function).parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty
    ]
    if len(given) != 3:
        raise TypeError(
            message(
                f"expected a step {name or own}(x, s, p): input, states, parameters",
                f"{len(given)} arguments",
                "declare three arguments",
            )
        )


def check_declared(given: object, name: str, example: str) -> None:
    """Names with their values."""
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise TypeError(message(f"expected {name} by name", repr(given), f"for example {example}"))


def checked_inputs(inputs: Sequence[str]) -> tuple[str, ...]:
    """Names of several inputs, or none."""
    example = "for example inputs=('ampa', 'gaba'); omit it where there is one"
    if isinstance(inputs, str) or not isinstance(inputs, Sequence):
        raise TypeError(message("expected inputs as several names", repr(inputs), example))
    names = tuple(inputs)
    good = all(is_name(name) and not name.startswith("_") and name != "kind" for name in names)
    if len(names) == 1 or not good or len(set(names)) < len(names):
        raise UserError(message("expected inputs as several names", repr(inputs), example))
    return names


def check_names(step: Step) -> None:
    """Names that do not hide one another, and starts that exist."""
    if not step.states:
        raise UserError(
            message(
                f"expected at least one state in {step.name}",
                "none",
                "declare it: states={'v': 0.0}; a neuron without memory is the layer Spiking",
            )
        )
    read, given = set(step.reads), set(step.parameters)
    if len(step.reads) != len(step.parameters):
        raise UserError(
            message(f"expected every parameter of {step.name} once", "a decay with the name of one")
        )
    for name in (*step.states, *read, *given):
        if not is_name(name) or name in RESERVED or name.startswith("_"):
            raise UserError(
                message(f"expected another name in {step.name}", repr(name), "it is reserved")
            )
    for state, start in step.states.items():
        check_start(step, f"the start of {state!r}", start)


def check_start(step: Step, what: str, value: str | float) -> None:
    """A number, or the name of a parameter."""
    if not isinstance(value, str):
        check_number(value, what)
    elif value not in step.reads:
        raise UserError(
            message(
                f"expected {what} as a number or a parameter's name",
                repr(value),
                f"the parameters are {', '.join(sorted(step.reads))}",
            )
        )


def state_type(step: Step) -> type:
    """The `NamedTuple` of the states, and of the refractory counter (None without one)."""
    fields: list[tuple[str, Any]] = [(name, Tensor) for name in step.states]
    if step.spikes:
        fields.append(("refractory", Tensor | None))
    kind = NamedTuple(f"{step.name}State", fields)  # type: ignore[misc]
    if step.spikes:
        kind.__new__.__defaults__ = (None,)
        kind._field_defaults = {"refractory": None}
    kind.__module__ = step.function.__module__
    kind.__qualname__ = f"{step.function.__qualname__}.State"  # found by pickle in the layer class
    kind.__doc__ = f"State of {step.name}: {', '.join(step.states)}, each `[B, *features]`."
    return kind
