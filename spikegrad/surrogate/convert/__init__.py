"""Converters: the record that another library means by a name and its own arguments."""

from spikegrad.surrogate.convert.norse import NORSE, from_norse
from spikegrad.surrogate.convert.peer import Peer
from spikegrad.surrogate.convert.snntorch import SNNTORCH, from_snntorch
from spikegrad.surrogate.convert.spikingjelly import SPIKINGJELLY, from_spikingjelly
from spikegrad.surrogate.convert.spyx import SPYX, from_spyx

__all__ = ["PEERS", "Peer", "from_norse", "from_snntorch", "from_spikingjelly", "from_spyx"]

PEERS: dict[str, Peer] = {peer.library: peer for peer in (NORSE, SNNTORCH, SPIKINGJELLY, SPYX)}
