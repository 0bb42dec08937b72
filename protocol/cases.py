"""Cases before the court: what happened in one, and where that leaves it.

A case is the fold of its logs, as a deal is of its own. What the court will take next follows from it and from the
chain's head alone, so that whoever has an interest can move a case on without having taken part in it.

**Source**: docs/protocol.md §12; `contracts/src/interfaces/IDisputeCourt.sol`, `contracts/src/types/Case.sol`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import ClassVar, Final, assert_never

from eth_hash.auto import keccak

from capanode.protocol.ids import ZERO_DIGEST, Address, CaseId, DealId, Digest, TxHash, UnixTime, Wei
from capanode.protocol.judging import Rules
from capanode.protocol.records import Terms

ANSWER_TAG: Final = Digest(keccak(b"capanode.answer.1"))
VOTE_TAG: Final = Digest(keccak(b"capanode.vote.1"))

HASHED_BLOCKS: Final = 256
"""Blocks behind the head whose hashes a contract can ask for. Source: EVM, BLOCKHASH."""

FOUND_LEAF_BYTES: Final = 26

NEVER: Final = UnixTime(0)
"""Stands for a time that is not known yet."""

LEVELS: Final = 3
"""Levels of the tree that one answer of a forced reveal shows. Source: `ForcedReveals.LEVELS`."""


class Kind(IntEnum):
    """What is said to be wrong with a result."""

    STEP = 0
    DATA = 1
    SPEC = 2
    WITHHELD = 3
    AUDIT = 4


class CasePhase(IntEnum):
    """Where a case stands; as the court's slot counts."""

    NONE = 0
    OPEN = 1
    DRAWING = 2
    VOTING = 3
    REVEALING = 4
    DECIDED = 5
    ASKED = 6
    ANSWERED = 7
    CLOSED = 8


class Vote(IntEnum):
    """What an arbiter found."""

    NONE = 0
    UPHOLD = 1
    OVERTURN = 2
    UNREPRODUCIBLE = 3
    UNAVAILABLE = 4


class Verdict(IntEnum):
    """What came of a case."""

    NONE = 0
    UPHELD = 1
    OVERTURNED = 2
    VOID = 3
    SPLIT = 4
    LAPSED = 5
    MOOT = 6


# ---- what is hidden, and what names a case -------------------------------------------------------------------------


def case_id_of(deal_id: DealId, kind: Kind, step: int, serial: int) -> CaseId:
    """The court's name for a case: keccak256(abi.encode(dealId, kind, step, serial))."""
    return CaseId(keccak(deal_id + _word(kind) + _word(step) + _word(serial)))


def hidden_answer(case_id: CaseId, answer: Digest, salt: Digest, challenger: Address) -> Digest:
    """What a challenger puts on chain before it shows its answer; good for nobody else and for no other case."""
    return Digest(keccak(ANSWER_TAG + case_id + answer + salt + bytes(12) + challenger))


def hidden_vote(case_id: CaseId, round_number: int, vote: Vote, leaf: Digest, salt: Digest, arbiter: Address) -> Digest:
    """What an arbiter puts on chain before it reveals its vote."""
    words = (VOTE_TAG, case_id, _word(round_number), _word(vote), leaf, salt, bytes(12) + arbiter)
    return Digest(keccak(b"".join(words)))


def as_found(leaf: Digest) -> Digest:
    """A leaf as the court tells what a committee has agreed on: a vote and 208 bits share a word.

    **Source**: `Judgement.LEAF`.
    """
    return Digest(leaf[-FOUND_LEAF_BYTES:].rjust(len(leaf), b"\0"))


# ---- what the court's calls name a deal by -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Papers:
    """A committed deal as the court compares it with what the deal's slot and terms bind: preimages only."""

    RECORD: ClassVar[tuple[str, int]] = ("papers", 1)

    deal_id: DealId
    terms: Terms
    locked_by: Address
    amount_wei: Wei
    trace_root: Digest
    result_root: Digest
    delivery_root: Digest
    leaves_cid: Digest
    step_count: int
    status: int
    spec: Digest
    input_root: Digest
    first_step: int
    step_limit: int
    rules: Rules


@dataclass(frozen=True, slots=True)
class Claimed:
    """The leaf that the provider committed to after a step, and its proof; zero and empty where none is judged."""

    leaf: Digest = ZERO_DIGEST
    proof: tuple[Digest, ...] = ()


