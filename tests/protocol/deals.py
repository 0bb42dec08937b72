"""Well-formed records for tests of the state machines; every value is arbitrary but valid."""

from dataclasses import replace

from capanode.protocol.events import (
    AcceptReceived,
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
    ExecutionFailed,
    ExecutionFinished,
    JobSubmitted,
    Prepared,
    PrepareFailed,
    ProviderEvent,
    ProviderLost,
    ProviderReturned,
    RequesterEvent,
    ResultDrawn,
    ResultDropped,
    ResultFetched,
    ResultMissing,
    TransactionRefused,
    WorkTaken,
)
from capanode.protocol.ids import (
    ZERO_ADDRESS,
    ZERO_DIGEST,
    Address,
    Cid,
    DealId,
    DemandDigest,
    Digest,
    PeerId,
    Ppm,
    SpecDigest,
    TxHash,
    UnixTime,
    Wei,
)
from capanode.protocol.records import (
    Bid,
    Demand,
    Image,
    Mode,
    RegistryImage,
    Resources,
    SignedAward,
    SignedBid,
    Spec,
    Terms,
    VerificationClass,
)

REQUESTER = Address(b"\x01" * 20)
PROVIDER = Address(b"\x02" * 20)
STRANGER = Address(b"\x03" * 20)
DEAL = DealId(b"\x0d" * 32)
TX = TxHash(b"\x0e" * 32)
NOW = UnixTime(1_800_000_000)
GRACE_S = 60

SPEC = Spec(
    image=Image(RegistryImage("registry.test/busybox@sha256:" + "ab" * 32), None),
    argv=("true",),
    env=(),
    inputs=(),
    resources=Resources(1000, 2**26, 2**24, 10, None),
    verification=VerificationClass.EXACT,
    deterministic_stdout=False,
)


def demand(mode: Mode = Mode.LOCK) -> Demand:
    """A demand, announced when the mode says so."""
    return Demand(
        requester=REQUESTER,
        peer=PeerId("16Uiu2requester"),
        addresses=(),
        spec=SpecDigest(b"\x04" * 32),
        input_root=Digest(b"\x05" * 32),
        first_step=0,
        step_limit=1,
        verification=VerificationClass.EXACT,
        hardware_class="",
        resources=SPEC.resources,
        image_bytes=0,
        input_bytes=0,
        price_cap_wei=Wei(1000),
        verification_wei=Wei(30),
        audit_rate_ppm=Ppm(200_000),
        window_s=20,
        commit_within_s=100,
        retention_s=3600,
        mode=mode,
        deal_id=DEAL if mode in (Mode.AWARD, Mode.FIRST) else None,
        expires_at=UnixTime(NOW + 600),
        salt=Digest(b"\x06" * 32),
    )


def terms(mode: Mode = Mode.LOCK) -> Terms:
    """Bound terms: provider and price filled in."""
    return Terms(
        requester=REQUESTER,
        provider=PROVIDER,
        demand_digest=DemandDigest(b"\x07" * 32),
        price_wei=Wei(900),
        verification_wei=Wei(30),
        fraud_bond_wei=Wei(4500),
        assign_by=UnixTime(NOW + 30),
        commit_by=UnixTime(NOW + 130),
        window_s=20,
        mode=mode,
        salt=Digest(b"\x08" * 32),
    )


def announcement(mode: Mode) -> Terms:
    """The announcement behind `terms`."""
    return replace(terms(mode), provider=ZERO_ADDRESS, price_wei=Wei(1000))


def award(mode: Mode = Mode.LOCK) -> SignedAward:
    """A signed award; the signature is no one's."""
    return SignedAward(terms(mode), DEAL if mode in (Mode.AWARD, Mode.FIRST) else None, b"\x09" * 65)


BID = SignedBid(
    Bid(
        provider=PROVIDER,
        signer=PROVIDER,
        peer=PeerId("16Uiu2provider"),
        demand=Digest(b"\x0a" * 32),
        price_wei=Wei(900),
        ready_in_s=0,
        hardware_class="x86_64-v3",
        expires_at=UnixTime(NOW + 60),
    ),
    b"\x0b" * 65,
)


def submitted(mode: Mode = Mode.LOCK, attempts: int = 1, *, auto_accept: bool = False) -> JobSubmitted:
    """A job as its user submits it."""
    on_chain = announcement(mode) if mode in (Mode.AWARD, Mode.FIRST) else None
    return JobSubmitted("job", SPEC, demand(mode), on_chain, Wei(1000), attempts, auto_accept)


def work_taken(mode: Mode = Mode.LOCK) -> WorkTaken:
    """The provider's agreement to the deal."""
    return WorkTaken(DEAL, award(mode), demand(mode), SPEC, PeerId("16Uiu2requester"))


