"""What an arbiter votes where it cannot look: bytes that stay away are missing, its own machine is nobody's fault."""

from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from capanode.node.chain.case_log import Filed
from capanode.node.chain.clock import ChainClock
from capanode.node.challenged.evidence import BytesMissing
from capanode.node.challenged.judging import Judging
from capanode.node.keys.signer import LocalSigner
from capanode.protocol import arbiter
from capanode.protocol.cases import Case, CasePhase, Vote
from capanode.protocol.events import SeatFound
from capanode.protocol.faults import Fault, Refused, Unavailable
from capanode.protocol.ids import ZERO_DIGEST, Address, CaseId, DealId, Digest, UnixTime
from tests.node.market_place import MARKET
from tests.protocol.disputes import OPENED

ME = LocalSigner(b"\x01" * 32)
CASE = CaseId(b"\x02" * 32)
LEFT_S = 100
VOTE_BY = UnixTime(1_800_000_000 + LEFT_S)
SLOW_S = 200.0


class Evidence:
    """A checker that fails as it is told, the second time only after a while."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.asked = 0

    async def trace_of(self, _: DealId) -> None:
        self.asked += 1
        await trio.sleep(0 if self.asked == 1 else SLOW_S)
        raise self.fault


class Cases:
    async def find(self, _: CaseId) -> Filed:
        await trio.lowlevel.checkpoint()
        return Filed(Case(OPENED, CasePhase.VOTING, 0, 0, ()), MARKET)


def judging(checker: Evidence) -> Judging:
    began = trio.current_time()
    clock = ChainClock(lambda: VOTE_BY - LEFT_S + trio.current_time() - began)
    nobody = cast(Any, None)
    return Judging(cast(Any, Cases()), cast(Any, checker), nobody, nobody, clock, nobody, ME)


def duty() -> arbiter.Judging:
    seat = arbiter.Seat(CASE, 0, 0, ME.address, Digest(b"\x03" * 32), 0, ZERO_DIGEST, VOTE_BY)
    return arbiter.Judging(SeatFound(CASE, 0, Address(ME.address), VOTE_BY), seat)


async def test_bytes_that_stay_away_are_missing_whoevers_fault_it_is(autojump_clock: MockClock) -> None:
    assert (await judging(Evidence(BytesMissing("nobody hands it over"))).judge(duty())).vote is Vote.UNAVAILABLE


async def test_a_machine_that_cannot_judge_says_nothing_even_when_the_time_runs_out(autojump_clock: MockClock) -> None:
    """In a named set others' classes are nobody's business: such a vote could convict an honest provider."""
    desk = judging(Evidence(Refused("its result is judged on machines of another class")))
    for _ in range(2):
        with pytest.raises(Unavailable, match="cannot judge"):
            await desk.judge(duty())
