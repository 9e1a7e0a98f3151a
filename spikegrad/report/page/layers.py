"""What each layer does: rates and gradients over layers, steps and epochs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spikegrad.report.page.parts import Block, axis, figure, series, table
from spikegrad.report.page.truths import truths
from spikegrad.report.read import layer_title
from spikegrad.report.recorded import Record

__all__ = ["layers", "rates"]

DASHES = ("solid", "dash", "dot")


def layers(record: Record) -> list[Block]:
    """The figures and the table of the tab."""
    health = record.measures.get("health") or {}
    held = health.get("layers") or []
    dt = float(record.run.samples.dt) if record.run.samples is not None else 1.0
    found = [
        over_steps(record, "rates", "Rate over time", "spikes per neuron and step", dt),
        over_steps(record, "gradient", "Gradient over time", "L2 norm at this step", dt, log=True),
        depth(record, held),
        rates(record),
        gradients(record),
    ]
    norms = parameters(health.get("parameters") or {})
    return [*found, layer_table(record, held), norms, truths(record)]


def title_of(record: Record, name: str) -> str:
    """What a layer is called."""
    titles = record.measures.get("titles") or record.run.result.get("layers") or {}
    return str(titles.get(name) or layer_title(name))


def over_steps(
    record: Record, key: str, title: str, label: str, dt: float, *, log: bool = False
) -> Block:
    """One line per spiking layer over the steps of the sequence."""
    held = (record.measures.get("health") or {}).get("layers") or []
    lines = []
    for i, layer in enumerate(held):
        values = layer.get(key) or []
        y = [shown(value, log) for value in values]
        x = [round(step * dt, 6) for step in range(len(y))]
        lines.append(line(title_of(record, layer["name"]), x, y, i))
    notes = {
        "rates": "Mean over the neurons and the recorded samples.",
        "gradient": (
            "Of the input current of each layer, for the loss on the recorded samples. A curve "
            "that falls by orders of magnitude to the left says that early steps teach little."
        ),
    }
    y_axis = axis(label, kind="log" if log else "linear", zero=not log)
    return figure(f"steps-{key}", title, lines, x=axis("time (ms)"), y=y_axis, note=notes[key])


def shown(value: Any, log: bool) -> float | None:
    """A number that the axis can show."""
    if not isinstance(value, int | float) or (log and not value > 0):
        return None
    return float(value)


def line(name: str, x: list[Any], y: list[Any], place: int) -> dict[str, Any]:
    """One layer in its colour."""
    mode = "lines+markers" if len(x) <= 40 else "lines"
    return series(name, x, y, place, mode=mode, dash=DASHES[place // 6 % 3])


def depth(record: Record, held: list[dict[str, Any]]) -> Block:
    """The whole gradient of each layer, from the input to the output."""
    names = [title_of(record, layer["name"]) for layer in held]
    y = [shown(layer.get("total"), True) for layer in held]
    return figure(
        "depth",
        "Gradient over the layers",
        [series("gradient", names, y, 0, mode="bars")],
        x=axis("layer, from the input", kind="category"),
        y=axis("L2 norm over all steps", kind="log"),
        note="From layer to layer it should change by less than a factor of about ten.",
    )


def rates(record: Record) -> Block:
    """Firing rates over the epochs."""
    return over_epochs(
        record, "firing_rates", "Rate over training", "spikes per neuron and step", "linear"
    )


def gradients(record: Record) -> Block:
    """Gradients of the parameters of each layer, over the epochs."""
    return over_epochs(
        record, "gradient_norms", "Gradient of the weights over training", "L2 norm", "log"
    )


def over_epochs(record: Record, key: str, title: str, label: str, kind: str) -> Block:
    """One line per layer over the epochs."""
    epochs = record.run.epochs
    table = [entry.get(key) or {} for entry in epochs]
    names = list(dict.fromkeys(name for row in table for name in row))
    x = [entry["epoch"] for entry in epochs]
    titled: Callable[[str], str] = (
        (lambda name: title_of(record, name)) if key == "firing_rates" else layer_title
    )
    lines = [
        line(titled(name), x, [shown(row.get(name), kind == "log") for row in table], i)
        for i, name in enumerate(names)
    ]
    y_axis = axis(label, kind=kind, zero=kind == "linear")
    return figure(f"epochs-{key}", title, lines, x=axis("epoch"), y=y_axis)


def layer_table(record: Record, held: list[dict[str, Any]]) -> Block:
    """All figures of every spiking layer."""
    columns = {
        "neurons": "neurons",
        "rate": "rate",
        "silent": "never fire",
        "always": "always fire",
        "mean": "membrane, mean",
        "spread": "membrane, spread",
        "nonzero": "surrogate not 0",
        "total": "gradient",
        "growth": "per step back",
        "memory": "steps back",
    }
    rows = [
        [title_of(record, layer["name"]), layer["kind"], *(layer.get(key) for key in columns)]
        for layer in held
    ]
    samples, steps = record.measures.get("samples"), record.measures.get("steps")
    return table(
        "layers",
        "Spiking layers",
        ["layer", "kind", *columns.values()],
        rows,
        f"Measured on {samples} samples of {steps} steps. Shares are of neurons; membranes are "
        "counted from rest in units of the threshold; the gradient of the last step reaches so "
        "many steps back.",
    )


def parameters(norms: dict[str, Any]) -> Block:
    """The gradient of every parameter."""
    rows = [[name, "not part of the loss" if v is None else v] for name, v in norms.items()]
    return table("parameters", "Gradients of the parameters", ["parameter", "L2 norm"], rows)
