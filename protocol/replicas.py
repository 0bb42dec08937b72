"""A job that several providers do, each in a deal of its own: what is bought next, and when the results are compared.

A group remembers what none of its replicas can: what was ordered, that its user wants it back, what the comparison has
found. All else is read from the replicas' own states, as the journal has them, so neither a restart nor a block that is
taken back needs any care here. Replicas are numbered from 1 in the order in which they are bought.

**Source**: docs/verification.md, "Several providers".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Final, assert_never

from capanode.protocol import requester
from capanode.protocol.events import AcceptRequested, CancelRequested, JobSubmitted
from capanode.protocol.ids import Address

LEAST_REPLICAS: Final = 3
MOST_REPLICAS: Final = 7

SPARES: Final = 2
"""Replicas that are bought beyond the wanted ones, each in the place of one that came to nothing and cost nothing."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What was ordered: so many replicas of a job, each made as `job` is, with a demand of its own."""

    wanted: int
    job: JobSubmitted


@dataclass(frozen=True, slots=True)
class Odd:
    """A replica whose result is not the majority's, and what shows it."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The replicas that agree with the one at `example`, itself included, and those that do not."""

    example: int
    agreeing: tuple[int, ...]
    odd: tuple[Odd, ...]


@dataclass(frozen=True, slots=True)
class Gathering:
    """Replicas are bought, and their results awaited."""

    RECORD: ClassVar[tuple[str, int]] = ("replicas-gathering", 1)
    plan: Plan


@dataclass(frozen=True, slots=True)
class Leaving:
    """Its user wants it back: no more is bought, and what nobody is bound to is cancelled."""

    RECORD: ClassVar[tuple[str, int]] = ("replicas-leaving", 1)
    plan: Plan


@dataclass(frozen=True, slots=True)
class Accepting:
    """A majority is found, and its deals are to be accepted."""

    RECORD: ClassVar[tuple[str, int]] = ("replicas-accepting", 1)
    plan: Plan
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Decided:
    """A majority is found; its replicas know whether they are accepted."""

    RECORD: ClassVar[tuple[str, int]] = ("replicas-decided", 1)
    plan: Plan
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Divided:
    """The end of a group without a majority; `came` are the replicas that had a result."""

    RECORD: ClassVar[tuple[str, int]] = ("replicas-divided", 1)
    plan: Plan
    came: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The end of a group that its user took back. Replicas that were bound by then run on, and are paid."""

    RECORD: ClassVar[tuple[str, int]] = ("replicas-withdrawn", 1)
    plan: Plan


Tended = Gathering | Leaving | Accepting
"""Phases in which something may be due."""

Group = Tended | Decided | Divided | Withdrawn
PHASES: tuple[type[Group], ...] = (Gathering, Leaving, Accepting, Decided, Divided, Withdrawn)


@dataclass(frozen=True, slots=True)
class ReplicasCompared:
    """The results were compared; without a verdict no majority can come about any more."""

    came: tuple[int, ...]
    verdict: Verdict | None


@dataclass(frozen=True, slots=True)
class ReplicasTold:
    """The replicas have heard what their group has decided on."""


GroupEvent = AcceptRequested | CancelRequested | ReplicasCompared | ReplicasTold


@dataclass(frozen=True, slots=True)
class Buy:
    """Submit one more replica, which none of `avoid` may do."""

    number: int
    avoid: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """Compare the results of these replicas, of `votes` in all; `is_last` when no other one can come any more."""

    numbers: tuple[int, ...]
    votes: int
    is_last: bool


@dataclass(frozen=True, slots=True)
class Accept:
    """Tell these replicas that they are accepted."""

    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Tell these replicas that they are cancelled."""

    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Close:
    """All replicas that could be taken back are."""


Act = Buy | Compare | Accept | Withdraw | Close


class Stand(Enum):
    """How far a replica is, as its group sees it."""

    SEEKING = "has no provider yet"
    BOUND = "a provider is at it"
    HERE = "its result is here"
    LATE = "its bytes are missing, and are still asked for"
    LOST = "its bytes did not come"
    GONE = "it came to nothing, and cost nothing"


def step(group: Group, event: GroupEvent) -> Group:
    """What an event makes of a group; the same group where it does not fit."""
    match group, event:
        case Gathering(), CancelRequested():
            return Leaving(group.plan)
        case Gathering(), ReplicasCompared(verdict=None):
            return Divided(group.plan, event.came)
        case Gathering(), ReplicasCompared(verdict=Verdict() as verdict):
            return (Accepting if group.plan.job.auto_accept else Decided)(group.plan, verdict)
        case Decided(), AcceptRequested():
            return Accepting(group.plan, group.verdict)
        case Accepting(), ReplicasTold():
            return Decided(group.plan, group.verdict)
        case Leaving(), ReplicasTold():
            return Withdrawn(group.plan)
        case _:
            return group


