"""Wake-ups: that a chain may have a new block, by subscription where there is one.

A message is never believed, only taken as a reason to look; so a lying, silent or absent subscription costs
the polling interval and nothing else.
"""

from collections.abc import Callable, Sequence
from typing import Final

import structlog
import trio
from trio_websocket import ConnectionClosed, HandshakeError, open_websocket_url

_CONNECT_TIMEOUT_S: Final = 5.0
_FIRST_PAUSE_S: Final = 1.0
_LAST_PAUSE_S: Final = 60.0
_MAX_MESSAGE_BYTES: Final = 64 * 1024
_SUBSCRIBE: Final = '{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}'

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
    try:
        async with open_websocket_url(
            url,
            connect_timeout=_CONNECT_TIMEOUT_S,
            disconnect_timeout=1,
            max_message_size=_MAX_MESSAGE_BYTES,
            message_queue_size=1,
        ) as socket:
            with trio.fail_after(_CONNECT_TIMEOUT_S):
                await socket.send_message(_SUBSCRIBE)
            while True:
                await socket.get_message()
                heard = True
                wake()
    except (
        OSError,
        ConnectionClosed,
        HandshakeError,
        trio.TooSlowError,
        ValueError,
        ExceptionGroup,
    ) as error:
        _log.info("head_subscription_ended", reason=type(error).__name__)
    return heard
