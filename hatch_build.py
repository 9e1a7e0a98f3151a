"""What makes a wheel one for a platform: the kernels that `make wheel` compiled go into it.

Without `SPIKEGRAD_WHEEL_KERNELS` (an sdist, an editable install, `pip install` from a clone)
nothing is added: the wheel is for any platform, and the kernels are compiled on first use.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Kernels(BuildHookInterface):
    """Adds the libraries of `ready_made.make`, and its tag that says where they run."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        folder = os.environ.get("SPIKEGRAD_WHEEL_KERNELS")
        if not folder or version == "editable":
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{Path(folder, 'tag').read_text(encoding='utf-8')}"
        for library in sorted([*Path(folder).glob("kernels-*"), *Path(folder).glob("steps-*")]):
            place = f"spikegrad/kernels/cpu/lib/{library.name}"
            build_data["force_include"][str(library.resolve())] = place
