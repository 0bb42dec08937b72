"""Which bids a requester hears, what it awards, and who learns what of the job."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from capanode.node.bid.bidding import key_of
from capanode.node.committed.blob_access import BlobAccess, blobs_of
from capanode.node.keys.recover import is_signed_by
from capanode.node.keys.signer import LocalSigner
from capanode.protocol import encoding, requester
from capanode.protocol.awards import deal_id, signed_digest
from capanode.protocol.events import AwardAnswered, BidsClosed
from capanode.protocol.faults import Refused, Unavailable
from capanode.protocol.ids import Cid, Digest, PeerId, UnixTime, Wei
from capanode.protocol.messages import BID_PROTOCOL, DEMAND_PROTOCOL, BidReply, BidRequest, DemandReply, DemandRequest
from capanode.protocol.records import Bid, Demand, Input, Mode, SignedBid
from capanode.protocol.typed_data import bid_digest, spec_digest
from tests.fakes.fake_network import FakeNetwork
from tests.node.market_place import (
    DOMAIN,
    MARKET,
    PRICE,
    PROVIDER,
    REQUEST_S,
    STRANGER,
    TOKEN,
    WALLET,
    Place,
    demand,
    market_place,
)
from tests.protocol.deals import DEAL, NOW, SPEC, submitted


def bidding(wanted: Demand, *, target_wei: int = 0) -> requester.Bidding:
    job = replace(submitted(), spec=SPEC, demand=wanted, target_price_wei=Wei(target_wei))
    started = requester.submit(job).job
    assert isinstance(started, requester.Bidding)
    return started


def bid_of(wanted: Demand, signer: LocalSigner = PROVIDER, **changes: Any) -> SignedBid:
    plain = Bid(
        provider=PROVIDER.address,
        signer=PROVIDER.address,
        peer=PeerId("provider"),
        demand=encoding.digest(wanted),
        price_wei=PRICE,
        ready_in_s=0,
        hardware_class="x86_64-v3",
        expires_at=UnixTime(NOW + 60),
    )
    made = replace(plain, **changes)
    return SignedBid(made, signer.sign_digest(bid_digest(DOMAIN, made)))


async def send(place: Place, signed: SignedBid, by: FakeNetwork | None = None) -> BidReply:
    answer = await (by or place.provider).request(
        place.requester.peer_id,
        BID_PROTOCOL,
        encoding.encode(BidRequest(signed)),
        limit_bytes=2**20,
        timeout_s=REQUEST_S,
    )
    return encoding.decode(BidReply, answer)


async def closed(place: Place, job: requester.Bidding, *bids: SignedBid) -> tuple[BidsClosed, list[BidReply]]:
    """The end of a window in which these bids came, and what the bidders were told."""
    replies: list[BidReply] = []
    results: list[BidsClosed] = []

    async def collect() -> None:
        results.append(await place.auction.collect(job, MARKET))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect)
        # The provider's own bidding is off: the tests bid.
        place.bidding.is_draining = True
        await trio.testing.wait_all_tasks_blocked()
        for signed in bids:
            replies.append(await send(place, signed))
        if all(not reply.shortlisted for reply in replies):
            place.time[0] = float(job.order.demand.expires_at)
    return results[0], replies


async def test_demand_bid_and_award_find_each_other(tmp_path: Path) -> None:
    """Gossip, bid, award and agreement between two nodes that know nothing but each other's address."""
    async with market_place(tmp_path) as place:
        wanted = demand()
        result = await place.auction.collect(bidding(wanted), MARKET)
        assert result.chosen is not None
        bid, award, found = result.chosen
        assert bid.bid.provider == PROVIDER.address
        assert found == deal_id(DOMAIN, award, wanted.price_cap_wei)
        assert is_signed_by(WALLET.address, signed_digest(DOMAIN, award.terms, None), award.signature)
        awarding = requester.step(bidding(wanted), result, 0).job
        assert isinstance(awarding, requester.Awarding)
        assert await place.auction.hand_over(awarding, MARKET) == AwardAnswered(True, "")
        assert place.agent.find(key_of(found)) is not None


async def test_nobody_is_told_of_the_job_before_a_bid_is_on_the_list(tmp_path: Path) -> None:
    async with market_place(tmp_path) as place:
        wanted = demand()
        dear = bid_of(wanted, price_wei=Wei(wanted.price_cap_wei + 1))
        result, (reply,) = await closed(place, bidding(wanted), dear)
        assert (reply.shortlisted, reply.spec) == (False, None)
        assert "above the cap" in reply.reason
        assert result.chosen is None
        assert not place.auction.is_party_to(place.provider.peer_id, SPEC)


