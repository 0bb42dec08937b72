"""What gas costs now, as seen lately: enough for a price, no reason to ask the chain at every bid."""

from contextlib import suppress
from typing import Final

import trio

from capanode.node.chain.rpc import Rpc
from capanode.node.chain.wire import read_quantity
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import Wei

EVERY_S: Final = 60.0


class GasPrice:
    """The last gas price that was seen, in the coin's base units."""

    def __init__(self) -> None:
        self.wei = Wei(0)

    def __call__(self) -> Wei:
        return self.wei


async def run_gas_price(
    rpc: Rpc, seen: GasPrice, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Look once a minute until cancelled; started after the first look."""
    while True:
        # The last price is good enough while the chain does not answer.
        with suppress(Unavailable):
            seen.wei = Wei(read_quantity(await rpc.call("eth_gasPrice")))
        task_status.started()
        task_status = trio.TASK_STATUS_IGNORED
        await trio.sleep(EVERY_S)
        await rpc.budget.turn()
