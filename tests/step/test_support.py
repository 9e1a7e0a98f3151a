"""What a graph says of the places where a surrogate's gradient is not 0."""

from __future__ import annotations

import pytest
import torch

from spikegrad import surrogate as S
from spikegrad.functional.adaptive import ALIF
from spikegrad.functional.cuba import CUBA
from spikegrad.functional.lif import LIF
from spikegrad.functional.readout import LI
from spikegrad.kernels.forms import form_of, traced
from spikegrad.step.graph import Graph
from spikegrad.step.keep import matter_within
from spikegrad.step.support import support_of, zero_outside
from spikegrad.step.trace import Traced


def found(step, record, reset="subtract", detach=True, refractory=False, learned=()):
    return traced(step, form_of(step, record, reset, detach, refractory, learned), words=True)


@pytest.mark.parametrize("name", S.names(aliases=False))
@pytest.mark.parametrize("step", [LIF, ALIF, CUBA])
def test_a_built_in_has_a_support_where_its_record_says_so(name: str, step) -> None:
    record = S.get(name)
    graph, _ = found(step, record)
    compact = bool(torch.isfinite(torch.tensor(record.support)))
    assert (graph.support is not None) == compact


def test_a_users_own_surrogate_has_one_too() -> None:
    parabola = S.register("parabola_here", lambda z: torch.clamp(1 - z * z, min=0) * 0.75,
                          support=1.0, kinks=(-1.0, 1.0))  # fmt: skip
    try:
        graph, plan = found(LIF, parabola)
        assert graph.support is not None
        assert plan.within
    finally:
        S.unregister("parabola_here")


def test_what_is_kept_within_it() -> None:
    triangle, boxcar = S.triangle(), S.boxcar()
    assert found(LIF, triangle)[1].within
    assert found(CUBA, triangle, "zero", detach=False)[1].within
    assert found(ALIF, triangle, refractory=True)[1].within
    # The state before a step is read everywhere.
    assert not found(LIF, triangle, learned=("beta",))[1].within
    # The membrane before is the one that was kept, where its own step had its support.
    assert not found(LIF, triangle, "none", learned=("beta",))[1].within
    assert not found(ALIF, triangle, "zero", detach=False)[1].within  # two numbers are kept
    graph, plan = found(LIF, boxcar)  # the support itself is all that the backward pass reads
    assert (plan.reals, plan.masks, plan.given) == ((), (), (graph.support,))


def test_silence_after_a_spike_alone_is_none() -> None:
    """Almost all neurons are ready: to keep them side by side would be work for nothing."""
    graph, plan = found(LIF, S.arctan(), refractory=True)
    assert graph.support is None
    assert not plan.within


def test_neurons_without_spikes_have_none() -> None:
    assert found(LI, LI.surrogate, "none")[0].support is None


def small() -> tuple[Graph, int, int]:
    g = Graph()
    x, incoming = g.add("input", name="x"), g.add("input", name="gradient output")
    return g, x, incoming


def test_several_readers_must_agree() -> None:
    g, x, incoming = small()
    zero = g.constant(0.0)
    first = g.add("mul", incoming, g.add("maximum", x, zero))
    g.outputs["gradient x"] = first
    assert support_of(g) is not None
    g.outputs["gradient state v"] = g.add("add", incoming, first)
    assert support_of(g) is None


def test_a_support_is_known_forward() -> None:
    g, x, incoming = small()
    later = g.add("mul", g.add("input", name="gradient v"), x)
    mask = g.add("gt", later, g.constant(0.0))
    inside = g.add("where", mask, x, g.constant(0.0))
    g.outputs["gradient x"] = g.add("mul", incoming, inside)
    assert support_of(g) is None


def test_a_mask_of_what_is_not_kept_chooses_no_gradient() -> None:
    """Outside of the support the membrane is not there, and so the mask is wrong."""
    g, x, incoming = small()
    u, zero = g.add("mul", x, x), g.constant(0.0)
    inside = g.add("maximum", u, zero)
    mask, masks = g.add("gt", u, zero), zero_outside(g, inside)
    assert masks == {mask}
    product = g.outputs["gradient x"] = g.add("mul", incoming, inside)
    traced = Traced(g, (), (), (), support=mask, within=masks)
    assert matter_within(traced, u, {inside, product}, {inside})
    chosen = g.outputs["gradient v"] = g.add("where", mask, incoming, zero)
    assert not matter_within(traced, u, {inside, product, mask, chosen}, {inside, mask})


def test_a_product_of_two_is_0_outside_of_both() -> None:
    g, x, incoming = small()
    zero, one = g.constant(0.0), g.constant(1.0)
    inside = g.add("where", g.add("gt", x, one), x, zero)
    product = g.add("mul", g.add("mul", incoming, g.add("maximum", x, zero)), inside)
    g.outputs["gradient x"] = product
    mask, masks = support_of(g) or (None, frozenset())
    assert len(masks) == 2
    assert mask is not None
    assert g.nodes[mask].op == "and"
    assert zero_outside(g, product) == masks
