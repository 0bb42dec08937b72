"""A challenger's side of a dispute: its phases as classes, and `step`, which is all that changes them.

Pure, total over its events, and never raising for what others can cause, as `capanode.protocol.provider`. The answer
and its salt are part of the first state, so no crash can lose what was put on chain hidden. What moves the case on
besides the challenger's own two transactions anybody may do (`capanode.protocol.due`).
"""

from dataclasses import dataclass
from typing import ClassVar, Final, assert_never

from capanode.protocol.cases import (
    AnswerShown,
    CaseDecided,
    CaseOpened,
    CaseSettled,
    ChallengerJoined,
    Verdict,
    as_found,
    case_id_of,
    hidden_answer,
)
from capanode.protocol.commands import ChallengerCommand, PlanChallenge, SubmitAnswer, SubmitChallenge, WakeAt
from capanode.protocol.events import (
    ChallengePlanned,
    ChallengerEvent,
    ChallengeWanted,
    Contest,
    DeadlinePassed,
    DealFinalized,
    DealJudged,
    TransactionRefused,
)
from capanode.protocol.ids import ZERO_DIGEST, CaseId, DealId, Digest
from capanode.protocol.judging import VerificationClass

MAX_TRIES: Final = 3
"""Plans for one challenge; each may be overtaken by somebody who opens the same case."""


@dataclass(frozen=True, slots=True)
class Planning:
    """What is wrong is known; how to say it is being looked for. It costs nothing to stop here."""

    RECORD: ClassVar[tuple[str, int]] = ("challenger-planning", 1)
    contest: Contest
    tries: int


@dataclass(frozen=True, slots=True)
class Opening:
    """The hidden answer is on its way to the chain, into a case of its own or into `joins`."""

    RECORD: ClassVar[tuple[str, int]] = ("challenger-opening", 1)
    contest: Contest
    tries: int
    serial: int
    joins: CaseOpened | None


@dataclass(frozen=True, slots=True)
class Hidden:
    """The bond is locked; the answer is shown as soon as that helps nobody else, and in time, or the bond is lost."""

    RECORD: ClassVar[tuple[str, int]] = ("challenger-hidden", 1)
    contest: Contest
    case: CaseOpened
    index: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """The court is at work. `leaf` is what a committee has agreed on so far, zero while none has."""

    RECORD: ClassVar[tuple[str, int]] = ("challenger-waiting", 1)
    contest: Contest
    case: CaseOpened
    index: int
    leaf: Digest


@dataclass(frozen=True, slots=True)
class Won:
    """The court has found the result wrong, as this challenger said: the bond is back, with a share of the bounty."""

    RECORD: ClassVar[tuple[str, int]] = ("challenger-won", 1)
    contest: Contest
    case: CaseOpened
    settled: CaseSettled


@dataclass(frozen=True, slots=True)
class Lost:
    """The bond is lost: the result stands, or is wrong in another way, or the answer was not shown in time."""

    RECORD: ClassVar[tuple[str, int]] = ("challenger-lost", 1)
    contest: Contest
    case: CaseOpened
    settled: CaseSettled


