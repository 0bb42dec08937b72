"""The requester's side of a job: its phases as classes, and `step`, which is all that changes them.

A phase holds exactly the data that it has, so an impossible combination cannot be built. `step` is pure, total
over its events, and never raises for what a peer or a chain can cause: an event that does not fit leaves the state
as it is. Money is safe by two rules: an award is never followed by another one for the same money before it has
lapsed, and nothing is believed of a provider that the chain does not say.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Final, assert_never

from capanode.protocol.commands import (
    AuditResult,
    CollectBids,
    ExpectResult,
    FetchResult,
    PostDemand,
    RenewDemand,
    RequesterCommand,
    SendAccept,
    SendAward,
    SubmitAnnounce,
    SubmitCancel,
    SubmitClaim,
    SubmitExpire,
    WakeAt,
)
from capanode.protocol.events import (
    AcceptRequested,
    AuditEnded,
    AuditFinding,
    AwardAnswered,
    BidsClosed,
    CancelRequested,
    ChallengeClosed,
    DeadlinePassed,
    DealAnnounced,
    DealAssigned,
    DealCancelled,
    DealChallenged,
    DealCommitted,
    DealFinalized,
    DealJudged,
    DealRefunded,
    DemandRenewed,
    Ending,
    JobSubmitted,
    RequesterEvent,
    ResultDrawn,
    ResultFetched,
    ResultMissing,
    TransactionRefused,
)
from capanode.protocol.ids import Address, DealId, PeerId, UnixTime, Wei
from capanode.protocol.records import Demand, Mode, SignedAward, Spec, Terms

MIN_CLAIM_PATIENCE_S: Final = 60
MAX_CLAIM_PATIENCE_S: Final = 86_400
"""How long after the window its provider's claim is waited for, within them the window's length again. Seconds."""

DELIVERY_S: Final = 600
DELIVERED_BYTES_PER_S: Final = 2**20
"""How long a committed result is waited for before its bytes are missing, or half of the window where that is less.

**Source**: PROTOCOL §6, data challenges.
"""

NO_PEER: Final = PeerId("")
"""Stands for a provider's peer that is not known yet."""


@dataclass(frozen=True, slots=True)
class Order:
    """What the user asked for, as it stands in the current attempt."""

    RECORD: ClassVar[tuple[str, int]] = ("order", 1)

    name: str
    spec: Spec
    demand: Demand
    announcement: Terms | None
    target_price_wei: Wei
    attempts_left: int
    auto_accept: bool
    avoid: tuple[Address, ...] | None = None
    """Providers that are not awarded it."""


@dataclass(frozen=True, slots=True)
class Deal:
    """A provider bound to the order, or about to be. `peer` is empty until it is known (posted price)."""

    deal_id: DealId
    terms: Terms
    peer: PeerId
    locked_by: Address


@dataclass(frozen=True, slots=True)
class Announcing:
    """The demand's transaction is on its way; `cancelled` when its user wants it taken back once it is there."""

    RECORD: ClassVar[tuple[str, int]] = ("requester-announcing", 1)
    order: Order
    cancelled: bool


@dataclass(frozen=True, slots=True)
class Bidding:
    """The demand is out, bids come in."""

    RECORD: ClassVar[tuple[str, int]] = ("requester-bidding", 1)
    order: Order


@dataclass(frozen=True, slots=True)
class Posted:
    """The demand stands on chain at a posted price; the first eligible provider takes it."""

    RECORD: ClassVar[tuple[str, int]] = ("requester-posted", 1)
    order: Order


@dataclass(frozen=True, slots=True)
class Renewing:
    """The last attempt came to nothing; the demand is being made anew."""

    RECORD: ClassVar[tuple[str, int]] = ("requester-renewing", 1)
    order: Order
    reason: str


@dataclass(frozen=True, slots=True)
class Awarding:
    """One provider holds a binding award; it is assigned in time or lapses by itself.

    `declined` holds the provider's reason when it has said no: the award is waited out all the same, since
    a second one for the same job could make both payable.
    """

    RECORD: ClassVar[tuple[str, int]] = ("requester-awarding", 1)
    order: Order
    deal: Deal
    award: SignedAward
    declined: str
    cancelled: bool


