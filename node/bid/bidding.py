"""The provider's side of the auction: hear demands, bid on those that fit, take awards.

Everything up to a taken award costs nothing and is forgotten by a crash. What may be taken is decided by the pure
scheduler from the present capacity, the operator's rules, and the chain's word about the requester's money.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import structlog
import trio

from capanode.contracts_abi import bindings
from capanode.node.agent import Agent
from capanode.node.announced.locator import Locator
from capanode.node.bid.appraisal import Appraisal
from capanode.node.chain.clock import ChainClock
from capanode.node.chain.markets import Markets, MarketVersion
from capanode.node.fault_points import durable
from capanode.node.keys.recover import is_signed_by
from capanode.node.keys.signer import Signer
from capanode.node.p2p.port import Message, Network
from capanode.node.paid.settlement import terms_of_abi
from capanode.proofs.tree import input_root
from capanode.protocol import encoding, provider
from capanode.protocol.awards import deal_id, signed_digest
from capanode.protocol.comparator import comparator_digest
from capanode.protocol.events import WorkTaken
from capanode.protocol.faults import Fault, PeerFault, Unavailable
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
from capanode.protocol.money import bond_wei
from capanode.protocol.phases import Phase
from capanode.protocol.records import Bid, Demand, Mode, SignedAward, SignedBid, SignedDemand, Spec, Terms
from capanode.protocol.typed_data import bid_digest, demand_hint_digest, digest_of_demand, spec_digest
from capanode.scheduler.feasibility import Offer
from capanode.scheduler.judges import leaves_room, step_limit
from capanode.scheduler.mode import Earmark, secured
from capanode.scheduler.refusal import Refusal

BID_LIFE_S: Final = 120
"""How long a bid may be awarded. Seconds."""

MAX_BIDDING: Final = 32
"""Demands that are being bid on at the same time; more are dropped, they will be spread again."""

ASK_AGAIN_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0)
"""Pauses between questions about an announced demand. Seconds."""

MAX_REMEMBERED: Final = 4096
"""Own bids whose price is honoured although the node has become busier since."""

BUSY: Final = "busy: the capacity was taken since the bid"

OTHER_MARKET: Final = "this provider does not trade on the market that the award is for"

UNSIGNED: Final = b"\0"
"""Stands for the signature that a posted price does not need."""

log = structlog.get_logger()
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Announced:
    """A demand found on chain, and the market that it was announced in."""

    market: Address
    event: bindings.DealAnnounced


@dataclass(frozen=True, slots=True)
class Identity:
    """Who bids: the wallet that holds the stake, the key that signs, and the hardware behind it."""

    provider: Address
    signer: Signer
    hardware_class: str


class Bidding:
    """Decides on demands and awards for one provider node."""

    def __init__(
        self,
        identity: Identity,
        agent: Agent,
        network: Network,
        markets: Markets,
        appraisal: Appraisal,
        clock: ChainClock,
        request_s: float,
        objection: Callable[[], str] = lambda: "",
    ) -> None:
        """`objection` says why this machine takes no work now, empty while it does."""
        self._me = identity
        self._agent = agent
        self._network = network
        self._markets = markets
        self._appraisal = appraisal
        self._clock = clock
        self._request_s = request_s
        self._objection = objection
        self._busy = 0
        self._one_direct = trio.Lock()
        self._asked: OrderedDict[tuple[Address, Digest], Wei] = OrderedDict()
        self.is_draining = False

    def serve(self) -> None:
        """Answer awards from now on."""
        self._network.serve(AWARD_PROTOCOL, self._answer_award, limit_bytes=MAX_REQUEST_BYTES)

    async def run(self, demands: trio.MemoryReceiveChannel[Message]) -> None:
        """Bid on gossiped demands until cancelled; those heard while all hands are busy are dropped."""
        async with trio.open_nursery() as nursery:
            async for message in demands:
                signed = encoding.decode(SignedDemand, message.data)
                if signed.demand.deal_id is None:
                    self._begin(nursery, self._bid_on_hint, signed)

    async def run_announced(self, announced: trio.MemoryReceiveChannel[Announced]) -> None:
        """Bid on, or take, demands found on chain, until cancelled."""
        async with trio.open_nursery() as nursery:
            async for found in announced:
                self._begin(nursery, self._bid_on_announced, found)

    def _begin(self, nursery: trio.Nursery, work: Callable[[T], Awaitable[None]], subject: T) -> None:
        if self._busy < MAX_BIDDING and not self.is_draining and not self._objection():
            self._busy += 1
            nursery.start_soon(self._attempt, work, subject)

    async def _attempt(self, work: Callable[[T], Awaitable[None]], subject: T) -> None:
        try:
            with trio.move_on_after(4 * self._request_s):
                await work(subject)
        except (Fault, ValueError) as fault:
            log.info("no-bid", reason=str(fault))
        finally:
            self._busy -= 1

    # ---- bids ------------------------------------------------------------------------------------------------

    async def _bid_on_hint(self, signed: SignedDemand) -> None:
        demand, market = signed.demand, self._active(signed.market)
        if market is None:
            log.info(
                "no-bid",
                reason="the demand is for a market that this node does not trade on",
                market=signed.market.hex(),
            )
            return
        offer = await self._offer(demand, market)
        if offer is None:
            return
        account, earmark = await market.contract.means(demand.requester, self._me.provider)
        if max(account.free_wei, earmark.amount_wei) < offer.quote.price_wei + demand.verification_wei:
            log.info("no-bid", reason="the requester has not enough in escrow", requester=demand.requester.hex())
            return
        await self._bid(demand, market, offer)

    async def _bid_on_announced(self, announced: Announced) -> None:
        found, market = announced.event, self._active(announced.market)
        if market is None:
            return
        terms = terms_of_abi(found.terms)
        slot = await market.contract.slot(found.deal_id)
        if slot.phase is not Phase.ANNOUNCED or terms.assign_by <= self._clock.now():
            return
        where = encoding.decode(Locator, found.locator)
        for address in where.addresses:
            with suppress(Fault):
                self._network.learn(address)
        demand = await self._demand_behind(where.peer, market, found.deal_id)
        _require_same(demand, terms, found.deal_id)
        offer = await self._offer(demand, market)
        if offer is None:
            return
        spec = await self._bid(demand, market, offer)
        if terms.mode is Mode.FIRST and spec is not None:
            await self._take_posted(found.deal_id, market, terms, demand, spec, where.peer)

    def _active(self, address: Address) -> MarketVersion | None:
        """The market at an address, if deals can be made there now and this node trades on it."""
        version = self._markets.find(address)
        return version if version is not None and version.active_from <= self._clock.now() else None

    async def _offer(self, demand: Demand, market: MarketVersion) -> Offer | None:
        decided = await self._appraisal.of_demand(demand, market, self._clock.now())
        if isinstance(decided, Offer):
            return decided
        log.info("no-bid", demand=demand.spec.hex()[:12], reason="; ".join(str(refusal) for refusal in decided))
        return None

    async def _bid(self, demand: Demand, market: MarketVersion, offer: Offer) -> Spec | None:
        for address in demand.addresses:
            with suppress(Fault):
                self._network.learn(address)
        price = demand.price_cap_wei if demand.mode is Mode.FIRST else offer.quote.price_wei
        bid = Bid(
            provider=self._me.provider,
            signer=self._me.signer.address,
            peer=self._network.peer_id,
            demand=encoding.digest(demand),
            price_wei=price,
            ready_in_s=offer.feasible.ready_in_s,
            hardware_class=offer.feasible.hardware_class,
            expires_at=UnixTime(self._clock.now() + BID_LIFE_S),
        )
        self._remember(market, bid)
        signed = SignedBid(bid, self._me.signer.sign_digest(bid_digest(market.domain, bid)))
        with durable("bid.send"):
            answer = await self._ask(demand.peer, BID_PROTOCOL, BidRequest(signed))
        reply = encoding.decode(BidReply, answer)
        log.info(
            "bid",
            demand=demand.spec.hex()[:12],
            price_wei=price,
            shortlisted=reply.shortlisted,
            reason=reply.reason[:200],
        )
        if reply.spec is None or spec_digest(reply.spec) != demand.spec:
            return None
        return reply.spec

    def _remember(self, market: MarketVersion, bid: Bid) -> None:
        self._asked[market.address, bid.demand] = bid.price_wei
        if len(self._asked) > MAX_REMEMBERED:
            self._asked.popitem(last=False)

    async def _demand_behind(self, peer: PeerId, market: MarketVersion, wanted: DealId) -> Demand:
        """Ask until the requester has seen its own announcement, which may reach us first."""
        for pause in ASK_AGAIN_S:
            with suppress(Unavailable):
                return await self._ask_demand(peer, market, wanted)
            await trio.sleep(pause)
        return await self._ask_demand(peer, market, wanted)

    async def _ask_demand(self, peer: PeerId, market: MarketVersion, wanted: DealId) -> Demand:
        answer = await self._ask(peer, DEMAND_PROTOCOL, DemandRequest(wanted))
        signed = encoding.decode(DemandReply, answer).demand
        if signed is None:
            raise Unavailable("the requester does not know the announced demand")
        if signed.market != market.address:
            raise PeerFault("the announced demand is said to be for another market than it was announced in")
        digest = demand_hint_digest(market.domain, signed.demand)
        if len(signed.signature) == 65 and not is_signed_by(signed.demand.requester, digest, signed.signature):
            raise PeerFault("the announced demand is not signed by its requester")
        return signed.demand

    async def _ask(self, peer: PeerId, protocol: str, request: encoding.Record) -> bytes:
        return await self._network.request(
            peer, protocol, encoding.encode(request), limit_bytes=MAX_REPLY_BYTES, timeout_s=self._request_s
        )

    # ---- awards ----------------------------------------------------------------------------------------------

    async def _take_posted(
        self, found: DealId, market: MarketVersion, terms: Terms, demand: Demand, spec: Spec, peer: PeerId
    ) -> None:
        bound = replace(terms, provider=self._me.provider)
        award = SignedAward(bound, found, UNSIGNED)
        sent = AwardRequest(market.address, award, demand, spec)
        if await self._why_not(found, market, sent) is None:
            await self._take(found, sent, peer)

    async def _answer_award(self, peer: PeerId, data: bytes) -> bytes:
        sent = encoding.decode(AwardRequest, data)
        market = self._active(sent.market)
        if market is None:
            # No fault of the sender's: its release, or its operator, may be ahead of ours.
            return encoding.encode(AwardReply(False, OTHER_MARKET))
        found = deal_id(market.domain, sent.award, sent.demand.price_cap_wei)
        _require_consistent(sent, found)
        _require_signed(sent, market)
        # One DIRECT award at a time: the earmark that one counts on is not there for the next.
        async with self._one_direct if sent.award.terms.mode is Mode.DIRECT else nullcontext():
            return encoding.encode(await self._decide(found, market, sent, peer))

    async def _decide(self, found: DealId, market: MarketVersion, sent: AwardRequest, peer: PeerId) -> AwardReply:
        if self._agent.find(key_of(found)) is not None:
            return AwardReply(True, "")
        refusal = await self._why_not(found, market, sent)
        if refusal is not None:
            log.info("award-declined", deal=found.hex(), reason=str(refusal))
            return AwardReply(False, str(refusal)[:500])
        taken = await self._take(found, sent, peer)
        return AwardReply(taken, "" if taken else BUSY)

    async def _take(self, found: DealId, sent: AwardRequest, peer: PeerId) -> bool:
        taken = WorkTaken(found, sent.award, sent.demand, sent.spec, peer)
        return await self._agent.take_work(
            key_of(found), taken, lambda: self._appraisal.has_room_for(found, sent.spec), sent.market
        )

    async def _why_not(self, found: DealId, market: MarketVersion, sent: AwardRequest) -> Refusal | str | None:
        award, demand, spec = sent.award, sent.demand, sent.spec
        terms, now = award.terms, self._clock.now()
        if self.is_draining:
            return "this provider takes no new work"
        if objection := self._objection():
            return f"this provider takes no work now: {objection}"
        if terms.provider != self._me.provider:
            return "the award names another provider"
        if terms.assign_by <= now or terms.commit_by <= now + spec.resources.timeout_s:
            return "the award has expired, or leaves too little time"
        if not self._appraisal.has_room_for(found, spec):
            return BUSY
        for refusal in self._appraisal.of_spec(spec):
            return refusal
        asked = self._asked.get((market.address, encoding.digest(demand)))
        if asked is None:
            decided = await self._appraisal.of_demand(demand, market, now)
            if not isinstance(decided, Offer):
                return decided[0]
            asked = decided.quote.price_wei
        if terms.price_wei < asked:
            return "the award's price is below the bid"
        return await self._why_unpaid(market, award, now)

    async def _why_unpaid(self, market: MarketVersion, award: SignedAward, now: UnixTime) -> Refusal | str | None:
        terms, contract = award.terms, market.contract
        if award.deal_id is not None:
            slot = await contract.slot(award.deal_id)
            return None if slot.phase is Phase.ANNOUNCED else "the announced demand is no longer open"
        if terms.mode is Mode.LOCK:
            account = await contract.account(terms.requester)
            needed = terms.price_wei + terms.verification_wei
            return None if account.free_wei >= needed else "the requester's escrow does not cover the deal"
        if len(award.signature) != 65:
            # The chain would judge it only after the work was done.
            return "a contract wallet's signature cannot be checked before a DIRECT deal: award it as LOCK"
        state = await contract.earmark(terms.requester, terms.provider)
        earmark = Earmark(state.amount_wei, state.thawing_wei, state.ready_at)
        outstanding = self._outstanding(market, terms.requester)
        decided = secured(terms, earmark, outstanding, now, grace_s=market.clocks.grace_s)
        return decided if isinstance(decided, Refusal) else None

    def _outstanding(self, market: MarketVersion, requester: Address) -> Wei:
        """P + V of this requester's DIRECT awards in a market that are not committed yet."""
        return Wei(
            sum(
                stored.state.work.terms.price_wei + stored.state.work.terms.verification_wei
                for stored in self._agent.open_deals()
                if stored.market == market.address
                and isinstance(stored.state, provider.Preparing | provider.Executing | provider.Committing)
                and stored.state.work.terms.mode is Mode.DIRECT
                and stored.state.work.terms.requester == requester
            )
        )


