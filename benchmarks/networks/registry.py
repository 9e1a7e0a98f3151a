"""Which implementations there are, what they need, and which rows they have."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from benchmarks.workloads import SURROGATES, Workload

__all__ = ["IMPLEMENTATIONS", "Implementation", "missing"]


@dataclass(frozen=True)
class Implementation:
    """module: of this package, with `build(job)`; package: what must be installed for it;
    convention: whose equation its spikes are compared with (`material.conventions`); kinds: of
    workloads it has rows in, or by name workloads; masked: whether also in those with some synapses
    alone; options: its own keyword arguments.
    """

    name: str
    module: str
    package: str
    role: Literal["ours", "peer", "floor"]
    surrogates: tuple[str, ...] = SURROGATES
    convention: str = "subtract"
    kinds: tuple[str, ...] = ("dense", "recurrent", "scan", "conv")
    workloads: tuple[str, ...] = ()
    masked: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def runs(self, workload: Workload) -> bool:
        """Whether there is a row of it in a workload."""
        if workload.synapses < 1 and not self.masked:
            return False
        if self.workloads:
            return workload.name in self.workloads
        return workload.kind in self.kinds

    @property
    def jax(self) -> bool:
        """Whether it runs in JAX, which takes as many threads as cores that it may use."""
        return self.package in ("spyx", "brainevent")

    def version(self) -> str:
        """The release installed; "" if none."""
        try:
            return version(self.package)
        except PackageNotFoundError:
            return ""


def compiled(peer: Implementation) -> Implementation:
    """Another row of a peer: the body of its loop over steps under `torch.compile`."""
    return replace(peer, name=f"{peer.name}-compiled", options={"compiled": True})


TORCH_PEERS = (
    Implementation("snntorch", "snntorch", "snntorch", "peer", convention="delayed"),
    Implementation("spikingjelly", "spikingjelly", "spikingjelly", "peer"),
    Implementation("norse", "norse", "norse", "peer", ("triangle",)),
    Implementation("sinabs", "sinabs", "sinabs", "peer"),
)
IMPLEMENTATIONS = {
    i.name: i
    for i in (
        Implementation("ours", "ours", "spikegrad", "ours", masked=True),
        # Another row of ours is an entry with workloads and options: lean, or arguments of neurons.
        Implementation(
            "ours-lean", "ours", "spikegrad", "ours", workloads=("W2", "W3"), options={"lean": True}
        ),
        *TORCH_PEERS,
        Implementation("spyx", "spyx", "spyx", "peer", convention="late", masked=True),
        *(
            Implementation(
                name,
                "brainevent",
                "brainevent",
                "peer",
                kinds=("dense", "recurrent"),
                masked=True,
                options={"events": events},
            )
            for name, events in (("brainevent", True), ("brainevent-dense", False))
        ),
        *(compiled(peer) for peer in TORCH_PEERS),
        Implementation("relu", "floors", "torch", "floor", ("-",)),
        Implementation("relu-still", "floors", "torch", "floor", ("-",), workloads=("W1", "W5")),
        Implementation("lstm", "floors", "torch", "floor", ("-",), kinds=("recurrent",)),
        Implementation("copy", "floors", "torch", "floor", ("-",), kinds=("scan",)),
    )
}


def missing(implementation: Implementation, elsewhere: Collection[str] = ()) -> str | None:
    """Why an implementation cannot run here, or None. spikegrad may be on the path alone.

    elsewhere: packages for which another interpreter is named.
    """
    if implementation.role != "peer" or implementation.package in elsewhere:
        return None
    if implementation.version():
        return None
    return f"{implementation.name}: skipped, {implementation.package} is not installed"
