"""The challenger's and the arbiter's machines, walked exhaustively: every event in every reachable state."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from capanode.protocol import arbiter, challenger, encoding, machines, standing
from capanode.protocol.cases import CaseSettled, Claimed, Kind, Verdict, hidden_vote
from capanode.protocol.commands import (
    ChooseNode,
    JudgeStep,
    PlanChallenge,
    SubmitAnswer,
    SubmitChallenge,
    SubmitReveal,
    SubmitVote,
    WakeAt,
)
from capanode.protocol.events import AcceptRequested, ChallengerEvent, DeadlinePassed, NothingDiffers, StepJudged
from capanode.protocol.faults import InvariantViolated
from capanode.protocol.ids import TxHash, UnixTime
from capanode.protocol.machines import Times
from capanode.protocol.standing import Past
from tests.protocol.deals import DEAL, FINALIZED, OVERTURNED, PASSED, REFUSED
from tests.protocol.disputes import (
    ARBITER,
    ARBITER_EVENTS,
    ASKED_ON,
    CASE,
    CAST,
    CHALLENGER,
    CHALLENGER_EVENTS,
    CLOCKS,
    CONTEST,
    DECIDED,
    DECIDED_OTHERWISE,
    DEMAND_WANTED,
    DEMANDED,
    DEMANDED_CASE,
    DESCENT,
    DRAWN,
    DRAWN_OTHERS,
    EXPOSURE,
    EXPOSURE_WANTED,
    JOINED,
    JUDGED,
    LED_TO_JOIN,
    LEFT_ALONE,
    LEFT_OFF,
    MINE,
    NAMED_CASE,
    NAMED_LEAF,
    NAMED_OPENED,
    NODES,
    OPENED,
    OPENED_BY_RIVAL,
    PAID,
    SEAT_FOUND,
    SETTLED,
    SHOWN,
    SHOWN_LEAVES,
    SHOWN_NODES,
    SIBLINGS,
    VOTES,
    WANTED,
    WENT_ON,
)
from tests.protocol.test_state_machines import Arrow, walk


def _parts(step: challenger.Step | arbiter.Step) -> tuple[Any, Any]:
    return step.state, step.commands


CHALLENGER_ARROWS = walk(
    [challenger.begin(wanted).state for wanted in (WANTED, DEMAND_WANTED, EXPOSURE_WANTED)],
    CHALLENGER_EVENTS,
    lambda state, event: _parts(challenger.step(state, event)),
)
ARBITER_ARROWS = walk(
    [arbiter.begin(SEAT_FOUND).state],
    ARBITER_EVENTS,
    lambda state, event: _parts(arbiter.step(state, event, CLOCKS.reveal_s)),
)
ARROWS: tuple[Arrow[Any, Any], ...] = (*CHALLENGER_ARROWS, *ARBITER_ARROWS)


def states(arrows: Iterable[Arrow[Any, Any]]) -> set[Any]:
    return {arrow.source for arrow in arrows}


def test_every_phase_is_reached() -> None:
    assert {type(state) for state in states(CHALLENGER_ARROWS)} == set(challenger.PHASES)
    assert {type(state) for state in states(ARBITER_ARROWS)} == set(arbiter.PHASES)


def test_nothing_leaves_an_end() -> None:
    for arrow in ARROWS:
        if isinstance(arrow.source, machines.Ended):
            assert (arrow.target, arrow.commands) == (arrow.source, ())


def test_every_phase_that_is_entered_and_not_an_end_has_something_that_moves_it() -> None:
    # The court's clocks move a case on, and whoever has an interest calls for it.
    waits = (challenger.Waiting, challenger.Asked, challenger.Lapsing, arbiter.Revealed)
    for arrow in ARROWS:
        if type(arrow.source) is not type(arrow.target) and not isinstance(arrow.target, (*waits, machines.Ended)):
            assert arrow.commands, arrow


def test_every_state_event_and_command_survives_its_encoding() -> None:
    for state in states(CHALLENGER_ARROWS):
        assert encoding.decode_one_of(challenger.PHASES, encoding.encode(state)) == state
    for state in states(ARBITER_ARROWS):
        assert encoding.decode_one_of(arbiter.PHASES, encoding.encode(state)) == state
    records: set[Any] = {*CHALLENGER_EVENTS, *ARBITER_EVENTS, *(one for arrow in ARROWS for one in arrow.commands)}
    for record in records:
        assert encoding.decode(type(record), encoding.encode(record)) == record


# ---- the challenger's money --------------------------------------------------------------------------------------


def challenged(*events: Any) -> challenger.State:
    state = challenger.begin(WANTED).state
    for event in events:
        state = challenger.step(state, event).state
    return state


def test_the_secret_never_changes_from_the_first_state_on() -> None:
    """What is hidden on chain can be shown by whoever has the journal's first row."""
    assert {state.contest.salt for state in states(CHALLENGER_ARROWS)} == {CONTEST.salt}
    assert {state.contest.answer for state in states(CHALLENGER_ARROWS)} == {CONTEST.answer}


