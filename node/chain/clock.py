"""Chain time as this node can know it between blocks.

Deadlines are block timestamps, but an idle chain makes no blocks, so the wall clock carries on from the newest head.
A head far from the wall clock (a test chain whose time was moved, a machine with a wrong clock) moves the answer.
"""

import time
from collections.abc import Callable
from typing import Final

import trio

from capanode.protocol.ids import UnixTime

TOLERATED_LEAD_S: Final = 15.0
"""A head may be this far ahead of the wall clock before it is believed over it."""

TOLERATED_LAG_S: Final = 900.0
"""A fresh head may be this far behind: slow blocks, not a wrong clock."""


class ChainClock:
    """What time it is on chain; told about heads, asked by everything that has a deadline."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._offset_s = 0.0
        self._moved = trio.Event()

    def saw_head(self, timestamp: UnixTime) -> None:
        """Take in the timestamp of a block that has just been made."""
        apart = timestamp - self._wall()
        self._offset_s = apart if apart > TOLERATED_LEAD_S or apart < -TOLERATED_LAG_S else 0.0
        self._moved.set()
        self._moved = trio.Event()

    def now(self) -> UnixTime:
        """Chain time, whole seconds."""
        return UnixTime(int(self._wall() + self._offset_s))

    async def until_after(self, at: UnixTime) -> None:
        """Return once chain time is strictly later than `at`."""
        while (missing := at + 1 - (self._wall() + self._offset_s)) > 0:
            with trio.move_on_after(missing):
                await self._moved.wait()
