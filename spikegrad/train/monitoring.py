"""A run under observation: what a monitor finds in its steps, said once and written down."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from spikegrad.diagnose import Finding, Look, Monitor, Norms
from spikegrad.diagnose.gradients import owner
from spikegrad.train.folder import RunFolder, write_atomic
from spikegrad.train.progress import Watcher
from spikegrad.train.state import RunState
from spikegrad.train.step import Outcome

__all__ = ["STYLES", "Monitoring", "entry"]

STYLES = {"error": "bold red", "warning": "yellow"}


class Monitoring:
    """A monitor beside a run. mode: "off", "warn", or "stop" to end a run that is hopeless.

    Every process of a run sees the same figures, those of the whole batch, and comes to the same
    end; the first one says and writes.
    """

    def __init__(
        self, mode: str, network: nn.Module, watcher: Watcher, folder: RunFolder | None
    ) -> None:
        self.mode, self.watcher, self.folder = mode, watcher, folder
        self.monitor = Monitor()
        self.owners = {name: owner(network, name) for name, _ in network.named_parameters()}

    def see(self, outcome: Outcome, state: RunState) -> bool:
        """Look at a step that is done; whether the run shall end."""
        if self.mode == "off" or not outcome.fired:
            return False
        look = Look(
            state.step, outcome.loss, outcome.count, outcome.fired, self.by_layer(outcome.norms)
        )
        found = self.monitor.see(look)
        for finding in found:
            self.watcher.say(
                f"step {state.step}: {finding.line()}", STYLES.get(finding.severity, "")
            )
            state.findings.append(entry(finding, state.step))
        if found:
            self.write(state)
        if not self.monitor.hopeless or self.mode != "stop":
            return False
        state.hopeless = self.monitor.hopeless
        self.watcher.say(
            f"step {state.step}: no hope, so the run ends: {state.hopeless}", "bold red"
        )
        return True

    def by_layer(self, norms: Mapping[str, Norms]) -> dict[str, Norms]:
        """The norms of all parameters of a layer together."""
        found: dict[str, list[Norms]] = {}
        for name, both in norms.items():
            found.setdefault(self.owners[name], []).append(both)
        return {
            name: Norms(
                math.hypot(*(b.gradient for b in each)), math.hypot(*(b.weight for b in each))
            )
            for name, each in found.items()
        }

    def together(self, norms: Mapping[str, float]) -> dict[str, float]:
        """Norms by parameter as norms by layer."""
        found: dict[str, float] = {}
        for name, norm in norms.items():
            layer = self.owners[name]
            found[layer] = math.hypot(found.get(layer, 0.0), norm)
        return found

    def write(self, state: RunState) -> None:
        """Replace `findings.json` by what was found so far."""
        if self.folder is not None:
            text = json.dumps(state.findings, indent=2) + "\n"
            write_atomic(self.folder.findings, text.encode())


def entry(finding: Finding, step: int) -> dict[str, Any]:
    """A finding as it is written down; step: 0 before training."""
    return {"step": step, **finding.data()}