async def test_a_bidder_on_the_list_gets_the_spec(tmp_path: Path) -> None:
    async with market_place(tmp_path) as place:
        result, (reply,) = await closed(place, bidding(demand()), bid_of(demand()))
        assert reply.spec == SPEC
        assert result.chosen is not None
        assert place.auction.is_party_to(place.provider.peer_id, SPEC)
        assert not place.auction.is_party_to(PeerId("stranger"), SPEC)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"may_sign": False}, "neither the provider's wallet nor one of its hot keys", id="no hot key"),
        pytest.param({"stake_wei": Wei(PRICE // 10)}, "unlocked stake does not cover", id="stake too small"),
    ],
)
async def test_a_bid_without_standing_is_turned_down(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    async with market_place(tmp_path) as place:
        for name, value in change.items():
            setattr(place.market, name, value)
        result, (reply,) = await closed(place, bidding(demand()), bid_of(demand()))
        assert reason in reply.reason
        assert (result.chosen, result.considered) == (None, 0)


async def test_an_avoided_provider_is_not_awarded(tmp_path: Path) -> None:
    async with market_place(tmp_path, avoid=frozenset({PROVIDER.address})) as place:
        _, (reply,) = await closed(place, bidding(demand()), bid_of(demand()))
        assert "does not award" in reply.reason


async def test_a_provider_that_the_order_avoids_is_not_awarded_it(tmp_path: Path) -> None:
    async with market_place(tmp_path) as place:
        job = bidding(demand())
        avoiding = replace(job, order=replace(job.order, avoid=(PROVIDER.address,)))
        closed_bids, (reply,) = await closed(place, avoiding, bid_of(demand()))
        assert "does not award that provider this job" in reply.reason
        assert closed_bids.award is None


@pytest.mark.parametrize(
    "signed",
    [
        pytest.param(bid_of(demand(), STRANGER), id="signed by a stranger"),
        pytest.param(bid_of(demand(), peer=PeerId("stranger")), id="of another peer"),
        pytest.param(replace(bid_of(demand()), signature=b"\1" * 65), id="signed by nobody"),
        pytest.param(replace(bid_of(demand()), bid=bid_of(demand(), price_wei=Wei(1)).bid), id="altered"),
    ],
)
async def test_a_bid_that_is_not_its_signers_is_its_senders_fault(tmp_path: Path, signed: SignedBid) -> None:
    async with market_place(tmp_path) as place, trio.open_nursery() as nursery:
        nursery.start_soon(place.auction.collect, bidding(demand()), MARKET)
        place.bidding.is_draining = True
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(Refused, match="not signed by its signer, or comes from another peer"):
            await send(place, signed)
        nursery.cancel_scope.cancel()


async def test_a_bid_for_nothing_that_is_open_gets_nothing(tmp_path: Path) -> None:
    async with market_place(tmp_path) as place:
        reply = await send(place, bid_of(demand()))
        assert (reply.shortlisted, reply.spec) == (False, None)


async def test_an_expired_bid_is_not_awarded(tmp_path: Path) -> None:
    async with market_place(tmp_path) as place:
        wanted = demand(expires_at=UnixTime(NOW + 30))
        job, results = bidding(wanted), list[BidsClosed]()

        async def collect() -> None:
            results.append(await place.auction.collect(job, MARKET))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect)
            place.bidding.is_draining = True
            await trio.testing.wait_all_tasks_blocked()
            place.time[0] += 30
            await send(place, bid_of(wanted, expires_at=UnixTime(NOW + 30)))
        assert results[0].chosen is None
        assert "expired" in results[0].reason


async def test_the_first_bid_on_target_ends_the_window(tmp_path: Path) -> None:
    async with market_place(tmp_path) as place:
        result, _ = await closed(place, bidding(demand(), target_wei=PRICE), bid_of(demand()))
        assert result.chosen is not None
        assert result.chosen[1].terms.price_wei == PRICE


@pytest.mark.parametrize(("promised", "mode"), [(0, Mode.DIRECT), (1, Mode.LOCK)])
async def test_an_earmark_makes_a_deal_direct_unless_it_is_promised_already(
    tmp_path: Path, promised: int, mode: Mode
) -> None:
    async with market_place(tmp_path) as place:
        wanted = demand()
        place.market.earmark_wei = Wei(PRICE + wanted.verification_wei)
        place.market.promised_wei = Wei(promised)
        result, _ = await closed(place, bidding(wanted), bid_of(wanted))
        assert result.chosen is not None
        assert result.chosen[1].terms.mode is mode


async def test_an_award_that_cannot_be_handed_over_is_tried_again(tmp_path: Path) -> None:
    async with market_place(tmp_path) as place:
        result, _ = await closed(place, bidding(demand()), bid_of(demand()))
        awarding = requester.step(bidding(demand()), result, 0).job
        assert isinstance(awarding, requester.Awarding)
        place.provider.go_down()
        with pytest.raises(Unavailable):
            await place.auction.hand_over(awarding, MARKET)


async def test_a_demand_that_was_not_announced_here_is_not_known(tmp_path: Path) -> None:
    async with market_place(tmp_path) as place:
        answer = await place.provider.request(
            place.requester.peer_id,
            DEMAND_PROTOCOL,
            encoding.encode(DemandRequest(DEAL)),
            limit_bytes=2**20,
            timeout_s=REQUEST_S,
        )
        assert encoding.decode(DemandReply, answer).demand is None


CID = Cid("bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku")
OTHER_CID = Cid("bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy")


async def test_a_jobs_inputs_are_for_who_was_given_the_job(tmp_path: Path) -> None:
    spec = replace(SPEC, inputs=(Input("data", Digest(bytes(32)), 1, CID, None),))
    assert blobs_of(spec) == {CID}
    async with market_place(tmp_path) as place:
        wanted = replace(demand(), spec=spec_digest(spec))
        await place.agent.submit_job("job", replace(submitted(), spec=spec, demand=wanted))
        access = BlobAccess(place.agent, place.auction, None, lambda _: False)
        assert not access.may_fetch(place.provider.peer_id, CID)
        job = replace(bidding(wanted), order=replace(bidding(wanted).order, spec=spec))
        _, (reply,) = await closed(place, job, bid_of(wanted, price_wei=Wei(TOKEN)))
        assert reply.spec == spec
        assert access.may_fetch(place.provider.peer_id, CID)
        assert not access.may_fetch(place.provider.peer_id, OTHER_CID)
        assert not access.may_fetch(PeerId("stranger"), CID)
