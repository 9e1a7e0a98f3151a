"""What became of a neuron's step: `explain()` of a layer or of its class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from spikegrad import kernels
from spikegrad.step import Step

__all__ = ["ExplainedStep", "OfClassOrLayer", "explained"]


@dataclass(frozen=True, repr=False)
class ExplainedStep:
    """A neuron's step and what every backend made of it; printed, some lines.

    states, parameters: names, in order; learned: parameters with gradients; native: what generated
    kernels do and keep, None where there are none; made: what each backend made of it, in words,
    by name; backend: which one runs a CPU tensor here, and the reason.
    """

    neuron: str
    states: tuple[str, ...]
    parameters: tuple[str, ...]
    learned: tuple[str, ...]
    native: kernels.StepReport | None
    made: dict[str, str]
    backend: str
    reason: str

    def text(self) -> str:
        """Everything, one line each."""
        learned = f"; learned: {', '.join(self.learned)}" if self.learned else ""
        lines = [
            f"{self.neuron}",
            f"states: {', '.join(self.states)}",
            f"parameters: {', '.join(self.parameters) or 'none'}{learned}",
            *(self.kept() if self.native is not None else ()),
            *(f"{name}: {words}" for name, words in self.made.items()),
            f"on a CPU tensor runs: {self.backend} ({self.reason})",
        ]
        return "\n".join(lines)

    __str__ = __repr__ = text

    def kept(self) -> list[str]:
        """What is kept for the backward pass."""
        native = self.native
        assert native is not None
        again = (
            f"the states every {native.segment} steps, {native.bytes_recomputed:.3g} bytes per "
            "neuron-step, and the rest computed again from them and the input"
        )
        least = f"{native.bytes_kept:.3g} bytes per neuron-step in float32"
        lines = [f"operations of one step: {native.forward} forward, {native.backward} backward"]
        if native.recomputed:
            lines.append(f"kept for the backward pass: {again} (kept at every step: {least})")
            return lines
        lines.append(f"kept for the backward pass: {least}")
        lines += [f"  {what}" for what in native.kept]
        lines += ["  and the input, which is there anyway"] if native.reads_input else []
        return [*lines, f"with lean=True: {again}"]


def explained(name: str, step: Step, backend: str, quantities: dict[str, Any]) -> ExplainedStep:
    """What became of a step with a layer's quantities."""
    values = {key: value for key, value in quantities.items() if key in step.reads}
    args = {key: value for key, value in quantities.items() if key not in step.reads}
    learned = [key for key, v in quantities.items() if isinstance(v, Tensor) and v.requires_grad]
    native = kernels.report_of_step(step, args, values)
    choice = kernels.found_step(step, backend, args)
    return ExplainedStep(
        neuron=name,
        states=tuple(step.states),
        parameters=tuple(step.reads),
        learned=tuple(step.reads.get(key, key) for key in learned),
        native=None if isinstance(native, str) else native,
        made=kernels.made_of_step(step, args, values),
        backend="reference" if isinstance(choice, str) else choice.backend,
        reason=choice if isinstance(choice, str) else choice.reason,
    )


class OfClassOrLayer:
    """A function of a class, or of one of its layers, as a method of both."""

    def __init__(self, function: Callable[[Any], ExplainedStep]) -> None:
        self.function, self.__doc__ = function, function.__doc__

    def __get__(self, layer: Any, kind: type) -> Callable[[], ExplainedStep]:
        return partial(self.function, kind if layer is None else layer)
