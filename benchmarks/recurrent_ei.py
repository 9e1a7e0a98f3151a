"""`python -m benchmarks.recurrent_ei`: a network of excitatory and inhibitory neurons, a step.

200 inputs, 800 excitatory and 200 inhibitory neurons with AMPA and GABA synapses of 5 and 10 ms,
of which 3 % of the possible ones exist, 10 classes; T = 100, B = 64, 5 % input spikes, about 3 % of
the neurons fire. "ours" is one `Recurrent` of `SynapticLIF` with a sparse connection. "loop" is a
step at a time of the same layers, connection and neurons in native calls, "reference" the same
network in plain torch: both give the same scores to rounding, which is checked first. snnTorch and
Norse, where they are installed, have synapses in torch and two dense products a step, from the
excitatory and from the inhibitory neurons; their neurons are their own, at the same rate. A step is
forward, backward and Adam.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

import spikegrad as sg
from benchmarks import options as given
from benchmarks import turns
from benchmarks.networks.plugged import Triangle
from benchmarks.sparse import Task, task
from benchmarks.table import words
from spikegrad.functional.linear import dense_weight

__all__ = ["main"]

SIZES, TINY = (100, 64, 200, 800, 200), (12, 4, 30, 40, 10)
"""T, B, inputs, excitatory and inhibitory neurons."""
CLASSES, DENSITY, INPUT, RATE = 10, 0.03, 0.05, 0.03
EXCITES, INHIBITS = 0.05, 0.2
"""Mean weights of the two synapses."""
TAU_MEM, TAU_AMPA, TAU_GABA = 20.0, 5.0, 10.0
BETA = math.exp(-1 / TAU_MEM)
SURROGATE = sg.surrogate.triangle(2.0)


def synapses(excitatory: int, inhibitory: int) -> Tensor:
    """Which exist, bool `[2 N, N]`: excitatory neurons reach the first N currents, the others the
    second.
    """
    n = excitatory + inhibitory
    exist = torch.rand(2, n, n) < DENSITY
    exist[0, :, excitatory:] = False
    exist[1, :, :excitatory] = False
    return exist.flatten(0, 1)


def network(sizes: Sequence[int], x: Tensor) -> sg.Sequential:
    """Ours, at its rate."""
    *_, inputs, excitatory, inhibitory = sizes
    n = excitatory + inhibitory
    back = sg.Linear(n, 2 * n, bias=False, connectivity=synapses(excitatory, inhibitory))
    neurons = sg.SynapticLIF(
        tau_mem=TAU_MEM,
        tau_ampa=TAU_AMPA,
        tau_gaba=TAU_GABA,
        surrogate=SURROGATE,
    )
    made = sg.Sequential(
        sg.Linear(inputs, 2 * n, bias=False),
        nn.Unflatten(1, (2, n)),
        sg.Recurrent(neurons, connection=back),
        sg.Linear(n, CLASSES),
    )
    with torch.no_grad():
        to_ampa = back.edges.targets < n
        back.weight.uniform_(0.0, 2.0).mul_(torch.where(to_ampa, EXCITES, INHIBITS))
    sg.nn.calibrate(made, x[:, :16], rate=RATE)
    return made


class Loop(sg.nn.Stateful):
    """A `Recurrent` a step at a time, connection and neurons by themselves."""

    def __init__(self, recurrent: sg.Recurrent) -> None:
        super().__init__()
        self.neuron, self.connection = recurrent.neuron, recurrent.connection

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        s, spikes = x.new_zeros((1, x.shape[1], x.shape[3])), []
        for part in x.split(1):
            back = self.connection(s).unflatten(2, x.shape[2:])
            s, state = self.neuron(part + back, state)
            spikes.append(s)
        return torch.cat(spikes), state


class Peer(nn.Module):
    """Synapses in torch around a peer's neurons; what enters is multiplied for all steps at once.

    cell: `(current, state) -> (spikes, state)`.
    """

    def __init__(self, like: sg.Sequential, excitatory: int, cell: Callable[..., Any]) -> None:
        super().__init__()
        into, _, fed, out = like
        n = fed.connection.in_features
        back = fed.connection
        dense = dense_weight(back.weight.detach(), back.edges).unflatten(0, (2, n))
        self.into, self.out = nn.Linear(into.in_features, 2 * n, bias=False), nn.Linear(n, CLASSES)
        self.to_ampa = nn.Parameter(dense[0, :, :excitatory].clone())
        self.to_gaba = nn.Parameter(dense[1, :, excitatory:].clone())
        for name in ("to_ampa", "to_gaba"):
            self.register_buffer(f"{name}_exists", (getattr(self, name) != 0).float())
        self.into.load_state_dict(into.state_dict())
        self.out.load_state_dict(out.state_dict())
        self.cell, self.excitatory = cell, excitatory
        self.ampa, self.gaba = math.exp(-1 / TAU_AMPA), math.exp(-1 / TAU_GABA)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scores `[T, B, 10]`, and the spikes."""
        to_ampa = self.to_ampa * self.to_ampa_exists
        to_gaba = self.to_gaba * self.to_gaba_exists
        n, state, spikes = len(to_ampa), None, []
        s = i_ampa = i_gaba = x.new_zeros(x.shape[1], n)
        for current in self.into(x).unbind(0):
            fed = F.linear(s[:, : self.excitatory], to_ampa)
            i_ampa = self.ampa * i_ampa + current[:, :n] + fed
            fed = F.linear(s[:, self.excitatory :], to_gaba)
            i_gaba = self.gaba * i_gaba + current[:, n:] + fed
            s, state = self.cell(i_ampa - i_gaba, state)
            spikes.append(s)
        seen = torch.stack(spikes)
        return self.out(seen), seen


