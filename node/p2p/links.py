"""Connections to other nodes: dialling, keeping enough of them, noticing when one is dead.

Addresses are dialled one by one by our own code: the library's `connect` takes at least 250 ms, tries one
address only, has no overall time limit, and refuses a peer for a minute after one failure.
"""

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio
from libp2p.abc import INetConn

from capanode.node.p2p import address_book, host, multiaddrs
from capanode.node.p2p.config import NetworkConfig
from capanode.node.p2p.library_types import Multiaddr
from capanode.node.p2p.scores import Scores
from capanode.node.p2p.session import Session
from capanode.protocol.faults import Refused, Unavailable
from capanode.protocol.ids import PeerId

_log = logging.getLogger(__name__)

DIAL_S: Final = 10.0
"""Longest time for one address, handshake included."""
_REDIAL_S: Final = 10.0
"""How often missing links are looked for when nothing changes."""
_BACK_OFF_MOST_S: Final = 60.0


@dataclass(slots=True)
class _Redial:
    failures: int = 0
    next_at: float = 0.0


class Links:
    """Who we are connected to, and should be."""

    def __init__(self, config: NetworkConfig, own: PeerId, book: address_book.AddressBook, scores: Scores) -> None:
        self._config = config
        self._own = own
        self.book = book
        self._scores = scores
        self._redials: dict[PeerId, _Redial] = {}
        self._dialling: dict[PeerId, trio.Lock] = {}
        self._ended: dict[PeerId, trio.Event] = {}
        self._linked = 0
        self.changed = trio.Event()

    # -- Events of the host -------------------------------------------------------------------------------

    def on_connected(self, session: Session, connection: INetConn) -> None:
        """Let the peer into gossip, or out again if it is banned."""
        peer = multiaddrs.peer_of(connection.muxed_conn.peer_id)
        if self._scores.is_banned(peer, trio.current_time()):
            session.spawn(host.sever, connection)
            return
        self._redials.pop(peer, None)
        if session.table is not None:
            session.spawn(session.table.join, connection.muxed_conn.peer_id)

    def on_disconnected(self, session: Session, connection: INetConn) -> None:
        """Forget what depended on the connection, and look for another one."""
        peer = multiaddrs.peer_of(connection.muxed_conn.peer_id)
        if session.parts.swarm.get_connections(connection.muxed_conn.peer_id):
            return
        session.requester.forget(peer)
        session.parts.pubsub.forget(connection.muxed_conn.peer_id)
        ended = self._ended.pop(peer, None)
        if ended is not None:
            ended.set()
        self.changed.set()

    # -- Dialling -----------------------------------------------------------------------------------------

    async def ensure(self, session: Session, peer: PeerId) -> None:
        """Connect to the peer unless connected.

        Raises:
            Refused: banned, ourselves, or not a peer id.
            Unavailable: no known address answers as that peer.
        """
        target = multiaddrs.id_of(peer)
        if session.parts.swarm.get_connections(target):
            return
        if peer == self._own:
            raise Refused("A node does not connect to itself.")
        if self._scores.is_banned(peer, trio.current_time()):
            raise Refused(f"Peer {peer} broke the protocol and is refused for some minutes.")
        lock = self._dialling.setdefault(peer, trio.Lock())
        try:
            async with lock:
                if not session.parts.swarm.get_connections(target):
                    await self._dial(session, peer)
        finally:
            if not lock.statistics().tasks_waiting:
                self._dialling.pop(peer, None)

    async def _dial(self, session: Session, peer: PeerId) -> None:
        target = multiaddrs.id_of(peer)
        addresses = self._addresses(session, peer)
        if not addresses:
            raise Unavailable(f"No address of peer {peer} is known; connect to a node that knows it.")
        for address in addresses:
            with trio.move_on_after(DIAL_S):
                try:
                    await session.parts.swarm.dial_addr(Multiaddr(address), target)
                except Exception:
                    _log.debug("dialling %s at %s failed", peer, address, exc_info=True)
                else:
                    self.book.add(peer, (address,))
                    session.spawn(session.parts.pubsub.ensure_peer_stream, target)
                    return
        raise Unavailable(f"Peer {peer} answers at none of its {len(addresses)} known addresses; try later.")

    def _addresses(self, session: Session, peer: PeerId) -> tuple[str, ...]:
        known = dict.fromkeys(self.book.of(peer))
        try:
            said = session.parts.host.get_peerstore().addrs(multiaddrs.id_of(peer))
        except Exception:
            said = []
        for address in said[:8]:
            text = str(address).split("/p2p/")[0]
            if "/tcp/" in text and "/ws" not in text:
                known.setdefault(text)
        return tuple(known)[:8]

    def learn_found(self, peer: PeerId, addresses: list[str]) -> None:
        """Remember a peer that discovery found."""
        if peer != self._own and addresses and not self.book.of(peer):
            self.book.add(peer, addresses)
            self.changed.set()

    def is_hungry(self) -> bool:
        """Whether links are missing."""
        return self._linked < self._config.target_peers

    # -- Keeping enough links -----------------------------------------------------------------------------

    async def keep_connected(self, live: Callable[[], Session | None]) -> None:
        """Dial known peers while there are fewer links than wanted."""
        while True:
            self.changed = trio.Event()
            session = live()
            if session is not None:
                await self._dial_missing(session)
            with trio.move_on_after(self._until_next_s()):
                await self.changed.wait()
                # Whoever ended the connection may be restarting; it is also the time in which several
                # ends are seen as one.
                await trio.sleep(0.2)

    async def _dial_missing(self, session: Session) -> None:
        connected = {multiaddrs.peer_of(peer) for peer in session.parts.swarm.connections}
        self._linked = len(connected)
        missing = self._config.target_peers - self._linked
        if missing <= 0:
            return
        now = trio.current_time()
        wanted = [
            peer
            for peer in self.book.peers()
            if peer not in connected
            and peer != self._own
            and self._redials.setdefault(peer, _Redial()).next_at <= now
            and not self._scores.is_banned(peer, now)
        ]
        async with trio.open_nursery() as nursery:
            for peer in wanted[:missing]:
                nursery.start_soon(self._redial, session, peer)

    async def _redial(self, session: Session, peer: PeerId) -> None:
        try:
            await self.ensure(session, peer)
        except (Unavailable, Refused):
            redial = self._redials.setdefault(peer, _Redial())
            redial.failures += 1
            pause = min(2.0**redial.failures, _BACK_OFF_MOST_S) * random.uniform(0.75, 1.25)
            redial.next_at = trio.current_time() + pause

    def _until_next_s(self) -> float:
        now = trio.current_time()
        soonest = min((redial.next_at - now for redial in self._redials.values()), default=_REDIAL_S)
        return max(1.0, min(soonest, _REDIAL_S * random.uniform(0.8, 1.2)))

    def ended(self, peer: PeerId) -> trio.Event:
        """Set when the last connection to the peer ends."""
        return self._ended.setdefault(peer, trio.Event())
