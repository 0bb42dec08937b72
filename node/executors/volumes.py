"""Outputs without root: a volume in memory with a hard limit, copied out when the job has ended.

Mounting a file system of our own needs root; the engine can make a tmpfs for us. It lives only while a
container uses it, so an idle keeper holds it until the outputs have been copied. What a job writes
there counts as its memory.
"""

import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final, cast

from capanode.node.executors.asking import Threads
from capanode.node.executors.docker_engine import Engine, NoSuchThing
from capanode.node.executors.outputs import OutputDisk, inodes_for, name_for, size_in_name
from capanode.node.executors.port import State
from capanode.node.executors.sandbox import (
    HOLDER_LABEL,
    JOB_UID,
    NODE_LABEL,
    OUTPUTS_LABEL,
    OUTPUTS_TARGET,
    keeper_body,
)
from capanode.node.executors.slots import load_holder_image
from capanode.node.fault_points import durable
from capanode.node.storage.tree_walk import fill_here

_KEPT_TYPES: Final = frozenset({tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE})


class Volumes:
    """Like `Disks`, by means of the engine alone; keeps no spares."""

    def __init__(self, engine: Engine, threads: Threads, node: str, state: Path) -> None:
        self._engine = engine
        self._threads = threads
        self._node = node
        self._folder = state / "outputs"
        self._images = state / "images"
        self._taken: set[str] = set()

    async def take(self, size_bytes: int) -> OutputDisk:
        """An empty volume of that size, held by a keeper."""
        name = name_for(size_bytes)
        self._taken.add(name)
        return await self._threads.ask(self._make, name, size_bytes)

    async def adopt(self, name: str) -> OutputDisk | None:
        """The volume of a job that an earlier process started; None when its keeper is gone."""
        found = await self._threads.ask(self._find, name)
        if found is not None:
            self._taken.add(name)
        return found

    async def fill(self, disk: OutputDisk, state: State) -> None:
        """Write a state to an empty volume, through the keeper."""
        await self._threads.ask(self._copy_in, disk, state)

    async def collect(self, disk: OutputDisk) -> None:
        """Copy what the job wrote to `disk.path`; idempotent."""
        await self._threads.ask(self._copy_out, disk)

    def is_sound(self, disk: OutputDisk) -> bool:
        """The engine made the copy, or said why not."""
        return True

    async def give_back(self, name: str) -> None:
        """Delete a volume and its copy; idempotent."""
        await self._threads.ask(self._destroy, name)
        self._taken.discard(name)

    async def warm(self, spares: int) -> None:
        """Nothing to do: a spare volume would hold memory."""

    async def refill(self) -> None:
        """Nothing to do."""

    async def empty(self) -> None:
        """Nothing to do."""

    async def sweep(self, keep: set[str]) -> list[str]:
        """Delete volumes and copies that neither a job of this process nor `keep` knows."""
        orphans = sorted(await self._threads.ask(self._names) - keep - self._taken)
        for name in orphans:
            await self.give_back(name)
        return orphans

    def mount(self, disk: OutputDisk) -> dict[str, Any]:
        """Where the job's container gets its outputs from."""
        return _mount(self._engine_name(disk.name))

    def _engine_name(self, name: str) -> str:
        return f"capanode-{self._node}-out-{name}"

    def _make(self, name: str, size_bytes: int) -> OutputDisk:
        ours = self._engine_name(name)
        labels = {NODE_LABEL: self._node, HOLDER_LABEL: "outputs", OUTPUTS_LABEL: name}
        options = f"size={size_bytes},nr_inodes={inodes_for(size_bytes)},uid={JOB_UID},gid={JOB_UID},mode=0755"
        with durable("volume.create"):
            self._engine.create_memory_volume(ours, f"{options},nosuid,nodev,noexec", labels)
        try:
            image = load_holder_image(self._engine, self._images)
            with durable("volume.keep"):
                self._engine.start(self._engine.create(keeper_body(image, labels, _mount(ours)), ours))
        except BaseException:
            self._destroy(name)
            raise
        return OutputDisk(name, self._folder / name, size_bytes)

    def _find(self, name: str) -> OutputDisk | None:
        size = size_in_name(name)
        try:
            running = size is not None and self._engine.inspect(self._engine_name(name)).running
        except NoSuchThing:
            return None
        return OutputDisk(name, self._folder / name, size) if running and size is not None else None

    def _copy_in(self, disk: OutputDisk, state: State) -> None:
        beside = self._folder.parent
        with tempfile.TemporaryDirectory(dir=beside) as folder, tempfile.TemporaryFile(dir=beside) as packed:
            fill_here(state.entries, state.content, Path(folder), owner=None)
            pack(Path(folder), packed)
            packed.seek(0)
            with durable("volume.fill"):
                self._engine.unpack(self._engine_name(disk.name), OUTPUTS_TARGET, packed)

    def _copy_out(self, disk: OutputDisk) -> None:
        shutil.rmtree(disk.path, ignore_errors=True)
        disk.path.mkdir(mode=0o700)
        unpack(self._engine.archive(self._engine_name(disk.name), OUTPUTS_TARGET), disk.path)

    def _destroy(self, name: str) -> None:
        ours = self._engine_name(name)
        with durable("volume.remove"):
            self._engine.remove(ours)
            self._engine.remove_volume(ours)
            shutil.rmtree(self._folder / name, ignore_errors=True)

    def _names(self) -> set[str]:
        rows = self._engine.labelled({NODE_LABEL: self._node, HOLDER_LABEL: "outputs"})
        return {labels.get(OUTPUTS_LABEL, "") for _, labels in rows} | {entry.name for entry in self._folder.iterdir()}


def pack(folder: Path, target: IO[bytes]) -> None:
    """Write a folder as a tar of the job's own files, each as old as can be."""
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(folder, arcname=".", filter=_of_the_job)


def _of_the_job(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = JOB_UID
    member.uname = member.gname = ""
    member.mtime = 0
    return member


def unpack(chunks: Iterable[bytes], folder: Path) -> None:
    """Unpack the engine's tar of an output folder: files, folders and links as they are, never through a link.

    Devices, pipes and whatever would lie outside `folder` are left out.
    """
    stream = cast("IO[bytes]", _Stream(iter(chunks)))
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            below = PurePosixPath(*PurePosixPath(member.name).parts[1:])
            if member.type not in _KEPT_TYPES or below == PurePosixPath("."):
                continue
            member.name = str(below)
            if member.islnk():
                member.linkname = str(PurePosixPath(*PurePosixPath(member.linkname).parts[1:]))
            _extract(tar, member, folder)


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    # "tar" keeps links as links and refuses names that lead out; a hard link's target needs the stricter one.
    strictness = tarfile.data_filter if member.islnk() else tarfile.tar_filter
    try:
        tar.extract(member, folder, set_attrs=not member.issym(), filter=strictness)
    except tarfile.FilterError:
        return


def _mount(volume: str) -> dict[str, Any]:
    return {"Type": "volume", "Source": volume, "VolumeOptions": {"NoCopy": True}}


class _Stream:
    """Chunks of any size as something to read from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size:
            chunk = next(self._chunks, b"")
            if not chunk:
                break
            self._rest += chunk
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken
