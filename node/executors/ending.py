"""Whose failure an ended container is: one pure decision, since money depends on it (PROTOCOL §5)."""

from dataclasses import dataclass

from capanode.node.executors.port import End


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about a container that has ended.

    `stopped` is set when we ended it ourselves. `holder_alive` is False when the slot's network
    holder, started before the job, went away too: then the engine or the machine went down.
    """

    exit_code: int
    oom_killed: bool
    engine_error: str
    stopped: End | None
    killed_by_someone: bool
    paused_by_someone: bool
    holder_alive: bool
    disk_sound: bool
    overran: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """How it ended and the sentence that says so."""

    end: End
    exit_code: int | None
    detail: str


def judge(seen: Evidence) -> Judgement:
    """Decide how a container ended; what cannot be told apart counts as the provider's failure."""
    if seen.stopped is End.CANCELLED:
        return Judgement(End.CANCELLED, None, "the job was cancelled")
    if not seen.disk_sound:
        return Judgement(End.DISK_FAILED, None, "the disk below the output file system failed; check the host's disk")
    if seen.paused_by_someone and (seen.stopped is End.TIMEOUT or seen.overran):
        return Judgement(End.KILLED, None, "someone on this machine paused the job's container until its time was over")
    if seen.stopped is not None:
        return Judgement(seen.stopped, None, f"the job was stopped: {seen.stopped.value}")
    if not seen.holder_alive:
        return Judgement(End.ENGINE_LOST, None, "the engine or the machine went down while the job ran")
    if seen.exit_code and seen.engine_error:
        return Judgement(End.START_FAILED, None, f"the engine could not run the program: {seen.engine_error}")
    if seen.oom_killed and seen.exit_code:
        return Judgement(End.OOM, seen.exit_code, "the program needed more memory than the job allows")
    if seen.overran:
        return Judgement(End.TIMEOUT, None, "the program ran longer than the job allows")
    if seen.killed_by_someone:
        return Judgement(End.KILLED, None, "someone on this machine stopped the job's container")
    return Judgement(End.EXITED, seen.exit_code, f"the program ended with code {seen.exit_code}")
