"""Which implementation runs: `"auto"` chooses, a name runs or says why it cannot.

A backend is a table of functions with the specification's signatures. Adding one is adding a
table; a backend may lack some scans, or refuse a call, and `"auto"` then takes the reference.
`"auto"` asks the CPU's kernels, or Triton's for tensors on a CUDA GPU (`gpu.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from spikegrad import functional
from spikegrad.errors import UserError, message, unknown
from spikegrad.functional.steps import STEPS
from spikegrad.kernels import cpu, triton
from spikegrad.kernels.choice import Choice, refused, warn_once
from spikegrad.kernels.gpu import choose_triton, on_gpu
from spikegrad.kernels.obstacles import (
    lowering,
    obstacle_to_neuron,
    other_device,
    other_input,
    other_product,
    own_surrogate,
    shared_obstacle,
)
from spikegrad.step import Step
from spikegrad.step.lower import NotLowered

__all__ = [
    "NEURONS",
    "Choice",
    "alif",
    "available",
    "check_backend",
    "choice_of",
    "choose",
    "choose_step",
    "conv2d",
    "cuba_lif",
    "integrate_and_fire",
    "li",
    "lif",
    "linear",
    "max_pool2d",
    "recurrent",
    "spiking",
    "step",
]

SCANS = (
    "integrate_and_fire",
    "lif",
    "cuba_lif",
    "alif",
    "li",
    "linear",
    "conv2d",
    "max_pool2d",
    "recurrent",
    "spiking",
)
SPIKING = ("integrate_and_fire", "lif", "cuba_lif", "alif")
NEURONS = (*SPIKING, "li")
REFERENCE: dict[str, Callable[..., Any]] = {name: getattr(functional, name) for name in SCANS}
BACKENDS = ("auto", "reference", "cpu", "triton")


def available() -> dict[str, str]:
    """Every backend's name with "" when it can run, or the reason why it cannot.

    Builds the native kernels if they are not there yet.

    >>> available()["reference"]
    ''
    """
    return {"reference": "", "cpu": cpu.load(), "triton": triton.available()}


def choose(
    scan: str, backend: str = "auto", x: Tensor | None = None, args: dict[str, Any] | None = None
) -> Choice:
    """The implementation of one call of a scan under a backend asked for.

    x, args: the call's input and keyword arguments, None for a call like most.
    Raises UserError for an unknown backend, and for one asked for by name that cannot run.

    >>> choose("lif", "reference").backend
    'reference'
    """
    if backend == "reference":
        return Choice(scan, "reference", "chosen by name", REFERENCE[scan])
    if args and args.get("trace"):
        # The same spikes, bit for bit, and membranes that are part of the graph.
        return Choice(scan, "reference", "only the reference records membranes", REFERENCE[scan])
    if backend == "triton" or (backend == "auto" and on_gpu(x)):
        return choose_triton(scan, backend, x, args or {}, REFERENCE[scan], None)
    why_not = obstacle(scan, x, args or {})
    if backend == "auto":
        if why_not:
            return Choice(scan, "reference", why_not, REFERENCE[scan])
        return Choice(scan, "cpu", "a native scan for CPU tensors", cpu.TABLE[scan])
    check_backend(backend)
    if why_not:
        raise refused(scan, backend, why_not)
    return Choice(scan, "cpu", "chosen by name", cpu.TABLE[scan])


def choice_of(
    neuron: str | Step, backend: str, x: Tensor | None = None, args: dict[str, Any] | None = None
) -> Choice:
    """`choose` of a scan by its name, `choose_step` of a step."""
    if isinstance(neuron, str):
        return choose(neuron, backend, x, args)
    return choose_step(neuron, backend, x, args)


def obstacle(scan: str, x: Tensor | None, args: dict[str, Any]) -> str:
    """Why the native kernels cannot run this call, or ""."""
    if scan not in cpu.TABLE:
        return f"{scan} has no native kernel"
    if scan == "recurrent" and (why := obstacle_to_feedback(args)):
        return why
    if scan in STEPS and (why := shared_obstacle(x, args) or own_surrogate(scan, args)):
        return why
    weight = args.get("weight")
    if x is not None and weight is not None and not (other_input(x) or other_device(x)):
        if weight.device != x.device:
            return f"x is on {x.device} and the weight on {weight.device}"
        if why := other_product(x.dtype, weight):
            return why
        if x.dim() != 3 and scan != "recurrent":
            return "torch computes products with more dimensions"
    return shared_obstacle(x, args)


def obstacle_to_feedback(args: dict[str, Any]) -> str:
    """Why the neuron that is bound for feedback is none that the kernels know, or ""."""
    neuron = args.get("neuron")
    if neuron is None:
        return ""
    if isinstance(neuron, partial) and neuron.func is step and neuron.args:
        return obstacle_to_neuron(neuron.args[0], args.get("surrogate"), feedback=True)
    if isinstance(neuron, partial) and neuron.func in NATIVE_NEURONS:
        return ""
    return "its neuron is not one of spikegrad.functional, and no step"


def check_backend(backend: str) -> None:
    """A known backend; one by name only where its kernels can run."""
    if backend not in BACKENDS:
        raise UserError(unknown("backend", backend, BACKENDS))
    loads = {"cpu": cpu.load, "triton": triton.available}
    if backend in loads and (why := loads[backend]()):
        raise UserError(
            message(
                "expected a backend that can run here",
                f"backend={backend!r}: {why}",
                "use 'auto' or 'reference'",
            )
        )


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
    x: Tensor | cpu.Spikes,
    *,
    weight: Tensor,
    bias: Tensor | None,
    backend: str = "auto",
    witness: list[Any] | None = None,
) -> Tensor:
    """`functional.linear` by the chosen backend; along the spikes where that is cheaper.

    x: `[T, B, I]`, or the `Spikes` that a `layer` passed on; witness: takes what a kernel chose.
    """
    if isinstance(x, cpu.Spikes) or witness is not None:
        return cpu.linear(x, weight=weight, bias=bias, witness=witness)
    return choose("linear", backend, x, {"weight": weight}).function(x, weight=weight, bias=bias)


def conv2d(x: Tensor, *, backend: str = "auto", **args: Any) -> Tensor:
    """`functional.conv2d` by the chosen backend; along the spikes where that is cheaper."""
    return choose("conv2d", backend, x, {}).function(x, **args)


def max_pool2d(x: Tensor, *, backend: str = "auto", **args: Any) -> Tensor:
    """`functional.max_pool2d` by the chosen backend."""
    return choose("max_pool2d", backend, x, {}).function(x, **args)


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
    bound = neuron.keywords if isinstance(neuron, partial) else {}
    choice = choose("recurrent", backend, x, {**bound, **args, "neuron": neuron})
    if choice.backend != "reference":
        args.pop("trace", None)
        native = choice.function
        if choice.backend == "cpu":
            keywords = {k: v for k, v in bound.items() if k not in ("backend", "lean")}
            inner = partial(neuron.func, *neuron.args, **keywords)  # type: ignore[attr-defined]
            native = partial(native, neuron=inner)
        try:
            return native(x, state, lean=lean, **args)
        except (cpu.BuildError, NotLowered) as error:
            if backend != "auto":
                raise refused("recurrent", backend, str(error)) from error
            warn_once("recurrent", str(error))
    return REFERENCE["recurrent"](x, state, neuron=neuron, **args)


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
    choice = choose_step(definition, backend, x, args)
    if choice.backend != "reference":
        args.pop("trace", None)
        args["lean"] = lean
    return run(choice, backend, definition, x, state, args)


def choose_step(
    definition: Step, backend: str, x: Tensor | None = None, args: dict[str, Any] | None = None
) -> Choice:
    """The implementation of one call of a neuron that is written as a step: as `choose`.

    A step that has no native form is named once, with the reason.
    """
    name, args = definition.name, args or {}
    if backend == "reference":
        return Choice(name, "reference", "chosen by name", definition)
    if args.get("trace"):
        return Choice(name, "reference", "only the reference records membranes", definition)
    if backend == "triton" or (backend == "auto" and on_gpu(x)):
        return choose_triton(name, backend, x, args, definition, definition)
    check_backend(backend)
    why_not = shared_obstacle(x, args)
    if not why_not and (why := lowering(definition, args.get("surrogate"))):
        why_not = f"its step has no native form: {why}"
        if backend == "auto":
            warn_once(name, why_not)
    if not why_not:
        reason = "a native scan generated from its step"
        return Choice(name, "cpu", reason, partial(cpu.step, definition))
    if backend == "auto":
        return Choice(name, "reference", why_not, definition)
    raise refused(name, backend, why_not)


def spiking(x: Tensor, *, backend: str = "auto", **args: Any) -> Any:
    """`functional.spiking`: elementwise, the reference is all there is."""
    return REFERENCE["spiking"](x, **args)


def call(scan: str, backend: str, x: Tensor, state: Any, args: dict[str, Any]) -> Any:
    """Choose and run."""
    choice = choose(scan, backend, x, args)
    if choice.backend != "reference":
        args = {key: value for key, value in args.items() if key != "trace"}
    return run(choice, backend, REFERENCE[scan], x, state, args)


def run(
    choice: Choice, backend: str, reference: Callable[..., Any], x: Tensor, state: Any, args: Any
) -> Any:
    """Run what was chosen; where its program cannot be compiled, "auto" takes the reference.

    A neuron that runs in torch for that reason is named once.
    """
    try:
        return choice.function(x, state, **args)
    except (cpu.BuildError, NotLowered) as error:
        if backend != "auto":
            raise refused(choice.scan, backend, str(error)) from error
        warn_once(choice.scan, str(error))
    args = {key: value for key, value in args.items() if key != "lean"}
    return reference(x, state, **args)


NATIVE_NEURONS = (
    *(REFERENCE[name] for name in SPIKING),
    integrate_and_fire,
    lif,
    cuba_lif,
    alif,
)
"""Scans whose feedback the kernels run, by any name."""
