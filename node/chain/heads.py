"""Wake-ups: that a chain may have a new block, by subscription where there is one.

A message is never believed, only taken as a reason to look; so a lying, silent or absent subscription costs
the polling interval and nothing else.
"""

import ssl
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import structlog
import trio
from trio_websocket import ConnectionClosed, HandshakeError, wrap_client_stream

_CONNECT_TIMEOUT_S: Final = 5.0
_FIRST_PAUSE_S: Final = 1.0
_LAST_PAUSE_S: Final = 60.0
_MAX_MESSAGE_BYTES: Final = 64 * 1024
_SUBSCRIBE: Final = '{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}'

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]

_log = structlog.stdlib.get_logger()


async def watch_heads(urls: Sequence[str], wake: Callable[[], None]) -> None:
    """Call `wake` at each message of the first endpoint that accepts a subscription, for ever."""
    pause_s = _FIRST_PAUSE_S
    while True:
        for url in urls:
            if await _listen(url, wake):
                pause_s = _FIRST_PAUSE_S
        await trio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LAST_PAUSE_S)


async def _listen(url: str, wake: Callable[[], None]) -> bool:
    """Listen until the connection ends; whether anything was heard."""
    heard = False

    def hear() -> None:
        nonlocal heard
        heard = True
        wake()

    try:
        async with _connected(url) as stream, trio.open_nursery() as reading:
            await _subscribe(reading, stream, url, hear)
    except (OSError, trio.TooSlowError, trio.BrokenResourceError, ssl.SSLError, ValueError, ExceptionGroup) as error:
        _log.info("head_subscription_ended", reason=type(error).__name__)
    return heard


@asynccontextmanager
async def _connected(url: str) -> AsyncGenerator[Stream]:
    """A connection that is closed in the end: the websocket library leaves one open that the other side ended."""
    parts = urlsplit(url)
    is_tls, host = parts.scheme == "wss", parts.hostname or ""
    with trio.fail_after(_CONNECT_TIMEOUT_S):
        if is_tls:
            stream: Stream = await trio.open_ssl_over_tcp_stream(host, parts.port or 443, https_compatible=True)
        else:
            stream = await trio.open_tcp_stream(host, parts.port or 80)
    try:
        yield stream
    finally:
        await trio.aclose_forcefully(stream)


async def _subscribe(reading: trio.Nursery, stream: Stream, url: str, hear: Callable[[], None]) -> None:
    """Ask for new heads, and hear every message, until the other side ends it."""
    parts = urlsplit(url)
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        with trio.fail_after(_CONNECT_TIMEOUT_S):
            socket = await wrap_client_stream(
                reading,
                stream,
                parts.netloc,
                resource,
                max_message_size=_MAX_MESSAGE_BYTES,
                message_queue_size=1,
            )
            await socket.send_message(_SUBSCRIBE)
        while True:
            await socket.get_message()
            hear()
    except (ConnectionClosed, HandshakeError) as error:
        _log.info("head_subscription_ended", reason=type(error).__name__)
    reading.cancel_scope.cancel()