def test_an_answer_is_shown_wherever_a_bond_is_locked() -> None:
    locked = [arrow for arrow in CHALLENGER_ARROWS if isinstance(arrow.target, challenger.Hidden)]
    entered = [arrow for arrow in locked if not isinstance(arrow.source, challenger.Hidden)]
    assert {type(arrow.event).__name__ for arrow in entered} == {"CaseOpened", "ChallengerJoined"}
    assert all(arrow.commands == (SubmitAnswer(),) for arrow in entered)


def test_nothing_is_sent_before_it_is_planned_and_nothing_after_the_window() -> None:
    for arrow in CHALLENGER_ARROWS:
        if SubmitChallenge() in arrow.commands:
            assert isinstance(arrow.source, challenger.Planning)
            assert WakeAt(CONTEST.window_ends_at) in arrow.commands
    assert isinstance(challenged(PASSED), challenger.Withdrawn)
    assert isinstance(challenged(LEFT_ALONE, PASSED), challenger.Withdrawn)


def test_a_case_of_somebody_else_is_not_ours() -> None:
    assert isinstance(challenged(LEFT_ALONE, OPENED_BY_RIVAL), challenger.Opening)
    assert isinstance(challenged(LEFT_ALONE, OPENED), challenger.Hidden)
    assert isinstance(challenged(LED_TO_JOIN, JOINED), challenger.Hidden)
    assert isinstance(challenged(LEFT_ALONE, JOINED), challenger.Opening)


def test_whoever_was_overtaken_plans_anew_and_gives_up_in_the_end() -> None:
    events: list[ChallengerEvent] = [LEFT_ALONE, REFUSED] * challenger.MAX_TRIES
    state, planned = challenger.begin(WANTED).state, 1
    for event in events:
        step = challenger.step(state, event)
        state, planned = step.state, planned + (PlanChallenge() in step.commands)
    assert planned == challenger.MAX_TRIES
    assert state == challenger.Withdrawn(CONTEST, REFUSED.reason)


@pytest.mark.parametrize("settled", SETTLED, ids=lambda settled: settled.verdict.name)
def test_the_end_follows_the_verdict(settled: CaseSettled) -> None:
    ends = {
        Verdict.NONE: challenger.Returned,
        Verdict.UPHELD: challenger.Lost,
        Verdict.OVERTURNED: challenger.Won,
        Verdict.VOID: challenger.Returned,
        Verdict.SPLIT: challenger.Returned,
        Verdict.LAPSED: challenger.Lost,
        Verdict.MOOT: challenger.Returned,
    }
    assert type(challenged(LEFT_ALONE, OPENED, SHOWN, DECIDED, settled)) is ends[settled.verdict]


def test_whoever_guessed_that_it_is_wrong_wins_nothing() -> None:
    overturned = SETTLED[Verdict.OVERTURNED]
    assert isinstance(challenged(LEFT_ALONE, OPENED, SHOWN, DECIDED_OTHERWISE, overturned), challenger.Lost)
    assert isinstance(challenged(LEFT_ALONE, OPENED, overturned), challenger.Lost), "it had shown nothing"


