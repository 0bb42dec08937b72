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
    """The newest head, and waiting for another.

    `confirmations` is how many blocks there are on top of one before its logs are applied. `is_idle_chain` says that
    blocks are made for transactions only, so that time passes between them.
    """

    def __init__(self, confirmations: int = 0, *, is_idle_chain: bool = True) -> None:
        self.head: ChainHead | None = None
        self._confirmations = confirmations
        self._is_idle_chain = is_idle_chain and not confirmations
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

    async def wait_until(self, at: UnixTime) -> BlockRef:
        """A block by which chain time is past `at`, once all that was done in time has been applied.

        By block time, never by this machine's clock. The answer holds as long as the block does.
        """
        while True:
            head = await self._head()
            if (head.next_time if self._is_idle_chain else head.block.time) > at:
                await self.wait_applied(head.block.number)
                return head.block
            await self._changed.wait()

    async def wait_block(self, number: int) -> BlockRef:
        """The newest block, once it is that of the number or a later one."""
        while (head := await self._head()).block.number < number:
            await self._changed.wait()
        return head.block

    async def wait_applied(self, number: int) -> None:
        """Return once the logs of the block of that number have been applied."""
        await self.wait_block(number + self._confirmations)

    async def _head(self) -> ChainHead:
        while self.head is None:
            await self._changed.wait()
        return self.head
