"""The pages of a comparison and of a verification."""

from __future__ import annotations

import json

import pytest
from browser import chromium, watched

from spikegrad.cli.main import main
from spikegrad.errors import UserError
from spikegrad.report import write_report
from spikegrad.report.page import (
    comparison_content,
    html,
    verification_content,
    write_page,
    write_runs,
)

ATTACK = "</script><script>window.harm=1</script>"


def spread(*values):
    mean = sum(values) / len(values)
    sd = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
    return {"n": len(values), "mean": mean, "sd": sd, "half": 0.1}


def results():
    """What `spikegrad compare` writes, of two variants and two seeds; one run failed."""
    figures = ["rate", "gradient", "growth", "passing", "seconds_per_epoch"]
    shared = {name: spread(0.1, 0.2) for name in figures}
    best = {"a": 1, "b": 0, "n": 2, "difference": -0.2, "half": 0.1, "p": 0.01, "adjusted": 0.01}
    return {
        "dataset": "digits",
        "folder": "somewhere",
        "metric": "test_accuracy",
        "larger_is_better": True,
        "test": "paired t-test",
        "level": 0.05,
        "equal": ["area"],
        "seeds": [0, 1],
        "complete": False,
        "variants": [
            {
                "name": ATTACK,
                "variant": 0,
                "settings": {"surrogate": "arctan"},
                "rank": 1,
                "figures": {"test_accuracy": spread(0.9, 0.8), **shared},
                "against_best": None,
            },
            {
                "name": "triangle",
                "variant": 1,
                "settings": {"surrogate": "triangle"},
                "rank": 2,
                "figures": {"test_accuracy": spread(0.7, 0.6), **shared},
                "against_best": {**best, "shown": True},
            },
        ],
        "pairs": [{**best, "shown": True}],
        "trials": [
            {"variant": v, "seed": s, "folder": "f", "failed": "", "test_accuracy": 0.9 - 0.2 * v}
            for v, s in ((0, 0), (0, 1), (1, 0))
        ]
        + [{"variant": 1, "seed": 1, "folder": "f", "failed": f"a loss of NaN {ATTACK}"}],
    }


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "comparison.json").write_text("{}")
    (tmp_path / "results.json").write_text(json.dumps(results()))
    return tmp_path


def block(content, tab, name):
    blocks = next(each["blocks"] for each in content["tabs"] if each["id"] == tab)
    return next(each for each in blocks if each.get("id") == name)


def test_the_page_of_a_comparison_has_ranking_spread_pairs_and_runs(folder):
    content = comparison_content(folder)
    assert [tab["id"] for tab in content["tabs"]] == ["ranking", "figures", "pairs", "trials"]
    rows = block(content, "ranking", "ranking")["rows"]
    assert [row[:3] for row in rows] == [
        [1, ATTACK, pytest.approx(0.85)],
        [2, "triangle", pytest.approx(0.65)],
    ]
    assert rows[1][7] == "worse"
    means, seeds = block(content, "ranking", "measure-test_accuracy")["series"]
    assert means["error"] == pytest.approx([0.0707, 0.0707], abs=1e-4)
    assert seeds["y"] == pytest.approx([0.9, 0.9, 0.7])  # a run that failed has no figure
    assert len(block(content, "trials", "trials")["rows"]) == 4
    assert "Failed: triangle, seed 1" in json.dumps(content)


def test_report_knows_the_folder_of_a_comparison(folder, capsys):
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    assert ATTACK not in (folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "expected results in"),
        ("{", "expected JSON in"),
        ('{"metric": "loss"}', "expected results of spikegrad"),
        (json.dumps({**results(), "variants": [{}]}), "expected results of spikegrad"),
    ],
)
def test_a_comparison_without_whole_results_is_one_clear_line(folder, text, said):
    (folder / "results.json").unlink()
    if text is not None:
        (folder / "results.json").write_text(text)
    with pytest.raises(UserError, match=said):
        write_report(folder)
    assert not (folder / "report.html").exists()


def test_compare_writes_its_page(tmp_path, capsys):
    words = ["compare", "digits", "--surrogates", "arctan,triangle", "--seeds", "1"]
    words += ["--epochs", "1", "--hidden", "8", "--steps", "2", "--workers", "1", "--threads", "1"]
    assert main([*words, "--out", str(tmp_path / "c")]) == 0
    assert "report.html in" in capsys.readouterr().out.replace("\n", " ")
    assert (tmp_path / "c" / "report.html").is_file()


