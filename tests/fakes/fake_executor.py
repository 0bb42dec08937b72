"""An executor without an engine: runs a Python function for each job, in memory and on the real clock's behalf.

Verified: tests/executors/test_port_contract.py holds the Docker executor and this one to the same words.
"""

import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import trio

from capanode.node.executors.port import (
    Capacity,
    End,
    ExecutionId,
    Gpu,
    ImageProgress,
    PreparedImage,
    RunOutcome,
    RunRequest,
    Usage,
)
from capanode.node.images.reference import ArchivedImage, ImageId, ImageRef, ImageRejected
from capanode.protocol.faults import InvariantViolated, Unavailable

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Played:
    """How a played job ends and what it leaves: exit code, streams, output files and links by path."""

    exit_code: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    files: tuple[tuple[str, bytes], ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    end: End = End.EXITED


Play = Callable[[RunRequest], Awaitable[Played]]


async def _succeed(request: RunRequest) -> Played:
    return Played(stdout=" ".join(request.argv).encode())


@dataclass(slots=True)
class _Running:
    request: RunRequest
    scope: trio.CancelScope
    cancelled: bool = False


@dataclass(slots=True)
class FakeExecutor:
    """`play` is what jobs do; `outcomes` survives `restart`, as containers survive the node's process."""

    state: Path
    play: Play = _succeed
    cpu_millis: int = 4000
    memory_bytes: int = 8192 * MIB
    disk_bytes: int = 65536 * MIB
    gpus: tuple[Gpu, ...] = ()
    engine_up: bool = True
    known_images: set[ImageId] = field(default_factory=set[ImageId])
    outcomes: dict[ExecutionId, RunOutcome] = field(default_factory=dict[ExecutionId, RunOutcome])
    runs: list[RunRequest] = field(default_factory=list[RunRequest])
    _running: dict[ExecutionId, _Running] = field(default_factory=dict[ExecutionId, _Running])
    _adopted: set[ExecutionId] = field(default_factory=set[ExecutionId])

    def restart(self) -> None:
        """Forget what only a process knows."""
        self._adopted.clear()

    def objection(self) -> str:
        return "" if self.engine_up else "the fake engine is down"

    async def ready(self) -> None:
        await trio.lowlevel.checkpoint()
        if not self.engine_up:
            await trio.sleep_forever()

    async def holds(self, image: ImageId) -> bool:
        await trio.lowlevel.checkpoint()
        self._need_engine()
        return image in self.known_images

    async def capacity(self) -> Capacity:
        self._need_engine()
        return Capacity(self.cpu_millis, self.memory_bytes, self.disk_bytes, self.gpus)

    async def prepare(
        self, image: ImageRef, *, archive: Path | None, progress: Callable[[ImageProgress], None]
    ) -> PreparedImage:
        await trio.lowlevel.checkpoint()
        self._need_engine()
        if isinstance(image, ArchivedImage):
            if image.image_id not in self.known_images and archive is None:
                raise ImageRejected(f"the image {image} needs its archive, and none is given")
            local = image.image_id
        else:
            local = ImageId(image.digest)
        progress(ImageProgress("loading the image", 1, 1))
        self.known_images.add(local)
        return PreparedImage(local, 1, None)

    async def stage(self, request: RunRequest) -> None:
        await trio.lowlevel.checkpoint()
        self._need_engine()
        if request.image not in self.known_images:
            raise Unavailable(f"the image {request.image} has not been prepared on this node")

    async def run(self, request: RunRequest, *, started: Callable[[str], None]) -> RunOutcome:
        await trio.lowlevel.checkpoint()
        execution = request.execution_id
        if execution in self._running:
            raise InvariantViolated(f"execution {execution} is already being run")
        if execution in self.outcomes:
            return self.outcomes[execution]
        if not self.engine_up:
            return _lost(execution, End.ENGINE_LOST, "the engine is down")
        if request.image not in self.known_images:
            return _lost(execution, End.START_FAILED, f"the image {request.image} has not been prepared on this node")
        self.runs.append(request)
        started(f"fake-{execution}")
        outcome = await self._played(request)
        self.outcomes[execution] = outcome
        self._adopted.add(execution)
        return outcome

    async def adopt(self, execution_id: ExecutionId) -> RunOutcome | None:
        await trio.lowlevel.checkpoint()
        if execution_id in self._running or execution_id in self._adopted:
            raise InvariantViolated(f"execution {execution_id} already belongs to this process")
        return self.outcomes.get(execution_id)

    def leave(self) -> None:
        """Plays end with their process; only `outcomes` outlive it."""

    async def cancel(self, execution_id: ExecutionId) -> None:
        await trio.lowlevel.checkpoint()
        if running := self._running.get(execution_id):
            running.cancelled = True
            running.scope.cancel()

    async def logs(self, execution_id: ExecutionId, tail_bytes: int) -> bytes:
        await trio.lowlevel.checkpoint()
        outcome = self.outcomes.get(execution_id)
        printed = outcome.stdout_tail + outcome.stderr_tail if outcome else b""
        return printed[-tail_bytes:] if tail_bytes > 0 else b""

    async def release(self, execution_id: ExecutionId) -> None:
        await trio.lowlevel.checkpoint()
        self._adopted.discard(execution_id)
        outcome = self.outcomes.pop(execution_id, None)
        if outcome is not None and outcome.outputs is not None:
            shutil.rmtree(outcome.outputs)

    async def sweep(self, keep: set[ExecutionId]) -> list[str]:
        orphans = sorted(set(self.outcomes) - keep - self._adopted)
        for execution in orphans:
            await self.release(execution)
        return [f"container of execution {execution}" for execution in orphans]

    async def warm(self, slots: int) -> None:
        await trio.lowlevel.checkpoint()
        self._need_engine()

    async def _played(self, request: RunRequest) -> RunOutcome:
        began = trio.current_time()
        played: Played | None = None
        running = _Running(request, trio.CancelScope(deadline=began + request.timeout_s))
        self._running[request.execution_id] = running
        with running.scope:
            try:
                played = await self.play(request)
            finally:
                del self._running[request.execution_id]
        outputs = self.state / "outputs" / request.execution_id
        outputs.mkdir(parents=True)
        if played is None:
            played = Played(end=End.CANCELLED if running.cancelled else End.TIMEOUT)
        for name, content in played.files:
            (outputs / name).parent.mkdir(parents=True, exist_ok=True)
            (outputs / name).write_bytes(content)
        for name, target in played.links:
            (outputs / name).parent.mkdir(parents=True, exist_ok=True)
            (outputs / name).symlink_to(target)
        return RunOutcome(
            execution_id=request.execution_id,
            end=played.end,
            exit_code=played.exit_code if played.end in (End.EXITED, End.OOM) else None,
            detail=played.end.value,
            stdout_tail=played.stdout,
            stderr_tail=played.stderr,
            log=None,
            outputs=outputs,
            usage=Usage(trio.current_time() - began, 0, 0),
            started_at=began,
            finished_at=trio.current_time(),
        )

    def _need_engine(self) -> None:
        if not self.engine_up:
            raise Unavailable("the fake engine is down")


def _lost(execution: ExecutionId, end: End, detail: str) -> RunOutcome:
    return RunOutcome(execution, end, None, detail, b"", b"", None, None, Usage(0.0, None, None), None, None)
