"""An arbiter's duty in one round of one case: its phases as classes, and `step`, which is all that changes them.

Pure, total over its events, and never raising for what others can cause, as `capanode.protocol.provider`. What was
found and what hides it are in the state before the vote is cast, so an arbiter that dies between the two transactions
reveals what it has cast. A finding stands for as long as the same leaf is asked about: the transaction that casts it
may be mined again after a reorganisation, and then nothing else could be revealed.
"""

from dataclasses import dataclass
from typing import ClassVar, assert_never

from capanode.protocol.cases import CaseSettled, CommitteeDrawn, CommitteePaid, VoteCast, VoteRevealed, hidden_vote
from capanode.protocol.commands import ArbiterCommand, JudgeStep, SubmitReveal, SubmitVote, WakeAt
from capanode.protocol.events import ArbiterEvent, DeadlinePassed, SeatFound, StepJudged, TransactionRefused
from capanode.protocol.ids import Address, CaseId, Digest, UnixTime


@dataclass(frozen=True, slots=True)
class Seat:
    """Where an arbiter sits."""

    RECORD: ClassVar[tuple[str, int]] = ("seat", 1)
    case_id: CaseId
    round: int
    number: int
    arbiter: Address
    pool: Digest
    step: int
    claimed_leaf: Digest
    vote_by: UnixTime


@dataclass(frozen=True, slots=True)
class Summoned:
    """A committee is known to have been drawn; the log that says so is on its way, or was taken back."""

    RECORD: ClassVar[tuple[str, int]] = ("arbiter-summoned", 1)
    call: SeatFound


@dataclass(frozen=True, slots=True)
class Judging:
    """The step is being executed again."""

    RECORD: ClassVar[tuple[str, int]] = ("arbiter-judging", 1)
    call: SeatFound
    seat: Seat


@dataclass(frozen=True, slots=True)
class Voting:
    """What was found is written down; the hidden vote is on its way to the chain."""

    RECORD: ClassVar[tuple[str, int]] = ("arbiter-voting", 1)
    call: SeatFound
    seat: Seat
    judged: StepJudged


@dataclass(frozen=True, slots=True)
class Cast:
    """The vote is cast; it is revealed as soon as that helps nobody else."""

    RECORD: ClassVar[tuple[str, int]] = ("arbiter-cast", 1)
    call: SeatFound
    seat: Seat
    judged: StepJudged


@dataclass(frozen=True, slots=True)
class Revealed:
    """The duty is done; the pay comes once the case is closed."""

    RECORD: ClassVar[tuple[str, int]] = ("arbiter-revealed", 1)
    call: SeatFound
    seat: Seat
    judged: StepJudged


@dataclass(frozen=True, slots=True)
class Served:
    """The end of a duty that was done."""

    RECORD: ClassVar[tuple[str, int]] = ("arbiter-served", 1)
    call: SeatFound
    seat: Seat
    judged: StepJudged


@dataclass(frozen=True, slots=True)
class Released:
    """Nothing was asked of this arbiter after all, or the case was over before its vote."""

    RECORD: ClassVar[tuple[str, int]] = ("arbiter-released", 1)
    call: SeatFound
    reason: str


@dataclass(frozen=True, slots=True)
class Missed:
    """The duty was not done in time, which costs a fee out of the arbiter's stake."""

    RECORD: ClassVar[tuple[str, int]] = ("arbiter-missed", 1)
    call: SeatFound
    seat: Seat
    reason: str


Open = Summoned | Judging | Voting | Cast | Revealed
Ended = Served | Released | Missed
State = Open | Ended
PHASES: tuple[type[State], ...] = (Summoned, Judging, Voting, Cast, Revealed, Served, Released, Missed)


@dataclass(frozen=True, slots=True)
class Step:
    """The new state and what to do about it, as `capanode.protocol.provider.Step`."""

    state: State
    commands: tuple[ArbiterCommand, ...]


def begin(event: SeatFound) -> Step:
    """The first state of a duty."""
    return Step(Summoned(event), (WakeAt(event.vote_by),))


