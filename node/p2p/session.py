"""One libp2p host with its services, from listening to closed.

Shutdown order, because every other one hangs or raises under traffic: own tasks, connections, host,
gossip services, the host's nursery.
"""

import errno
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import trio
from libp2p.abc import INetConn, INetStream, INetwork, INotifee
from libp2p.tools.anyio_service import background_trio_service

from capanode.node.p2p import host
from capanode.node.p2p.discovery import Table
from capanode.node.p2p.library_types import Multiaddr
from capanode.node.p2p.requests import Requester
from capanode.protocol.faults import Misconfigured

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Session:
    """A host that runs now."""

    parts: host.Parts
    requester: Requester
    nursery: trio.Nursery
    table: Table | None = None

    def spawn(self, function: Callable[..., Awaitable[object]], *args: object) -> None:
        """Run a task that ends with the session and cannot end it."""

        async def contained() -> None:
            try:
                await function(*args)
            except Exception:
                _log.debug("a session task failed", exc_info=True)

        try:
            self.nursery.start_soon(contained)
        except RuntimeError:
            # The session has ended meanwhile, and its tasks with it; others still dial through it for a moment.
            _log.debug("a task came after the end of its session", exc_info=True)


class SessionSlot:
    """The session that is live now, if any."""

    def __init__(self) -> None:
        self.live: Session | None = None
        self._arrived = trio.Event()

    def put(self, session: Session) -> None:
        """A session is ready for use."""
        self.live = session
        self._arrived.set()
        self._arrived = trio.Event()

    def clear(self) -> None:
        """The session is ending."""
        self.live = None

    async def wait(self) -> Session:
        """The live session; waits while a host is being built."""
        while self.live is None:
            await self._arrived.wait()
        return self.live


class ConnectionEvents(INotifee):
    """Passes on what the host says about its connections."""

    def __init__(self, connected: Callable[[INetConn], None], disconnected: Callable[[INetConn], None]) -> None:
        self._connected = connected
        self._disconnected = disconnected

    async def connected(self, network: INetwork, conn: INetConn) -> None:
        """A connection was made, by either side."""
        self._connected(conn)

    async def disconnected(self, network: INetwork, conn: INetConn) -> None:
        """A connection has ended."""
        self._disconnected(conn)

    async def opened_stream(self, network: INetwork, stream: INetStream) -> None:
        """Nothing."""

    async def closed_stream(self, network: INetwork, stream: INetStream) -> None:
        """Nothing."""

    async def listen(self, network: INetwork, multiaddr: Multiaddr) -> None:
        """Nothing."""

    async def listen_close(self, network: INetwork, multiaddr: Multiaddr) -> None:
        """Nothing."""


async def open_session(
    stack: AsyncExitStack,
    parts: host.Parts,
    listen: tuple[Multiaddr, ...],
    events: ConnectionEvents,
    on_failure: Callable[[Exception], None],
) -> None:
    """Start the host and its gossip services on `stack`; listening when this returns.

    Raises:
        Misconfigured: it cannot listen.
    """
    parts.swarm.register_notifee(events)
    await stack.enter_async_context(parts.host.run(listen))
    if len(parts.swarm.listeners) < len(listen):
        raise Misconfigured(f"Not all of {_names(listen)} can be listened on; choose other addresses.")
    host.contain_tasks(parts.swarm.manager, on_failure)
    for service in (parts.pubsub, parts.router):
        manager = await stack.enter_async_context(background_trio_service(service))
        host.contain_tasks(manager, on_failure)
    await parts.pubsub.wait_until_ready()


async def check_ports(listen: tuple[Multiaddr, ...]) -> None:
    """Find out whether the ports are free.

    libp2p listens with SO_REUSEPORT: a second node would quietly get half of the first one's connections.

    Raises:
        Misconfigured: a port is taken, or an address is not ours.
    """
    for address in listen:
        ip = address.value_for_protocol("ip6" if "/ip6/" in str(address) else "ip4")
        family = trio.socket.AF_INET6 if ":" in str(ip) else trio.socket.AF_INET
        with trio.socket.socket(family) as probe:
            probe.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_REUSEADDR, 1)
            try:
                await probe.bind((str(ip), int(str(address.value_for_protocol("tcp")))))
            except OSError as error:
                reason = "is taken by another program" if error.errno == errno.EADDRINUSE else str(error)
                raise Misconfigured(f"{address} cannot be listened on: {reason}; choose another port.") from error


def _names(addresses: tuple[Multiaddr, ...]) -> str:
    return ", ".join(str(address) for address in addresses)


def bound(parts: host.Parts, listen: tuple[Multiaddr, ...]) -> tuple[Multiaddr, ...]:
    """The addresses with the ports that the system chose, so that a rebuilt host keeps them."""
    if not any(str(address).endswith("/tcp/0") for address in listen):
        return listen
    return tuple(
        Multiaddr(str(address).split("/p2p/")[0])
        for listener in parts.swarm.listeners.values()
        for address in listener.get_addrs()
    )
