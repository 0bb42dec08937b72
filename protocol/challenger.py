"""A challenger's side of a dispute: its phases as classes, and `step`, which is all that changes them.

Pure, total over its events, and never raising for what others can cause, as `capanode.protocol.provider`. The answer
and its salt are part of the first state, so no crash can lose what was put on chain hidden. What moves the case on
besides the challenger's own two transactions anybody may do (`capanode.protocol.due`).

Where leaves are withheld, a forced reveal comes first: the provider shows nodes, the challenger goes below the first
that differs from its own trace, until a leaf differs; the case about its step takes the bond over and goes on as any.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Final, assert_never

from capanode.protocol.cases import (
    LEVELS,
    AnswerShown,
    CaseDecided,
    CaseOpened,
    CaseSettled,
    ChallengerJoined,
    Claimed,
    Kind,
    LeavesAnswered,
    LeavesAsked,
    TraceNode,
    Verdict,
    as_found,
    case_id_of,
    hidden_answer,
)
from capanode.protocol.commands import (
    ChallengerCommand,
    ChooseNode,
    PlanChallenge,
    SubmitAnswer,
    SubmitChallenge,
    SubmitDescent,
    SubmitNaming,
    WakeAt,
)
from capanode.protocol.events import (
    ChallengePlanned,
    ChallengerEvent,
    ChallengeWanted,
    Contest,
    DeadlinePassed,
    DealFinalized,
    DealJudged,
    Ending,
    LeafChosen,
    NodeChosen,
    NothingDiffers,
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
class Asked:
    """The provider has to show what lies below a node of its trace, in time, or it loses the deal."""

    RECORD: ClassVar[tuple[str, int]] = ("challenger-asked", 1)
    contest: Contest
    case: CaseOpened
    node: TraceNode


@dataclass(frozen=True, slots=True)
class Choosing:
    """It has. The nodes are being compared with what was computed here; in time, or the bond is lost."""

    RECORD: ClassVar[tuple[str, int]] = ("challenger-choosing", 1)
    contest: Contest
    case: CaseOpened
    node: TraceNode
    shown: LeavesAnswered
    tries: int


@dataclass(frozen=True, slots=True)
class Descending:
    """The next question is on its way to the chain."""

    RECORD: ClassVar[tuple[str, int]] = ("challenger-descending", 1)
    contest: Contest
    case: CaseOpened
    node: TraceNode
    shown: LeavesAnswered
    chosen: NodeChosen


@dataclass(frozen=True, slots=True)
class Naming:
    """A leaf differs; the hidden answer about its step is on its way to the chain."""

    RECORD: ClassVar[tuple[str, int]] = ("challenger-naming", 1)
    contest: Contest
    case: CaseOpened
    node: TraceNode
    shown: LeavesAnswered
    chosen: LeafChosen
    tries: int


@dataclass(frozen=True, slots=True)
class Lapsing:
    """There is no more to say; the bond is lost once the clock is over, unless another case ends the deal first."""

    RECORD: ClassVar[tuple[str, int]] = ("challenger-lapsing", 1)
    contest: Contest
    case: CaseOpened
    reason: str


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
class Exposed:
    """The court was shown a leaf that says what none may, and ended the deal. Who showed it first has the bounty."""

    RECORD: ClassVar[tuple[str, int]] = ("challenger-exposed", 1)
    contest: Contest
    judged: DealJudged


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Nothing was put at stake."""

    RECORD: ClassVar[tuple[str, int]] = ("challenger-withdrawn", 1)
    contest: Contest
    reason: str


Revealing = Asked | Choosing | Descending | Naming | Lapsing
"""Phases of a forced reveal."""

Open = Planning | Opening | Hidden | Waiting | Revealing
Ended = Won | Lost | Returned | Exposed | Withdrawn
State = Open | Ended
PHASES: tuple[type[State], ...] = (
    Planning,
    Opening,
    Hidden,
    Waiting,
    Asked,
    Choosing,
    Descending,
    Naming,
    Lapsing,
    Won,
    Lost,
    Returned,
    Exposed,
    Withdrawn,
)


