"""The one adapter to py-libp2p: the `Network` port on hosts that are replaced when they crash.

Two lives are kept apart. *This object* lives as long as the node and holds what must not be lost:
subscriptions with their channels, handlers, watched peers, the address book, scores. A *session* is one
libp2p host with its services; when any of them ends, the session is closed and another one is built, and
everything is installed in it again. Tasks of the node never share a nursery with the library's.
"""

import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final

import trio
from libp2p.abc import INetConn
from libp2p.custom_types import TProtocol
from libp2p.io.exceptions import IOException
from libp2p.network.connection.exceptions import RawConnError
from libp2p.network.exceptions import SwarmException
from libp2p.protocol_muxer.exceptions import MultiselectClientError, MultiselectError
from libp2p.stream_muxer.exceptions import MuxedConnError, MuxedStreamError
from libp2p.tools.anyio_service import background_trio_service

from capanode.node.p2p import address_book, host, liveness, multiaddrs, patches
from capanode.node.p2p.config import NetworkConfig
from capanode.node.p2p.counts import Counts
from capanode.node.p2p.discovery import Table, discover, hearing_lan
from capanode.node.p2p.gossip import Gossip
from capanode.node.p2p.groups import errors_inside
from capanode.node.p2p.library_types import ID, Multiaddr
from capanode.node.p2p.links import Links
from capanode.node.p2p.port import Handler, Liveness, Message, Statistics, Validator
from capanode.node.p2p.requests import NoSuchProtocol, Requester, Responder
from capanode.node.p2p.scores import Scores
from capanode.node.p2p.session import ConnectionEvents, Session, SessionSlot, bound, check_ports, open_session
from capanode.protocol.faults import Fault, InvariantViolated, Misconfigured, PeerFault, Unavailable
from capanode.protocol.ids import PeerId

_log = logging.getLogger(__name__)

PING: Final = "/capanode/ping/1"
_CONNECT_S: Final = 10.0
_SAVE_S: Final = 60.0
_WAIT_FOR_HOST_S: Final = 5.0
_PAUSE_S: Final = 0.2
_PAUSE_MOST_S: Final = 10.0
_STABLE_S: Final = 60.0
_EVENTS: Final = 256
_OVER_RATE_POINTS: Final = 0.002
"""A ban after 2,500 messages above a rate that no honest neighbour reaches."""

_ENDINGS = (
    *(IOException, RawConnError, SwarmException, MuxedConnError, MuxedStreamError),
    *(MultiselectError, MultiselectClientError, OSError, EOFError),
    *(trio.ClosedResourceError, trio.BrokenResourceError, trio.TooSlowError),
)
"""How streams and connections end without anyone having broken the protocol."""


@dataclass(frozen=True, slots=True)
class _Service:
    handler: Handler
    limit_bytes: int