def step(state: State, event: ArbiterEvent, reveal_s: int) -> Step:
    """What `event` makes of the duty. `reveal_s` is the court's time for revealing votes."""
    match state:
        case Summoned():
            return _summoned(state, event)
        case Judging():
            return _judging(state, event)
        case Voting():
            return _voting(state, event, reveal_s)
        case Cast():
            return _cast(state, event)
        case Revealed():
            return _revealed(state, event)
        case Served() | Released() | Missed():
            return Step(state, ())
        case _:
            assert_never(state)


def hidden(state: Voting) -> Digest:
    """What goes on chain before the vote does."""
    seat, judged = state.seat, state.judged
    return hidden_vote(seat.case_id, seat.round, judged.vote, judged.leaf, judged.salt, seat.arbiter)


def _summoned(state: Summoned, event: ArbiterEvent) -> Step:
    call = state.call
    match event:
        case CommitteeDrawn() if event.round == call.round and call.arbiter in event.arbiters:
            seat = _seat(call, event)
            asked = JudgeStep(seat.case_id, seat.round, seat.step, seat.claimed_leaf)
            return Step(Judging(call, seat), (asked, WakeAt(seat.vote_by)))
        case CommitteeDrawn() if event.round == call.round:
            return Step(Released(call, "others were drawn in the end"), ())
        case CaseSettled():
            return Step(Released(call, "the case was over"), ())
        case DeadlinePassed():
            return Step(Released(call, "no committee was drawn in the end"), ())
        case _:
            return Step(state, ())


def _seat(call: SeatFound, event: CommitteeDrawn) -> Seat:
    return Seat(
        case_id=event.case_id,
        round=event.round,
        number=event.arbiters.index(call.arbiter),
        arbiter=call.arbiter,
        pool=event.pool,
        step=event.step,
        claimed_leaf=event.claimed_leaf,
        vote_by=event.vote_by,
    )


def _judging(state: Judging, event: ArbiterEvent) -> Step:
    match event:
        case StepJudged():
            return Step(Voting(state.call, state.seat, event), (SubmitVote(), WakeAt(state.seat.vote_by)))
        case DeadlinePassed():
            return Step(Missed(state.call, state.seat, "the step was not judged in time"), ())
        case CaseSettled():
            return Step(Released(state.call, "the case was over before the vote"), ())
        case _:
            return Step(state, ())


def _voting(state: Voting, event: ArbiterEvent, reveal_s: int) -> Step:
    match event:
        case VoteCast() if _is_own(state.seat, event):
            reveal_by = UnixTime(state.seat.vote_by + reveal_s)
            return Step(Cast(state.call, state.seat, state.judged), (SubmitReveal(), WakeAt(reveal_by)))
        case TransactionRefused():
            return Step(Missed(state.call, state.seat, event.reason), ())
        case DeadlinePassed():
            return Step(Missed(state.call, state.seat, "the vote was not mined in time"), ())
        case CaseSettled():
            return Step(Released(state.call, "the case was over before the vote"), ())
        case _:
            return Step(state, ())


def _cast(state: Cast, event: ArbiterEvent) -> Step:
    match event:
        case VoteRevealed() if _is_own(state.seat, event):
            return Step(Revealed(state.call, state.seat, state.judged), ())
        case DeadlinePassed():
            return Step(Missed(state.call, state.seat, "the vote was not revealed in time"), ())
        case CaseSettled():
            return Step(Released(state.call, "the case was over before the vote was revealed"), ())
        case _:
            return Step(state, ())


def _revealed(state: Revealed, event: ArbiterEvent) -> Step:
    match event:
        case CommitteePaid() if event.round == state.seat.round:
            return Step(Served(state.call, state.seat, state.judged), ())
        case _:
            return Step(state, ())


def _is_own(seat: Seat, event: VoteCast | VoteRevealed) -> bool:
    return (event.round, event.seat) == (seat.round, seat.number)
