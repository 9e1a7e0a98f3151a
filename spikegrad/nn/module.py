"""Networks of any shape: plain PyTorch in `flow`, the states threaded by the base class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from spikegrad.checks import check_current, check_finite, check_finite_state
from spikegrad.errors import message
from spikegrad.nn.current import reads_packed
from spikegrad.nn.flow import Flow, Flowing
from spikegrad.nn.lazy import of_numbers
from spikegrad.nn.now import NOW
from spikegrad.nn.time_step import check_dt
from spikegrad.ragged import Packed
from spikegrad.types import State

__all__ = ["Module"]


class Module(Flowing):
    """A network whose `flow(x)` is plain PyTorch: `network(x, state=None, lengths=None)`.

    Within `flow`, x is `[T, B, *features]`; layers with a state, containers among them, are called
    with x alone and return their output alone. The network returns what `flow` returns, and the
    states of all layers that ran, `{name: state}`: a value, which the next chunk of a sequence
    starts from. Chunks give the same as the whole, and T = 1 is a step. Each layer with a state
    runs once in a flow. With lengths `[B]` layers compute the real steps alone; an operation over
    time or over the batch in `flow` meets zeros as padding.
    Raises UserError or TypeError for states of another network, for a layer that is no attribute of
    the module, runs twice, or does not run although its state is given, and for an input that is
    not finite.

    >>> import torch
    >>> from spikegrad.nn import LI, LIF, Linear
    >>> class Net(Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.into, self.lif1 = Linear(4, 8), LIF(20.0)
    ...         self.on, self.skip, self.lif2 = Linear(8, 8), Linear(8, 8), LIF(20.0)
    ...         self.out, self.readout = Linear(8, 2), LI(20.0)
    ...     def flow(self, x):
    ...         a = self.lif1(self.into(x))
    ...         b = self.lif2(self.on(a) + self.skip(a))
    ...         return self.readout(self.out(b))
    >>> network, x = Net(), torch.rand(6, 3, 4)
    >>> y, states = network(x)
    >>> y.shape, sorted(states)
    (torch.Size([6, 3, 2]), ['lif1', 'lif2', 'readout'])
    >>> first, states = network(x[:2])
    >>> rest, states = network(x[2:], states)
    >>> torch.equal(torch.cat([first, rest]), y)
    True
    """

    def flow(self, x: Tensor) -> Any:
        """The output over x `[T, B, *features]`; written by the subclass."""
        raise NotImplementedError(
            message(f"expected a method flow(self, x) of {type(self).__name__}", "none")
        )

    @reads_packed
    def forward(
        self, x: Any, state: Mapping[str, State] | None = None
    ) -> tuple[Any, dict[str, State]]:
        """What `flow` returns, and the states by layer."""
        packed = type(x) is Packed
        if NOW.keeper is None:  # else the module around this one has looked
            check_dt(self)
            rows = x.rows if packed else x
            check_current(rows, floating=False)
            check_finite(rows)
            check_finite_state(state, "states")
        names = {module: name for name, module in self.named_modules()}
        flow = Flow(self, names, state, x.packing if packed else None)
        flow.check_given()
        y = of_numbers(flow.through(self.flow, x))
        flow.check_run()
        return y, flow.after
