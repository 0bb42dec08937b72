"""Seeing a job through: start it, wait for its end whatever the engine does meanwhile, judge it."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog
import trio

from capanode.node.executors.asking import Threads
from capanode.node.executors.container import Findings, examine, holder_runs
from capanode.node.executors.disks import OutputPool
from capanode.node.executors.docker_engine import (
    ContainerState,
    Engine,
    EngineDown,
    EngineRefused,
    NoSuchThing,
    StillRunning,
)
from capanode.node.executors.ending import Evidence, judge
from capanode.node.executors.jobs import Job, RunEnded, outcome_of
from capanode.node.executors.nvidia import missing_devices
from capanode.node.executors.port import End, Gpu, RunOutcome
from capanode.node.fault_points import durable

_WAIT_SLICE_S: Final = 5.0
"""How long a job that someone has paused may stand still unnoticed."""

_KILL_S: Final = 30.0
_ASK_AGAIN_S: Final = 0.5
_SETTLE_S: Final = 0.25
_TOLD_S: Final = 0.25
"""How long after a container's end the engine may still be telling of it."""

log = structlog.get_logger()


class Follower:
    """Waits for containers; `reconnect_s` is how long an engine may be away before a job counts as lost."""

    def __init__(self, engine: Engine, threads: Threads, outputs: OutputPool, reconnect_s: float) -> None:
        self._engine = engine
        self._threads = threads
        self._outputs = outputs
        self._reconnect_s = reconnect_s

    async def start(self, job: Job, gpus: Mapping[str, Gpu], started: Callable[[str], None]) -> None:
        """Start the created container; raises RunEnded when a GPU it was promised is not in it."""
        with durable("container.start"):
            await self._threads.ask(self._engine.start, job.container)
        job.began_at = time.time()
        job.ends_by = trio.current_time() + job.timeout_s
        if job.gpu_uuids:
            await self._verify_gpus(job, gpus)
        started(job.container)

    async def see_through(self, job: Job, logs: Path) -> RunOutcome:
        """Wait for the job's end, at most for what is left of its timeout; raises RunEnded.

        An engine that goes away meanwhile is waited for, for a while; then EngineDown.
        """
        while True:
            try:
                return await self._outcome(job, logs)
            except EngineDown as down:
                await self._engine_back(job, down)

    async def _outcome(self, job: Job, logs: Path) -> RunOutcome:
        if not job.ended:
            await self._watch(job)
        found = await self._examined(job, logs)
        await self._outputs.collect(job.disk)
        judged = judge(await self._evidence(job, found))
        return outcome_of(job, found, judged, logs)

    async def _watch(self, job: Job) -> None:
        with trio.CancelScope(deadline=job.ends_by):
            await self._until_ended(job)
            return
        job.stopped = job.stopped or End.TIMEOUT
        with trio.move_on_after(_KILL_S):
            await self._until_ended(job)
            return
        raise RunEnded(End.ENGINE_LOST, f"the engine could not stop the job within {_KILL_S:.0f} s")

    async def _until_ended(self, job: Job) -> None:
        while True:
            if job.stopped is not None:
                await self._threads.ask(self._engine.kill, job.container)
            try:
                await self._threads.follow(self._engine.wait, job.container, _WAIT_SLICE_S)
                return
            except StillRunning:
                await self._unpaused(job)
            except NoSuchThing:
                raise RunEnded(End.KILLED, "someone on this machine removed the job's container") from None

    async def _unpaused(self, job: Job) -> None:
        """Let a job go on that someone has paused; its outcome says so if that cost it its time."""
        with suppress(NoSuchThing):  # the next wait tells
            if (await self._threads.ask(self._engine.inspect, job.container)).paused:
                log.warning("container-paused-by-someone", execution=job.execution, done="it goes on")
                await self._threads.ask(self._engine.unpause, job.container)

    async def _engine_back(self, job: Job, down: EngineDown) -> None:
        with trio.move_on_after(self._reconnect_s):
            while True:
                try:
                    await self._threads.follow(self._engine.ping)
                    state = await self._threads.follow(self._engine.inspect, job.container)
                    # Whether it ended in its time, the engine's own times tell now.
                    job.ended = not state.running
                    return
                except EngineDown:
                    await trio.sleep(_ASK_AGAIN_S)
                except NoSuchThing:
                    raise RunEnded(End.ENGINE_LOST, "the engine came back without the job's container") from None
        raise down

    async def _examined(self, job: Job, logs: Path) -> Findings:
        try:
            return await self._threads.ask(examine, self._engine, job.container, job.slot.holder, logs)
        except EngineRefused:  # it is gone, or about to be
            raise RunEnded(End.KILLED, "someone on this machine removed the job's container") from None

    async def _evidence(self, job: Job, found: Findings) -> Evidence:
        state = found.state
        holder_alive = found.holder_alive
        if state.exit_code and job.stopped is None:
            # An engine that shuts down ends all containers at about the same moment.
            await trio.sleep(_SETTLE_S)
            holder_alive = await self._threads.ask(holder_runs, self._engine, job.slot.holder)
        touched = await self._threads.ask(self._engine.touched_by_someone, state.id, _heard_by(state, time.time()))
        ran_s = (state.finished_at or 0.0) - (state.started_at or 0.0)
        return Evidence(
            exit_code=state.exit_code,
            oom_killed=state.oom_killed,
            engine_error=state.error,
            stopped=job.stopped,
            # Our own kill is an event as well; a program may end with 0 when it is asked to stop.
            killed_by_someone=job.stopped is None and "kill" in touched,
            paused_by_someone="pause" in touched,
            holder_alive=holder_alive,
            disk_sound=self._outputs.is_sound(job.disk),
            overran=job.ended and ran_s >= job.timeout_s,
        )

    async def _verify_gpus(self, job: Job, gpus: Mapping[str, Gpu]) -> None:
        state = await self._threads.ask(self._engine.inspect, job.container)
        minors = [gpus[uuid].minor for uuid in job.gpu_uuids if uuid in gpus]
        if state.gpu_uuids != job.gpu_uuids or len(minors) != len(job.gpu_uuids):
            raise RunEnded(End.GPU_MISSING, "the engine or the driver does not know the job's GPUs")
        missing = missing_devices(state.pid, minors) if state.running else None
        if missing:
            raise RunEnded(End.GPU_MISSING, f"the container lacks {', '.join(missing)}; check nvidia-container-toolkit")


def _heard_by(state: ContainerState, now: float) -> float:
    """A moment of the engine's clock at which it has told all about an ended container; our clock may be set.

    The engine notes a kill after the signal, so the end itself can come first.
    """
    if state.finished_at is None:
        return now
    told = state.finished_at + _TOLD_S
    return told if now < state.finished_at else min(now, told)
