"""What is generated from one graph, whatever the language."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from spikegrad.step.keep import Plan
from spikegrad.step.trace import Traced

__all__ = ["Program", "key_of"]


def key_of(text: str) -> int:
    """A digest of the text alone: the same in every process, since torch keeps graphs on disk."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


@dataclass(frozen=True)
class Program:
    """A generated text, and how its arguments are numbered.

    states, parameters: names in the order of their rows; smooth: the states with gradients;
    learned: the parameters with gradients, in the order of the sums; reals, masks: how many values
    of a step are kept; inputs, outputs: of a scan, where noise is no input; noise: it is read;
    reads_input, reads_noise: whether the backward pass reads inputs, or noise; spikes: the output
    is 1 and 0; support: the surrogate's derivative is 0 outside of a mask, which leaves a step;
    within: the kept numbers are those in it alone; given: which of the words of spikes and support
    the backward pass reads; each: one value per neuron; block: columns that a scan walks together.
    """

    text: str
    states: tuple[str, ...]
    smooth: tuple[str, ...]
    parameters: tuple[str, ...]
    learned: tuple[str, ...]
    reals: int
    masks: int
    inputs: int
    outputs: int
    noise: bool
    reads_input: bool
    reads_noise: bool
    spikes: bool
    support: bool
    within: bool
    given: tuple[str, ...]
    each: bool
    double: bool
    block: int

    @cached_property
    def key(self) -> int:
        """What operators know the program by."""
        return key_of(self.text)

    @classmethod
    def of(
        cls, text: str, traced: Traced, plan: Plan, *, each: bool, double: bool, block: int = 0
    ) -> Program:
        """The program of a graph and its plan."""
        return cls(
            text,
            traced.states,
            traced.smooth,
            traced.parameters,
            traced.learned,
            len(plan.reals),
            len(plan.masks),
            len(traced.currents),
            len(traced.results),
            traced.noise,
            plan.reads_input,
            plan.reads_noise,
            traced.spike is not None,
            traced.support is not None,
            plan.within,
            tuple("spikes" if k == traced.spike else "support" for k in plan.given),
            each,
            double,
            block,
        )
