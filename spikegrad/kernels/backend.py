"""What a backend is: a name, what it refuses and why, and the functions that it has.

`registry.py` finds the backends, `choice.py` asks them. A backend has those of the entry points
below that it overrides, as few as one; CONTRIBUTING.md shows the smallest one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple, Protocol

from torch import Tensor

from spikegrad.functional.conv import Pair
from spikegrad.functional.steps import as_step
from spikegrad.ragged import EventRows
from spikegrad.step import Step
from spikegrad.types import DelayedFeedbackState, Edges, PendingState, State, Taps, Value

__all__ = ["ENTRIES", "FEEDBACK", "Backend", "Call", "Part", "Streamed"]

ENTRIES = (
    "step",
    "recurrent",
    "delayed_recurrent",
    "layer",
    "linear",
    "delayed_linear",
    "conv2d",
    "max_pool2d",
    "spike_pool",
    "normed",
)


FEEDBACK = ("recurrent", "delayed_recurrent")
"""Entry points of neurons that are bound to their arguments."""


class Call(NamedTuple):
    """One call, as a backend is asked about it.

    entry: one of `ENTRIES`, or "spiking"; name: what is called, for messages: "lif", "AdEx",
    "linear"; x: the input, None for an input like most; neuron: a step, or a scan of `functional`
    by its name, None where there is none; args: keyword arguments as far as they are known, such as
    "surrogate", of a product "weight" and "edges", of a layer "feedback" (whether it has one) and
    "feedback_edges", of a pool "kernel"; bound: of a feedback the neuron's own arguments; by_name:
    whether one backend was asked for by its name; ahead: x is the input of the layer before, whose
    output is this one's; of sequences of different length args have `ragged`, and x has their rows.
    """

    entry: str
    name: str
    x: Any = None
    neuron: str | Step | None = None
    args: Mapping[str, Any] = {}
    bound: Mapping[str, Any] = {}
    by_name: bool = False
    ahead: bool = False

    @property
    def fed(self) -> bool:
        """Whether the neurons' spikes are read by the backend itself: they must be 0 or 1 then."""
        return self.entry in (*FEEDBACK, "spike_pool") or bool(self.args.get("feedback"))

    @property
    def sparse(self) -> bool:
        """Whether a connection has some synapses alone."""
        return any(self.args.get(name) is not None for name in ("edges", "feedback_edges"))

    @property
    def ragged(self) -> bool:
        """Whether samples have different lengths."""
        return bool(self.args.get("ragged"))


class Part(NamedTuple):
    """A connection, its feedback and its neurons, of a network that takes one step at a time.

    weight: `[N, I]`; neuron: a step, or a scan of `functional` by its name, with its args; None: a
    connection alone.
    """

    weight: Tensor
    bias: Tensor | None
    feedback: Tensor | None
    neuron: str | Step | None
    args: Mapping[str, Any]


class Streamed(Protocol):
    """Parts with their states inside."""

    def __call__(self, x: Tensor) -> Tensor:
        """One step: `[B, I]` to `[B, N]`, a tensor of its own."""

    def states(self) -> list[State]:
        """Copies of the states, part by part; None of one without neurons."""

    def take(self, states: Sequence[State]) -> None:
        """Go on from states, None: from rest; raises UserError or TypeError for wrong ones."""


