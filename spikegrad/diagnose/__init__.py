"""Measurements of a network: plain dataclasses, never printed; the network stays as it was."""

from spikegrad.diagnose.compare import Check, Compared, check
from spikegrad.diagnose.explain import explain
from spikegrad.diagnose.explained import Explained, Explanation
from spikegrad.diagnose.finding import Finding
from spikegrad.diagnose.flow import GradientFlow, LayerFlow, gradient_flow
from spikegrad.diagnose.health import Health, health
from spikegrad.diagnose.history import with_history
from spikegrad.diagnose.layer import LayerHealth
from spikegrad.diagnose.loop import loop_closed_form, loop_integral
from spikegrad.diagnose.monitor import Fired, Look, Monitor, Norms, fired
from spikegrad.diagnose.preflight import preflight
from spikegrad.diagnose.printed import Findings
from spikegrad.diagnose.rates import SpikeCounts, counts_table, firing_rates, spike_counts
from spikegrad.diagnose.recorded import Written, recorded_health
from spikegrad.diagnose.repair import Fixed, Repair, Tempered, fix
from spikegrad.diagnose.summary import Row, Summary, summary
from spikegrad.diagnose.truth import LayerTruth, Truth, truth
from spikegrad.diagnose.untouched import untouched

__all__ = [
    "Check",
    "Compared",
    "Explained",
    "Explanation",
    "Finding",
    "Findings",
    "Fired",
    "Fixed",
    "GradientFlow",
    "Health",
    "LayerFlow",
    "LayerHealth",
    "LayerTruth",
    "Look",
    "Monitor",
    "Norms",
    "Repair",
    "Row",
    "SpikeCounts",
    "Summary",
    "Tempered",
    "Truth",
    "Written",
    "check",
    "counts_table",
    "explain",
    "fired",
    "firing_rates",
    "fix",
    "gradient_flow",
    "health",
    "loop_closed_form",
    "loop_integral",
    "preflight",
    "recorded_health",
    "spike_counts",
    "summary",
    "truth",
    "untouched",
    "with_history",
]