def test_a_challenge_hears_of_its_deal_and_of_its_case() -> None:
    assert standing.subjects_of(challenged()) == {DEAL}
    assert standing.subjects_of(challenged(LEFT_ALONE)) == {DEAL, CASE}
    assert challenger.case_id(challenged(LED_TO_JOIN)) == CASE


# ---- a forced reveal ---------------------------------------------------------------------------------------------

DOWN: tuple[Any, ...] = (LEFT_ALONE, DEMANDED, SHOWN_NODES, DESCENT, ASKED_ON, SHOWN_LEAVES, NAMED_LEAF)


def demanding(*events: Any) -> challenger.State:
    state = challenger.begin(DEMAND_WANTED).state
    for event in events:
        state = challenger.step(state, event).state
    return state


def test_a_forced_reveal_goes_down_to_a_leaf_and_on_as_a_case_about_its_step() -> None:
    phases = [type(demanding(*DOWN[:count])).__name__ for count in range(len(DOWN) + 1)]
    assert phases == ["Planning", "Opening", "Asked", "Choosing", "Descending", "Asked", "Choosing", "Naming"]
    naming = demanding(*DOWN)
    assert isinstance(naming, challenger.Naming)
    claimed = challenger.named(naming).claimed
    assert claimed == Claimed(NODES[1], (*SIBLINGS[:2], *SIBLINGS)), "its proof leads up to the root"
    hidden = demanding(*DOWN, WENT_ON, NAMED_OPENED)
    assert isinstance(hidden, challenger.Hidden)
    assert (hidden.contest.kind, hidden.contest.step, hidden.contest.answer) == (Kind.STEP, 16, CONTEST.answer)
    assert standing.subjects_of(naming) == {DEAL, DEMANDED_CASE, NAMED_CASE}
    assert standing.subjects_of(hidden) == {DEAL, NAMED_CASE}


def test_only_an_answer_to_the_own_question_counts() -> None:
    asked = demanding(*DOWN[:2])
    assert challenger.step(asked, SHOWN_LEAVES).state == asked
    assert challenger.step(asked, ASKED_ON).state == asked
    descending = demanding(*DOWN[:4])
    assert challenger.step(descending, replace(ASKED_ON, index=5)).state == descending


@pytest.mark.parametrize("settled", LEFT_OFF, ids=lambda settled: settled.verdict.name)
def test_a_reveal_that_comes_to_no_step_ends_by_its_verdict(settled: CaseSettled) -> None:
    ends = {Verdict.OVERTURNED: challenger.Won, Verdict.UPHELD: challenger.Lost, Verdict.LAPSED: challenger.Lost}
    wanted = ends.get(settled.verdict, challenger.Returned)
    for count in (2, 3, 4):
        assert type(demanding(*DOWN[:count], settled)) is wanted
    assert isinstance(demanding(*DOWN[:3], NothingDiffers()), challenger.Lapsing)
    assert type(demanding(*DOWN[:3], NothingDiffers(), settled)) is wanted


def test_each_move_has_its_clock_and_a_number_that_is_taken_is_chosen_anew() -> None:
    for count, until in ((3, SHOWN_NODES.deadline), (4, SHOWN_NODES.deadline), (7, SHOWN_LEAVES.deadline)):
        step = challenger.step(demanding(*DOWN[: count - 1]), DOWN[count - 1])
        assert WakeAt(until) in step.commands
        assert isinstance(challenger.step(step.state, DeadlinePassed(until)).state, challenger.Lapsing)
    state = demanding(*DOWN)
    for _ in range(challenger.MAX_TRIES - 1):
        state = challenger.step(state, REFUSED).state
        assert isinstance(state, challenger.Choosing)
        state = challenger.step(state, NAMED_LEAF).state
    assert isinstance(challenger.step(state, REFUSED).state, challenger.Lapsing)


def test_a_leaf_that_speaks_against_itself_takes_one_call_and_no_bond() -> None:
    begun = challenger.begin(EXPOSURE_WANTED)
    assert begun.commands == (SubmitChallenge(), WakeAt(EXPOSURE.window_ends_at))
    assert challenger.step(begun.state, OVERTURNED).state == challenger.Exposed(EXPOSURE, OVERTURNED)
    assert isinstance(challenger.step(begun.state, REFUSED).state, challenger.Withdrawn), "somebody was faster"
    assert isinstance(challenger.step(begun.state, FINALIZED).state, challenger.Withdrawn)