@dataclass(frozen=True, slots=True)
class Withdrawing:
    """An announced demand is being taken back; `renew` says whether another attempt follows.

    `reason` is empty when its user wanted it back.
    """

    RECORD: ClassVar[tuple[str, int]] = ("requester-withdrawing", 1)
    order: Order
    reason: str
    renew: bool


@dataclass(frozen=True, slots=True)
class Running:
    """The provider is bound and at work."""

    RECORD: ClassVar[tuple[str, int]] = ("requester-running", 1)
    order: Order
    deal: Deal


@dataclass(frozen=True, slots=True)
class Expiring:
    """The provider is late; the refund is on its way."""

    RECORD: ClassVar[tuple[str, int]] = ("requester-expiring", 1)
    order: Order
    deal: Deal


@dataclass(frozen=True, slots=True)
class Committed:
    """A result is committed; its bytes are being fetched and checked."""

    RECORD: ClassVar[tuple[str, int]] = ("requester-committed", 1)
    order: Order
    deal: Deal
    commitment: DealCommitted


@dataclass(frozen=True, slots=True)
class Withheld:
    """A result is committed, and its bytes could not be had in time. They are still asked for."""

    RECORD: ClassVar[tuple[str, int]] = ("requester-withheld", 1)
    order: Order
    deal: Deal
    commitment: DealCommitted
    since: UnixTime
    reason: str


@dataclass(frozen=True, slots=True)
class Auditing:
    """The result is here and matches the commitment; the coin has drawn it, and this node recomputes it."""

    RECORD: ClassVar[tuple[str, int]] = ("requester-auditing", 1)
    order: Order
    deal: Deal
    commitment: DealCommitted
    folder: str
    receipt: bytes


@dataclass(frozen=True, slots=True)
class Faulty:
    """Recomputing the result has led elsewhere at `step`: it is accepted by its user's word only."""

    RECORD: ClassVar[tuple[str, int]] = ("requester-faulty", 1)
    order: Order
    deal: Deal
    commitment: DealCommitted
    folder: str
    receipt: bytes
    step: int
    reason: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """The result is here and verified; the window is open."""

    RECORD: ClassVar[tuple[str, int]] = ("requester-delivered", 1)
    order: Order
    deal: Deal
    commitment: DealCommitted
    folder: str
    receipt: bytes


@dataclass(frozen=True, slots=True)
class Challenged:
    """The result is disputed. It is fetched all the same; `folder` is empty until it is here."""

    RECORD: ClassVar[tuple[str, int]] = ("requester-challenged", 1)
    order: Order
    deal: Deal
    commitment: DealCommitted
    folder: str
    receipt: bytes


@dataclass(frozen=True, slots=True)
class Paid:
    """Money has moved, but the result is not here yet; it is asked for until its retention ends."""

    RECORD: ClassVar[tuple[str, int]] = ("requester-paid", 1)
    order: Order
    deal: Deal
    commitment: DealCommitted
    paid_wei: Wei
    returned_wei: Wei


@dataclass(frozen=True, slots=True)
class Settled:
    """The end of a good job. `folder` is empty when the result could not be had in time."""

    RECORD: ClassVar[tuple[str, int]] = ("requester-settled", 1)
    order: Order
    deal: Deal
    commitment: DealCommitted
    folder: str
    receipt: bytes
    paid_wei: Wei
    returned_wei: Wei


@dataclass(frozen=True, slots=True)
class Undecided:
    """The end of a job whose result nobody could judge: half of the price is paid. `folder` may be empty."""

    RECORD: ClassVar[tuple[str, int]] = ("requester-undecided", 1)
    order: Order
    deal: Deal
    commitment: DealCommitted
    ending: Ending
    folder: str
    receipt: bytes
    paid_wei: Wei
    returned_wei: Wei


