"""Builds a libp2p host that remote frames cannot kill or wedge, and takes one down without hanging.

What is contained here, each with a test in `tests/p2p/test_containment.py`: exceptions of stream handlers
and of connection tasks (stock: they end the whole service), inbound slots (stock: never given back, so a
node refuses everyone after 250 accepted connections), streams without number from one peer, plaintext and
secio (stock: accepted), identify in a system task (stock: an exception there ends the process).
"""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

import trio
from libp2p import new_host
from libp2p.abc import INetConn, INetStream, IRawConnection
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.secp256k1 import Secp256k1PrivateKey
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.network.config import ConnectionConfig
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.swarm import Swarm
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.rcmgr import ResourceLimits, ResourceManager
from libp2p.rcmgr.connection_limits import ConnectionLimits
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport

from capanode.node.p2p import interfaces
from capanode.node.p2p.config import NetworkConfig
from capanode.node.p2p.discovery import lan_discovery
from capanode.node.p2p.library_types import ID, Multiaddr, PeerStore
from capanode.node.p2p.multiaddrs import id_of
from capanode.node.p2p.pubsub import GuardedPubsub, OnFault, OnOverRate

_log = logging.getLogger(__name__)

_GOSSIP_PROTOCOLS: Final = (TProtocol("/meshsub/1.1.0"), TProtocol("/meshsub/1.0.0"))
"""1.2 would send one more frame per message and neighbour, for half as much CPU again."""

_CLOSE_CONNECTION_S: Final = 0.6
_CLOSE_HOST_S: Final = 0.8


@dataclass(frozen=True, slots=True)
class Parts:
    """One host and its gossip service; thrown away together when any of their services ends."""

    host: BasicHost
    swarm: Swarm
    router: GossipSub
    pubsub: GuardedPubsub
    inbound_ips: Counter[str]


class KeyKeepingPeerstore(PeerStore):
    """Never forgets this node's own key.

    Beyond 1,000 peers, which anyone can bring about, the stock one forgets first whoever has no address in
    it, and that is the node itself: from then on it could sign nothing.
    """

    def __init__(self, own: ID) -> None:
        super().__init__()
        self._own = own

    def _enforce_peer_limit(self) -> None:
        own = self.peer_data_map.pop(self._own, None)
        super()._enforce_peer_limit()
        if own is not None:
            self.peer_data_map[self._own] = own


def build(config: NetworkConfig, *, on_fault: OnFault, on_over_rate: OnOverRate) -> Parts:
    """A new host, not yet running."""
    logging.getLogger("libp2p").setLevel(logging.CRITICAL)
    logging.getLogger("libp2p.network.auto_connector").setLevel(logging.CRITICAL)
    host = _host(config)
    swarm = cast(Swarm, host.get_network())
    inbound_ips: Counter[str] = Counter()
    swarm.retry_config.max_retries = 0
    if config.mdns:
        host.mDNS = lan_discovery(host, config.network)
    _contain_streams(swarm, config.max_streams_per_peer, on_fault)
    _release_inbound_slots(swarm, inbound_ips, config.max_connections_per_ip)
    _contain_identify(host)
    router = _router(config)
    pubsub = GuardedPubsub(host, router, config.gossip, on_fault=on_fault, on_over_rate=on_over_rate)
    return Parts(host, swarm, router, pubsub, inbound_ips)


def contain_tasks(manager: Any, on_failure: Callable[[Exception], None]) -> None:
    """Make the tasks that a running service starts end quietly instead of ending the service.

    A failed connection task takes its connection with it.
    """
    run_task = manager.run_task

    def run(function: Any, *args: Any, **options: Any) -> None:
        async def contained(*args: Any) -> None:
            try:
                await function(*args)
            except Exception as error:
                on_failure(error)
                owner = getattr(function, "__self__", None)
                secured = getattr(owner, "secured_conn", None)
                if secured is not None:
                    await secured.close()

        run_task(contained, *args, **options)

    manager.run_task = run


async def sever(connection: INetConn) -> None:
    """Close a connection, by its socket if it does not close in time (a frozen peer never answers)."""
    with trio.move_on_after(_CLOSE_CONNECTION_S) as scope:
        scope.shield = True
        await connection.close()
    if scope.cancelled_caught:
        await _forget(connection)
    secured = getattr(connection.muxed_conn, "secured_conn", None)
    if secured is not None:
        with trio.move_on_after(_CLOSE_CONNECTION_S) as scope:
            scope.shield = True
            await secured.close()


async def _forget(connection: INetConn) -> None:
    """Do what the library's closing does last and was cut off before: else the peer counts as connected for ever."""
    swarm = cast(Swarm, getattr(connection, "swarm"))  # noqa: B009 - it is no part of the interface
    swarm.remove_conn(cast(SwarmConn, connection))
    with trio.move_on_after(_CLOSE_CONNECTION_S) as scope:
        scope.shield = True
        await swarm.notify_disconnected(connection)


