"""Well-formed records for tests of cases and of the machines in them; every value is arbitrary but valid."""

from dataclasses import replace

from capanode.protocol.cases import (
    AnswerShown,
    CaseAppealed,
    CaseDecided,
    CaseEvent,
    CaseOpened,
    CaseSettled,
    ChallengerJoined,
    Claimed,
    CommitteeDrawn,
    CommitteePaid,
    DrawingBegun,
    Kind,
    LeavesAnswered,
    LeavesAsked,
    Papers,
    ShownLeaf,
    StepNamed,
    Verdict,
    Vote,
    VoteCast,
    VoteRevealed,
    case_id_of,
    hidden_answer,
)
from capanode.protocol.due import CourtClocks
from capanode.protocol.events import (
    ArbiterEvent,
    ChallengePlanned,
    ChallengerEvent,
    ChallengeWanted,
    Contest,
    DealEvent,
    LeafChosen,
    NodeChosen,
    NothingDiffers,
    SeatFound,
    StepJudged,
)
from capanode.protocol.ids import ZERO_DIGEST, Address, CaseId, Digest, Ppm, UnixTime, Wei
from capanode.protocol.judging import Rules, VerificationClass
from tests.protocol.deals import CHALLENGED, CLOSED, DEAL, FINALIZED, NOW, OVERTURNED, PASSED, REFUSED, TX, terms

CHALLENGER = Address(b"\x21" * 20)
RIVAL = Address(b"\x22" * 20)
ARBITERS = (Address(b"\x31" * 20), Address(b"\x32" * 20), Address(b"\x33" * 20))
ARBITER = ARBITERS[1]
MARKET = Address(b"\x0f" * 20)
POOL = Digest(b"\x41" * 32)
SALT = Digest(b"\x42" * 32)
MINE = Digest(b"\x43" * 32)
CLAIMED = Claimed(Digest(b"\x44" * 32), (Digest(b"\x45" * 32),))
STEP = 0
CASE = case_id_of(DEAL, Kind.STEP, STEP, 0)
OTHER_CASE = CaseId(b"\x46" * 32)
RULES = Rules(VerificationClass.EXACT, False, 0, POOL, ZERO_DIGEST, 2**30, 60, Wei(10), Ppm(200_000))
PAPERS = Papers(
    deal_id=DEAL,
    terms=terms(),
    locked_by=Address(b"\x02" * 20),
    amount_wei=Wei(900),
    trace_root=Digest(b"\x10" * 32),
    result_root=Digest(b"\x11" * 32),
    delivery_root=Digest(b"\x11" * 32),
    leaves_cid=ZERO_DIGEST,
    step_count=1,
    status=0,
    spec=Digest(b"\x04" * 32),
    input_root=Digest(b"\x05" * 32),
    first_step=0,
    step_limit=1,
    rules=RULES,
)
CONTEST = Contest(PAPERS, Kind.STEP, STEP, CLAIMED, MINE, SALT, CHALLENGER, UnixTime(NOW + 50), "another leaf")
WANTED = ChallengeWanted(CONTEST)
CLOCKS = CourtClocks(3, 10, 100, 60, 60, 90, 3600, 0, 600, 3, Wei(1000), Wei(5))

OPENED = CaseOpened(
    CASE,
    DEAL,
    CHALLENGER,
    Kind.STEP,
    STEP,
    0,
    Wei(40),
    hidden_answer(CASE, MINE, SALT, CHALLENGER),
    103,
    TX,
    NOW,
)
OPENED_BY_RIVAL = replace(OPENED, opener=RIVAL, answer=Digest(b"\x47" * 32))
JOINED = ChallengerJoined(CASE, CHALLENGER, 1, Wei(40), OPENED.answer, TX, NOW)
RIVAL_JOINED = ChallengerJoined(CASE, RIVAL, 1, Wei(40), Digest(b"\x47" * 32), TX, NOW)
SHOWN = AnswerShown(CASE, CHALLENGER, 0, MINE, SALT, TX, NOW)
SHOWN_AS_SECOND = AnswerShown(CASE, CHALLENGER, 1, MINE, SALT, TX, NOW)
DRAWING = DrawingBegun(CASE, 2, 7, 140, TX, NOW)
DRAWN = CommitteeDrawn(CASE, MARKET, POOL, 1, STEP, CLAIMED.leaf, UnixTime(NOW + 200), ARBITERS, TX, NOW)
DRAWN_OTHERS = replace(DRAWN, arbiters=(ARBITERS[0], ARBITERS[2], RIVAL))
CAST = tuple(VoteCast(CASE, 1, seat, TX, NOW) for seat in range(3))
VOTES = tuple(VoteRevealed(CASE, 1, seat, Vote.OVERTURN, MINE, TX, NOW) for seat in range(3))
FOUND = Digest(bytes(6) + MINE[6:])
"""The leaf as the court tells it: the low 208 bits. Source: `Judgement.LEAF`."""