@dataclass(frozen=True, slots=True)
class Failed:
    """The end of a job that nobody did; `returned_wei` came back from escrow."""

    RECORD: ClassVar[tuple[str, int]] = ("requester-failed", 1)
    order: Order
    reason: str
    returned_wei: Wei


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The end of a job that its user took back."""

    RECORD: ClassVar[tuple[str, int]] = ("requester-cancelled", 1)
    order: Order


Open = (
    Announcing
    | Bidding
    | Posted
    | Renewing
    | Awarding
    | Withdrawing
    | Running
    | Expiring
    | Committed
    | Withheld
    | Auditing
    | Faulty
    | Delivered
    | Challenged
    | Paid
)
Ended = Settled | Undecided | Failed | Cancelled
Job = Open | Ended
PHASES: tuple[type[Job], ...] = (
    Announcing,
    Bidding,
    Posted,
    Renewing,
    Awarding,
    Withdrawing,
    Running,
    Expiring,
    Committed,
    Withheld,
    Auditing,
    Faulty,
    Delivered,
    Challenged,
    Paid,
    Settled,
    Undecided,
    Failed,
    Cancelled,
)


@dataclass(frozen=True, slots=True)
class Step:
    """The new state and what to do about it; no commands and the same state when the event did not fit.

    Commands of a phase stay in force until the class of the phase changes.
    """

    job: Job
    commands: tuple[RequesterCommand, ...]


def submit(event: JobSubmitted) -> Step:
    """The first state of a job."""
    order = Order(
        name=event.name,
        spec=event.spec,
        demand=event.demand,
        announcement=event.announcement,
        target_price_wei=event.target_price_wei,
        attempts_left=event.attempts - 1,
        auto_accept=event.auto_accept,
        avoid=event.avoid,
    )
    return _start(order)


def step(job: Job, event: RequesterEvent, grace_s: int) -> Step:
    """What `event` makes of the job. `grace_s` is the market's grace G, in seconds."""
    match job:
        case Announcing():
            return _announcing(job, event)
        case Bidding():
            return _bidding(job, event, grace_s)
        case Posted():
            return _posted(job, event, grace_s)
        case Renewing():
            return _renewing(job, event)
        case Awarding():
            return _awarding(job, event, grace_s)
        case Withdrawing():
            return _withdrawing(job, event, grace_s)
        case Running():
            return _running(job, event)
        case Expiring():
            return _expiring(job, event)
        case Committed():
            return _committed(job, event)
        case Withheld():
            return _withheld(job, event)
        case Auditing():
            return _auditing(job, event)
        case Faulty():
            return _faulty(job, event)
        case Delivered():
            return _delivered(job, event)
        case Challenged():
            return _challenged(job, event)
        case Paid():
            return _paid(job, event)
        case Settled() | Undecided() | Failed() | Cancelled():
            return Step(job, ())
        case _:
            assert_never(job)


def deal_id_of(job: Job) -> DealId | None:
    """The deal that chain events reach this job by, if it has one."""
    match job:
        case Announcing() | Bidding() | Posted() | Renewing() | Withdrawing() | Failed() | Cancelled():
            return job.order.demand.deal_id
        case Awarding() | Running() | Expiring() | Committed() | Withheld() | Auditing() | Faulty():
            return job.deal.deal_id
        case Delivered() | Challenged() | Paid():
            return job.deal.deal_id
        case Settled() | Undecided():
            return job.deal.deal_id
        case _:
            assert_never(job)


def refund_at(job: Job, grace_s: int) -> UnixTime | None:
    """When the money is free again should the provider not go on; None where it is not waited for.

    An award lapses then; the refund of an assigned deal can be claimed by anyone from then on.
    """
    match job:
        case Awarding():
            return _lapses_at(job.deal.terms, grace_s)
        case Running() | Expiring():
            return UnixTime(job.deal.terms.commit_by + grace_s)
        case _:
            return None


