"""The provider's side of a deal: its phases as classes, and `step`, which is all that changes them.

Pure, total over its events, and never raising for what a peer or a chain can cause, as `capanode.protocol.requester`.
Nothing that costs money starts before the chain says that the requester's money is locked (`Assigned`), or, in a DIRECT
deal, before a confirmed earmark covers it (checked when the work is taken).
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Final, assert_never

from capanode.protocol.commands import (
    DropResult,
    KeepResult,
    Prepare,
    ProviderCommand,
    RunContainer,
    SubmitAbandon,
    SubmitAccept,
    SubmitAssign,
    SubmitClaim,
    SubmitCommit,
    SubmitExpire,
    WakeAt,
)
from capanode.protocol.events import (
    AcceptReceived,
    ChallengeClosed,
    DeadlinePassed,
    DealAssigned,
    DealCancelled,
    DealChallenged,
    DealCommitted,
    DealFinalized,
    DealJudged,
    DealRefunded,
    Ending,
    ExecutionFailed,
    ExecutionFinished,
    Prepared,
    PrepareFailed,
    ProviderEvent,
    ResultDropped,
    TransactionRefused,
    WorkTaken,
)
from capanode.protocol.ids import ZERO_ADDRESS, Address, DealId, PeerId, UnixTime, Wei
from capanode.protocol.records import Demand, Mode, SignedAward, Spec, Terms

MAX_ATTEMPTS: Final = 3
"""Executions of one deal before it is given up, when the fault is on this side."""

MIN_ABANDON_MARGIN_S: Final = 5
MAX_ABANDON_MARGIN_S: Final = 60
"""Time kept before the deadline to have an abandonment mined; within them a tenth of the grace. Seconds."""

OVERDUE_PATIENCE_S: Final = 60
"""How long the requester's own refund of a late deal is waited for, before this side asks for it. Seconds."""


@dataclass(frozen=True, slots=True)
class Work:
    """What this node has agreed to do, and for whom."""

    RECORD: ClassVar[tuple[str, int]] = ("work", 1)

    deal_id: DealId
    award: SignedAward
    demand: Demand
    spec: Spec
    requester_peer: PeerId

    @property
    def terms(self) -> Terms:
        """The terms as awarded: provider and price filled in."""
        return self.award.terms


@dataclass(frozen=True, slots=True)
class Preparing:
    """Image and inputs are being fetched; it costs nothing to stop here."""

    RECORD: ClassVar[tuple[str, int]] = ("provider-preparing", 1)
    work: Work


@dataclass(frozen=True, slots=True)
class Assigning:
    """Everything is here; the assignment is on its way to the chain."""

    RECORD: ClassVar[tuple[str, int]] = ("provider-assigning", 1)
    work: Work


@dataclass(frozen=True, slots=True)
class Executing:
    """The container runs. `locked_by` is the key that locked the bonds (this node's, for a DIRECT deal to come)."""

    RECORD: ClassVar[tuple[str, int]] = ("provider-executing", 1)
    work: Work
    locked_by: Address
    attempt: int


@dataclass(frozen=True, slots=True)
class Committing:
    """The execution has ended; its commitment is on its way to the chain."""

    RECORD: ClassVar[tuple[str, int]] = ("provider-committing", 1)
    work: Work
    locked_by: Address
    result: ExecutionFinished


@dataclass(frozen=True, slots=True)
class Committed:
    """The window is open. `accept` is the requester's signature, empty while there is none."""

    RECORD: ClassVar[tuple[str, int]] = ("provider-committed", 1)
    work: Work
    result: ExecutionFinished
    commitment: DealCommitted
    accept: bytes


@dataclass(frozen=True, slots=True)
class Claiming:
    """The window is over; the claim is on its way to the chain."""

    RECORD: ClassVar[tuple[str, int]] = ("provider-claiming", 1)
    work: Work
    result: ExecutionFinished
    commitment: DealCommitted


@dataclass(frozen=True, slots=True)
class Challenged:
    """The result is disputed: nothing can be claimed or accepted before the court has spoken.

    `accept` is the requester's signature as in `Committed`; it is good again once the challenges have failed.
    """

    RECORD: ClassVar[tuple[str, int]] = ("provider-challenged", 1)
    work: Work
    result: ExecutionFinished
    commitment: DealCommitted
    accept: bytes


@dataclass(frozen=True, slots=True)
class Discarding:
    """The court has overturned the result; nobody needs it any more."""

    RECORD: ClassVar[tuple[str, int]] = ("provider-discarding", 1)
    work: Work
    result: ExecutionFinished
    lost_wei: Wei