def due(group: Group, jobs: Sequence[requester.Job]) -> Act | None:
    """What moves a group on with its replicas as they are, `jobs` in the order of their numbers; None: wait."""
    match group:
        case Gathering():
            return _gather(group.plan, jobs)
        case Leaving():
            unbound = tuple(number for number, job in enumerate(jobs, 1) if _is_unbound(job))
            untold = tuple(number for number in unbound if not _is_leaving(jobs[number - 1]))
            if untold:
                return Withdraw(untold)
            return None if unbound else Close()
        case Accepting():
            return Accept(group.verdict.agreeing)
        case Decided() | Divided() | Withdrawn():
            return None
        case _:
            assert_never(group)


def why_not_cancel(group: Group, jobs: Sequence[requester.Job]) -> str:
    """Why a group cannot be cancelled any more; empty when it can."""
    match group:
        case Gathering():
            is_complete = len(_live(jobs)) >= group.plan.wanted or len(jobs) >= group.plan.wanted + SPARES
            if is_complete and not any(map(_is_unbound, jobs)):
                return "a provider is already bound to each of its replicas"
            return ""
        case Leaving():
            return ""
        case Accepting() | Decided():
            return "its results are already compared"
        case Divided() | Withdrawn():
            return "it has already ended"
        case _:
            assert_never(group)


def stand_of(job: requester.Job) -> Stand:
    """How far a replica is."""
    match job:
        case (
            requester.Announcing()
            | requester.Bidding()
            | requester.Posted()
            | requester.Renewing()
            | requester.Withdrawing()
        ):
            return Stand.SEEKING
        case requester.Awarding():
            # An announced demand may be awarded again, so its provider is not certain before the chain says it.
            return Stand.BOUND if job.order.announcement is None else Stand.SEEKING
        case requester.Running() | requester.Expiring() | requester.Committed():
            return Stand.BOUND
        case requester.Withheld() | requester.Paid():
            return Stand.LATE
        case requester.Auditing() | requester.Faulty() | requester.Delivered():
            return Stand.HERE
        case requester.Challenged():
            return Stand.HERE if job.folder else Stand.BOUND
        case requester.Settled() | requester.Undecided():
            return Stand.HERE if job.folder else Stand.LOST
        case requester.Failed() | requester.Cancelled():
            return Stand.GONE
        case _:
            assert_never(job)


def provider_of(job: requester.Job) -> Address | None:
    """Who is bound to a replica, or holds its award; nobody where it came to nothing."""
    match job:
        case (
            requester.Announcing()
            | requester.Bidding()
            | requester.Posted()
            | requester.Renewing()
            | requester.Withdrawing()
            | requester.Failed()
            | requester.Cancelled()
        ):
            return None
        case _:
            return job.deal.terms.provider


def _gather(plan: Plan, jobs: Sequence[requester.Job]) -> Act | None:
    stands = [stand_of(job) for job in jobs]
    if Stand.SEEKING in stands:
        # One after the other: the next one has to know whom to avoid.
        return None
    live = _live(jobs)
    if len(live) < plan.wanted and len(jobs) < plan.wanted + SPARES:
        return Buy(len(jobs) + 1, _providers(live))
    if Stand.BOUND in stands:
        return None
    return Compare(_voices(jobs), max(plan.wanted, len(live)), Stand.LATE not in stands)


def _voices(jobs: Sequence[requester.Job]) -> tuple[int, ...]:
    """The replicas whose results are here, the first of each provider: nobody has two votes."""
    voices: dict[Address | None, int] = {}
    for number, job in enumerate(jobs, 1):
        if stand_of(job) is Stand.HERE:
            voices.setdefault(provider_of(job), number)
    return tuple(voices.values())


def _live(jobs: Iterable[requester.Job]) -> list[requester.Job]:
    return [job for job in jobs if stand_of(job) is not Stand.GONE]


def _providers(jobs: Iterable[requester.Job]) -> tuple[Address, ...]:
    return tuple(sorted({provider for job in jobs if (provider := provider_of(job)) is not None}))


def _is_unbound(job: requester.Job) -> bool:
    return not isinstance(job, requester.Ended) and not requester.why_not_cancel(job)


def _is_leaving(job: requester.Job) -> bool:
    match job:
        case requester.Announcing() | requester.Awarding():
            return job.cancelled
        case requester.Withdrawing():
            return not job.renew and not job.reason
        case _:
            return False