def why_not_cancel(job: Job) -> str:
    """Why the job cannot be cancelled any more; empty when it can."""
    match job:
        case Announcing() | Bidding() | Posted() | Renewing() | Awarding() | Withdrawing():
            return ""
        case Running() | Expiring():
            return "a provider is already bound to it: it ends with a result or with a refund at its deadline"
        case Committed() | Withheld() | Auditing() | Faulty() | Delivered() | Challenged() | Paid():
            return "its result is already committed"
        case Settled() | Undecided() | Failed() | Cancelled():
            return "it has already ended"
        case _:
            assert_never(job)


def _start(order: Order) -> Step:
    if order.announcement is not None:
        return Step(Announcing(order, cancelled=False), (SubmitAnnounce(), WakeAt(order.announcement.assign_by)))
    return Step(Bidding(order), (CollectBids(),))


def _retry(order: Order, reason: str, returned_wei: Wei) -> Step:
    if order.attempts_left > 0:
        return Step(Renewing(replace(order, attempts_left=order.attempts_left - 1), reason), (RenewDemand(),))
    return Step(Failed(order, reason, returned_wei), ())


def _announcing(job: Announcing, event: RequesterEvent) -> Step:
    match event:
        case CancelRequested():
            return Step(replace(job, cancelled=True), ())
        case DealAnnounced() if job.cancelled:
            return _give_up(job.order, "", renew=False)
        case DealAnnounced() if job.order.demand.mode is Mode.FIRST:
            return Step(Posted(job.order), (PostDemand(), WakeAt(_assign_by(job.order))))
        case DealAnnounced():
            return Step(Bidding(job.order), (CollectBids(),))
        case TransactionRefused() if job.cancelled:
            return Step(Cancelled(job.order), ())
        case TransactionRefused():
            return Step(Failed(job.order, event.reason, Wei(0)), ())
        case DeadlinePassed():
            # From now on the chain would refuse it, so no money can be locked by it any more.
            reason = "the announcement was not mined in time"
            return Step(Cancelled(job.order) if job.cancelled else Failed(job.order, reason, Wei(0)), ())
        case _:
            return Step(job, ())


def _bidding(job: Bidding, event: RequesterEvent, grace_s: int) -> Step:
    match event:
        case BidsClosed() if event.chosen is not None:
            bid, award, deal_id = event.chosen
            deal = Deal(deal_id, award.terms, bid.bid.peer, bid.bid.signer)
            lapses_at = _lapses_at(award.terms, grace_s)
            awarding = Awarding(job.order, deal, award, declined="", cancelled=False)
            return Step(awarding, (SendAward(), WakeAt(lapses_at)))
        case BidsClosed():
            return _give_up(job.order, event.reason, renew=True)
        case CancelRequested():
            return _give_up(job.order, "", renew=False)
        case DealAssigned() if job.order.announcement is not None:
            return _assigned(job.order, event, grace_s, job.order.announcement)
        case DealCancelled() if job.order.announcement is not None:
            return _taken_back(job.order, event, "its time to be assigned was over", renew=True)
        case _:
            return Step(job, ())


def _posted(job: Posted, event: RequesterEvent, grace_s: int) -> Step:
    match event:
        case DealAssigned() if job.order.announcement is not None:
            return _assigned(job.order, event, grace_s, job.order.announcement)
        case DealCancelled():
            return _taken_back(job.order, event, "no provider took it at the posted price", renew=True)
        case DeadlinePassed():
            return _give_up(job.order, "no provider took it at the posted price", renew=True)
        case CancelRequested():
            return _give_up(job.order, "", renew=False)
        case _:
            return Step(job, ())


def _renewing(job: Renewing, event: RequesterEvent) -> Step:
    match event:
        case DemandRenewed():
            return _start(replace(job.order, demand=event.demand, announcement=event.announcement))
        case CancelRequested():
            return Step(Cancelled(job.order), ())
        case _:
            return Step(job, ())


