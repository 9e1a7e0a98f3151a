"""Findings: before, in and after training."""

from __future__ import annotations

from typing import Any

from spikegrad.report.page.parts import Block, text
from spikegrad.report.recorded import Record

__all__ = ["all_findings", "findings"]

KEYS = ("kind", "layer", "severity", "problem", "measure", "why", "advice", "line")
ORDER = {"error": 0, "warning": 1, "info": 2}


def findings(record: Record) -> list[Block]:
    """The findings as cards, the worst first."""
    held = all_findings(record)
    if held:
        return [{"kind": "findings", "id": "findings", "findings": held}]
    if record.finished and not record.measures.get("health"):
        return [text("No finding. The layers were not looked at after training.")]
    return [text("No finding: no layer is silent, saturated or cut off from the gradient.")]


def all_findings(record: Record) -> list[dict[str, Any]]:
    """What the preflight, the monitor and the last look found."""
    found = [
        {**{key: each.get(key) for key in KEYS}, "when": when(each)} for each in record.findings
    ]
    last = (record.measures.get("health") or {}).get("findings") or []
    known = {(each["kind"], each["layer"], each["problem"]) for each in found}
    for each in last:
        if (each.get("kind"), each.get("layer"), each.get("problem")) not in known:
            found.append({**{key: each.get(key) for key in KEYS}, "when": "after training"})
    return sorted(found, key=lambda each: ORDER.get(str(each["severity"]), 3))


def when(each: dict[str, Any]) -> str:
    """At which step it was found."""
    step = each.get("step")
    return "before training" if not step else f"step {step}"
