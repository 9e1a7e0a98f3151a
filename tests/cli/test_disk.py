"""What a machine has for a run: a disk that may be full, a folder behind a link, cores."""

from __future__ import annotations

import errno
import os

import pytest
import torch

from spikegrad.cli.main import main
from spikegrad.errors import RunError, SpikegradWarning, UserError
from spikegrad.train.config import gather
from spikegrad.train.folder import RunFolder, write_atomic
from spikegrad.train.settings import check_threads, for_measuring, settings

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


def test_threads_of_all_processes_are_counted(monkeypatch):
    """Eight processes with eight threads each were eight threads once."""
    monkeypatch.setattr("spikegrad.train.settings._cores", lambda: 4)
    check_threads(4)
    check_threads(1, processes=64)
    check_threads(2, processes=2)
    with pytest.warns(SpikegradWarning, match="3 threads on 4 cores, with 2 processes"):
        check_threads(3, processes=2)
    with pytest.raises(UserError, match="expected threads <= 2, four for each of 4 cores"):
        check_threads(3, processes=8)


def test_a_run_with_more_threads_than_this_machine_has_cores_is_measured(monkeypatch):
    """`eval` and `predict` refused a run of a larger machine; they take no number of threads."""
    monkeypatch.setattr("spikegrad.train.settings._cores", lambda: 1)
    before = torch.get_num_threads()
    with settings(for_measuring(gather({"threads": 64, "processes": 4}).run)):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
