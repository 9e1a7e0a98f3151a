"""What a training step must at least move and keep, from its shapes alone."""

from __future__ import annotations

from benchmarks.workloads import Workload

__all__ = ["kept_mb", "traffic_bytes"]

FLOAT = 4


def traffic_bytes(workload: Workload) -> int:
    """Bytes that a step reads and writes if every sequence passes the processor once per use.

    A spiking layer: six tensors `[T, B, N]` (forward: read the current, write spikes and membrane;
    backward: read the gradient and the membrane, write the current's gradient). The input: read
    for the product and for the weight's gradient.
    """
    rows = workload.steps * workload.batch
    return FLOAT * rows * (6 * sum(workload.hidden) + 2 * workload.inputs)


def kept_mb(workload: Workload) -> float:
    """Memory of every membrane (MB): one tensor `[T, B, N]` for each layer."""
    return FLOAT * workload.steps * workload.batch * sum(workload.hidden) / 2**20
