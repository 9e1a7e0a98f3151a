"""Numbers that belong to a layer: fixed, or learned behind a smooth map that keeps them valid.

Bounded on both sides: `low + (high - low) (1 + r/(1+|r|))/2`; bounded below:
`low + scale (r + sqrt(r^2 + 4))/2` (squareplus, Barron 2021), with `scale` the initial distance
from the bound, so that one step of an optimiser is a relative one. Both tails are algebraic: the
gradient falls as `1/r^2`, so a value near its bound can come back; behind a sigmoid or an
exponential it would fall as `exp(-|r|)`, and behind a clamp there would be none.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from spikegrad.checks import check_choice, check_number, check_positive
from spikegrad.errors import UserError, message
from spikegrad.functional import decay, time_constant
from spikegrad.kernels.bounded import bounded
from spikegrad.nn.edged import Edged
from spikegrad.types import Integration, Value

__all__ = ["Decay", "Quantity", "Size", "no_decay"]

Size = int | Sequence[int] | None


class Quantity(nn.Module):
    """One quantity of a layer; calling it gives its value now.

    value: a number, or a tensor of the features' shape (per neuron); size: makes a number per
    neuron; learn: whether it is a parameter; low, high: open bounds of a learned value.
    Raises UserError when value is not finite or not inside the bounds.

    >>> threshold = Quantity(1.0, learn=True, low=0.5, high=2.0)
    >>> threshold().item(), threshold.raw.requires_grad
    (1.0, True)
    """

    value: Tensor
    scale: Tensor

    def __init__(
        self,
        value: Value,
        *,
        learn: bool = False,
        size: Size = None,
        low: float | None = None,
        high: float | None = None,
    ) -> None:
        super().__init__()
        check_number(value, "value")
        start = spread(value, size)
        self.learn, self.low, self.high = learn, low, high
        if not learn:
            self.register_buffer("value", start)
            return
        check_inside(start, low, high)
        if low is not None and high is None:
            self.register_buffer("scale", start - low)
        self.raw = nn.Parameter(self._raw_of(start))

    def _raw_of(self, value: Tensor) -> Tensor:
        if self.low is not None and self.high is not None:
            p = 2 * (value - self.low) / (self.high - self.low) - 1
            return p / (1 - p.abs())
        return torch.zeros_like(value) if self.low is not None else value.clone()

    def forward(self) -> Tensor:
        """The value now, a scalar or `[*features]`, in float32 at least."""
        if not self.learn:
            return widen(self.value)
        r = widen(self.raw)
        if self.low is None:
            return r
        if self.high is None:
            return self.low + widen(self.scale) * (r + torch.sqrt(r * r + 4)) / 2
        return bounded(r, self.low, self.high)

    def extra_repr(self) -> str:
        with torch.no_grad():
            now = self()
        shown = f"{now.item():g}" if now.dim() == 0 else f"{list(now.shape)}, mean {now.mean():g}"
        return shown + (", learned" if self.learn else "")


class Decay(nn.Module):
    """A decay per step, from a time constant or given directly; calling it gives the decay now.

    tau: time constant (ms); beta: the decay itself, instead of tau; dt: step (ms); integration:
    "exponential" or "euler"; learn: learn the time constant; size: one per neuron.
    Raises UserError unless exactly one of tau and beta is given, tau > 0 (Euler: tau > dt),
    0 < beta < 1.

    >>> d = Decay(20.0)
    >>> round(d().item(), 4), d.tau().item()
    (0.9512, 20.0)
    """

    def __init__(
        self,
        tau: Value | None = None,
        *,
        beta: Value | None = None,
        dt: float = 1.0,
        integration: Integration = "exponential",
        learn: bool = False,
        size: Size = None,
        name: str = "tau_mem",
    ) -> None:
        super().__init__()
        check_positive(dt, "dt", unit="ms")
        check_choice(integration, "integration", ("exponential", "euler"))
        other = {"tau_mem": "beta", "tau_syn": "alpha", "tau_adapt": "rho"}.get(name, "its decay")
        for given, word in ((tau, name), (beta, other)):
            if given is not None:
                check_number(given, word)
        check_number(dt, "dt")
        if (tau is None) == (beta is None):
            raise UserError(
                message(f"expected either {name} or {other}", "both" if tau is not None else "none")
            )
        self.dt, self.integration = dt, integration
        self.direct = beta is not None and not learn
        if beta is not None:
            check_decay(beta)
            tau = beta if self.direct else time_constant(beta, dt)
            if integration == "euler" and not self.direct:
                tau = dt / (1 - beta)
        else:
            check_positive(tau, name, unit="ms")
            check_euler(tau, dt, integration, name)
        assert tau is not None
        low = (dt if integration == "euler" else 0.0) if learn else None
        self.quantity = Quantity(tau, learn=learn, size=size, low=low)

    def forward(self) -> Tensor:
        """The decay per step now, in (0, 1)."""
        now = self.quantity()
        if self.direct:
            return now
        value = decay(now, self.dt, integration=self.integration)
        assert isinstance(value, Tensor)
        return value

    def tau(self) -> Tensor:
        """The time constant now (ms)."""
        now = self.quantity()
        if not self.direct:
            return now
        return self.dt / (1 - now) if self.integration == "euler" else -self.dt / torch.log(now)


def no_decay(network: nn.Module) -> set[str]:
    """Names of the parameters that weight decay must leave alone: biases, norms, quantities.

    The weight `[E]` of a sparse connection is none of them.

    >>> sorted(no_decay(nn.Linear(3, 2)))
    ['bias']
    """
    names = {name for name, p in network.named_parameters() if p.dim() <= 1}
    for prefix, module in network.named_modules():
        if isinstance(module, Quantity) and module.learn:
            names.add(f"{prefix}.raw" if prefix else "raw")
        if isinstance(module, Edged) and module.edges is not None:
            many = module.edges.targets.shape
            own = {n for n, p in module.named_parameters() if p.shape == many and n != "bias"}
            names -= {f"{prefix}.{name}" if prefix else name for name in own}
    return names


def spread(value: Value, size: Size) -> Tensor:
    """The value as a tensor of its own, one per neuron when a size is given."""
    start = value.detach().clone() if isinstance(value, Tensor) else torch.tensor(float(value))
    if not start.is_floating_point():
        start = start.to(torch.get_default_dtype())
    if not bool(torch.isfinite(start).all()):
        raise UserError(message("expected a finite value", str(value)))
    if size is None:
        return start
    shape = (size,) if isinstance(size, int) else tuple(size) if isinstance(size, Sequence) else ()
    if not shape or any(isinstance(n, bool) or not isinstance(n, int) for n in shape):
        raise TypeError(message("expected size as a whole number or several", repr(size)))
    if any(n < 1 for n in shape):
        raise UserError(message("expected size >= 1", str(size)))
    if start.dim() and start.shape != shape:
        raise UserError(message(f"expected a value of shape {list(shape)}", str(list(start.shape))))
    return start.expand(shape).clone()


def widen(value: Tensor) -> Tensor:
    """Half types as float32, others as they are."""
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def check_inside(value: Tensor, low: float | None, high: float | None) -> None:
    """A start strictly inside its bounds."""
    under = low is not None and not bool((value > low).all())
    over = high is not None and not bool((value < high).all())
    if under or over:
        bounds = f"({'-inf' if low is None else low}, {'inf' if high is None else high})"
        got = f"{value.min():g}" if under else f"{value.max():g}"
        raise UserError(message(f"expected a learned value inside {bounds}", got))


def check_decay(beta: Value) -> None:
    """A decay strictly between 0 and 1."""
    tensor = torch.as_tensor(beta, dtype=torch.float64)
    if not bool(((tensor > 0) & (tensor < 1)).all()):
        raise UserError(
            message(
                "expected a decay between 0 and 1", str(beta), "for a neuron without leak use IF"
            )
        )


def check_euler(tau: Value | None, dt: float, integration: Integration, name: str) -> None:
    """Forward Euler needs dt < tau."""
    smallest = torch.as_tensor(tau, dtype=torch.float64).min().item()
    if integration == "euler" and dt >= smallest:
        raise UserError(
            message(
                f"expected dt < {name} for Euler",
                f"dt={dt}, {name}={smallest:g}",
                "use integration='exponential', or a smaller dt",
            )
        )
