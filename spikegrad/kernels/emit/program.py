"""What is generated from one graph, whatever the language."""

from __future__ import annotations

from dataclasses import dataclass

from spikegrad.step.keep import Plan
from spikegrad.step.trace import Traced

__all__ = ["Program"]


@dataclass(frozen=True)
class Program:
    """A generated text, and how its arguments are numbered.

    states, parameters: names in the order of their rows; smooth: the states with gradients;
    learned: the parameters with gradients, in the order of the sums; reals, masks: how many values
    of a step are kept; reads_input: whether the backward pass reads x; each: one value per neuron.
    """

    text: str
    states: tuple[str, ...]
    smooth: tuple[str, ...]
    parameters: tuple[str, ...]
    learned: tuple[str, ...]
    reals: int
    masks: int
    reads_input: bool
    each: bool
    double: bool

    @classmethod
    def of(cls, text: str, traced: Traced, plan: Plan, *, each: bool, double: bool) -> Program:
        """The program of a graph and its plan."""
        return cls(
            text,
            traced.states,
            traced.smooth,
            traced.parameters,
            traced.learned,
            len(plan.reals),
            len(plan.masks),
            plan.reads_input,
            each,
            double,
        )