@dataclass(frozen=True, slots=True)
class Retaining:
    """Paid, whole or in half; the result is kept for the requester until its time is over."""

    RECORD: ClassVar[tuple[str, int]] = ("provider-retaining", 1)
    work: Work
    result: ExecutionFinished
    commitment: DealCommitted
    paid_wei: Wei
    returned_wei: Wei


@dataclass(frozen=True, slots=True)
class Abandoning:
    """This side cannot deliver; giving up in time costs a hundredth of the price rather than the bond."""

    RECORD: ClassVar[tuple[str, int]] = ("provider-abandoning", 1)
    work: Work
    locked_by: Address
    reason: str


@dataclass(frozen=True, slots=True)
class Overdue:
    """The deadline has passed without a commitment: the deadline bond is gone, the fraud bond is locked until somebody
    has the deal refunded, which is this side's to do if its requester is gone.
    """

    RECORD: ClassVar[tuple[str, int]] = ("provider-overdue", 1)
    work: Work
    locked_by: Address
    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """The end of a deal that was paid."""

    RECORD: ClassVar[tuple[str, int]] = ("provider-done", 1)
    work: Work
    paid_wei: Wei


@dataclass(frozen=True, slots=True)
class Lost:
    """The end of a deal without payment; `burned_wei` is what it cost."""

    RECORD: ClassVar[tuple[str, int]] = ("provider-lost", 1)
    work: Work
    reason: str
    burned_wei: Wei


Open = (
    Preparing
    | Assigning
    | Executing
    | Committing
    | Committed
    | Claiming
    | Challenged
    | Discarding
    | Retaining
    | Abandoning
    | Overdue
)
Ended = Done | Lost
Deal = Open | Ended
PHASES: tuple[type[Deal], ...] = (
    Preparing,
    Assigning,
    Executing,
    Committing,
    Committed,
    Claiming,
    Challenged,
    Discarding,
    Retaining,
    Abandoning,
    Overdue,
    Done,
    Lost,
)


@dataclass(frozen=True, slots=True)
class Step:
    """The new state and what to do about it; no commands and the same state when the event did not fit.

    Commands of a phase stay in force until the class of the phase changes.
    """

    deal: Deal
    commands: tuple[ProviderCommand, ...]


def take(event: WorkTaken) -> Step:
    """The first state of a deal."""
    work = Work(event.deal_id, event.award, event.demand, event.spec, event.requester_peer)
    return Step(Preparing(work), (Prepare(), WakeAt(_must_start_by(work))))


def step(deal: Deal, event: ProviderEvent, me: Address, grace_s: int) -> Step:
    """What `event` makes of the deal. `me` sends this node's transactions, `grace_s` is the market's grace G."""
    match deal:
        case Preparing():
            return _preparing(deal, event, me, grace_s)
        case Assigning():
            return _assigning(deal, event, me, grace_s)
        case Executing():
            return _executing(deal, event, grace_s)
        case Committing():
            return _committing(deal, event, grace_s)
        case Committed():
            return _committed(deal, event)
        case Claiming():
            return _claiming(deal, event)
        case Challenged():
            return _challenged(deal, event)
        case Discarding():
            return _discarding(deal, event)
        case Retaining():
            return _retaining(deal, event)
        case Abandoning():
            return _abandoning(deal, event, grace_s)
        case Overdue():
            return _overdue(deal, event)
        case Done() | Lost():
            return Step(deal, ())
        case _:
            assert_never(deal)


def holds_capacity(deal: Deal) -> bool:
    """Whether the deal's resources are spoken for on this machine."""
    match deal:
        case Preparing() | Assigning() | Executing():
            return True
        case Committing() | Committed() | Claiming() | Challenged() | Discarding() | Retaining():
            return False
        case Abandoning() | Overdue() | Done() | Lost():
            return False
        case _:
            assert_never(deal)


def _preparing(deal: Preparing, event: ProviderEvent, me: Address, grace_s: int) -> Step:
    match event:
        case Prepared() if deal.work.terms.mode is Mode.DIRECT:
            return _execute(deal.work, me, attempt=1, grace_s=grace_s)
        case Prepared():
            return Step(Assigning(deal.work), (SubmitAssign(), WakeAt(deal.work.terms.assign_by)))
        case PrepareFailed():
            return Step(Lost(deal.work, event.reason, Wei(0)), ())
        case DeadlinePassed():
            return Step(Lost(deal.work, "image or inputs did not arrive in time", Wei(0)), ())
        case DealAssigned() if _is_own(event, deal.work, me):
            # By this very node, in a life that it has forgotten: it counts once everything is here again.
            return Step(deal, ())
        case DealAssigned() | DealCancelled():
            return Step(Lost(deal.work, "the demand went to somebody else", Wei(0)), ())
        case _:
            return Step(deal, ())


