"""What `spikegrad bench` prints."""

from __future__ import annotations

from spikegrad.cli.bench import show


def test_the_ratio_reads_as_what_it_is(capsys):
    """Its heading was "x ReLU", which reads as so many times faster where it means slower."""
    row = {"task": "recurrent", "network": "700-512-20", "steps": 100, "batch": 64,
           "median_ms": 30.0, "samples_per_second": 2133.3, "times_relu": 1.25,
           "activity": 0.05}  # fmt: skip
    machine = {"cores": 2, "instruction sets": "generic"}
    show({"rows": [row], "threads": 2, "backend": "cpu", "isa": "generic", "processor": machine})
    out = capsys.readouterr().out
    assert "time / ReLU" in out.splitlines()[0]
    assert "x ReLU" not in out
    assert "1.25" in out
    assert "below 1 the spiking network is faster" in " ".join(out.split())
