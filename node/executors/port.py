"""What the rest of the node knows about running a job; nothing of Docker shows here."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, unique
from pathlib import Path
from typing import Final, NewType, Protocol

from capanode.node.images.reference import ImageId, ImageRef
from capanode.node.storage.tree_walk import Content
from capanode.proofs.tree import Entry
from capanode.protocol.faults import Refused, Unavailable

ExecutionId = NewType("ExecutionId", str)
"""1 to 128 characters of lower-case hex: deal id, then the attempt."""

_EXECUTION_ID: Final = re.compile(r"[0-9a-f]{1,128}")
_INPUT_NAME: Final = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,128}")
_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_GPU_UUID: Final = re.compile(r"(?:GPU|MIG)-[A-Za-z0-9-]{1,64}")
_MIB: Final = 2**20
_MAX_ARGUMENT_BYTES: Final = 128 * 1024
_MAX_INPUTS: Final = 256

MIN_MEMORY_BYTES: Final = 16 * _MIB
MIN_DISK_BYTES: Final = _MIB
MIN_PIDS: Final = 4


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device of the inventory; `compute_capability` is (major, minor)."""

    uuid: str
    vendor: str
    model: str
    vram_bytes: int
    compute_capability: tuple[int, int]
    minor: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """What this machine has, before anything is reserved."""

    cpu_millis: int
    memory_bytes: int
    disk_bytes: int
    gpus: tuple[Gpu, ...]


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """An image that is on this machine, verified and fit to run.

    `gpu_objection` says why it may not be run with a GPU, None when it may.
    """

    image_id: ImageId
    size_bytes: int
    gpu_objection: str | None


class ImageGone(Unavailable):
    """A prepared image was removed from this machine by someone: prepare it again."""


@dataclass(frozen=True, slots=True)
class ImageProgress:
    """A step of preparing an image, for a progress bar; totals are 0 while unknown."""

    doing: str
    done_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class State:
    """A directory in canonical form, and where the bytes of its files and links are."""

    entries: tuple[Entry, ...]
    content: Content


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One job, ready to run; raises Refused when a field is outside what a sandbox can hold.

    `argv` follows the image's entrypoint; empty means the image's own command. `inputs` are
    (name, host path), seen read-only at /in/<name>. Outputs go to /out, which is empty at the start. With a `state`
    the one writable folder is /state instead: it holds the state at the start, and is the outputs at the end.
    `is_check` marks what is computed again to check somebody: it is the first to go when memory runs out.
    `cpus` are the processors that it may run on, such as `0,2`; empty for any.
    """

    execution_id: ExecutionId
    image: ImageId
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    cpu_millis: int
    memory_bytes: int
    disk_bytes: int
    pids: int
    timeout_s: int
    inputs: tuple[tuple[str, Path], ...] = ()
    gpu_uuids: tuple[str, ...] = ()
    state: State | None = None
    is_check: bool = False
    cpus: str = ""

    def __post_init__(self) -> None:
        if mistakes := _mistakes(self):
            raise Refused("this job cannot be put in a sandbox: " + "; ".join(mistakes))


@unique
class End(Enum):
    """How an execution ended; who pays for each is in docs/protocol.md, "Faults and payment"."""

    EXITED = "exited"
    OOM = "out of memory"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    START_FAILED = "start failed"
    ENGINE_LOST = "engine lost"
    KILLED = "killed from outside"
    GPU_MISSING = "gpu missing"
    DISK_FAILED = "disk failed"


_OF_THE_PROGRAM: Final = frozenset({End.EXITED, End.OOM, End.TIMEOUT})


@dataclass(frozen=True, slots=True)
class Usage:
    """Read from the job's own control group after its exit; None where the host does not tell."""

    wall_s: float
    cpu_ns: int | None
    peak_memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What became of a run. `outputs` stays until `release`; tails are the last bytes of each stream.

    `exit_code` is None unless the program itself ended (EXITED, and OOM when the kernel killed it).
    Times are Unix seconds as the engine gives them, None when the program never started.
    """

    execution_id: ExecutionId
    end: End
    exit_code: int | None
    detail: str
    stdout_tail: bytes
    stderr_tail: bytes
    log: Path | None
    outputs: Path | None
    usage: Usage
    started_at: float | None
    finished_at: float | None

    @property
    def payable(self) -> bool:
        """True when the requester's program ran its course, whatever came of it (PROTOCOL §5)."""
        return self.end in _OF_THE_PROGRAM


