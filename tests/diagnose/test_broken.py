"""Broken networks get the right finding first and are repaired; healthy ones get no error.

That they are broken, repaired and healthy is not taken for granted: each of them is trained. It
takes about 15 seconds, most of it for the training of 36 networks.
"""

from __future__ import annotations

import pytest
from broken import ARTICLE, BROKEN, HEALTHY, Case, train

from spikegrad.diagnose import fix, health


def names(cases: list[Case]) -> list[str]:
    return [case.name for case in cases]


def test_there_are_ten_broken_networks_and_at_least_twelve_healthy_ones():
    assert len(BROKEN) == 10
    assert len(HEALTHY) >= 12
    assert len({*names(BROKEN), *names(HEALTHY)}) == len(BROKEN) + len(HEALTHY)


@pytest.mark.parametrize("case", [ARTICLE, *BROKEN], ids=names([ARTICLE, *BROKEN]))
def test_a_broken_network_is_found_out_and_repaired(case):
    network, batch = case.made()
    fixed = fix(network, batch, loss=case.loss)
    assert fixed.before.findings[0].kind == case.kind, str(fixed.before)
    assert train(network, batch, case.loss, case.steps, case.learning_rate) > case.chance
    if callable(case.repair):
        case = case.repair(case)
        network, batch = case.made()
        after, loss = health(network, batch, loss=case.loss), case.loss
    else:
        network, after, loss = fixed.network, fixed.after, fixed.loss
        assert fixed.repairs
    assert after.ok
    assert train(network, batch, loss, case.steps, case.learning_rate) < min(
        1.0, 0.75 * case.chance
    )
    assert case.kind not in [finding.kind for finding in after.findings]


@pytest.mark.parametrize("case", HEALTHY, ids=names(HEALTHY))
def test_a_healthy_network_gets_no_error(case):
    network, batch = case.made()
    found = health(network, batch, loss=case.loss)
    assert found.ok, str(found)
    assert train(network, batch, case.loss, 20, case.learning_rate) < 0.75 * found.loss


def test_the_article_is_dead_for_the_right_reasons():
    """Layer 1 never fires: 3 has no input, both weights behind get nothing, all samples are one."""
    network, batch = ARTICLE.made()
    found = health(network, batch, loss=ARTICLE.loss)
    assert [(f.kind, f.layer) for f in found.findings] == [
        ("silent", "1"),
        ("silent", "3"),
        ("zero-gradient", "2"),
        ("zero-gradient", "4"),
        ("output-same", ""),
    ]
    assert [f.severity for f in found.findings] == ["error"] * 5
    assert 0.2 < found.layer("1").reach < 0.8
    assert found.layer("3").reach == 0.0
    assert found.findings[1].advice == "layer 1 never fires: repair that first"
    assert len(found.dead) == found.outputs == 10
