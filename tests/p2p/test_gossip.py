"""Gossip under load and abuse."""

import contextlib

import pytest
import trio
from libp2p.io.exceptions import IOException
from libp2p.pubsub.pb import rpc_pb2

from capanode.node.p2p.config import GossipLimits
from capanode.node.p2p.port import Message, Network, Verdict
from capanode.protocol.ids import PeerId
from tests.p2p.nodes import TOPIC, accept, gossip_reaches, meet, node, until
from tests.p2p.stranger import frame, stranger


async def test_ten_thousand_messages_from_one_peer_cost_it_the_connection_and_nobody_else() -> None:
    async with node() as victim, node() as friend, stranger() as hostile:
        at_victim = victim.subscribe(TOPIC, accept)
        friend.subscribe(TOPIC, accept)
        await meet(friend, victim)
        await gossip_reaches(friend, at_victim)
        await hostile.dial(victim)
        await until(lambda: hostile.peer_id in victim.peers())
        junk = hostile.signed(TOPIC, bytes(100))
        stream = await hostile.stream(victim)
        async with trio.open_nursery() as nursery:

            async def flood() -> None:
                with contextlib.suppress(IOException):
                    for burst in range(100):
                        # The signature is wrong for each: rates are checked before signatures.
                        messages = [
                            rpc_pb2.Message(
                                data=junk.data,
                                topicIDs=[TOPIC],
                                from_id=junk.from_id,
                                seqno=b"%d" % (burst * 100 + i),
                                signature=junk.signature,
                                key=junk.key,
                            )
                            for i in range(100)
                        ]
                        await stream.write(frame(rpc_pb2.RPC(publish=messages)))

            nursery.start_soon(flood)
            await gossip_reaches(friend, at_victim, tag=b"meanwhile")
            await until(lambda: hostile.peer_id not in victim.peers())
            nursery.cancel_scope.cancel()
        statistics = victim.statistics()
        assert statistics.messages_over_rate > 2000
        assert statistics.peers_banned == 1
        assert statistics.host_rebuilds == 0
        assert friend.peer_id in victim.peers()


async def test_a_signers_rate_is_bounded_whoever_forwards_it() -> None:
    limits = GossipLimits(source_rate_per_s=0.001, source_burst=10)
    async with node(gossip=limits) as victim, stranger() as hostile:
        messages = victim.subscribe(TOPIC, accept)
        await hostile.dial(victim)
        await hostile.gossip(victim, *(hostile.signed(TOPIC, b"%d" % i) for i in range(50)))
        await until(lambda: victim.statistics().messages_over_rate == 40)
        assert [(await messages.receive()).data for _ in range(10)] == [b"%d" % i for i in range(10)]
        assert hostile.peer_id in victim.peers()


async def test_a_replay_is_delivered_once() -> None:
    async with node() as victim, stranger() as hostile:
        messages = victim.subscribe(TOPIC, accept)
        await hostile.dial(victim)
        first = hostile.signed(TOPIC, b"once")
        resigned = hostile.signed(TOPIC, b"once")
        await hostile.gossip(victim, first, first, resigned, hostile.signed(TOPIC, b"end"))
        assert (await messages.receive()).data == b"once"
        assert (await messages.receive()).data == b"end"
        assert victim.statistics().messages_ignored == 1


async def test_a_forged_message_is_not_delivered() -> None:
    async with node() as victim, stranger() as hostile, stranger() as other:
        messages = victim.subscribe(TOPIC, accept)
        await hostile.dial(victim)
        altered = hostile.signed(TOPIC, b"one thing")
        altered.data = b"another"
        borrowed = hostile.signed(TOPIC, b"in another's name")
        borrowed.from_id = other.host.get_id().to_bytes()
        own = hostile.signed(TOPIC, b"in the victim's name")
        own.from_id = victim_id(victim)
        await hostile.gossip(victim, altered, borrowed, own, hostile.signed(TOPIC, b"end"))
        assert (await messages.receive()).data == b"end"


def victim_id(victim: Network) -> bytes:
    """Wire form of a node's id."""
    from capanode.node.p2p.multiaddrs import id_of

    return id_of(victim.peer_id).to_bytes()


async def test_oversized_messages_are_dropped_and_charged() -> None:
    async with node() as victim, stranger() as hostile:
        victim.subscribe(TOPIC, accept)
        await hostile.dial(victim)
        await until(lambda: hostile.peer_id in victim.peers())
        await hostile.gossip(victim, *(hostile.signed(TOPIC, bytes(32 * 1024 + 1 + i)) for i in range(5)))
        await until(lambda: hostile.peer_id not in victim.peers())
        assert victim.statistics().messages_delivered == 0