def _awarding(job: Awarding, event: RequesterEvent, grace_s: int) -> Step:
    match event:
        case DealAssigned():
            return _assigned(job.order, event, grace_s, job.deal.terms, job.deal.peer)
        case DealCancelled() if job.order.announcement is not None:
            # Anybody may take an announced demand back once its time is over.
            return _taken_back(job.order, event, _unassigned(job), renew=not job.cancelled)
        case DealCommitted():
            return _result(job.order, job.deal, event)
        case AwardAnswered(accepted=False) if job.order.announcement is not None and not job.cancelled:
            # One escrow stands behind every award of an announced demand, so asking for bids again risks nothing.
            return Step(Bidding(job.order), (CollectBids(),))
        case AwardAnswered(accepted=False):
            return Step(replace(job, declined=event.reason), ())
        case CancelRequested():
            return Step(replace(job, cancelled=True), ())
        case DeadlinePassed():
            return _give_up(job.order, _unassigned(job), renew=not job.cancelled)
        case _:
            return Step(job, ())


def _unassigned(job: Awarding) -> str:
    return f"the provider declined ({job.declined})" if job.declined else "the provider did not assign in time"


def _withdrawing(job: Withdrawing, event: RequesterEvent, grace_s: int) -> Step:
    match event:
        case CancelRequested():
            return Step(replace(job, reason="", renew=False), ())
        case DealCancelled():
            return _taken_back(job.order, event, job.reason, renew=job.renew or bool(job.reason))
        case DealAssigned() if job.order.announcement is not None:
            # A provider was faster than our cancel: the deal stands.
            return _assigned(job.order, event, grace_s, job.order.announcement)
        case _:
            return Step(job, ())


def _running(job: Running, event: RequesterEvent) -> Step:
    match event:
        case DealCommitted():
            return _result(job.order, job.deal, event)
        case DealRefunded():
            return _retry(job.order, "the provider abandoned the deal", event.returned_wei)
        case DealCancelled():
            return Step(Cancelled(job.order), ())
        case DeadlinePassed():
            return Step(Expiring(job.order, job.deal), (SubmitExpire(),))
        case _:
            return Step(job, ())


def _expiring(job: Expiring, event: RequesterEvent) -> Step:
    match event:
        case DealRefunded():
            return _retry(job.order, "the provider did not commit in time", event.returned_wei)
        case DealCancelled():
            return Step(Cancelled(job.order), ())
        case DealCommitted():
            return _result(job.order, job.deal, event)
        case _:
            return Step(job, ())


def _committed(job: Committed, event: RequesterEvent) -> Step:
    match event:
        case AcceptRequested():
            # Said of a result that is fetched again, as the chain has taken its commitment back and made it anew.
            return Step(replace(job, order=replace(job.order, auto_accept=True)), ())
        case ResultFetched():
            return _deliver(job, event.folder, event.receipt)
        case ResultDrawn():
            return _audit(job, event)
        case ResultMissing():
            missing = Withheld(job.order, job.deal, job.commitment, event.at, event.reason)
            return Step(missing, (FetchResult(), _wake_to_claim(job)))
        case DeadlinePassed():
            # The provider is gone; what it did not take holds our deposit.
            return Step(job, (SubmitClaim(),))
        case DealChallenged():
            return Step(Challenged(job.order, job.deal, job.commitment, "", b""), (FetchResult(),))
        case DealFinalized():
            return _pay(job, event)
        case DealJudged():
            return _judged(job, event, "", b"")
        case _:
            return Step(job, ())


def _withheld(job: Withheld, event: RequesterEvent) -> Step:
    match event:
        case AcceptRequested():
            return Step(replace(job, order=replace(job.order, auto_accept=True)), ())
        case ResultFetched():
            return _deliver(job, event.folder, event.receipt)
        case ResultDrawn():
            return _audit(job, event)
        case DeadlinePassed():
            return Step(job, (SubmitClaim(),))
        case DealChallenged():
            return Step(Challenged(job.order, job.deal, job.commitment, "", b""), (FetchResult(),))
        case DealFinalized():
            return _pay(job, event)
        case DealJudged():
            return _judged(job, event, "", b"")
        case _:
            return Step(job, ())


