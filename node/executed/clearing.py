"""Gives the machine back what a deal holds that ended from outside: refunded, cancelled, or won by somebody else.

A deal that ends by this node's own act releases what it holds on the way. One that is ended by the chain, perhaps while
this node was down, has nobody else to do it. What a crash prevents here the sweep of the next start does.
"""

import structlog
import trio

from capanode.node.agent import Agent
from capanode.node.executed.execution import Execution
from capanode.protocol import provider
from capanode.protocol.faults import Unavailable

log = structlog.get_logger()


async def run_clearing(
    agent: Agent, execution: Execution, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Release what lost deals hold, until cancelled; start it before the agent, which may find such deals at once."""
    while True:
        async with agent.watching() as changes:
            task_status.started()
            task_status = trio.TASK_STATUS_IGNORED
            async for stored in changes:
                if isinstance(stored.state, provider.Lost):
                    try:
                        await execution.release(stored.state.work)
                    except Unavailable as reason:
                        log.warning("left-behind", deal=stored.key, reason=str(reason))
