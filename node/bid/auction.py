"""The requester's market stall: spreads demands, hears bids, signs awards and hands them over.

Bids live in memory only. They bind nobody, so a crash loses nothing but a window: the demand is spread again. An award
is signed here and sent only after the journal holds it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

import structlog
import trio

from capanode.node.chain.clock import ChainClock
from capanode.node.chain.markets import Markets, MarketVersion
from capanode.node.fault_points import durable
from capanode.node.journal import Stored
from capanode.node.keys.recover import is_signed_by
from capanode.node.keys.signer import Signer
from capanode.node.p2p.port import Network
from capanode.node.salts import new_salt
from capanode.protocol import encoding, requester
from capanode.protocol.awards import signed_digest
from capanode.protocol.events import AwardAnswered, BidsClosed
from capanode.protocol.faults import PeerFault
from capanode.protocol.ids import Address, DealId, Digest, PeerId, UnixTime, Wei
from capanode.protocol.messages import (
    AWARD_PROTOCOL,
    BID_PROTOCOL,
    DEMAND_PROTOCOL,
    MAX_REPLY_BYTES,
    MAX_REQUEST_BYTES,
    AwardReply,
    AwardRequest,
    BidReply,
    BidRequest,
    DemandReply,
    DemandRequest,
)
from capanode.protocol.money import bond_wei, deadline_bond_wei
from capanode.protocol.records import Demand, Mode, SignedAward, SignedBid, SignedDemand, Spec, Terms
from capanode.protocol.typed_data import bid_digest, demand_hint_digest, digest_of_demand
from capanode.scheduler.choice import Choice, choose
from capanode.scheduler.mode import Earmark, choose_mode

MAX_BIDS: Final = 64
"""Bids kept per demand; enough to choose from, and a bound on what strangers can make us hold."""

SPREAD_EVERY_S: Final = 3.0
"""A demand nobody has bid on yet is spread again this often: gossip is best effort."""

HANDOVER_BYTES_PER_S: Final = 4 * 2**20
"""Assumed transfer rate of image and inputs, for the time that a provider gets to assign."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class AuctionTimes:
    """How long each part may take. Seconds."""

    bid_window_s: float
    assign_within_s: int
    request_s: float


@dataclass(slots=True)
class _Book:
    """The bids for one demand."""

    market: MarketVersion
    demand: Demand
    spec: Spec
    avoid: frozenset[Address]
    signature: bytes
    bids: dict[Address, SignedBid] = field(default_factory=dict[Address, SignedBid])
    news: trio.Event = field(default_factory=trio.Event)


