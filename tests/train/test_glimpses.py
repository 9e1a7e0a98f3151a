"""Samples and measures while a run trains: when they are written; nothing depends on them."""

from __future__ import annotations

import json

import pytest
import torch
from runs import loader, network

from spikegrad.train import fit, glimpses


def trained(folder, subject=None, **options):
    torch.manual_seed(0)
    x, y = torch.rand(60, 12), torch.arange(60) % 3
    batches = loader(x, y)
    return fit(
        subject or network(),
        batches,
        val_loader=batches,
        steps=6,
        epochs=2,
        out=folder,
        threads=1,
        tensorboard=False,
        preflight="off",
        progress=False,
        **options,
    )


class Look:
    """A callback that notes what is known of the network after each epoch."""

    def __init__(self, folder):
        self.folder, self.seen = folder, []

    def on_epoch(self, seen):
        path = self.folder / "measures.json"
        self.seen.append(json.loads(path.read_text())["epoch"] if path.is_file() else None)


def test_a_short_run_has_none_before_its_end(tmp_path):
    look = Look(tmp_path / "run")
    trained(tmp_path / "run", callbacks=[look])
    assert look.seen == [None, None]
    assert "epoch" not in json.loads((tmp_path / "run" / "measures.json").read_text())


def test_looking_changes_nothing_that_is_trained(tmp_path, monkeypatch):
    plain = trained(tmp_path / "plain")
    monkeypatch.setattr(glimpses.Glimpses, "due", lambda self, trainer: True)
    look = Look(tmp_path / "looked")
    looked = trained(tmp_path / "looked", callbacks=[look])
    assert look.seen == [1, 2]
    for name in ("weights.safetensors",):
        assert (tmp_path / "looked" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    for one, other in zip(plain.history, looked.history, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


def test_it_waits_until_looking_takes_one_percent(monkeypatch):
    class Trainer:
        folder = object()

        class place:
            world = 1

    now = [100.0]
    monkeypatch.setattr(glimpses.time, "perf_counter", lambda: now[0])
    held = glimpses.Glimpses()
    assert not held.due(Trainer())
    now[0] += 10.1
    assert held.due(Trainer())
    held.since, held.took = now[0], 2.0
    now[0] += 199.0
    assert not held.due(Trainer())
    now[0] += 2.0
    assert held.due(Trainer())
    Trainer.place.world = 2
    assert not held.due(Trainer())


def test_a_network_that_cannot_be_looked_at_is_trained_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(glimpses.Glimpses, "due", lambda self, trainer: self.on)

    def broken(*_args, **_kwargs):
        raise RuntimeError("no recording of this one")

    monkeypatch.setattr(glimpses, "write_samples", broken)
    said = []
    monkeypatch.setattr(
        "spikegrad.train.progress.Watcher.say", lambda self, text, style="": said.append(text)
    )
    result = trained(tmp_path / "run")
    assert len(result.history) == 2
    assert said == ["no figures of layers while it trains: no recording of this one"]


@pytest.mark.parametrize("name", ["samples.npz", "measures.json"])
def test_what_was_written_on_the_way_is_replaced_at_the_end(tmp_path, monkeypatch, name):
    monkeypatch.setattr(glimpses.Glimpses, "due", lambda self, trainer: True)
    trained(tmp_path / "looked")
    monkeypatch.undo()
    trained(tmp_path / "plain")
    assert (tmp_path / "looked" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
