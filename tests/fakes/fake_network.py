"""An in-memory `Network`: any number of nodes in one test, without sockets.

Verified: `tests/p2p/test_port.py` runs the same suite against it and against the libp2p adapter.
"""

from dataclasses import dataclass, field

import trio

from capanode.node.p2p.port import (
    Handler,
    Liveness,
    Message,
    PeerLost,
    PeerReturned,
    Statistics,
    Validator,
    Verdict,
)
from capanode.protocol.faults import InvariantViolated, PeerFault, Refused, Unavailable
from capanode.protocol.ids import PeerId

MESSAGE_BYTES = 32 * 1024
_QUEUE = 1000
_FAULTS_TO_BAN = 5


@dataclass
class FakeInternet:
    """The wire between fake nodes; every node is in the mesh of every topic it subscribes to."""

    nodes: dict[PeerId, "FakeNetwork"] = field(default_factory=dict)

    def node(self, name: str) -> "FakeNetwork":
        """A new node that listens."""
        network = FakeNetwork(self, PeerId(name))
        self.nodes[network.peer_id] = network
        return network


@dataclass
class _Subscription:
    validator: Validator
    send: trio.MemorySendChannel[Message]


class FakeNetwork:
    """One node; see `capanode.node.p2p.port.Network`."""

    def __init__(self, internet: FakeInternet, peer_id: PeerId) -> None:
        self._internet = internet
        self._peer_id = peer_id
        self._subscriptions: dict[str, _Subscription] = {}
        self._services: dict[str, tuple[Handler, int]] = {}
        self._links: set[PeerId] = set()
        self._known: set[PeerId] = set()
        self._watched: dict[PeerId, bool] = {}
        self._faults: dict[PeerId, int] = {}
        self._liveness_send, self._liveness = trio.open_memory_channel[Liveness](256)
        self._counts: dict[str, int] = {}
        self.is_up = True

    @property
    def peer_id(self) -> PeerId:
        return self._peer_id

    @property
    def liveness(self) -> trio.MemoryReceiveChannel[Liveness]:
        return self._liveness

    def addresses(self) -> tuple[str, ...]:
        return (f"/memory/{self._peer_id}/p2p/{self._peer_id}",)

    async def publish(self, topic: str, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if len(data) > MESSAGE_BYTES:
            raise Refused(f"A gossip message of {len(data)} bytes is above {MESSAGE_BYTES}; send a CID.")
        self._count("messages_published")
        reached = {self._peer_id}
        front = [self._peer_id]
        while front:
            forwarder = front.pop()
            for peer in sorted(self._internet.nodes[forwarder]._links - reached):
                reached.add(peer)
                message = Message(topic, data, self._peer_id, forwarder)
                if self._internet.nodes[peer]._hear(message):
                    front.append(peer)

    def subscribe(self, topic: str, validator: Validator) -> trio.MemoryReceiveChannel[Message]:
        if topic in self._subscriptions:
            raise InvariantViolated(f"Topic {topic} is subscribed to twice.")
        send, receive = trio.open_memory_channel[Message](_QUEUE)
        self._subscriptions[topic] = _Subscription(validator, send)
        return receive

    def serve(self, protocol: str, handler: Handler, *, limit_bytes: int) -> None:
        if protocol in self._services:
            raise InvariantViolated(f"Protocol {protocol} is served twice.")
        self._services[protocol] = (handler, limit_bytes)

    async def request(
        self, peer: PeerId, protocol: str, payload: bytes, *, limit_bytes: int, timeout_s: float
    ) -> bytes:
        await trio.lowlevel.checkpoint()
        self._count("requests_sent")
        self._reach(peer)
        service = self._internet.nodes[peer]._services.get(protocol)
        if service is None:
            raise Unavailable(f"Peer {peer} does not answer {protocol}.")
        handler, limit = service
        if len(payload) > limit:
            self._internet.nodes[peer].charge(self._peer_id)
            raise Unavailable(f"Peer {peer} closed the stream without answering; try again.")
        reply = await self._handle(peer, handler, payload, protocol, timeout_s)
        if len(reply) > limit_bytes:
            self.charge(peer)
            raise PeerFault(f"A frame of {len(reply)} bytes is longer than the limit of {limit_bytes}.")
        return reply

    async def _handle(self, peer: PeerId, handler: Handler, payload: bytes, protocol: str, timeout_s: float) -> bytes:
        try:
            with trio.fail_after(timeout_s):
                return await handler(self._peer_id, payload)
        except trio.TooSlowError as error:
            raise Unavailable(f"Peer {peer} did not answer {protocol} within {timeout_s:g} s.") from error
        except Refused:
            raise
        except PeerFault as error:
            self._internet.nodes[peer].charge(self._peer_id)
            raise Refused(f"Peer {peer} says that our request is invalid: {error}") from error
        except Unavailable as error:
            raise Unavailable(f"Peer {peer} cannot answer now: {error}") from error
        except Exception as error:
            raise Unavailable(f"Peer {peer} cannot answer now: The request failed here.") from error

    async def connect(self, address: str) -> PeerId:
        await trio.lowlevel.checkpoint()
        peer = self.learn(address)
        self._reach(peer)
        return peer

    def learn(self, address: str) -> PeerId:
        head, separator, peer = address.rpartition("/p2p/")
        if not separator or not head.startswith("/") or not peer:
            raise Refused(f"'{address}' is not a TCP multiaddr of a peer.")
        self._known.add(PeerId(peer))
        return PeerId(peer)

    def peers(self) -> frozenset[PeerId]:
        return frozenset(self._links)

    def charge(self, peer: PeerId) -> None:
        self._faults[peer] = self._faults.get(peer, 0) + 1
        if self._faults[peer] == _FAULTS_TO_BAN:
            self._count("peers_banned")
            self._cut(peer)

    def watch_peer(self, peer: PeerId) -> None:
        self._watched.setdefault(peer, True)

    def unwatch_peer(self, peer: PeerId) -> None:
        self._watched.pop(peer, None)

    def statistics(self) -> Statistics:
        return Statistics(connected_peers=len(self._links), **self._counts)

    # -- For tests ----------------------------------------------------------------------------------------

    def go_down(self) -> None:
        """Die: connections end, watchers are told."""
        self.is_up = False
        for peer in list(self._links):
            self._cut(peer)
        self._tell_watchers(alive=False)

    def come_up(self) -> None:
        """Return after `go_down`."""
        self.is_up = True
        self._tell_watchers(alive=True)

    def _tell_watchers(self, *, alive: bool) -> None:
        for other in self._internet.nodes.values():
            if other._watched.get(self._peer_id, alive) != alive:
                other._watched[self._peer_id] = alive
                event = PeerReturned(self._peer_id) if alive else PeerLost(self._peer_id)
                other._liveness_send.send_nowait(event)

    def _reach(self, peer: PeerId) -> None:
        if peer == self._peer_id:
            raise Refused("A node does not connect to itself.")
        if self._is_banned(peer):
            raise Refused(f"Peer {peer} broke the protocol and is refused for some minutes.")
        other = self._internet.nodes.get(peer)
        if peer not in self._links:
            if other is None or not other.is_up or peer not in self._known or other._is_banned(self._peer_id):
                raise Unavailable(f"Peer {peer} cannot be reached.")
            self._links.add(peer)
            other._links.add(self._peer_id)

    def _is_banned(self, peer: PeerId) -> bool:
        return self._faults.get(peer, 0) >= _FAULTS_TO_BAN

    def _cut(self, peer: PeerId) -> None:
        self._links.discard(peer)
        self._internet.nodes[peer]._links.discard(self._peer_id)

    def _hear(self, message: Message) -> bool:
        subscription = self._subscriptions.get(message.topic)
        if subscription is None:
            return False
        match subscription.validator(message.topic, message.source, message.data):
            case Verdict.ACCEPT:
                try:
                    subscription.send.send_nowait(message)
                    self._count("messages_delivered")
                except trio.WouldBlock:
                    self._count("messages_dropped")
                return True
            case Verdict.IGNORE:
                self._count("messages_ignored")
            case Verdict.REJECT:
                self._count("messages_rejected")
                self.charge(message.forwarder)
        return False

    def _count(self, name: str) -> None:
        self._counts[name] = self._counts.get(name, 0) + 1