@dataclass(frozen=True, slots=True)
class ShownLeaf:
    """A leaf spelled out, so that the court sees what it says; as `LeafProof`."""

    index: int
    state_root: Digest
    exit_code: int
    stdout_root: Digest
    done: bool


@dataclass(frozen=True, slots=True)
class TraceNode:
    """A node of a committed trace: its height above the leaves, its number there, and its proof up to the root."""

    node: Digest
    height: int
    index: int
    proof: tuple[Digest, ...] = ()


# ---- logs of the court ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CaseOpened:
    """Somebody disputes a result. `seed_block` draws the arbiters; zero where none are needed. Source: `Challenged`."""

    RECORD: ClassVar[tuple[str, int]] = ("case-opened", 1)
    case_id: CaseId
    deal_id: DealId
    opener: Address
    kind: Kind
    step: int
    serial: int
    bond_wei: Wei
    answer: Digest
    seed_block: int
    tx: TxHash
    at: UnixTime


@dataclass(frozen=True, slots=True)
class ChallengerJoined:
    """One more says the same. Source: `Joined`."""

    RECORD: ClassVar[tuple[str, int]] = ("challenger-joined", 1)
    case_id: CaseId
    challenger: Address
    index: int
    bond_wei: Wei
    answer: Digest
    tx: TxHash
    at: UnixTime


@dataclass(frozen=True, slots=True)
class AnswerShown:
    """A challenger has opened what it had hidden. Source: `AnswerShown`."""

    RECORD: ClassVar[tuple[str, int]] = ("answer-shown", 1)
    case_id: CaseId
    challenger: Address
    index: int
    answer: Digest
    salt: Digest
    tx: TxHash
    at: UnixTime


@dataclass(frozen=True, slots=True)
class DrawingBegun:
    """A committee will be drawn by a block to come. Source: `Drawing`."""

    RECORD: ClassVar[tuple[str, int]] = ("drawing-begun", 1)
    case_id: CaseId
    round: int
    seats: int
    seed_block: int
    tx: TxHash
    at: UnixTime


@dataclass(frozen=True, slots=True)
class CommitteeDrawn:
    """Who judges, seat by seat; `step` is the one chosen by lot in an audit. Source: `Drawn`.

    `market` is that of the court which drew them.
    """

    RECORD: ClassVar[tuple[str, int]] = ("committee-drawn", 1)
    case_id: CaseId
    market: Address
    pool: Digest
    round: int
    step: int
    claimed_leaf: Digest
    vote_by: UnixTime
    arbiters: tuple[Address, ...]
    tx: TxHash
    at: UnixTime


@dataclass(frozen=True, slots=True)
class VoteCast:
    """A hidden vote is in. Source: `VoteCast`."""

    RECORD: ClassVar[tuple[str, int]] = ("vote-cast", 1)
    case_id: CaseId
    round: int
    seat: int
    tx: TxHash
    at: UnixTime


@dataclass(frozen=True, slots=True)
class VoteRevealed:
    """What a seat has found. Source: `VoteRevealed`."""

    RECORD: ClassVar[tuple[str, int]] = ("vote-revealed", 1)
    case_id: CaseId
    round: int
    seat: int
    vote: Vote
    leaf: Digest
    tx: TxHash
    at: UnixTime


@dataclass(frozen=True, slots=True)
class CaseDecided:
    """A round was counted; the verdict stands unless somebody appeals in time. Source: `Resolved`."""

    RECORD: ClassVar[tuple[str, int]] = ("case-decided", 1)
    case_id: CaseId
    round: int
    verdict: Verdict
    leaf: Digest
    appeal_by: UnixTime
    tx: TxHash
    at: UnixTime


@dataclass(frozen=True, slots=True)
class CaseAppealed:
    """A larger committee is paid for. Source: `Appealed`."""

    RECORD: ClassVar[tuple[str, int]] = ("case-appealed", 1)
    case_id: CaseId
    appellant: Address
    round: int
    amount_wei: Wei
    tx: TxHash
    at: UnixTime


@dataclass(frozen=True, slots=True)
class LeavesAsked:
    """The provider must show what lies below a node of its trace. Source: `Asked`."""

    RECORD: ClassVar[tuple[str, int]] = ("leaves-asked", 1)
    case_id: CaseId
    node: Digest
    height: int
    index: int
    deadline: UnixTime
    tx: TxHash
    at: UnixTime