class Auction:
    """Everything between a demand and a delivered award, for all open jobs."""

    def __init__(
        self,
        network: Network,
        markets: Markets,
        wallet: Signer,
        topic: str,
        clock: ChainClock,
        times: AuctionTimes,
        avoid: frozenset[Address],
        promised: Callable[[Address, Address], Wei],
        bidders: Callable[[Demand, Address], frozenset[PeerId]] = lambda _, __: frozenset(),
    ) -> None:
        self._network = network
        self._markets = markets
        self._wallet = wallet
        self._topic = topic
        self._clock = clock
        self._times = times
        self._avoid = avoid
        self._promised = promised
        self._bidders = bidders
        self._books: dict[Digest, _Book] = {}
        self._handed: dict[Digest, set[PeerId]] = {}

    def serve(self) -> None:
        """Answer bidders from now on."""
        self._network.serve(BID_PROTOCOL, self._answer_bid, limit_bytes=MAX_REQUEST_BYTES)
        self._network.serve(DEMAND_PROTOCOL, self._answer_demand, limit_bytes=MAX_REQUEST_BYTES)

    def is_party_to(self, peer: PeerId, spec: Spec) -> bool:
        """Whether this peer was given this spec, and so may fetch what it names."""
        return peer in self._handed.get(encoding.digest(spec), ())

    # ---- commands --------------------------------------------------------------------------------------------

    async def collect(self, job: requester.Bidding, market: Address) -> BidsClosed:
        """Spread the demand until the window ends, then choose and sign. Cancel-safe."""
        book = self._open(self._markets.of(market), job.order)
        try:
            return await self._collect(book, job)
        finally:
            del self._books[encoding.digest(book.demand)]

    async def post(self, job: requester.Posted, market: Address) -> None:
        """Spread a posted price and hand the spec to who asks, until called off."""
        book = self._open(self._markets.of(market), job.order)
        try:
            while True:
                await self._spread(book)
                await trio.sleep(SPREAD_EVERY_S)
        finally:
            del self._books[encoding.digest(book.demand)]

    async def hand_over(self, job: requester.Awarding, market: Address) -> AwardAnswered:
        """Give the award to the chosen provider and report its answer.

        Raises:
            Unavailable: the provider does not answer now; it is asked again until the award lapses.
        """
        self._allow(job.order.spec, job.deal.peer)
        request = AwardRequest(market, job.award, job.order.demand, job.order.spec)
        with durable("award.send"):
            answer = await self._network.request(
                job.deal.peer,
                AWARD_PROTOCOL,
                encoding.encode(request),
                limit_bytes=MAX_REPLY_BYTES,
                timeout_s=self._times.request_s,
            )
        reply = encoding.decode(AwardReply, answer)
        return AwardAnswered(reply.accepted, reply.reason[:500])

    # ---- spreading and choosing --------------------------------------------------------------------------

    def _open(self, market: MarketVersion, order: requester.Order) -> _Book:
        demand, avoid = order.demand, self._avoid.union(order.avoid or ())
        signature = self._wallet.sign_digest(demand_hint_digest(market.domain, demand))
        book = self._books[encoding.digest(demand)] = _Book(market, demand, order.spec, avoid, signature)
        return book

    async def _spread(self, book: _Book) -> None:
        await self._network.publish(self._topic, encoding.encode(_signed(book)))

    async def _collect(self, book: _Book, job: requester.Bidding) -> BidsClosed:
        opened_at = trio.current_time()
        spread_at = -float("inf")
        while True:
            if trio.current_time() - spread_at >= SPREAD_EVERY_S:
                await self._spread(book)
                spread_at = trio.current_time()
            choice = self._choose(book, job.order.target_price_wei)
            window_over = trio.current_time() - opened_at >= self._times.bid_window_s or self._is_complete(book)
            if choice.bid is not None and (choice.on_target or window_over):
                return await self._award(book, choice.bid, job.order.announcement)
            if self._clock.now() >= book.demand.expires_at:
                return BidsClosed(None, None, None, len(book.bids), self._why_nobody(book, choice))
            window_left = self._times.bid_window_s - (trio.current_time() - opened_at)
            pause = window_left if window_left > 0 else SPREAD_EVERY_S
            with trio.move_on_after(min(pause, SPREAD_EVERY_S)):
                await book.news.wait()
            book.news = trio.Event()

    def _is_complete(self, book: _Book) -> bool:
        """Whether everybody has bid whose standing offer fits: nobody is left to wait for."""
        expected = self._bidders(book.demand, book.market.address)
        return bool(expected) and expected <= {signed.bid.peer for signed in book.bids.values()}

    def _choose(self, book: _Book, target_wei: Wei) -> Choice:
        return choose(tuple(book.bids.values()), book.demand, target_wei, self._clock.now(), {})

    def _why_nobody(self, book: _Book, choice: Choice) -> str:
        if not book.bids:
            return "no provider bid for it: nobody near offers what it needs at its price"
        reasons = "; ".join(sorted({str(reason) for _, reason in choice.rejected})[:3])
        return f"none of {len(book.bids)} bids was acceptable: {reasons}"

    async def _award(self, book: _Book, bid: SignedBid, announcement: Terms | None) -> BidsClosed:
        terms = await self._terms(book.market, book.demand, bid, announcement)
        announced = book.demand.deal_id
        digest = signed_digest(book.market.domain, terms, announced)
        award = SignedAward(terms, announced, self._wallet.sign_digest(digest))
        deal_id = announced if announced is not None else DealId(digest)
        return BidsClosed(bid, award, deal_id, len(book.bids), "")

    async def _terms(self, market: MarketVersion, demand: Demand, bid: SignedBid, announcement: Terms | None) -> Terms:
        now = self._clock.now()
        price = bid.bid.price_wei
        if announcement is not None:
            return replace(announcement, provider=bid.bid.provider, price_wei=price)
        earmark = await market.contract.earmark(demand.requester, bid.bid.provider)
        commit_by = UnixTime(now + demand.commit_within_s)
        mode = choose_mode(
            Earmark(earmark.amount_wei, earmark.thawing_wei, earmark.ready_at),
            Wei(price + demand.verification_wei),
            commit_by,
            now,
            outstanding_wei=self._promised(market.address, bid.bid.provider),
            grace_s=market.clocks.grace_s,
        )
        assign_by = UnixTime(now + self._times.assign_within_s + handover_s(demand))
        return Terms(
            requester=demand.requester,
            provider=bid.bid.provider,
            demand_digest=digest_of_demand(demand),
            price_wei=price,
            verification_wei=demand.verification_wei,
            fraud_bond_wei=bond_wei(demand, price),
            assign_by=assign_by,
            commit_by=commit_by if mode is Mode.DIRECT else UnixTime(assign_by + demand.commit_within_s),
            window_s=demand.window_s,
            mode=mode,
            salt=new_salt(),
        )

    # ---- bidders ---------------------------------------------------------------------------------------------

    async def _answer_bid(self, peer: PeerId, data: bytes) -> bytes:
        signed = encoding.decode(BidRequest, data).bid
        book = self._books.get(signed.bid.demand)
        if book is None:
            return encoding.encode(BidReply(False, "the demand is no longer open", None))
        if signed.bid.peer != peer or not is_signed_by(
            signed.bid.signer, bid_digest(book.market.domain, signed.bid), signed.signature
        ):
            raise PeerFault("the bid is not signed by its signer, or comes from another peer than it names")
        refusal = await self._why_not(book, signed)
        if refusal:
            return encoding.encode(BidReply(False, refusal, None))
        book.bids[signed.bid.provider] = signed
        book.news.set()
        self._allow(book.spec, peer)
        return encoding.encode(BidReply(True, "", book.spec))

    async def _why_not(self, book: _Book, signed: SignedBid) -> str:
        bid = signed.bid
        if bid.provider in book.avoid:
            return "this requester does not award that provider this job"
        if bid.price_wei > book.demand.price_cap_wei:
            return "the price is above the cap"
        if len(book.bids) >= MAX_BIDS and bid.provider not in book.bids:
            return "there are enough bids already"
        standing = await book.market.contract.standing(bid.provider, bid.signer)
        if not standing.may_sign:
            return "the signer is neither the provider's wallet nor one of its hot keys"
        needed = deadline_bond_wei(bid.price_wei) + bond_wei(book.demand, bid.price_wei)
        if standing.unlocked_wei < needed:
            return "the provider's unlocked stake does not cover the bonds"
        return ""

    async def _answer_demand(self, peer: PeerId, data: bytes) -> bytes:
        wanted = encoding.decode(DemandRequest, data).deal_id
        for book in self._books.values():
            if book.demand.deal_id == wanted:
                return encoding.encode(DemandReply(_signed(book)))
        return encoding.encode(DemandReply(None))

    def _allow(self, spec: Spec, peer: PeerId) -> None:
        self._handed.setdefault(encoding.digest(spec), set()).add(peer)


def _signed(book: _Book) -> SignedDemand:
    return SignedDemand(book.market.address, book.demand, book.signature)


def promised_wei(open_deals: Iterable[Stored], market: Address, provider: Address) -> Wei:
    """P + V of the DIRECT awards in a market to a provider that it has not used yet."""
    return Wei(
        sum(
            stored.state.deal.terms.price_wei + stored.state.deal.terms.verification_wei
            for stored in open_deals
            if stored.market == market
            and isinstance(stored.state, requester.Awarding)
            and stored.state.deal.terms.mode is Mode.DIRECT
            and stored.state.deal.terms.provider == provider
        )
    )


def handover_s(demand: Demand) -> int:
    """Time that a provider needs to fetch image and inputs, at a modest rate, whole seconds rounded up."""
    return -(-(demand.image_bytes + demand.input_bytes) // HANDOVER_BYTES_PER_S)
