"""Whatever a subscription says is a reason to look at the chain, and nothing else."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import orjson
import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

from capanode.node.chain.heads import watch_heads


@asynccontextmanager
async def saying(*messages: str | bytes) -> AsyncGenerator[str]:
    """A websocket that says this to each who subscribes, and ends the connection after it."""

    async def serve(request: WebSocketRequest) -> None:
        socket = await request.accept()
        try:
            await socket.get_message()
            for message in messages:
                await socket.send_message(message)
            await socket.aclose()
        except ConnectionClosed:
            return

    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve_websocket, serve, "127.0.0.1", 0, ssl_context=None))
        yield f"ws://127.0.0.1:{server.port}"
        nursery.cancel_scope.cancel()


REMOVED = orjson.dumps(
    {
        "jsonrpc": "2.0",
        "method": "eth_subscription",
        "params": {"subscription": "0x1", "result": {"removed": True, "blockHash": "0x" + "11" * 32, "topics": None}},
    }
).decode()


@pytest.mark.parametrize("message", [REMOVED, "", "[", "null", b"\xff\x00", '{"error":{"code":-32601}}', "x" * 60_000])
async def test_each_message_wakes_and_none_is_believed(message: str | bytes) -> None:
    woken, enough = 0, trio.Event()

    def wake() -> None:
        nonlocal woken
        woken += 1
        if woken == 3:
            enough.set()

    async with saying(message, message, message) as url, trio.open_nursery() as nursery:
        nursery.start_soon(watch_heads, [url], wake)
        with trio.fail_after(60):
            await enough.wait()
        nursery.cancel_scope.cancel()


async def test_too_long_a_message_ends_the_connection_and_the_next_endpoint_is_listened_to() -> None:
    woken = trio.Event()
    async with saying("x" * 2**20) as endless, saying(REMOVED) as good, trio.open_nursery() as nursery:
        nursery.start_soon(watch_heads, [endless, good], woken.set)
        with trio.fail_after(60):
            await woken.wait()
        nursery.cancel_scope.cancel()
