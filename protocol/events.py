"""What happened to a deal, in the past tense: the only input of the state machines.

Chain events come from confirmed logs and are true. The others are what this node itself did or saw: a stranger's
message becomes an event only after its signature and its bounds were checked.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from capanode.protocol.cases import CaseEvent, CaseOpened, Claimed, Kind, Papers, ShownLeaf, Vote
from capanode.protocol.ids import Address, CaseId, Cid, DealId, Digest, PeerId, TxHash, UnixTime, Wei
from capanode.protocol.records import Demand, SignedAward, SignedBid, Spec, Terms

# ---- from confirmed logs -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DealAnnounced:
    """The demand is on chain and its money is locked. Source: `DealAnnounced`."""

    RECORD: ClassVar[tuple[str, int]] = ("deal-announced", 1)
    deal_id: DealId
    tx: TxHash
    at: UnixTime


@dataclass(frozen=True, slots=True)
class DealAssigned:
    """Both sides are bound. Source: `DealAssigned`."""

    RECORD: ClassVar[tuple[str, int]] = ("deal-assigned", 1)
    deal_id: DealId
    provider: Address
    price_wei: Wei
    locked_by: Address
    tx: TxHash
    at: UnixTime


@dataclass(frozen=True, slots=True)
class DealCommitted:
    """The provider has committed to a result. Source: `DealCommitted`."""

    RECORD: ClassVar[tuple[str, int]] = ("deal-committed", 1)
    deal_id: DealId
    provider: Address
    trace_root: Digest
    result_root: Digest
    delivery_root: Digest
    leaves_cid: Digest
    step_count: int
    status: int
    amount_wei: Wei
    window_ends_at: UnixTime
    locked_by: Address
    tx: TxHash
    at: UnixTime


@dataclass(frozen=True, slots=True)
class DealFinalized:
    """The provider was paid `paid_wei`, the requester got `returned_wei` back. Source: `DealFinalized`."""

    RECORD: ClassVar[tuple[str, int]] = ("deal-finalized", 1)
    deal_id: DealId
    paid_wei: Wei
    returned_wei: Wei
    tx: TxHash
    at: UnixTime


@dataclass(frozen=True, slots=True)
class DealRefunded:
    """The requester got everything back; `burned_wei` left the provider's bond. Source: `DealRefunded`."""

    RECORD: ClassVar[tuple[str, int]] = ("deal-refunded", 1)
    deal_id: DealId
    returned_wei: Wei
    burned_wei: Wei
    reason: int
    tx: TxHash
    at: UnixTime


@dataclass(frozen=True, slots=True)
class DealCancelled:
    """Cancelled before assignment, or by both sides after it. Source: `DealCancelled`."""

    RECORD: ClassVar[tuple[str, int]] = ("deal-cancelled", 1)
    deal_id: DealId
    paid_wei: Wei
    returned_wei: Wei
    tx: TxHash
    at: UnixTime


@dataclass(frozen=True, slots=True)
class DealChallenged:
    """One more challenge is open, `open_challenges` in all. Source: `DealChallenged`."""

    RECORD: ClassVar[tuple[str, int]] = ("deal-challenged", 1)
    deal_id: DealId
    open_challenges: int
    tx: TxHash
    at: UnixTime


@dataclass(frozen=True, slots=True)
class ChallengeClosed:
    """A challenge has failed; `open_challenges` are left, and with none the deal goes on. Source: `ChallengeClosed`."""

    RECORD: ClassVar[tuple[str, int]] = ("challenge-closed", 1)
    deal_id: DealId
    open_challenges: int
    tx: TxHash
    at: UnixTime


class Ending(StrEnum):
    """How the court ended a deal. Source: PROTOCOL §8."""

    OVERTURNED = "overturned"
    """The result was found wrong."""

    VOID = "void"
    """Nobody can reproduce a result."""

    SPLIT = "split"
    """The court came to no decision."""


