"""Where a run is written: a full disk, a folder behind a link."""

from __future__ import annotations

import errno
import os

import pytest

from spikegrad.cli.main import main
from spikegrad.errors import RunError
from spikegrad.train.folder import RunFolder, write_atomic

WORDS = ["train", "--hidden", "8", "--steps", "2", "--epochs", "2", "--threads", "1", "--quiet"]
WORDS += ["--no-tensorboard", "--preflight", "off", "--backend", "reference"]


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    write_atomic(tmp_path / "file", b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="file, got No space left on device; free some space"):
        write_atomic(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_disk_that_fills_up_while_training(tmp_path, monkeypatch, capsys):
    """It was a bare OSError, and left .checkpoint.pt.tmp behind."""
    written = write_atomic

    def fills_up(path, data):
        if path.name == "checkpoint.pt":
            monkeypatch.setattr(os, "fsync", full)
        written(path, data)

    monkeypatch.setattr("spikegrad.train.checkpoint.write_atomic", fills_up)
    assert main([*WORDS, "--out", str(tmp_path / "run")]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: expected to write")
    assert "No space left on device; free some space" in err
    assert err.count("\n") == 1
    assert list((tmp_path / "run").glob(".*.tmp")) == []


def test_a_run_goes_into_the_folder_behind_a_link(tmp_path):
    """The rename of the new folder met the link and was refused."""
    (tmp_path / "big disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "big disk")
    run = RunFolder.create(tmp_path / "run", "[run]\n")
    assert run.config.read_text() == "[run]\n"
    assert (tmp_path / "run").is_symlink()
    assert (tmp_path / "big disk" / "config.toml").is_file()


def test_more_threads_than_cores_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("spikegrad.train.settings._cores", lambda: 1)
    words = [*WORDS[:-2], "--backend", "reference", "--epochs", "1", "--threads", "2"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    err = capsys.readouterr().err
    assert "warning: 2 threads on 1 cores wait for each other; use 1 or fewer" in err
    assert main([*words, "--threads", "5", "--out", str(tmp_path / "other")]) == 2
    assert not (tmp_path / "other").exists()
