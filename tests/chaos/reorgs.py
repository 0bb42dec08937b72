"""A development chain that reorganises itself while others use it."""

import random
from dataclasses import dataclass, field
from typing import Final

import trio

from capanode.node.chain.rpc import Rpc
from capanode.node.chain.wire import Json, read_quantity

MAX_DEPTH: Final = 3


@dataclass(slots=True)
class Reorgs:
    """Blocks at a steady rate, and now and then others in the place of the last ones."""

    rpc: Rpc
    dice: random.Random
    block_every_s: float = 0.5
    reorg_every_s: float = 3.0
    count: int = 0
    lost_transactions: int = 0
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
        head = read_quantity(await self.rpc.call("eth_blockNumber"))
        gone = await self._transactions(range(head - depth + 1, head + 1))
        returned: list[Json] = [[raw, depth - 1] for raw in gone] if self.dice.random() < 0.5 else []
        # A block that is mined meanwhile leaves a hole in the chain, which no real chain has.
        await self.rpc.call_once("evm_setAutomine", False)
        async with self.turn:
            await self.rpc.call_once("anvil_reorg", depth, returned)
        await self.rpc.call_once("evm_setAutomine", True)
        self.count += 1
        self.lost_transactions += len(gone) - len(returned)

    async def _transactions(self, numbers: range) -> list[str]:
        raw: list[str] = []
        for number in numbers:
            count = read_quantity(await self.rpc.call("eth_getBlockTransactionCountByNumber", hex(number)))
            for index in range(count):
                found = await self.rpc.call("eth_getRawTransactionByBlockNumberAndIndex", hex(number), hex(index))
                assert isinstance(found, str)
                raw.append(found)
        return raw

    async def mine(self) -> None:
        """Blocks at their rate, until cancelled."""
        while True:
            await trio.sleep(self.block_every_s)
            async with self.turn:
                await self.rpc.call_once("evm_mine")
