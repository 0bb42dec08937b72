"""A container engine for a node that takes no work: opened when something has to be computed here."""

from collections.abc import Callable
from pathlib import Path

import trio

from capanode.node.executors.docker import DockerSettings, run_docker_executor
from capanode.node.executors.port import Executor
from capanode.protocol.faults import Misconfigured, Unavailable


class NoEngine(Unavailable):
    """Nothing can be computed on this machine."""


class EngineOnDemand:
    """Opens the executor once, in a nursery that outlives whoever asks first."""

    def __init__(
        self,
        settings: DockerSettings,
        nursery: trio.Nursery,
        disguise: Callable[[Executor], Executor] = lambda executor: executor,
    ) -> None:
        """`disguise` makes of the executor what is used in its place."""
        self._settings = settings
        self._nursery = nursery
        self._disguise = disguise
        self._opening = trio.Lock()
        self._executor: Executor | None = None

    async def executor(self) -> Executor:
        """The executor, with nothing left over from an earlier process.

        Raises:
            NoEngine: no container engine answers here.
        """
        async with self._opening:
            if self._executor is None:
                try:
                    opened: Executor = await self._nursery.start(run_docker_executor, self._settings)
                except (Unavailable, Misconfigured) as missing:
                    raise NoEngine(
                        "a result can be recomputed only where a container engine runs: install and start Docker here"
                        f" ({missing})"
                    ) from missing
                await opened.sweep(set())
                self._executor = self._disguise(opened)
            return self._executor

    async def clear(self) -> None:
        """Remove what an earlier process has left behind, if it has left anything; never raises `Unavailable`."""
        if any(has_content(self._settings.state / name) for name in ("outputs", "logs")):
            try:
                await self.executor()
            except Unavailable:
                return  # whoever needs the engine next is told


def has_content(folder: Path) -> bool:
    """Whether a folder is there and not empty."""
    return folder.is_dir() and any(folder.iterdir())
