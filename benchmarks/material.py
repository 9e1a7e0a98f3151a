"""What all implementations of a workload share: input, labels, weights, and the expected spikes.

The weights are made once, with a fixed seed, scaled so that every hidden layer fires at the
workload's rate, and handed to each implementation as arrays; where a library's convention would
change the rate, one factor per connection restores it. The expected spikes are those of the
equations below, in float64, over the first steps: an implementation is compared with the ones of
its own convention before it is timed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

import spikegrad as sg
from benchmarks.arrays import Arrays, scaled
from benchmarks.workloads import BETA, Workload

__all__ = ["CHECK_STEPS", "conventions", "make", "ours", "sequence"]

CHECK_STEPS = 20
"""How many steps are compared: longer, a recurrent network amplifies one rounding to a difference
in many neurons, which says nothing about its convention."""

conventions = ("subtract", "delayed", "late")
"""subtract: `u = beta (u - s) + x`, `s = H(u - 1)`, ours.
delayed: `u = beta u + x - s`: the reset is not decayed (snnTorch).
late: delayed, and a spike leaves one step later (Spyx)."""


def make(workload: Workload, folder: Path) -> tuple[Path, str]:
    """Write `NAME.npz` for the workers; return its path and where the input comes from."""
    torch.manual_seed(7)
    x, source = inputs_of(workload)
    labels = torch.randint(max(workload.classes, 1), (workload.batch,))
    network = ours(workload)
    arrays: Arrays = {"labels": labels.numpy(), **masked(network, workload)}
    if workload.kind == "scan":
        x = x * scale_to_rate(x, workload.rate)
    else:
        scale(network, sequence(workload, x), workload)
        arrays |= weights_of(network)
    arrays["x"] = x.numpy()
    everything = dict(arrays)
    for convention in conventions:
        same = convention == "subtract"
        factors = [] if same else rescaled(workload, arrays, convention)
        everything[f"factors_{convention}"] = np.array(factors)
        for i, s in enumerate(expected(workload, arrays, convention, factors)):
            everything[f"spikes_{convention}_{i}"] = s.to(torch.bool).numpy()
    path = folder / f"{workload.name}.npz"
    np.savez(path, **everything)  # type: ignore[arg-type]
    return path, source


def inputs_of(workload: Workload) -> tuple[Tensor, str]:
    """x: `[B, ...]` where static, else `[T, B, N]`; and its source in words."""
    steps, batch, n = workload.steps, workload.batch, workload.inputs
    if workload.kind == "scan":
        return torch.randn(steps, batch, n), "normal numbers"
    if workload.density is not None:
        spikes = torch.rand(steps, batch, n) < workload.density
        return spikes.float(), f"{workload.density:.0%} random spikes"
    images, source = images_of("fashion-mnist" if workload.kind == "conv" else "mnist", batch)
    x = images.unsqueeze(1) if workload.kind == "conv" else images.flatten(1)
    return (x if workload.static else x.repeat(steps, 1, 1)), source


def images_of(name: str, batch: int) -> tuple[Tensor, str]:
    """The first images `[B, 28, 28]` of a data set, or synthetic ones of MNIST's density."""
    try:
        split = sg.data.load(name, download=False).train
        images = split.scaled(torch.arange(batch))
        return images.reshape(batch, 28, 28).float(), name
    except (sg.UserError, OSError):
        drawn = torch.rand(batch, 28, 28) < 0.19  # the share of MNIST's pixels that are not 0
        return drawn * torch.empty(batch, 28, 28).uniform_(0.37, 1.0), "synthetic images"


def sequence(workload: Workload, x: Tensor) -> Tensor:
    """x as `[T, B, ...]`, a static one without a copy."""
    return x.expand(workload.steps, *x.shape) if workload.static else x


def masked(network: sg.Sequential, workload: Workload) -> Arrays:
    """Take synapses away; `mask_w0` and `mask_recurrent` `[N, I]` say which are left."""
    found: Arrays = {}
    if workload.synapses < 1:
        for name, layer in (("w0", network[0]), ("recurrent", network[1].connection)):
            left = torch.rand_like(layer.weight) < workload.synapses
            layer.weight.data *= left
            found[f"mask_{name}"] = left.numpy()
    return found


