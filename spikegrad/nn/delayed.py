"""A connection whose synapses have delays. Equation: `functional.delayed_linear`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad import kernels
from spikegrad.checks import check_choice, check_like, check_positive
from spikegrad.errors import UserError, message
from spikegrad.functional.taps import integer_taps
from spikegrad.kernels import check_backend
from spikegrad.nn.connection import check_features
from spikegrad.nn.current import reads_packed
from spikegrad.nn.edged import Edged
from spikegrad.nn.quantity import Quantity
from spikegrad.nn.stateful import Stateful
from spikegrad.ragged import Packed
from spikegrad.surrogate import schedule
from spikegrad.types import Backend, Edges, LearnedDelays, State, Taps

__all__ = ["DelayedLinear", "anneal_delays"]

PER = ("synapse", "input", "connection")
LEARN = ("interpolation", "gaussian")
ANNEALED = 0.25
"""The share of the training after which the Gaussians have their last width."""


class DelayedLinear(Edged, Stateful, nn.Linear):
    """`Linear` with delays: a spike adds to the current some steps later.

    most: the longest delay (ms); delays: the first ones (ms), a number or a tensor of their shape,
    None: drawn uniformly from [0, most]; per: "synapse" (their shape is that of the weight),
    "input" (`[in]`) or "connection" (one number); learn: None for fixed delays, whole steps then,
    "interpolation" between the two steps around a delay, or "gaussian", a Gaussian over all steps
    whose width `anneal` narrows, and which in `eval()` is its delay rounded to a step (DCLS,
    Hammouamri et al. 2024); sigma: its first and last standard deviation (ms), None: half of most
    and half a step; dt: step (ms). Others as of `Linear`; generator draws delays too.

    `layer(x, state=None) -> (y, state)`, x `[T, B, in]`, y `[T, B, out]`; the state holds the
    currents on their way, `PendingState`. A delay beyond the end of a sequence is no error: its
    spikes arrive in the next chunk, or never. The bias has no delay.
    Raises UserError or TypeError for delays that are negative, above most, not finite, of another
    shape, or fixed and between two steps.

    >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
    <torch...>
    >>> layer = DelayedLinear(3, 2, most=5.0, delays=2.0, per="connection")
    >>> y, state = layer(torch.ones(4, 1, 3))
    >>> y.shape, state.current.shape
    (torch.Size([4, 1, 2]), torch.Size([1, 5, 2]))
    >>> DelayedLinear(700, 256, most=25.0, learn="interpolation").delay().shape
    torch.Size([256, 700])
    """

    has_neurons = False
    sigma: Tensor | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        most: float,
        bias: bool = True,
        *,
        delays: Tensor | float | None = None,
        per: str = "synapse",
        learn: str | None = None,
        sigma: tuple[float, float] | None = None,
        dt: float = 1.0,
        connectivity: Any = None,
        generator: torch.Generator | None = None,
        backend: Backend = "auto",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        check_backend(backend)
        check_choice(per, "per", PER)
        if learn is not None:
            check_choice(learn, "learn", LEARN)
        check_positive(dt, "dt", unit="ms")
        if connectivity is None:
            nn.Linear.__init__(self, in_features, out_features, bias, device, dtype)
            self.start_dense()
        else:
            nn.Module.__init__(self)
            self.in_features, self.out_features = in_features, out_features
            self.start_sparse(connectivity, bias, generator, device, dtype)
        self.backend, self.per, self.learn, self.dt = backend, per, learn, dt
        self.most = steps_of(most, dt)
        shapes = {"synapse": tuple(self.weight.shape), "input": (in_features,), "connection": ()}
        first = first_delays(delays, shapes[per], self.most, dt, learn, generator)
        learned, end = learn is not None, self.most * dt
        self.delay = Quantity(first.to(device, dtype), learn=learned, low=0.0, high=end)
        self.widths = widths_of(sigma, learn, self.most * dt, dt)
        self.register_buffer("sigma", None)
        if learn == "gaussian":
            self.sigma = torch.tensor(self.widths[0], device=device)

    @reads_packed
    def forward(self, x: Any, state: State = None) -> tuple[Any, State]:
        """Currents `[T, B, out]` of x `[T, B, in]`, and those that are still on their way.

        In a `Sequential` x may be the bits of the neurons in front.
        """
        rows = x.rows if type(x) is Packed else x
        rows = rows if isinstance(rows, Tensor) else getattr(rows, "whole", rows)
        shape = f"[T, B, {self.in_features}]"
        check_features("DelayedLinear", rows, shape, self.in_features, 2)
        check_like(rows, self.weight, "DelayedLinear")
        own = type(self).taps is not DelayedLinear.taps or "taps" in vars(self)
        alone = self.per == "synapse" and not own
        taps = (self.learned_delays() if alone else None) or self.taps()
        return kernels.delayed_linear(
            x, state, taps=taps, bias=self.bias, edges=self.edges, backend=self.backend
        )

    @property
    def step_ms(self) -> float | None:
        """Its dt: delays are ms."""
        return float(self.dt)

    def taps(self) -> Taps:
        """What every synapse adds to the current, step after step, as it is now."""
        delays = self.learned_delays()
        if delays is None:
            return integer_taps(self.weight, self.delay_in_steps(), most=self.most)
        return kernels.learned_taps(*delays, backend=self.backend)

    def delay_in_steps(self) -> Tensor:
        """The delays now, of every synapse where the connection has some alone."""
        delay = self.delay()
        delay = delay if self.dt == 1.0 else delay / self.dt
        edges = self.edges
        return delay if edges is None or self.per != "input" else delay[edges.sources()]

    def learned_delays(self) -> LearnedDelays | None:
        """Weights and delays that taps are made of; None of delays in whole steps."""
        if self.learn is None or (self.learn == "gaussian" and not self.training):
            return None
        delay, sigma = self.delay_in_steps(), None
        if self.learn == "gaussian":
            assert self.sigma is not None
            sigma = float(self.sigma) / self.dt
            delay = delay.expand(self.weight.shape)
        return LearnedDelays(self.weight, delay, self.most, sigma)

    def anneal(self, progress: float) -> None:
        """Give Gaussians their width at a progress of the training in [0, 1].

        It falls geometrically to the last one within the first quarter, as in the paper. `fit` and
        `spikegrad train` call this at every step. Other delays have no width.
        """
        if self.sigma is not None:
            width = schedule("geometric", *self.widths)(min(1.0, progress / ANNEALED))
            self.sigma.fill_(width)

    def set_edges(self, edges: Edges, weight: Tensor) -> None:
        """Other synapses; with delays of their own each starts in the middle of [0, most]."""
        super().set_edges(edges, weight)
        if self.per == "synapse":
            own = self.delay.raw if self.delay.learn else self.delay.value
            middle = 0.0 if self.delay.learn else self.most // 2 * self.dt
            own.data = own.new_full((len(edges.targets),), middle)
            own.grad = None

    def extra_repr(self) -> str:
        many = "" if self.edges is None else f", synapses={len(self.edges.targets)}"
        how = "fixed" if self.learn is None else f"learned ({self.learn})"
        longest = f"delays up to {self.most * self.dt:g} ms per {self.per}, {how}"
        return f"{nn.Linear.extra_repr(self)}{many}, {longest}"


def anneal_delays(network: nn.Module, progress: float) -> None:
    """`DelayedLinear.anneal` of every layer of a network."""
    for module in network.modules():
        if isinstance(module, DelayedLinear):
            module.anneal(progress)


def steps_of(most: float, dt: float) -> int:
    """The longest delay (ms) in whole steps, one at least."""
    check_positive(most, "most", unit="ms")
    steps = round(float(most) / dt)
    if steps < 1 or abs(steps * dt - most) > 1e-6 * dt:
        expected = "expected DelayedLinear's most as a multiple of dt, one step at least"
        raise UserError(message(expected, f"{most:g} ms", f"use {max(steps, 1) * dt:g}"))
    return steps


def first_delays(
    delays: Tensor | float | None,
    shape: Sequence[int],
    most: int,
    dt: float,
    learn: str | None,
    generator: torch.Generator | None,
) -> Tensor:
    """The first delays (ms) of a shape: given, or drawn."""
    if delays is None:
        drawn = torch.rand(tuple(shape), generator=generator)
        if learn is None:
            return (drawn * (most + 1)).floor().clamp(max=most) * dt
        return drawn.clamp(1e-3, 1 - 1e-3) * (most * dt)
    if isinstance(delays, bool) or not isinstance(delays, (int, float, Tensor)):
        expected = "expected DelayedLinear's delays as a number or a tensor (ms)"
        raise TypeError(message(expected, type(delays).__name__))
    given = torch.as_tensor(delays).detach()
    given = given.clone() if given.is_floating_point() else given.float()
    if given.dim() and given.shape != torch.Size(shape):
        expected = f"expected DelayedLinear's delays of shape {list(shape)}"
        raise UserError(message(expected, str(list(given.shape)), "see per="))
    check_range(given, most * dt, learn)
    if learn is None and bool(((given / dt).round() * dt - given).abs().max() > 1e-4 * dt):
        raise UserError(
            message(
                f"expected DelayedLinear's fixed delays in whole steps of dt = {dt:g} ms",
                "some between two steps",
                "round them, or learn='interpolation'",
            )
        )
    return given.expand(tuple(shape)).clone()


def check_range(delays: Tensor, most: float, learn: str | None) -> None:
    """Within [0, most]; learned ones not at the ends, where a step of theirs has no size."""
    inside = (delays >= 0) & (delays <= most)
    if learn is not None:
        inside = (delays > 0) & (delays < most)
    if bool(inside.all()):
        return
    wrong = f"{delays[~inside].flatten()[0].item():g}"
    if learn is None:
        expected = f"expected DelayedLinear's delays in [0, {most:g}] ms"
        raise UserError(message(expected, wrong, "raise most, or shorten them"))
    expected = f"expected DelayedLinear's learned delays inside (0, {most:g}) ms"
    raise UserError(message(expected, wrong, "begin a little inside, or raise most"))


def widths_of(
    sigma: tuple[float, float] | None, learn: str | None, most: float, dt: float
) -> tuple[float, float]:
    """The first and the last standard deviation of Gaussians (ms)."""
    if sigma is None:
        return most / 2, dt / 2
    if learn != "gaussian":
        raise UserError(message("expected learn='gaussian' with sigma", repr(learn), "omit sigma"))
    if not isinstance(sigma, (tuple, list)) or len(sigma) != 2:
        expected = "expected sigma as the first and the last standard deviation (ms)"
        raise TypeError(message(expected, repr(sigma)))
    for each in sigma:
        check_positive(each, "sigma", unit="ms")
    return float(sigma[0]), float(sigma[1])
