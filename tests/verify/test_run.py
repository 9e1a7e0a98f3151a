"""`spikegrad.verify.run` and `spikegrad verify`: names, verdicts, errors, JSON, any terminal."""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import spikegrad as sg
from spikegrad import verify
from spikegrad.cli.main import main
from spikegrad.verify import Claim, Measured, registry

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["loop-integral", "e-prop"]


def made(name: str, *figures: Measured, error: Exception | None = None) -> Claim:
    """A claim with these figures, ended by an error."""

    def measure(seed: int) -> Iterator[Measured]:
        yield from figures
        if error is not None:
            raise error

    return Claim(name, f"the statement of {name}", "its source", "repair it", measure)


GOOD = made("good", Measured("distance", 0.5, most=1.0))
BAD = made("bad", Measured("first", 0.5, most=1.0), Measured("second", 3.0, 1.0, 2.0))


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Other claims instead of the real ones."""

    def put(*claims: Claim) -> None:
        monkeypatch.setattr(registry, "_found", lambda: {each.name: each for each in claims})

    return put


def test_names_and_order() -> None:
    assert verify.names()[:2] == ("surrogates", "backends")
    assert len(verify.names()) == 10
    found = verify.run([*QUICK, QUICK[0]])
    assert [each.claim.name for each in found.verdicts] == QUICK
    assert sg.verify is verify


def test_an_unknown_name_suggests() -> None:
    with pytest.raises(sg.UserError, match=r"unknown check 'eprop'; did you mean 'e-prop'\?"):
        verify.run(["eprop"])


def test_the_same_seed_gives_the_same_figures() -> None:
    first, again, other = (verify.run(["two-layers"], seed=s).verdicts[0] for s in (3, 3, 4))
    assert first.figures == again.figures
    assert first.figures != other.figures


@pytest.mark.parametrize(
    ("claim", "word", "figure"),
    [
        (GOOD, "holds", "distance: 0.5 (at most 1)"),
        (BAD, "FAILS", "second: 3 (at least 1, at most 2)"),
        (made("nan", Measured("x", math.nan, most=1.0)), "FAILS", "x: nan (at most 1)"),
        (made("none"), "FAILS", "nothing was measured"),
        (made("error", error=ValueError("broken")), "FAILS", "ValueError: broken"),
        (made("not here", error=verify.NotRun("no GPU")), "not run", "no GPU"),
    ],
)
def test_verdicts(claim: Claim, word: str, figure: str, own: Any) -> None:
    own(claim, GOOD)
    found = verify.run([claim.name, "good"])
    assert (found.verdicts[0].word, found.verdicts[0].figure) == (word, figure)
    assert found.ok == (word != "FAILS")
    assert found.verdicts[-1].word == "holds"  # what comes after it runs


def test_a_wrong_figure_counts_more_than_what_is_missing(own: Any) -> None:
    own(made("half", Measured("x", 2.0, most=1.0), error=verify.NotRun("no GPU")))
    assert verify.run().verdicts[0].word == "FAILS"


def test_before_and_after_are_told(own: Any) -> None:
    own(GOOD, BAD)
    seen: list[str] = []
    verify.run(before=lambda c: seen.append(c.name), after=lambda v: seen.append(v.word))
    assert seen == ["good", "holds", "bad", "FAILS"]


# -- the command line -------------------------------------------------------------------------


def test_a_run_says_what_it_checks_and_shows_a_table(capsys: Any) -> None:
    assert main(["verify", *QUICK]) == 0
    out, err = capsys.readouterr()
    assert err.splitlines() == ["checks loop-integral", "checks e-prop"]
    assert "2 of 2 checks hold" in out
    assert "BPTT" in out
    assert "at most" in out or "at least" in out


def test_a_failure_says_what_to_do_and_has_status_1(own: Any, capsys: Any) -> None:
    own(GOOD, BAD)
    assert main(["verify"]) == 1
    out, err = capsys.readouterr()
    assert "bad FAILS\n  second: 3 (at least 1, at most 2)\n" in out
    assert "  what to do: repair it\n" in out
    assert "1 of 2 checks hold, 1 FAILED" in out
    assert err.splitlines()[-1].endswith("1 of 2 failed: bad; what to do is above")


def test_json_is_one_object(own: Any, capsys: Any) -> None:
    own(GOOD, BAD, made("nan", Measured("x", math.nan)))
    assert main(["verify", "--json", "--quiet", "--seed", "5"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["seed"]) == (False, 5)
    good, bad, nan = found["checks"]
    assert good["verdict"] == "holds"
    assert good["statement"] == "the statement of good"
    assert (good["source"], good["remedy"]) == ("its source", "repair it")
    assert bad["figures"][1] == {
        "what": "second", "value": 3.0, "least": 1.0, "most": 2.0, "holds": False,
    }  # fmt: skip
    assert (nan["figures"][0]["value"], nan["figures"][0]["most"]) == ("nan", "inf")


def test_quiet_is_silent_unless_something_fails(own: Any, capsys: Any) -> None:
    own(GOOD, BAD)
    assert main(["verify", "good", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["verify", "--quiet"]) == 1
    assert "what to do: repair it" in capsys.readouterr().out


def test_a_wrong_name_is_one_line_and_status_2(capsys: Any) -> None:
    assert main(["verify", "surogates"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "did you mean 'surrogates'?" in err
    assert main(["verify", "--seed", "-1"]) == 2


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_narrow_terminal_loses_nothing(
    width: int, own: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    own(made("two-layers", Measured("a figure", 0.25, most=1.0)))
    assert main(["verify"]) == 0
    *table, _, last = capsys.readouterr().out.splitlines()
    assert max(map(len, table)) <= width
    words = " ".join(" ".join(table).split())
    for part in ("two-layers", "holds", "the statement of two-layers", "a figure: 0.25 (at most"):
        assert part in words
    assert last.startswith("1 of 1 checks hold")


def test_every_text_is_plain(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """LC_ALL=C: what the real claims say can be written in ASCII."""
    for each in (registry._found()[name] for name in verify.names()):
        assert f"{each.statement}{each.source}{each.remedy}".isascii()
    own(GOOD)
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", errors="strict"))
    assert main(["verify"]) == 0
    sys.stdout.flush()
    assert b"1 of 1 checks hold" in raw.getvalue()


def test_the_program_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "spikegrad", "verify", "e-prop", "--json"],
        cwd=ROOT,
        env={**os.environ, "LC_ALL": "C", "COLUMNS": "40"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "checks e-prop\n")
    assert json.loads(done.stdout)["ok"] is True
