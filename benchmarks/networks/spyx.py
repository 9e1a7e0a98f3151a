"""Spyx (JAX): `LIF` and `RLIF` run by `spyx.nn.run` inside one jitted step.

Spikes cannot equal ours: a neuron fires on the membrane of the step before, so a spike leaves one
step late, and the reset is taken off after the decay; the gradient goes through the reset too.
They are compared with the equation of that convention. Its own triangle and arctan have other
heights, so both are passed in by its `axn.custom`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import spyx
from flax import nnx

from benchmarks.networks.job import LEARNING_RATE, Job, Trainer
from benchmarks.networks.xla import arctan, limit, triangle
from benchmarks.workloads import BETA

__all__ = ["build"]


class Net(nnx.Module):
    """Connections over all steps at once, neurons by `run`; convolutions have channels last."""

    def __init__(self, job: Job) -> None:
        rngs, h = nnx.Rngs(0), job.workload.hidden
        self.steps, self.static = job.workload.steps, job.workload.static
        shape = spyx.axn.custom(triangle if job.surrogate == "triangle" else arctan)
        side = job.workload.inputs
        sizes = {
            "conv": [(side, side, h[0]), (side // 2, side // 2, h[-2 % len(h)]), (h[-1],)],
        }.get(job.workload.kind, [(n,) for n in h])
        recurrent = job.workload.kind == "recurrent"
        make = spyx.nn.RLIF if recurrent else spyx.nn.LIF
        neurons = [make(s, beta=BETA, threshold=1.0, activation=shape, rngs=rngs) for s in sizes]
        if recurrent:
            neurons[0].recurrent_w[...] = jnp.asarray(job.arrays["recurrent"].T)
        self.neurons = nnx.List(neurons)
        count = 0 if job.workload.kind == "scan" else len(h) + 1
        self.connections = nnx.List([connection(job, i, rngs) for i in range(count)])

    def mask(self, masks: dict[str, jax.Array]) -> None:
        """Take synapses away, of the copy of the network that one step computes with."""
        if masks:
            into, back = self.connections[0].kernel, self.neurons[0].recurrent_w
            into[...] = into[...] * masks["w0"]
            back[...] = back[...] * masks["recurrent"]

    def __call__(self, x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        seen = []
        lead = (1, x.shape[0]) if self.static else x.shape[:2]
        x = x if self.static else x.reshape(-1, *x.shape[2:])
        for layer, neuron in zip(list(self.connections)[:-1], self.neurons, strict=True):
            conv = isinstance(layer, nnx.Conv)
            current = layer(x if conv else x.reshape(x.shape[0], -1))
            current = current.reshape(*lead, *current.shape[1:])
            if lead[0] < self.steps:
                lead = (self.steps, lead[1])
                current = jnp.broadcast_to(current, (*lead, *current.shape[2:]))
            s, _ = spyx.nn.run(neuron, current)
            seen.append(s)
            x = s.reshape(-1, *s.shape[2:])
            x = nnx.max_pool(x, (2, 2), strides=(2, 2)) if conv else x
        y = self.connections[-1](x.reshape(x.shape[0], -1))
        return y.reshape(*lead, -1), seen


def connection(job: Job, index: int, rngs: nnx.Rngs) -> Any:
    """A connection with the shared weights in JAX's order of axes."""
    w, b = job.arrays[f"w{index}"], job.arrays[f"b{index}"]
    if w.ndim == 4:
        layer = nnx.Conv(w.shape[1], w.shape[0], w.shape[2:], padding="SAME", rngs=rngs)
        w = w.transpose(2, 3, 1, 0)
    else:
        layer = nnx.Linear(w.shape[1], w.shape[0], rngs=rngs)
        if job.workload.kind == "conv" and index == 2:  # flattened channels last here
            side = job.workload.inputs // 4
            w = w.reshape(len(w), -1, side, side).transpose(0, 2, 3, 1).reshape(len(w), -1)
        w = w.T
    layer.kernel[...], layer.bias[...] = jnp.asarray(w), jnp.asarray(b)
    return layer


def learned(path: tuple, value: Any) -> bool:
    """Weights, not the decay."""
    return isinstance(value, nnx.Param) and path[-1] != "beta"


class SpyxTrainer(Trainer):
    """One jitted function per step; state and optimiser are handed over, not copied."""

    def __init__(self, job: Job) -> None:
        self.workload, x = job.workload, job.arrays["x"]
        self.x = jnp.asarray(x.transpose(0, 2, 3, 1) if job.workload.kind == "conv" else x)
        self.labels = jnp.asarray(job.arrays["labels"])
        self.masks = {name: jnp.asarray(mask.T) for name, mask in job.masks.items()}
        self.graph, self.weights, self.rest = nnx.split(Net(job), learned, ...)
        self.optimizer = optax.adam(LEARNING_RATE)
        self.alone = job.workload.kind == "scan"
        self.moments = None if self.alone else self.optimizer.init(self.weights)
        self.timed = jax.jit(self.slope if self.alone else self.update, donate_argnums=(0, 1))
        self.small = (self.x[:2], self.labels[:2]) if job.workload.static else (
            self.x[:, :2], self.labels[:2])  # fmt: skip

    def slope(self, weights: Any, moments: Any, x: jax.Array, labels: jax.Array) -> Any:
        neuron = nnx.merge(self.graph, weights, self.rest).neurons[0]
        return weights, moments, jax.grad(lambda x: spyx.nn.run(neuron, x)[0].sum())(x)

    def update(self, weights: Any, moments: Any, x: jax.Array, labels: jax.Array) -> Any:
        def loss(weights: Any) -> jax.Array:
            net = nnx.merge(self.graph, weights, self.rest)
            net.mask(self.masks)
            y, _ = net(x)
            logits = y.mean(0)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        gradient = jax.grad(loss)(weights)
        change, moments = self.optimizer.update(gradient, moments, weights)
        return optax.apply_updates(weights, change), moments, jnp.zeros(())

    def step(self, batch: int | None = None) -> None:
        x, labels = (self.x, self.labels) if batch is None else self.small
        self.weights, self.moments, last = self.timed(self.weights, self.moments, x, labels)
        jax.block_until_ready((self.weights, last))

    def about(self) -> dict[str, Any]:
        return {"isa": limit()}

    def spikes(self) -> list[np.ndarray]:
        net = nnx.merge(self.graph, self.weights, self.rest)
        if self.alone:
            return [np.asarray(spyx.nn.run(net.neurons[0], self.x)[0])]
        found = [np.asarray(s) for s in nnx.jit(lambda net, x: net(x)[1])(net, self.x)]
        return [np.moveaxis(s, -1, 2) if s.ndim == 5 else s for s in found]


def build(job: Job) -> SpyxTrainer:
    trainer = SpyxTrainer(job)
    trainer.surrogate = f"{job.surrogate}(2), passed in"
    return trainer
