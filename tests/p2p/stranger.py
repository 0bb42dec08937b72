"""A hostile peer: a bare libp2p host that writes whatever a test wants on whatever stream it wants."""

import itertools
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio
from libp2p import new_host
from libp2p.abc import IHost, INetStream
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.secp256k1 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.pubsub.pb import rpc_pb2
from libp2p.utils import encode_varint_prefixed

from capanode.node.p2p import multiaddrs
from capanode.node.p2p.library_types import Multiaddr
from capanode.node.p2p.port import Network
from capanode.protocol.ids import PeerId

MESHSUB = "/meshsub/1.1.0"
_seqno = itertools.count(1)


@dataclass
class Stranger:
    """One hostile peer."""

    host: IHost
    keys: KeyPair

    @property
    def peer_id(self) -> PeerId:
        return multiaddrs.peer_of(self.host.get_id())

    async def dial(self, network: Network) -> None:
        """Connect to a node, without the library's waiting."""
        peer, address = multiaddrs.split(network.addresses()[0])
        swarm: Any = self.host.get_network()
        with trio.fail_after(10):
            await swarm.dial_addr(Multiaddr(address), multiaddrs.id_of(peer))

    async def stream(self, network: Network, protocol: str = MESHSUB) -> INetStream:
        """A negotiated stream to a connected node."""
        with trio.fail_after(10):
            return await self.host.new_stream(multiaddrs.id_of(network.peer_id), [TProtocol(protocol)])

    def signed(self, topic: str, data: bytes) -> rpc_pb2.Message:
        """A gossip message as an honest peer signs it."""
        message = rpc_pb2.Message(
            data=data,
            topicIDs=[topic],
            from_id=self.host.get_id().to_bytes(),
            seqno=struct.pack(">Q", next(_seqno)),
        )
        message.signature = self.keys.private_key.sign(b"libp2p-pubsub:" + message.SerializeToString())
        message.key = self.keys.public_key.serialize()
        return message

    async def gossip(self, network: Network, *messages: rpc_pb2.Message) -> INetStream:
        """Send messages in one frame on a new gossip stream."""
        stream = await self.stream(network)
        await stream.write(frame(rpc_pb2.RPC(publish=messages)))
        return stream


@asynccontextmanager
async def stranger(**options: Any) -> AsyncIterator[Stranger]:
    """Run a hostile peer."""
    keys = create_new_key_pair()
    host = new_host(key_pair=keys, **options)
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        try:
            yield Stranger(host, keys)
        finally:
            with trio.move_on_after(3) as scope:
                scope.shield = True
                await host.close()


def frame(rpc: rpc_pb2.RPC) -> bytes:
    """A gossip frame."""
    return encode_varint_prefixed(rpc.SerializeToString())
