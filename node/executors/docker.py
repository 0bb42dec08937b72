"""The Docker executor: runs jobs in hardened containers and survives its own and the engine's restarts.

The critical path of a run is create, start, wait, examine. Removal, unmounting and refilling happen
behind the caller's back. A container stays until `release`, so that an outcome which was not
written down in time can be read again by `adopt`.
"""

import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum, unique
from hashlib import sha256
from pathlib import Path
from typing import Final

import structlog
import trio

from capanode.node.executors.asking import Threads
from capanode.node.executors.container import container_name, erase
from capanode.node.executors.disks import Disks, OutputPool
from capanode.node.executors.docker_engine import (
    ContainerState,
    Engine,
    EngineDown,
    EngineFacts,
    EngineRefused,
    NoSuchThing,
)
from capanode.node.executors.following import Follower
from capanode.node.executors.jobs import Job, RunEnded, outcome_without_container
from capanode.node.executors.leftovers import holders_of, occupied_slots, outputs_of, sweep_files, sweep_holders
from capanode.node.executors.nvidia import nvidia_gpus
from capanode.node.executors.outputs import missing_tools
from capanode.node.executors.port import (
    Capacity,
    End,
    ExecutionId,
    Gpu,
    ImageGone,
    ImageProgress,
    PreparedImage,
    RunOutcome,
    RunRequest,
)
from capanode.node.executors.preparing import FitImage, find_image, prepare_image
from capanode.node.executors.pulse import Pulse
from capanode.node.executors.sandbox import EXECUTION_LABEL, NODE_LABEL, OUTPUTS_LABEL, GpuWay
from capanode.node.executors.slots import Slots
from capanode.node.executors.staging import Berths
from capanode.node.executors.volumes import Volumes
from capanode.node.images.archive import ImageLimits
from capanode.node.images.reference import ImageId, ImageRef, ImageRejected
from capanode.protocol.faults import Fault, InvariantViolated, Misconfigured, Unavailable
from capanode.protocol.ids import PeerId

_NODE_NAME: Final = re.compile(r"[a-z0-9]{1,32}")
_PULL_S: Final = 3600.0
_CLEAN_UP_S: Final = 60.0
_ASK_AGAIN_S: Final = 0.5

log = structlog.get_logger()


@unique
class OutputWay(Enum):
    """Where jobs write: a file system of their own on disk (needs root), or the engine's memory."""

    DISK = "disk"
    MEMORY = "memory"


def output_way() -> OutputWay:
    """The better way that this process is able to use; `doctor` tells when it is not DISK."""
    return OutputWay.DISK if os.geteuid() == 0 and not missing_tools() else OutputWay.MEMORY


@dataclass(frozen=True, slots=True)
class DockerSettings:
    """What an operator may choose; `node` is a short name of [a-z0-9], unique per data folder.

    `state` must lie on a real disk and be visible to the engine under the same path.
    """

    node: str
    state: Path
    address: str | None = None
    image_limits: ImageLimits = field(default_factory=ImageLimits)
    gpu_way: GpuWay = GpuWay.DEVICE_REQUEST
    outputs: OutputWay = field(default_factory=output_way)
    reconnect_s: float = 30.0
    patience_s: float = 0.0
    """How long the start waits for an engine that does not answer yet."""


def executor_name(peer: PeerId) -> str:
    """A name for the engine's labels: unique per node, lower case, short."""
    return sha256(peer.encode()).hexdigest()[:16]


