"""The first tab: what came of the run, in figures and one picture."""

from __future__ import annotations

from typing import Any

from spikegrad.report.page.classes import confusion
from spikegrad.report.page.curves import losses
from spikegrad.report.page.found import all_findings
from spikegrad.report.page.layers import rates
from spikegrad.report.page.made_of import energy
from spikegrad.report.page.parts import Block, text, tiles
from spikegrad.report.recorded import Record

__all__ = ["overview", "subtitle"]

MOST = 3  # findings that the first tab shows


def overview(record: Record) -> list[Block]:
    """Key figures, the worst findings, the curves."""
    held = all_findings(record)
    worst = [each for each in held if each["severity"] != "info"][:MOST]
    shown: Block = {}
    if worst:
        shown = {"kind": "findings", "id": "worst", "findings": worst, "of": len(held)}
    empty = not record.run.epochs and record.state == "training"
    return [
        progress(record),
        tiles(figures(record)),
        text("The first epoch is not done yet; figures appear as they are measured.")
        if empty
        else {},
        shown,
        *losses(record),
        rates(record),
        {**confusion(record), "id": "confusion-small"} if confusion(record) else {},
        text(*(f"Note: {note}." for note in record.notes)),
    ]


def subtitle(record: Record) -> str:
    """What was trained, in one line."""
    own = record.setting("data", "dataset") == "own" and not record.setting("data", "data")
    parts = ["a network of your own" if own else record.run.folder.name]
    model, neuron = record.setting("network", "model"), record.setting("network", "neuron")
    if model and not own:
        hidden = record.setting("network", "hidden") or []
        sizes = "-".join(str(size) for size in hidden)
        parts.append(f"{model} {sizes}".strip())
        if neuron:
            parts.append(str(neuron).upper())
        parts.append(str(record.setting("network", "surrogate") or ""))
    if record.finished:
        parts.append(str(record.run.result.get("device") or ""))
    return "  ·  ".join(part for part in parts if part)


def progress(record: Record) -> Block:
    """How far a run is that trains or was broken off."""
    if record.finished:
        return {}
    total = record.setting("training", "epochs")
    done = int(record.run.epochs[-1]["epoch"]) if record.run.epochs else 0
    if not isinstance(total, int) or total < 1:
        return {}
    seconds = [e.get("seconds") for e in record.run.epochs]
    known = [s for s in seconds if isinstance(s, int | float)]
    going_on = known and record.state == "training"
    left = sum(known) / len(known) * (total - done) if going_on else None
    return {"kind": "progress", "id": "progress", "done": done, "total": total, "left": left}


def figures(record: Record) -> list[tuple[str, str, str]]:
    """The tiles."""
    result, epochs = record.run.result, record.run.epochs
    found = [*measured(result or (epochs[-1] if epochs else {}), ended=bool(result))]
    if result:
        found.append(("chosen epoch", f"{result.get('best_epoch')}", f"of {result.get('epochs')}"))
        seconds = result.get("train_seconds")
        if isinstance(seconds, int | float):
            each = f"{result.get('seconds_per_epoch', 0):.3g} s an epoch"
            found.append(("training", duration(seconds), each))
    rate = (result or (epochs[-1] if epochs else {})).get("firing_rates")
    if isinstance(rate, dict) and rate:
        mean = sum(rate.values()) / len(rate)
        found.append(("firing rate", f"{mean:.3g}", "spikes per neuron and step, mean of layers"))
    network = record.measures.get("network")
    if network:
        found.append(("parameters", f"{network['parameters']:,}", ""))
        note = f"{network['synops']:,.0f} synaptic operations a sample"
        found.append(("energy", energy(network["energy"]), note))
    held = all_findings(record)
    count = sum(each["severity"] != "info" for each in held)
    found.append(("findings", str(count) if count else "none", "errors and warnings"))
    return found


def measured(held: dict[str, Any], *, ended: bool) -> list[tuple[str, str, str]]:
    """Accuracies, or losses where there are no classes."""
    found = []
    for key, name in (("test", "test"), ("val", "validation"), ("train", "training")):
        accuracy, loss = held.get(f"{key}_accuracy"), held.get(f"{key}_loss")
        if isinstance(accuracy, int | float):
            note = f"loss {loss:.4g}" if isinstance(loss, int | float) else ""
            found.append((f"{name} accuracy", f"{accuracy:.4f}", note))
        elif isinstance(loss, int | float):
            found.append((f"{name} loss", f"{loss:.4g}", "" if ended else "so far"))
    return found


def duration(seconds: float) -> str:
    """A time for people.

    >>> duration(3.21), duration(75.0), duration(7300.0)
    ('3.2 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"
