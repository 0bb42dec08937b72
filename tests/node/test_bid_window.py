"""When a bid window ends before its time: once everybody has bid who may be expected to."""

from dataclasses import replace
from pathlib import Path

import trio
import trio.testing

from capanode.node.announced.offers import SETTLED_S, OfferBook
from capanode.node.p2p.port import Message
from capanode.protocol import encoding
from capanode.protocol.ids import Address, PeerId, UnixTime, Wei
from capanode.protocol.records import Offer, SignedOffer
from tests.node.market_place import HARDWARE, MARKET, PROVIDER, TOPIC, demand, market_place
from tests.node.test_auction import bidding
from tests.protocol.deals import NOW

LONG_S = 5.0


def offer(peer: str) -> Offer:
    return Offer(
        provider=PROVIDER.address,
        signer=PROVIDER.address,
        peer=PeerId(peer),
        markets=(MARKET,),
        hardware_class=HARDWARE,
        slots_left=1,
        cpu_millis_left=64_000,
        memory_bytes_left=2**36,
        disk_bytes_left=2**40,
        gpus_left=0,
        cpu_hour_wei=Wei(1),
        gpu_hour_wei=Wei(1),
        floor_wei=Wei(1),
        expires_at=UnixTime(NOW + 90),
    )


async def spent_on_bids(folder: Path, expected: frozenset[PeerId]) -> float:
    async with market_place(folder, window_s=LONG_S, expected=expected) as place:
        began = trio.current_time()
        result = await place.auction.collect(bidding(demand()), MARKET)
        assert result.chosen is not None
        return trio.current_time() - began


async def test_window_ends_with_the_last_bid_that_can_be_expected(tmp_path: Path) -> None:
    assert await spent_on_bids(tmp_path, frozenset({PeerId("provider")})) < LONG_S / 2


async def test_window_stays_open_for_who_is_expected_and_silent(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    assert await spent_on_bids(tmp_path, frozenset({PeerId("provider"), PeerId("silent")})) >= LONG_S


async def test_window_stays_open_while_nobody_is_known(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    assert await spent_on_bids(tmp_path, frozenset()) >= LONG_S


async def test_offers_tell_who_will_bid_only_after_every_provider_could_renew_its_own(
    autojump_clock: trio.testing.MockClock,
) -> None:
    book = OfferBook(lambda: UnixTime(NOW))
    send, heard = trio.open_memory_channel[Message](2)
    full = replace(offer("full"), slots_left=0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(book.run, heard)
        elsewhere = replace(offer("elsewhere"), markets=(Address(b"\x0c" * 20),))
        for one in (offer("free"), full, elsewhere):
            data = encoding.encode(SignedOffer(one, bytes(65)))
            await send.send(Message(TOPIC, data, one.peer, one.peer))
        await trio.testing.wait_all_tasks_blocked()
        assert book.bidders(demand(), MARKET) == frozenset()
        await trio.sleep(SETTLED_S)
        assert book.bidders(demand(), MARKET) == {PeerId("free")}
        nursery.cancel_scope.cancel()