# ---- the arbiter's duty ------------------------------------------------------------------------------------------


def judged(*events: Any) -> arbiter.State:
    state = arbiter.begin(SEAT_FOUND).state
    for event in events:
        state = arbiter.step(state, event, CLOCKS.reveal_s).state
    return state


def test_a_vote_is_written_down_before_it_is_cast_and_never_changes() -> None:
    for arrow in ARBITER_ARROWS:
        if SubmitVote() in arrow.commands:
            assert isinstance(arrow.event, StepJudged)
            assert isinstance(arrow.target, arbiter.Voting)
            assert arrow.target.judged == arrow.event
        knows = arbiter.Voting | arbiter.Cast | arbiter.Revealed | arbiter.Served
        if isinstance(arrow.source, knows) and isinstance(arrow.target, knows):
            assert arrow.target.judged == arrow.source.judged


def test_what_is_revealed_is_what_was_hidden() -> None:
    voting = judged(DRAWN, JUDGED)
    assert isinstance(voting, arbiter.Voting)
    assert arbiter.hidden(voting) == hidden_vote(CASE, 1, JUDGED.vote, JUDGED.leaf, JUDGED.salt, ARBITER)
    cast = judged(DRAWN, JUDGED, CAST[1])
    assert isinstance(cast, arbiter.Cast)
    assert cast.judged == voting.judged


def test_only_votes_of_the_own_seat_count() -> None:
    for seat, (cast, vote) in enumerate(zip(CAST, VOTES, strict=True)):
        assert isinstance(judged(DRAWN, JUDGED, cast), arbiter.Cast) == (seat == 1)
        assert isinstance(judged(DRAWN, JUDGED, CAST[1], vote), arbiter.Revealed) == (seat == 1)
    assert isinstance(judged(DRAWN, JUDGED, CAST[1], VOTES[1], PAID), arbiter.Served)


def test_each_step_of_the_duty_has_its_clock() -> None:
    events: list[tuple[Any, Any, UnixTime]] = [
        (DRAWN, JudgeStep(CASE, 1, DRAWN.step, DRAWN.claimed_leaf), DRAWN.vote_by),
        (JUDGED, SubmitVote(), DRAWN.vote_by),
        (CAST[1], SubmitReveal(), UnixTime(DRAWN.vote_by + CLOCKS.reveal_s)),
    ]
    state = arbiter.begin(SEAT_FOUND).state
    for event, command, until in events:
        step = arbiter.step(state, event, CLOCKS.reveal_s)
        assert step.commands == (command, WakeAt(until))
        assert isinstance(arbiter.step(step.state, DeadlinePassed(until), CLOCKS.reveal_s).state, arbiter.Missed)
        state = step.state


def test_who_is_not_drawn_in_the_end_has_no_duty() -> None:
    assert isinstance(judged(DRAWN_OTHERS), arbiter.Released)
    assert isinstance(judged(PASSED), arbiter.Released)
    assert isinstance(judged(DRAWN, SETTLED[Verdict.MOOT]), arbiter.Released)


# ---- together ----------------------------------------------------------------------------------------------------

WAYS: list[tuple[Any, tuple[Any, ...]]] = [
    (WANTED, (LEFT_ALONE, OPENED, SHOWN, DRAWN, *CAST, *VOTES, DECIDED, SETTLED[Verdict.OVERTURNED])),
    (WANTED, (LED_TO_JOIN, JOINED, DRAWN, DECIDED, SETTLED[Verdict.UPHELD])),
    (DEMAND_WANTED, (*DOWN, WENT_ON, NAMED_OPENED)),
    (SEAT_FOUND, (DRAWN, JUDGED, *CAST, *VOTES, DECIDED, SETTLED[Verdict.OVERTURNED], PAID)),
]


def stepped(state: Any, event: Any) -> Any:
    return machines.step(state, event, CHALLENGER, Times(0, CLOCKS.reveal_s))


def folded(first: Any, events: Iterable[Any]) -> standing.Standing[Any]:
    return standing.replay(machines.first(first), lived(first, events), stepped)


