"""A development chain that reorganises itself while others use it."""

import random
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import trio

from capanode.node.chain.rpc import Rpc
from capanode.node.chain.wire import Json, quantity, read_object, read_quantity
from capanode.protocol.faults import Unavailable

MAX_DEPTH: Final = 3


class DamagedChain(Exception):
    """The development chain has lost a block for good; whoever follows it would wait for ever."""


@dataclass(slots=True)
class Reorgs:
    """Blocks at a steady rate, and now and then others in the place of the last ones."""

    rpc: Rpc
    dice: random.Random
    block_every_s: float = 0.5
    reorg_every_s: float = 3.0
    count: int = 0
    lost_transactions: int = 0
    mended: int = 0
    """How often the development chain lost a block below its head, which is its own fault and nobody's behaviour."""

    turn: trio.Lock = field(default_factory=trio.Lock)

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.mine)
            while True:
                await trio.sleep(self.dice.uniform(0.5, 1.5) * self.reorg_every_s)
                await self.once(self.dice.randint(1, MAX_DEPTH))

    async def once(self, depth: int) -> None:
        """Replace the last blocks; their transactions come back in the last of the new ones, or not at all."""
        await self.replace(await self._height() - depth + 1, returns=self.dice.random() < 0.5)

    async def replace(self, first: int, *, returns: bool) -> None:
        """Replace all blocks from `first` on; `returns` says whether the last new one has their transactions."""
        # A block that is mined meanwhile leaves a hole in the chain, which no real chain has.
        await self.rpc.call_once("evm_setAutomine", False)
        async with self.turn:
            head = await self._height()
            depth = head - first + 1
            gone = await self._transactions(range(first, head + 1))
            returned: list[Json] = [[raw, depth - 1] for raw in gone] if returns else []
            await self.rpc.call_once("anvil_reorg", depth, returned)
            await self._mend(first - 1)
        await self.rpc.call_once("evm_setAutomine", True)
        self.count += 1
        self.lost_transactions += len(gone) - len(returned)

    async def _mend(self, stands: int) -> None:
        """See that each block above the one that stands is there; else go back to before the first that is not.

        Raises:
            DamagedChain: that does not help.
        """
        hole = await self._hole(stands)
        if hole is None:
            return
        head = await self._height()
        _say(f"the development chain lost block {hole} of {head}: taking back what lies above it")
        self.lost_transactions += len(await self._transactions(range(hole + 1, head + 1)))
        await self.rpc.call_once("anvil_rollback", head - hole + 1)
        self.mended += 1
        await self.rpc.call_once("evm_mine")
        if await self._hole(stands) is not None:
            raise DamagedChain(
                f"The development chain lost block {hole} when it replaced its last ones, and does not give it back: "
                "this is its fault, not the nodes'; run again."
            )

    async def _hole(self, stands: int) -> int | None:
        """The first block above `stands` that is not there, or not on top of the one before."""
        below: object = None
        for number in range(stands, await self._height() + 1):
            block = await self.rpc.call("eth_getBlockByNumber", quantity(number), False)
            if block is None:
                return number
            fields = read_object(block)
            if number > stands and fields["parentHash"] != below:
                return number
            below = fields["hash"]
        return None

    async def _height(self) -> int:
        return read_quantity(await self.rpc.call("eth_blockNumber"))

    async def _transactions(self, numbers: range) -> list[str]:
        raw: list[str] = []
        for number in numbers:
            count = await self.rpc.call("eth_getBlockTransactionCountByNumber", hex(number))
            # A block that is lost has none to tell of.
            for index in range(0 if count is None else read_quantity(count)):
                found = await self.rpc.call("eth_getRawTransactionByBlockNumberAndIndex", hex(number), hex(index))
                assert isinstance(found, str)
                raw.append(found)
        return raw

    async def mine(self) -> None:
        """Blocks at their rate, until cancelled."""
        while True:
            await trio.sleep(self.block_every_s)
            # On a machine that is busy with other things the chain may answer late.
            with suppress(Unavailable):
                async with self.turn:
                    await self.rpc.call_once("evm_mine")


def _say(sentence: str) -> None:
    print(f"[chain] {sentence}", file=sys.stderr)
