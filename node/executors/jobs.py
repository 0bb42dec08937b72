"""A job that occupies a berth on this machine, and the outcome made of its end."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from capanode.node.executors.container import Findings
from capanode.node.executors.ending import Judgement
from capanode.node.executors.outputs import OutputDisk
from capanode.node.executors.port import End, ExecutionId, RunOutcome, Usage
from capanode.node.executors.slots import Slot

_TAIL_BYTES: Final = 65_536
"""So much of standard output a leaf is made of. Source: docs/protocol.md §3."""


@dataclass(slots=True)
class Job:
    """From the creation of its container until it is released.

    `began_at` (Unix seconds, for people) is set once the program was started, and `ends_by`, the moment on trio's clock
    at which its time is over; `ended` when it was found to have ended while nobody looked, `attended` while this
    process waits for its end, `stopped` when this process ends it early.
    """

    execution: ExecutionId
    container: str
    slot: Slot
    disk: OutputDisk
    cgroup_parent: str
    timeout_s: int
    gpu_uuids: tuple[str, ...]
    began_at: float | None = None
    ends_by: float = 0.0
    ended: bool = False
    attended: bool = False
    stopped: End | None = None


class RunEnded(Exception):
    """A run that ended without a container left to examine."""

    def __init__(self, end: End, detail: object) -> None:
        super().__init__(str(detail))
        self.end = end


def outcome_of(job: Job, found: Findings, judged: Judgement, logs: Path) -> RunOutcome:
    """The outcome of a container that has been examined and judged."""
    began, finished = found.state.started_at, found.state.finished_at
    if began is not None and finished is not None:
        began = min(began, finished)  # the engine notes the start late, after the end of the shortest programs
    wall_s = finished - began if began is not None and finished is not None else 0.0
    return RunOutcome(
        execution_id=job.execution,
        end=judged.end,
        exit_code=judged.exit_code,
        detail=judged.detail,
        stdout_tail=found.stdout[-_TAIL_BYTES:],
        stderr_tail=found.stderr[-_TAIL_BYTES:],
        log=logs,
        outputs=job.disk.path,
        usage=Usage(wall_s, found.used.cpu_ns, found.used.peak_memory_bytes),
        started_at=began,
        finished_at=finished,
    )


def outcome_without_container(execution: ExecutionId, end: End, detail: str) -> RunOutcome:
    """The outcome of a run that left nothing behind."""
    return RunOutcome(execution, end, None, detail, b"", b"", None, None, Usage(0.0, None, None), None, None)
