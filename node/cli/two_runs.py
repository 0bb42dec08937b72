"""A job run twice on this machine, in other slots, on other processors, at other times, and what differs."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, assert_never

import trio

from capanode.node.challenged.comparison import result_of
from capanode.node.cli.exits import Exit
from capanode.node.cli.local import local_image, local_request
from capanode.node.cli.output import emit, note, say
from capanode.node.data_folder import DataFolder, private_folder
from capanode.node.executed.steps import EMPTY
from capanode.node.executors.docker import DockerExecutor, DockerSettings, run_docker_executor
from capanode.node.executors.port import End, RunOutcome, RunRequest, State, execution_id
from capanode.node.jobfile.job_file import JobFile
from capanode.node.storage.tree_walk import Tree, Unfit, content_of, walk_here
from capanode.proofs.comparators.distance import Distance
from capanode.proofs.compare import Comparison, Result, compare
from capanode.proofs.formats.contents import MAX_FILE_BYTES
from capanode.proofs.step import STEP_VARIABLE, STEPS_VARIABLE, is_last
from capanode.proofs.suggestion import suggest
from capanode.protocol.comparator import Comparator, FileRule, amount
from capanode.protocol.faults import InvariantViolated, Refused, Unavailable
from capanode.protocol.records import Steps, VerificationClass

APART_S: Final = 1.1
"""Between the end of the first run and the second: a clock that shows seconds shows another one."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run: how it ended, and what it left, for as long as it is not released."""

    outcome: RunOutcome
    tree: Tree
    folder: Path


@dataclass(frozen=True, slots=True)
class Differing:
    """A file that came out differently, and the rule under which it would agree; the reason says why there is none."""

    path: str
    reason: str
    distance: Distance | None
    suggestion: FileRule | None


@dataclass(frozen=True, slots=True)
class Report:
    """What two runs say about a job; `stated_holds` is about the class in its file."""

    stated: VerificationClass
    stated_holds: bool
    found: VerificationClass
    exit_codes: tuple[int | None, ...]
    same_stdout: bool
    files: int
    differing: tuple[Differing, ...]
    steps: int | None = None
    """How many were run, of a job in steps."""

    step: int | None = None
    """The first one that came out differently; all above is about it, or about the last one where all were equal."""


def checked_twice(job: JobFile, image: str, base: Path, folder: DataFolder, *, as_json: bool) -> int:
    """Run a job twice and tell what came of it; 0 when the class in its file holds.

    Raises:
        Refused: it needs what only the market has.
        Unavailable: the container engine failed.
    """
    report = trio.run(partial(_checked, job, image, base, _state(folder)))
    if as_json:
        emit(_plain(report))
    else:
        _tell(report)
    return Exit.DONE if report.stated_holds else Exit.UNVERIFIED


def _state(folder: DataFolder) -> Path:
    private_folder(folder.root)
    state = folder.root / "local"
    private_folder(state)
    return state


async def _checked(job: JobFile, image: str, base: Path, state: Path) -> Report:
    reference, archive = await trio.to_thread.run_sync(local_image, image)
    settings = DockerSettings(node=f"local{secrets.token_hex(4)}", state=state)
    report: Report | None = None
    async with trio.open_nursery() as nursery:
        executor: DockerExecutor = await nursery.start(run_docker_executor, settings)
        prepared = await executor.prepare(reference, archive=archive, progress=lambda step: note(step.doing))
        whole = local_request(job, prepared.image_id, base, pinned=True)
        try:
            if job.steps is None:
                report, _ = await _both(executor, job, whole)
            else:
                report = await _step_by_step(executor, job, whole, job.steps)
        finally:
            with trio.CancelScope(shield=True):
                for execution in executor.known():
                    await executor.release(execution)
                await executor.sweep(set())
        nursery.cancel_scope.cancel()
    assert report is not None
    return report