@dataclass(frozen=True, slots=True)
class DealJudged:
    """The court has ended the deal, and with it all its challenges. Source: `DealJudged`.

    `paid_wei` went to the provider, `returned_wei` back to the requester, `lost_wei` left the provider's bond.
    """

    RECORD: ClassVar[tuple[str, int]] = ("deal-judged", 1)
    deal_id: DealId
    ending: Ending
    paid_wei: Wei
    returned_wei: Wei
    lost_wei: Wei
    tx: TxHash
    at: UnixTime


DealEvent = (
    DealAnnounced
    | DealAssigned
    | DealCommitted
    | DealFinalized
    | DealRefunded
    | DealCancelled
    | DealChallenged
    | ChallengeClosed
    | DealJudged
)
ChainEvent = DealEvent | CaseEvent
"""What a confirmed log said, of a deal or of a case about one."""


def subject_of(event: ChainEvent) -> DealId | CaseId:
    """What the event is about: a case by its own id, else the deal."""
    return event.case_id if isinstance(event, CaseEvent) else event.deal_id


# ---- of this node --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TransactionRefused:
    """The chain would not take the transaction of the current phase; `reason` is the decoded error."""

    RECORD: ClassVar[tuple[str, int]] = ("transaction-refused", 1)
    verb: str
    reason: str


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """Chain time is past the moment that the current phase was waiting for."""

    RECORD: ClassVar[tuple[str, int]] = ("deadline-passed", 1)
    at: UnixTime


# requester


@dataclass(frozen=True, slots=True)
class JobSubmitted:
    """A user wants this done. `announcement` is there when the demand goes on chain; `attempts` counts retries too.

    `avoid` are providers that are not awarded it, beside those that the node avoids at all.
    """

    RECORD: ClassVar[tuple[str, int]] = ("job-submitted", 1)
    name: str
    spec: Spec
    demand: Demand
    announcement: Terms | None
    target_price_wei: Wei
    attempts: int
    auto_accept: bool
    avoid: tuple[Address, ...] | None = None


@dataclass(frozen=True, slots=True)
class DemandRenewed:
    """The same job under a new salt and expiry: nobody took the demand before, or its provider failed."""

    RECORD: ClassVar[tuple[str, int]] = ("demand-renewed", 1)
    demand: Demand
    announcement: Terms | None


@dataclass(frozen=True, slots=True)
class BidsClosed:
    """The bid window is over. `award` is the chosen bid made binding, absent when no bid was acceptable."""

    RECORD: ClassVar[tuple[str, int]] = ("bids-closed", 1)
    bid: SignedBid | None
    award: SignedAward | None
    deal_id: DealId | None
    considered: int
    reason: str

    @property
    def chosen(self) -> tuple[SignedBid, SignedAward, DealId] | None:
        """The bid, the award and the deal id, where one was awarded."""
        if self.bid is None or self.award is None or self.deal_id is None:
            return None
        return self.bid, self.award, self.deal_id


@dataclass(frozen=True, slots=True)
class AwardAnswered:
    """The provider took or declined the award. A hint: only the chain says that it is bound."""

    RECORD: ClassVar[tuple[str, int]] = ("award-answered", 1)
    accepted: bool
    reason: str


@dataclass(frozen=True, slots=True)
class ResultFetched:
    """The outputs are here and hash to the committed root."""

    RECORD: ClassVar[tuple[str, int]] = ("result-fetched", 1)
    folder: str
    receipt: bytes


@dataclass(frozen=True, slots=True)
class ResultDrawn:
    """As `ResultFetched`, and the secret coin says that this node recomputes it before it accepts."""

    RECORD: ClassVar[tuple[str, int]] = ("result-drawn", 1)
    folder: str
    receipt: bytes


@dataclass(frozen=True, slots=True)
class ResultMissing:
    """The bytes of a committed result could not be had in time; `reason` is what came of the last attempt."""

    RECORD: ClassVar[tuple[str, int]] = ("result-missing", 1)
    at: UnixTime
    reason: str


