"""Run claims and say of each whether it holds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from spikegrad.diagnose.printed import html_lines, html_table
from spikegrad.diagnose.text import columns, finite
from spikegrad.verify.claim import Claim, Measured, NotRun
from spikegrad.verify.registry import claims_of

__all__ = ["Verdict", "Verification", "run"]

Word = Literal["holds", "FAILS", "not run"]


@dataclass(frozen=True)
class Verdict:
    """What became of one claim.

    claim: the claim; word: "holds", "FAILS" or "not run"; figures: all that was measured; seconds:
    the time it took; reason: why it was not run, or the error that stopped it, else "".
    """

    claim: Claim
    word: Word
    figures: tuple[Measured, ...]
    seconds: float
    reason: str = ""

    @property
    def figure(self) -> str:
        """The figure that says most: the nearest to its limit, of those that fail where any do.

        An upper limit counts before a lower one: it bounds an error, a lower one shows that the
        check would see one.
        """
        if self.reason or not self.figures:
            return self.reason
        return max(self.figures, key=lambda f: (not f.holds, f.most < math.inf, f.used)).text()

    def data(self) -> dict[str, Any]:
        """All of it as values that JSON can hold."""
        figures = [
            {
                "what": each.what,
                "value": finite(each.value),
                "least": finite(each.least),
                "most": finite(each.most),
                "holds": each.holds,
            }
            for each in self.figures
        ]
        return {
            "name": self.claim.name,
            "verdict": self.word,
            "figure": self.figure,
            "statement": self.claim.statement,
            "source": self.claim.source,
            "remedy": self.claim.remedy,
            "reason": self.reason,
            "seconds": round(self.seconds, 3),
            "figures": figures,
        }


@dataclass(frozen=True, repr=False)
class Verification:
    """The verdicts of a run; printed, it is a table. seed: what the random inputs were drawn with.

    >>> run(["e-prop"]).verdicts[0].claim.source[:13]
    'Bellec et al.'
    """

    verdicts: tuple[Verdict, ...]
    seed: int

    @property
    def ok(self) -> bool:
        """Whether no claim failed."""
        return not self.failed

    @property
    def failed(self) -> tuple[Verdict, ...]:
        """The claims that do not hold."""
        return tuple(each for each in self.verdicts if each.word == "FAILS")

    @property
    def seconds(self) -> float:
        """The time of all."""
        return sum(each.seconds for each in self.verdicts)

    def line(self) -> str:
        """How many hold, in one line."""
        count = dict.fromkeys(("holds", "FAILS", "not run"), 0)
        for each in self.verdicts:
            count[each.word] += 1
        said = f"{count['holds']} of {len(self.verdicts)} checks hold"
        said += f", {count['FAILS']} FAILED" if count["FAILS"] else ""
        said += f", {count['not run']} not run" if count["not run"] else ""
        return f"{said} ({self.seconds:.1f} s, seed {self.seed})"

    def data(self) -> dict[str, Any]:
        """All of it as values that JSON can hold; "inf" and "nan" stand for those numbers."""
        return {
            "ok": self.ok,
            "seed": self.seed,
            "seconds": round(self.seconds, 3),
            "checks": [each.data() for each in self.verdicts],
        }

    def text(self) -> str:
        """Name, verdict and figure of each, then the line of all."""
        rows = [[v.claim.name, v.word, v.figure] for v in self.verdicts]
        widest = max((len(row[2]) for row in rows), default=0)
        rows = [[name, word, figure.ljust(widest)] for name, word, figure in rows]
        return "\n".join([columns(["check", "verdict", "figure".ljust(widest)], rows), self.line()])

    __str__ = __repr__ = text

    def _repr_html_(self) -> str:
        rows = [[v.claim.name, v.word, v.figure, v.claim.statement] for v in self.verdicts]
        header = ["check", "verdict", "figure", "statement"]
        return html_table(header, rows) + html_lines(self.line())


def run(
    names: Iterable[str] = (),
    *,
    seed: int = 0,
    before: Callable[[Claim], object] | None = None,
    after: Callable[[Verdict], object] | None = None,
) -> Verification:
    """Check claims of the theory, and this installation, by numbers.

    names: of claims, all where none is given; seed: of the random inputs; before: is told of a
    claim when it begins; after: of its verdict. A claim that ends with an error fails with it. All
    take below two minutes on two cores; "backends" compiles programs the first time.
    Raises UserError for an unknown name.

    >>> run(["loop-integral", "e-prop"]).ok
    True
    """
    found = []
    for each in claims_of(tuple(names)):
        if before is not None:
            before(each)
        found.append(judged(each, seed))
        if after is not None:
            after(found[-1])
    return Verification(tuple(found), seed)


def judged(claim: Claim, seed: int) -> Verdict:
    """Measure one claim."""
    figures: list[Measured] = []
    begin = time.perf_counter()
    word: Word
    try:
        with torch.inference_mode(False), torch.enable_grad():
            for figure in claim.measure(seed):
                figures.append(figure)
        word, reason = "holds", ""
    except NotRun as why:
        word, reason = "not run", str(why)
    except Exception as error:  # a fault may end in any error; the other claims still count
        word, reason = "FAILS", f"{type(error).__name__}: {error}"
    if any(not each.holds for each in figures):
        word, reason = "FAILS", ""
    elif word == "holds" and not figures:
        word, reason = "FAILS", "nothing was measured"
    return Verdict(claim, word, tuple(figures), time.perf_counter() - begin, reason)
