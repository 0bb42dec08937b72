"""Finding nodes of the same network: through a Kademlia table of their own, and on the local network.

The protocol id carries the network's name, so every table entry is a node of this network, and finding
peers is a lookup of a random key. Nothing is stored for others: values and provider records are refused,
which also leaves nothing to fill our memory with.
"""

import hashlib
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio
from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol
from libp2p.discovery.events.peerDiscovery import peerDiscovery
from libp2p.discovery.mdns import MDNSDiscovery
from libp2p.host.basic_host import BasicHost
from libp2p.kad_dht import common, kad_dht, peer_routing, provider_store, value_store
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.records.validator import NamespacedValidator

from capanode.node.p2p import multiaddrs
from capanode.node.p2p.library_types import ID, PeerInfo
from capanode.protocol.ids import PeerId

_log = logging.getLogger(__name__)

_SOON_S: Final = 1.0
_HUNGRY_S: Final = 30.0
"""Between lookups while links are missing, in the end."""
_CONTENT_S: Final = 900.0
_LOOKUP_S: Final = 20.0
_STREAM_S: Final = 30.0
_STREAMS_PER_PEER: Final = 2
_IDENTIFY_S: Final = 10

Learn = Callable[[PeerId, list[str]], None]


class Table(KadDHT):
    """A Kademlia node that answers lookups in bounded time and stores nothing."""

    def __init__(self, host: IHost, network: str) -> None:
        # The library has the protocol id as a constant of each module.
        protocol = TProtocol(f"/capanode/{network}/kad/1.0.0")
        for module in (common, kad_dht, peer_routing, provider_store, value_store):
            setattr(module, "PROTOCOL_ID", protocol)  # noqa: B010 - a constant is replaced on purpose
        nothing = NamespacedValidator({}, strict_validation=True)
        super().__init__(host, DHTMode.SERVER, validator=nothing, validator_changed=True, strict_validation=True)
        self._streams: Counter[ID] = Counter()
        setattr(self.provider_store, "add_provider", _store_nothing)  # noqa: B010

    async def handle_stream(self, stream: INetStream) -> None:
        """Answer one peer, for a while: the library would let twelve idle streams block everyone."""
        peer = stream.muxed_conn.peer_id
        if self._streams[peer] >= _STREAMS_PER_PEER:
            await stream.reset()
            return
        self._streams[peer] += 1
        try:
            with trio.move_on_after(_STREAM_S) as scope:
                await super().handle_stream(stream)
            if scope.cancelled_caught:
                await stream.reset()
        finally:
            self._streams[peer] -= 1
            if not self._streams[peer]:
                del self._streams[peer]

    async def join(self, peer: ID) -> None:
        """Take a connected peer into the table, once it has said by which addresses it is known."""
        for _ in range(_IDENTIFY_S):
            await trio.sleep(1)
            if await self.add_peer(peer):
                return

    async def lookup(self) -> list[PeerInfo]:
        """Peers near a random key, with the addresses they are known by; empty if it takes too long."""
        found: list[ID] = []
        with trio.move_on_after(_LOOKUP_S):
            found = await self.peer_routing.find_closest_peers_network(secrets.token_bytes(32))
        store = self.host.get_peerstore()
        infos: list[PeerInfo] = []
        for peer in dict.fromkeys(found):
            try:
                infos.append(PeerInfo(peer, store.addrs(peer)))
            except Exception:
                _log.debug("no address of a found peer is known", exc_info=True)
        return infos


async def discover(table: Table, is_hungry: Callable[[], bool], learn: Learn) -> None:
    """Look for peers, often at first and while links are missing."""
    pause_s = _SOON_S
    while True:
        for info in await table.lookup():
            learn(multiaddrs.peer_of(info.peer_id), _tcp_addresses(info))
        await trio.sleep(pause_s)
        pause_s = min(2 * pause_s, _HUNGRY_S) if is_hungry() else _CONTENT_S


def lan_discovery(host: BasicHost, network: str) -> MDNSDiscovery:
    """Announces the host on the local network, to nodes of the same network only."""
    name = hashlib.sha256(network.encode()).hexdigest()[:8]
    return MDNSDiscovery(host.get_network(), host=host, service_type=f"_p2p-{name}._udp.local.")


@contextmanager
def hearing_lan(learn: Learn) -> Iterator[None]:
    """Learn what the library's listener, which runs in a thread, finds while the block runs."""
    token = trio.lowlevel.current_trio_token()

    def found(info: PeerInfo) -> None:
        token.run_sync_soon(learn, multiaddrs.peer_of(info.peer_id), _tcp_addresses(info))

    peerDiscovery.register_peer_discovered_handler(found)
    try:
        yield
    finally:
        peerDiscovery.unregister_peer_discovered_handler(found)


def _tcp_addresses(info: PeerInfo) -> list[str]:
    addresses = [str(address).split("/p2p/")[0] for address in info.addrs]
    return [address for address in addresses if "/tcp/" in address and "/ws" not in address]


def _store_nothing(key: bytes, provider: PeerInfo) -> None:
    del key, provider
