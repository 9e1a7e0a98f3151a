"""The specification: pure functions `(x, state, *, parameters) -> (y, state)` in plain PyTorch.

Slow, obvious and kept for ever: every faster path in `spikegrad.kernels` is tested against
these, values and gradients. Layout `[T, B, *features]`, decays instead of time constants.
"""

from spikegrad.functional.adaptive import alif
from spikegrad.functional.conv import conv2d
from spikegrad.functional.cuba import cuba_lif
from spikegrad.functional.decay import decay, time_constant
from spikegrad.functional.delayed import delayed_lif
from spikegrad.functional.delayed_linear import delayed_linear
from spikegrad.functional.delayed_recurrent import delayed_recurrent
from spikegrad.functional.encode import delta, direct, latency, poisson
from spikegrad.functional.first_spike import first_spike
from spikegrad.functional.lif import integrate_and_fire, lif
from spikegrad.functional.linear import dense_weight, linear
from spikegrad.functional.loss import (
    count_cross_entropy,
    count_mse,
    loss_floor,
    membrane_cross_entropy,
    rate_cross_entropy,
    rate_mse,
    rate_penalty,
    tet,
)
from spikegrad.functional.pool import max_pool2d
from spikegrad.functional.population import population
from spikegrad.functional.readout import li, over_time
from spikegrad.functional.recurrent import recurrent
from spikegrad.functional.rounding import rounded, truncated
from spikegrad.functional.spiking import spiking
from spikegrad.functional.taps import gaussian_taps, integer_taps, interpolated_taps
from spikegrad.functional.van_rossum import van_rossum

__all__ = [
    "alif",
    "conv2d",
    "count_cross_entropy",
    "count_mse",
    "cuba_lif",
    "decay",
    "delayed_lif",
    "delayed_linear",
    "delayed_recurrent",
    "delta",
    "dense_weight",
    "direct",
    "first_spike",
    "gaussian_taps",
    "integer_taps",
    "integrate_and_fire",
    "interpolated_taps",
    "latency",
    "li",
    "lif",
    "linear",
    "loss_floor",
    "max_pool2d",
    "membrane_cross_entropy",
    "over_time",
    "poisson",
    "population",
    "rate_cross_entropy",
    "rate_mse",
    "rate_penalty",
    "recurrent",
    "rounded",
    "spiking",
    "tet",
    "time_constant",
    "truncated",
    "van_rossum",
]
