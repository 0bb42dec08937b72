"""Types of libp2p and multiaddr that type checkers only accept with an excuse, made here once.

`libp2p.peer` is a folder without `__init__`, so it does not count as typed; `multiaddr` has no stubs.
"""

from libp2p.peer.id import ID as ID  # pyright: ignore[reportMissingTypeStubs]
from libp2p.peer.peerinfo import PeerInfo as PeerInfo  # pyright: ignore[reportMissingTypeStubs]
from libp2p.peer.peerstore import PeerStore as PeerStore  # pyright: ignore[reportMissingTypeStubs]
from multiaddr import Multiaddr as Multiaddr  # type: ignore[import-untyped]