@dataclass(frozen=True, slots=True)
class LeavesAnswered:
    """It has; the challenger goes on below one of them. Source: `Answered`."""

    RECORD: ClassVar[tuple[str, int]] = ("leaves-answered", 1)
    case_id: CaseId
    nodes: tuple[Digest, ...]
    height: int
    index: int
    deadline: UnixTime
    tx: TxHash
    at: UnixTime


@dataclass(frozen=True, slots=True)
class StepNamed:
    """A forced reveal has come down to a leaf; its bond goes on in another case. Source: `StepNamed`."""

    RECORD: ClassVar[tuple[str, int]] = ("step-named", 1)
    case_id: CaseId
    step_case_id: CaseId
    tx: TxHash
    at: UnixTime


@dataclass(frozen=True, slots=True)
class CaseSettled:
    """The case is over and its money moved. Source: `Settled`."""

    RECORD: ClassVar[tuple[str, int]] = ("case-settled", 1)
    case_id: CaseId
    deal_id: DealId
    verdict: Verdict
    fee_wei: Wei
    bounty_wei: Wei
    burned_wei: Wei
    tx: TxHash
    at: UnixTime


@dataclass(frozen=True, slots=True)
class CommitteePaid:
    """The arbiters of a round have what they earned. Source: `CommitteePaid`."""

    RECORD: ClassVar[tuple[str, int]] = ("committee-paid", 1)
    case_id: CaseId
    round: int
    burned_wei: Wei
    tx: TxHash
    at: UnixTime


CaseEvent = (
    CaseOpened
    | ChallengerJoined
    | AnswerShown
    | DrawingBegun
    | CommitteeDrawn
    | VoteCast
    | VoteRevealed
    | CaseDecided
    | CaseAppealed
    | LeavesAsked
    | LeavesAnswered
    | StepNamed
    | CaseSettled
    | CommitteePaid
)
CASE_EVENTS: Final[tuple[type[CaseEvent], ...]] = (
    CaseOpened,
    ChallengerJoined,
    AnswerShown,
    DrawingBegun,
    CommitteeDrawn,
    VoteCast,
    VoteRevealed,
    CaseDecided,
    CaseAppealed,
    LeavesAsked,
    LeavesAnswered,
    StepNamed,
    CaseSettled,
    CommitteePaid,
)


# ---- the fold ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Challenger:
    """One who has put up a bond; what it has shown, once it has."""

    address: Address
    bond_wei: Wei
    hidden: Digest
    answer: Digest = ZERO_DIGEST
    salt: Digest = ZERO_DIGEST

    @property
    def has_shown(self) -> bool:
        """Whether its answer is known; one that was hidden well has a salt."""
        return (self.answer, self.salt) != (ZERO_DIGEST, ZERO_DIGEST)


@dataclass(frozen=True, slots=True)
class Committee:
    """One round's arbiters, by seat; what each has done so far."""

    number: int
    pool: Digest
    arbiters: tuple[Address, ...]
    claimed_leaf: Digest
    vote_by: UnixTime
    cast: frozenset[int] = frozenset()
    revealed: tuple[tuple[int, Vote, Digest], ...] = ()
    is_paid: bool = False

    @property
    def has_all_cast(self) -> bool:
        """Whether no vote is awaited any more."""
        return len(self.cast) == len(self.arbiters)

    @property
    def has_all_revealed(self) -> bool:
        """Whether every vote that was cast is known: once one is, nobody casts any more."""
        return bool(self.revealed) and len(self.revealed) == len(self.cast)


