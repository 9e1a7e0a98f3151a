"""The page in a real browser: every tab, both sizes, both modes, and what a reader can do."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
import torch
from browser import chromium, watched
from runs import ATTACK, NAMES, made

from spikegrad.report import write_report
from spikegrad.surrogate import boxcar, fast_sigmoid

KINDS = ["classes", "regression", "no spikes", "silent", "one"]


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory, browser):
    there = tmp_path_factory.mktemp("pages")
    return {kind: write_report(made(there / kind.replace(" ", "-"), kind)) for kind in KINDS}


@pytest.fixture(scope="module")
def page(browser, pages):
    """One page for the tests that use it as a reader would, one after the other."""
    with watched(browser, viewport={"width": 1200, "height": 900}) as (page, said, _):
        page.goto(pages["classes"].as_uri())
        yield page
        assert said == []


def tabs_of(page):
    return page.eval_on_selector_all("nav button", "all => all.map(b => b.id.slice(4))")


def show(page, tab):
    """Open a tab and wait until all of it is drawn."""
    page.click(f"#tab-{tab}")
    page.wait_for_selector(f"#part-{tab} .blocks[data-done]", state="attached")


def numbers(page, plot, name):
    """x and y of a line in a figure."""
    found = page.evaluate(
        "([plot, name]) => { const all = document.getElementById(plot).data, "
        "t = all.find(t => t.name === name); return [Array.from(t.x), Array.from(t.y)]; }",
        [plot, name],
    )
    return np.array(found[0]), np.array(found[1])


OVERLAPS = """id => {
  const turned = t => { const m = t.getCTM(); return Math.abs(m.b * m.a) > 1e-6; };
  const texts = [...document.querySelectorAll('#part-' + id + ' svg text')]
    .filter(t => t.textContent.trim() && !turned(t));
  const boxes = texts.map(t => [t.textContent, t.getBoundingClientRect()])
    .filter(([, b]) => b.width > 0);
  const found = [];
  boxes.forEach(([a, p], i) => boxes.slice(i + 1).forEach(([b, q]) => {
    const wide = Math.min(p.right, q.right) - Math.max(p.left, q.left);
    const high = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
    if (wide > 3 && high > 3) found.push(a + ' | ' + b);
  }));
  return found;
}"""
"""Texts of figures that lie on one another; the box of one that is turned says nothing."""


@pytest.mark.parametrize(
    ("kind", "width", "mode"),
    [
        ("classes", 400, "light"),
        ("classes", 1600, "light"),
        ("classes", 400, "dark"),
        ("classes", 1600, "dark"),
        ("regression", 1600, "light"),
        ("no spikes", 400, "light"),
        ("silent", 400, "light"),
        ("one", 1600, "dark"),
    ],
)
def test_every_tab_is_drawn_without_a_complaint(browser, pages, kind, width, mode):
    options = {"viewport": {"width": width, "height": 900}, "color_scheme": mode}
    with watched(browser, **options) as (page, said, asked):
        page.goto(pages[kind].as_uri())
        for tab in tabs_of(page):
            show(page, tab)
            part = page.locator(f"#part-{tab}")
            assert part.is_visible()
            assert part.inner_text().strip()
            figures = part.locator(".plot")
            assert figures.count() == part.locator(".plot .main-svg").evaluate_all(
                "all => new Set(all.map(s => s.closest('.plot'))).size"
            )
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate(OVERLAPS, tab) == []
        assert said == []
        assert {url.split(":")[0] for url in asked} <= {"file", "data", "blob"}
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (mode == "light")


def test_nothing_that_a_user_named_is_executed(browser, pages):
    with watched(browser, viewport={"width": 1600, "height": 900}) as (page, said, _):
        page.goto(pages["classes"].as_uri())
        for tab in tabs_of(page):
            show(page, tab)
        assert page.evaluate("window.harm") is None
        assert page.locator("img, main b, main script").count() == 0
        show(page, "confusion")
        assert ATTACK in page.locator("#part-confusion table").last.inner_text()
        assert "=red \\x1b[31m\\u202e" in page.locator("#part-confusion").inner_text()
        show(page, "settings")
        assert ATTACK in page.locator("#part-settings").inner_text()
        # An inline script that somebody brings in all the same has no digest in the policy.
        page.evaluate(
            "(() => { const s = document.createElement('script');"
            " s.textContent = 'window.harm = 3'; document.body.append(s); })()"
        )
        assert page.evaluate("window.harm") is None
        assert len(said) == 1
        assert "Content Security Policy" in said[0]


SLIDE = """(([value]) => { const s = document.getElementById('slope'); s.value = value;
s.dispatchEvent(new Event('input')); })"""


@pytest.mark.parametrize("layer", [0, 1])
def test_the_slider_moves_the_curve_to_that_of_the_slope(page, layer):
    """In the browser the derivative and primitive of any slope are those that torch computes."""
    first = [boxcar(2.0), fast_sigmoid(3.0, normalisation="peak")][layer]
    show(page, "surrogate")
    page.select_option("#part-surrogate select", str(layer))
    drawn = {}
    for exponent in (0.0, 0.7, -0.5):
        page.evaluate(SLIDE, [exponent])
        surrogate = first.with_slope(first.slope * 10**exponent)
        for plot, name, values in (
            ("surrogate-derivative", "derivative", surrogate.derivative),
            ("surrogate-primitive", "primitive", surrogate.primitive),
        ):
            x, y = numbers(page, plot, name)
            edge = np.abs(np.abs(x) - surrogate.support) < 1e-6 if layer == 0 else x > np.inf
            expected = values(torch.from_numpy(x)).numpy()
            np.testing.assert_allclose(
                y[~edge], expected[~edge], atol=5e-3 * max(1, expected.max())
            )
            drawn[exponent, name] = y.max()
        path = page.locator("#surrogate-derivative .scatterlayer path.js-line").last
        drawn[exponent, "path"] = path.get_attribute("d")
    assert len({drawn[e, "path"] for e in (0.0, 0.7, -0.5)}) == 3
    if layer == 0:  # of area 1: the sharper, the higher
        assert drawn[0.7, "derivative"] == pytest.approx(
            drawn[0.0, "derivative"] * 10**0.7, rel=0.01
        )
    assert "trained with" in page.locator("#slope-value").inner_text()
    page.click("text=as trained")
    assert "(as trained)" in page.locator("#slope-value").inner_text()


def test_the_share_of_membranes_that_pass_is_that_of_the_histogram(page, pages):
    measures = json.loads((pages["classes"].parent / "measures.json").read_text())
    layer = measures["health"]["layers"][0]  # a boxcar: what passes is what lies in its support
    show(page, "surrogate")
    page.select_option("#part-surrogate select", "0")
    page.evaluate(SLIDE, [0.0])

    def share():
        text = page.locator("#part-surrogate dl").inner_text()
        return float(text.split("membranes that pass a gradient")[1].split("%")[0]) / 100

    assert share() == pytest.approx(layer["nonzero"], abs=0.03)
    page.evaluate(SLIDE, [1.0])
    assert share() < 0.5 * layer["nonzero"]


def test_a_cell_of_the_confusion_shows_its_samples(page, pages):
    cells = json.loads((pages["classes"].parent / "measures.json").read_text())["cells"]
    show(page, "confusion")
    for row, column in {(c["true"], c["predicted"]) for c in cells}:
        page.select_option("#part-confusion select >> nth=0", str(row))
        page.select_option("#part-confusion select >> nth=1", str(column))
        wanted = [c["sample"] for c in cells if (c["true"], c["predicted"]) == (row, column)]
        shown = page.locator("#part-confusion .sample").all_inner_texts()
        assert len(shown) == len(wanted)
        assert all(f"sample {n}" in text for n, text in zip(wanted, shown, strict=True))
    # A click into the figure chooses the cell under it.
    place = page.evaluate(
        "(() => { const b = document.querySelector('#confusion-plot .nsewdrag')"
        ".getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; })()"
    )
    page.mouse.move(place[0] + place[2] / 6, place[1] + place[3] * 5 / 6)
    page.mouse.click(place[0] + place[2] / 6, place[1] + place[3] * 5 / 6)
    chosen = page.locator("#part-confusion select").evaluate_all("all => all.map(s => s.value)")
    assert chosen == ["2", "0"]


def test_the_raster_shows_the_spikes_of_the_chosen_layer_and_sample(page, pages):
    with np.load(pages["classes"].parent / "samples.npz") as held:
        spikes = [held["spikes_0"], held["spikes_1"]]
    show(page, "spikes")
    for layer, sample in ((0, 0), (1, 3)):
        page.select_option("#part-spikes select >> nth=0", str(sample))
        page.select_option("#part-spikes select >> nth=1", str(layer + 1))
        drawn = page.evaluate("document.getElementById('raster-plot').data.map(t => [t.x, t.y])")
        assert len(drawn) == 1
        found = {(int(t), int(n)) for t, n in zip(*drawn[0], strict=True)}
        expected = {tuple(each) for each in np.argwhere(spikes[layer][:, sample]).tolist()}
        assert found == expected


def test_the_membranes_have_their_threshold_and_fall_at_a_reset(page, pages):
    with np.load(pages["classes"].parent / "samples.npz") as held:
        u, v = held["membrane_0"][:, 0], held["after_0"][:, 0]
    show(page, "membranes")
    page.select_option("#part-membranes select >> nth=2", "1")  # the first neuron alone
    plot = "document.getElementById('membrane-plot')"
    x, y = page.evaluate(f"[0, 1].map(i => i ? {plot}.data[0].y : {plot}.data[0].x)")
    expected = []
    for step in range(6):
        expected.append(u[step, 0])
        if u[step, 0] != v[step, 0]:
            expected.append(v[step, 0])
    np.testing.assert_allclose(y, expected, rtol=1e-5)
    assert len(x) == len(y)
    assert page.evaluate(f"{plot}.layout.shapes[0].y0") == 1.0


def test_the_numbers_are_a_table_and_a_file(page, pages):
    show(page, "curves")
    first = page.locator("#part-curves details").first
    first.locator("summary").click()
    first.locator("tbody tr").first.wait_for()  # filled when it opens, a moment after the click
    assert first.locator("tbody tr").count() == 2
    with page.expect_download() as held:
        first.locator("button").click()
    assert held.value.suggested_filename == "curve-loss.csv"
    rows = list(csv.reader(io.StringIO(held.value.path().read_text())))
    assert rows[0] == ["epoch", "training", "validation"]
    lines = (pages["classes"].parent / "metrics.jsonl").read_text().splitlines()
    assert [float(row[1]) for row in rows[1:]] == [json.loads(line)["train_loss"] for line in lines]


def test_a_name_that_a_spreadsheet_would_run_is_a_text_in_the_file(page):
    show(page, "confusion")
    with page.expect_download() as held:
        page.locator("#part-confusion button", has_text="CSV").last.click()
    rows = list(csv.reader(io.StringIO(held.value.path().read_text())))
    assert [row[0] for row in rows] == ["class", *NAMES[:2], "'=red \\x1b[31m\\u202e"]


def test_on_paper_every_tab_is_there(browser, pages):
    with watched(browser, color_scheme="dark") as (page, said, _):
        page.goto(pages["classes"].as_uri())
        page.emulate_media(media="print")
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        for tab in tabs_of(page):
            assert page.locator(f"#part-{tab}").is_visible()
            assert page.locator(f"#part-{tab} .blocks > *").count() > 0
        assert not page.locator("nav").is_visible()
        assert (
            page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        )
        page.emulate_media(media="screen")
        page.evaluate("window.dispatchEvent(new Event('afterprint'))")
        assert page.locator("section:visible").count() == 1
        assert said == []


def test_tabs_answer_to_the_keyboard_and_to_addresses(page, pages):
    page.click("#tab-overview")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-curves"
    assert page.url.endswith("#curves")
    page.goto(pages["classes"].as_uri() + "#network")
    page.reload()
    assert page.get_attribute("#tab-network", "aria-selected") == "true"


def test_the_finder_of_overlaps_finds_one(page):
    show(page, "curves")
    page.evaluate(
        "(() => { const t = document.querySelector('#part-curves svg text:not(:empty)');"
        " t.parentNode.append(t.cloneNode(true)); })()"
    )
    assert page.evaluate(OVERLAPS, "curves") != []