def verdicts():
    one = {"what": "error", "value": 2.0, "least": "-inf", "most": 1.0, "holds": False}
    base = {"statement": "a = b", "source": "somebody", "reason": "", "seconds": 0.1}
    return {
        "ok": False,
        "seed": 0,
        "seconds": 0.2,
        "checks": [
            {**base, "name": "good", "verdict": "holds", "figure": "", "remedy": "", "figures": []},
            {**base, "name": "bad", "verdict": "FAILS", "figure": "error: 2", "remedy": "repair it",
             "figures": [one]},
        ],
    }  # fmt: skip


def test_the_page_of_a_verification_has_every_verdict_and_figure():
    content = verification_content(verdicts())
    assert [row[:2] for row in block(content, "checks", "verdicts")["rows"]] == [
        ["good", "holds"],
        ["bad", "FAILS"],
    ]
    (card,) = block(content, "checks", "failed")["findings"]
    assert card["advice"] == "repair it"
    assert block(content, "figures", "figures")["rows"] == [
        ["bad", "error", 2.0, "-inf", 1.0, "NO"]
    ]
    assert "repair it" in html(content)


def test_verify_writes_its_page(tmp_path, capsys):
    page = tmp_path / "v.html"
    assert main(["verify", "loop-integral", "--quiet", "--report", str(page)]) == 0
    assert "loop-integral" in page.read_text()
    assert main(["verify", "loop-integral", "--report", str(tmp_path / "no" / "v.html")]) == 2
    assert "in a folder that is there" in capsys.readouterr().err


def with_run(folder, name="01-odd & name"):
    """Give the first run of a comparison a folder, as a comparison that was moved has it."""
    run = folder / name / "seed-0"
    run.mkdir(parents=True)
    (run / "config.toml").write_text("")
    held = results()
    held["trials"][0]["folder"] = f"somewhere/{name}/seed-0"
    held["trials"][1]["folder"] = "somewhere/../../elsewhere"
    held["trials"][2]["folder"] = None
    (folder / "results.json").write_text(json.dumps(held))
    return run


def test_a_comparison_leads_to_the_pages_of_its_runs(folder, capsys):
    run = with_run(folder)
    assert main(["report", str(folder)]) == 0
    rows = block(comparison_content(folder), "trials", "trials")["rows"]
    assert [row[0] for row in rows] == [ATTACK, ATTACK, "triangle", "triangle"]  # no page yet
    capsys.readouterr()
    assert main(["report", str(folder), "--runs"]) == 0
    written = capsys.readouterr().out.split("\n")[:2]
    assert written == [str(run / "report.html"), str(folder / "report.html")]
    rows = block(comparison_content(folder), "trials", "trials")["rows"]
    link = {"text": ATTACK, "address": "./01-odd%20%26%20name/seed-0/report.html"}
    assert [row[0] for row in rows] == [link, ATTACK, "triangle", "triangle"]


def test_a_damaged_run_is_a_line_and_the_others_get_their_pages(folder, capsys):
    run = with_run(folder)
    (run / "result.json").write_text("{")
    assert main(["report", str(folder), "--runs"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "no page: expected JSON in" in out
    assert out.endswith(str(folder / "report.html"))


def test_runs_of_what_is_no_comparison_are_refused(tmp_path, capsys):
    (tmp_path / "config.toml").write_text("")
    assert main(["report", str(tmp_path), "--runs"]) == 2
    assert "expected the folder of a comparison" in capsys.readouterr().err


def test_a_link_opens_the_page_of_a_run(folder):
    run = with_run(folder)
    write_runs(folder)
    with chromium() as browser, watched(browser) as (page, said, _):
        page.goto((folder / "report.html").as_uri() + "#trials")
        page.click("#part-trials td a")
        page.wait_for_url((run / "report.html").as_uri() + "**")
        assert said == []
        assert page.evaluate("window.harm") is None


def test_both_are_drawn_without_a_complaint(folder):
    with_run(folder)
    write_runs(folder)
    write_page(verification_content(verdicts()), folder / "verify.html")
    with chromium() as browser:
        for name in ("report.html", "verify.html"):
            for width in (400, 1600):
                size = {"width": width, "height": 900}
                with watched(browser, viewport=size) as (page, said, _):
                    page.goto((folder / name).as_uri())
                    tabs = page.eval_on_selector_all("nav button", "all => all.map(b => b.id)")
                    for tab in tabs:
                        page.click(f"#{tab}")
                        part = f"#{tab.replace('tab', 'part')}"
                        page.wait_for_selector(f"{part} .blocks[data-done]", state="attached")
                        assert page.locator(part).inner_text().strip()
                        assert page.evaluate("document.documentElement.scrollWidth") <= width
                    assert said == []
                    assert page.evaluate("window.harm") is None