async def test_expired_messages_are_not_forwarded() -> None:
    def judge(topic: str, source: PeerId, data: bytes) -> Verdict:
        return Verdict.IGNORE if data.startswith(b"expired") else Verdict.ACCEPT

    async with node() as far, node() as middle, stranger() as hostile:
        at_far = far.subscribe(TOPIC, accept)
        middle.subscribe(TOPIC, judge)
        await meet(middle, far)
        await gossip_reaches(middle, at_far)
        await hostile.dial(middle)
        await hostile.gossip(middle, hostile.signed(TOPIC, b"expired"), hostile.signed(TOPIC, b"fresh"))
        with trio.fail_after(10):
            message = await at_far.receive()
            while message.source != hostile.peer_id:
                message = await at_far.receive()
        assert message.data == b"fresh"
        assert message.forwarder == middle.peer_id


async def test_a_slow_reader_loses_messages_and_the_node_counts_them() -> None:
    async with node(gossip=GossipLimits(queue_messages=3)) as victim, stranger() as hostile:
        messages = victim.subscribe(TOPIC, accept)
        await hostile.dial(victim)
        await hostile.gossip(victim, *(hostile.signed(TOPIC, b"%d" % i) for i in range(10)))
        await until(lambda: victim.statistics().messages_dropped == 7)
        assert messages.statistics().current_buffer_used == 3


async def test_a_burst_of_own_messages_is_paced_and_arrives() -> None:
    async with node() as a, node() as b:
        a.subscribe(TOPIC, accept)
        at_b = b.subscribe(TOPIC, accept)
        await meet(a, b)
        await gossip_reaches(a, at_b)
        async with trio.open_nursery() as nursery:
            for i in range(60):
                nursery.start_soon(a.publish, TOPIC, b"burst %d" % i)
            arrived: set[bytes] = set()
            with trio.fail_after(10):
                while len(arrived) < 60:
                    message = await at_b.receive()
                    if message.data.startswith(b"burst"):
                        arrived.add(message.data)


async def test_a_star_reaches_every_leaf_both_ways() -> None:
    leaves = 14  # above the mesh size at which an ordinary node prunes
    async with node(hub=True) as hub:
        at_hub = hub.subscribe(TOPIC, accept)
        async with _Leaves(hub, leaves) as (networks, inboxes):
            for inbox in inboxes:
                await gossip_reaches(hub, inbox, tag=b"down")
            for number, leaf in enumerate(networks):
                await gossip_reaches(leaf, at_hub, tag=b"up%d" % number)
            await networks[0].publish(TOPIC, b"across")
            for inbox in inboxes[1:]:
                with trio.fail_after(10):
                    while (await inbox.receive()).data != b"across":
                        pass


class _Leaves:
    def __init__(self, hub: Network, count: int) -> None:
        self._hub = hub
        self._count = count
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> tuple[list[Network], list[trio.MemoryReceiveChannel[Message]]]:
        networks: list[Network] = []
        inboxes: list[trio.MemoryReceiveChannel[Message]] = []
        for _ in range(self._count):
            leaf = await self._stack.enter_async_context(node())
            inboxes.append(leaf.subscribe(TOPIC, accept))
            networks.append(leaf)
            await meet(leaf, self._hub)
        return networks, inboxes

    async def __aexit__(self, *about: object) -> None:
        await self._stack.aclose()


@pytest.mark.parametrize("topic", ["elsewhere", "/capanode/" + "x" * 200])
async def test_subscriptions_to_other_kinds_of_topics_are_not_kept(topic: str) -> None:
    from capanode.node.p2p.libp2p_network import Libp2pNetwork

    async with node() as victim, stranger() as hostile:
        await hostile.dial(victim)
        stream = await hostile.stream(victim)
        options = [rpc_pb2.RPC.SubOpts(subscribe=True, topicid=name) for name in (topic, TOPIC)]
        await stream.write(frame(rpc_pb2.RPC(subscriptions=options)))
        assert isinstance(victim, Libp2pNetwork)
        session = victim._session.live
        assert session is not None
        await until(lambda: TOPIC in session.parts.pubsub.peer_topics)
        assert topic not in session.parts.pubsub.peer_topics
