"""Where the gradient of a deep spiking network goes, measured instead of guessed.

Shows `gradient_flow` on any network: per layer the gradient of the input current, its growth per
step back in time, and the share of neurons that the surrogate lets through. The same network with
three surrogates: wide, narrow and straight-through.
"""

from __future__ import annotations

import torch

import spikegrad as sg
from spikegrad.diagnose import gradient_flow
from spikegrad.functional import membrane_cross_entropy
from spikegrad.nn import calibrate
from spikegrad.surrogate import Surrogate, arctan, straight_through, triangle


def network_of(surrogate: Surrogate, depth: int = 3, width: int = 100) -> sg.Sequential:
    """Layers of recurrent LIF neurons with a leaky readout."""
    torch.manual_seed(0)
    layers: list[torch.nn.Module] = []
    for _ in range(depth):
        neuron = sg.LIF(20.0, surrogate=surrogate)
        layers += [sg.Linear(width, width), sg.Recurrent(neuron, width)]
    return sg.Sequential(*layers, sg.Linear(width, 10), sg.LI(20.0))


def main() -> None:
    generator = torch.Generator().manual_seed(1)
    x = (torch.rand(40, 16, 100, generator=generator) < 0.05).float()
    labels = torch.arange(16) % 10
    for surrogate in (arctan(2.0), triangle(5.0), straight_through()):
        network = network_of(surrogate)
        calibrate(network, x, rate=0.1)
        flow = gradient_flow(network, x, labels, loss=membrane_cross_entropy)
        print(f"\n{surrogate}: {flow.line()}")
        for layer in flow.layers:
            print("  " + layer.line())

    print("\nthe whole table for the last one, with the gradient of every parameter:")
    print(flow.table())
    first = flow.layers[0]
    print("\nfirst layer, gradient norm of the current at every tenth step:")
    print([f"{norm:.1e}" for norm in first.current[::10]])


if __name__ == "__main__":
    main()
