"""The specification's signatures behind a choice of backend.

`nn` calls these; each takes `backend=` and hands the call to the backend that `choice` found.
"""

from spikegrad.kernels.backend import Backend, Call, Part, Streamed
from spikegrad.kernels.blocks import (
    choose_layer,
    choose_normed,
    choose_pool,
    packed,
    passes_on,
    reads_delayed,
    side_by_side,
    stilled,
    unpacked,
)
from spikegrad.kernels.choice import Choice
from spikegrad.kernels.cpu import BuildError
from spikegrad.kernels.dispatch import (
    NEURONS,
    alif,
    choice_of,
    choose,
    choose_step,
    conv2d,
    cuba_lif,
    delayed_linear,
    delayed_recurrent,
    found_step,
    integrate_and_fire,
    learned_taps,
    li,
    lif,
    linear,
    max_pool2d,
    recurrent,
    spiking,
    step,
)
from spikegrad.kernels.moments import moments
from spikegrad.kernels.registry import (
    available,
    check_backend,
    get,
    made_of_step,
    register,
    unregister,
)
from spikegrad.kernels.shifted import is_shift
from spikegrad.kernels.step_report import StepReport, report_of_step

__all__ = [
    "NEURONS",
    "Backend",
    "BuildError",
    "Call",
    "Choice",
    "Part",
    "StepReport",
    "Streamed",
    "alif",
    "available",
    "check_backend",
    "choice_of",
    "choose",
    "choose_layer",
    "choose_normed",
    "choose_pool",
    "choose_step",
    "conv2d",
    "cuba_lif",
    "delayed_linear",
    "delayed_recurrent",
    "found_step",
    "get",
    "integrate_and_fire",
    "is_shift",
    "learned_taps",
    "li",
    "lif",
    "linear",
    "made_of_step",
    "max_pool2d",
    "moments",
    "packed",
    "passes_on",
    "reads_delayed",
    "recurrent",
    "register",
    "report_of_step",
    "side_by_side",
    "spiking",
    "step",
    "stilled",
    "unpacked",
    "unregister",
]