def _auditing(job: Auditing, event: RequesterEvent) -> Step:
    match event:
        case AuditEnded(finding=AuditFinding.DIFFERS):
            faulty = Faulty(job.order, job.deal, job.commitment, job.folder, job.receipt, event.step, event.reason)
            return Step(faulty, (_wake_to_claim(job),))
        case AuditEnded(finding=AuditFinding.UNCLEAR):
            # The user may still accept; nobody does so unasked.
            waiting = replace(job, order=replace(job.order, auto_accept=False))
            return _deliver(waiting, job.folder, job.receipt)
        case AuditEnded():
            return _deliver(job, job.folder, job.receipt)
        case AcceptRequested():
            # It takes effect once the audit has ended well.
            return Step(replace(job, order=replace(job.order, auto_accept=True)), ())
        case _:
            return _kept(job, event)


def _faulty(job: Faulty, event: RequesterEvent) -> Step:
    match event:
        case AcceptRequested():
            # Its user knows, and wants it all the same.
            accepted = replace(job, order=replace(job.order, auto_accept=True))
            return _deliver(accepted, job.folder, job.receipt)
        case _:
            return _kept(job, event)


def _kept(job: Auditing | Faulty, event: RequesterEvent) -> Step:
    """What happens to a result that is here, whatever is thought of it."""
    match event:
        case DeadlinePassed():
            return Step(job, (SubmitClaim(),))
        case DealChallenged():
            return Step(Challenged(job.order, job.deal, job.commitment, job.folder, job.receipt), ())
        case DealFinalized():
            return Step(_settle(job, event, job.folder, job.receipt), ())
        case DealJudged():
            return _judged(job, event, job.folder, job.receipt)
        case _:
            return Step(job, ())


def _delivered(job: Delivered, event: RequesterEvent) -> Step:
    match event:
        case AcceptRequested():
            return Step(job, (SendAccept(),))
        case DeadlinePassed():
            return Step(job, (SubmitClaim(),))
        case DealChallenged():
            return Step(Challenged(job.order, job.deal, job.commitment, job.folder, job.receipt), ())
        case DealFinalized():
            return Step(_settle(job, event, job.folder, job.receipt), ())
        case DealJudged():
            return _judged(job, event, job.folder, job.receipt)
        case _:
            return Step(job, ())


def _challenged(job: Challenged, event: RequesterEvent) -> Step:
    match event:
        case AcceptRequested():
            # Said before the challenge was known of: it takes effect once the challenge has failed.
            return Step(replace(job, order=replace(job.order, auto_accept=True)), ())
        case ResultFetched():
            return Step(replace(job, folder=event.folder, receipt=event.receipt), ())
        case ChallengeClosed(open_challenges=0) if job.folder:
            return _deliver(job, job.folder, job.receipt)
        case ChallengeClosed(open_challenges=0):
            return _result(job.order, job.deal, job.commitment)
        case DealJudged():
            return _judged(job, event, job.folder, job.receipt)
        case DealFinalized() if job.folder:
            return Step(_settle(job, event, job.folder, job.receipt), ())
        case DealFinalized():
            return _pay(job, event)
        case _:
            return Step(job, ())


def _judged(
    job: Committed | Withheld | Auditing | Faulty | Delivered | Challenged,
    event: DealJudged,
    folder: str,
    receipt: bytes,
) -> Step:
    """The court's word. Nothing need have been heard of before: a leaf that none may commit ends a deal at once."""
    if event.ending is Ending.OVERTURNED:
        return _retry(job.order, "the court overturned the result", event.returned_wei)
    undecided = Undecided(
        job.order, job.deal, job.commitment, event.ending, folder, receipt, event.paid_wei, event.returned_wei
    )
    return Step(undecided, ())


def _paid(job: Paid, event: RequesterEvent) -> Step:
    match event:
        case ResultFetched():
            return Step(_settle(job, job, event.folder, event.receipt), ())
        case DeadlinePassed():
            return Step(_settle(job, job, "", b""), ())
        case _:
            return Step(job, ())