class Executor(Protocol):
    """Runs jobs in sandboxes; one per node, its slots used by one job each."""

    def objection(self) -> str:
        """Why no job can be run at the moment, in a sentence for the operator; empty while one can."""
        ...

    async def ready(self) -> None:
        """Return once there is no objection; at once while there is none."""
        ...

    async def capacity(self) -> Capacity:
        """Measure the machine; raises Unavailable when the engine does not answer."""
        ...

    async def prepare(
        self, image: ImageRef, *, archive: Path | None, progress: Callable[[ImageProgress], None]
    ) -> PreparedImage:
        """Bring an image onto this machine and check it; idempotent.

        `archive` is the local copy of an archived image and None for one of a registry. Raises
        ImageRejected for an image that must not run here and Unavailable when it cannot be had now.
        """
        ...

    async def holds(self, image: ImageId) -> bool:
        """Whether a prepared image is still on this machine; raises Unavailable."""
        ...

    async def stage(self, request: RunRequest) -> None:
        """Do everything of `run` that costs nothing to undo, ahead of the decision to run; optional.

        Idempotent. Undone by `release`. Raises Unavailable when the engine does not answer, or there is no room.
        """
        ...

    async def run(self, request: RunRequest, *, started: Callable[[str], None]) -> RunOutcome:
        """Run a job to its end; how it fails is an outcome, not an exception.

        `started` gets the container's id once the program runs. Cancelling the call kills the job
        and removes what it left. Raises Unavailable when the engine went away and did not come back soon, and
        `ImageGone`: the job, which may run on, is no longer this process's then, and `adopt` comes before a next `run`.
        """
        ...

    async def adopt(self, execution_id: ExecutionId) -> RunOutcome | None:
        """Take up a job that an earlier process of this node started, running or ended; None if none.

        Raises Unavailable as `run`.
        """
        ...

    def leave(self) -> None:
        """From now on, runs that are cancelled leave their containers to the next process, which adopts them.

        Not those that check somebody: they go, as nobody would adopt them.
        """
        ...

    async def cancel(self, execution_id: ExecutionId) -> None:
        """Make the `run` or `adopt` in progress end as CANCELLED; nothing happens when there is none."""
        ...

    async def logs(self, execution_id: ExecutionId, tail_bytes: int) -> bytes:
        """The last bytes that a job printed on both streams; empty when nothing is known of it."""
        ...

    async def release(self, execution_id: ExecutionId) -> None:
        """Throw away the outputs and whatever else is left of an execution; idempotent. Raises Unavailable."""
        ...

    async def sweep(self, keep: set[ExecutionId]) -> list[str]:
        """Remove what this node left behind except of executions in `keep`; names what went."""
        ...

    async def warm(self, slots: int) -> None:
        """Have network holders and output file systems for that many concurrent jobs ready."""
        ...


def execution_id(text: str) -> ExecutionId:
    """Check the form of an execution id; raises Refused."""
    if not _EXECUTION_ID.fullmatch(text):
        raise Refused(f"{text[:80]!r} is not an execution id; it must be 1 to 128 lower-case hex digits")
    return ExecutionId(text)


def _mistakes(request: RunRequest) -> list[str]:
    argument_bytes = sum(len(a) for a in request.argv) + sum(len(k) + len(v) for k, v in request.env)
    checks = (
        (bool(_EXECUTION_ID.fullmatch(request.execution_id)), "the execution id must be lower-case hex"),
        (request.cpu_millis >= 10, "a job needs at least 10 thousandths of a core"),
        (request.memory_bytes >= MIN_MEMORY_BYTES, "a job needs at least 16 MiB of memory"),
        (request.disk_bytes >= MIN_DISK_BYTES, "a job needs at least 1 MiB of disk"),
        (MIN_PIDS <= request.pids <= 2**16, "the process limit must lie between 4 and 65536"),
        (0 < request.timeout_s <= 30 * 86_400, "the timeout must lie between 1 s and 30 days"),
        (argument_bytes <= _MAX_ARGUMENT_BYTES, "command and environment exceed 128 KiB"),
        (not _has_nul(request), "command and environment must not hold NUL characters"),
        (all(_ENV_NAME.fullmatch(k) for k, _ in request.env), "a variable's name is not a C identifier"),
        (_distinct([k for k, _ in request.env]), "a variable is set twice"),
        (len(request.inputs) <= _MAX_INPUTS, f"a job takes at most {_MAX_INPUTS} inputs"),
        (
            all(_INPUT_NAME.fullmatch(n) for n, _ in request.inputs),
            "an input's name is not a plain file name",
        ),
        (_distinct([n for n, _ in request.inputs]), "two inputs share a name"),
        (all(p.is_absolute() for _, p in request.inputs), "an input's host path is not absolute"),
        (all(_GPU_UUID.fullmatch(u) for u in request.gpu_uuids), "a GPU is not named by its UUID"),
        (_distinct(list(request.gpu_uuids)), "a GPU is named twice"),
    )
    return [sentence for held, sentence in checks if not held]


def _has_nul(request: RunRequest) -> bool:
    return any("\0" in part for part in (*request.argv, *(v for _, v in request.env)))


def _distinct(names: list[str]) -> bool:
    return len(set(names)) == len(names)