async def close(parts: Parts) -> None:
    """Close all connections at once, then the host; never raises, never takes more than about 2 s."""
    try:
        async with trio.open_nursery() as nursery:
            for connection in parts.swarm.get_connections():
                nursery.start_soon(_sever_quietly, connection)
        with trio.move_on_after(_CLOSE_HOST_S) as scope:
            scope.shield = True
            await parts.host.close()
    except Exception:
        _log.debug("closing the libp2p host failed", exc_info=True)


async def _sever_quietly(connection: INetConn) -> None:
    try:
        await sever(connection)
    except Exception:
        _log.debug("closing a connection failed", exc_info=True)


def _host(config: NetworkConfig) -> BasicHost:
    secret = Secp256k1PrivateKey.from_bytes(config.key.secret_for_libp2p())
    pair = KeyPair(secret, secret.get_public_key())
    noise = NoiseTransport(pair, noise_privkey=create_x25519_key_pair().private_key)
    most = config.max_connections
    return cast(
        BasicHost,
        new_host(
            key_pair=pair,
            sec_opt={NOISE: noise},
            muxer_preference="YAMUX",
            peerstore_opt=KeyKeepingPeerstore(id_of(config.key.peer_id)),
            listen_addrs=[Multiaddr(address) for address in config.listen],
            addrs_factory=_addresses_of(config),
            disable_identify_address_discovery=True,
            connection_config=ConnectionConfig(
                min_connections=0, low_watermark=0, high_watermark=most, max_connections=most
            ),
            resource_manager=_resources(most),
        ),
    )


def _addresses_of(config: NetworkConfig) -> Callable[[list[Multiaddr]], list[Multiaddr]]:
    announced = [Multiaddr(address) for address in config.announce]
    return lambda listened: announced or interfaces.dialable(listened)


def _resources(most: int) -> ResourceManager:
    # The circuit breaker would let five bad peers close the node to everyone; the limits below and the
    # scores are the bounds.
    return ResourceManager(
        limits=ResourceLimits(max_connections=4 * most, max_streams=64 * most),
        connection_limits=ConnectionLimits(
            max_pending_inbound=64,
            max_pending_outbound=64,
            max_established_inbound=most,
            max_established_outbound=most,
            max_established_per_peer=4,
            max_established_total=most,
        ),
        enable_metrics=False,
        enable_circuit_breaker=False,
        enable_graceful_degradation=False,
    )


def _router(config: NetworkConfig) -> GossipSub:
    return GossipSub(
        protocols=list(_GOSSIP_PROTOCOLS),
        degree=6,
        degree_low=4,
        degree_high=config.max_connections if config.hub else 12,
        heartbeat_interval=config.heartbeat_s,
        heartbeat_initial_delay=0.1,
        adaptive_gossip_enabled=False,
        spam_protection_enabled=False,
        eclipse_protection_enabled=False,
        prune_back_off=10,
    )


def _contain_streams(swarm: Swarm, most_per_peer: int, on_fault: OnFault) -> None:
    original = swarm.common_stream_handler
    open_streams: Counter[ID] = Counter()

    async def handle(stream: INetStream) -> None:
        peer = stream.muxed_conn.peer_id
        if open_streams[peer] >= most_per_peer:
            await _reset_quietly(stream)
            return
        open_streams[peer] += 1
        try:
            await original(stream)
        except Exception as error:
            on_fault(peer, error)
            await _reset_quietly(stream)
        finally:
            open_streams[peer] -= 1
            if not open_streams[peer]:
                del open_streams[peer]

    swarm.set_stream_handler(handle)


def _release_inbound_slots(swarm: Swarm, inbound_ips: Counter[str], most_per_ip: int) -> None:
    original = swarm.upgrade_inbound_raw_conn

    async def upgrade(raw: IRawConnection, address: Multiaddr) -> Any:
        remote = raw.get_remote_address()
        ip = remote[0] if remote else ""
        if inbound_ips[ip] >= most_per_ip:
            raise ConnectionAbortedError("too many connections from one address")
        inbound_ips[ip] += 1
        try:
            muxed = await original(raw, address)
            # The caller holds the slot until the swarm stops, unless this does not return normally.
            await cast(Any, muxed).event_closed.wait()
        finally:
            inbound_ips[ip] -= 1
            if not inbound_ips[ip]:
                del inbound_ips[ip]
        raise ConnectionAbortedError("the connection has ended")

    setattr(swarm, "upgrade_inbound_raw_conn", upgrade)  # noqa: B010 - a method is replaced on purpose


def _contain_identify(host: BasicHost) -> None:
    # It runs in a system task: whatever leaves it ends the process.
    original = getattr(host, "_identify_peer")  # noqa: B009

    async def identify(peer_id: ID, *, reason: str) -> None:
        try:
            await original(peer_id, reason=reason)
        except Exception:
            _log.debug("identify failed", exc_info=True)

    setattr(host, "_identify_peer", identify)  # noqa: B010


async def _reset_quietly(stream: INetStream) -> None:
    with trio.move_on_after(1) as scope:
        scope.shield = True
        try:
            await stream.reset()
        except Exception:
            _log.debug("resetting a stream failed", exc_info=True)
