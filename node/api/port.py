"""What a running node answers to its own user, as plain values that travel as JSON.

Amounts are integers of base units, times are Unix seconds, digests and addresses are `0x…` text: this is the
outer edge, where people and scripts read.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class JobOrder:
    """A job as its user wants it: the text of a job file, and the folder that its local paths are relative to.

    `image` overrides the job file's image with a pinned one (`name@sha256:…`, or an absolute path of a docker
    archive). `announce` is "gossip" (signed award) or "chain" (announced demand); `policy` is "award" or
    "first" and matters only on chain. `accept` is "auto" (as soon as the result is here and verified), "wait" (let the
    window pass) or "never" (the user accepts by hand).
    """

    text: str
    folder: str
    name: str
    image: str | None
    announce: str
    policy: str
    accept: str


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One thing that happened to a job: when, its event name (`DealAssigned`), a sentence, and its figures."""

    at: float
    event: str
    sentence: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """One of the deals of a replicated job.

    `finding` is "agrees" or "differs" once the results were compared, empty before, and for one that had no result.
    `reason` says why it differs, or what is wrong with it.
    """

    job_id: str
    state: str
    phase: str
    deal_id: str | None
    provider: str | None
    price_wei: int
    paid_wei: int
    finding: str
    reason: str


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as its user sees it.

    `state` is one of queued, running, result_ready, paid, undecided, refunded, failed,
    cancelled; `phase` is the protocol's
    own word. `result_dir` is set once the verified outputs are there. `notice` is a sentence while the provider does
    not answer, a hint by which nothing changes; `refund_at` is when the money is free again should it stay away.
    A replicated job has `replicas`: amounts are those of all of them, deal, provider and result those of the majority.
    """

    job_id: str
    name: str
    state: str
    phase: str
    reason: str
    notice: str
    refund_at: int | None
    deal_id: str | None
    provider: str | None
    mode: str
    price_wei: int
    verification_wei: int
    paid_wei: int
    returned_wei: int
    exit_code: int | None
    window_ends_at: int | None
    result_dir: str | None
    receipt: str | None
    created_at: float
    timeline: tuple[TimelineEntry, ...]
    replicas: tuple[ReplicaView, ...] = ()


@dataclass(frozen=True, slots=True)
class DealView:
    """A deal as its provider sees it."""

    deal_id: str
    phase: str
    requester: str
    price_wei: int
    mode: str
    since: float
    reason: str
    window_ends_at: int | None


class NodeApi(Protocol):
    """Every call may raise `Refused` (with the sentence for the user) or `Unavailable` (try again)."""

    async def status(self) -> Json:
        """Node id, version, roles, peer id, addresses, peers, chain head, balances, capacity, open deals and jobs."""
        ...

    def submit(self, order: JobOrder) -> AsyncIterator[Json]:
        """Take a job: yields `{"progress": {...}}` while inputs and image are taken in, `{"note": "…"}` where
        its user should know something, last `{"job": JobView}`.

        Durable once the last item is out: the node carries the job on without the caller.
        """
        ...

    async def quote(self, order: JobOrder) -> Json:
        """What the job would cost at most: price cap, verification deposit, bonds, and which mode would be used."""
        ...

    async def jobs(self) -> tuple[JobView, ...]:
        """The newest jobs, ended ones included, without their timelines: a list is quick however long they are."""
        ...

    async def job(self, job_id: str) -> JobView:
        """By full id, or by any unique beginning of it or of the name."""
        ...

    def watch(self, job_id: str) -> AsyncIterator[Json]:
        """`{"job": JobView}` now and after every change, until the job has ended."""
        ...

    async def logs(self, job_id: str, tail_bytes: int) -> bytes: ...

    async def accept(self, job_id: str) -> JobView: ...

    async def cancel(self, job_id: str) -> JobView: ...

    async def deals(self) -> tuple[DealView, ...]: ...

    def check(self, deal: str, step: int | None, sample: int | None) -> AsyncIterator[Json]:
        """Recompute a committed result: yields `{"progress": {doing step done of}}`, last `{"check": {…}}`.

        `deal` is a deal's id, or the id or name of an own job. All steps are recomputed, or one, or a `sample` of so
        many, up to the first that does not hold.
        """
        ...

    async def dispute(self, verb: str, arguments: Json) -> Json:
        """list, show, open, arbiter, enroll, leave, collect: cases, own challenges and duties, an arbiter's stake.

        `enroll` and `leave` with a list `arbiters` are about a named set.
        """
        ...

    def watch_results(self, arguments: Json) -> AsyncIterator[Json]:
        """Look at a sample of what is committed: yields `{"watching": {…}}`, then `{"finding": {…}}` for each deal."""
        ...

    async def wallet(self) -> Json:
        """Address, token balance, free, earmarks, stake, locked, native balance, thaws."""
        ...

    async def wallet_call(self, verb: str, arguments: Json) -> Json:
        """deposit, withdraw, earmark, unearmark, stake, unstake, hot-key: waits until mined; returns the tx hash."""
        ...

    async def upgrades(self) -> Json:
        """The versions of the market that this node trades on, and those that wait for its operator, with why."""
        ...

    async def approve(self, code_hash: str) -> Json:
        """Trust the code with this hash (0x…) from now on, for good; answers as `upgrades`."""
        ...

    async def drain(self, on: bool) -> Json:
        """Take no new work, or take it again; answers as `drained` yields."""
        ...

    def drained(self) -> AsyncIterator[Json]:
        """What is still open and when it is safe to switch the node off, on every change until it is safe.

        `is_draining is_safe safe_at money_safe_at working in_window ending results_kept own_jobs back_by`
        """
        ...

    async def snapshot(self, path: str) -> None:
        """Copy the journal, as it is at one moment, to a new file that only its owner can read."""
        ...

    async def stop(self, within_s: float) -> None:
        """End in order; the process is cut short after so many seconds, containers run on either way."""
        ...
