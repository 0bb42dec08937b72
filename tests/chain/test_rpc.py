"""An endpoint may be down, slow, on another chain or malicious: nothing hangs, crashes or is believed."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import orjson
import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from capanode.node.chain.endpoint import BARRED_S
from capanode.node.chain.http import BRIEF_TIMEOUT_S, EXCHANGE_TIMEOUT_S
from capanode.node.chain.jsonrpc import Call, RpcError
from capanode.node.chain.rpc import Rpc, open_rpc
from capanode.node.chain.wire import BadReply
from capanode.protocol.faults import Misconfigured, Unavailable
from tests.fakes.fake_rpc import FakeRpc, Refusal, http_reply, run_fake_rpc


@pytest.fixture
def jumping_clock(autojump_clock: trio.testing.MockClock) -> trio.testing.MockClock:
    """Jumps over waits once nothing has moved for a moment; the sockets are real."""
    autojump_clock.autojump_threshold = 0.2
    return autojump_clock


async def refused(raw: bytes, kind: type[Exception]) -> None:
    fake = FakeRpc(raw=lambda body: raw)
    async with run_fake_rpc(fake), open_rpc([fake.url], fake.chain_id) as rpc:
        with pytest.raises(kind):
            await rpc.call("eth_call")


async def test_connection_is_kept() -> None:
    fake = FakeRpc(answer=lambda method, params: "0x1")
    async with run_fake_rpc(fake), open_rpc([fake.url], fake.chain_id) as rpc:
        for _ in range(5):
            assert await rpc.call("eth_blockNumber") == "0x1"
    # The check at start and the one of the connection; no further connection was made.
    assert fake.methods.count("eth_chainId") == 2


async def test_cancelled_call_leaves_the_client_usable() -> None:
    fake = FakeRpc(answer=lambda method, params: params[0])
    async with run_fake_rpc(fake), open_rpc([fake.url], fake.chain_id) as rpc:
        fake.raw = lambda body: None
        for _ in range(20):
            with trio.move_on_after(0.001):
                await rpc.call("echo", "lost")
        fake.raw = None
        async with trio.open_nursery() as nursery:
            for number in range(50):

                async def one(number: int = number) -> None:
                    assert await rpc.call("echo", number) == number

                nursery.start_soon(one)


async def test_nobody_there_at_start_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        async with open_rpc(["http://127.0.0.1:1"], 31_337):
            pass


@pytest.mark.parametrize(
    "url", ["", "ftp://x", "http://", "http://u:p@host", "http://h\r\nX: y", "http://h:99999", "x"]
)
async def test_malformed_address_is_misconfigured(url: str) -> None:
    with pytest.raises(Misconfigured):
        async with open_rpc([url], 31_337):
            pass


async def test_no_address_is_misconfigured() -> None:
    with pytest.raises(Misconfigured, match="names no RPC URL"):
        async with open_rpc([], 31_337):
            pass


async def test_wrong_chain_at_start_is_misconfigured() -> None:
    async with run_fake_rpc(FakeRpc(chain_id=1)) as fake:
        with pytest.raises(Misconfigured, match="serves chain 1, not 31337"):
            async with open_rpc([fake.url], 31_337):
                pass


async def test_wrong_chain_in_the_middle_stops_the_use_of_the_endpoint(
    jumping_clock: trio.testing.MockClock,
) -> None:
    first, second = FakeRpc(answer=lambda *_: "0x1"), FakeRpc(answer=lambda *_: "0x2")
    async with run_fake_rpc(second), open_rpc_of(first, second) as rpc:
        async with run_fake_rpc(first):
            assert await rpc.call("eth_blockNumber") == "0x1"
        first.chain_id = 5
        with capture_logs() as logs:
            async with run_fake_rpc(first):
                assert await rpc.call("eth_blockNumber") == "0x2"
                assert first.methods.count("eth_blockNumber") == 1
        assert [log["served_chain_id"] for log in logs] == [5]

        second.chain_id = 6
        await rpc.aclose()
        with pytest.raises(Unavailable, match="Every RPC endpoint"):
            await rpc.call("eth_blockNumber")

        # Somebody put it right: after a while it is looked at again.
        second.chain_id = 31_337
        jumping_clock.jump(BARRED_S + 1)
        assert await rpc.call("eth_blockNumber") == "0x2"


@asynccontextmanager
async def open_rpc_of(*fakes: FakeRpc) -> AsyncGenerator[Rpc]:
    """An `Rpc` over endpoints of which some may be down at the start."""
    for fake in fakes:
        if not fake.port:
            async with run_fake_rpc(fake):
                pass
    rpc = Rpc([fake.url for fake in fakes], 31_337)
    try:
        yield rpc
    finally:
        await rpc.aclose()


async def test_second_endpoint_takes_over_when_the_first_goes_down() -> None:
    first, second = FakeRpc(answer=lambda *_: "0x1"), FakeRpc(answer=lambda *_: "0x2")
    async with run_fake_rpc(second), open_rpc_of(first, second) as rpc:
        async with run_fake_rpc(first):
            assert await rpc.call("eth_blockNumber") == "0x1"
        assert await rpc.call("eth_blockNumber") == "0x2"


async def test_endpoint_that_comes_back_is_used_again() -> None:
    fake = FakeRpc(answer=lambda *_: "0x1")
    async with open_rpc_of(fake) as rpc:
        async with run_fake_rpc(fake):
            assert await rpc.call("eth_blockNumber") == "0x1"
        with pytest.raises(Unavailable):
            await rpc.call("eth_blockNumber")
        async with run_fake_rpc(fake):
            assert await rpc.call("eth_blockNumber") == "0x1"


@pytest.mark.parametrize(
    ("method", "patience_s"),
    [
        ("eth_blockNumber", BRIEF_TIMEOUT_S),
        ("eth_getLogs", EXCHANGE_TIMEOUT_S),
        ("eth_estimateGas", EXCHANGE_TIMEOUT_S),
        ("eth_sendRawTransaction", EXCHANGE_TIMEOUT_S),
    ],
)
async def test_silent_endpoint_is_given_up(
    method: str, patience_s: float, jumping_clock: trio.testing.MockClock
) -> None:
    fake = FakeRpc()
    async with run_fake_rpc(fake), open_rpc([fake.url], fake.chain_id) as rpc:
        fake.raw = lambda body: None
        with pytest.raises(Unavailable, match=f"no answer within {patience_s:.0f} s"):
            await rpc.call(method)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40_000,
        http_reply(b"<html>", "502 Bad Gateway"),
        http_reply(b"<html>", "200 OK"),
        http_reply(b""),
        http_reply(b"[" * 5_000),
        http_reply(b"null"),
        http_reply(b"[]"),
        http_reply(b'{"jsonrpc":"2.0","id":0}'),
        http_reply(orjson.dumps({"error": {"code": -32005, "message": "rate"}}), "429 Too Many Requests"),
    ],
)
async def test_nonsense_is_unavailable(raw: bytes, jumping_clock: trio.testing.MockClock) -> None:
    await refused(raw, Unavailable)


@pytest.mark.parametrize(
    "error", [{"code": "x", "message": 5}, {}, [], "no", {"code": 3, "message": "m", "data": {"data": 7}}]
)
async def test_odd_errors_are_refusals(error: object) -> None:
    await refused(http_reply(orjson.dumps({"id": None, "error": error})), RpcError)


async def test_chunked_replies_are_read() -> None:
    def reply(body: bytes) -> bytes:
        said = orjson.dumps({"id": orjson.loads(body)["id"], "result": "0x7"})
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (said[:5], said[5:]))
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nTrailer: 1\r\n\r\n"

    fake = FakeRpc(raw=reply)
    async with run_fake_rpc(fake), open_rpc([fake.url], fake.chain_id) as rpc:
        assert await rpc.call("eth_blockNumber") == "0x7"


@pytest.mark.parametrize("said", [{"result": "0x7"}, {"error": {"code": 3, "message": "execution reverted"}}])
async def test_replies_to_others_are_not_taken_for_ours(said: dict[str, object]) -> None:
    fake = FakeRpc(raw=lambda body: http_reply(orjson.dumps({"id": orjson.loads(body)["id"] + 1, **said})))
    async with run_fake_rpc(fake), open_rpc([fake.url], fake.chain_id) as rpc:
        with pytest.raises(BadReply, match="another request"):
            await rpc.call("eth_blockNumber")


async def test_second_reply_on_a_connection_is_not_taken_for_the_next_one() -> None:
    def twice(body: bytes) -> bytes:
        number = orjson.loads(body)["id"]
        said, forged = ({"id": number + ahead, "result": hex(ahead)} for ahead in (0, 1))
        return http_reply(orjson.dumps(said)) + http_reply(orjson.dumps(forged))

    fake = FakeRpc(raw=twice)
    async with run_fake_rpc(fake), open_rpc([fake.url], fake.chain_id) as rpc:
        assert [await rpc.call("eth_blockNumber") for _ in range(3)] == ["0x0"] * 3


async def test_batches_keep_their_order_and_their_errors() -> None:
    def answer(method: str, params: list[object]) -> object:
        if method == "bad":
            raise Refusal(3, "execution reverted", "0x1234")
        return params[0]

    fake = FakeRpc(answer=answer)
    async with run_fake_rpc(fake), open_rpc([fake.url], fake.chain_id) as rpc:
        results = await rpc.batch([Call("bad" if number == 150 else "echo", (number,)) for number in range(250)])
        refused = results[150]
        assert isinstance(refused, RpcError)
        assert refused.data == b"\x12\x34"
        assert [result for number, result in enumerate(results) if number != 150] == [
            number for number in range(250) if number != 150
        ]


@pytest.mark.parametrize(
    "reply", [[], [{"id": 0, "result": 1}], {"id": 0, "result": 1}, [1, 2], [{"id": [], "result": 1}]]
)
async def test_incomplete_batches_are_bad_replies(reply: object) -> None:
    fake = FakeRpc(raw=lambda body: http_reply(orjson.dumps(reply)))
    async with run_fake_rpc(fake), open_rpc([fake.url], fake.chain_id) as rpc:
        with pytest.raises(BadReply):
            await rpc.batch([Call("a"), Call("b")])


async def test_secrets_in_an_address_are_not_told() -> None:
    with pytest.raises(Unavailable) as refused:
        async with open_rpc(["http://127.0.0.1:1/v3/secret-key?token=secret"], 31_337):
            pass
    assert "secret" not in str(refused.value)