def _assigning(deal: Assigning, event: ProviderEvent, me: Address, grace_s: int) -> Step:
    match event:
        case DealAssigned() if _is_own(event, deal.work, me):
            return _execute(deal.work, event.locked_by, attempt=1, grace_s=grace_s)
        case DealAssigned() | DealCancelled():
            return Step(Lost(deal.work, "the demand went to somebody else", Wei(0)), ())
        case TransactionRefused():
            return Step(Lost(deal.work, event.reason, Wei(0)), ())
        case DeadlinePassed():
            return Step(Lost(deal.work, "the assignment was not mined in time", Wei(0)), ())
        case _:
            return Step(deal, ())


def _is_own(event: DealAssigned, work: Work, me: Address) -> bool:
    """Whether this very node assigned: under one wallet, several may go for the same posted price.

    The market names the hot key that locked the bonds, and nobody when the wallet itself did.
    """
    locked_by = event.locked_by if event.locked_by != ZERO_ADDRESS else event.provider
    return event.provider == work.terms.provider and locked_by == me


def _executing(deal: Executing, event: ProviderEvent, grace_s: int) -> Step:
    match event:
        case ExecutionFinished():
            committing = Committing(deal.work, deal.locked_by, event)
            return Step(committing, (SubmitCommit(), WakeAt(_last_commit(deal.work, grace_s))))
        case ExecutionFailed() if deal.attempt < MAX_ATTEMPTS:
            again = deal.attempt + 1
            return Step(replace(deal, attempt=again), (RunContainer(again),))
        case ExecutionFailed():
            return _give_up(deal.work, deal.locked_by, event.reason, grace_s)
        case DeadlinePassed():
            return _give_up(deal.work, deal.locked_by, "the execution did not end in time", grace_s)
        case DealRefunded() | DealCancelled():
            return _refunded(deal.work, event)
        case _:
            return Step(deal, ())


def _committing(deal: Committing, event: ProviderEvent, grace_s: int) -> Step:
    match event:
        case DealCommitted():
            committed = Committed(deal.work, deal.result, event, accept=b"")
            return Step(committed, (WakeAt(event.window_ends_at),))
        case DealRefunded() | DealCancelled():
            return _refunded(deal.work, event)
        case TransactionRefused():
            return _give_up(deal.work, deal.locked_by, event.reason, grace_s)
        case DeadlinePassed() if deal.work.terms.mode is Mode.DIRECT:
            return Step(Lost(deal.work, "the commitment was not mined in time", Wei(0)), ())
        case DeadlinePassed():
            return _late(deal.work, deal.locked_by, "the commitment was not mined in time", grace_s)
        case _:
            return Step(deal, ())


def _committed(deal: Committed, event: ProviderEvent) -> Step:
    match event:
        case AcceptReceived():
            return Step(replace(deal, accept=event.signature), (SubmitAccept(),))
        case DeadlinePassed():
            return Step(Claiming(deal.work, deal.result, deal.commitment), (SubmitClaim(),))
        case DealFinalized():
            return _paid(deal, event.paid_wei, event.returned_wei, event.at)
        case DealChallenged():
            return _disputed(deal, deal.accept)
        case DealJudged():
            return _judged(deal, event)
        case _:
            return Step(deal, ())


def _claiming(deal: Claiming, event: ProviderEvent) -> Step:
    match event:
        case DealFinalized():
            return _paid(deal, event.paid_wei, event.returned_wei, event.at)
        case DealChallenged():
            return _disputed(deal, accept=b"")
        case DealJudged():
            return _judged(deal, event)
        case _:
            return Step(deal, ())


def _challenged(deal: Challenged, event: ProviderEvent) -> Step:
    match event:
        case ChallengeClosed(open_challenges=0):
            committed = Committed(deal.work, deal.result, deal.commitment, deal.accept)
            accept = (SubmitAccept(),) if deal.accept else ()
            return Step(committed, (*accept, WakeAt(deal.commitment.window_ends_at)))
        case AcceptReceived():
            return Step(replace(deal, accept=event.signature), ())
        case DealJudged():
            return _judged(deal, event)
        case DealFinalized():
            return _paid(deal, event.paid_wei, event.returned_wei, event.at)
        case _:
            return Step(deal, ())


