"""Soft mode: the one setting in which a surrogate gradient can be checked.

In hard mode the forward pass is a step, so finite differences see 0 or a jump, whatever the
surrogate says. In soft mode the primitive takes the step's place and the surrogate is its true
derivative: autograd and finite differences agree for weights, time constants and thresholds.
"""

from __future__ import annotations

import torch
from torch.func import functional_call

import spikegrad as sg
from spikegrad.surrogate import Surrogate, arctan


def network_with(surrogate: Surrogate) -> sg.Sequential:
    """A small network in float64 in which everything is learned and no gradient is cut."""
    torch.manual_seed(0)
    neuron = sg.LIF(
        5.0, surrogate=surrogate, learn=("threshold", "tau_mem"), size=6, detach_reset=False
    )
    return sg.Sequential(sg.Linear(3, 6), neuron, sg.Linear(6, 2), sg.LI(5.0)).double()


def compare(network: sg.Sequential, x: torch.Tensor, eps: float = 1e-5) -> None:
    """Print autograd and a central difference along one random direction per parameter."""
    values = {name: p.detach().clone() for name, p in network.named_parameters()}

    def loss(parameters: dict[str, torch.Tensor]) -> torch.Tensor:
        y, _ = functional_call(network, parameters, (x,))
        return y.square().mean()

    for name, value in values.items():
        direction = torch.randn_like(value)
        moved = value.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss({**values, name: moved}), moved)
        with torch.no_grad():
            up = loss({**values, name: value + eps * direction})
            down = loss({**values, name: value - eps * direction})
        finite = ((up - down) / (2 * eps)).item()
        print(f"  {name:<26} {(gradient * direction).sum().item():12.8f} {finite:12.8f}")


def main() -> None:
    x = 2 * torch.rand(12, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for surrogate in (arctan(2.0).soft(), arctan(2.0)):
        network = network_with(surrogate)
        print(f"\n{surrogate}: autograd, finite difference")
        compare(network, x)

    network = network_with(arctan(2.0).soft())
    x.requires_grad_()
    print("\ngradcheck of the input:", torch.autograd.gradcheck(lambda x: network(x)[0], x))


if __name__ == "__main__":
    main()
