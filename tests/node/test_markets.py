"""Two versions of the market side by side: each deal is judged by its own, and nobody is blamed for knowing more."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from capanode.contracts_abi import bindings
from capanode.node import journal
from capanode.node.announced.demand_filter import demand_filter
from capanode.node.announced.market_choice import MarketChoice
from capanode.node.announced.offers import offer_filter
from capanode.node.bid.auction import promised_wei
from capanode.node.bid.bidding import OTHER_MARKET, key_of
from capanode.node.bid.stakes import Stakes
from capanode.node.chain import case_log
from capanode.node.chain.blocks import BlockRef
from capanode.node.chain.intake import ChainIntake
from capanode.node.chain.logs import DecodedLog
from capanode.node.chain.markets import Markets
from capanode.node.journal import Journal, Side, Stored
from capanode.node.p2p.port import Verdict
from capanode.node.storage.database import open_database
from capanode.protocol import encoding, requester
from capanode.protocol.awards import deal_id, signed_digest
from capanode.protocol.faults import Refused, Unavailable
from capanode.protocol.ids import ZERO_ADDRESS, Address, PeerId, TxHash, UnixTime, Wei
from capanode.protocol.messages import AwardRequest
from capanode.protocol.records import Mode, SignedAward, SignedDemand, SignedOffer
from capanode.protocol.typed_data import demand_hint_digest, domain, offer_digest
from tests.node.market_place import (
    CHAIN_ID,
    MARKET,
    NOTHING,
    PRICE,
    PROVIDER,
    RICH,
    TOKEN,
    TOPIC,
    WALLET,
    FakeMarket,
    Place,
    demand,
    market_place,
    terms,
    version_of,
)
from tests.node.test_auction import bidding
from tests.node.test_bid_window import offer
from tests.protocol.deals import NOW, SPEC, work_taken

SECOND = Address(b"\x0c" * 20)
DIRECTORY = domain(CHAIN_ID, Address(b"\x0d" * 20))
ALREADY, LATER = 0, NOW + 1000


@dataclass(slots=True)
class Both:
    """A place with two markets, as far as each side knows them."""

    place: Place
    second: FakeMarket

    def tell_provider(self, active_from: int = ALREADY) -> None:
        self.place.known_to_provider.learn([version_of(self.second, 1, active_from)], ())


@asynccontextmanager
async def both(folder: Path, **wanted: Any) -> AsyncGenerator[Both]:
    """The requester knows both markets; the provider is yet to be told of the second."""
    async with market_place(folder, **wanted) as place:
        second = FakeMarket(address=SECOND)
        place.known_to_requester.learn([version_of(second, 1)], ())
        yield Both(place, second)


def award_in(market: Address, signed_in: Address | None = None, mode: Mode = Mode.LOCK) -> AwardRequest:
    """An award that names one market and is signed in the domain of one."""
    wanted = demand()
    bound = terms(wanted, mode=mode)
    at = domain(CHAIN_ID, signed_in or market)
    signature = WALLET.sign_digest(signed_digest(at, bound, None))
    return AwardRequest(market, SignedAward(bound, None, signature), wanted, SPEC)


async def test_a_deal_is_made_in_the_market_that_its_demand_names(tmp_path: Path) -> None:
    async with both(tmp_path) as found:
        found.tell_provider()
        wanted = demand()
        result = await found.place.auction.collect(bidding(wanted), SECOND)
        assert result.chosen is not None
        _, award, name = result.chosen
        assert name == deal_id(domain(CHAIN_ID, SECOND), award, wanted.price_cap_wei)
        awarding = requester.step(bidding(wanted), result, 0).job
        assert isinstance(awarding, requester.Awarding)
        assert (await found.place.auction.hand_over(awarding, SECOND)).accepted
        stored = found.place.agent.find(key_of(name))
        assert stored is not None
        assert stored.market == SECOND


async def test_a_provider_that_does_not_know_a_market_declines_politely(tmp_path: Path) -> None:
    async with both(tmp_path) as found:
        reply = await found.place.hand(award_in(SECOND))
        assert (reply.accepted, reply.reason) == (False, OTHER_MARKET)
        assert (await found.place.hand(award_in(MARKET))).accepted, "it still trades in the other one"


async def test_a_market_that_is_not_active_yet_takes_no_deals(tmp_path: Path) -> None:
    async with both(tmp_path) as found:
        found.tell_provider(LATER)
        assert (await found.place.hand(award_in(SECOND))).reason == OTHER_MARKET
        found.place.time[0] = float(LATER)
        assert (await found.place.hand(award_in(SECOND))).reason != OTHER_MARKET


async def test_a_demand_for_an_unknown_market_gets_no_bid(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with both(tmp_path) as found:
        result: list[Any] = []

        async def collect() -> None:
            result.append(await found.place.auction.collect(bidding(demand()), SECOND))

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(collect)
                await trio.sleep(10)
                assert not result
                found.place.time[0] += 10
                found.tell_provider()
        assert result[0].chosen is not None, "once it has learnt of the market, the repeated demand gets its bid"


async def test_stake_counts_in_its_own_market_only(tmp_path: Path) -> None:
    async with both(tmp_path) as found:
        found.tell_provider()
        found.second.stake_wei = NOTHING
        reply = await found.place.hand(award_in(SECOND))
        assert not reply.accepted
        assert "stake" in reply.reason
        assert (await found.place.hand(award_in(MARKET))).accepted


async def test_a_price_asked_in_one_market_says_nothing_about_the_other(tmp_path: Path) -> None:
    """The bid in the first market must not spare the look at the stake in the second."""
    async with both(tmp_path) as found:
        found.tell_provider()
        found.second.stake_wei = NOTHING
        wanted = demand()
        assert (await found.place.auction.collect(bidding(wanted), MARKET)).chosen is not None
        assert "stake" in (await found.place.hand(award_in(SECOND))).reason


@pytest.mark.parametrize(("named", "signed_in"), [(SECOND, MARKET), (MARKET, SECOND)], ids=["second", "first"])
async def test_an_award_signed_in_another_market_is_its_senders_fault(
    tmp_path: Path, named: Address, signed_in: Address
) -> None:
    async with both(tmp_path) as found:
        found.tell_provider()
        with pytest.raises(Refused, match="says that our request is invalid"):
            await found.place.hand(award_in(named, signed_in))


async def test_an_earmark_counts_in_its_own_market_only(tmp_path: Path) -> None:
    async with both(tmp_path) as found:
        found.tell_provider()
        needed = Wei(PRICE + demand().verification_wei)
        found.place.market.earmark_wei = found.second.earmark_wei = needed
        assert (await found.place.hand(award_in(MARKET, mode=Mode.DIRECT))).accepted
        # The first market's earmark is spoken for, the second's is not.
        assert (await found.place.hand(award_in(SECOND, mode=Mode.DIRECT))).accepted


def test_awards_in_another_market_promise_nothing_here() -> None:
    bound = terms(demand(), mode=Mode.DIRECT)
    job = bidding(demand())
    deal = requester.Deal(cast(Any, b"\x01" * 32), bound, PeerId("provider"), ZERO_ADDRESS)
    award = award_in(SECOND, mode=Mode.DIRECT).award
    stored = Stored("job", Side.REQUESTER, requester.Awarding(job.order, deal, award, "", False), 0, 0, SECOND)
    assert promised_wei([stored], SECOND, PROVIDER.address) == bound.price_wei + bound.verification_wei
    assert promised_wei([stored], MARKET, PROVIDER.address) == 0


# ---- gossip ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("market", [MARKET, SECOND, ZERO_ADDRESS], ids=lambda market: market.hex()[:4])
def test_demands_for_any_market_are_passed_on(market: Address) -> None:
    """A node that has not taken a version up yet must not keep it from those who have."""
    wanted = demand()
    signature = WALLET.sign_digest(demand_hint_digest(domain(CHAIN_ID, market), wanted))
    judge = demand_filter(CHAIN_ID, lambda: UnixTime(NOW))
    assert judge(TOPIC, wanted.peer, encoding.encode(SignedDemand(market, wanted, signature))) is Verdict.ACCEPT
    moved = SignedDemand(Address(b"\x0e" * 20), wanted, signature)
    assert judge(TOPIC, wanted.peer, encoding.encode(moved)) is Verdict.REJECT


def test_offers_are_signed_for_the_network_not_for_a_market() -> None:
    made = replace(offer("provider"), markets=(SECOND, MARKET))
    judge = offer_filter(DIRECTORY, lambda: UnixTime(NOW))
    for at, verdict in ((DIRECTORY, Verdict.ACCEPT), (domain(CHAIN_ID, MARKET), Verdict.REJECT)):
        data = encoding.encode(SignedOffer(made, PROVIDER.sign_digest(offer_digest(at, made))))
        assert judge(TOPIC, made.peer, data) is verdict


@pytest.mark.parametrize("markets", [(Address(b"short"),), tuple(Address(bytes([n]) * 20) for n in range(9))])
def test_an_offer_names_few_and_whole_markets(markets: tuple[Address, ...]) -> None:
    with pytest.raises(ValueError, match="market"):
        replace(offer("provider"), markets=markets)


# ---- which market a new job goes to --------------------------------------------------------------------------


def choice(*versions: tuple[int, bool], traded: frozenset[Address] = frozenset()) -> MarketChoice:
    """Over markets of this much free money, newest last; each deprecated or not."""
    known = [
        replace(
            version_of(FakeMarket(free_wei=Wei(free * TOKEN), address=Address(bytes([number]) * 20)), number),
            is_deprecated=is_deprecated,
        )
        for number, (free, is_deprecated) in enumerate(versions)
    ]
    return MarketChoice(Markets(known, lambda: UnixTime(NOW)), WALLET.address, lambda market: market in traded)


NOWHERE: frozenset[Address] = frozenset()
CHOICES: list[Any] = [
    pytest.param([(9, False), (9, False)], NOWHERE, 1, id="the newest"),
    pytest.param([(9, False), (1, False)], NOWHERE, 0, id="the newest that covers it"),
    pytest.param([(9, False), (9, False)], frozenset({Address(bytes(20))}), 0, id="one that somebody trades in"),
    pytest.param([(9, True), (9, False)], frozenset({Address(bytes(20))}), 1, id="none that is deprecated"),
    pytest.param([(9, False), (9, True)], NOWHERE, 0, id="an older one, if the newest is deprecated"),
    pytest.param([(9, True)], NOWHERE, 0, id="a deprecated one, if there is no other"),
]


@pytest.mark.parametrize(("versions", "traded", "expected"), CHOICES)
async def test_a_new_job_goes_to(versions: Any, traded: frozenset[Address], expected: int) -> None:
    assert (await choice(*versions, traded=traded).choose(Wei(5 * TOKEN))).number == expected


@pytest.mark.parametrize("versions", [[(9, True), (1, False)], [(4, False), (1, False)]], ids=["deprecated", "split"])
async def test_money_in_older_markets_is_named_when_it_is_missing(versions: Any) -> None:
    with pytest.raises(Refused, match=r"holds 1 free.*in other versions of the market: `capanode wallet migrate`"):
        await choice(*versions).choose(Wei(5 * TOKEN))


async def test_without_other_markets_nothing_is_said_of_them() -> None:
    with pytest.raises(Refused) as refused:
        await choice((1, False)).choose(Wei(5 * TOKEN))
    assert "migrate" not in str(refused.value)


# ---- what a standing offer names -----------------------------------------------------------------------------


async def test_an_offer_names_active_markets_with_stake_and_asks_the_chain_only_after_a_move() -> None:
    first, second, third = (FakeMarket(address=Address(bytes([n]) * 20)) for n in (1, 2, 3))
    second.stake_wei = NOTHING
    time = [float(NOW)]
    known = [version_of(first, 0), version_of(second, 1), version_of(third, 2, LATER)]
    stakes = Stakes(PROVIDER.address, Markets(known, lambda: UnixTime(int(time[0]))))
    assert await stakes.backed() == (first.address,)
    second.stake_wei = RICH
    assert await stakes.backed() == (first.address,), "not asked again for nothing"
    stakes.touch()
    assert await stakes.backed() == (second.address, first.address)
    time[0] = float(LATER)
    assert await stakes.backed() == (third.address, second.address, first.address)


async def test_an_offer_names_nothing_while_the_chain_has_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    market = FakeMarket()
    stakes = Stakes(PROVIDER.address, Markets([version_of(market)], lambda: UnixTime(NOW)))

    async def away(*_: object) -> Any:
        raise Unavailable("the chain does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(FakeMarket, "account", away)
        assert await stakes.backed() == ()
    assert await stakes.backed() == (MARKET,)


# ---- what is stored ------------------------------------------------------------------------------------------


async def test_logs_count_for_deals_of_the_market_that_wrote_them(tmp_path: Path) -> None:
    """A market that was taken up by mistake cannot end another market's deals."""
    async with market_place(tmp_path) as place:
        work = work_taken()
        await place.agent.take_work("deal", work, lambda: True, MARKET)
    intake = ChainIntake(lambda _: None)
    block = BlockRef(CHAIN_ID, 7, cast(Any, b"\x07" * 32), cast(Any, b"\x06" * 32), UnixTime(NOW))
    event = bindings.DealFinalized(work.deal_id, PROVIDER.address, 1, 2)
    async with open_database(tmp_path / "node.sqlite", [journal.SCHEMA, case_log.SCHEMA]) as database:
        deals = Journal(database)
        for address, seen in ((SECOND, 0), (MARKET, 1)):
            log = DecodedLog(event, address, TxHash(b"\x01" * 32), 0)
            await database.write("test", partial(intake.apply, block=block, logs=(log,)))
            assert len(await deals.incoming(10)) == seen


async def test_deals_of_an_older_release_get_the_networks_first_market(tmp_path: Path) -> None:
    async with market_place(tmp_path) as place:
        await place.agent.take_work("deal", work_taken(), lambda: True)
    async with open_database(tmp_path / "node.sqlite", [journal.SCHEMA]) as database:
        deals = Journal(database)
        assert await deals.markets() == {ZERO_ADDRESS}
        await deals.place(MARKET)
        await deals.place(SECOND)
        assert await deals.markets() == {MARKET}