async def _both(executor: DockerExecutor, job: JobFile, first: RunRequest) -> tuple[Report, Run]:
    """What two runs say, and the first of them."""
    # It keeps its slot until both are compared, so the second one gets another.
    second = replace(first, execution_id=execution_id(secrets.token_hex(16)), cpus=other_cpus())
    one = await _ran(executor, first)
    await trio.sleep(APART_S)
    other = await _ran(executor, second)
    return await trio.to_thread.run_sync(_reported, job, one, other), one


async def _step_by_step(executor: DockerExecutor, job: JobFile, whole: RunRequest, steps: Steps) -> Report:
    """Run each step twice from the state that the first run of the one before has left, as a court would.

    Ends with the first step for which the file's class does not hold.
    """
    state, differing = EMPTY, None
    for index in range(steps.limit):
        note(f"step {index} of at most {steps.limit}")
        before = executor.known()
        found, run = await _both(executor, job, _request_of_step(whole, steps, index, state))
        report = replace(found, steps=index + 1, step=None if found.found is VerificationClass.EXACT else index)
        differing = differing or (report if report.step is not None else None)
        if not report.stated_holds or _is_last(run, index, steps):
            return report if not report.stated_holds else replace(differing or report, steps=index + 1)
        # Of all that was run only the state is needed that the next step begins with.
        for execution in executor.known() - {run.outcome.execution_id} | before:
            await executor.release(execution)
        state = State(run.tree.entries, content_of(run.folder))
    raise InvariantViolated("a job went on after its last step")


def _request_of_step(whole: RunRequest, steps: Steps, index: int, state: State) -> RunRequest:
    env = dict(whole.env) | {STEP_VARIABLE: str(index), STEPS_VARIABLE: str(steps.limit)}
    return replace(
        whole,
        execution_id=execution_id(secrets.token_hex(16)),
        env=tuple(sorted(env.items())),
        disk_bytes=steps.state_bytes,
        timeout_s=steps.timeout_s,
        state=state,
    )


def _is_last(run: Run, index: int, steps: Steps) -> bool:
    status = (run.outcome.exit_code or 0) if run.outcome.end is End.EXITED else 1
    return is_last(run.tree.entries, status, index, steps.limit)


async def _ran(executor: DockerExecutor, request: RunRequest) -> Run:
    where = f"on the processors {request.cpus}" if request.cpus else "on all processors"
    note(f"running it {where}")
    outcome = await executor.run(request, started=lambda _: None)
    match outcome.end:
        case End.EXITED | End.OOM | End.TIMEOUT:
            assert outcome.outputs is not None
            folder = outcome.outputs
        case End.CANCELLED | End.START_FAILED | End.ENGINE_LOST | End.KILLED | End.GPU_MISSING | End.DISK_FAILED:
            raise Unavailable(f"the sandbox failed ({outcome.end.value}): {outcome.detail}")
        case _:
            assert_never(outcome.end)
    match await trio.to_thread.run_sync(walk_here, folder):
        case Unfit(problems=problems):
            raise Refused(f"on the market these outputs would count as none: {problems[0]}")
        case tree:
            return Run(outcome, tree, folder)


def other_cpus() -> str:
    """The second half of the processors that this process may use; empty, for any, where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return ",".join(map(str, usable[len(usable) // 2 :])) if len(usable) > 1 else ""


def _reported(job: JobFile, one: Run, other: Run) -> Report:
    ours, theirs = (result_of(State(run.tree.entries, content_of(run.folder))) for run in (one, other))
    exact = compare(ours, theirs, None)
    same_end = (one.outcome.end, one.outcome.exit_code) == (other.outcome.end, other.outcome.exit_code)
    same_stdout = one.outcome.stdout_tail == other.outcome.stdout_tail
    fits = same_end and (same_stdout or not job.deterministic_stdout)
    differing = tuple(_differing(finding.path, finding.reason, ours, theirs) for finding in exact.findings)
    return Report(
        stated=job.verification,
        stated_holds=fits and _stated(job, compare(ours, theirs, job.comparator), differing),
        found=_found(fits, differing),
        exit_codes=(one.outcome.exit_code, other.outcome.exit_code),
        same_stdout=same_stdout,
        files=len(one.tree.entries),
        differing=differing,
    )


def _found(fits: bool, differing: tuple[Differing, ...]) -> VerificationClass:
    if not fits or any(one.suggestion is None for one in differing):
        return VerificationClass.NONE
    return VerificationClass.TOLERANCE if differing else VerificationClass.EXACT


def _stated(job: JobFile, compared: Comparison, differing: tuple[Differing, ...]) -> bool:
    """Whether the file's own class holds; `none` promises nothing, so then it is whether some class would."""
    if job.verification is VerificationClass.NONE:
        return all(one.suggestion is not None for one in differing)
    return compared.equal


