"""Whether the engine answers: asked every few seconds, and waited for by everything that needs it."""

from typing import Final

import structlog
import trio

from capanode.node.executors.asking import Threads
from capanode.node.executors.docker_engine import Engine, EngineDown, EngineRefused

_EVERY_S: Final = 5.0
_EVERY_DOWN_S: Final = 0.5

log = structlog.get_logger()


class Pulse:
    """The engine's state as of the last look; `objection` is a sentence while it does not answer, else empty."""

    def __init__(self, engine: Engine, threads: Threads) -> None:
        self._engine = engine
        self._threads = threads
        self._back = trio.Event()
        self._missed = trio.Event()
        self._back.set()
        self.objection = ""

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self._look()
            with trio.move_on_after(_EVERY_DOWN_S if self.objection else _EVERY_S):
                await self._missed.wait()

    def miss(self, down: EngineDown) -> None:
        """A call has just failed: nobody has to wait for the next look to know."""
        if not self.objection:
            self.objection = str(down)
            self._back = trio.Event()
            self._missed.set()
            log.warning("engine-away", reason=str(down))

    async def ready(self) -> None:
        """Return once the engine answers; at once while it does."""
        await self._back.wait()

    async def _look(self) -> None:
        self._missed = trio.Event()
        try:
            await self._threads.follow(self._engine.ping)
        except EngineDown as down:
            self.miss(down)
        except EngineRefused:
            return  # it is starting or stopping: what was known stays so until the next look
        else:
            if self.objection:
                log.info("engine-back")
            self.objection = ""
            self._back.set()