def snntorch(like: sg.Sequential, excitatory: int) -> nn.Module:
    """`Leaky` takes its reset off a step later."""
    import snntorch

    leaky = snntorch.Leaky(beta=BETA, spike_grad=Triangle.apply)

    def cell(current: Tensor, state: Any) -> Any:
        return leaky(current, torch.zeros_like(current) if state is None else state)

    return Peer(like, excitatory, cell)


def norse(like: sg.Sequential, excitatory: int) -> nn.Module:
    """`LIFBoxCell`, in the scale that `benchmarks/networks/norse.py` explains."""
    from norse.torch import LIFBoxCell, LIFBoxParameters

    step, threshold = 0.001, 2.0
    parameters = LIFBoxParameters(
        tau_mem_inv=torch.as_tensor((1.0 - BETA) / step),
        v_th=torch.as_tensor(threshold),
        method="triangle",
        alpha=1.0,
        reset_method=lambda z, v, reset, theta: v - z.detach() * theta,
    )
    box = LIFBoxCell(parameters, dt=step)
    return Peer(like, excitatory, lambda x, state: box(x * (threshold / (1.0 - BETA)), state))


PEERS = {"snntorch": snntorch, "norse": norse}


def ways(sizes: Sequence[int], chosen: Sequence[str]) -> dict[str, Task]:
    """The same network in every way that was asked for and is here."""
    steps, batch, inputs, excitatory, _ = sizes
    torch.manual_seed(0)
    x = (torch.rand(steps, batch, inputs) < INPUT).float()
    labels = torch.randint(CLASSES, (batch,))
    first = network(sizes, x)

    def loss(y: Tensor) -> Tensor:
        return F.cross_entropy(y.mean(0), labels)

    made = {"ours": first}
    for way in ("loop", "reference"):
        into, apart, fed, out = copy.deepcopy(first)
        made[way] = sg.Sequential(into, apart, Loop(fed) if way == "loop" else fed, out)
    sg.nn.use_backend(made["reference"], "reference")
    with torch.no_grad():
        want = first(x)[0]
        for way in ("loop", "reference"):
            if not torch.allclose(made[way](x)[0], want, atol=0.05 * float(want.abs().max())):
                raise SystemExit(f"{way} and ours give different results")
    found = {way: task(made[way], x, loss) for way in made if way in chosen}
    for way, build in PEERS.items():
        if way in chosen and find_spec(way):
            found[way] = task(build(first, excitatory), x, loss)
    return found


def rate_of(what: Task) -> float:
    """Spikes per neuron and step."""
    if isinstance(what.network, Peer):
        with torch.no_grad():
            return float(what.network(what.x)[1].mean())
    return next(iter(sg.diagnose.firing_rates(what.network, what.x).values()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a row per way."""
    options = parsed(arguments)
    turns.start(options.threads)
    clock = given.clock(options)
    setting = {**turns.setting(options.threads), "cpu_time": options.cpu_time}
    tasks = ways(TINY if options.tiny else SIZES, options.only.split(","))
    runs: dict[str, Callable[[], object]]
    runs = {way: (lambda t=t: t.step(clock)) for way, t in tasks.items()}
    least = turns.least_ms(runs, options.repeats, clock)
    print(words(setting))
    shown = Table("E/I network", "ms a step", "relative", "rate", box=None, padding=(0, 2, 0, 0))
    rows = []
    first = next(iter(least.values()))
    for way, ms in least.items():
        rows.append({"way": way, "ms": ms, "rate": rate_of(tasks[way])})
        shown.add_row(way, f"{ms:.4g}", f"{ms / first:.3g}", f"{rows[-1]['rate']:.4f}")
    Console(width=120).print(shown)
    if options.json:
        result: dict[str, Any] = {**setting, "rows": rows}
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n")
    return 0


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recurrent_ei", description=summary)
    everything = ",".join(("ours", "loop", "reference", *PEERS))
    parser.add_argument("--only", default=everything, help="which (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="steps that count (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (%(default)s)")
    given.cpu_time(parser)
    parser.add_argument("--tiny", action="store_true", help="few neurons, to try it out")
    parser.add_argument("--json", metavar="OUT", help="write the rows to this file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