def _judged(deal: Committed | Claiming | Challenged, event: DealJudged) -> Step:
    """The court's word. Nothing need have been heard of before: a leaf that none may commit ends a deal at once."""
    if event.ending is Ending.OVERTURNED:
        return Step(Discarding(deal.work, deal.result, event.lost_wei), (DropResult(),))
    return _paid(deal, event.paid_wei, event.returned_wei, event.at)


def _discarding(deal: Discarding, event: ProviderEvent) -> Step:
    match event:
        case ResultDropped():
            return Step(Lost(deal.work, "the court overturned the result", deal.lost_wei), ())
        case _:
            return Step(deal, ())


def _retaining(deal: Retaining, event: ProviderEvent) -> Step:
    match event:
        case DeadlinePassed():
            return Step(deal, (DropResult(),))
        case ResultDropped():
            return Step(Done(deal.work, deal.paid_wei), ())
        case _:
            return Step(deal, ())


def _abandoning(deal: Abandoning, event: ProviderEvent, grace_s: int) -> Step:
    match event:
        case DealRefunded() | DealCancelled():
            return _given_back(deal, event)
        case TransactionRefused() | DeadlinePassed():
            return _late(deal.work, deal.locked_by, deal.reason, grace_s)
        case _:
            return Step(deal, ())


def _overdue(deal: Overdue, event: ProviderEvent) -> Step:
    match event:
        case DealRefunded() | DealCancelled():
            return _given_back(deal, event)
        case DeadlinePassed():
            return Step(deal, (SubmitExpire(),))
        case _:
            return Step(deal, ())


def _given_back(deal: Abandoning | Overdue, event: DealRefunded | DealCancelled) -> Step:
    burned = event.burned_wei if isinstance(event, DealRefunded) else Wei(0)
    return Step(Lost(deal.work, deal.reason, burned), ())


def _execute(work: Work, locked_by: Address, attempt: int, grace_s: int) -> Step:
    executing = Executing(work, locked_by, attempt)
    return Step(executing, (RunContainer(attempt), WakeAt(_give_up_at(work, grace_s))))


def _give_up(work: Work, locked_by: Address, reason: str, grace_s: int) -> Step:
    if work.terms.mode is Mode.DIRECT:
        # Nothing is on chain yet: the award lapses and no bond is lost.
        return Step(Lost(work, reason, Wei(0)), ())
    return Step(Abandoning(work, locked_by, reason), (SubmitAbandon(), WakeAt(_last_commit(work, grace_s))))


def _late(work: Work, locked_by: Address, reason: str, grace_s: int) -> Step:
    patient_until = UnixTime(_last_commit(work, grace_s) + OVERDUE_PATIENCE_S)
    return Step(Overdue(work, locked_by, reason), (WakeAt(patient_until),))


def _refunded(work: Work, event: DealRefunded | DealCancelled) -> Step:
    match event:
        case DealRefunded():
            return Step(Lost(work, "the deal was refunded to its requester", event.burned_wei), ())
        case DealCancelled():
            return Step(Lost(work, "both sides cancelled the deal", Wei(0)), ())
        case _:
            assert_never(event)


def _disputed(deal: Committed | Claiming, accept: bytes) -> Step:
    return Step(Challenged(deal.work, deal.result, deal.commitment, accept), (KeepResult(),))


def _paid(deal: Committed | Claiming | Challenged, paid_wei: Wei, returned_wei: Wei, at: UnixTime) -> Step:
    retaining = Retaining(deal.work, deal.result, deal.commitment, paid_wei, returned_wei)
    final_at = max(deal.commitment.window_ends_at, at)
    return Step(retaining, (WakeAt(UnixTime(final_at + deal.work.demand.retention_s)),))


def _must_start_by(work: Work) -> UnixTime:
    return work.terms.commit_by if work.terms.mode is Mode.DIRECT else work.terms.assign_by


def _last_commit(work: Work, grace_s: int) -> UnixTime:
    return UnixTime(work.terms.commit_by + grace_s)


def _give_up_at(work: Work, grace_s: int) -> UnixTime:
    """The last moment at which giving up is cheap; a DIRECT deal costs nothing until the end."""
    if work.terms.mode is Mode.DIRECT:
        return _last_commit(work, grace_s)
    margin_s = min(max(grace_s // 10, MIN_ABANDON_MARGIN_S), MAX_ABANDON_MARGIN_S)
    return UnixTime(_last_commit(work, grace_s) - margin_s)
