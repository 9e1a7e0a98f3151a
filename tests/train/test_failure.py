"""A run that failed says so wherever it is looked at, and is none any more when it goes on."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from torch import nn

import spikegrad as sg
from spikegrad.cli.view import follow
from spikegrad.compare.seen import look
from spikegrad.errors import RunError, UserError
from spikegrad.report.page.run import run_content
from spikegrad.train import fit
from spikegrad.train.folder import RunFolder

QUIET = {"progress": False, "preflight": "off", "monitor": "off", "encoder": "direct", "steps": 3}


def network() -> sg.Sequential:
    torch.manual_seed(0)
    return sg.Sequential(sg.Linear(6, 8), sg.LIF(10.0), sg.Linear(8, 3))


def loader() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.rand(4, 6, generator=generator), torch.randint(3, (4,), generator=generator))
        for _ in range(3)
    ]


BREAKS = [True]


class Breaks:
    """Makes a weight infinite in the second epoch."""

    def on_step(self, seen) -> None:
        if seen.step == 4 and BREAKS[0]:
            with torch.no_grad():
                seen.network[2].weight.fill_(float("inf"))


@pytest.fixture
def failed(tmp_path: Path) -> Path:
    with pytest.raises(RunError, match=r"epoch 2, step 5: .*not finite"):
        fit(network(), loader(), out=tmp_path / "run", epochs=3, callbacks=[Breaks()], **QUIET)
    return tmp_path / "run"


def test_the_folder_holds_the_reason(failed: Path) -> None:
    run = RunFolder.open(failed)
    assert run.failure.startswith("epoch 2, step 5: ")
    assert not run.finished
    seen = look(failed)
    assert seen.state == "failed"
    assert seen.problem == run.failure
    assert seen.epochs == 1
    for given in (None, network()):
        with pytest.raises(UserError, match=r"a run that failed: epoch 2, step 5: .*train again"):
            sg.load(failed, given)
    (failed / "failure.json").write_text("{")
    assert RunFolder.open(failed).failure == "failure.json cannot be read"


def test_views_say_so_and_end(failed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = run_content(failed)
    assert page["state"] == "failed"
    assert page["failure"].startswith("epoch 2, step 5")
    follow(str(failed))
    assert "failed: epoch 2, step 5" in capsys.readouterr().out


def test_a_run_that_goes_on_is_none_that_failed(
    failed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.BREAKS", [False])
    again = {"resume": True, "epochs": 3, "callbacks": [Breaks()]}
    result = fit(network(), loader(), out=failed, **again, **QUIET)
    assert [line["epoch"] for line in result.history] == [1, 2, 3]
    assert not (failed / "failure.json").exists()
    assert look(failed).state == "finished"
    alone = fit(network(), loader(), epochs=3, **QUIET)
    assert result.history[-1]["train_loss"] == alone.history[-1]["train_loss"]
    json.dumps(look(failed).data())
    assert isinstance(sg.load(failed, network()), nn.Module)


def test_every_error_is_one(tmp_path: Path) -> None:
    class Fails:
        def on_epoch(self, seen) -> None:
            raise ZeroDivisionError("of a callback")

    with pytest.raises(ZeroDivisionError):
        fit(network(), loader(), out=tmp_path / "run", epochs=1, callbacks=[Fails()], **QUIET)
    assert look(tmp_path / "run").problem == "ZeroDivisionError: of a callback"


def test_processes_that_fail_together_leave_their_reason(tmp_path: Path) -> None:
    broken = network()
    with torch.no_grad():
        broken[2].weight.fill_(float("inf"))
    for k in range(2):
        with pytest.raises(RunError, match=r"epoch 1, step 1: .*not finite"):
            fit(broken, loader(), out=tmp_path / f"run{k}", processes=2, epochs=1, **QUIET)
        assert "epoch 1, step 1: " in RunFolder.open(tmp_path / f"run{k}").failure


def test_a_failure_that_cannot_be_written_hides_nothing(tmp_path: Path, monkeypatch) -> None:
    def full(self, reason: str) -> None:
        raise RunError("no space left")

    monkeypatch.setattr(RunFolder, "write_failure", full)
    with pytest.raises(RunError, match="not finite"):
        fit(network(), loader(), out=tmp_path / "run", epochs=2, callbacks=[Breaks()], **QUIET)


def test_older_weights_of_a_run_that_failed_later_are_named(tmp_path: Path, monkeypatch) -> None:
    out, options = tmp_path / "run", {**QUIET, "callbacks": [Breaks()]}
    monkeypatch.setattr(f"{__name__}.BREAKS", [False])
    fit(network(), loader(), out=out, epochs=1, **options)
    monkeypatch.setattr(f"{__name__}.BREAKS", [True])
    with pytest.raises(RunError):
        fit(network(), loader(), out=out, epochs=2, resume=True, **options)
    assert look(out).state == "failed"
    with pytest.warns(sg.SpikegradWarning, match="failed when it went on"):
        sg.load(out, network())


def test_a_signal_is_no_failure(tmp_path: Path) -> None:
    class Stops:
        def on_step(self, seen) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="it is saved in"):
        fit(network(), loader(), out=tmp_path / "run", callbacks=[Stops()], epochs=1, **QUIET)
    assert RunFolder.open(tmp_path / "run").failure == ""
    assert look(tmp_path / "run").state == "unfinished"
