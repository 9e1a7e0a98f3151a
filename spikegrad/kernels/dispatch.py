"""The specification's functions with `backend=`: a name runs or says why it cannot, "auto" chooses.

`choice.py` asks the backends; whatever none of them runs, the reference runs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from spikegrad import functional
from spikegrad.checks import check_positive, check_steps
from spikegrad.functional.steps import STEPS
from spikegrad.functional.taps import check_delay
from spikegrad.kernels.backend import FEEDBACK, Call
from spikegrad.kernels.choice import Choice, decide, found
from spikegrad.kernels.cpu.build import BuildError
from spikegrad.kernels.cpu.taps import gaussian_taps, interpolated_taps
from spikegrad.kernels.obstacles import other_mode
from spikegrad.kernels.refusal import refused, say_dense, warn_once
from spikegrad.kernels.registry import get
from spikegrad.kernels.shifted import is_shift, shifted
from spikegrad.ragged import Packed, by_segments
from spikegrad.step import Step
from spikegrad.step.lower import NotLowered
from spikegrad.types import Edges, LearnedDelays, PendingState, Taps, map_state

__all__ = [
    "NEURONS",
    "SCANS",
    "alif",
    "choice_of",
    "choose",
    "choose_step",
    "conv2d",
    "cuba_lif",
    "delayed_linear",
    "delayed_recurrent",
    "found_step",
    "integrate_and_fire",
    "learned_taps",
    "li",
    "lif",
    "linear",
    "max_pool2d",
    "recurrent",
    "spiking",
    "step",
]

NEURONS = ("integrate_and_fire", "lif", "cuba_lif", "alif", "li")
SCANS = (
    *NEURONS,
    *("linear", "delayed_linear", "conv2d", "max_pool2d"),
    *("recurrent", "delayed_recurrent", "spiking"),
)
FEW = 4
"""Stretches of sequences of different length for each of which taps are made anew."""


def choose(
    scan: str, backend: str = "auto", x: Any = None, args: dict[str, Any] | None = None
) -> Choice:
    """The implementation of one call of a scan under a backend asked for.

    x, args: the call's input and keyword arguments, None for a call like most.
    Raises UserError for an unknown backend, and for one asked for by name that cannot run.

    >>> choose("lif", "reference").backend
    'reference'
    """
    args, by_name = args or {}, backend != "auto"
    if scan in STEPS:
        return decide(Call("step", scan, x, scan, args, {}, by_name), backend)
    if scan in FEEDBACK:
        neuron, bound = bound_neuron(args.get("neuron"))
        return decide(Call(scan, scan, x, neuron, args, bound, by_name), backend)
    return decide(Call(scan, scan, x, None, args, {}, by_name), backend)


def choose_step(
    definition: Step, backend: str, x: Tensor | None = None, args: dict[str, Any] | None = None
) -> Choice:
    """The implementation of one call of a neuron that is written as a step: as `choose`.

    A step that has no native form is named once, with the reason.
    """
    call = Call("step", definition.name, x, definition, args or {}, {}, backend != "auto")
    return decide(call, backend)


def found_step(definition: Step, backend: str, args: dict[str, Any]) -> Choice | str:
    """The same for a CPU tensor, or why the reference runs it; nobody is warned."""
    if backend == "reference":
        return "chosen by name"
    call = Call("step", definition.name, None, definition, args, {}, backend != "auto")
    return found(call, backend)


def choice_of(
    neuron: str | Step, backend: str, x: Tensor | None = None, args: dict[str, Any] | None = None
) -> Choice:
    """`choose` of a scan by its name, `choose_step` of a step."""
    if isinstance(neuron, str):
        return choose(neuron, backend, x, args)
    return choose_step(neuron, backend, x, args)


def bound_neuron(neuron: Any) -> tuple[str | Step | None, dict[str, Any]]:
    """The step, or the scan's name, of a neuron that is bound for feedback, and its arguments.

    None: a function that no backend knows; without a neuron: one like most.
    """
    if neuron is None:
        return "lif", {}
    if not isinstance(neuron, partial):
        return None, {}
    values = {k: v for k, v in neuron.keywords.items() if k not in ("backend", "lean")}
    if neuron.args:
        known = neuron.func is step and isinstance(neuron.args[0], Step)
        return (neuron.args[0] if known else None), values
    name = getattr(neuron.func, "__name__", "")
    ours = name in BOUND and neuron.func in BOUND[name]
    return (name if ours else None), values


def integrate_and_fire(x: Tensor, state: Any = None, *, backend: str = "auto", **args: Any) -> Any:
    """`functional.integrate_and_fire` by the chosen backend."""
    return call("integrate_and_fire", backend, x, state, args)


def lif(x: Tensor, state: Any = None, *, backend: str = "auto", **args: Any) -> Any:
    """`functional.lif` by the chosen backend."""
    return call("lif", backend, x, state, args)


def cuba_lif(x: Tensor, state: Any = None, *, backend: str = "auto", **args: Any) -> Any:
    """`functional.cuba_lif` by the chosen backend."""
    return call("cuba_lif", backend, x, state, args)


def alif(x: Tensor, state: Any = None, *, backend: str = "auto", **args: Any) -> Any:
    """`functional.alif` by the chosen backend."""
    return call("alif", backend, x, state, args)


def li(x: Tensor, state: Any = None, *, backend: str = "auto", **args: Any) -> Any:
    """`functional.li` by the chosen backend."""
    return call("li", backend, x, state, args)


def linear(
    x: Any,
    *,
    weight: Tensor,
    bias: Tensor | None,
    edges: Edges | None = None,
    backend: str = "auto",
    witness: list[Any] | None = None,
) -> Tensor:
    """`functional.linear` by the chosen backend; along the spikes where that is cheaper.

    x: `[T, B, I]`, or what a `layer` passed on; witness: takes what a kernel chose.
    """
    choice = choose("linear", backend, x, {"weight": weight, "edges": edges})
    args: dict[str, Any] = {} if edges is None else {"edges": edges}
    if choice.backend == "reference":
        say_dense(edges, weight, choice.reason)
    elif witness is not None:
        args["witness"] = witness
    y: Tensor = choice.function(x, weight=weight, bias=bias, **args)
    return y


def delayed_linear(
    x: Any,
    state: PendingState | None = None,
    *,
    taps: Taps | LearnedDelays,
    bias: Tensor | None = None,
    edges: Edges | None = None,
    backend: str = "auto",
) -> Any:
    """`functional.delayed_linear` by the chosen backend; whole delays of inputs, or of the whole
    connection, as shifts around a `linear` of it. Of learned delays a backend that says `delayed`
    makes the taps where it reads them.
    """
    if type(x) is Packed:
        if isinstance(taps, LearnedDelays) and len(x.packing.segments) > FEW:
            taps = learned_taps(*taps, backend=backend)  # else made for each of them
        run = partial(delayed_linear, taps=taps, bias=bias, edges=edges, backend=backend)
        return by_segments(run, x, state)
    if isinstance(taps, LearnedDelays):
        choice = choose("delayed_linear", backend, x, {"weight": taps.weight, "edges": edges})
        if choice.backend != "reference" and get(choice.backend).delayed and alike(taps):
            check_learned(taps)
            return choice.function(x, state, taps=taps, bias=bias, edges=edges)
        taps = learned_taps(*taps, backend=backend)
    if backend != "reference" and is_shift(taps, edges):
        product = partial(weighted, edges=edges, backend=backend)
        outputs = taps.values.shape[0] if edges is None else edges.outputs
        return shifted(product, x, state, taps, bias, outputs)
    choice = choose("delayed_linear", backend, x, {"weight": taps.values, "edges": edges})
    if choice.backend == "reference":
        say_dense(edges, taps.values, choice.reason)
    return choice.function(x, state, taps=taps, bias=bias, edges=edges)


def alike(delays: LearnedDelays) -> bool:
    """Whether weights and delays are numbers that native code reads as they are."""
    weight, delay = delays.weight, delays.delay
    plain = weight.dtype == delay.dtype and weight.dtype in (torch.float32, torch.float64)
    return plain and weight.device.type == delay.device.type == "cpu" and not other_mode({})


def check_learned(delays: LearnedDelays) -> None:
    """Numbers that taps can be made of."""
    check_steps(delays.most, "most", least=1)
    check_delay(delays.delay, delays.most)
    if delays.sigma is not None:
        check_positive(delays.sigma, "sigma", unit="steps")


def learned_taps(
    weight: Tensor, delay: Tensor, most: int, sigma: float | None = None, *, backend: str = "auto"
) -> Taps:
    """`functional.interpolated_taps`, or with sigma `gaussian_taps`; unless the reference is asked
    for the backward pass computes them again instead of keeping what is in between.
    """
    how: dict[str, Any] = {"most": most} if sigma is None else {"most": most, "sigma": sigma}
    delays = LearnedDelays(weight, delay, most, sigma)
    if backend == "reference" or torch.compiler.is_compiling() or not alike(delays):
        made = functional.interpolated_taps if sigma is None else functional.gaussian_taps
        taps = made(weight, delay, **how)
        return taps._replace(values=taps.values.to(weight.dtype))
    check_learned(delays)
    if sigma is not None:
        return gaussian_taps(weight, delay.expand(weight.shape), most=most, sigma=sigma)
    several = delay.dim() == weight.dim() or delay.dim() > 1
    return interpolated_taps(weight, delay.expand(weight.shape) if several else delay, most=most)


def weighted(x: Tensor, weight: Tensor, *, edges: Edges | None, backend: str) -> Tensor:
    """`linear` without a bias."""
    return linear(x, weight=weight, bias=None, edges=edges, backend=backend)


def conv2d(x: Tensor, *, backend: str = "auto", **args: Any) -> Tensor:
    """`functional.conv2d` by the chosen backend; along the spikes where that is cheaper."""
    y: Tensor = choose("conv2d", backend, x, {}).function(x, **args)
    return y


def max_pool2d(x: Tensor, *, backend: str = "auto", **args: Any) -> Tensor:
    """`functional.max_pool2d` by the chosen backend."""
    y: Tensor = choose("max_pool2d", backend, x, {}).function(x, **args)
    return y


def recurrent(
    x: Tensor,
    state: Any = None,
    *,
    neuron: Callable[..., Any],
    backend: str = "auto",
    lean: bool = False,
    **args: Any,
) -> Any:
    """`functional.recurrent` by the chosen backend; neuron: a scan with its arguments bound.

    lean: a kernel keeps little for the backward pass and computes the rest again.
    """
    if type(x) is Packed:
        how = {"neuron": neuron, "backend": backend, "lean": lean, **args}
        return by_segments(partial(recurrent, **how), x, state)
    bound = neuron.keywords if isinstance(neuron, partial) else {}
    if args.get("edges", 0) is None:
        del args["edges"]
    choice = choose("recurrent", backend, x, {**bound, **args, "neuron": neuron})
    if choice.backend != "reference":
        args.pop("trace", None)
        try:
            return choice.function(x, state, lean=lean, **args)
        except (BuildError, NotLowered) as error:
            if backend != "auto":
                raise refused("recurrent", backend, str(error)) from error
            warn_once("recurrent", str(error))
    say_dense(args.get("edges"), args["weight"], choice.reason)
    return functional.recurrent(x, state, neuron=neuron, **args)


def delayed_recurrent(
    x: Tensor,
    state: Any = None,
    *,
    taps: Taps,
    edges: Edges | None = None,
    neuron: Callable[..., Any],
    backend: str = "auto",
    trace: bool = False,
) -> Any:
    """`functional.delayed_recurrent` by the chosen backend.

    Where the reference is chosen it runs step by step, or as many steps at once as the shortest
    delay lets: the neuron by the backend that it is bound to, the feedback by this one.
    """
    how: dict[str, Any] = {"taps": taps, "edges": edges, "neuron": neuron, "trace": trace}
    if type(x) is Packed:
        run = partial(delayed_recurrent, backend=backend, **how)
        return by_segments(run, x, state)
    bound = neuron.keywords if isinstance(neuron, partial) else {}
    args = {**bound, "weight": taps.values, "edges": edges, "neuron": neuron, "trace": trace}
    choice = choose("delayed_recurrent", backend, x, args)
    if choice.backend != "reference":
        try:
            return choice.function(x, state, taps=taps, edges=edges)
        except (BuildError, NotLowered) as error:
            if backend != "auto":
                raise refused("delayed_recurrent", backend, str(error)) from error
            warn_once("delayed_recurrent", str(error))
    product = partial(delayed_linear, backend=backend)
    return functional.delayed_recurrent(x, state, product=product, **how)


def step(
    definition: Step,
    x: Tensor,
    state: Any = None,
    *,
    backend: str = "auto",
    lean: bool = False,
    **args: Any,
) -> Any:
    """A neuron that is written as one step, by the chosen backend.

    lean: a kernel keeps little for the backward pass and computes the rest again.
    """
    if type(x) is Packed:
        how = {"backend": backend, "lean": lean, **args}
        return by_segments(partial(step, definition, **how), x, state)
    choice = choose_step(definition, backend, x, args)
    if choice.backend != "reference":
        args.pop("trace", None)
        args["lean"] = lean
    return run(choice, backend, definition, x, state, args)


def spiking(x: Tensor, *, backend: str = "auto", **args: Any) -> Any:
    """`functional.spiking`: elementwise, the reference is all there is."""
    if type(x) is not Packed:
        return functional.spiking(x, **args)
    found = functional.spiking(x.rows, **args)
    return map_state(lambda rows: Packed(rows, x.packing), found)


def call(scan: str, backend: str, x: Tensor, state: Any, args: dict[str, Any]) -> Any:
    """Choose and run."""
    if type(x) is Packed:
        return by_segments(partial(call_of, scan, backend, args), x, state)
    choice = choose(scan, backend, x, args)
    if choice.backend != "reference":
        args = {key: value for key, value in args.items() if key != "trace"}
    return run(choice, backend, getattr(functional, scan), x, state, args)


def call_of(scan: str, backend: str, args: dict[str, Any], x: Tensor, state: Any) -> Any:
    """`call` of one stretch of time."""
    return call(scan, backend, x, state, args)


def run(
    choice: Choice, backend: str, reference: Callable[..., Any], x: Tensor, state: Any, args: Any
) -> Any:
    """Run what was chosen; where its program cannot be compiled, "auto" takes the reference.

    A neuron that runs in torch for that reason is named once.
    """
    try:
        return choice.function(x, state, **args)
    except (BuildError, NotLowered) as error:
        if backend != "auto":
            raise refused(choice.scan, backend, str(error)) from error
        warn_once(choice.scan, str(error))
    args = {key: value for key, value in args.items() if key != "lean"}
    return reference(x, state, **args)


BOUND = {
    function.__name__: (function, getattr(functional, function.__name__))
    for function in (integrate_and_fire, lif, cuba_lif, alif, li)
}
"""Scans that may be bound for feedback: ours, and those of the specification."""