class AuditFinding(StrEnum):
    """What came of recomputing a result."""

    HOLDS = "holds"
    DIFFERS = "differs"
    UNCLEAR = "unclear"
    """This node could not do it, or its limits got in the way: nothing is accepted before its time."""

    WAIVED = "waived"
    """As unclear, and the operator has said to accept such results all the same."""


@dataclass(frozen=True, slots=True)
class AuditEnded:
    """The result was recomputed as far as this node could; `step` is the first that does not hold, if one does not."""

    RECORD: ClassVar[tuple[str, int]] = ("audit-ended", 1)
    finding: AuditFinding
    step: int
    reason: str


@dataclass(frozen=True, slots=True)
class AcceptRequested:
    """The user accepts the result."""

    RECORD: ClassVar[tuple[str, int]] = ("accept-requested", 1)


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """The user no longer wants the job."""

    RECORD: ClassVar[tuple[str, int]] = ("cancel-requested", 1)


@dataclass(frozen=True, slots=True)
class ProviderLost:
    """The deal's provider does not answer any more. A hint for the user: no phase changes and no money moves by it.

    `refund_at` is when the money is free again if it stays away, zero once it has committed.
    """

    RECORD: ClassVar[tuple[str, int]] = ("provider-lost", 1)
    since: UnixTime
    refund_at: UnixTime


@dataclass(frozen=True, slots=True)
class ProviderReturned:
    """The deal's provider answers again."""

    RECORD: ClassVar[tuple[str, int]] = ("provider-returned", 1)


# provider


@dataclass(frozen=True, slots=True)
class WorkTaken:
    """This node has agreed to a deal: an award that names it, or a posted price that it takes.

    For a posted price (`Mode.FIRST`) no signature is needed and `award.signature` is one zero byte.
    """

    RECORD: ClassVar[tuple[str, int]] = ("work-taken", 1)
    deal_id: DealId
    award: SignedAward
    demand: Demand
    spec: Spec
    requester_peer: PeerId


@dataclass(frozen=True, slots=True)
class Prepared:
    """Image and inputs are on this machine and verified."""

    RECORD: ClassVar[tuple[str, int]] = ("prepared", 1)


@dataclass(frozen=True, slots=True)
class PrepareFailed:
    """Image or inputs could not be had; nothing is lost yet."""

    RECORD: ClassVar[tuple[str, int]] = ("prepare-failed", 1)
    reason: str


@dataclass(frozen=True, slots=True)
class Traced:
    """The trace of a job of several steps: the blob with all leaves, the digest in its CID, and what a commit posts."""

    step_count: int
    leaf_list: Cid
    leaves_cid: Digest
    posted: tuple[Digest, ...]


@dataclass(frozen=True, slots=True)
class ExecutionFinished:
    """The requester's program ended, by itself or at one of its limits: a payable result.

    `status` is the exit code, 137 for out of memory, 124 for the time limit. `outcome` is the word for people. After
    several steps it is the last one's, and `traced` says what led there.
    Times are Unix seconds as the engine gives them; usage is this host's own reading.
    """

    RECORD: ClassVar[tuple[str, int]] = ("execution-finished", 1)
    status: int
    outcome: str
    result_root: Digest
    stdout_root: Digest
    manifest: Cid
    started_at_ms: int
    finished_at_ms: int
    cpu_ns: int
    peak_memory_bytes: int
    traced: Traced | None = None


@dataclass(frozen=True, slots=True)
class ExecutionFailed:
    """This side could not run the job (engine, disk, pull): not payable, may be tried again in time."""

    RECORD: ClassVar[tuple[str, int]] = ("execution-failed", 1)
    reason: str


@dataclass(frozen=True, slots=True)
class AcceptReceived:
    """The requester's signature that finalizes at once."""

    RECORD: ClassVar[tuple[str, int]] = ("accept-received", 1)
    signature: bytes


@dataclass(frozen=True, slots=True)
class ResultDropped:
    """The retained result was deleted: its time is over."""

    RECORD: ClassVar[tuple[str, int]] = ("result-dropped", 1)


