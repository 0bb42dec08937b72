"""Serving in named sets: whom this node judges beside, on a real court, and what strangers cannot have it do."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import trio

from capanode.node.agent import Agent
from capanode.node.chain.clock import ChainClock
from capanode.node.chain.court import ArbiterState, Duty, PoolState, collect
from capanode.node.chain.courts import Courts
from capanode.node.chain.orders import Orders
from capanode.node.chain.pools import make_known
from capanode.node.chain.sender import Sender
from capanode.node.chain.wire import hexadecimal
from capanode.node.challenged.checking import Checker
from capanode.node.challenged.enrolment import Enrolment
from capanode.node.challenged.lots import Lots, expected_of_set_wei
from capanode.node.challenged.named_sets import MOST_SERVED, SCHEMA, NamedSets
from capanode.node.journal import SCHEMA as JOURNAL
from capanode.node.journal import Journal, Side, receive_in
from capanode.node.storage.database import open_database
from capanode.protocol.cases import CommitteeDrawn, Kind, case_id_of
from capanode.protocol.events import Prepared
from capanode.protocol.faults import Refused
from capanode.protocol.ids import ZERO_ADDRESS, Address, Digest, UnixTime, Wei
from capanode.protocol.judging import named_pool
from capanode.protocol.named_set import in_order
from tests.agent.scripted import BLOCK
from tests.challenged.courthouse import ARBITERS, CLASS, FEE, Courthouse, courthouse, trace
from tests.challenged.test_lots import ALWAYS, STEPS, Published
from tests.node.market_place import Idle
from tests.protocol.deals import GRACE_S, NOW
from tests.protocol.disputes import DRAWN
from tests.vectors import golden

ME, TWO, THREE = (signer.address for signer in ARBITERS[:3])
SET = in_order((ME, TWO, THREE))


@asynccontextmanager
async def named_sets(folder: Path) -> AsyncGenerator[NamedSets]:
    async with open_database(folder / "sets.sqlite", [SCHEMA]) as database:
        sets = NamedSets(database)
        await sets.load()
        yield sets


async def test_what_is_agreed_to_outlives_the_node_and_is_left_at_once(tmp_path: Path) -> None:
    pair = in_order((ME, TWO))
    async with named_sets(tmp_path) as sets:
        await sets.agree(SET)
        await sets.agree(pair)
        await sets.agree(pair)
    async with named_sets(tmp_path) as sets:
        assert set(sets.all()) == {SET, pair}
        assert sets.find(named_pool(SET)) == SET
        await sets.leave(SET)
        await sets.leave(SET)
    async with named_sets(tmp_path) as sets:
        assert sets.all() == (pair,)


async def test_nobody_serves_in_sets_without_end(tmp_path: Path) -> None:
    async with named_sets(tmp_path) as sets:
        for number in range(1, MOST_SERVED + 1):
            await sets.agree(in_order((ME, Address(number.to_bytes(20, "big")))))
        with pytest.raises(Refused, match="64 named sets already"):
            await sets.agree(SET)
        await sets.agree(sets.all()[0])


async def test_strangers_cannot_have_a_node_judge_by_naming_it(tmp_path: Path) -> None:
    """Else anybody could have it run programs for no fee, and nobody would have asked its operator."""
    drawn = replace(DRAWN, arbiters=SET, pool=named_pool(SET))
    of_class = replace(DRAWN, arbiters=(TWO, ME, THREE), round=0)
    async with named_sets(tmp_path) as sets, open_database(tmp_path / "node.sqlite", [JOURNAL]) as database:
        agent = Agent(Journal(database), ME, lambda _: GRACE_S, now=lambda: float(NOW), wallet=ME, serves=sets.serves)
        async with trio.open_nursery() as nursery:
            await nursery.start(agent.run, Idle())

            async def duties(event: CommitteeDrawn) -> int:
                await database.write("test", lambda connection: receive_in(connection, event, BLOCK))
                agent.chain_moved()
                # Whatever was on its way has been applied before this.
                await agent.tell("nobody", Prepared())
                return sum(stored.side is Side.ARBITER for stored in agent.open_deals())

            assert await duties(drawn) == 0
            assert await duties(of_class) == 1, "a class draws only those who have staked"
            await sets.agree(SET)
            assert await duties(replace(drawn, round=2)) == 2
            await sets.leave(SET)
            assert await duties(replace(drawn, round=3)) == 2, "what has begun goes on"
            nursery.cancel_scope.cancel()


@dataclass(slots=True)
class Till:
    """Pools in which the wallet has earned something in one set, and the orders that fetch it."""

    owed: dict[Digest, Wei]
    address: Address = ZERO_ADDRESS

    async def arbiter(self, pool: Digest, arbiter: Address) -> ArbiterState:
        await trio.lowlevel.checkpoint()
        assert arbiter == ME
        return ArbiterState(Wei(0), self.owed.get(pool, Wei(0)), Duty.NONE, UnixTime(0))

    async def pool(self, _: Digest) -> PoolState:
        await trio.lowlevel.checkpoint()
        return PoolState(0, Wei(0))

    async def insist(self, effect: str, verb: str, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        assert verb == "collect"
        self.owed = {pool: wei for pool, wei in self.owed.items() if collect(pool) != data}

    def enrolment(self, sets: NamedSets) -> Enrolment:
        place = SimpleNamespace(pools=self, clocks=SimpleNamespace(min_stake_wei=0))
        known = cast(Courts, SimpleNamespace(all=lambda: (place,)))
        nobody, clock = cast(Sender, None), ChainClock(lambda: 0.0)
        return Enrolment(known, nobody, ME, clock, CLASS, sets, lambda *_: cast(Orders, self))


async def test_what_was_earned_in_a_set_is_collected_after_leaving_it(tmp_path: Path) -> None:
    """Duties that have begun go on: their fees come when nothing is served any more."""
    till, pair = Till({named_pool(SET): FEE}), in_order((ME, TWO))
    async with named_sets(tmp_path) as sets:
        for each in (SET, pair):
            await sets.agree(each)
            await sets.leave(each)
    async with named_sets(tmp_path) as sets:
        enrolment = till.enrolment(sets)
        (shown,) = (await enrolment.show())["named_sets"]
        assert (shown["pool"], shown["fees_wei"], shown["serves"]) == (hexadecimal(named_pool(SET)), FEE, False)
        assert not sets.serves(replace(DRAWN, arbiters=SET, pool=named_pool(SET)))
        assert (await enrolment.call("collect", "a", Wei(0)))["named_sets"] == []
    assert till.owed == {}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncGenerator[Courthouse]:
    with trio.fail_after(240):
        async with courthouse(tmp_path) as opened:
            yield opened


async def test_an_arbiter_agrees_by_a_call_that_stakes_nothing(house: Courthouse, tmp_path: Path) -> None:
    pools = house.courts.of(house.at).pools
    clock, before = ChainClock(lambda: 0.0), await house.free_wei(ARBITERS[0])
    async with named_sets(tmp_path) as sets:
        enrolment = Enrolment(house.courts, house.senders[ME], ME, clock, CLASS, sets)
        with pytest.raises(Refused, match="is not among these arbiters"):
            await enrolment.serve(in_order((TWO, THREE)))
        assert await pools.named(named_pool(SET)) == ()
        shown = await enrolment.serve(SET)
        assert await pools.named(named_pool(SET)) == SET
        assert (await enrolment.serve(SET))["named_sets"] == shown["named_sets"], "once more says the same"
        assert [(one["arbiters"], one["fees_wei"]) for one in shown["named_sets"]] == [
            ([f"0x{one.hex()}" for one in SET], 0)
        ]
        assert await house.free_wei(ARBITERS[0]) == before
        assert (await enrolment.retire(SET))["named_sets"] == []
        with pytest.raises(Refused, match="does not serve in that named set"):
            await enrolment.retire(SET)


async def test_the_golden_set_has_the_name_that_the_chain_gives_it(house: Courthouse) -> None:
    golden_set = golden.load("typed_data")["rules_pools"]
    pools = house.courts.of(house.at).pools
    await make_known(Orders(house.senders[ME], pools.address, ()), tuple(golden_set["arbiters"]))
    assert await pools.named(Digest(golden_set["named"])) == tuple(golden_set["arbiters"])


async def test_an_arbiter_begins_audits_of_what_its_sets_judge_and_of_no_others(
    house: Courthouse, tmp_path: Path
) -> None:
    papers = await house.commit(STEPS, trace(STEPS), audit_ppm=ALWAYS, named=SET)
    async with named_sets(tmp_path) as sets:
        lots = Lots(
            cast(Checker, Published(house, papers)),
            house.courts,
            ChainClock(lambda: 0.0),
            ME,
            CLASS,
            0.0,
            gas_wei=lambda: Wei(0),
            orders=lambda _: Orders(house.senders[ME], house.court.address, ()),
            named=sets.find,
        )
        assert not await lots.consider(papers.deal_id)
        await sets.agree(SET)
        assert await lots.consider(papers.deal_id)
    case = await house.court.case(case_id_of(papers.deal_id, Kind.AUDIT, 0, 0))
    assert case.phase.name == "DRAWING"


async def test_a_larger_set_shares_three_fees(house: Courthouse) -> None:
    rules = (await house.commit(STEPS, trace(STEPS), audit_ppm=ALWAYS)).rules
    assert [expected_of_set_wei(rules, count) for count in (1, 3, 15)] == [FEE, FEE, FEE // 5]
