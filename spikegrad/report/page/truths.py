"""How well the surrogate gradient agrees with the exact gradient of the expected loss, by layer."""

from __future__ import annotations

from typing import Any

from spikegrad.report.page.parts import Block, table, text
from spikegrad.report.recorded import Record

__all__ = ["truths"]


def truths(record: Record) -> Block:
    """The figures of the truth meter where a diagnosis kept them; how to get them elsewhere."""
    held = record.diagnosis.get("truth")
    if not held:
        return how(record)
    try:
        return of_layers(record.diagnosis["what"], held)
    except (KeyError, TypeError):
        again = f"spikegrad diagnose {record.run.folder} --truth --keep"
        return text(f"`diagnosis.json` has another form than this version's; `{again}` writes it.")


def of_layers(what: str, held: dict[str, Any]) -> Block:
    """The table; what: which network it is of."""
    draws = f", {held['draws']} draws, {held['flips']} flips a layer" if held["draws"] else ""
    columns = ["layer", "parameters", "cosine", "±", "cosine with noise", "±", "same sign"]
    return table(
        "truth",
        "Surrogate gradient against the exact gradient of the expected loss",
        [*columns, "decided", "bias", "±"],
        [row(each) for each in held["layers"]],
        f"Of {what}, under the escape noise that matches the surrogate: by "
        f"{held['way']}, {held['units']} units a sample, {held['samples']} samples{draws}. Cosine: "
        "of the gradient that training takes, 1 where it points the right way; with noise: of the "
        "expected surrogate gradient, whose bias is relative to the exact one; same sign: of the "
        "parameters whose signs are known (decided); ±: half of the 95 % interval.",
    )


def row(each: dict[str, Any]) -> list[Any]:
    """One layer."""
    noisy, trained = each["noisy"], each["trained"]
    return [
        each["name"],
        each["parameters"],
        trained["cosine"],
        trained["cosine_error"],
        noisy["cosine"],
        noisy["cosine_error"],
        noisy["sign"],
        noisy["decided"],
        noisy["bias"],
        noisy["bias_error"],
    ]


def how(record: Record) -> Block:
    """In a line: what measures it. Nothing where no layer spikes."""
    if not (record.measures.get("health") or {}).get("layers"):
        return {}
    run = record.run.folder
    does = f"`spikegrad diagnose {run} --truth --keep`, and then `spikegrad report {run}`"
    if record.setting("data", "dataset") == "own":
        does = "`spikegrad.diagnose.truth(network, (x, labels), loss=...)` in Python"
    return text(
        "How well the surrogate gradient agrees with the exact gradient of the expected loss is "
        f"not measured during a run: {does} measures it, layer by layer."
    )
