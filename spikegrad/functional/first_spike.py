"""A loss on the time to the first spike: the output that spikes first is the class."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from spikegrad.analysis import first_spike_time
from spikegrad.checks import check_positive
from spikegrad.functional.loss import check_labels

__all__ = ["first_spike"]


def first_spike(
    s: Tensor,
    labels: Tensor,
    *,
    dt: float = 1.0,
    temperature: float = 1.0,
    label_smoothing: float = 0.0,
    lengths: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of negative latencies: `CE(-t / temperature, labels)`.

    t is the latency, the time of an output's first spike. **A silent output has latency `T dt`**,
    as if it spiked right after the last step. It has a gradient: the formula of the latency
    (`analysis.first_spike_time`) says for each step how much earlier a spike there would make it,
    so a silent output of the right class is driven to spike. Where all outputs are silent the loss
    is ln C. Spikes after the first one do not change the loss.

    Args:
        s: output spikes `[T, B, C]`, from step 0 on (not a chunk).
        labels: int64 `[B]`.
        dt: time step (ms).
        temperature: divides the latencies (ms): a lead of some temperatures is enough.
        label_smoothing: share of the target given to all classes.
        lengths: int64 `[B]`, the steps of every sample, None for T each: a silent output has the
            latency of the sample's own end.
    Returns:
        the mean over the batch, a scalar; not below `loss_floor("count", C, steps=T)` at dt = 1.
    Raises:
        UserError: values that are no spikes (membranes), labels outside 0..C-1.
    Source: Göltz et al. (2021), Nature Machine Intelligence 3: their loss
        `ln sum_n exp(-(t_n - t_label)/(xi tau_s))`, where temperature is `xi tau_s`. They have
        continuous times of current-based neurons; the latency of steps and its gradient are ours.

    >>> import torch
    >>> s = torch.zeros(5, 1, 2); s[1, 0, 0] = 1.0       # latencies 1 and 5: ln(1 + exp(-4))
    >>> round(first_spike(s, torch.tensor([0])).item(), 4)
    0.0181
    """
    check_labels(s, labels)
    check_positive(temperature, "temperature", unit="ms")
    scores = -first_spike_time(s, dt=dt, lengths=lengths) / temperature
    return cross_entropy(scores, labels, label_smoothing=label_smoothing)
