"""Comparisons that are honest: variants with the same seeds and the same budget, and a test.

>>> from spikegrad import compare
>>> plan = compare.plan("digits", surrogates=["arctan", "triangle"], equal="area,fwhm")
>>> [variant.name for variant in plan.variants]
['arctan, slope 2', 'triangle, slope 1']
"""

from spikegrad.compare.comparison import Comparison
from spikegrad.compare.matching import matched
from spikegrad.compare.outcome import Outcome
from spikegrad.compare.plan import Plan, Variant, plan
from spikegrad.compare.run import load, run
from spikegrad.compare.statistics import Pair, Ranked, Spread, ranked

__all__ = [
    "Comparison",
    "Outcome",
    "Pair",
    "Plan",
    "Ranked",
    "Spread",
    "Variant",
    "load",
    "matched",
    "plan",
    "ranked",
    "run",
]
