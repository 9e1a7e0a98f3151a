"""Two layers of stochastic neurons, by enumeration of all spikes of the first.

Hidden neurons spike with chance F(a_i), and the output with F(sum_i v_i s_i - theta), v of 1/width.
The expected output is a sum over the 2^width patterns, so its gradient is known exactly. For v the
surrogate gradient is exact; for a it is biased, because the surrogate takes the output's slope for
what one spike changes. The bias falls with v_i, which is to say with the width.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from spikegrad.functional.lif import LIF
from spikegrad.surrogate import Surrogate, sigmoid
from spikegrad.verify.claim import Measured, claim

__all__ = ["two_layers"]

WIDTHS, DRAWS, STEP, THETA = (2, 4, 8), 24, 1e-5, 1.0


@claim(
    statement="in two layers of neurons with escape noise the gradient of the last weights is "
    "exact; that of the first layer is biased, and the bias falls with the width",
    source="Gygax & Zenke 2025, Neural Computation 37(5); by enumeration of all spikes",
    remedy="run the check single-neuron: it says which part of the gradient is wrong",
)
def two_layers(seed: int) -> Iterator[Measured]:
    """Relative bias at three widths, over networks that the seed draws."""
    record, biases = sigmoid(3.0), []
    for width in WIDTHS:
        g = torch.Generator().manual_seed(seed)
        a = 1.0 + 0.5 * torch.randn(DRAWS, width, generator=g, dtype=torch.float64)
        v = (1.0 + 2 * torch.rand(DRAWS, width, generator=g, dtype=torch.float64)) / width
        got_a, got_v = surrogate_gradients(record, a, v)
        exact_a, exact_v = exact_gradients(record, a, v)
        last = relative(got_v, exact_v)
        yield Measured(f"width {width}: relative error of the last layer", last, most=1e-7)
        biases.append(relative(got_a, exact_a))
    yield Measured(f"relative bias of the first layer at width {WIDTHS[0]}", biases[0], least=0.02)
    for i in range(1, len(WIDTHS)):
        what = f"bias at width {WIDTHS[i]} / at width {WIDTHS[i - 1]}"
        yield Measured(what, biases[i] / biases[i - 1], most=0.8)


def patterns(width: int) -> Tensor:
    """All spikes of a layer `[2^width, width]`."""
    every = torch.arange(2**width)[:, None] >> torch.arange(width)
    return (every & 1).double()


def chances(record: Surrogate, a: Tensor, bits: Tensor) -> Tensor:
    """The chance of each pattern in each network `[D, P]`."""
    f = record.primitive(a - THETA)[:, None]
    return torch.where(bits > 0, f, 1.0 - f).prod(-1)


def expected(record: Surrogate, a: Tensor, v: Tensor) -> Tensor:
    """The expected output of each network `[D]`: all patterns, each with its chance."""
    bits = patterns(a.shape[1])
    output = record.primitive((bits * v[:, None]).sum(-1) - THETA)
    return (chances(record, a, bits) * output).sum(1)


def surrogate_gradients(record: Surrogate, a: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """What the library's neurons give, each pattern forced by its noise, in expectation."""
    bits = patterns(a.shape[1])
    a, v = a.clone().requires_grad_(), v.clone().requires_grad_()
    neurons = LIF.variant(spike="escape")
    current = a[:, None].expand(-1, len(bits), -1)
    s, _ = neurons(current[None], surrogate=record, threshold=THETA,
                   noise=(1.0 - bits).expand(current.shape)[None])  # fmt: skip
    h = (s * v[None, :, None]).sum(-1)
    y, _ = neurons(h, surrogate=record, threshold=THETA, noise=torch.zeros_like(h))
    total = (y[0] * chances(record, a, bits).detach()).sum()
    first, last = torch.autograd.grad(total, (a, v))
    return first, last


def exact_gradients(record: Surrogate, a: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences of the expected output."""
    first, last = [], []
    for i in range(a.shape[1]):
        h = torch.zeros_like(a)
        h[:, i] = STEP
        first.append(expected(record, a + h, v) - expected(record, a - h, v))
        last.append(expected(record, a, v + h) - expected(record, a, v - h))
    return torch.stack(first, 1) / (2 * STEP), torch.stack(last, 1) / (2 * STEP)


def relative(got: Tensor, exact: Tensor) -> float:
    """The size of the difference as a share of the exact gradient."""
    return float((got - exact).norm() / exact.norm())
