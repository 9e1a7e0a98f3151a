"""`spikegrad doctor` and `spikegrad data` tell what is, and warn of what is wrong."""

from __future__ import annotations

import copy
import json
import platform

import pytest
import torch
from click.testing import CliRunner

from spikegrad.cli.data import data
from spikegrad.cli.doctor import doctor, examine, warnings_of
from spikegrad.cli.main import main
from spikegrad.data import catalogue, names
from spikegrad.kernels import choose, cpu
from spikegrad.kernels.dispatch import SCANS


@pytest.fixture
def healthy(monkeypatch) -> dict:
    """Facts of a machine without fault."""
    monkeypatch.delenv("SPIKEGRAD_DATA", raising=False)
    found = copy.deepcopy(examine())
    found["versions"] = dict.fromkeys(found["versions"], "9.9.9")
    found["processor"] = {"cores": 4, "threads": 4, "OMP_NUM_THREADS": "not set"}
    found["devices"] = {"cpu": "x"}
    found["kernels"] |= {"backend triton": "can run", "triton": "3.7.0; 2 kernels agreed"}
    return found


def test_the_facts_are_those_of_this_machine(monkeypatch):
    monkeypatch.delenv("SPIKEGRAD_DATA", raising=False)
    result = CliRunner().invoke(doctor, ["--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert found["versions"]["torch"] == torch.__version__
    assert found["versions"]["python"] == platform.python_version()
    assert found["processor"]["threads"] == torch.get_num_threads()
    assert found["data"]["SPIKEGRAD_DATA"] == "not set"
    assert set(names()) < set(found["data"])
    for scan in SCANS:
        assert found["kernels"][scan].startswith(choose(scan).backend)
    chosen = cpu.in_force()
    assert found["kernels"]["instruction set"] == f"{chosen.name} ({chosen.reason})"
    assert chosen.name in found["processor"]["instruction sets"].split(", ")


def test_the_page_has_every_group(capsys):
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    for group in ("versions", "processor", "devices", "kernels", "data", "determinism"):
        assert f"\n{group}" in f"\n{text}"
    assert "no problem found" in text or "warning: " in text


def test_a_healthy_machine_has_no_warning(healthy):
    assert warnings_of(healthy) == []


@pytest.mark.parametrize(
    ("group", "key", "value", "words"),
    [
        ("versions", "pooch", "missing", "pip install pooch"),
        ("versions", "torch", "2.9.1+cpu", "older than 2.10"),
        ("processor", "OMP_NUM_THREADS", "64", "OMP_NUM_THREADS=64 on 4 cores"),
        ("processor", "threads", 8, "8 threads on 4 cores"),
        ("data", "SPIKEGRAD_DATA", "/no/such/folder", "/no/such/folder is not a folder"),
        ("devices", "cuda:0", "a GPU", "CUBLAS_WORKSPACE_CONFIG"),
        ("kernels", "backend cpu", "no C++ compiler (g++)", "slower: no C++ compiler (g++)"),
        ("kernels", "triton", "3.7.0; not used: alif on GPU 1 (the x)", "alif on GPU 1 (the x)"),
    ],
)
def test_each_fault_has_its_warning(healthy, group, key, value, words):
    healthy[group][key] = value
    healthy["determinism"]["CUBLAS_WORKSPACE_CONFIG"] = "not set"
    (warning,) = warnings_of(healthy)
    assert words in warning


def test_a_gpu_without_triton_has_a_warning(healthy):
    healthy["kernels"]["backend triton"] = "Triton is not installed"
    assert warnings_of(healthy) == []
    healthy["devices"]["cuda:0"] = "a GPU"
    healthy["determinism"]["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    (warning,) = warnings_of(healthy)
    assert warning.endswith("step after the other on the GPU: Triton is not installed")


def test_an_instruction_set_that_cannot_be_used_is_seen(monkeypatch, capsys):
    monkeypatch.setenv("SPIKEGRAD_ISA", "avx1024")
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "warning: SPIKEGRAD_ISA: unknown instruction set 'avx1024'" in out
    assert "unset it" in out
    assert main(["build"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_kernels_that_do_not_load_are_a_problem(monkeypatch, capsys):
    """It said "nothing to put right" where no compiler exists and nothing native can run."""
    found = {"reference": "", "cpu": "no C++ compiler (g++); install one"}
    monkeypatch.setattr("spikegrad.kernels.available", lambda: found)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "warning: the fast CPU kernels are missing" in out
    assert "no C++ compiler (g++); install one" in out
    assert "no problem found" not in out


def test_a_wrong_folder_is_seen_by_the_command(monkeypatch, capsys):
    monkeypatch.setenv("SPIKEGRAD_DATA", "/no/such/folder")
    assert main(["doctor"]) == 0
    assert "warning: SPIKEGRAD_DATA=/no/such/folder is not a folder" in capsys.readouterr().out


def test_data_lists_the_catalogue():
    result = CliRunner().invoke(data, ["--json"])
    assert [entry["name"] for entry in json.loads(result.output)] == [e.name for e in catalogue()]
    assert json.loads(result.output)[0]["present"] is True  # digits come with the package


def test_data_says_how_to_get_what_is_not_here(tmp_path, capsys):
    assert main(["data", "--folder", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "mnist: not found in" in text
    assert str(tmp_path) in text
    assert "SPIKEGRAD_DATA" in text
    assert "digits: in the package" in text


def test_data_finds_what_is_here(tmp_path):
    (tmp_path / "mnist").mkdir()
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (tmp_path / "mnist" / f"{part}-{kind}-ubyte").write_bytes(b"")
    result = CliRunner().invoke(data, ["--json", "--folder", str(tmp_path)])
    found = {entry["name"]: entry for entry in json.loads(result.output)}
    assert found["mnist"]["present"]
    assert found["mnist"]["where"] == str(tmp_path / "mnist")
    assert not found["fashion-mnist"]["present"]


@pytest.mark.parametrize("command", ["data", "doctor"])
def test_an_unknown_option_is_one_line_and_status_2(command, capsys):
    assert main([command, "--jsn"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
