"""The count over the results of one replicated job: which agree with the largest gathering of equal ones, which do not.

What counts is what was delivered and is on this disk. A root that is on chain counts only for a result whose bytes came
with it, so nobody wins anything by committing what another one has committed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from capanode.node.challenged.comparison import result_of
from capanode.node.executors.port import State
from capanode.node.storage.tree_walk import Unfit, content_of, walk_here
from capanode.proofs import receipt as receipts
from capanode.proofs.compare import Result, compare
from capanode.proofs.replication import majority
from capanode.protocol import requester
from capanode.protocol.events import DealCommitted
from capanode.protocol.faults import PeerFault, Unavailable
from capanode.protocol.ids import ZERO_DIGEST, Digest
from capanode.protocol.records import Spec
from capanode.protocol.replicas import Compare, Odd, Verdict

MAX_REASON_CHARS: Final = 300

Here = (
    requester.Auditing
    | requester.Faulty
    | requester.Delivered
    | requester.Challenged
    | requester.Settled
    | requester.Undecided
)
"""Phases in which a result may be on this machine."""


@dataclass(frozen=True, slots=True)
class _Paper:
    """One result: how its program ended, what is bound by its commitment, and its files where they can be read."""

    status: int
    result_root: Digest
    stdout_root: Digest
    files: Result | None


async def counted(asked: Compare, jobs: Mapping[int, requester.Job], spec: Spec) -> Verdict | None:
    """The majority of the results of these replicas, None where there is none; in a worker thread, cancel-safe."""
    return await trio.to_thread.run_sync(_counted, asked, jobs, spec, abandon_on_cancel=True)


def _counted(asked: Compare, jobs: Mapping[int, requester.Job], spec: Spec) -> Verdict | None:
    papers = [_paper(jobs[number], spec) for number in asked.numbers]
    reasons: dict[tuple[int, int], str] = {}

    def equal(ours: tuple[int, _Paper], theirs: tuple[int, _Paper]) -> bool:
        # The order of two results does not matter to whether they are equal, so each pair is compared once.
        (low, one), (high, other) = sorted((ours, theirs), key=lambda paper: paper[0])
        if (low, high) not in reasons:
            reasons[low, high] = _why_not_equal(one, other, spec)
        return not reasons[low, high]

    absent = [None] * (asked.votes - len(papers))
    found = majority([*enumerate(papers), *absent], equal)
    if found is None:
        return None
    odd = [place for place in range(len(papers)) if place not in found.agreeing]
    return Verdict(
        example=asked.numbers[found.example],
        agreeing=tuple(asked.numbers[place] for place in found.agreeing),
        odd=tuple(Odd(asked.numbers[place], reasons[_pair(place, found.example)]) for place in odd),
    )


def _pair(one: int, other: int) -> tuple[int, int]:
    return min(one, other), max(one, other)


def _why_not_equal(one: _Paper, other: _Paper, spec: Spec) -> str:
    """Empty where two results are equal under the job's comparator."""
    if one.status != other.status:
        return f"the exit codes are {one.status} and {other.status}"
    if one.stdout_root != other.stdout_root:
        return "standard output is not the same"
    if one.result_root == other.result_root:
        return ""
    if one.files is None or other.files is None:
        return "its bytes are not the same"
    try:
        compared = compare(one.files, other.files, spec.comparator, whole=spec.steps is not None)
    except (OSError, PeerFault) as error:
        return f"its files cannot be read ({error})"[:MAX_REASON_CHARS]
    if compared.equal:
        return ""
    first = compared.findings[0]
    return f"{first.path[:100]!a}: {first.reason}"[:MAX_REASON_CHARS]


def _paper(job: requester.Job, spec: Spec) -> _Paper:
    assert isinstance(job, Here)
    commitment, stdout_root = job.commitment, ZERO_DIGEST
    if spec.deterministic_stdout:
        # Of what was checked against the commitment when it came.
        stdout_root = receipts.decode(job.receipt).receipt.commitment.stdout_root
    return _Paper(commitment.status, commitment.result_root, stdout_root, _files(Path(job.folder), commitment))


def _files(folder: Path, commitment: DealCommitted) -> Result | None:
    """The files as they were delivered; None where they are gone or changed, or a link that led out was left away."""
    try:
        found = walk_here(folder)
    except Unavailable:
        return None
    if isinstance(found, Unfit) or found.root != commitment.result_root:
        return None
    return result_of(State(found.entries, content_of(folder)))
