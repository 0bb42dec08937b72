"""A few output file systems made ahead, of the size that the last job took."""

from collections import deque
from pathlib import Path
from typing import Any, Final, Protocol

import trio

from capanode.node.executors.asking import Threads
from capanode.node.executors.outputs import (
    OutputDisk,
    destroy_disk,
    disk_is_sound,
    disk_names,
    find_disk,
    make_disk,
    name_for,
)
from capanode.node.executors.port import State
from capanode.node.executors.sandbox import JOB_UID
from capanode.node.storage.tree_walk import fill_here

_DEFAULT_BYTES: Final = 256 * 2**20


class OutputPool(Protocol):
    """Where jobs write: `Disks` with root, `Volumes` without."""

    async def take(self, size_bytes: int) -> OutputDisk:
        """An empty place of that size; raises Unavailable."""
        ...

    async def adopt(self, name: str) -> OutputDisk | None:
        """The place of a job that an earlier process started; None when it is gone."""
        ...

    async def fill(self, disk: OutputDisk, state: State) -> None:
        """Write a state to an empty place, owned by the job; raises Unavailable, and BadContent for other bytes."""
        ...

    async def collect(self, disk: OutputDisk) -> None:
        """Make what the job wrote readable at `disk.path`, once the job has ended; idempotent."""
        ...

    def is_sound(self, disk: OutputDisk) -> bool:
        """Whether what lies at `disk.path` is what the job wrote."""
        ...

    async def give_back(self, name: str) -> None:
        """Delete a place with everything in it; idempotent."""
        ...

    async def warm(self, spares: int) -> None:
        """Set how many places to keep ready, and make them."""
        ...

    async def refill(self) -> None:
        """Make the spares that are missing."""
        ...

    async def empty(self) -> None:
        """Delete the spares and keep none from now on."""
        ...

    async def sweep(self, keep: set[str]) -> list[str]:
        """Delete places that neither the pool, a job of this process nor `keep` knows; their names."""
        ...

    def mount(self, disk: OutputDisk) -> dict[str, Any]:
        """Where the job's container gets it from, in the engine's terms."""
        ...


class Disks:
    """The pool; `spares` is how many file systems it keeps ready."""

    def __init__(self, threads: Threads, folder: Path, default_bytes: int = _DEFAULT_BYTES) -> None:
        self._threads = threads
        self._folder = folder
        self._size = default_bytes
        self._spares = 0
        self._ready: deque[OutputDisk] = deque()
        self._taken: set[str] = set()
        self._refilling = trio.Lock()

    async def take(self, size_bytes: int) -> OutputDisk:
        """An empty file system of that size, from the pool if there is one; raises Unavailable."""
        self._size = size_bytes
        while disk := next((one for one in self._ready if one.size_bytes == size_bytes), None):
            self._ready.remove(disk)
            self._taken.add(disk.name)
            if disk_is_sound(disk):
                return disk
            await self.give_back(disk.name)  # someone has unmounted it
        return await self._make(size_bytes)

    async def _make(self, size_bytes: int) -> OutputDisk:
        # Known before it is there, or a sweep would take it for an orphan.
        name = name_for(size_bytes)
        self._taken.add(name)
        try:
            return await self._threads.ask(make_disk, self._folder, name)
        except BaseException:
            self._taken.discard(name)
            raise

    async def adopt(self, name: str) -> OutputDisk | None:
        """The file system of a job that an earlier process started; None when it is gone."""
        disk = await self._threads.ask(find_disk, self._folder, name)
        if disk is not None:
            self._taken.add(name)
        return disk

    async def fill(self, disk: OutputDisk, state: State) -> None:
        """Write a state to an empty file system."""
        await self._threads.ask(fill_here, state.entries, state.content, disk.path, JOB_UID)

    async def collect(self, disk: OutputDisk) -> None:
        """Nothing to do: the host sees the same file system."""

    def is_sound(self, disk: OutputDisk) -> bool:
        """False after an error below the file system, or when someone has unmounted it."""
        return disk_is_sound(disk)

    def mount(self, disk: OutputDisk) -> dict[str, Any]:
        """Where the job's container gets it from."""
        return {"Type": "bind", "Source": str(disk.path), "BindOptions": {"Propagation": "rprivate"}}

    async def give_back(self, name: str) -> None:
        """Delete a file system with everything on it; idempotent."""
        await self._threads.ask(destroy_disk, self._folder, name)
        self._taken.discard(name)

    async def warm(self, spares: int) -> None:
        """Set how many to keep ready, and make them."""
        self._spares = spares
        await self.refill()

    async def refill(self) -> None:
        """Make what the pool lacks of the last size and drop spares of other sizes."""
        async with self._refilling:
            for disk in [one for one in self._ready if one.size_bytes != self._size]:
                self._ready.remove(disk)
                await self.give_back(disk.name)
            while sum(one.size_bytes == self._size for one in self._ready) < self._spares:
                disk = await self._make(self._size)
                self._ready.append(disk)
                self._taken.discard(disk.name)

    async def empty(self) -> None:
        """Delete the spares and keep none from now on."""
        self._spares = 0
        async with self._refilling:
            while self._ready:
                await self.give_back(self._ready.popleft().name)

    async def sweep(self, keep: set[str]) -> list[str]:
        """Delete file systems that neither the pool, a job of this process nor `keep` knows."""
        known = keep | self._taken | {disk.name for disk in self._ready}
        async with self._refilling:
            known |= {disk.name for disk in self._ready}
            orphans = [name for name in disk_names(self._folder) if name not in known]
        for name in orphans:
            await self.give_back(name)
        return orphans
