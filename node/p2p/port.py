"""What the rest of the node knows about the network; no libp2p type appears here.

One suite (`tests/p2p/port_suite.py`) runs against the real adapter and against the in-memory fake, so
code that is tested on the fake meets the same rules on the wire.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import trio

from capanode.protocol.ids import PeerId


@dataclass(frozen=True, slots=True)
class Message:
    """A gossip message that its validator accepted.

    `source` signed it (checked by the adapter); `forwarder` handed it to us.
    """

    topic: str
    data: bytes
    source: PeerId
    forwarder: PeerId


class Verdict(Enum):
    """What a validator says about one message."""

    ACCEPT = "accept"
    """Deliver it to our subscription and forward it."""
    IGNORE = "ignore"
    """Drop it; nobody is to blame (expired, already known, escrow not seen yet)."""
    REJECT = "reject"
    """Drop it and charge the forwarder's score: an honest node would not have forwarded it."""


Validator = Callable[[str, PeerId, bytes], Verdict]
"""(topic, source, data) → verdict. Synchronous, quick, without effects on the outside, never raises.

It runs on every message from every peer, before anything else sees it. An exception counts as IGNORE.
"""

Handler = Callable[[PeerId, bytes], Awaitable[bytes]]
"""(peer, request) → reply. `Refused` and `PeerFault` reach the peer as their sentence; `PeerFault` also
costs the peer score; `Unavailable` reaches it as such; anything else is logged and answered as
unavailable."""


@dataclass(frozen=True, slots=True)
class PeerLost:
    """A watched peer has stopped answering (killed: about 3 s; frozen or cut off: at most 10 s)."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class PeerReturned:
    """A watched peer that was lost answers again."""

    peer: PeerId


Liveness = PeerLost | PeerReturned


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counters since the network was opened, and the present size of what is bounded."""

    connected_peers: int = 0
    inbound_slots_used: int = 0
    host_rebuilds: int = 0
    contained_faults: int = 0
    messages_published: int = 0
    messages_unsent: int = 0
    messages_delivered: int = 0
    messages_dropped: int = 0
    messages_ignored: int = 0
    messages_rejected: int = 0
    messages_over_rate: int = 0
    requests_sent: int = 0
    requests_failed: int = 0
    requests_served: int = 0
    peers_banned: int = 0
    events_dropped: int = 0


class Network(Protocol):
    """Gossip, requests and connections to other nodes.

    Everything registered here (subscriptions, handlers, watched peers) outlives a crash of the
    library underneath: the adapter rebuilds its host and installs it again.
    """

    @property
    def peer_id(self) -> PeerId: ...

    def addresses(self) -> tuple[str, ...]:
        """Multiaddrs ending in `/p2p/<peer id>` at which others can dial this node."""
        ...

    async def publish(self, topic: str, data: bytes) -> None:
        """Gossip `data`: signed by the peer key, paced, best effort.

        Announce again with changed bytes (a counter, a time): equal bytes are forwarded at most once
        in a few seconds. Own messages are not delivered to the own subscription.

        Raises:
            Refused: longer than the configured message size.
        """
        ...

    def subscribe(self, topic: str, validator: Validator) -> trio.MemoryReceiveChannel[Message]:
        """Accepted messages of `topic`, once per topic; what does not fit the channel is dropped, counted."""
        ...

    def serve(self, protocol: str, handler: Handler, *, limit_bytes: int) -> None:
        """Answer requests on `protocol`; `limit_bytes` bounds a request. Once per protocol."""
        ...

    async def request(
        self, peer: PeerId, protocol: str, payload: bytes, *, limit_bytes: int, timeout_s: float
    ) -> bytes:
        """One request, one reply, on a stream that is kept open for the next one.

        A stream found dead before any reply byte is retried once on a new one, so a request may be
        handled twice: make handlers idempotent. `timeout_s` covers everything, dialling included.

        Raises:
            Unavailable: unreachable, too slow, or the peer said that it cannot answer now.
            Refused: the peer refused; the sentence is the peer's (bounded, printable).
            PeerFault: the reply broke the protocol (malformed, longer than `limit_bytes`).
        """
        ...

    async def connect(self, address: str) -> PeerId:
        """Dial a multiaddr that ends in `/p2p/<peer id>`; a no-op when already connected.

        Raises:
            Refused: not such a multiaddr, or a banned peer.
            Unavailable: nobody answers there as that peer within 10 s.
        """
        ...

    def learn(self, address: str) -> PeerId:
        """Remember where a peer can be dialled, without dialling it.

        Raises:
            Refused: not a multiaddr with a peer id.
        """
        ...

    def peers(self) -> frozenset[PeerId]:
        """Peers connected now."""
        ...

    def charge(self, peer: PeerId) -> None:
        """The peer broke a rule that only the caller knows: a few such faults in minutes end in a ban."""
        ...

    def watch_peer(self, peer: PeerId) -> None:
        """Ping `peer` every 3 s (an open deal is with it) and report on `liveness`; idempotent."""
        ...

    def unwatch_peer(self, peer: PeerId) -> None:
        """Stop watching; idempotent."""
        ...

    @property
    def liveness(self) -> trio.MemoryReceiveChannel[Liveness]:
        """Losses and returns of watched peers; one reader."""
        ...

    def statistics(self) -> Statistics: ...
