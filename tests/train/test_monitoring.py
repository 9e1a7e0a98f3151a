"""A run under observation: what it says in training, what it writes, and when it ends."""

from __future__ import annotations

import json

import pytest
import torch

from spikegrad.cli.main import main
from spikegrad.errors import UserError
from spikegrad.nn import LIF, Linear, Sequential
from spikegrad.train import fit, progress
from spikegrad.train.progress import Watcher

QUIET = {"progress": False, "preflight": "off", "tensorboard": False, "steps": 4}


def batches(count: int = 20) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    x = 3 * torch.rand(count, 10, 6, generator=generator)
    return [(part, (part[:, 0] > 1.5).long()) for part in x]


def spiking() -> Sequential:
    torch.manual_seed(0)
    return Sequential(Linear(6, 16), LIF(10.0, surrogate="triangle"), Linear(16, 2))


class Breaks:
    """Breaks the network at a step, the same way in every step from there on."""

    def __init__(self, how: str, at: int = 30, crash: int = 10**9) -> None:
        self.how, self.at, self.crash = how, at, crash

    def on_step(self, seen):
        if seen.step == self.crash:
            raise ZeroDivisionError
        if seen.step < self.at:
            return
        with torch.no_grad():
            if self.how == "dies":
                seen.network[0].weight.abs_().neg_()
                seen.network[0].bias.zero_()
            elif self.how == "saturates":
                seen.network[0].bias.fill_(50.0)
            else:
                seen.network[2].weight.mul_(1e5)
                self.at = 10**9


@pytest.fixture
def told(monkeypatch) -> list[str]:
    """What a watcher is told to say."""
    lines: list[str] = []

    class Told(Watcher):
        def say(self, text: str, style: str = "") -> None:
            lines.append(text)

    monkeypatch.setattr(progress, "watcher", lambda *_, **__: Told())
    monkeypatch.setattr("spikegrad.train.fitting.watcher", lambda *_, **__: Told())
    return lines


@pytest.mark.parametrize(
    ("how", "kind", "layer"),
    [("dies", "silent", "1"), ("saturates", "saturated", "1"), ("explodes", "explodes", "0")],
)
def test_what_goes_wrong_in_training_is_said_once_and_written_down(
    how, kind, layer, tmp_path, told
):
    run = tmp_path / "run"
    options = {**QUIET, "epochs": 6, "learning_rate": 1e-4, "out": run}
    result = fit(spiking(), batches(), callbacks=[Breaks(how)], **options)
    found = json.loads((run / "findings.json").read_text())
    (first,) = [each for each in found if (each["kind"], each["layer"]) == (kind, layer)]
    assert 31 <= first["step"] <= 61
    assert first["step"] % 10 == 1
    assert f"step {first['step']}: {first['line']}" in told
    assert result.summary["ended_by"] is None
    assert result.summary["epochs"] == 6


def test_a_run_that_learns_has_no_findings(tmp_path, told):
    run = tmp_path / "run"
    fit(spiking(), batches(), epochs=4, learning_rate=1e-2, out=run, **QUIET)
    assert json.loads((run / "findings.json").read_text()) == []
    assert told == []


def test_off_says_nothing(tmp_path, told):
    options = {**QUIET, "epochs": 6, "out": tmp_path / "run", "monitor": "off"}
    fit(spiking(), batches(), callbacks=[Breaks("dies")], **options)
    assert told == []


def test_a_hopeless_run_ends_when_asked_to_and_says_why(tmp_path, told):
    run = tmp_path / "run"
    options = {**QUIET, "epochs": 30, "learning_rate": 1e-6, "out": run, "monitor": "stop"}
    options["val_loader"] = batches(2)
    result = fit(spiking(), batches(), callbacks=[Breaks("dies", at=1)], **options)
    held = json.loads((run / "result.json").read_text())
    assert held["ended_by"] == "monitor"
    assert held["epochs"] == len(result.history) < 10
    assert held["val_accuracy"] is not None
    assert "no hope, so the run ends: layer 1 is silent since step" in told[-1]
    again = {**options, "epochs": 40, "resume": True}
    with pytest.raises(UserError, match="got one that monitor ended after epoch"):
        fit(spiking(), batches(), callbacks=[Breaks("dies", at=1)], **again)


@pytest.mark.parametrize("crash", [25, 64, 95])
def test_a_run_broken_off_ends_at_the_same_step(crash, tmp_path, outcome):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    options = {**QUIET, "epochs": 30, "learning_rate": 1e-6, "monitor": "stop"}
    options |= {"checkpoint_seconds": 1e-6}
    fit(spiking(), batches(), callbacks=[Breaks("dies", 1)], out=whole, **options)
    with pytest.raises(ZeroDivisionError):
        fit(spiking(), batches(), callbacks=[Breaks("dies", 1, crash)], out=broken, **options)
    resumed = {**options, "resume": True, "out": broken}
    fit(spiking(), batches(), callbacks=[Breaks("dies", 1)], **resumed)
    assert outcome(broken) == outcome(whole)
    assert (broken / "findings.json").read_text() == (whole / "findings.json").read_text()


def test_processes_come_to_the_same_end():
    """Two processes have to be started, which takes most of 20 seconds."""
    steps = {}
    for processes in (1, 2):
        network = spiking()
        with torch.no_grad():
            network[0].weight.abs_().neg_()
            network[0].bias.zero_()
        options = {**QUIET, "epochs": 30, "learning_rate": 1e-6, "monitor": "stop"}
        result = fit(network, batches(), processes=processes, **options)
        assert result.summary["ended_by"] == "monitor"
        steps[processes] = result.history[-1]["step"]
    assert steps[1] == steps[2]


def test_what_the_preflight_found_is_written_down_and_diagnose_shows_what_came_after(
    tmp_path, capsys
):
    run = tmp_path / "run"
    words = ["digits", "--out", str(run), "--threshold", "500", "--no-batch-norm", "--epochs", "3"]
    words += ["--hidden", "16", "--threads", "1", "--no-tensorboard", "--no-pictures", "--quiet"]
    assert main(["train", *words]) == 0
    found = json.loads((run / "findings.json").read_text())
    assert (found[0]["step"], found[0]["kind"], found[0]["layer"]) == (0, "silent", "2")
    assert any(each["step"] for each in found)
    assert main(["diagnose", str(run)]) == 1
    out = capsys.readouterr().out
    assert "in training, step 21: layer 2 has not fired since step 1" in out
    assert "warning: the training loss went from" in out
    (run / "findings.json").write_text("[3]")
    assert main(["diagnose", str(run)]) == 2
    assert "move findings.json away: nothing else needs it" in capsys.readouterr().err
