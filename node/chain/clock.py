"""Chain time as this node can know it between blocks.

Deadlines are block timestamps, but an idle chain makes no blocks, so the wall clock carries on from the newest head.
A head far from the wall clock (a test chain whose time was moved, a machine with a wrong clock) moves the answer. A
machine's clock that is set while the node runs does not, unless the chain agrees with it.
"""

from collections.abc import Callable
from typing import Final

from capanode.node.steady_time import unix_now
from capanode.protocol.ids import UnixTime

TOLERATED_LEAD_S: Final = 15.0
"""A head may be this far ahead of the wall clock before it is believed over it."""

TOLERATED_LAG_S: Final = 900.0
"""A fresh head may be this far behind: slow blocks, not a wrong clock."""


class ChainClock:
    """What time it is on chain; told about heads, asked by everything that has a deadline."""

    def __init__(self, wall: Callable[[], float] = unix_now, machine: Callable[[], float] | None = None) -> None:
        """`machine` is the machine's own clock, which may be set, for better or worse; none means `wall`."""
        self._steady = wall
        self._machine = machine or wall
        self._set_s = 0.0
        self._offset_s = 0.0

    def saw_head(self, timestamp: UnixTime) -> None:
        """Take in the timestamp of a block that has just been made."""
        machine, wall = self._machine(), self._wall()
        if abs(timestamp - machine) < abs(timestamp - wall):
            # The machine's clock was put right since the start: a head is better evidence than either.
            self._set_s += machine - wall
        apart = timestamp - self._wall()
        self._offset_s = apart if apart > TOLERATED_LEAD_S or apart < -TOLERATED_LAG_S else 0.0

    def _wall(self) -> float:
        return self._steady() + self._set_s

    def now(self) -> UnixTime:
        """Chain time, whole seconds."""
        return UnixTime(int(self._wall() + self._offset_s))
