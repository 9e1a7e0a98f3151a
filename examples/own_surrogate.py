"""A surrogate of your own: registered, checked, and used by its name like any other.

Shows `register`, which tests every claim before it takes the name, `properties`, soft mode, and
what a function without a primitive can and cannot do.
"""

from __future__ import annotations

import math

import torch

import spikegrad as sg
from spikegrad.surrogate import get, register, unregister, verify


def bump(z: torch.Tensor) -> torch.Tensor:
    """A raised cosine of unit area, at slope 1."""
    return torch.where(z.abs() <= 1, 0.5 * (1 + torch.cos(math.pi * z)), torch.zeros_like(z))


def smooth_step(z: torch.Tensor) -> torch.Tensor:
    """Its primitive, from 0 to 1."""
    z = z.clamp(-1, 1)
    return 0.5 * (1 + z + torch.sin(math.pi * z) / math.pi)


def main() -> None:
    register(
        "raised_cosine",
        bump,
        primitive=smooth_step,
        kinks=(-1.0, 1.0),  # where a higher derivative jumps
        source="this example",
    )
    surrogate = get("raised_cosine", slope=2.0)
    verify(surrogate)  # register did it at slope 1; any record can be verified
    print(surrogate, surrogate.properties())
    print("exactly 0 beyond:", surrogate.support)  # found: event-driven kernels skip it

    try:
        register("wrong", bump, primitive=torch.sigmoid, kinks=(-1.0, 1.0))
    except sg.UserError as error:
        print("refused:", error)

    torch.manual_seed(0)
    network = sg.Sequential(
        sg.Linear(10, 32), sg.LIF(10.0, surrogate=surrogate, learn="slope"), sg.Linear(32, 2)
    )
    y, _ = network(torch.rand(20, 8, 10))
    y.square().mean().backward()
    print("gradient of the slope:", network[1].slope.raw.grad.item())

    x = torch.linspace(-0.6, 0.6, 7, dtype=torch.float64, requires_grad=True)
    exact = torch.autograd.gradcheck(lambda x: sg.spike(x, surrogate.soft()), x)
    print("soft mode agrees with finite differences:", exact)

    register("only_derivative", bump, kinks=(-1.0, 1.0))
    try:
        get("only_derivative").soft()
    except sg.UserError as error:
        print("without a primitive:", error)
    for name in ("raised_cosine", "only_derivative"):
        unregister(name)


if __name__ == "__main__":
    main()
