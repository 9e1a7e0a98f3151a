"""What `explain` says of one layer, and of a network."""

from __future__ import annotations

from dataclasses import dataclass, replace

from spikegrad.diagnose.printed import Listed

__all__ = ["Explained", "Explanation", "together"]


@dataclass(frozen=True)
class Explained:
    """One layer, or several that run in one call.

    layers: their names; backend: its name ("cpu": a native kernel), or "torch";
    forward, weight, input: how the product, the weight's gradient and the input's are made,
    "events" (along the spikes, or the numbers that are not 0), "synapses" (of these along the
    synapses that exist, one by one), "dense", "once" (a static input), "given" (no product),
    "sampled" (where the lower surrogate is not 0), "" for none; activity: share of inputs that
    spike, None for other inputs; reason: why; forward_ms, backward_ms: median time (ms), backward
    None where no gradient arrives; advice: what would make it faster, "" for nothing known;
    calls: how many made up the run, more than one within a `Loop`: times are those of all of them,
    activity is their mean, and the rest is said of the last.
    """

    layers: tuple[str, ...]
    backend: str
    forward: str
    weight: str
    input: str
    activity: float | None
    reason: str
    forward_ms: float = 0.0
    backward_ms: float | None = None
    advice: str = ""
    calls: int = 1

    def line(self) -> str:
        """All of it in one line."""
        ways = [f"{n} {w}" for n, w in zip(("forward", "dW", "dx"), self.ways, strict=True) if w]
        seen = "" if self.activity is None else f", {100 * self.activity:.3g} % of inputs spike"
        how = f": {', '.join(ways)}{seen}" if ways else ""
        back = "" if self.backward_ms is None else f", {self.backward_ms:.3g} ms backward"
        advice = f"; {self.advice}" if self.advice else ""
        took = f"; {self.forward_ms:.3g} ms forward{back}"
        return f"{'+'.join(self.layers)}: {self.backend}{how} ({self.why}){took}{advice}"

    @property
    def why(self) -> str:
        """The reason, and how many calls it holds for."""
        return self.reason if self.calls == 1 else f"{self.reason}; {self.calls} calls"

    @property
    def ways(self) -> tuple[str, str, str]:
        """forward, weight and input."""
        return self.forward, self.weight, self.input


class Explanation(Listed[Explained]):
    """All layers, in the order of the run; printed it is a table."""

    header = ("layers", "backend", "product", "forward ms", "backward ms", "why", "what to do")

    @staticmethod
    def row_of(each: Explained) -> list[str]:
        """The cells of a layer."""
        back = "-" if each.backward_ms is None else f"{each.backward_ms:.3g}"
        ways = ", ".join(way for way in each.ways if way)
        took = [f"{each.forward_ms:.3g}", back]
        return ["+".join(each.layers), each.backend, ways or "-", *took, each.why, each.advice]


def together(calls: list[Explained]) -> Explanation:
    """The calls of the same layers as one."""
    groups: dict[tuple[str, ...], list[Explained]] = {}
    for each in calls:
        groups.setdefault(each.layers, []).append(each)
    made = Explanation()
    for group in groups.values():
        back = [each.backward_ms for each in group if each.backward_ms is not None]
        active = [each.activity for each in group if each.activity is not None]
        made.append(
            replace(
                group[-1],
                activity=sum(active) / len(active) if active else None,
                forward_ms=sum(each.forward_ms for each in group),
                backward_ms=sum(back) if back else None,
                calls=len(group),
            )
        )
    return made
