"""The body of a loop over steps under `torch.compile`, where a row asks for it.

The whole loop compiles too: ten seconds to a minute for 100 steps, and no faster.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from benchmarks.networks.base import Job

__all__ = ["body"]

Step = TypeVar("Step", bound=Callable[..., Any])


def body(job: Job, step: Step) -> Step:
    """The step, compiled as one graph or not at all: a part left out would be a slower row."""
    if not job.options.get("compiled"):
        return step
    import torch._dynamo.config
    import torch._inductor.config

    torch._dynamo.config.recompile_limit = 64  # each shape, with gradients and without
    torch._inductor.config.compile_threads = 1  # no helpers that live on beside what is timed
    return torch.compile(step, fullgraph=True, dynamic=False)