@dataclass(frozen=True, slots=True)
class Returned:
    """Nobody could judge, or another case had ended the deal: the bond is back, less an arbiter's fee in a split."""

    RECORD: ClassVar[tuple[str, int]] = ("challenger-returned", 1)
    contest: Contest
    case: CaseOpened
    settled: CaseSettled


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Nothing was put at stake."""

    RECORD: ClassVar[tuple[str, int]] = ("challenger-withdrawn", 1)
    contest: Contest
    reason: str


Open = Planning | Opening | Hidden | Waiting
Ended = Won | Lost | Returned | Withdrawn
State = Open | Ended
PHASES: tuple[type[State], ...] = (Planning, Opening, Hidden, Waiting, Won, Lost, Returned, Withdrawn)


@dataclass(frozen=True, slots=True)
class Step:
    """The new state and what to do about it, as `capanode.protocol.provider.Step`."""

    state: State
    commands: tuple[ChallengerCommand, ...]


def begin(event: ChallengeWanted) -> Step:
    """The first state of a challenge."""
    return _plan(event.contest, 1)


def step(state: State, event: ChallengerEvent) -> Step:
    """What `event` makes of the challenge."""
    match state:
        case Planning():
            return _planning(state, event)
        case Opening():
            return _opening(state, event)
        case Hidden():
            return _hidden(state, event)
        case Waiting():
            return _waiting(state, event)
        case Won() | Lost() | Returned() | Withdrawn():
            return Step(state, ())
        case _:
            assert_never(state)


def case_id(state: State) -> CaseId | None:
    """The case that the challenge is made in, once that is planned."""
    match state:
        case Planning() | Withdrawn():
            return None
        case Opening():
            return state.joins.case_id if state.joins is not None else _own_case(state)
        case Hidden() | Waiting() | Won() | Lost() | Returned():
            return state.case.case_id
        case _:
            assert_never(state)


def _own_case(state: Opening) -> CaseId:
    contest = state.contest
    return case_id_of(contest.papers.deal_id, contest.kind, contest.step, state.serial)


def deal_id(state: State) -> DealId:
    """The deal whose result is disputed."""
    return state.contest.papers.deal_id


def hidden(state: Opening) -> Digest:
    """What goes on chain before the answer does."""
    case, contest = case_id(state), state.contest
    assert case is not None
    return hidden_answer(case, contest.answer, contest.salt, contest.challenger)


def _plan(contest: Contest, tries: int) -> Step:
    return Step(Planning(contest, tries), (PlanChallenge(), WakeAt(contest.window_ends_at)))


def _planning(state: Planning, event: ChallengerEvent) -> Step:
    match event:
        case ChallengePlanned():
            opening = Opening(state.contest, state.tries, event.serial, event.joins)
            return Step(opening, (SubmitChallenge(), WakeAt(state.contest.window_ends_at)))
        case DeadlinePassed():
            return _withdraw(state, "its window was over first")
        case DealFinalized() | DealJudged():
            return _withdraw(state, "the deal had ended")
        case _:
            return Step(state, ())


def _opening(state: Opening, event: ChallengerEvent) -> Step:
    match event:
        case CaseOpened() if state.joins is None and _is_own(state, event):
            return Step(Hidden(state.contest, event, 0), (SubmitAnswer(),))
        case ChallengerJoined() if state.joins is not None and event.answer == hidden(state):
            return Step(Hidden(state.contest, state.joins, event.index), (SubmitAnswer(),))
        case TransactionRefused() if state.tries < MAX_TRIES:
            return _plan(state.contest, state.tries + 1)
        case TransactionRefused():
            return _withdraw(state, event.reason)
        case DeadlinePassed():
            return _withdraw(state, "its window was over first")
        case DealFinalized() | DealJudged():
            return _withdraw(state, "the deal had ended")
        case _:
            return Step(state, ())


def _is_own(state: Opening, event: CaseOpened) -> bool:
    return event.opener == state.contest.challenger and event.answer == hidden(state)


def _hidden(state: Hidden, event: ChallengerEvent) -> Step:
    match event:
        case AnswerShown() if event.index == state.index:
            return Step(Waiting(state.contest, state.case, state.index, ZERO_DIGEST), ())
        case CaseSettled():
            # Without its answer nothing is won; what was settled before anybody's had to be shown comes back.
            ended = Returned if event.verdict is Verdict.MOOT else Lost
            return Step(ended(state.contest, state.case, event), ())
        case _:
            return Step(state, ())


def _waiting(state: Waiting, event: ChallengerEvent) -> Step:
    match event:
        case CaseDecided():
            return Step(Waiting(state.contest, state.case, state.index, event.leaf), ())
        case CaseSettled():
            return Step(_ended(state, event), ())
        case _:
            return Step(state, ())


def _ended(state: Waiting, event: CaseSettled) -> State:
    match event.verdict:
        case Verdict.OVERTURNED if _is_right(state):
            return Won(state.contest, state.case, event)
        case Verdict.OVERTURNED | Verdict.UPHELD | Verdict.LAPSED:
            return Lost(state.contest, state.case, event)
        case Verdict.VOID | Verdict.SPLIT | Verdict.MOOT | Verdict.NONE:
            return Returned(state.contest, state.case, event)
        case _:
            assert_never(event.verdict)


def _is_right(state: Waiting) -> bool:
    """Whether the answer is the committee's: a leaf where one was computed, else the mere doubt."""
    is_exact = state.contest.papers.rules.verification is VerificationClass.EXACT
    return not is_exact or state.leaf in (ZERO_DIGEST, as_found(state.contest.answer))


def _withdraw(state: Planning | Opening, reason: str) -> Step:
    return Step(Withdrawn(state.contest, reason), ())
