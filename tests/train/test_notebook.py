"""Training in a notebook: the display in the executed document."""

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient

from spikegrad.train.notebook import NotebookBar, in_notebook
from spikegrad.train.terminal import Screen

FIRST = """
import torch
import spikegrad as sg
from spikegrad.train import fit
torch.manual_seed(0)
x, y = torch.rand(60, 8), torch.arange(60) % 3
batches = list(zip(x.split(10), y.split(10)))
network = sg.Sequential(sg.Linear(8, 16), sg.LIF(5.0), sg.Linear(16, 3))
result = fit(network, batches, val_loader=batches, epochs=3, steps=4, threads=1, preflight="off")
"""
SECOND = """
from spikegrad import diagnose
from IPython.display import display
sequence = x.expand(4, 60, 8)
display(result, diagnose.summary(network, sequence), diagnose.explain(network, sequence))
display(result.plot())
"""


@pytest.fixture(scope="module")
def executed():
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(t) for t in (FIRST, SECOND)])
    NotebookClient(book, timeout=300, kernel_name="python3").execute()
    return book


def test_the_bar_is_one_display_that_ends_with_the_last_epoch(executed):
    shown = [each for each in executed.cells[0].outputs if each.output_type == "display_data"]
    assert len(shown) == 1
    html = shown[0]["data"]["text/html"]
    assert "3 of 3 epochs" in html
    assert [f"epoch {i}/3" in html for i in (1, 2, 3)] == [True] * 3
    assert html.count("<progress") == 1  # that of the run: no epoch is left
    text = [each for each in executed.cells[0].outputs if each.output_type == "stream"]
    assert "epoch" not in "".join(each["text"] for each in text)


def test_results_and_measurements_are_tables_and_a_figure(executed):
    outputs = [each["data"] for each in executed.cells[1].outputs]
    assert len(outputs) == 4
    assert all("<table>" in each["text/html"] for each in outputs[:3])
    assert "image/png" in outputs[3]


class Handle:
    def __init__(self):
        self.seen = []

    def update(self, html):
        self.seen.append(html.data)


def test_the_bar_moves_with_the_batches_and_shows_texts_as_they_are(monkeypatch):
    pytest.importorskip("IPython")
    handle = Handle()
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: handle)
    bar = NotebookBar(Screen(), {"1": "<b>one</b>"})
    bar.start(epochs=2, batches=4, epoch=0)
    bar.step(batch=4, loss=0.5, accuracy=None, rates={"1": 0.25})
    assert 'value="1.000" max="2"' in handle.seen[-1]
    assert "&lt;b&gt;one&lt;/b&gt; 0.250" in handle.seen[-1]
    bar.epoch({"epoch": 1, "train_loss": 0.5, "seconds": 1.0}, chosen=True)
    bar.say("layer <i> dies", "bold red")
    assert "layer &lt;i&gt; dies" in handle.seen[-1]
    assert "1 of 2 epochs" in handle.seen[-1]
    bar.stop()


def test_here_is_no_notebook():
    assert not in_notebook()
