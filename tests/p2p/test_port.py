"""What the port promises, on the real adapter and on the fake alike."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import trio

from capanode.node.p2p.port import Message, Network, PeerLost, Verdict
from capanode.protocol.faults import Fault, InvariantViolated, PeerFault, Refused, Unavailable
from capanode.protocol.ids import PeerId
from tests.fakes.fake_network import FakeInternet
from tests.p2p.nodes import TOPIC, accept, echo, gossip_reaches, meet, node, until

Pair = Callable[[], AbstractAsyncContextManager[tuple[Network, Network]]]
ECHO = "/capanode/echo/1"


@asynccontextmanager
async def _real_pair() -> AsyncIterator[tuple[Network, Network]]:
    async with node() as a, node() as b:
        yield a, b


@asynccontextmanager
async def _fake_pair() -> AsyncIterator[tuple[Network, Network]]:
    internet = FakeInternet()
    yield internet.node("alice"), internet.node("bob")


@pytest.fixture(params=[_real_pair, _fake_pair], ids=["libp2p", "fake"])
def pair(request: pytest.FixtureRequest) -> Pair:
    made: Pair = request.param
    return made


async def test_gossip_reaches_the_other_side_and_not_the_sender(pair: Pair) -> None:
    async with pair() as (a, b):
        at_a, at_b = a.subscribe(TOPIC, accept), b.subscribe(TOPIC, accept)
        await meet(a, b)
        message = await gossip_reaches(a, at_b)
        assert isinstance(message, Message)
        assert (message.topic, message.source, message.forwarder) == (TOPIC, a.peer_id, a.peer_id)
        await gossip_reaches(b, at_a)
        while at_a.statistics().current_buffer_used:
            assert at_a.receive_nowait().source == b.peer_id


async def test_rejecting_bans_the_forwarder_and_ignoring_does_not(pair: Pair) -> None:
    def judge(topic: str, source: PeerId, data: bytes) -> Verdict:
        return Verdict.REJECT if data.startswith(b"bad") else Verdict.IGNORE

    async with pair() as (a, b):
        a.subscribe(TOPIC, accept)
        b.subscribe(TOPIC, judge)
        await meet(a, b)
        sent = 0
        while not b.statistics().messages_ignored:
            await a.publish(TOPIC, b"odd %d" % sent)
            await trio.sleep(0.02)
            sent += 1
        assert a.peer_id in b.peers()
        for i in range(5):
            await a.publish(TOPIC, b"bad %d" % i)
        await until(lambda: a.peer_id not in b.peers())
        assert b.statistics().messages_rejected == 5
        assert b.statistics().peers_banned == 1
        with pytest.raises(Refused, match="broke the protocol"):
            await b.request(a.peer_id, ECHO, b"", limit_bytes=10, timeout_s=5)


async def test_a_message_above_the_limit_is_refused(pair: Pair) -> None:
    async with pair() as (a, _b):
        with pytest.raises(Refused, match="above"):
            await a.publish(TOPIC, bytes(32 * 1024 + 1))


async def test_requests_are_answered(pair: Pair) -> None:
    async with pair() as (a, b):
        b.serve(ECHO, echo, limit_bytes=3_000_000)
        await meet(a, b)
        for payload in (b"", b"x", bytes(65_507), bytes(2_000_000)):
            reply = await a.request(b.peer_id, ECHO, payload, limit_bytes=3_000_000, timeout_s=10)
            assert reply == payload


async def test_a_connection_serves_requests_both_ways(pair: Pair) -> None:
    async with pair() as (a, b):
        a.serve(ECHO, echo, limit_bytes=10)
        await meet(a, b)
        assert await b.request(a.peer_id, ECHO, b"back", limit_bytes=10, timeout_s=5) == b"back"


@pytest.mark.parametrize(
    ("raised", "expected", "sentence"),
    [
        (Refused("Not today."), Refused, "Not today."),
        (PeerFault("Nonsense."), Refused, "Nonsense."),
        (Unavailable("Busy."), Unavailable, "Busy."),
        (ValueError("inner detail"), Unavailable, "failed here"),
        (RuntimeError("inner detail"), Unavailable, "failed here"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_a_handlers_error_arrives_as_its_sentence(
    pair: Pair, raised: Exception, expected: type[Fault], sentence: str
) -> None:
    async def fail(peer: PeerId, payload: bytes) -> bytes:
        raise raised

    async with pair() as (a, b):
        b.serve(ECHO, fail, limit_bytes=10)
        b.serve("/capanode/other/1", echo, limit_bytes=10)
        await meet(a, b)
        with pytest.raises(expected, match=sentence) as caught:
            await a.request(b.peer_id, ECHO, b"", limit_bytes=10, timeout_s=5)
        assert "inner detail" not in str(caught.value)
        assert await a.request(b.peer_id, "/capanode/other/1", b"x", limit_bytes=10, timeout_s=5) == b"x"


async def test_a_reply_above_the_limit_is_the_peers_fault(pair: Pair) -> None:
    async with pair() as (a, b):
        b.serve(ECHO, echo, limit_bytes=100)
        await meet(a, b)
        with pytest.raises(PeerFault, match="longer than the limit"):
            await a.request(b.peer_id, ECHO, bytes(11), limit_bytes=10, timeout_s=5)


async def test_a_request_above_the_servers_limit_fails(pair: Pair) -> None:
    async with pair() as (a, b):
        b.serve(ECHO, echo, limit_bytes=10)
        await meet(a, b)
        with pytest.raises(Unavailable):
            await a.request(b.peer_id, ECHO, bytes(11), limit_bytes=100, timeout_s=5)
        assert await a.request(b.peer_id, ECHO, bytes(10), limit_bytes=100, timeout_s=5) == bytes(10)


async def test_a_slow_answer_is_given_up_in_time(pair: Pair) -> None:
    async def never(peer: PeerId, payload: bytes) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async with pair() as (a, b):
        b.serve(ECHO, never, limit_bytes=10)
        await meet(a, b)
        with pytest.raises(Unavailable, match=r"within 0\.3 s"):
            await a.request(b.peer_id, ECHO, b"", limit_bytes=10, timeout_s=0.3)


async def test_what_nobody_serves_is_unavailable(pair: Pair) -> None:
    async with pair() as (a, b):
        await meet(a, b)
        with pytest.raises(Unavailable, match="does not answer"):
            await a.request(b.peer_id, ECHO, b"", limit_bytes=10, timeout_s=5)


async def test_an_unknown_peer_is_unavailable(pair: Pair) -> None:
    async with pair() as (a, b):
        with pytest.raises(Unavailable):
            await a.request(b.peer_id, ECHO, b"", limit_bytes=10, timeout_s=5)


async def test_learning_an_address_is_enough_to_ask(pair: Pair) -> None:
    async with pair() as (a, b):
        b.serve(ECHO, echo, limit_bytes=10)
        assert a.learn(b.addresses()[0]) == b.peer_id
        assert await a.request(b.peer_id, ECHO, b"hi", limit_bytes=10, timeout_s=10) == b"hi"


@pytest.mark.parametrize("address", ["", "nonsense", "/ip4/127.0.0.1/tcp/1", "/ip4/999.1.1.1/tcp/1/p2p/"])
async def test_what_is_no_address_is_refused(pair: Pair, address: str) -> None:
    async with pair() as (a, _b):
        with pytest.raises(Refused):
            await a.connect(address)


async def test_names_are_taken_once(pair: Pair) -> None:
    async with pair() as (a, _b):
        a.subscribe(TOPIC, accept)
        a.serve(ECHO, echo, limit_bytes=1)
        with pytest.raises(InvariantViolated):
            a.subscribe(TOPIC, accept)
        with pytest.raises(InvariantViolated):
            a.serve(ECHO, echo, limit_bytes=1)


async def test_watching_is_idempotent(pair: Pair) -> None:
    async with pair() as (a, b):
        await meet(a, b)
        a.watch_peer(b.peer_id)
        a.watch_peer(b.peer_id)
        a.unwatch_peer(b.peer_id)
        a.unwatch_peer(b.peer_id)
        with pytest.raises(trio.WouldBlock):
            assert a.liveness.receive_nowait() != PeerLost(b.peer_id)
