"""Run folders to pictures: what is drawn, what is refused, what is left whole on disk."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from spikegrad.errors import UserError
from spikegrad.report import (
    Curve,
    compare,
    confusion,
    learning,
    membrane,
    raster,
    read_samples,
    save,
    surrogate,
    write_pictures,
)

PNG = b"\x89PNG\r\n\x1a\n"
ALL = ["learning", "raster", "membrane", "confusion", "surrogate"]


def recording(steps=6, sizes=(20,), classes=3, n=4, *, silent=(), width=5, seed=0):
    """The arrays of a `samples.npz`: random spikes, membranes on the right side of 1."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    arrays = {
        "labels": labels,
        "predictions": labels.copy(),
        "confusion": np.eye(classes, dtype=np.int64) * 9 + 1,
        "class_names": np.array([f"class {c}" for c in range(classes)]),
        "layers": np.array([f"{i}.LIF" for i in range(len(sizes))]),
        "output": rng.normal(size=(steps, n, classes)).astype(np.float32),
        "surrogate_name": np.array("arctan(2.0)"),
        "surrogate_x": np.linspace(-2, 2, 41),
        "surrogate_derivative": np.exp(-(np.linspace(-2, 2, 41) ** 2)),
        "surrogate_primitive": np.linspace(0, 1, 41),
    }
    for i, size in enumerate(sizes):
        spikes = (rng.random((steps, n, size)) < (0.0 if i in silent else 0.2)).astype(np.uint8)
        m = min(width, size)
        arrays[f"spikes_{i}"] = spikes
        arrays[f"membrane_{i}"] = (spikes[:, :, :m] + rng.random((steps, n, m)) * 0.9).astype("f4")
        arrays[f"threshold_{i}"] = np.ones(m, np.float32)
    return arrays


def epochs(count, layers=("0.LIF",), **extra):
    """The lines of a `metrics.jsonl`, epochs counted from 1."""
    return [
        {
            "epoch": e,
            "train_loss": 2.0 / e,
            "train_accuracy": 1 - 0.5 / e,
            "val_loss": 2.2 / e,
            "val_accuracy": 0.97 - 0.5 / e,
            "firing_rates": dict.fromkeys(layers, 0.1),
            **extra,
        }
        for e in range(1, count + 1)
    ]