@dataclass(frozen=True, slots=True)
class Step:
    """The new state and what to do about it, as `capanode.protocol.provider.Step`."""

    state: State
    commands: tuple[ChallengerCommand, ...]


def begin(event: ChallengeWanted) -> Step:
    """The first state of a challenge. What a leaf says itself needs no plan: it is shown in one call, with no bond."""
    contest = event.contest
    if contest.kind is Kind.SPEC:
        return Step(Opening(contest, 1, 0, None), (SubmitChallenge(), WakeAt(contest.window_ends_at)))
    return _plan(contest, 1)


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
        case Asked():
            return _asked(state, event)
        case Choosing():
            return _choosing(state, event)
        case Descending():
            return _descending(state, event)
        case Naming():
            return _naming(state, event)
        case Lapsing():
            return _lapsing(state, event)
        case Won() | Lost() | Returned() | Exposed() | Withdrawn():
            return Step(state, ())
        case _:
            assert_never(state)


def case_id(state: State) -> CaseId | None:
    """The case that the challenge is made in, once that is planned."""
    match state:
        case Planning() | Withdrawn() | Exposed():
            return None
        case Opening():
            return state.joins.case_id if state.joins is not None else _own_case(state.contest, state.serial)
        case Hidden() | Waiting() | Asked() | Choosing() | Descending() | Naming() | Lapsing():
            return state.case.case_id
        case Won() | Lost() | Returned():
            return state.case.case_id
        case _:
            assert_never(state)


def case_ids(state: State) -> tuple[CaseId, ...]:
    """The cases of which the challenge hears: its own, and the one that is being named."""
    found = case_id(state)
    own = (found,) if found is not None else ()
    return (*own, _own_case(named(state), state.chosen.serial)) if isinstance(state, Naming) else own


def named(state: Naming) -> Contest:
    """What is said of the step that a forced reveal has come down to."""
    chosen, node = state.chosen, state.node
    claimed = Claimed(state.shown.nodes[chosen.child], (*chosen.siblings, *node.proof))
    return replace(state.contest, kind=Kind.STEP, step=chosen.step, claimed=claimed, answer=chosen.answer)


def _own_case(contest: Contest, serial: int) -> CaseId:
    return case_id_of(contest.papers.deal_id, contest.kind, contest.step, serial)


def deal_id(state: State) -> DealId:
    """The deal whose result is disputed."""
    return state.contest.papers.deal_id


def hidden(state: Opening | Naming) -> Digest:
    """What goes on chain before the answer does."""
    contest = named(state) if isinstance(state, Naming) else state.contest
    case = _own_case(contest, state.chosen.serial) if isinstance(state, Naming) else case_id(state)
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
            if event.kind is Kind.WITHHELD:
                return Step(Asked(state.contest, event, _root(state.contest)), ())
            return Step(Hidden(state.contest, event, 0), (SubmitAnswer(),))
        case ChallengerJoined() if state.joins is not None and event.answer == hidden(state):
            return Step(Hidden(state.contest, state.joins, event.index), (SubmitAnswer(),))
        case TransactionRefused() if state.tries < MAX_TRIES and state.contest.kind is not Kind.SPEC:
            return _plan(state.contest, state.tries + 1)
        case TransactionRefused():
            return _withdraw(state, event.reason)
        case DeadlinePassed():
            return _withdraw(state, "its window was over first")
        case DealJudged(ending=Ending.OVERTURNED) if state.contest.kind is Kind.SPEC:
            return Step(Exposed(state.contest, event), ())
        case DealFinalized() | DealJudged():
            return _withdraw(state, "the deal had ended")
        case _:
            return Step(state, ())


def _is_own(state: Opening, event: CaseOpened) -> bool:
    is_mine = event.opener == state.contest.challenger and event.case_id == case_id(state)
    return is_mine and (event.kind is Kind.WITHHELD or event.answer == hidden(state))


def _root(contest: Contest) -> TraceNode:
    """The root of the committed trace, where a forced reveal begins."""
    return TraceNode(contest.papers.trace_root, contest.papers.step_count.bit_length(), 0)


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


# ---- forced reveal -------------------------------------------------------------------------------------------------


