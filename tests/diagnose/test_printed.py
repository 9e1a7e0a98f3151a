"""Measurements as tables: printed, and in the HTML of a notebook, where names are texts."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
import torch

import spikegrad as sg
from spikegrad import diagnose

ATTACK = "<script>alert(1)</script>"


class Cells(HTMLParser):
    """Tags and texts of some HTML."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return sg.Sequential(sg.Linear(6, 8), sg.LIF(10.0), sg.Linear(8, 3))


@pytest.fixture(scope="module")
def batch():
    torch.manual_seed(0)
    return torch.rand(5, 4, 6), torch.arange(4) % 3


def cross_entropy(y, labels):
    return torch.nn.functional.cross_entropy(y.mean(0), labels)


def test_a_summary_prints_as_its_table(network, batch):
    found = diagnose.summary(network, batch[0])
    assert str(found) == found.table()
    held = Cells(found._repr_html_())
    assert held.tags.count("tr") == 5  # a header, three layers, the sum
    assert f"{found.parameters:,}" in held.texts


def test_energy_is_a_joule_for_each_operation(network, batch):
    found = diagnose.summary(network, batch[0])
    first, _, last = found.rows
    assert first.synops == 5 * 6 * 8
    assert first.energy == pytest.approx(240 * 4.6e-12)  # numbers are multiplied
    assert last.energy == pytest.approx(last.synops * 0.9e-12)  # spikes are added
    assert found.energy == pytest.approx(first.energy + last.energy)
    assert found.dense_energy == pytest.approx((6 * 8 + 8 * 3) * 4.6e-12)


def test_an_explanation_prints_as_a_table(network, batch):
    found = diagnose.explain(network, batch[0])
    assert isinstance(found, list)
    text = str(found)
    assert text.splitlines()[0].split()[:2] == ["layers", "backend"]
    assert len(text.splitlines()) == len(found) + 1
    assert Cells(found._repr_html_()).tags.count("tr") == len(found) + 1


def test_findings_print_as_a_table(network, batch):
    silent = diagnose.preflight(network, batch[0] * 0, batch[1], loss=cross_entropy)
    assert isinstance(silent, list)
    assert "the input is silent" in str(silent)
    assert len(str(silent).splitlines()) == len(silent) + 1
    assert Cells(silent._repr_html_()).tags.count("li") == len(silent)
    assert str(diagnose.Findings()) == "no finding"
    assert diagnose.Findings() == []


def test_health_flow_and_truth_are_tables_in_a_notebook(network, batch):
    health = diagnose.health(network, batch, truth=True)
    texts = Cells(health._repr_html_()).texts
    assert "1 (LIF)" in texts
    assert "cosine" in texts
    flow = diagnose.gradient_flow(network, *batch, loss=cross_entropy)
    assert str(flow) == flow.table()
    assert {"0.weight", "2.bias"} <= set(Cells(flow._repr_html_()).texts)


def test_a_verification_is_a_table_in_a_notebook():
    found = sg.verify.run(["loop-integral"])
    assert "loop-integral" in Cells(found._repr_html_()).texts


def test_names_are_texts():
    finding = diagnose.Finding("silent", ATTACK, "error", f"never {ATTACK}", 0.0, "\x1b[31m")
    found = diagnose.Findings([finding])
    held = Cells(found._repr_html_())
    assert "script" not in held.tags
    assert ATTACK in "".join(held.texts)
    assert "\x1b" not in found._repr_html_()
