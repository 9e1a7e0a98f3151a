"""A training loop in plain PyTorch: the layers are modules, states are values.

Shows that nothing here needs `fit`: an optimiser, a loss, and states that are passed along. A long
sequence is run in chunks; `cut` detaches the state between them, which is truncated BPTT.
"""

from __future__ import annotations

import os

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

import spikegrad as sg
from spikegrad.data import Batches, load
from spikegrad.types import State

FAST = bool(os.environ.get("SPIKEGRAD_EXAMPLE_FAST"))


class Network(torch.nn.Module):
    """Two spiking layers with a skip connection, written out: the states are a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = sg.Linear(64, 128), sg.Linear(128, 128)
        self.lif1, self.lif2 = sg.LIF(10.0), sg.LIF(20.0)
        self.out, self.readout = sg.Linear(128, 10), sg.LI(20.0)

    def forward(self, x: torch.Tensor, states: State = None) -> tuple[torch.Tensor, State]:
        """Membranes `[T, B, 10]` of the readout, and the states, from x `[T, B, 64]`."""
        before = states if states is not None else (None, None, None)
        a, state1 = self.lif1(self.first(x), before[0])
        b, state2 = self.lif2(self.second(a), before[1])
        y, state3 = self.readout(self.out(a + b), before[2])
        return y, (state1, state2, state3)


def check_chunks(network: Network) -> None:
    """Two chunks give what one whole run gives."""
    x = torch.rand(12, 4, 64)
    whole, _ = network(x)
    first, states = network(x[:5])
    second, _ = network(x[5:], states)
    print("two chunks equal the whole:", torch.equal(whole, torch.cat([first, second])))


def main() -> None:
    torch.manual_seed(0)
    data = load("digits")
    network = Network()
    check_chunks(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    loader = Batches(data.train, 64, seed=0)
    for epoch in range(2 if FAST else 15):
        total = 0.0
        for x, labels in loader.epoch(epoch):
            sequence = sg.functional.direct(x.flatten(1), 16)
            optimizer.zero_grad()
            states = None
            for chunk in sequence.split(8):  # the gradient sees 8 steps, the state all 16
                y, states = network(chunk, states)
                loss = cross_entropy(y.mean(0), labels) / 2
                loss.backward()
                states = sg.cut(states)
                total += loss.item() * len(labels)
            clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
        print(f"epoch {epoch + 1}: loss {total / len(data.train):.3f}")

    with torch.no_grad(), sg.record(network, membrane=False) as tapes:
        y, _ = network(sg.functional.direct(data.test.scaled().flatten(1), 16))
    accuracy = (y.mean(0).argmax(1) == data.test.y).float().mean().item()
    print(f"test accuracy {accuracy:.4f}")
    print({name: round(tapes[name].spikes.mean().item(), 3) for name in ("lif1", "lif2")})


if __name__ == "__main__":
    main()
