"""Each remote trigger that kills or wedges a stock py-libp2p host: the node is alive and serving after it."""

import contextlib
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.io.exceptions import IOException
from libp2p.network.config import ConnectionConfig
from libp2p.pubsub.pb import rpc_pb2
from libp2p.utils import encode_varint_prefixed

from capanode.node.p2p import multiaddrs
from capanode.node.p2p.libp2p_network import Libp2pNetwork
from capanode.node.p2p.library_types import ID, Multiaddr
from capanode.node.p2p.port import Network, Verdict
from capanode.protocol.ids import PeerId
from tests.p2p.nodes import TOPIC, accept, echo, gossip_reaches, meet, node, until
from tests.p2p.stranger import frame, stranger

ECHO = "/capanode/echo/1"


class Stage:
    """A node under attack and a friend who finds out how it is."""

    def __init__(self, victim: Network, friend: Network) -> None:
        self.victim = victim
        self.at_victim = victim.subscribe(TOPIC, accept)
        self.friend = friend
        friend.subscribe(TOPIC, accept)
        victim.serve(ECHO, echo, limit_bytes=100)

    async def check(self) -> None:
        """The victim answers, hears gossip, and has not lost its host."""
        reply = await self.friend.request(self.victim.peer_id, ECHO, b"alive?", limit_bytes=100, timeout_s=10)
        assert reply == b"alive?"
        await gossip_reaches(self.friend, self.at_victim, tag=b"check")
        assert self.victim.statistics().host_rebuilds == 0


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    async with node() as victim, node() as friend:
        made = Stage(victim, friend)
        await meet(friend, victim)
        yield made
        await made.check()


def _publish(**fields: Any) -> bytes:
    return frame(rpc_pb2.RPC(publish=[rpc_pb2.Message(topicIDs=[TOPIC], **fields)]))


# A peer id that is a hash, so that the verifier takes the key from the message.
_HASHED_ID = bytes.fromhex("1220") + bytes(32)

_FRAMES = {
    "invalid protobuf": encode_varint_prefixed(b"\xff\xff\xff\xff not a protobuf"),
    "junk key 1": _publish(data=b"x", from_id=_HASHED_ID, seqno=b"1", signature=b"s", key=b"\xff\xff\xff"),
    "junk key 2": _publish(data=b"x", from_id=_HASHED_ID, seqno=b"2", signature=b"s", key=b"\x08\x63\x12\x01x"),
    "junk key 3": _publish(data=b"x", from_id=_HASHED_ID, seqno=b"3", signature=b"s", key=b"\x08\x00\x12\x03abc"),
    "no key": _publish(data=b"x", from_id=_HASHED_ID, seqno=b"4", signature=b"s"),
    "empty source": _publish(data=b"x", from_id=b"", seqno=b"5", signature=b"s", key=b"k"),
    "no signature": _publish(data=b"x", from_id=b"\x00\x25\x08\x02", seqno=b"6"),
    "no topic": frame(rpc_pb2.RPC(publish=[rpc_pb2.Message(data=b"x", from_id=b"f", seqno=b"7")])),
    "two topics": frame(rpc_pb2.RPC(publish=[rpc_pb2.Message(data=b"x", topicIDs=[TOPIC, "b"], from_id=b"f")])),
    "length above the limit": b"\xff\xff\xff\x7f" + bytes(100),
    "length that is no varint": b"\xff" * 20,
    "empty frame": b"\x00",
    "bad address record": frame(rpc_pb2.RPC(senderRecord=b"\xff\xff junk")),
    "5001 subscriptions": frame(
        rpc_pb2.RPC(subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid=f"/capanode/{i}") for i in range(5001)])
    ),
    "junk control": frame(
        rpc_pb2.RPC(
            control=rpc_pb2.ControlMessage(
                ihave=[rpc_pb2.ControlIHave(topicID=TOPIC, messageIDs=[b"\xff", b"zz", b"0"] * 50)],
                iwant=[rpc_pb2.ControlIWant(messageIDs=[b"\xff", b"zz", b"abc"])],
                graft=[rpc_pb2.ControlGraft(topicID=f"/capanode/{i}") for i in range(500)],
                prune=[rpc_pb2.ControlPrune(topicID=f"/capanode/{i}") for i in range(500)],
            )
        )
    ),
    "junk peer exchange": frame(
        rpc_pb2.RPC(
            control=rpc_pb2.ControlMessage(
                prune=[
                    rpc_pb2.ControlPrune(
                        topicID=TOPIC,
                        peers=[rpc_pb2.PeerInfo(peerID=b"\x01", signedPeerRecord=b"\xff")],
                        backoff=2**62,
                    )
                ]
            )
        )
    ),
}


