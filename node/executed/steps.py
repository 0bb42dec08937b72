"""Computing one step: the container that makes one state of another, and the leaf that says what came of it.

A step is a function of the spec, its number and the state that it begins with. Nothing else reaches it: each step
has a container and a file system of its own, filled from the canonical tree, so neither times nor owners nor what was
left in memory pass from one to the next. A single-shot job is one step without a state: it begins with an empty /out.

**Source**: docs/protocol.md §3, "Steps".
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import structlog

from capanode.node.executors.hardware import determinism_env
from capanode.node.executors.port import End, ExecutionId, Executor, RunOutcome, RunRequest, State
from capanode.node.images.reference import ImageId
from capanode.node.storage.tree_walk import Unfit, content_of, walk
from capanode.proofs.step import STEP_VARIABLE, STEPS_VARIABLE, is_last
from capanode.proofs.trace import Leaf
from capanode.proofs.tree import Bounds, Entry, tree_root
from capanode.protocol.faults import InvariantViolated, Unavailable
from capanode.protocol.ids import ZERO_DIGEST, Digest
from capanode.protocol.records import Spec, VerificationClass

PIDS: Final = 1024
"""Processes and threads of one job; no term of a deal, the same everywhere."""

UNFIT_STATUS: Final = 125
OOM_STATUS: Final = 137
TIMEOUT_STATUS: Final = 124

STDOUT_BYTES: Final = 65_536
"""So much of the end of standard output is part of a leaf, where the spec declares it deterministic."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be computed: one step of a job, or the whole of a single-shot one.

    `index` counts the steps of the whole job from zero; the trace ends before `end`, first step plus step limit.
    `state` is what the step begins with: `EMPTY` for the first one of a job, None for a single-shot job.
    """

    spec: Spec
    index: int
    end: int
    state: State | None

    @property
    def disk_bytes(self) -> int:
        """What the program may leave at most."""
        return self.spec.resources.disk_bytes if self.spec.steps is None else self.spec.steps.state_bytes

    @property
    def timeout_s(self) -> int:
        """How long it may run."""
        return self.spec.resources.timeout_s if self.spec.steps is None else self.spec.steps.timeout_s


@dataclass(frozen=True, slots=True)
class Computed:
    """What came of a step: its leaf, the state that the leaf names, and how the program ended, in a word for people.

    The bytes of the state lie in `outcome.outputs` until the execution is released, or where those of the state before
    lie when the step left none of its own.
    """

    leaf: Leaf
    state: State
    ended: str
    outcome: RunOutcome


class StepLost(Unavailable):
    """This machine failed, not the program: nothing can be said about the step."""

    def __init__(self, outcome: RunOutcome) -> None:
        super().__init__(f"the step could not be computed here ({outcome.end.value}): {outcome.detail}")
        self.outcome = outcome


def _nothing(entry: Entry) -> BinaryIO:
    raise InvariantViolated(f"an empty state has no {entry.path!r}")


EMPTY: Final = State((), _nothing)
"""What the first step of a job begins with."""


async def run_step(
    executor: Executor,
    step: Step,
    execution: ExecutionId,
    image: ImageId,
    inputs: tuple[tuple[str, Path], ...],
    gpu_uuids: tuple[str, ...] = (),
) -> Computed:
    """Compute a step in a container of its own; the execution is the caller's to release.

    Cancelling the call kills the container.

    Raises:
        StepLost: the engine, the disk or a device failed.
        Unavailable: the engine is away, the image is gone, or the disk cannot be read.
        BadContent: the bytes of the step's state are not those of its entries.
    """
    request = request_of(step, execution, image, inputs, gpu_uuids)
    return await computed(step, await executor.run(request, started=lambda _: None))


async def computed(step: Step, outcome: RunOutcome) -> Computed:
    """What an execution of the step that has ended came to; errors as `run_step`."""
    if not outcome.payable:
        raise StepLost(outcome)
    match await _left(step, outcome):
        case Unfit(problems=problems):
            log.info("outputs-unfit", execution=outcome.execution_id, problems=problems[:3])
            status, ended, state = UNFIT_STATUS, "outputs are no tree", step.state or EMPTY
        case state:
            status, ended = _status(outcome), outcome.end.value
    stdout = _stdout_root(step.spec, outcome)
    done = step.state is None or is_last(state.entries, status, step.index, step.end)
    leaf = Leaf(step.index + 1, tree_root(state.entries), status, stdout, done)
    return Computed(leaf, state, ended, outcome)


def request_of(
    step: Step,
    execution: ExecutionId,
    image: ImageId,
    inputs: tuple[tuple[str, Path], ...],
    gpu_uuids: tuple[str, ...] = (),
) -> RunRequest:
    """The container that computes a step."""
    need = step.spec.resources
    return RunRequest(
        execution_id=execution,
        image=image,
        argv=step.spec.argv,
        env=job_env(step.spec, step.index),
        cpu_millis=need.cpu_millis,
        memory_bytes=need.memory_bytes,
        disk_bytes=step.disk_bytes,
        pids=PIDS,
        timeout_s=step.timeout_s,
        inputs=inputs,
        gpu_uuids=gpu_uuids,
        state=step.state,
    )


def job_env(spec: Spec, index: int) -> tuple[tuple[str, str], ...]:
    """The environment of the program: the pins that make results repeatable, the spec's, the step's number."""
    pinned = spec.verification is not VerificationClass.NONE
    pins = determinism_env() if pinned else ()
    env = {**dict(pins), **dict(spec.env)}
    if spec.steps is not None:
        env |= {STEP_VARIABLE: str(index), STEPS_VARIABLE: str(spec.steps.limit)}
    return tuple(sorted(env.items()))


async def _left(step: Step, outcome: RunOutcome) -> State | Unfit:
    if step.state is not None and outcome.end is not End.EXITED:
        # What a program that was cut off had written depends on when that was.
        return step.state
    if outcome.outputs is None:
        return EMPTY
    found = await walk(outcome.outputs, Bounds(content_bytes=step.disk_bytes))
    return found if isinstance(found, Unfit) else State(found.entries, content_of(outcome.outputs))


def _status(outcome: RunOutcome) -> int:
    match outcome.end:
        case End.OOM:
            return OOM_STATUS
        case End.TIMEOUT:
            return TIMEOUT_STATUS
        case _:
            return (outcome.exit_code or 0) & 0xFF


def _stdout_root(spec: Spec, outcome: RunOutcome) -> Digest:
    """sha256 of the end of standard output, where the spec declares it deterministic."""
    if not spec.deterministic_stdout:
        return ZERO_DIGEST
    return Digest(hashlib.sha256(outcome.stdout_tail[-STDOUT_BYTES:]).digest())