class Backend:
    """Functions that run calls of the specification, faster.

    name: what `backend=` says; order: `backend="auto"` asks small numbers first, and `cpu` and
    `triton` have 100; devices: the types of device whose tensors "auto" asks it about; packs: the
    type, besides tensors, in which its layers pass spikes to its next layer, or None; one that has
    it has `unpacked` too; sparse:
    whether its `linear`, `recurrent` and `layer` take `edges=` (and `layer` `feedback_edges=`),
    `Edges | None`, beside the weights: others are not asked about connections with some synapses
    alone; ragged: whether its `layer` takes `starts=`, a list of the first row of every step and
    the number of rows, with x `[1, rows, I]` of samples sorted by length: others run such samples
    between two ends at a time; delayed: whether its `layer` takes the currents of neurons alone,
    `weight=None`, and its `delayed_linear` reads `packs` and, besides `Taps`, `LearnedDelays`;
    offers: the entry points that it
    overrides.
    """

    name: ClassVar[str]
    order: ClassVar[int]
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    packs: ClassVar[type | None] = None
    sparse: ClassVar[bool] = False
    ragged: ClassVar[bool] = False
    delayed: ClassVar[bool] = False
    offers: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        own = (entry for entry in ENTRIES if getattr(cls, entry) is not getattr(Backend, entry))
        cls.offers = frozenset(own)

    def missing(self) -> str:
        """Why nothing of this backend can run here, or ""; asked at every call, so it is quick."""
        return ""

    def refuses(self, call: Call) -> str:
        """Why it cannot run a call of an entry point that it has, or "".

        What only the reference runs has been ruled out before: soft surrogates, recorded membranes,
        `torch.func`, forward-mode derivatives, ONNX files, and inputs that are not `[T, B, ...]`.
        """
        return ""

    def leaves(self, call: Call) -> str:
        """Why a product or a pool that it has is left to torch, by name too, or ""."""
        return ""

    def reason(self, call: Call) -> str:
        """Why "auto" takes it for a call, in words."""
        return f"{self.name} runs it"

    def made(self, definition: Step, args: Mapping[str, Any], values: Mapping[str, Value]) -> str:
        """What it makes of a step that has a native form, in words, for `explain()` of a neuron.

        args: the call's keyword arguments; values: of the step's parameters.
        """
        call = Call("step", definition.name, None, definition, args)
        why = self.missing() or self.refuses(call)
        return f"none: {why}" if why else self.reason(call)

    def about(self) -> str:
        """One line for `spikegrad doctor`, or ""."""
        return ""

    def function(self, call: Call) -> Callable[..., Any]:
        """What runs a call: `(x, state, **args)` of a neuron, `(x, **args)` of others."""
        neuron = call.neuron
        if neuron is not None and call.entry == "step":
            if isinstance(neuron, str):
                return partial(self.scan, neuron)
            return partial(self.step, neuron)
        if neuron is not None and call.entry in FEEDBACK:
            return partial(getattr(self, call.entry), neuron=neuron, args=call.bound)
        function: Callable[..., Any] = getattr(self, call.entry)
        return function

    def scan(self, name: str, x: Tensor, state: State = None, **args: Any) -> tuple[Any, State]:
        """A scan of `functional` by its name, with its arguments: `step` of the step that it is."""
        definition, values = as_step(name, args)
        return self.step(definition, x, state, **values)

    # The entry points. Each raises NotLowered or BuildError where a neuron has no program.

    def step(
        self, definition: Step, x: Tensor, state: State = None, *, lean: bool = False, **args: Any
    ) -> tuple[Any, State]:
        """A neuron over x `[T, B, *features]`: `definition(x, state, **args)`.

        lean: keep little for the backward pass and compute the rest again.
        """
        raise NotImplementedError

    def recurrent(
        self,
        x: Tensor,
        state: State = None,
        *,
        weight: Tensor,
        neuron: str | Step,
        args: Mapping[str, Any],
        lean: bool = False,
    ) -> tuple[Tensor, State]:
        """`functional.recurrent` of a neuron with its args."""
        raise NotImplementedError

    def layer(
        self,
        x: Any,
        state: State = None,
        *,
        weight: Tensor | None,
        bias: Tensor | None = None,
        feedback: Tensor | None = None,
        neuron: str | Step,
        args: Mapping[str, Any],
        lean: bool = False,
        pass_on: bool = False,
        witness: list[Any] | None = None,
    ) -> tuple[Any, State]:
        """`linear`, then a neuron with args, fed back through a weight if there is one.

        x: `[T, B, I]`, or `packs`; to neurons with several inputs a weight is `[inputs * N, I]`,
        and a feedback `[inputs * N, N]`: the rows of the first input first; weight: None where x is
        their current, for a backend that says `delayed` alone; pass_on: the output may
        be `packs`, because a layer of this backend reads it; witness: takes what `explain` tells of
        the call.
        """
        raise NotImplementedError

    def linear(
        self,
        x: Any,
        *,
        weight: Tensor,
        bias: Tensor | None = None,
        witness: list[Any] | None = None,
    ) -> Tensor:
        """`functional.linear`; x: `[T, B, I]`, or `packs`; witness: as of `layer`."""
        raise NotImplementedError

    def delayed_recurrent(
        self,
        x: Tensor,
        state: DelayedFeedbackState | None = None,
        *,
        taps: Taps,
        edges: Edges | None = None,
        neuron: str | Step,
        args: Mapping[str, Any],
    ) -> tuple[Tensor, DelayedFeedbackState]:
        """`functional.delayed_recurrent` of a neuron, by its step or its scan's name, with args."""
        raise NotImplementedError

    def delayed_linear(
        self,
        x: Any,
        state: PendingState | None = None,
        *,
        taps: Any,
        bias: Tensor | None = None,
        edges: Edges | None = None,
    ) -> tuple[Tensor, PendingState]:
        """`functional.delayed_linear`; x: `[T, B, I]`, or `packs` where the backend says
        `delayed`; taps: `Taps`, or there `LearnedDelays`.
        """
        raise NotImplementedError

    def conv2d(self, x: Tensor, **args: Any) -> Tensor:
        """`functional.conv2d`."""
        raise NotImplementedError

    def max_pool2d(
        self, x: Tensor, *, kernel: Pair, stride: Pair, padding: Pair = (0, 0)
    ) -> Tensor:
        """`functional.max_pool2d`."""
        raise NotImplementedError

    def spike_pool(
        self,
        x: Tensor,
        state: State = None,
        *,
        steps: int,
        kernel: Pair,
        neuron: str | Step,
        args: Mapping[str, Any],
    ) -> tuple[Tensor, State]:
        """A neuron with args, then a max-pool of windows that do not overlap.

        x: `[T, B, C, H, W]`, or `[1, B, C, H, W]` for the same input at every one of `steps`.
        """
        raise NotImplementedError

    def normed(
        self,
        x: Tensor,
        state: State = None,
        *,
        offset: Tensor,
        scale: Tensor,
        shift: Tensor,
        neuron: str | Step,
        args: Mapping[str, Any],
        lean: bool = False,
    ) -> tuple[Tensor, State]:
        """A neuron with args of `(x + offset) scale + shift`, three numbers `[C]` with gradients.

        x: `[T, B, C, *]`.
        """
        raise NotImplementedError

    def stream(self, parts: Sequence[Part], batch: int, like: Tensor) -> Streamed | None:
        """Parts, the output of each entering the next, as one call a step; None: it has none.

        like: a tensor of the parts' dtype and device. Raises NotLowered or BuildError where neurons
        have no program.
        """
        return None

    def packed(self, x: Tensor) -> Any:
        """The zeros and ones of x as `packs`, for its `layer`; None where x has other values."""
        return None

    def packed_rows(self, x: Tensor, index: Tensor) -> Any:
        """The same of the rows `index` of x `[rows, N]`, as `[1, R, N]`, without a gradient."""
        return None

    def packed_events(self, x: EventRows, rows: int) -> Any:
        """The same of events in so many rows; None where one is a count above 1."""
        return None

    def unpacked(self, given: Any) -> Tensor:
        """The numbers `[T, B, N]` of `packs`, whoever else reads them."""
        raise NotImplementedError

    def side_by_side(self, parts: Sequence[Any]) -> tuple[Any, list[int]] | None:
        """Several `packs` as one, for a layer that several signals enter; None: it cannot.

        The list has the columns that each takes there, which may be more than it has.
        """
        return None

    def stilled(self, x: Tensor) -> Tensor:
        """x, for its `layer`, as one step seen T times where all its steps are equal."""
        return x
