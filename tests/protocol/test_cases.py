"""The fold of a case, and what is due in it: no state of a case is without an act that somebody can do some day."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capanode.protocol import cases
from capanode.protocol.cases import (
    HASHED_BLOCKS,
    CasePhase,
    Kind,
    Verdict,
    Vote,
    case_id_of,
    hidden_answer,
    hidden_vote,
)
from capanode.protocol.due import Act, Due, Moment, due
from capanode.protocol.ids import UnixTime
from tests.protocol.deals import DEAL, NOW
from tests.protocol.disputes import (
    ANSWERED,
    APPEALED,
    ARBITER,
    ASKED,
    CASE,
    CASE_LOGS,
    CAST,
    CHALLENGER,
    CLOCKS,
    DECIDED,
    DRAWING,
    DRAWN,
    FOUND,
    MINE,
    NAMED,
    OPENED,
    PAID,
    RIVAL,
    RIVAL_JOINED,
    SALT,
    SETTLED,
    SHOWN,
    VOTES,
)

LATER = UnixTime(NOW + 10_000)
OVERTURNED = SETTLED[Verdict.OVERTURNED]


def case_of(*events: Any) -> cases.Case:
    case = cases.fold((OPENED, *events))
    assert case is not None
    return case


def acts(case: cases.Case, block: int, at: UnixTime = NOW) -> list[Act]:
    return [one.act for one in due(case, CLOCKS, Moment(block, at))]


# ---- hashing -----------------------------------------------------------------------------------------------------


def test_what_is_hidden_is_good_for_one_sender_in_one_case_only() -> None:
    seen = {
        hidden_answer(case, answer, SALT, sender)
        for case in (CASE, case_id_of(DEAL, Kind.STEP, 0, 1), case_id_of(DEAL, Kind.DATA, 0, 0))
        for answer in (MINE, SALT)
        for sender in (CHALLENGER, RIVAL)
    }
    assert len(seen) == 12
    votes = {
        hidden_vote(CASE, number, vote, MINE, SALT, arbiter)
        for number in (1, 2)
        for vote in Vote
        for arbiter in (ARBITER, RIVAL)
    }
    assert len(votes) == 4 * len(Vote)
    assert not votes & seen


# ---- the fold ----------------------------------------------------------------------------------------------------


def test_a_case_from_its_opening_to_its_end() -> None:
    logs = (RIVAL_JOINED, SHOWN, DRAWN, *CAST, *VOTES, DECIDED, APPEALED, DRAWING, OVERTURNED, PAID)
    phases = [case_of(*logs[:count]).phase.name for count in range(len(logs) + 1)]
    assert phases == [
        *["OPEN"] * 3,
        *["VOTING"] * 4,
        *["REVEALING"] * 3,
        *["DECIDED"] * 2,
        "DRAWING",
        *["CLOSED"] * 2,
    ]
    case = case_of(*logs)
    assert [one.address for one in case.challengers] == [CHALLENGER, RIVAL]
    assert [one.has_shown for one in case.challengers] == [True, False]
    assert (case.index_of(RIVAL), case.index_of(ARBITER)) == (1, None)
    committee = case.committee
    assert committee is not None
    assert committee.has_all_revealed
    assert committee.is_paid
    assert (case.verdict, case.leaf) == (Verdict.OVERTURNED, FOUND)


def test_nothing_is_folded_before_the_case_was_opened_nor_of_another_case() -> None:
    assert cases.fold((SHOWN, DRAWN)) is None
    other = SHOWN.__class__(NAMED.step_case_id, CHALLENGER, 0, MINE, SALT, SHOWN.tx, NOW)
    assert case_of(other) == case_of()


@given(logs=st.lists(st.sampled_from(CASE_LOGS), max_size=12), block=st.integers(0, 500), at=st.integers(0, 2 * NOW))
def test_no_order_of_logs_breaks_the_fold_or_what_is_due(logs: Sequence[Any], block: int, at: int) -> None:
    case = cases.fold(logs)
    if case is not None:
        due(case, CLOCKS, Moment(block, UnixTime(at)))
        assert due(case, CLOCKS, Moment(block, UnixTime(at)), is_over=True) or case.is_closed


# ---- what is due -------------------------------------------------------------------------------------------------


def test_an_open_case_is_drawn_once_every_answer_is_shown_or_their_time_is_over() -> None:
    two, shown = case_of(RIVAL_JOINED), case_of(RIVAL_JOINED, SHOWN)
    seed, last = OPENED.seed_block, OPENED.seed_block + CLOCKS.reveal_blocks
    assert acts(shown, seed) == []
    assert acts(shown, last) == []
    assert acts(shown, last + 1) == [Act.DRAW]
    assert acts(two, last + 1) == [Act.SETTLE], "nobody has shown anything"
    assert acts(case_of(SHOWN), seed) == []
    assert acts(case_of(SHOWN), seed + 1) == [Act.DRAW], "the last answer draws; if that could not be, anybody"
    assert acts(shown, seed + HASHED_BLOCKS - 1) == [Act.DRAW]
    assert acts(shown, seed + HASHED_BLOCKS) == [Act.RETARGET]


def test_an_audit_waits_for_its_lot_and_is_never_drawn_again() -> None:
    lot = cases.fold([replace(OPENED, kind=Kind.AUDIT)])
    assert lot is not None
    assert lot.awaits_lot
    seed = OPENED.seed_block
    for block, expected in ((seed, []), (seed + 1, [Act.DRAW]), (seed + HASHED_BLOCKS, [Act.SETTLE])):
        assert acts(lot, block) == expected
    over = due(lot, CLOCKS, Moment(seed + 1, NOW), is_over=True)
    assert over == (), "no lot falls on a deal that has ended"
    chosen = cases.fold([replace(OPENED, kind=Kind.AUDIT), DRAWN])
    assert chosen is not None
    assert not chosen.awaits_lot


def test_a_round_is_counted_when_nothing_more_can_come() -> None:
    assert acts(case_of(SHOWN, DRAWN), 200, DRAWN.vote_by) == []
    assert acts(case_of(SHOWN, DRAWN, *CAST, *VOTES[:2]), 200, DRAWN.vote_by) == []
    assert acts(case_of(SHOWN, DRAWN, *CAST, *VOTES), 200, DRAWN.vote_by) == [Act.RESOLVE]
    over = UnixTime(DRAWN.vote_by + CLOCKS.reveal_s + 1)
    assert acts(case_of(SHOWN, DRAWN, *CAST[:1]), 200, over) == [Act.RESOLVE]
    absent, late = case_of(SHOWN, DRAWN, *CAST[:2], *VOTES[:2]), UnixTime(DRAWN.vote_by + 1)
    assert acts(absent, 200, late) == [Act.RESOLVE], "one is away: the others have shown all there is"
    assert acts(case_of(SHOWN, DRAWN, *CAST[:2], *VOTES[:1]), 200, late) == []


def test_a_decision_is_settled_after_the_time_to_appeal_and_its_arbiters_paid() -> None:
    decided = case_of(SHOWN, DRAWN, *CAST, *VOTES, DECIDED)
    assert acts(decided, 200, DECIDED.appeal_by) == []
    assert acts(decided, 200, UnixTime(DECIDED.appeal_by + 1)) == [Act.SETTLE]
    closed = case_of(SHOWN, DRAWN, *CAST, *VOTES, DECIDED, OVERTURNED)
    assert due(closed, CLOCKS, Moment(200, NOW)) == (Due(Act.PAY, 1),)
    assert acts(case_of(SHOWN, DRAWN, *CAST, *VOTES, DECIDED, OVERTURNED, PAID), 200) == []


def test_a_forced_reveal_ends_with_whoever_lets_its_clock_run_out() -> None:
    for logs in ((ASKED,), (ASKED, ANSWERED)):
        question = case_of(*logs).question
        assert question is not None
        assert acts(case_of(*logs), 200, question.deadline) == []
        assert acts(case_of(*logs), 200, UnixTime(question.deadline + 1)) == [Act.SETTLE]
    assert case_of(ASKED, ANSWERED, NAMED).is_closed


@pytest.mark.parametrize(
    "logs",
    [
        (),
        (RIVAL_JOINED, SHOWN),
        (SHOWN, DRAWN),
        (SHOWN, DRAWN, *CAST),
        (SHOWN, DRAWN, *CAST, *VOTES[:1]),
        (SHOWN, DRAWN, *CAST, *VOTES, DECIDED),
        (SHOWN, DRAWN, *CAST, *VOTES, DECIDED, APPEALED, DRAWING),
        (ASKED,),
        (ASKED, ANSWERED),
    ],
)
def test_no_open_case_waits_for_anybodys_goodwill(logs: tuple[Any, ...]) -> None:
    """Some day, whatever the others do not do, anybody can move it on."""
    case = case_of(*logs)
    assert case.phase is not CasePhase.CLOSED
    assert due(case, CLOCKS, Moment(10_000, LATER))


def test_time_never_takes_an_act_away() -> None:
    """But for the hash of a block, which can be had for a while only."""
    case = case_of(SHOWN, DRAWN, *CAST, *VOTES, DECIDED)
    seen = [bool(acts(case, 200, UnixTime(NOW + later))) for later in range(0, 1000, 50)]
    assert all(not earlier or later for earlier, later in pairwise(seen))