def _asked(state: Asked, event: ChallengerEvent) -> Step:
    match event:
        case LeavesAnswered() if _is_below(state.node, event):
            return _choose(Choosing(state.contest, state.case, state.node, event, 1))
        case CaseSettled():
            return _revealed(state, event)
        case _:
            return Step(state, ())


def _is_below(node: TraceNode, event: LeavesAnswered) -> bool:
    """Whether nodes lie as far below one as an answer shows."""
    levels = min(node.height, LEVELS)
    return (event.height, event.index) == (node.height - levels, node.index << levels)


def _choose(state: Choosing) -> Step:
    node = state.node
    asked = ChooseNode(state.case.case_id, node.node, node.height, node.index, state.tries)
    return Step(state, (asked, WakeAt(state.shown.deadline)))


def _choosing(state: Choosing, event: ChallengerEvent) -> Step:
    contest, case, node, shown = state.contest, state.case, state.node, state.shown
    match event:
        case NodeChosen() if event.child < len(shown.nodes):
            return Step(Descending(contest, case, node, shown, event), (SubmitDescent(), WakeAt(shown.deadline)))
        case LeafChosen() if event.child < len(shown.nodes):
            naming = Naming(contest, case, node, shown, event, state.tries)
            return Step(naming, (SubmitNaming(), WakeAt(shown.deadline)))
        case NothingDiffers():
            return _lapse(state, "what the provider has shown is what was computed here")
        case DeadlinePassed():
            return _lapse(state, "the time to choose was over")
        case CaseSettled():
            return _revealed(state, event)
        case _:
            return Step(state, ())


def _descending(state: Descending, event: ChallengerEvent) -> Step:
    below = _chosen_node(state)
    match event:
        case LeavesAsked() if (event.node, event.height, event.index) == (below.node, below.height, below.index):
            return Step(Asked(state.contest, state.case, below), ())
        case TransactionRefused():
            return _lapse(state, event.reason)
        case DeadlinePassed():
            return _lapse(state, "the time to ask on was over")
        case CaseSettled():
            return _revealed(state, event)
        case _:
            return Step(state, ())


def _chosen_node(state: Descending) -> TraceNode:
    shown, chosen = state.shown, state.chosen
    proof = (*chosen.siblings, *state.node.proof)
    return TraceNode(shown.nodes[chosen.child], shown.height, shown.index + chosen.child, proof)


def _naming(state: Naming, event: ChallengerEvent) -> Step:
    match event:
        case CaseOpened() if event.answer == hidden(state):
            return Step(Hidden(named(state), event, 0), (SubmitAnswer(),))
        case CaseSettled(verdict=Verdict.NONE):
            # The bond goes on: the case about the step is opened in the same transaction.
            return Step(state, ())
        case CaseSettled():
            return _revealed(state, event)
        case TransactionRefused() if state.tries < MAX_TRIES:
            # Somebody else may have taken the number.
            return _choose(Choosing(state.contest, state.case, state.node, state.shown, state.tries + 1))
        case TransactionRefused():
            return _lapse(state, event.reason)
        case DeadlinePassed():
            return _lapse(state, "the time to name a step was over")
        case _:
            return Step(state, ())


def _lapsing(state: Lapsing, event: ChallengerEvent) -> Step:
    return _revealed(state, event) if isinstance(event, CaseSettled) else Step(state, ())


def _revealed(state: Revealing, event: CaseSettled) -> Step:
    """The end of a forced reveal that came down to no step."""
    match event.verdict:
        case Verdict.OVERTURNED:
            ended: State = Won(state.contest, state.case, event)
        case Verdict.UPHELD | Verdict.LAPSED:
            ended = Lost(state.contest, state.case, event)
        case Verdict.VOID | Verdict.SPLIT | Verdict.MOOT | Verdict.NONE:
            ended = Returned(state.contest, state.case, event)
        case _:
            assert_never(event.verdict)
    return Step(ended, ())


def _lapse(state: Choosing | Descending | Naming, reason: str) -> Step:
    return Step(Lapsing(state.contest, state.case, reason), ())


def _withdraw(state: Planning | Opening, reason: str) -> Step:
    return Step(Withdrawn(state.contest, reason), ())