# challenger and arbiter


@dataclass(frozen=True, slots=True)
class Contest:
    """What a challenger says is wrong with a result, and with what it will prove that it knew.

    `answer` is the leaf that it has computed, or any other value where there is none to compute; `salt` hides it until
    it is shown. Both are drawn before anything is sent, and never again. What is said of withheld leaves has no answer
    before one of them is named. A leaf that speaks against itself is `shown` as it is; `step` is its position then.
    """

    RECORD: ClassVar[tuple[str, int]] = ("contest", 1)
    papers: Papers
    kind: Kind
    step: int
    claimed: Claimed
    answer: Digest
    salt: Digest
    challenger: Address
    window_ends_at: UnixTime
    reason: str
    shown: ShownLeaf | None = None


@dataclass(frozen=True, slots=True)
class ChallengeWanted:
    """This node has found a result wrong, and will say so on chain."""

    RECORD: ClassVar[tuple[str, int]] = ("challenge-wanted", 1)
    contest: Contest


@dataclass(frozen=True, slots=True)
class ChallengePlanned:
    """How the challenge can be made now: in a case of its own, or in one of others that can still be joined."""

    RECORD: ClassVar[tuple[str, int]] = ("challenge-planned", 1)
    serial: int
    joins: CaseOpened | None


@dataclass(frozen=True, slots=True)
class NodeChosen:
    """Of the nodes shown, number `child` is the first that differs; `siblings` lead from it to the one asked about."""

    RECORD: ClassVar[tuple[str, int]] = ("node-chosen", 1)
    child: int
    siblings: tuple[Digest, ...]


@dataclass(frozen=True, slots=True)
class LeafChosen:
    """As `NodeChosen`, and the node is the leaf after `step`; here the step leads to `answer`.

    `serial` is a number under which no case about the step was opened yet.
    """

    RECORD: ClassVar[tuple[str, int]] = ("leaf-chosen", 1)
    child: int
    siblings: tuple[Digest, ...]
    step: int
    answer: Digest
    serial: int


@dataclass(frozen=True, slots=True)
class NothingDiffers:
    """What the provider has shown is what was computed here: no step can be named."""

    RECORD: ClassVar[tuple[str, int]] = ("nothing-differs", 1)


@dataclass(frozen=True, slots=True)
class SeatFound:
    """A committee has been drawn with this node's wallet in it. Where it sits, the log says that follows."""

    RECORD: ClassVar[tuple[str, int]] = ("seat-found", 1)
    case_id: CaseId
    round: int
    arbiter: Address
    vote_by: UnixTime


@dataclass(frozen=True, slots=True)
class StepJudged:
    """What this node has found by looking for itself, and what hides its vote until it is revealed."""

    RECORD: ClassVar[tuple[str, int]] = ("step-judged", 1)
    vote: Vote
    leaf: Digest
    salt: Digest
    reason: str


ProviderEvent = (
    DealEvent
    | TransactionRefused
    | DeadlinePassed
    | WorkTaken
    | Prepared
    | PrepareFailed
    | ExecutionFinished
    | ExecutionFailed
    | AcceptReceived
    | ResultDropped
)
RequesterEvent = (
    DealEvent
    | TransactionRefused
    | DeadlinePassed
    | JobSubmitted
    | DemandRenewed
    | BidsClosed
    | AwardAnswered
    | ResultFetched
    | ResultDrawn
    | ResultMissing
    | AuditEnded
    | AcceptRequested
    | CancelRequested
    | ProviderLost
    | ProviderReturned
)
ChallengerEvent = (
    ChainEvent
    | TransactionRefused
    | DeadlinePassed
    | ChallengeWanted
    | ChallengePlanned
    | NodeChosen
    | LeafChosen
    | NothingDiffers
)
ArbiterEvent = ChainEvent | TransactionRefused | DeadlinePassed | SeatFound | StepJudged