DECIDED = CaseDecided(CASE, 1, Verdict.OVERTURNED, FOUND, UnixTime(NOW + 300), TX, NOW)
DECIDED_OTHERWISE = replace(DECIDED, leaf=Digest(b"\x48" * 32))
APPEALED = CaseAppealed(CASE, RIVAL, 1, Wei(70), TX, NOW)
ASKED = LeavesAsked(CASE, PAPERS.trace_root, 5, 0, UnixTime(NOW + 90), TX, NOW)
ANSWERED = LeavesAnswered(CASE, (MINE, CLAIMED.leaf), 2, 0, UnixTime(NOW + 180), TX, NOW)
NAMED = StepNamed(CASE, OTHER_CASE, TX, NOW)

# A forced reveal of 17 steps: a tree of five levels, of which the first answer shows three and the second the others.
DEMAND = replace(
    CONTEST, papers=replace(PAPERS, step_count=17, step_limit=17), kind=Kind.WITHHELD, step=0, claimed=Claimed()
)
DEMAND_WANTED = ChallengeWanted(DEMAND)
DEMANDED_CASE = case_id_of(DEAL, Kind.WITHHELD, 0, 0)
DEMANDED = replace(OPENED, case_id=DEMANDED_CASE, kind=Kind.WITHHELD, step=0, answer=ZERO_DIGEST, seed_block=0)
NODES = tuple(Digest(bytes([0x50 + at]) * 32) for at in range(8))
SIBLINGS = (NODES[5], NODES[6], NODES[7])
SHOWN_NODES = LeavesAnswered(DEMANDED_CASE, NODES, 2, 0, UnixTime(NOW + 180), TX, NOW)
DESCENT = NodeChosen(4, SIBLINGS)
ASKED_ON = LeavesAsked(DEMANDED_CASE, NODES[4], 2, 4, UnixTime(NOW + 270), TX, NOW)
SHOWN_LEAVES = LeavesAnswered(DEMANDED_CASE, NODES[:4], 0, 16, UnixTime(NOW + 360), TX, NOW)
NAMED_LEAF = LeafChosen(1, SIBLINGS[:2], 16, MINE, 0)
NAMED_CASE = case_id_of(DEAL, Kind.STEP, 16, 0)
NAMED_OPENED = replace(OPENED, case_id=NAMED_CASE, step=16, answer=hidden_answer(NAMED_CASE, MINE, SALT, CHALLENGER))
WENT_ON = CaseSettled(DEMANDED_CASE, DEAL, Verdict.NONE, Wei(0), Wei(0), Wei(0), TX, NOW)
LEFT_OFF = tuple(replace(WENT_ON, verdict=verdict) for verdict in Verdict)

EXPOSURE = replace(
    CONTEST, kind=Kind.SPEC, step=3, claimed=CLAIMED, shown=ShownLeaf(3, MINE, 1, ZERO_DIGEST, done=False)
)
EXPOSURE_WANTED = ChallengeWanted(EXPOSURE)
SETTLED = tuple(CaseSettled(CASE, DEAL, verdict, Wei(10), Wei(100), Wei(200), TX, NOW) for verdict in Verdict)
PAID = CommitteePaid(CASE, 1, Wei(0), TX, NOW)

SEAT_FOUND = SeatFound(CASE, 1, ARBITER, DRAWN.vote_by)
JUDGED = StepJudged(Vote.OVERTURN, MINE, SALT, "another leaf")
LEFT_ALONE = ChallengePlanned(0, None)
LED_TO_JOIN = ChallengePlanned(0, OPENED_BY_RIVAL)

CASE_LOGS: tuple[CaseEvent, ...] = (
    OPENED,
    OPENED_BY_RIVAL,
    JOINED,
    RIVAL_JOINED,
    SHOWN,
    SHOWN_AS_SECOND,
    DRAWING,
    DRAWN,
    DRAWN_OTHERS,
    *CAST,
    *VOTES,
    DECIDED,
    DECIDED_OTHERWISE,
    APPEALED,
    ASKED,
    ANSWERED,
    NAMED,
    *SETTLED,
    PAID,
)
DEAL_LOGS: tuple[DealEvent, ...] = (CHALLENGED, CLOSED, OVERTURNED, FINALIZED)
CHALLENGER_EVENTS: tuple[ChallengerEvent, ...] = (
    *DEAL_LOGS,
    *CASE_LOGS,
    PASSED,
    REFUSED,
    WANTED,
    LEFT_ALONE,
    LED_TO_JOIN,
    DEMANDED,
    SHOWN_NODES,
    DESCENT,
    ASKED_ON,
    SHOWN_LEAVES,
    NAMED_LEAF,
    NothingDiffers(),
    NAMED_OPENED,
    *LEFT_OFF,
)
ARBITER_EVENTS: tuple[ArbiterEvent, ...] = (*DEAL_LOGS, *CASE_LOGS, PASSED, REFUSED, SEAT_FOUND, JUDGED)