ANNOUNCED = DealAnnounced(DEAL, TX, NOW)
ASSIGNED = DealAssigned(DEAL, PROVIDER, Wei(900), PROVIDER, TX, NOW)
ASSIGNED_TO_STRANGER = DealAssigned(DEAL, STRANGER, Wei(900), STRANGER, TX, NOW)
COMMITTED = DealCommitted(
    deal_id=DEAL,
    provider=PROVIDER,
    trace_root=Digest(b"\x10" * 32),
    result_root=Digest(b"\x11" * 32),
    delivery_root=Digest(b"\x11" * 32),
    leaves_cid=ZERO_DIGEST,
    step_count=1,
    status=0,
    amount_wei=Wei(900),
    window_ends_at=UnixTime(NOW + 50),
    locked_by=PROVIDER,
    tx=TX,
    at=NOW,
)
FINALIZED = DealFinalized(DEAL, Wei(900), Wei(30), TX, NOW)
REFUNDED = DealRefunded(DEAL, Wei(930), Wei(90), 1, TX, NOW)
CANCELLED = DealCancelled(DEAL, Wei(0), Wei(930), TX, NOW)
CHALLENGED = DealChallenged(DEAL, 1, TX, NOW)
CLOSED_ONE = ChallengeClosed(DEAL, 1, TX, NOW)
CLOSED = ChallengeClosed(DEAL, 0, TX, NOW)
OVERTURNED = DealJudged(DEAL, Ending.OVERTURNED, Wei(0), Wei(930), Wei(4500), TX, NOW)
VOID = DealJudged(DEAL, Ending.VOID, Wei(450), Wei(450), Wei(0), TX, NOW)
SPLIT = DealJudged(DEAL, Ending.SPLIT, Wei(450), Wei(470), Wei(0), TX, NOW)
FINISHED = ExecutionFinished(0, "exited", Digest(b"\x11" * 32), ZERO_DIGEST, Cid("bafk"), 1, 2, 3, 4)
PASSED = DeadlinePassed(NOW)
REFUSED = TransactionRefused("assign", "the stake is too small")


def chosen(mode: Mode = Mode.LOCK) -> BidsClosed:
    """The end of a bid window with an award of that mode."""
    return BidsClosed(BID, award(mode), DEAL, 1, "")


def renewed(mode: Mode = Mode.LOCK) -> DemandRenewed:
    """The demand made anew."""
    return DemandRenewed(demand(mode), announcement(mode) if mode in (Mode.AWARD, Mode.FIRST) else None)


DRAWN = ResultDrawn("/results/1", b"receipt")
MISSING = ResultMissing(NOW, "the provider does not answer")
AUDITS = tuple(AuditEnded(finding, 0, "why") for finding in AuditFinding)
NOBODY = BidsClosed(None, None, None, 0, "nobody bid")

PROVIDER_EVENTS: tuple[ProviderEvent, ...] = (
    ANNOUNCED,
    ASSIGNED,
    ASSIGNED_TO_STRANGER,
    COMMITTED,
    FINALIZED,
    REFUNDED,
    CANCELLED,
    CHALLENGED,
    CLOSED_ONE,
    CLOSED,
    OVERTURNED,
    VOID,
    SPLIT,
    REFUSED,
    PASSED,
    work_taken(),
    Prepared(),
    PrepareFailed("no image"),
    FINISHED,
    ExecutionFailed("engine lost"),
    AcceptReceived(b"\x09" * 65),
    ResultDropped(),
)
REQUESTER_EVENTS: tuple[RequesterEvent, ...] = (
    ANNOUNCED,
    ASSIGNED,
    ASSIGNED_TO_STRANGER,
    COMMITTED,
    FINALIZED,
    REFUNDED,
    CANCELLED,
    CHALLENGED,
    CLOSED_ONE,
    CLOSED,
    OVERTURNED,
    VOID,
    SPLIT,
    REFUSED,
    PASSED,
    submitted(),
    chosen(Mode.LOCK),
    chosen(Mode.DIRECT),
    chosen(Mode.AWARD),
    NOBODY,
    AwardAnswered(True, ""),
    AwardAnswered(False, "busy"),
    ResultFetched("/results/1", b"receipt"),
    DRAWN,
    MISSING,
    *AUDITS,
    AcceptRequested(),
    CancelRequested(),
    ProviderLost(NOW, UnixTime(NOW + 60)),
    ProviderReturned(),
    renewed(Mode.LOCK),
    renewed(Mode.AWARD),
    renewed(Mode.FIRST),
)
