"""The engines that we compare with, each behind one contract and in a process of its own.

``measure(PEERS["vllm"], case)`` answers a `PeerResult`, or a `PeerUnavailable` with the reason; it raises nothing for
what a peer does. ``python -m spillway_engine.bench.peers`` tries them from a command line.
"""

from spillway_engine.bench.peers.catalog import PEERS
from spillway_engine.bench.peers.contract import Peer, PeerCase, PeerOutcome, PeerResult, PeerUnavailable
from spillway_engine.bench.peers.measure import measure

__all__ = ["PEERS", "Peer", "PeerCase", "PeerOutcome", "PeerResult", "PeerUnavailable", "measure"]