@pytest.mark.parametrize("data", _FRAMES.values(), ids=_FRAMES.keys())
async def test_a_gossip_frame_kills_nothing(data: bytes) -> None:
    async with stage() as made, stranger() as hostile:
        await hostile.dial(made.victim)
        stream = await hostile.stream(made.victim)
        await stream.write(data)
        await _is_read(stream)


async def _is_read(stream: INetStream) -> None:
    """Give the node time to read a frame: it resets the stream of a bad one, and says nothing to others."""
    with trio.move_on_after(0.3), contextlib.suppress(IOException):
        await stream.read(1)


async def test_a_frame_cut_short_kills_nothing() -> None:
    async with stage() as made, stranger() as hostile:
        await hostile.dial(made.victim)
        stream = await hostile.stream(made.victim)
        await stream.write(b"\x7f half of it")
        await stream.close()
        other = await hostile.stream(made.victim)
        await other.write(b"\x7f half of it")
        await other.reset()


@pytest.mark.parametrize("error", [ValueError("v"), struct.error("s"), KeyError("k"), ExceptionGroup("g", [OSError()])])
async def test_an_exception_of_a_validator_kills_nothing(error: Exception) -> None:
    def explode(topic: str, source: PeerId, data: bytes) -> Verdict:
        raise error

    async with stage() as made, stranger() as hostile:
        made.victim.subscribe(TOPIC + "x", explode)
        await hostile.dial(made.victim)
        await until(lambda: hostile.peer_id in made.victim.peers())
        await hostile.gossip(made.victim, hostile.signed(TOPIC + "x", b"boom"))
        await until(lambda: made.victim.statistics().contained_faults)


@pytest.mark.parametrize("error", [ValueError("v"), struct.error("s"), KeyError("k"), ExceptionGroup("g", [OSError()])])
async def test_an_exception_of_a_raw_stream_handler_kills_nothing(error: Exception) -> None:
    async def explode(stream: INetStream) -> None:
        raise error

    async with stage() as made, stranger() as hostile:
        assert isinstance(made.victim, Libp2pNetwork)
        session = made.victim._session.live
        assert session is not None
        session.parts.host.set_stream_handler(TProtocol("/explosive/1"), explode)
        await hostile.dial(made.victim)
        await hostile.stream(made.victim, "/explosive/1")
        await until(lambda: made.victim.statistics().contained_faults)


@pytest.mark.parametrize(
    "greeting", [b"", b"\x00" * 100, b"GET / HTTP/1.1\r\n\r\n", b"\x13/multistream/1.0.0\n\xff\xff"]
)
async def test_raw_connections_kill_nothing(greeting: bytes) -> None:
    async with stage() as made:
        port = int(made.victim.addresses()[0].split("/tcp/")[1].split("/")[0])
        for _ in range(20):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            if greeting:
                await stream.send_all(greeting)
            await stream.aclose()


@pytest.mark.parametrize("answer", [b"", b"\xff" * 50, encode_varint_prefixed(b"\xff junk"), b"\xff\xff\xff\x7f"])
async def test_junk_identification_kills_nothing(answer: bytes) -> None:
    asked = trio.Event()

    async def identify(stream: INetStream) -> None:
        asked.set()
        await stream.write(answer or b"\x00")
        await stream.close()

    async with stage() as made, stranger() as hostile:
        hostile.host.set_stream_handler(TProtocol("/ipfs/id/1.0.0"), identify)
        await hostile.dial(made.victim)
        with trio.fail_after(10):
            await asked.wait()


async def test_many_streams_of_one_peer_are_bounded() -> None:
    async with stage() as made, stranger() as hostile:
        await hostile.dial(made.victim)
        refused = 0
        async with trio.open_nursery() as nursery:

            async def one() -> None:
                nonlocal refused
                try:
                    await hostile.stream(made.victim, ECHO)
                except Exception:
                    refused += 1

            for _ in range(100):
                nursery.start_soon(one)
        assert refused >= 100 - 48


async def test_plaintext_is_not_spoken() -> None:
    from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport

    async with stage() as made:
        from libp2p.crypto.secp256k1 import create_new_key_pair

        plain: Any = {PLAINTEXT_PROTOCOL_ID: InsecureTransport(create_new_key_pair())}
        async with stranger(sec_opt=plain) as hostile:
            with pytest.raises(Exception, match="failed to"):
                await hostile.dial(made.victim)
        assert made.victim.peers() == {made.friend.peer_id}


