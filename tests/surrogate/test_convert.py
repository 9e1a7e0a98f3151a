"""Converters against values measured with the libraries themselves (make_golden.py)."""

import doctest
import json
import warnings
from pathlib import Path

import pytest
import torch

from spikegrad.errors import SpikegradWarning, UserError
from spikegrad.surrogate import (
    exponential,
    from_norse,
    from_snntorch,
    from_spikingjelly,
    from_spyx,
    superspike,
    verify,
)
from spikegrad.surrogate.convert import PEERS

GOLDEN = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parent / "golden").glob("*.json"))
}
CONVERT = {
    "norse": from_norse,
    "snntorch": from_snntorch,
    "spikingjelly": from_spikingjelly,
    "spyx": from_spyx,
}


def entries(*, converted):
    return [
        pytest.param(library, entry, id=f"{library}-{entry['name']}-{entry['arguments']}")
        for library, content in GOLDEN.items()
        for entry in content["entries"]
        if (entry["name"] in PEERS[library].conversions) == converted
    ]


def measured(library, name, given=None):
    for entry in GOLDEN[library]["entries"]:
        if entry["name"] == name and given in (None, entry["arguments"]):
            return entry
    raise KeyError(name)


def grid(library):
    return torch.tensor(GOLDEN[library]["x"], dtype=torch.float64)


@pytest.mark.parametrize("library", sorted(PEERS))
def test_every_surrogate_of_the_library_is_converted_or_refused(library):
    assert sorted(PEERS) == sorted(GOLDEN) == sorted(CONVERT)
    assert PEERS[library].version == GOLDEN[library]["version"]
    assert list(PEERS[library].names) == GOLDEN[library]["names"]
    covered = {entry["name"] for entry in GOLDEN[library]["entries"]}
    assert set(PEERS[library].conversions) <= covered


@pytest.mark.parametrize(("library", "entry"), entries(converted=True))
def test_is_the_function_that_the_library_computes(library, entry):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpikegradWarning)
        record = CONVERT[library](entry["name"], **entry["arguments"])
    verify(record)
    if (library, entry["name"]) == ("norse", "super"):
        record = superspike(1.0)  # what the release computes, whatever alpha: see the test below
    expected = torch.tensor(entry["derivative"], dtype=torch.float64)
    # float64 on both sides, but for Norse's sqrt(pi), which is a float32
    torch.testing.assert_close(record.derivative(grid(library)), expected, rtol=1e-7, atol=1e-12)
    if entry.get("primitive"):
        expected = torch.tensor(entry["primitive"], dtype=torch.float64)
        soft = CONVERT[library](entry["name"], spiking=False, **entry["arguments"])
        assert soft == record.soft()
        torch.testing.assert_close(soft.primitive(grid(library)), expected, rtol=1e-9, atol=1e-12)


def test_snntorch_sigmoid_overflows_and_ours_does_not():
    entry = measured("snntorch", "sigmoid", {})
    assert entry["far_float32"][0] == "nan"  # x = -10, slope 25
    with pytest.warns(SpikegradWarning, match=r"snntorch 1\.0\.0 returns NaN"):
        record = from_snntorch("sigmoid")
    assert record.derivative(torch.tensor([-10.0, -4.0, 4.0])).isfinite().all()


def test_norse_super_ignores_alpha_and_ours_does_not():
    flat, sharp = (measured("norse", "super", {"alpha": a}) for a in (1.0, 100.0))
    assert flat["derivative"] == sharp["derivative"]
    with pytest.warns(SpikegradWarning, match=r"norse 1\.1\.0 ignores alpha"):
        record = from_norse("super", alpha=100.0)
    assert record == superspike(100.0)


def test_the_others_convert_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for library, peer in PEERS.items():
            for name in set(peer.conversions) - set(peer.warnings):
                CONVERT[library](name)


@pytest.mark.parametrize(
    ("library", "name"),
    [(library, name) for library, peer in PEERS.items() for name in peer.refusals],
)
def test_refusals_give_the_reason(library, name):
    with pytest.raises(UserError, match=f"{name} is not converted: ") as refused:
        CONVERT[library](name)
    assert PEERS[library].refusals[name] in str(refused.value)


def test_the_reasons_are_what_was_measured():
    x = grid("snntorch")
    wrong = torch.tensor(measured("snntorch", "triangular", {})["derivative"])
    assert bool((wrong[x < 0] == 1).all())
    assert bool((wrong[x >= 0] == -1).all())
    sparse = torch.tensor(measured("snntorch", "SFS", {"slope": 2.0, "B": 0.5})["derivative"])
    assert bool((sparse[x < 0.5] == 0).all())
    assert bool((sparse[x > 0.5] > 0).all())
    assert "variance" in measured("snntorch", "LSO")["error"]
    ahead = torch.tensor(
        measured("snntorch", "spike_rate_escape", {"beta": 2.0, "slope": 3.0})["derivative"],
        dtype=torch.float64,
    )
    remedy = exponential(2.0, gain=2 * 3.0 / 2.0)  # the refusal's own advice, but one unit off
    torch.testing.assert_close(ahead, remedy.derivative(x - 1.0), rtol=1e-6, atol=1e-9)
    silent = torch.tensor(measured("snntorch", "heaviside")["derivative"])
    assert bool((silent[x < 0] == 0).all())


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: from_snntorch("fast_sigmod"), "did you mean 'fast_sigmoid'"),
        (lambda: from_spikingjelly("Atan"), "did you mean 'ATan'"),
        (lambda: from_norse("heavi_erf"), "did you mean 'heavi_erfc'"),
        (lambda: from_spyx("arctn"), "did you mean 'arctan'"),
        (lambda: from_snntorch("atan", alpa=2.0), "did you mean 'alpha'"),
        (lambda: from_snntorch("straight_through_estimator", slope=1.0), "unknown argument"),
        (lambda: from_snntorch("atan", alpha=0.0), "alpha positive"),
        (lambda: from_spyx("boxcar", width=-1.0), "width positive"),
        (lambda: from_norse("tanh", alpha=float("nan")), "alpha finite"),
        (lambda: from_spikingjelly("QPseudoSpike", alpha=1.0), r"q in \(1, inf\)"),
        (lambda: from_spikingjelly("PiecewiseLeakyReLU", w=1.0, c=0.6), "leak in"),
    ],
)
def test_wrong_names_and_arguments(call, says):
    with pytest.raises(UserError, match=says):
        call()


def test_an_argument_that_is_no_number():
    with pytest.raises(TypeError, match="alpha as a number"):
        from_norse("tanh", alpha="2")


def test_the_page_runs():
    page = Path(__file__).parents[2] / "docs" / "surrogates.md"
    result = doctest.testfile(str(page), module_relative=False)
    assert result.attempted > 10
    assert result.failed == 0
