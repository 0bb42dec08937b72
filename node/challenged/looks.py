"""Results to look at: each when it is committed, and again after a while where it could not be looked at yet."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from capanode.protocol.ids import DealId

LOOK_AGAIN_S: Final = (1.0, 4.0, 15.0, 60.0)
"""Pauses after which a result is looked at again: a provider may be the last to hear of its own commitment. Seconds."""

MAX_WAITING: Final = 256
"""Results that wait for another look."""


@dataclass(frozen=True, slots=True, order=True)
class Look:
    """A look that is due, by trio's clock, after so many that came to nothing."""

    due_s: float
    deal_id: DealId
    tries: int


class Looks:
    """What is to be looked at next, one at a time."""

    def __init__(
        self, committed: trio.MemoryReceiveChannel[DealId], is_drawn: Callable[[], bool] = lambda: True
    ) -> None:
        """`is_drawn` says whether the next result is one of those to look at."""
        self._committed = committed
        self._is_drawn = is_drawn
        self._waiting = list[Look]()

    async def next(self) -> Look | None:
        """What is due before it what has just been committed; None once nothing can come any more. Cancel-safe."""
        due_s = self._waiting[0].due_s if self._waiting else float("inf")
        with trio.move_on_at(due_s):
            async for deal_id in self._committed:
                if self._is_drawn():
                    return Look(trio.current_time(), deal_id, 0)
            if not self._waiting:
                return None
            await trio.sleep_until(due_s)
        return heapq.heappop(self._waiting)

    def again(self, look: Look) -> bool:
        """Have a result come once more; whether it will, as each does a few times only."""
        if look.tries == len(LOOK_AGAIN_S) or len(self._waiting) == MAX_WAITING:
            return False
        again_s = trio.current_time() + LOOK_AGAIN_S[look.tries]
        heapq.heappush(self._waiting, Look(again_s, look.deal_id, look.tries + 1))
        return True