def _differing(path: str, reason: str, ours: Result, theirs: Result) -> Differing:
    sizes = [entry.size for result in (ours, theirs) for entry in result.entries if entry.path == path]
    if reason != "its bytes are not the same" or max(sizes) > MAX_FILE_BYTES:
        return Differing(path, reason, None, None)
    a, b = ours.read(path), theirs.read(path)
    suggestion = suggest(path, a, b)
    if suggestion.rule is None:
        return Differing(path, f"{reason}: {suggestion.reason}", None, None)
    within = compare(ours, theirs, Comparator((suggestion.rule,)))
    return Differing(path, reason, dict(within.distances).get(path), suggestion.rule)


def _tell(report: Report) -> None:
    if report.step is not None:
        say(f"step {report.step} came out differently; it began both times with the same state")
    elif report.steps is not None:
        say(f"all {report.steps} steps came out the same; of the last one:")
    for one in report.differing:
        how = f": {bounds(one.suggestion)}" if one.suggestion is not None else ""
        say(f"{one.path}: {one.reason}{how}")
    same = report.files - len(report.differing)
    say(f"{same} of {report.files} files and folders are equal bit by bit; exit codes {report.exit_codes}")
    if not report.same_stdout:
        say("standard output is not the same; it counts only with deterministic_stdout")
    match report.found:
        case VerificationClass.EXACT:
            say("class exact held in these two runs")
        case VerificationClass.TOLERANCE:
            say("class tolerance would hold, with bounds such as:")
            for one in report.differing:
                if one.suggestion is not None:
                    say(f"    {one.path}: {{{bounds(one.suggestion)}}}")
        case VerificationClass.NONE | VerificationClass.REPLICATED:
            say("no class would hold: choose none, or remove what differs (times, random numbers, names of hosts)")
        case _:
            assert_never(report.found)
    say(f"the job file states {report.stated}: {'it holds' if report.stated_holds else 'it does not hold'}")


def bounds(rule: FileRule) -> str:
    """The bounds of a suggestion, as they are written in a job file."""
    return ", ".join(f"{name}: {value}" for name, value in _bounds(rule).items())


def _bounds(rule: FileRule) -> Mapping[str, str]:
    if rule.close is not None:
        stated = {"atol": amount(rule.close.atol), "rtol": amount(rule.close.rtol)}
        return {name: f"{value:g}" for name, value in stated.items() if value} or {"atol": "0"}
    assert rule.image is not None
    shares = {"mean": rule.image.max_mean_ppm, "block": rule.image.max_block_ppm}
    return {name: f"{ppm / 1e6:f}" for name, ppm in shares.items()}


def _plain(report: Report) -> dict[str, Any]:
    return {
        "class": report.found.value,
        "stated": report.stated.value,
        "stated_holds": report.stated_holds,
        "exit_codes": list(report.exit_codes),
        "same_stdout": report.same_stdout,
        "files": report.files,
        "steps": report.steps,
        "step": report.step,
        "differing": [
            {
                "path": one.path,
                "reason": one.reason,
                "largest": None if one.distance is None else one.distance.largest,
                "largest_relative": None if one.distance is None else one.distance.largest_relative,
                "suggestion": None if one.suggestion is None else dict(_bounds(one.suggestion)),
            }
            for one in report.differing
        ],
    }