async def test_slots_of_ended_connections_are_given_back() -> None:
    async with node(max_connections=20) as victim:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(_connect_often, victim, 15)
        await until(lambda: victim.statistics().inbound_slots_used == 0)
        assert victim.statistics().host_rebuilds == 0
        async with stranger() as last:
            await last.dial(victim)
            await until(lambda: last.peer_id in victim.peers())


async def _connect_often(victim: Network, times: int) -> None:
    async with stranger() as hostile:
        for _ in range(times):
            await hostile.dial(victim)
            await until(lambda: hostile.peer_id in victim.peers())
            await hostile.host.disconnect(multiaddrs.id_of(victim.peer_id))
            await until(lambda: hostile.peer_id not in victim.peers())


async def test_the_stock_host_still_needs_the_slot_fix() -> None:
    # When this fails, libp2p gives inbound slots back by itself: remove ours from `host`.
    few = ConnectionConfig(min_connections=0, low_watermark=0, high_watermark=2, max_connections=2)
    async with stranger(connection_config=few) as stock, stranger() as other:
        swarm: Any = stock.host.get_network()
        address = str(stock.host.get_addrs()[0]).split("/p2p/")[0]
        other_swarm: Any = other.host.get_network()
        await other_swarm.dial_addr(Multiaddr(address), stock.host.get_id())
        await until(lambda: swarm.connections)
        await other.host.disconnect(stock.host.get_id())
        await until(lambda: not swarm.connections)
        assert swarm._inbound_limiter.borrowed_tokens == 1


async def test_a_crowd_of_known_peers_does_not_push_out_our_own_key() -> None:
    async with stage() as made:
        assert isinstance(made.victim, Libp2pNetwork)
        session = made.victim._session.live
        assert session is not None
        store = session.parts.host.get_peerstore()
        own = multiaddrs.id_of(made.victim.peer_id)
        for number in range(1500):
            peer = ID(b"\x12\x20" + number.to_bytes(32, "big"))
            store.add_addrs(peer, [Multiaddr("/ip4/192.0.2.1/tcp/1")], 3600)
        assert len(store.peer_ids()) <= 1001
        assert store.privkey(own) is not None
        at_friend = made.friend.subscribe(TOPIC + "key", accept)
        made.victim.subscribe(TOPIC + "key", accept)
        await gossip_reaches(made.victim, at_friend, topic=TOPIC + "key")


async def test_connections_from_one_address_are_bounded() -> None:
    async with node(max_connections_per_ip=2) as victim, stranger() as a, stranger() as b, stranger() as c:
        await a.dial(victim)
        await b.dial(victim)
        with pytest.raises(Exception, match=r"unable|failed|denied|closed|Unexpected"):
            await c.dial(victim)
        assert c.peer_id not in victim.peers()


async def test_a_peer_that_keeps_breaking_the_protocol_is_shut_out() -> None:
    async with stage() as made, stranger() as hostile:
        await hostile.dial(made.victim)
        await until(lambda: hostile.peer_id in made.victim.peers())
        for _ in range(5):
            stream = await hostile.stream(made.victim)
            await stream.write(_FRAMES["invalid protobuf"])
        await until(lambda: hostile.peer_id not in made.victim.peers())
        assert made.victim.statistics().peers_banned == 1
        swarm: Any = hostile.host.get_network()
        await until(lambda: not swarm.connections)
        await hostile.dial(made.victim)
        await until(lambda: hostile.peer_id not in made.victim.peers())


async def test_a_crash_of_the_host_loses_nothing() -> None:
    async def boom() -> None:
        raise RuntimeError("a library bug")

    async with node() as victim, node() as friend:
        at_victim = victim.subscribe(TOPIC, accept)
        friend.subscribe(TOPIC, accept)
        victim.serve(ECHO, echo, limit_bytes=100)
        await meet(friend, victim)
        addresses = victim.addresses()
        assert isinstance(victim, Libp2pNetwork)
        for crashes in (1, 2):
            session = victim._session.live
            assert session is not None
            session.nursery.start_soon(boom)
            await until(lambda crashes=crashes: victim.statistics().host_rebuilds == crashes)
            await until(victim.addresses)
            assert victim.addresses() == addresses
            await until(lambda: victim.peer_id not in friend.peers())
            await friend.connect(victim.addresses()[0])
            assert await friend.request(victim.peer_id, ECHO, b"x", limit_bytes=9, timeout_s=10) == b"x"
            await gossip_reaches(friend, at_victim, tag=b"%d" % crashes)