_Here = Committed | Withheld | Auditing | Faulty | Challenged


def _deliver(job: _Here, folder: str, receipt: bytes) -> Step:
    delivered = Delivered(job.order, job.deal, job.commitment, folder, receipt)
    wake = _wake_to_claim(job)
    return Step(delivered, (SendAccept(), wake) if job.order.auto_accept else (wake,))


def _audit(job: Committed | Withheld, event: ResultDrawn) -> Step:
    auditing = Auditing(job.order, job.deal, job.commitment, event.folder, event.receipt)
    return Step(auditing, (AuditResult(), _wake_to_claim(job)))


def _wake_to_claim(job: _Here) -> WakeAt:
    return WakeAt(_claim_at(job.deal.terms, job.commitment))


def _pay(job: Committed | Withheld | Challenged, event: DealFinalized) -> Step:
    """Money has moved before the result was here."""
    paid = Paid(job.order, job.deal, job.commitment, event.paid_wei, event.returned_wei)
    final_at = max(job.commitment.window_ends_at, event.at)
    return Step(paid, (FetchResult(), WakeAt(UnixTime(final_at + job.order.demand.retention_s))))


def _settle(
    job: Auditing | Faulty | Delivered | Challenged | Paid, money: DealFinalized | Paid, folder: str, receipt: bytes
) -> Settled:
    return Settled(job.order, job.deal, job.commitment, folder, receipt, money.paid_wei, money.returned_wei)


def _assigned(order: Order, event: DealAssigned, grace_s: int, known: Terms, awarded: PeerId = NO_PEER) -> Step:
    """The deal as the chain has bound it: an earlier award of an announced demand may be the one that was used."""
    terms = replace(known, provider=event.provider, price_wei=event.price_wei)
    peer = awarded if event.provider == known.provider else NO_PEER
    deal = Deal(event.deal_id, terms, peer, event.locked_by)
    return Step(Running(order, deal), (WakeAt(UnixTime(terms.commit_by + grace_s)),))


def _result(order: Order, deal: Deal, event: DealCommitted) -> Step:
    bound = replace(deal, locked_by=event.locked_by)
    wait_s = min(DELIVERY_S + order.spec.resources.disk_bytes // DELIVERED_BYTES_PER_S, deal.terms.window_s // 2)
    commands = (FetchResult(), ExpectResult(UnixTime(event.at + wait_s)), WakeAt(_claim_at(deal.terms, event)))
    return Step(Committed(order, bound, event), commands)


def _give_up(order: Order, reason: str, *, renew: bool) -> Step:
    """End the attempt: an announced demand is taken back first, another attempt follows where one is left."""
    again = renew and order.attempts_left > 0
    if order.announcement is not None:
        return Step(Withdrawing(order, reason if renew else "", again), (SubmitCancel(),))
    if again:
        return _retry(order, reason, Wei(0))
    return Step(Failed(order, reason, Wei(0)) if renew else Cancelled(order), ())


def _taken_back(order: Order, event: DealCancelled, reason: str, *, renew: bool) -> Step:
    """The announced demand's money is back in escrow."""
    return _retry(order, reason, event.returned_wei) if renew else Step(Cancelled(order), ())


def _assign_by(order: Order) -> UnixTime:
    assert order.announcement is not None, "only an announced demand is posted"
    return order.announcement.assign_by


def _lapses_at(terms: Terms, grace_s: int) -> UnixTime:
    """When an award can no longer be used: a DIRECT one is good until the commit's own deadline."""
    return UnixTime(terms.commit_by + grace_s) if terms.mode is Mode.DIRECT else terms.assign_by


def _claim_at(terms: Terms, commitment: DealCommitted) -> UnixTime:
    """When the claim is ours to send, should the provider not have."""
    patience_s = min(max(terms.window_s, MIN_CLAIM_PATIENCE_S), MAX_CLAIM_PATIENCE_S)
    return UnixTime(commitment.window_ends_at + patience_s)
