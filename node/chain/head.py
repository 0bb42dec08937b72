"""The head of the followed chain, for those who decide by its time."""

from dataclasses import dataclass

import trio

from capanode.node.chain.blocks import BlockRef
from capanode.protocol.ids import UnixTime


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The newest block that was followed."""

    block: BlockRef

    next_time: UnixTime
    """Timestamp that a block made now would carry: what the chain's clocks are compared with.

    An idle automining chain makes no blocks, so its last block's time would stand still.
    """


class HeadWatch:
    """The newest head, and waiting for another."""

    def __init__(self) -> None:
        self.head: ChainHead | None = None
        self._changed = trio.Event()

    def set(self, head: ChainHead) -> None:
        """Publish a head; for the follower."""
        if head == self.head:
            return
        self.head = head
        self._changed.set()
        self._changed = trio.Event()

    async def wait_change(self) -> ChainHead:
        """The next head, or the next time of an idle one."""
        await self._changed.wait()
        assert self.head is not None
        return self.head

    async def wait_until(self, at: UnixTime) -> ChainHead:
        """The first head whose `next_time` is later than `at`; by block time, never by this machine's clock."""
        while self.head is None or self.head.next_time <= at:
            await self._changed.wait()
        return self.head
