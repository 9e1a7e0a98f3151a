"""What the network is made of, and what it costs."""

from __future__ import annotations

from typing import Any

from spikegrad.report.page.parts import Block, table, text, tiles
from spikegrad.report.recorded import Record

__all__ = ["energy", "network"]


def network(record: Record) -> list[Block]:
    """The table of the layers with operations and energy."""
    held = record.measures.get("network")
    if not held:
        return []
    rows = [row(each) for each in held["rows"]]
    total = ["all", "", None, held["parameters"], None, held["synops"], held["macs"]]
    rows.append([*total, nano(held["energy"]), nano(held["dense_energy"])])
    columns = ["layer", "kind", "output", "parameters", "rate", "SynOps", "MACs"]
    return [
        tiles(figures(held)),
        table(
            "network",
            "Layers",
            [*columns, "energy (nJ)", "dense (nJ)"],
            rows,
            "Per sample. SynOps: synaptic operations over all steps, one for each output that an "
            "input which is not 0 reaches. MACs: of one dense pass, the cost of the ReLU network "
            "of the same layers.",
        ),
        text(
            "Energy is that of the arithmetic alone, in 32-bit floating point at 45 nm: 0.9 pJ for "
            "an addition, where the input is a spike, and 4.6 pJ for a multiplication with an "
            "addition (Horowitz 2014). Memory and control cost more than that on most hardware, so "
            "it compares networks, not machines."
        ),
    ]


def figures(held: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The sums in words."""
    steps = held["steps"]
    return [
        ("parameters", f"{held['parameters']:,}", "numbers that are learned"),
        ("synaptic operations", f"{held['synops']:,.0f}", f"per sample, {steps} steps"),
        ("dense operations", f"{held['macs']:,}", "multiply-accumulates of one pass"),
        ("energy", energy(held["energy"]), "of the synaptic operations of a sample"),
        ("energy, dense", energy(held["dense_energy"]), "of one dense pass"),
    ]


def row(each: dict[str, Any]) -> list[Any]:
    """One layer."""
    shape = None if each["shape"] is None else " x ".join(map(str, each["shape"])) or "1"
    return [
        each["name"],
        each["kind"],
        shape,
        each["parameters"],
        each["rate"],
        each["synops"],
        each["macs"],
        nano(each["energy"]),
        nano(each["dense_energy"]),
    ]


def nano(joules: float | None) -> float | None:
    """Joules as nanojoules."""
    return None if joules is None else joules * 1e9


def energy(joules: float) -> str:
    """Joules in a unit that fits.

    >>> energy(2.5e-7), energy(0.0)
    ('250 nJ', '0 nJ')
    """
    for factor, unit in ((1e-3, "mJ"), (1e-6, "µJ"), (1e-9, "nJ")):
        if abs(joules) >= factor:
            return f"{joules / factor:.3g} {unit}"
    return f"{joules * 1e9:.3g} nJ"