async def run_docker_executor(
    settings: DockerSettings, *, task_status: trio.TaskStatus["DockerExecutor"] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve a `DockerExecutor` until cancelled.

    Raises EngineDown when no engine answers in time and Misconfigured when the settings cannot be used.
    """
    if not _NODE_NAME.fullmatch(settings.node):
        raise Misconfigured(f"the executor's node name {settings.node!r} must be 1 to 32 of a-z and 0-9")
    for folder in ("outputs", "logs", "images"):
        (settings.state / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
    threads = Threads()
    engine, facts = await _reached(settings, threads)
    executor: DockerExecutor | None = None
    try:
        async with trio.open_nursery() as background:
            executor = DockerExecutor(settings, engine, facts, threads, background)
            background.start_soon(executor.pulse.run)
            task_status.started(executor)
            await trio.sleep_forever()
    finally:
        # After the background's own clean-up, which may still have been using slots.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLEAN_UP_S):
            if executor is not None:
                await executor.put_away()
        engine.close()


async def _reached(settings: DockerSettings, threads: Threads) -> tuple[Engine, EngineFacts]:
    """The engine once it answers: after a boot it may be later than this node."""
    give_up_at = trio.current_time() + settings.patience_s
    told = False
    while True:
        try:
            return await threads.ask(_open, settings.address)
        except EngineDown as down:
            if trio.current_time() >= give_up_at:
                raise
            if not told:
                log.warning("engine-awaited", at_most_s=settings.patience_s, reason=str(down))
                told = True
            await trio.sleep(_ASK_AGAIN_S)


def _open(address: str | None) -> tuple[Engine, EngineFacts]:
    engine = Engine(address)
    try:
        return engine, engine.facts()
    except BaseException:
        engine.close()
        raise


class DockerExecutor:
    """`capanode.node.executors.port.Executor` on a Docker engine; made by `run_docker_executor`."""

    def __init__(
        self,
        settings: DockerSettings,
        engine: Engine,
        facts: EngineFacts,
        threads: Threads,
        background: trio.Nursery,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._facts = facts
        self._threads = threads
        self._background = background
        self.pulse = Pulse(engine, threads)
        slots = Slots(engine, threads, settings.node, settings.state / "images")
        outputs = _output_pool(settings, engine, threads)
        self._berths = Berths(engine, threads, settings.node, facts.cgroup_driver, settings.gpu_way, slots, outputs)
        self._follower = Follower(engine, threads, outputs, settings.reconnect_s)
        self._jobs: dict[ExecutionId, Job] = {}
        self._staging: dict[ExecutionId, trio.Lock] = {}
        self._leaving = False
        self._images: dict[ImageId, FitImage] = {}
        self._gpus: dict[str, Gpu] = {}

    def objection(self) -> str:
        return self.pulse.objection

    async def ready(self) -> None:
        await self.pulse.ready()

    async def capacity(self) -> Capacity:
        facts = await self._threads.ask(self._engine.facts)
        free = os.statvfs(self._settings.state)
        await self._take_inventory()
        gpus = tuple(self._gpus.values())
        return Capacity(facts.cpus * 1000, facts.memory_bytes, free.f_bavail * free.f_frsize, gpus)

    async def prepare(
        self, image: ImageRef, *, archive: Path | None, progress: Callable[[ImageProgress], None]
    ) -> PreparedImage:
        token = trio.lowlevel.current_trio_token()

        def report(step: ImageProgress) -> None:
            token.run_sync_soon(progress, step)

        limits = self._settings.image_limits
        with trio.move_on_after(_PULL_S):
            fit = await self._threads.follow(prepare_image, self._engine, image, archive, report, limits)
            self._images[fit.image.image_id] = fit
            return fit.image
        raise Unavailable(f"the image {image} could not be fetched within {_PULL_S:.0f} s; try again")

    async def holds(self, image: ImageId) -> bool:
        try:
            await self._threads.ask(find_image, self._engine, image, self._settings.image_limits)
        except (NoSuchThing, ImageRejected):
            self._images.pop(image, None)
            return False
        return True

    async def stage(self, request: RunRequest) -> None:
        try:
            await self._staged(request)
        except RunEnded as ended:
            raise Unavailable(str(ended)) from ended
        except NoSuchThing as missing:
            raise await self._image_gone(request.image, missing) from missing
        except EngineRefused as refused:
            raise Unavailable(str(refused)) from refused

    async def run(self, request: RunRequest, *, started: Callable[[str], None]) -> RunOutcome:
        async def whole() -> RunOutcome:
            try:
                job = await self._staged(request)
            except NoSuchThing as missing:
                raise await self._image_gone(request.image, missing) from missing
            self._attend(job)
            if job.began_at is None:
                await self._start(job, request, started)
            return await self._see_through(job)

        return await self._guarded(request.execution_id, whole, is_check=request.is_check)

    async def adopt(self, execution_id: ExecutionId) -> RunOutcome | None:
        if execution_id in self._jobs:
            raise InvariantViolated(f"execution {execution_id} already belongs to this process")
        found = await self._threads.ask(self._find, execution_id)
        if found is None or found.never_started:
            await self.release(execution_id)
            return None
        state = found

        async def rest() -> RunOutcome:
            job = await self._berths.find_again(execution_id, state)
            self._jobs[execution_id] = job
            self._attend(job)
            return await self._see_through(job)

        return await self._guarded(execution_id, rest)

    def leave(self) -> None:
        self._leaving = True

    async def cancel(self, execution_id: ExecutionId) -> None:
        job = self._jobs.get(execution_id)
        if job is None or not job.attended:
            return
        job.stopped = job.stopped or End.CANCELLED
        try:
            await self._threads.ask(self._engine.kill, job.container)
        except EngineDown:
            return  # whoever waits for the job kills it once the engine answers again

    async def logs(self, execution_id: ExecutionId, tail_bytes: int) -> bytes:
        try:
            stdout, stderr = await self._threads.ask(self._engine.output, self._name(execution_id))
        except NoSuchThing:
            return b""
        return (stdout + stderr)[-tail_bytes:] if tail_bytes > 0 else b""

    async def release(self, execution_id: ExecutionId) -> None:
        job = self._jobs.get(execution_id)
        name = self._name(execution_id)
        parent = self._berths.cgroup_parent(execution_id)
        try:
            outputs = [job.disk.name] if job else await self._threads.ask(outputs_of, self._engine, name)
            await self._threads.ask(erase, self._engine, name, parent, self._logs(execution_id))
        except EngineRefused as refused:
            raise Unavailable(f"{name} cannot be removed: {refused}") from refused
        for disk in outputs:
            await self._berths.disks.give_back(disk)
        if job is not None:
            self._berths.vacate(job)
            self._jobs.pop(execution_id, None)

    async def sweep(self, keep: set[ExecutionId]) -> list[str]:
        node, kept = self._settings.node, keep | set(self._jobs)
        rows = await self._threads.ask(self._engine.labelled, {NODE_LABEL: node})
        jobs = [(ExecutionId(labels[EXECUTION_LABEL]), labels) for _, labels in rows if EXECUTION_LABEL in labels]
        orphans = {execution for execution, _ in jobs} - kept
        for execution in orphans:
            await self.release(execution)
        kept_disks = {labels.get(OUTPUTS_LABEL, "") for execution, labels in jobs if execution in kept}
        theirs = [container for container, labels in rows if labels.get(EXECUTION_LABEL) in kept]
        known = self._berths.slots.holders() | await self._threads.ask(holders_of, self._engine, theirs)
        return [
            *(f"container of execution {execution}" for execution in sorted(orphans)),
            *await self._threads.ask(sweep_holders, self._engine, node, known, self._berths.slots.being_made()),
            *(f"output file system {name}" for name in await self._berths.disks.sweep(kept_disks)),
            *await self._threads.ask(sweep_files, self._settings.state, node, frozenset(kept)),
        ]

    async def warm(self, slots: int) -> None:
        busy = await self._threads.ask(occupied_slots, self._engine, self._settings.node)
        await self._berths.slots.warm(slots, busy)
        await self._berths.disks.warm(slots)

    def known(self) -> frozenset[ExecutionId]:
        """Executions that are staged, running, or ended and not yet released."""
        return frozenset(self._jobs)

    async def put_away(self) -> None:
        """Remove what no job uses, as the service does when it stops; jobs and their outputs stay."""
        await self._berths.disks.empty()
        try:
            await self._berths.slots.close()
        except (EngineRefused, Unavailable):
            return  # the engine is gone: the next start adopts or sweeps its holders

    async def _staged(self, request: RunRequest) -> Job:
        execution = request.execution_id
        async with self._staging.setdefault(execution, trio.Lock()):
            if execution not in self._jobs:
                self._jobs[execution] = await self._berths.give(request, await self._fit(request.image))
        self._staging.pop(execution, None)
        return self._jobs[execution]

    async def _fit(self, image: ImageId) -> FitImage:
        if image not in self._images:
            try:
                fit = await self._threads.ask(find_image, self._engine, image, self._settings.image_limits)
            except NoSuchThing:
                raise RunEnded(End.START_FAILED, f"the image {image} has not been prepared on this node") from None
            except ImageRejected as rejected:
                raise RunEnded(End.START_FAILED, rejected) from rejected
            self._images[image] = fit
        return self._images[image]

    async def _start(self, job: Job, request: RunRequest, started: Callable[[str], None]) -> None:
        if job.gpu_uuids and not self._gpus:
            await self._take_inventory()
        try:
            await self._start_in_slot(job, request, started)
        except EngineRefused as refused:
            raise RunEnded(End.START_FAILED, refused) from refused

    async def _start_in_slot(self, job: Job, request: RunRequest, started: Callable[[str], None]) -> None:
        try:
            await self._follower.start(job, self._gpus, started)
        except EngineRefused:
            if await self._threads.ask(self._berths.holder_runs, job.slot):
                raise
            await self._berths.move(job, request, await self._fit(request.image))
            await self._follower.start(job, self._gpus, started)

    async def _see_through(self, job: Job) -> RunOutcome:
        outcome = await self._follower.see_through(job, self._logs(job.execution))
        job.attended = False
        self._berths.vacate(job)
        self._background.start_soon(self._refill)
        return outcome

    async def _refill(self) -> None:
        try:
            await self._berths.disks.refill()
        except Unavailable:
            return  # no room for spares: the next job makes its own or says so

    def _attend(self, job: Job) -> None:
        if job.attended:
            raise InvariantViolated(f"execution {job.execution} is already being run")
        job.attended = True

    async def _guarded(
        self, execution: ExecutionId, whole: Callable[[], Awaitable[RunOutcome]], *, is_check: bool = False
    ) -> RunOutcome:
        try:
            return await whole()
        except RunEnded as ended:
            self._background.start_soon(self._release_quietly, execution)
            return outcome_without_container(execution, ended.end, str(ended))
        except EngineRefused as refused:
            self._background.start_soon(self._release_quietly, execution)
            return outcome_without_container(execution, End.ENGINE_LOST, str(refused))
        except Unavailable as away:
            # Nothing is known of the job until the engine answers; whoever asks then finds it by its labels.
            self._let_go(execution)
            if isinstance(away, EngineDown):
                self.pulse.miss(away)
            raise
        except InvariantViolated:
            raise
        except BaseException:
            # A stop cancels everything in one batch; whoever says `leave` has said so after it.
            await trio.lowlevel.cancel_shielded_checkpoint()
            if is_check or not self._leaving:
                # What checks somebody else's work is begun anew: nobody would adopt it.
                await self._release_quietly(execution)
            raise

    def _let_go(self, execution: ExecutionId) -> None:
        """Forget a job as a restart of this process would."""
        job = self._jobs.pop(execution, None)
        if job is not None:
            self._berths.vacate(job)

    async def _image_gone(self, image: ImageId, missing: NoSuchThing) -> Fault:
        """What the engine's "no such thing" meant, when a container was to be made."""
        known = self._images.pop(image, None)
        if await self.holds(image):
            if known is not None and (await self._fit(image)).name != known.name:
                return Unavailable(f"the image {image} has lost its name on this machine; it is run by its id")
            return EngineRefused(str(missing), missing.status)
        return ImageGone(f"the image {image} was removed from this machine by someone; it is brought here again")

    async def _release_quietly(self, execution: ExecutionId) -> None:
        """Release whatever happens to this task; a stop of the service waits for it."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLEAN_UP_S):
            try:
                await self.release(execution)
            except (EngineRefused, Unavailable):
                return  # the engine is gone or busy: the next sweep removes what is left

    async def _take_inventory(self) -> None:
        found = await self._threads.ask(nvidia_gpus) if self._facts.is_docker else ()
        self._gpus = {gpu.uuid: gpu for gpu in found}

    def _find(self, execution: ExecutionId) -> ContainerState | None:
        try:
            return self._engine.inspect(self._name(execution))
        except NoSuchThing:
            return None

    def _name(self, execution: ExecutionId) -> str:
        return container_name(self._settings.node, execution)

    def _logs(self, execution: ExecutionId) -> Path:
        return self._settings.state / "logs" / execution


def _output_pool(settings: DockerSettings, engine: Engine, threads: Threads) -> OutputPool:
    match settings.outputs:
        case OutputWay.DISK:
            return Disks(threads, settings.state / "outputs")
        case OutputWay.MEMORY:
            return Volumes(engine, threads, settings.node, settings.state)
