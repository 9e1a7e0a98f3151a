"""What was taken for what, with the samples behind; of a regression what was predicted."""

from __future__ import annotations

import re
from typing import Any

from spikegrad.report.page.parts import Block, Code, axis, figure, series, table
from spikegrad.report.recorded import Record

__all__ = ["classes", "confusion", "predictions"]

_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")


def classes(record: Record) -> list[Block]:
    """The confusion matrix and the figures of each class."""
    held = confusion(record)
    if not held:
        return []
    return [held, class_table(record)]


def confusion(record: Record) -> Block:
    """The matrix, whose cells show samples."""
    samples = record.run.samples
    if samples is None or samples.confusion is None:
        return {}
    return {
        "kind": "confusion",
        "id": "confusion",
        "counts": samples.confusion.tolist(),
        "classes": samples.class_names,
        "cells": [cell(each) for each in record.measures.get("cells") or []],
    }


def cell(held: dict[str, Any]) -> dict[str, Any]:
    """One sample; its image is checked to be numbers as text."""
    found = {key: held[key] for key in ("true", "predicted", "sample", "scores")}
    if "values" in held:
        found["values"] = held["values"]
    if "image" in held and _BASE64.fullmatch(held["image"]):
        found |= {"height": int(held["height"]), "width": int(held["width"])}
        found["image"] = Code(held["image"])
    return found


def class_table(record: Record) -> Block:
    """Of each class: how many there are, how many were found, how many calls were right."""
    samples = record.run.samples
    assert samples is not None
    assert samples.confusion is not None
    rows = []
    for i, name in enumerate(samples.class_names):
        right = int(samples.confusion[i, i])
        total, called = int(samples.confusion[i].sum()), int(samples.confusion[:, i].sum())
        recall = right / total if total else None
        precision = right / called if called else None
        rows.append([name, total, right, recall, precision])
    columns = ["class", "samples", "correct", "recall", "precision"]
    return table("classes", "Classes", columns, rows)


def predictions(record: Record) -> list[Block]:
    """Targets against predictions of a run without classes."""
    pairs = record.measures.get("pairs") or []
    if not pairs:
        return []
    x, y = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    ends = [min(x), max(x)]
    lines = [
        series("equal", ends, ends, "muted", mode="lines", dash="dash"),
        series("samples", x, y, 0, mode="markers"),
    ]
    return [
        figure(
            "predictions",
            "Targets and predictions",
            lines,
            x=axis("target"),
            y=axis("prediction"),
            note=f"The first {len(pairs)} numbers of the part that was measured last.",
            wide=True,
        )
    ]
