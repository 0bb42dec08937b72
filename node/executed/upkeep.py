"""Keeping a provider's machine fit for work: what stands in the way is told, what nobody needs any more is removed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from capanode.node.agent import Agent
from capanode.node.alerts import Alerts, Occasion
from capanode.node.assigned.preparation import Preparation
from capanode.node.executed.execution import Execution
from capanode.node.executors.port import Executor
from capanode.node.storage.blobs import BlobStore
from capanode.node.storage.room import Room
from capanode.protocol import provider
from capanode.protocol.faults import Fault
from capanode.protocol.ids import UnixTime

LOOK_S: Final = 1.0
SWEEP_S: Final = 600.0
"""How often leftovers are looked for when nothing happened; always when the engine is back."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What has to be in order for work to be taken, and what is looked after."""

    executor: Executor
    room: Room
    agent: Agent
    preparation: Preparation
    execution: Execution
    blobs: BlobStore
    now: Callable[[], UnixTime]
    slots: int
    alerts: Alerts

    def objection(self) -> str:
        """Why this machine takes no work now, in a sentence; empty while it does."""
        return self.executor.objection() or self.room.objection()

    async def run(self) -> None:
        """Look and sweep until cancelled."""
        told, swept_at = "", trio.current_time()
        while True:
            await trio.sleep(LOOK_S)
            objection = self.objection()
            if objection and not told:
                log.warning("takes-no-work", reason=objection)
                away = bool(self.executor.objection())
                self.alerts.raise_(Occasion.ENGINE_AWAY if away else Occasion.DISK_LOW, objection)
            is_back = bool(told) and not objection
            if is_back:
                log.info("takes-work-again")
            told = objection
            if is_back or trio.current_time() - swept_at >= SWEEP_S:
                await self.sweep()
                swept_at = trio.current_time()

    async def sweep(self) -> None:
        """Remove what belongs to no open deal, and make ready what the next one needs."""
        try:
            deals = self._deals()
            for removed in await self.executor.sweep(await self.execution.wanted(deals)):
                log.info("swept", what=removed)
            if not self.room.objection():
                await self.executor.warm(self.slots)
            await self.execution.tidy(deals)
            works = [deal.work for deal in deals]
            freed = await trio.to_thread.run_sync(self.blobs.collect, self.now())
            freed += await trio.to_thread.run_sync(self.preparation.tidy, works)
        except (Fault, OSError) as fault:
            log.warning("sweep-failed", reason=str(fault))
        else:
            if freed:
                log.info("swept", what=f"{freed} bytes that no deal needs")

    def _deals(self) -> list[provider.Deal]:
        return [stored.state for stored in self.agent.open_deals() if isinstance(stored.state, provider.Deal)]
