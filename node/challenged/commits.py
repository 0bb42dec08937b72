"""Results as they are committed, for those who look at them. What nobody has time for is passed over."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import trio

from capanode.protocol.ids import DealId

MAX_WAITING: Final = 1024
"""Commitments that may wait for one listener."""


class Commits:
    """One teller, any number of listeners."""

    def __init__(self) -> None:
        self._listeners: dict[trio.MemorySendChannel[DealId], None] = {}

    def tell(self, deal_id: DealId) -> None:
        """Say that a result was committed; never blocks."""
        for listener in self._listeners:
            try:
                listener.send_nowait(deal_id)
            except trio.WouldBlock:
                continue

    @contextmanager
    def listening(self) -> Generator[trio.MemoryReceiveChannel[DealId]]:
        """What is committed from now on."""
        send, receive = trio.open_memory_channel[DealId](MAX_WAITING)
        self._listeners[send] = None
        try:
            yield receive
        finally:
            del self._listeners[send]
            send.close()
            receive.close()