def write_run(folder: Path, arrays=None, lines=None, result=None) -> Path:
    """A run folder on disk, without torch."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text("", encoding="utf-8")
    if lines is not None:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "metrics.jsonl").write_text(text, encoding="utf-8")
    if result is not None:
        (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    if arrays is not None:
        np.savez(folder / "samples.npz", **arrays)
    return folder


def loaded(tmp_path, **options):
    """The same recording, through the file."""
    np.savez(tmp_path / "samples.npz", **recording(**options))
    return read_samples(tmp_path / "samples.npz")


def texts(figure) -> str:
    """Every word on a figure."""
    from matplotlib.text import Text

    return "\n".join(item.get_text() for item in figure.findobj(Text))


def overlaps(figure) -> list[tuple[str, str]]:
    """Pairs of labels that lie on each other, and labels that leave the picture."""
    from matplotlib.text import Text

    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    ticks = {id(t) for ax in figure.axes for t in [*ax.get_xticklabels(), *ax.get_yticklabels()]}
    boxes = []
    for item in figure.findobj(Text):
        if item.get_text().strip() and item.get_visible() and id(item) not in ticks:
            if item.axes is not None and not item.axes.get_visible():
                continue
            boxes.append((item.get_text(), item.get_window_extent(renderer)))
    bad = [
        (a, b)
        for k, (a, box) in enumerate(boxes)
        for b, other in boxes[k + 1 :]
        if box.x0 + 1 < other.x1
        and other.x0 + 1 < box.x1
        and box.y0 + 1 < other.y1
        and other.y0 + 1 < box.y1
    ]
    frame = figure.bbox
    out = [
        (text, "outside the picture")
        for text, box in boxes
        if box.x0 < frame.x0 or box.x1 > frame.x1 or box.y0 < frame.y0 or box.y1 > frame.y1
    ]
    return bad + out


RESULT = {"dataset": "digits", "test_accuracy": 0.9812, "best_epoch": 3, "epochs": 4}


def test_a_whole_run_gets_every_picture(tmp_path):
    run = write_run(tmp_path / "run", recording(), epochs(4), RESULT)
    paths = write_pictures(run)
    assert [path.stem for path in paths] == ALL
    for path in paths:
        assert path.parent == run / "pictures"
        assert path.read_bytes().startswith(PNG)
    assert sorted(p.name for p in (run / "pictures").iterdir()) == sorted(p.name for p in paths)


@pytest.mark.parametrize(
    ("missing", "expected"),
    [("samples", ["learning"]), ("epochs", ALL[1:]), ("both", []), ("surrogate", ALL[:4])],
)
def test_what_is_missing_leaves_only_its_pictures_out(tmp_path, missing, expected):
    arrays = recording()
    if missing == "surrogate":
        arrays = {key: value for key, value in arrays.items() if not key.startswith("surrogate")}
    lines = None if missing in ("epochs", "both") else epochs(4)
    run = write_run(tmp_path, None if missing in ("samples", "both") else arrays, lines)
    assert [path.stem for path in write_pictures(run)] == expected


@pytest.mark.parametrize("kind", ["absent", "file", "empty folder"])
def test_what_is_no_run_folder_is_refused(tmp_path, kind):
    path = tmp_path / "thing"
    if kind == "file":
        path.write_text("x", encoding="utf-8")
    elif kind == "empty folder":
        path.mkdir()
    with pytest.raises(UserError, match=r"expected a run folder, got .*thing"):
        write_pictures(path)
    assert not (path / "pictures").exists()


def test_a_line_cut_short_by_a_kill_is_no_epoch_yet(tmp_path):
    run = write_run(tmp_path, None, epochs(3))
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"epoch": 4, "train_lo')
    assert [path.stem for path in write_pictures(run)] == ["learning"]


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    run = write_run(tmp_path, None, epochs(3))
    path = run / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([lines[0], "{oops", lines[2]]), encoding="utf-8")
    with pytest.raises(UserError, match="line 2 of"):
        write_pictures(run)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"labels": None}, "expected 'labels' in"),
        ({"predictions": np.zeros(7, int)}, r"'predictions' of shape \[4\].*got \[7\]"),
        ({"confusion": np.zeros((2, 3))}, r"'confusion' of shape \[3, 3\]"),
        ({"spikes_0": None}, "expected 'spikes_0'"),
        ({"spikes_0": np.zeros((6, 4))}, r"'spikes_0' of shape \[any, 4, any\]"),
        ({"membrane_0": np.zeros((5, 4, 5))}, r"'membrane_0' of shape \[6, 4, any\]"),
        ({"threshold_0": np.ones(2)}, r"'threshold_0' of shape \[5\]"),
        ({"neurons_0": np.arange(5) + 90}, "neurons of 0.LIF below 20"),
        ({"surrogate_derivative": np.zeros(3)}, r"'surrogate_derivative' of shape \[41\]"),
    ],
)
def test_misshapen_samples_are_named_and_nothing_is_written(tmp_path, change, match):
    arrays = {**recording(), **change}
    kept = {key: value for key, value in arrays.items() if value is not None}
    run = write_run(tmp_path, kept, epochs(2))
    with pytest.raises(UserError, match=match):
        write_pictures(run)
    assert not (run / "pictures").exists()


def test_a_damaged_or_pickled_samples_file_is_refused(tmp_path):
    run = write_run(tmp_path, recording(), epochs(2))
    whole = (run / "samples.npz").read_bytes()
    (run / "samples.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"expected arrays in .*samples\.npz"):
        write_pictures(run)
    np.savez(run / "samples.npz", **{**recording(), "labels": np.array([{}], dtype=object)})
    with pytest.raises(UserError, match="unreadable"):
        write_pictures(run)


def test_a_picture_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    figure = confusion([[3, 0], [1, 2]], ["a", "b"])
    path = save(figure, tmp_path / "deep" / "picture.png")
    before = path.read_bytes()

    def stop(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        save(figure, path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["picture.png"]


def test_learning_marks_the_chosen_epoch_and_names_the_silent_layer():
    lines = epochs(9, ["0.LIF"])
    for line in lines:
        line["firing_rates"] = {"0.LIF": 0.1, "1.LIF": 0.0}
    figure = learning(lines, {**RESULT, "best_epoch": 7})
    words = texts(figure)
    for word in ("test accuracy 0.9812", "epoch 7 of 9", "1.LIF (silent)", "chosen epoch"):
        assert word in words
    dashed = [line for line in figure.axes[1].lines if list(line.get_xdata()) == [7, 7]]
    assert len(dashed) == 1
    assert "test" not in [t.get_text() for t in figure.axes[1].get_legend().get_texts()]
    tracked = learning(epochs(9, test_accuracy=0.9))
    assert "test" in [t.get_text() for t in tracked.axes[1].get_legend().get_texts()]


@pytest.mark.parametrize("rate", [0.092, 0.0, 1e-4])
def test_a_level_rate_is_inside_of_its_panel(rate):
    """A level line of 0.092 lay on the upper edge, and its marker was cut off."""
    epochs = [{"epoch": e, "train_loss": 1.0, "firing_rates": {"1": rate}} for e in (1, 2)]
    axes = learning(epochs, {}).axes[-1]
    low, high = axes.get_ylim()
    assert low < 0.0 <= rate < 0.95 * high


def test_without_validation_no_epoch_was_chosen_on_it():
    lines = [{**line, "val_loss": None, "val_accuracy": None} for line in epochs(4)]
    assert "epoch 4 of 4" in texts(learning(lines, {**RESULT, "best_epoch": 4}))
    assert "validation" not in texts(learning(lines, {**RESULT, "best_epoch": 4}))


def test_learning_draws_what_it_can_of_missing_and_infinite_values():
    lines = epochs(3)
    lines[1].update(train_loss=float("nan"), val_loss=None, val_accuracy=float("inf"))
    figure = learning(lines)
    drawn = figure.axes[0].lines[0].get_ydata()
    np.testing.assert_array_equal(np.isnan(drawn), [False, True, False])
    with pytest.raises(UserError, match="at least one epoch"):
        learning([])


def test_raster_draws_every_spike_of_a_small_layer(tmp_path):
    samples = loaded(tmp_path, sizes=(20,))
    figure = raster(samples, sample=2)
    ticks = figure.axes[-1].collections[0].get_segments()
    spikes = samples.layers[0].spikes[:, 2]
    assert len(ticks) == spikes.sum()
    drawn = {(round(t[0][0]), round((t[0][1] + t[1][1]) / 2)) for t in ticks}
    assert drawn == set(zip(*(axis.tolist() for axis in np.nonzero(spikes)), strict=True))
    assert f"{spikes.mean():.3f} spikes per neuron and step" in texts(figure)


def test_raster_thins_a_large_layer_and_keeps_its_true_rate(tmp_path):
    samples = loaded(tmp_path, sizes=(1000,))
    words = texts(raster(samples, sample=0))
    assert "1000 neurons, 100 shown" in words
    assert f"{samples.layers[0].spikes[:, 0].mean():.3f} spikes" in words


def test_raster_names_true_class_prediction_and_silence(tmp_path):
    arrays = recording(sizes=(8, 8), silent=(1,))
    arrays["labels"][:] = 0
    arrays["predictions"][:] = [1, 0, 0, 0]
    arrays["input"] = np.random.default_rng(0).random((6, 4, 12)).astype(np.float32)
    np.savez(tmp_path / "samples.npz", **arrays)
    samples = read_samples(tmp_path / "samples.npz")
    words = texts(raster(samples))
    assert "sample 1: true class class 0, predicted class 0 (correct)" in words
    assert "no spike in this sample" in words
    assert "12 values, not spikes" in words
    assert "predicted class 1 (wrong)" in texts(raster(samples, sample=0))


def test_raster_shows_the_readout_over_time_only_if_it_has_a_course(tmp_path):
    arrays = recording(steps=6)
    assert "readout" in texts(raster(loaded(tmp_path, steps=6)))
    arrays["output"] = arrays["output"][:1]
    np.savez(tmp_path / "samples.npz", **arrays)
    assert "readout" not in texts(raster(read_samples(tmp_path / "samples.npz")))


def test_membrane_shows_thresholds_and_marks_each_spike(tmp_path):
    arrays = recording(sizes=(20,), width=3)
    arrays["neurons_0"] = np.array([4, 9, 17])
    arrays["threshold_0"] = np.array([0.7, 0.8, 0.9])
    np.savez(tmp_path / "samples.npz", **arrays)
    samples = read_samples(tmp_path / "samples.npz")
    figure = membrane(samples, sample=1)
    seen = {}
    for axes in figure.axes:
        trace, threshold, marks = axes.lines
        seen[axes.get_title(loc="left")] = (
            threshold.get_ydata()[0],
            list(map(int, marks.get_xdata())),
        )
        assert len(trace.get_ydata()) == 6
    for neuron, level in ((4, 0.7), (9, 0.8), (17, 0.9)):
        fired = np.flatnonzero(arrays["spikes_0"][:, 1, neuron]).tolist()
        assert seen[f"neuron {neuron}"] == (level, fired)


def test_membrane_says_how_far_a_silent_neuron_stays_below_threshold(tmp_path):
    arrays = recording(sizes=(5,), silent=(0,))
    arrays["membrane_0"][:] = 0.06
    np.savez(tmp_path / "samples.npz", **arrays)
    assert "silent, reaches 6% of threshold" in texts(
        membrane(read_samples(tmp_path / "samples.npz"))
    )


def test_confusion_counts_and_colours_by_row():
    figure = confusion([[30, 10], [0, 5]], ["a", "b"])
    axes = figure.axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25], [0.0, 1.0]])
    assert sorted(text.get_text() for text in axes.texts) == ["10", "30", "5"]
    assert "accuracy 0.7778, 35 of 45 correct" in figure.get_suptitle()


def test_confusion_of_a_class_without_samples_and_of_none():
    assert "no sample of this class" in texts(confusion([[3, 0], [0, 0]], ["a", "b"]))
    assert "no sample" in confusion(np.zeros((2, 2), int), ["a", "b"]).get_suptitle()
    with pytest.raises(UserError, match=r"\[C, C\] for 3 class names, got \[2, 2\]"):
        confusion(np.eye(2), ["a", "b", "c"])


def test_a_dollar_in_a_name_is_a_dollar():
    figure = confusion(np.eye(2, dtype=int), ["$x$ and $y^", "costs \\$5"])
    figure.canvas.draw()  # would raise if read as mathematics


def test_curves_must_belong_together():
    x = np.linspace(-1, 1, 5)
    with pytest.raises(UserError, match="derivative of the curve 'mine'"):
        Curve("mine", x, np.zeros(4))
    with pytest.raises(UserError, match="at least one curve"):
        compare([])


def test_surrogate_facts_are_read_off_the_curve():
    x = np.linspace(-2, 2, 4001)
    triangle = Curve("triangle", x, np.maximum(0, 2 - 4 * abs(x)))  # peak 2, half-width 1/4
    words = texts(surrogate(triangle))
    assert "peak 2, width at half height 0.5" in words
    flat = Curve("straight_through", x, np.ones_like(x), x)
    assert "width" not in texts(surrogate(flat))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16])
def test_compare_has_a_panel_for_each_curve_and_no_clashes(count):
    x = np.linspace(-2, 2, 81)
    curves = [Curve(f"surrogate {k}", x, np.exp(-k * x * x), x + 0.5) for k in range(count)]
    figure = compare(curves)
    visible = [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()]
    assert visible == [curve.name for curve in curves]
    assert overlaps(figure) == []


@pytest.mark.parametrize(
    ("steps", "sizes", "classes", "count"),
    [(4, (800, 10), 2, 1), (10, (256,), 10, 20), (100, (1000, 512, 256, 64, 1), 27, 200)],
    ids=["T=4, 1 epoch", "T=10, 20 epochs", "5 layers, 27 classes, 200 epochs"],
)
def test_no_label_lies_on_another_or_leaves_the_picture(tmp_path, steps, sizes, classes, count):
    samples = loaded(tmp_path, steps=steps, sizes=sizes, classes=classes, silent=(1,))
    names = [layer.name for layer in samples.layers]
    figures = {
        "learning": learning(epochs(count, names), {**RESULT, "best_epoch": count}),
        "first epoch chosen": learning(epochs(count, names), {**RESULT, "best_epoch": 1}),
        "raster": raster(samples),
        "membrane": membrane(samples),
        "confusion": confusion(samples.confusion, samples.class_names),
        "surrogate": surrogate(samples.curve),
    }
    for name, figure in figures.items():
        assert overlaps(figure) == [], name


def test_the_clash_finder_finds_clashes():
    figure = confusion(np.eye(2, dtype=int), ["a", "b"])
    figure.text(0.5, 0.5, "one text")
    figure.text(0.5, 0.5, "another")
    figure.text(0.99, 0.5, "leaves the picture")
    found = [pair for pair in overlaps(figure) if "another" in pair or "outside" in pair[1]]
    assert ("one text", "another") in found
    assert ("leaves the picture", "outside the picture") in found


def test_drawing_leaves_the_users_settings_alone(tmp_path):
    import matplotlib

    with matplotlib.rc_context({"axes.grid": False, "text.color": "red"}):
        before = dict(matplotlib.rcParams)
        save(learning(epochs(2)), tmp_path / "x.png")
        assert dict(matplotlib.rcParams) == before


def test_raster_draws_an_image_as_an_image(tmp_path):
    """An image that enters at every step was drawn as stripes over time."""
    arrays = recording(steps=30)
    arrays["image"] = np.random.default_rng(0).random((4, 5, 7)).astype(np.float32)
    arrays["input"] = np.repeat(arrays["image"].reshape(1, 4, 35), 30, axis=0)
    np.savez(tmp_path / "samples.npz", **arrays)
    figure = raster(read_samples(tmp_path / "samples.npz"), sample=1)
    (drawn,) = [image for axes in figure.axes for image in axes.images]
    np.testing.assert_array_equal(drawn.get_array(), arrays["image"][1])
    assert "the same image at every step" in texts(figure)
    assert drawn.axes.get_shared_x_axes().get_siblings(drawn.axes) == [drawn.axes]
    assert overlaps(figure) == []


def test_membrane_falls_at_a_reset_and_the_panels_of_a_layer_share_their_scale(tmp_path):
    arrays = recording(sizes=(20,), width=6)
    fired = arrays["spikes_0"][:, :, :6] > 0
    arrays["after_0"] = arrays["membrane_0"] - fired
    np.savez(tmp_path / "samples.npz", **arrays)
    figure = membrane(read_samples(tmp_path / "samples.npz"), sample=1)
    shown = [int(axes.get_title(loc="left").split()[1]) for axes in figure.axes]
    counts = fired[:, 1].sum(0)
    assert sorted(counts[shown])[0] > 0 or (counts > 0).sum() < 3  # neurons that fire come first
    for axes, neuron in zip(figure.axes, shown, strict=True):
        x, y = axes.lines[0].get_data()
        assert len(x) == 6 + counts[neuron]
        for t in np.flatnonzero(fired[:, 1, neuron]):
            at = [float(v) for v in y[x == t]]
            assert at[0] - at[1] == pytest.approx(1.0, abs=1e-6)  # straight down, by the threshold
    assert len({axes.get_ylim() for axes in figure.axes}) == 1


def test_compare_has_one_scale(tmp_path):
    x = np.linspace(-2, 2, 81)
    figure = compare([Curve(f"c{k}", x, k * np.exp(-x * x)) for k in (1, 3)])
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert figure.axes[0].get_ylim()[1] > 3


def test_confusion_says_that_its_colours_are_not_linear():
    assert "colours not linear: square root" in texts(confusion(np.eye(2, dtype=int), ["a", "b"]))


def test_a_layer_has_the_title_that_the_run_gave_it(tmp_path):
    arrays = {**recording(), "titles": np.array(["hidden 1 (layer 3)"])}
    np.savez(tmp_path / "samples.npz", **arrays)
    samples = read_samples(tmp_path / "samples.npz")
    assert "hidden 1 (layer 3)" in texts(raster(samples))
    assert "hidden 1 (layer 3)" in texts(membrane(samples))
    result = {**RESULT, "layers": {"0.LIF": "hidden 1 (layer 3)"}}
    assert "hidden 1 (layer 3)" in texts(learning(epochs(2), result))