class Libp2pNetwork:
    """See the module's docstring; `capanode.node.p2p.port.Network` documents the methods."""

    def __init__(self, config: NetworkConfig) -> None:
        patches.apply()
        self._config = config
        self._peer_id = config.key.peer_id
        self._counts = Counts()
        self._scores = Scores()
        self._services: dict[str, _Service] = {}
        self._watches: dict[PeerId, trio.CancelScope] = {}
        self._session = SessionSlot()
        self._listen = tuple(_listen_address(address) for address in config.listen)
        self._stopping = trio.Event()
        self._closed = trio.Event()
        self._began = False
        self._nursery: trio.Nursery | None = None
        self._liveness_send, self._liveness = trio.open_memory_channel[Liveness](_EVENTS)
        self._gossip = Gossip(
            self.peer_id, config.gossip, config.publish_gap_s, charge=self._charge, counts=self._counts
        )
        self._book_path = config.data_dir / "peers.json"
        book = address_book.load(self._book_path)
        self._links = Links(config, self.peer_id, book, self._scores)
        for address in config.bootstrap:
            self.learn(address)
        self._responder = Responder(
            charge=self._charge,
            may_ask=lambda peer: not self._scores.is_banned(peer, trio.current_time()),
            on_served=partial(self._counts.add, "requests_served"),
        )
        self.serve(PING, _echo, limit_bytes=64)

    # -- The port -----------------------------------------------------------------------------------------

    @property
    def peer_id(self) -> PeerId:
        """Our id."""
        return self._peer_id

    @property
    def liveness(self) -> trio.MemoryReceiveChannel[Liveness]:
        """See the port."""
        return self._liveness

    def addresses(self) -> tuple[str, ...]:
        """See the port."""
        session = self._session.live
        return tuple(str(address) for address in session.parts.host.get_addrs()) if session else ()

    async def publish(self, topic: str, data: bytes) -> None:
        """See the port."""
        try:
            with trio.fail_after(_WAIT_FOR_HOST_S):
                session = await self._session.wait()
            await self._gossip.publish(session.parts.pubsub, topic, data)
        except Fault:
            raise
        except Exception:
            # Best effort: the host is being replaced, or was just lost.
            _log.debug("a message was not published", exc_info=True)
            self._counts.add("messages_unsent")

    def subscribe(self, topic: str, validator: Validator) -> trio.MemoryReceiveChannel[Message]:
        """See the port."""
        messages = self._gossip.subscribe(topic, validator)
        session = self._session.live
        if session is not None:
            session.spawn(self._gossip.install, session.parts.pubsub, topic)
        return messages

    def serve(self, protocol: str, handler: Handler, *, limit_bytes: int) -> None:
        """See the port."""
        if protocol in self._services:
            raise InvariantViolated(f"Protocol {protocol} is served twice.")
        self._services[protocol] = _Service(handler, limit_bytes)
        session = self._session.live
        if session is not None:
            self._install_service(session.parts, protocol)

    async def request(
        self, peer: PeerId, protocol: str, payload: bytes, *, limit_bytes: int, timeout_s: float
    ) -> bytes:
        """See the port."""
        self._counts.add("requests_sent")
        try:
            with trio.fail_after(timeout_s):
                session = await self._session.wait()
                await self._links.ensure(session, peer)
                return await session.requester.request(peer, protocol, payload, limit_bytes)
        except trio.TooSlowError as error:
            self._counts.add("requests_failed")
            raise Unavailable(f"Peer {peer} did not answer {protocol} within {timeout_s:g} s.") from error
        except Fault as fault:
            self._counts.add("requests_failed")
            if isinstance(fault, PeerFault):
                self._charge(peer)
            raise

    async def connect(self, address: str) -> PeerId:
        """See the port."""
        peer = self.learn(address)
        try:
            with trio.fail_after(_CONNECT_S):
                await self._links.ensure(await self._session.wait(), peer)
        except trio.TooSlowError as error:
            raise Unavailable(f"Nobody answers at {address} within {_CONNECT_S:g} s; is it up?") from error
        return peer

    def learn(self, address: str) -> PeerId:
        """See the port."""
        peer, dialable = multiaddrs.split(address)
        if peer != self.peer_id:
            self._links.book.add(peer, (dialable,))
            self._links.changed.set()
        return peer

    def peers(self) -> frozenset[PeerId]:
        """See the port."""
        session = self._session.live
        if session is None:
            return frozenset()
        return frozenset(multiaddrs.peer_of(peer) for peer in session.parts.swarm.connections)

    def charge(self, peer: PeerId) -> None:
        """See the port."""
        self._charge(peer)

    def watch_peer(self, peer: PeerId) -> None:
        """See the port."""
        if peer not in self._watches:
            scope = self._watches[peer] = trio.CancelScope()
            if self._nursery is not None:
                self._nursery.start_soon(self._watch, peer, scope)

    def unwatch_peer(self, peer: PeerId) -> None:
        """See the port."""
        scope = self._watches.pop(peer, None)
        if scope is not None:
            scope.cancel()

    def statistics(self) -> Statistics:
        """See the port."""
        session = self._session.live
        return self._counts.snapshot(
            connected_peers=len(self.peers()),
            inbound_slots_used=sum(session.parts.inbound_ips.values()) if session else 0,
            peers_banned=self._scores.banned,
        )

    # -- Life ---------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until `stop`; started once the first host listens.

        Shielded from its caller's cancellation: it ends by `stop`, in its own order and bounded time.

        Raises:
            Misconfigured: the first host cannot listen.
        """
        with trio.CancelScope() as shield:
            shield.shield = True
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                await nursery.start(self._supervise)
                nursery.start_soon(self._links.keep_connected, lambda: self._session.live)
                nursery.start_soon(self._keep_book)
                nursery.start_soon(
                    liveness.ping_rarely,
                    self._config.ping_others_s,
                    self._unwatched,
                    self._ping,
                    self._disconnect,
                )
                for peer, scope in self._watches.items():
                    nursery.start_soon(self._watch, peer, scope)
                task_status.started()
                await self._closed.wait()
                nursery.cancel_scope.cancel()
            await self._save_book()

    def stop(self) -> None:
        """Begin to close; `run` returns when done."""
        self._stopping.set()

    async def _supervise(self, *, task_status: trio.TaskStatus[None]) -> None:
        await check_ports(self._listen)
        pause_s = _PAUSE_S
        while not self._stopping.is_set():
            began_at = trio.current_time()
            try:
                await self._run_session(task_status)
            except Exception as crash:
                if not self._began:
                    raise _cause_of(crash) from crash
                _log.exception("the libp2p host has crashed; building another one")
            if self._stopping.is_set():
                break
            self._counts.add("host_rebuilds")
            pause_s = _PAUSE_S if trio.current_time() - began_at > _STABLE_S else min(2 * pause_s, _PAUSE_MOST_S)
            with trio.move_on_after(pause_s):
                await self._stopping.wait()
        self._closed.set()

    async def _run_session(self, task_status: trio.TaskStatus[None]) -> None:
        parts = host.build(self._config, on_fault=self._on_fault, on_over_rate=self._on_over_rate)
        events = ConnectionEvents(self._on_connected, self._on_disconnected)
        try:
            async with AsyncExitStack() as stack:
                await open_session(stack, parts, self._listen, events, self._on_failure)
                self._listen = bound(parts, self._listen)
                if self._config.mdns:
                    stack.enter_context(hearing_lan(self._links.learn_found))
                table = await self._open_table(stack, parts)
                stack.push_async_callback(host.close, parts)
                nursery = await stack.enter_async_context(trio.open_nursery())
                session = Session(parts, Requester(parts.host), nursery, table)
                session.spawn(parts.pubsub.forget_deliveries)
                if table is not None:
                    session.spawn(discover, table, self._links.is_hungry, self._links.learn_found)
                for protocol in self._services:
                    self._install_service(parts, protocol)
                for topic in self._gossip.topics:
                    await self._gossip.install(parts.pubsub, topic)
                self._session.put(session)
                self._links.changed.set()
                if not self._began:
                    self._began = True
                    task_status.started()
                await self._stopping.wait()
                self._session.clear()
                nursery.cancel_scope.cancel()
        finally:
            self._session.clear()
            await host.close(parts)

    async def _open_table(self, stack: AsyncExitStack, parts: host.Parts) -> Table | None:
        if not self._config.dht:
            return None
        table = Table(parts.host, self._config.network)
        manager = await stack.enter_async_context(background_trio_service(table))
        host.contain_tasks(manager, self._on_failure)
        return table

    def _install_service(self, parts: host.Parts, protocol: str) -> None:
        service = self._services[protocol]
        handle = self._responder.stream_handler(service.handler, service.limit_bytes)
        parts.host.set_stream_handler(TProtocol(protocol), handle)

    # -- What the host reports ----------------------------------------------------------------------------

    def _on_connected(self, connection: INetConn) -> None:
        session = self._session.live
        if session is not None:
            self._links.on_connected(session, connection)

    def _on_disconnected(self, connection: INetConn) -> None:
        session = self._session.live
        if session is not None:
            self._links.on_disconnected(session, connection)

    def _on_failure(self, error: Exception) -> None:
        self._counts.add("contained_faults")
        _log.debug("a libp2p task failed", exc_info=error)

    def _on_fault(self, peer: ID, error: Exception) -> None:
        if isinstance(error, _ENDINGS):
            return
        self._on_failure(error)
        self._charge(multiaddrs.peer_of(peer))

    def _on_over_rate(self, peer: ID) -> None:
        # A neighbour far above any honest rate is a flooder; each message costs it a little.
        self._counts.add("messages_over_rate")
        self._charge(multiaddrs.peer_of(peer), _OVER_RATE_POINTS)

    def _charge(self, peer: PeerId, points: float = 1.0) -> None:
        if peer != self.peer_id and self._scores.charge(peer, trio.current_time(), points):
            _log.warning("peer %s has broken the protocol repeatedly and is refused for some minutes", peer)
            session = self._session.live
            if session is not None:
                session.spawn(self._disconnect, peer)

    # -- Tasks --------------------------------------------------------------------------------------------

    async def _disconnect(self, peer: PeerId) -> None:
        session = self._session.live
        if session is not None:
            for connection in session.parts.swarm.get_connections(multiaddrs.id_of(peer)):
                await host.sever(connection)

    async def _ping(self, peer: PeerId, timeout_s: float) -> bool:
        try:
            await self.request(peer, PING, b"", limit_bytes=64, timeout_s=timeout_s)
        except NoSuchProtocol:
            return True
        except Fault:
            return False
        return True

    async def _watch(self, peer: PeerId, scope: trio.CancelScope) -> None:
        with scope:
            await liveness.watch(
                peer,
                self._config.ping_watched_s,
                self._ping,
                self._links.ended,
                self._report,
                self._disconnect,
            )

    def _report(self, event: Liveness) -> None:
        try:
            self._liveness_send.send_nowait(event)
        except trio.WouldBlock:
            self._counts.add("events_dropped")

    def _unwatched(self) -> frozenset[PeerId]:
        return self.peers() - self._watches.keys()

    async def _keep_book(self) -> None:
        while True:
            await trio.sleep(_SAVE_S)
            await self._save_book()

    async def _save_book(self) -> None:
        book = self._links.book
        if not book.changed:
            return
        try:
            await trio.to_thread.run_sync(address_book.save, self._book_path, book.dump())
        except OSError as error:
            _log.warning("the known peers cannot be saved (%s)", error)


async def _echo(peer: PeerId, payload: bytes) -> bytes:
    return payload


def _listen_address(address: str) -> Multiaddr:
    try:
        parsed = Multiaddr(address)
        if not str(parsed.value_for_protocol("tcp")).isdigit():
            raise ValueError("it names no TCP port")
    except Exception as error:  # the parser raises many kinds
        raise Misconfigured(f"'{address}' is not a TCP multiaddr to listen on ({error}).") from error
    return parsed


def _cause_of(crash: Exception) -> Exception:
    """The sentence for the operator inside an exception group, if there is one."""
    inside = errors_inside(crash)
    return next((cause for cause in inside if isinstance(cause, Misconfigured)), inside[0])
