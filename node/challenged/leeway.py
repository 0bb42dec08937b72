"""What the open deals of this node leave of its machine, for work that has to stand back."""

from collections.abc import Callable
from typing import Final

import trio

from capanode.node.agent import Agent
from capanode.protocol.ids import DealId
from capanode.protocol.records import Resources
from capanode.scheduler.capacity import Capacity, Placed, reserve

_NOBODY: Final = DealId(bytes(32))


class Leeway:
    """Asks again whenever a deal changes."""

    def __init__(self, agent: Agent, capacity: Callable[[], Capacity] | None) -> None:
        """`capacity` is the machine less what open deals hold; None on a node that takes no work."""
        self._agent = agent
        self._capacity = capacity

    async def until(self, need: Resources, is_free: bool) -> None:
        """Return once so much is free, or once it is not any more."""
        while True:
            async with self._agent.watching() as changes:
                if self._covers(need) == is_free:
                    await trio.lowlevel.checkpoint()
                    return
                async for _ in changes:
                    if self._covers(need) == is_free:
                        return

    def _covers(self, need: Resources) -> bool:
        if self._capacity is None:
            return True
        placed = reserve(self._capacity(), _NOBODY, need)
        return isinstance(placed, Placed)