def ours(
    workload: Workload, masks: Mapping[str, Tensor] | None = None, **neuron: object
) -> sg.Sequential:
    """The network of a workload in this library; the other implementations follow its layers.

    masks: of `masked`: the connections have those synapses alone.
    """

    def lif() -> sg.LIF:
        return sg.LIF(**{"beta": BETA, "surrogate": sg.surrogate.triangle(2.0), **neuron})

    h = workload.hidden
    if workload.kind == "scan":
        return sg.Sequential(lif())
    if workload.kind == "conv":
        flat = h[1] * (workload.inputs // 4) ** 2
        return sg.Sequential(
            *(sg.Conv2d(1, h[0], 3, padding=1), lif(), sg.MaxPool2d(2)),
            *(sg.Conv2d(h[0], h[1], 3, padding=1), lif(), sg.MaxPool2d(2), sg.Flatten()),
            *(sg.Linear(flat, h[2]), lif(), sg.Linear(h[2], workload.classes)),
        )
    layers: list[torch.nn.Module] = []
    for before, size in zip((workload.inputs, *h), h, strict=False):
        neurons = sg.Recurrent(lif(), size) if workload.kind == "recurrent" else lif()
        into = sg.Linear(before, size)
        if masks:  # by keywords that older checkouts, beside which this one is measured, lack
            into = sg.Linear(before, size, connectivity=masks["w0"])
            back = sg.Linear(size, size, bias=False, connectivity=masks["recurrent"])
            neurons = sg.Recurrent(lif(), connection=back)
        layers += [into, neurons]
    return sg.Sequential(*layers, sg.Linear(h[-1], workload.classes))


def scale(network: sg.Sequential, x: Tensor, workload: Workload) -> None:
    """Scale the weights to the rate, as closely as so many neurons can; a few cannot at all, and
    leave void rows behind.
    """
    for tolerance in (0.02, 0.8 * workload.window / workload.rate):
        try:
            sg.nn.calibrate(network, x, rate=workload.rate, tolerance=tolerance)
            return
        except sg.UserError:
            continue


def weights_of(network: sg.Sequential) -> Arrays:
    """`w0, b0, w1, b1, ...` of the connections, `recurrent` of the feedback."""
    found: Arrays = {}
    connections = [m for m in network if isinstance(m, sg.Linear | sg.Conv2d)]
    for i, layer in enumerate(connections):
        found[f"w{i}"] = layer.weight.detach().numpy()
        found[f"b{i}"] = layer.bias.detach().numpy()
    for layer in network:
        if isinstance(layer, sg.Recurrent):
            found["recurrent"] = layer.connection.weight.detach().numpy()
    return found


def scale_to_rate(x: Tensor, rate: float) -> float:
    """The factor at which a layer driven by x fires at the rate."""
    part = x[:, :8].double()
    return bisected(lambda factor: float(scan(part * factor, "subtract").mean()), rate)


def bisected(fires: Callable[[float], float], rate: float) -> float:
    """The factor at which fires(factor) is the rate, to 1 %."""
    low, high = 0.0, 8.0
    for _ in range(10):  # more would end where one membrane all but touches its threshold
        middle = (low + high) / 2
        low, high = (middle, high) if fires(middle) < rate else (low, middle)
    return high


def rescaled(workload: Workload, arrays: Arrays, convention: str) -> list[float]:
    """Factors of the connections (of x, in a scan) that give another convention the same rate.

    A reset that is not decayed takes more off, and a spike that leaves late is lost at the end.
    """
    value = tensors(arrays, torch.float32)
    x = sequence(workload, value["x"])
    if workload.kind == "recurrent":
        x = x[:, :32]
    found = []
    for i in range(len(workload.hidden)):

        def fires(factor: float, i: int = i, x: Tensor = x) -> float:
            return float(layer(value, i, x, convention, factor).mean())

        found.append(bisected(fires, workload.rate))
        x = pooled(layer(value, i, x, convention, found[-1]), value, i)
    return found


def expected(
    workload: Workload, arrays: Arrays, convention: str, factors: list[float]
) -> list[Tensor]:
    """The spikes `[T, B, ...]` of every hidden layer over the first steps, in float64.

    factors: of the connections, rounded with the weights to float32 as an implementation sees them.
    """
    value, found = tensors(scaled(arrays, factors), torch.float64), []
    x = sequence(workload, value["x"])[:CHECK_STEPS]
    for i in range(len(workload.hidden)):
        found.append(layer(value, i, x, convention))
        x = pooled(found[-1], value, i)
    return found


def tensors(arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    return {k: torch.from_numpy(v).to(dtype) for k, v in arrays.items() if k != "labels"}


def layer(
    value: dict[str, Tensor], i: int, x: Tensor, convention: str, factor: float = 1.0
) -> Tensor:
    """The spikes of hidden layer i, driven by x through connection i if there is one."""
    if f"w{i}" not in value:
        return scan(x * factor, convention)
    w, b = value[f"w{i}"] * factor, value[f"b{i}"] * factor
    if w.dim() == 4:
        current = F.conv2d(x.flatten(0, 1), w, b, padding=1).unflatten(0, x.shape[:2])
    else:
        current = F.linear(x.flatten(2), w, b)
    return scan(current, convention, value.get("recurrent"))


def pooled(s: Tensor, value: dict[str, Tensor], i: int) -> Tensor:
    """What the next connection sees: behind a convolution, the maximum over 2x2."""
    if f"w{i}" not in value or value[f"w{i}"].dim() != 4:
        return s
    return F.max_pool2d(s.flatten(0, 1), 2).unflatten(0, s.shape[:2])


def scan(current: Tensor, convention: str, recurrent: Tensor | None = None) -> Tensor:
    """The spikes of one layer, by the equation of the convention."""
    u, s = torch.zeros_like(current[0]), torch.zeros_like(current[0])
    spikes = []
    for x in current:
        fed = x if recurrent is None else x + F.linear(s, recurrent)
        u = BETA * (u - s) + fed if convention == "subtract" else BETA * u + fed - s
        s = (u >= 1.0).to(u.dtype)
        spikes.append(s)
    found = torch.stack(spikes)
    if convention == "late":
        found = torch.cat([torch.zeros_like(found[:1]), found[:-1]])
    return found
