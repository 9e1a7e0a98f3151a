"""BrainPy's family (JAX): products of `brainevent.BinaryArray` in one jitted step, or dense ones.

brainevent supplies products and no neuron: the neuron is our equation in `jax.lax.scan`, so its
spikes must be ours. A product sees all steps at once; the feedback's is in the scan. Numbers that
are no events, images for example, are multiplied densely in both rows.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import brainevent
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.networks.job import LEARNING_RATE, Job, Trainer
from benchmarks.networks.xla import arctan, limit, triangle
from benchmarks.workloads import BETA

__all__ = ["build"]

SLOPES = {"triangle": triangle, "arctan": arctan}
Weights = dict[str, jax.Array]


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def spike(x: jax.Array, surrogate: str) -> jax.Array:
    return (x >= 0).astype(x.dtype)


@spike.defjvp
def spike_jvp(surrogate: str, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    (x,), (change,) = primals, tangents
    return spike(x, surrogate), SLOPES[surrogate](x) * change


class BrainEventTrainer(Trainer):
    """One jitted function per step; weights and optimiser are handed over, not copied."""

    def __init__(self, job: Job) -> None:
        self.job, self.workload = job, job.workload
        self.events = job.options["events"]
        self.x, self.labels = jnp.asarray(job.arrays["x"]), jnp.asarray(job.arrays["labels"])
        self.weights = {
            key: jnp.asarray(value if key.startswith("b") else value.T)
            for key, value in job.arrays.items()
            if key not in ("x", "labels") and not key.startswith("mask_")
        }
        self.masks = {key: jnp.asarray(mask.T) for key, mask in job.masks.items()}
        self.optimizer = optax.adam(LEARNING_RATE)
        self.moments = self.optimizer.init(self.weights)
        self.timed = jax.jit(self.update, donate_argnums=(0, 1))
        self.small = (self.x[:2], self.labels[:2]) if job.workload.static else (
            self.x[:, :2], self.labels[:2])  # fmt: skip
        self.surrogate = f"{job.surrogate}(2), passed in"

    def product(self, x: jax.Array, weight: jax.Array, *, spikes: bool) -> jax.Array:
        """`[R, I] @ [I, N]`, along the events where there are any."""
        return brainevent.BinaryArray(x) @ weight if self.events and spikes else x @ weight

    def neurons(self, current: jax.Array, weight: jax.Array | None) -> jax.Array:
        """Spikes `[T, B, N]` of one layer; weight: of the feedback, if any."""

        def step(state: tuple[jax.Array, jax.Array], x: jax.Array) -> tuple[tuple, jax.Array]:
            u, s = state
            if weight is not None:
                x = x + self.product(s, weight, spikes=True)
            u = BETA * (u - jax.lax.stop_gradient(s)) + x
            s = spike(u - 1.0, self.job.surrogate)
            return (u, s), s

        rest = jnp.zeros_like(current[0])
        return jax.lax.scan(step, (rest, rest), current)[1]

    def forward(self, weights: Weights, x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        """The readout `[T, B, C]` and the spikes of every hidden layer."""
        weights = weights | {key: weights[key] * mask for key, mask in self.masks.items()}
        lead = (1, x.shape[0]) if self.workload.static else x.shape[:2]
        x = x.reshape(lead[0] * lead[1], -1)
        spikes, seen = self.workload.density is not None, []
        for i in range(len(self.workload.hidden)):
            current = self.product(x, weights[f"w{i}"], spikes=spikes) + weights[f"b{i}"]
            current = current.reshape(*lead, -1)
            if lead[0] < self.workload.steps:
                lead = (self.workload.steps, lead[1])
                current = jnp.broadcast_to(current, (*lead, current.shape[-1]))
            seen.append(self.neurons(current, weights.get("recurrent")))
            x, spikes = seen[-1].reshape(lead[0] * lead[1], -1), True
        last = len(self.workload.hidden)
        y = self.product(x, weights[f"w{last}"], spikes=True) + weights[f"b{last}"]
        return y.reshape(*lead, -1), seen

    def loss(self, weights: Weights, x: jax.Array, labels: jax.Array) -> jax.Array:
        logits = self.forward(weights, x)[0].mean(0)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def update(self, weights: Weights, moments: Any, x: jax.Array, labels: jax.Array) -> Any:
        gradient = jax.grad(self.loss)(weights, x, labels)
        change, moments = self.optimizer.update(gradient, moments, weights)
        return optax.apply_updates(weights, change), moments

    def step(self, batch: int | None = None) -> None:
        x, labels = (self.x, self.labels) if batch is None else self.small
        self.weights, self.moments = self.timed(self.weights, self.moments, x, labels)
        jax.block_until_ready(self.weights)

    def spikes(self) -> list[np.ndarray]:
        seen = jax.jit(lambda weights, x: self.forward(weights, x)[1])(self.weights, self.x)
        return [np.asarray(s) for s in seen]

    def about(self) -> dict[str, Any]:
        return {"isa": limit()}


def build(job: Job) -> BrainEventTrainer:
    """options: events, whether products follow them."""
    return BrainEventTrainer(job)
