"""Cases in the node's file: folded as their logs come, taken back with their blocks, and what they say of deals."""

from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from capanode.node.chain import case_log
from capanode.node.chain.case_log import CaseLog
from capanode.node.storage.database import Database, open_database
from capanode.protocol.cases import CasePhase, Verdict
from capanode.protocol.events import ChallengeClosed, DealChallenged
from capanode.protocol.ids import Digest
from tests.protocol.deals import DEAL
from tests.protocol.disputes import CASE, CAST, DECIDED, DRAWN, MARKET, NAMED, OPENED, PAID, SETTLED, SHOWN, VOTES


@pytest.fixture
async def database(tmp_path: Path) -> AsyncGenerator[Database]:
    async with open_database(tmp_path / "node.sqlite", [case_log.SCHEMA]) as opened:
        yield opened


async def take(database: Database, *events: Any) -> list[Any]:
    """Each event in a block of its own; what they say of the deal."""
    said: list[Any] = []
    for event in events:
        block = Digest(len(said).to_bytes(32, "big"))
        receive = partial(case_log.receive_in, market=MARKET, event=event, block=block)
        said.append(await database.write("test", receive))
    return said


async def test_a_case_is_folded_and_its_deal_hears_of_its_beginning_and_its_end(database: Database) -> None:
    upheld = SETTLED[Verdict.UPHELD]
    said = await take(database, OPENED, SHOWN, DRAWN, *CAST, *VOTES, DECIDED, upheld, PAID)
    assert said[0] == DealChallenged(DEAL, 1, OPENED.tx, OPENED.at)
    assert said[-2] == ChallengeClosed(DEAL, 0, upheld.tx, upheld.at)
    assert [one for one in said if one is not None] == [said[0], said[-2]]
    filed = await CaseLog(database).find(CASE)
    assert filed is not None
    assert (filed.market, filed.case.phase, filed.case.verdict) == (MARKET, CasePhase.CLOSED, Verdict.UPHELD)
    assert await CaseLog(database).open() == ()
    assert [one.case.case_id for one in await CaseLog(database).of_deal(DEAL)] == [CASE]


@pytest.mark.parametrize("verdict", [Verdict.OVERTURNED, Verdict.VOID, Verdict.SPLIT, Verdict.MOOT])
async def test_where_the_deal_ends_the_market_says_so_and_not_the_case(database: Database, verdict: Verdict) -> None:
    assert (await take(database, OPENED, SETTLED[verdict]))[-1] is None


async def test_a_forced_reveal_that_names_a_step_does_not_close_the_dispute(database: Database) -> None:
    assert (await take(database, OPENED, NAMED))[-1] is None


async def test_a_block_that_goes_away_takes_its_logs_with_it(database: Database) -> None:
    await take(database, OPENED, SHOWN, DRAWN)
    filed = None
    for number, phase in ((2, CasePhase.OPEN), (1, CasePhase.OPEN)):
        await database.write("test", partial(case_log.retract_in, block=Digest(number.to_bytes(32, "big"))))
        filed = await CaseLog(database).find(CASE)
        assert filed is not None
        assert filed.case.phase is phase
    assert filed is not None
    assert not filed.case.challengers[0].has_shown
    await database.write("test", partial(case_log.retract_in, block=Digest(bytes(32))))
    assert await CaseLog(database).find(CASE) is None
    assert (await take(database, OPENED))[0] == DealChallenged(DEAL, 1, OPENED.tx, OPENED.at)


async def test_what_follows_on_a_case_that_nobody_saw_begin_is_left_out(database: Database) -> None:
    assert await take(database, SHOWN, DRAWN) == [None, None]
    assert await CaseLog(database).newest(10) == ()
