"""The theory as checks that run: each a statement with its source, measured figures and a verdict.

>>> from spikegrad import verify
>>> found = verify.run(["loop-integral"])
>>> found.ok, found.verdicts[0].word
(True, 'holds')
"""

from spikegrad.verify.claim import Claim, Measured, NotRun
from spikegrad.verify.registry import claims_of, names
from spikegrad.verify.run import Verdict, Verification, run

__all__ = [
    "Claim",
    "Measured",
    "NotRun",
    "Verdict",
    "Verification",
    "claims_of",
    "names",
    "run",
]