@dataclass(frozen=True, slots=True)
class Question:
    """What the provider of a forced reveal was asked last, and its answer, empty until it comes."""

    node: Digest
    height: int
    index: int
    deadline: UnixTime
    nodes: tuple[Digest, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """A case as its logs have left it. `step` is the one that is judged, which in an audit the lot has chosen."""

    opened: CaseOpened
    phase: CasePhase
    step: int
    seed_block: int
    challengers: tuple[Challenger, ...]
    committees: tuple[Committee, ...] = ()
    verdict: Verdict = Verdict.NONE
    leaf: Digest = ZERO_DIGEST
    appeal_by: UnixTime = NEVER
    question: Question | None = None
    settled: CaseSettled | None = None

    @property
    def case_id(self) -> CaseId:
        """Its name."""
        return self.opened.case_id

    @property
    def deal_id(self) -> DealId:
        """The deal whose result is disputed."""
        return self.opened.deal_id

    @property
    def kind(self) -> Kind:
        """What is said to be wrong."""
        return self.opened.kind

    @property
    def is_open_against_deal(self) -> bool:
        """Whether it keeps the deal from going on; an audit does once the lot has fallen on it."""
        return not self.is_closed and (self.kind is not Kind.AUDIT or bool(self.committees))

    @property
    def awaits_lot(self) -> bool:
        """Whether it is an audit of which nobody knows yet whether it will be one."""
        return self.kind is Kind.AUDIT and self.phase is CasePhase.DRAWING and not self.committees

    @property
    def committee(self) -> Committee | None:
        """The newest one."""
        return self.committees[-1] if self.committees else None

    @property
    def is_closed(self) -> bool:
        """Whether its money has moved."""
        return self.phase is CasePhase.CLOSED

    def index_of(self, challenger: Address) -> int | None:
        """The number under which somebody takes part."""
        return next((at for at, one in enumerate(self.challengers) if one.address == challenger), None)


def fold(events: Iterable[CaseEvent]) -> Case | None:
    """The case that these logs, in the chain's order, are of; None before it was opened."""
    case: Case | None = None
    for event in events:
        if isinstance(event, CaseOpened):
            case = _opened(event)
        elif case is not None and event.case_id == case.case_id:
            case = _after(case, event)
    return case


def _opened(event: CaseOpened) -> Case:
    opener = Challenger(event.opener, event.bond_wei, event.answer)
    has_opener = event.kind is not Kind.AUDIT
    drawn = {Kind.AUDIT: CasePhase.DRAWING, Kind.WITHHELD: CasePhase.ASKED}
    return Case(
        opened=event,
        phase=drawn.get(event.kind, CasePhase.OPEN),
        step=event.step,
        seed_block=event.seed_block,
        challengers=(opener,) if has_opener else (),
    )


def _after(case: Case, event: CaseEvent) -> Case:
    match event:
        case ChallengerJoined():
            joined = Challenger(event.challenger, event.bond_wei, event.answer)
            return replace(case, challengers=(*case.challengers, joined))
        case AnswerShown():
            return replace(case, challengers=_shown(case.challengers, event))
        case DrawingBegun():
            return replace(case, phase=CasePhase.DRAWING, seed_block=event.seed_block)
        case CommitteeDrawn():
            drawn = Committee(event.round, event.pool, event.arbiters, event.claimed_leaf, event.vote_by)
            step = event.step if case.kind is Kind.AUDIT else case.step
            return replace(case, phase=CasePhase.VOTING, step=step, committees=(*case.committees, drawn))
        case VoteCast():
            return _in_round(case, event.round, lambda one: replace(one, cast=one.cast | {event.seat}))
        case VoteRevealed():
            found = (event.seat, event.vote, event.leaf)
            revealing = replace(case, phase=CasePhase.REVEALING)
            return _in_round(revealing, event.round, lambda one: replace(one, revealed=(*one.revealed, found)))
        case CaseDecided():
            return replace(
                case, phase=CasePhase.DECIDED, verdict=event.verdict, leaf=event.leaf, appeal_by=event.appeal_by
            )
        case LeavesAsked():
            asked = Question(event.node, event.height, event.index, event.deadline)
            return replace(case, phase=CasePhase.ASKED, question=asked)
        case LeavesAnswered():
            if case.question is None:
                return case
            answered = replace(case.question, nodes=event.nodes, deadline=event.deadline)
            return replace(case, phase=CasePhase.ANSWERED, question=answered)
        case CaseSettled():
            return replace(case, phase=CasePhase.CLOSED, verdict=event.verdict, settled=event)
        case StepNamed():
            return replace(case, phase=CasePhase.CLOSED)
        case CommitteePaid():
            return _in_round(case, event.round, lambda one: replace(one, is_paid=True))
        case CaseOpened() | CaseAppealed():
            return case
        case _:
            assert_never(event)


def _shown(challengers: tuple[Challenger, ...], event: AnswerShown) -> tuple[Challenger, ...]:
    return tuple(
        replace(one, answer=event.answer, salt=event.salt) if at == event.index else one
        for at, one in enumerate(challengers)
    )


def _in_round(case: Case, number: int, change: Callable[[Committee], Committee]) -> Case:
    return replace(case, committees=tuple(change(one) if one.number == number else one for one in case.committees))


def _word(value: int) -> bytes:
    return value.to_bytes(32, "big")