def lived(first: Any, events: Iterable[Any]) -> list[Past[Any]]:
    """What happened, with the questions that were answered."""
    now, pasts = machines.first(first), list[Past[Any]]()
    for event in events:
        asked = next((name for name, command in now.in_force.items() if _answers(command, event)), None)
        pasts.append(Past(event, asked))
        now = standing.advance(now, pasts[-1], stepped)
    return pasts


def _answers(command: Any, event: Any) -> bool:
    return isinstance(command, PlanChallenge | ChooseNode | JudgeStep) and not hasattr(event, "tx")


@pytest.mark.parametrize(("first", "events"), WAYS)
def test_what_the_chain_says_ahead_of_a_machine_waits(first: Any, events: tuple[Any, ...]) -> None:
    """After the restore of an old journal the logs come before the answers that led to them."""
    logs = [event for event in events if hasattr(event, "tx")]
    own = [event for event in events if not hasattr(event, "tx")]
    in_order, early = folded(first, events), folded(first, [*logs[:1], *own, *logs[1:]])
    if isinstance(first, type(SEAT_FOUND)):
        assert early.state == in_order.state
        assert isinstance(early.state, arbiter.Served)
    else:
        assert type(early.state).__name__ in ("Won", "Lost", "Opening")


@pytest.mark.parametrize(("first", "events"), WAYS)
def test_a_log_that_is_taken_back_and_comes_again_leads_to_the_same(first: Any, events: tuple[Any, ...]) -> None:
    """The fold without a log is a state that was passed before; with it in its place again, nothing has changed."""
    passed = [folded(first, events[:count]).state for count in range(len(events) + 1)]
    for at, event in enumerate(events):
        if hasattr(event, "tx"):
            assert folded(first, events[:at]).state in passed
            assert folded(first, [*events[:at], event, *events[at + 1 :]]).state == passed[-1]


@pytest.mark.parametrize(("first", "events"), WAYS)
def test_what_was_found_out_counts_when_the_chain_says_the_same_in_later_blocks(
    first: Any, events: tuple[Any, ...]
) -> None:
    """What has been signed since rests on it: to find out anew, perhaps otherwise, would not fit that any more."""
    undisturbed = folded(first, events).state
    moved = [replace(past, event=later(past.event)) for past in lived(first, events)]
    again = standing.replay(machines.first(first), moved, stepped).state
    assert type(again) is type(undisturbed)
    match undisturbed, again:
        case arbiter.Served(), arbiter.Served():
            assert again.judged == undisturbed.judged
        case challenger.Hidden(), challenger.Hidden():
            assert again.contest == undisturbed.contest
        case _:
            pass


def later(event: Any) -> Any:
    """A log in another transaction of a later block, from which its clocks run; an answer as it is."""
    if not hasattr(event, "tx"):
        return event
    clocks = {
        name: getattr(event, name) + 7 for name in ("at", "vote_by", "deadline", "appeal_by") if hasattr(event, name)
    }
    return replace(event, tx=TxHash(b"\x77" * 32), **clocks)


def test_a_step_of_another_claim_is_judged_for_itself() -> None:
    """An answer to one question is none to another: the lot may fall on another step, the provider commit anew."""
    (_, answer) = lived(SEAT_FOUND, (DRAWN, JUDGED))
    for other in (replace(DRAWN, step=DRAWN.step + 1), replace(DRAWN, claimed_leaf=MINE)):
        now = standing.replay(machines.first(SEAT_FOUND), [Past(other, None), answer], stepped)
        assert isinstance(now.state, arbiter.Judging)


def test_nothing_begins_or_goes_on_with_what_belongs_elsewhere() -> None:
    with pytest.raises(InvariantViolated, match="nothing begins with"):
        machines.first(AcceptRequested())
    with pytest.raises(InvariantViolated, match="does not belong to Planning"):
        machines.step(challenged(), AcceptRequested(), CHALLENGER, Times(0))
    with pytest.raises(InvariantViolated, match="does not belong to Summoned"):
        machines.step(judged(), AcceptRequested(), CHALLENGER, Times(0))