def key_of(found: DealId) -> str:
    """The journal's key of a deal on the provider's side."""
    return f"deal/{found.hex()}"


def _require_signed(sent: AwardRequest, market: MarketVersion) -> None:
    digest = signed_digest(market.domain, sent.award.terms, sent.award.deal_id)
    # A contract wallet's signature is judged by the chain, when the assignment is simulated.
    if len(sent.award.signature) == 65 and not is_signed_by(sent.award.terms.requester, digest, sent.award.signature):
        raise PeerFault("the award is not signed by its requester")


def _require_consistent(sent: AwardRequest, found: DealId) -> None:
    """An award is about exactly the demand and the spec that come with it, at the bonds that follow."""
    terms, demand, spec = sent.award.terms, sent.demand, sent.spec
    if spec_digest(spec) != demand.spec or input_root(spec.inputs) != demand.input_root:
        raise PeerFault("the award comes with another spec than its demand names")
    if spec.resources != demand.resources or spec.verification is not demand.verification:
        raise PeerFault("the spec asks for more than its demand said")
    if (demand.first_step, demand.step_limit) != (0, step_limit(spec)):
        raise PeerFault("the demand is not for all steps of its spec, from the first one on")
    if demand.rules is not None and demand.rules.comparator != comparator_digest(spec.comparator):
        raise PeerFault("the rules of judging bind another comparator than the spec's")
    if demand.rules is not None and not leaves_room(demand.rules, spec):
        raise PeerFault("the rules of judging leave arbiters too little time or room for the job")
    if demand.named is not None and spec.hardware_class != demand.hardware_class:
        raise PeerFault("the spec does not bind the class of the machines that its named arbiters judge by")
    _require_same(demand, terms, sent.award.deal_id)
    if sent.award.deal_id is not None and sent.award.deal_id != found:
        raise PeerFault("the award does not belong to the deal that it names")
    bond = bond_wei(demand, terms.price_wei if sent.award.deal_id is None else demand.price_cap_wei)
    if terms.fraud_bond_wei > bond:
        raise PeerFault("the award's fraud bond is higher than its audit rate demands")


def _require_same(demand: Demand, terms: Terms, announced: DealId | None) -> None:
    same = (
        terms.demand_digest == digest_of_demand(demand)
        and terms.requester == demand.requester
        and terms.verification_wei == demand.verification_wei
        and terms.window_s == demand.window_s
        and terms.price_wei <= demand.price_cap_wei
        and demand.deal_id == announced
    )
    if not same:
        raise PeerFault("the terms are not those of the demand")
