"""A requester and a provider on one fake wire, with a market that says what a test wants it to say."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import trio

from capanode.node.agent import Agent
from capanode.node.announced.demand_filter import demand_filter
from capanode.node.bid.appraisal import Appraisal, Terrain
from capanode.node.bid.auction import Auction, AuctionTimes
from capanode.node.bid.bidding import Bidding, Identity
from capanode.node.chain.anvil import development_key
from capanode.node.chain.clock import ChainClock
from capanode.node.chain.market import EarmarkState, Market, MarketAccount, MarketClocks, SlotState, Standing
from capanode.node.chain.markets import Markets, MarketVersion
from capanode.node.journal import SCHEMA, Journal, Stored
from capanode.node.keys.signer import LocalSigner
from capanode.node.storage.database import open_database
from capanode.proofs.tree import input_root
from capanode.protocol import encoding
from capanode.protocol.awards import signed_digest
from capanode.protocol.commands import Command
from capanode.protocol.ids import Address, DealId, Digest, PeerId, UnixTime, Wei
from capanode.protocol.messages import AWARD_PROTOCOL, AwardReply, AwardRequest
from capanode.protocol.money import ARBITER_FEE_WEI, fraud_bond_wei
from capanode.protocol.phases import Phase
from capanode.protocol.records import Demand, Mode, SignedAward, Terms
from capanode.protocol.standing import Event
from capanode.protocol.typed_data import digest_of_demand, domain, spec_digest
from capanode.scheduler.capacity import Capacity
from capanode.scheduler.rules import Rules
from tests.fakes.fake_network import FakeInternet, FakeNetwork
from tests.protocol import deals
from tests.protocol.deals import GRACE_S, NOW, SPEC
from tests.scheduler.samples import RATES

TOKEN = 10**18
WALLET, PROVIDER, STRANGER = (LocalSigner(development_key(number)) for number in (1, 2, 3))
MARKET = Address(b"\x0a" * 20)
CHAIN_ID = 31337
DOMAIN = domain(CHAIN_ID, MARKET)
TOPIC = "/capanode/test/demands/1"
PRICE = Wei(TOKEN)
HARDWARE = "x86_64-v3"
REQUEST_S = 5.0
RICH, NOTHING, NEVER = Wei(1000 * TOKEN), Wei(0), UnixTime(0)
EASY = Rules()


@dataclass(slots=True)
class FakeMarket:
    """What the chain would say."""

    free_wei: Wei = RICH
    earmark_wei: Wei = NOTHING
    thawing_wei: Wei = NOTHING
    thawed_at: UnixTime = NEVER
    stake_wei: Wei = RICH
    promised_wei: Wei = NOTHING
    may_sign: bool = True
    phase: Phase = Phase.ANNOUNCED
    slow: trio.Event | None = None
    address: Address = MARKET

    async def account(self, _: Address) -> MarketAccount:
        await trio.lowlevel.checkpoint()
        return MarketAccount(self.free_wei, self.stake_wei, Wei(0))

    async def earmark(self, *_: Address) -> EarmarkState:
        await trio.lowlevel.checkpoint()
        return EarmarkState(self.earmark_wei, self.thawing_wei, self.thawed_at)

    async def means(self, payer: Address, provider: Address) -> tuple[MarketAccount, EarmarkState]:
        return await self.account(payer), await self.earmark(payer, provider)

    async def standing(self, *_: Address) -> Standing:
        await trio.lowlevel.checkpoint()
        account = MarketAccount(Wei(0), self.stake_wei, Wei(0))
        return Standing(account, self.may_sign, self.stake_wei)

    async def slot(self, _: DealId) -> SlotState:
        await trio.lowlevel.checkpoint()
        return SlotState(self.phase, 0, UnixTime(0), 0)


def version_of(market: FakeMarket, number: int = 0, active_from: int = 0) -> MarketVersion:
    """The fake as a version that a node trades on."""
    return MarketVersion(
        number=number,
        contract=cast(Market, market),
        chain_id=CHAIN_ID,
        active_from=UnixTime(active_from),
        is_deprecated=False,
        clocks=MarketClocks(GRACE_S, 5, 60, 60, 120, Wei(1)),
        token=Address(b"\x0b" * 20),
        court=None,
        domain=domain(CHAIN_ID, market.address),
    )


async def judged_by_nobody(market: MarketVersion, pool: Digest, quorum: int, at_stake_wei: Wei) -> bool:
    """A network without arbiters."""
    del market, pool, quorum, at_stake_wei
    return False


class Idle:
    """Carries nothing out."""

    async def perform(self, stored: Stored, command: Command) -> Event | None:
        await trio.sleep_forever()
        raise AssertionError("never")


@dataclass(slots=True)
class Place:
    """Both nodes, and all that can be turned."""

    requester: FakeNetwork
    provider: FakeNetwork
    agent: Agent
    bidding: Bidding
    auction: Auction
    market: FakeMarket
    known_to_requester: Markets
    known_to_provider: Markets
    time: list[float] = field(default_factory=lambda: [float(NOW)])

    async def hand(self, request: AwardRequest, by: FakeNetwork | None = None) -> AwardReply:
        """An award handed to the provider; raises what its network layer tells the sender."""
        answer = await (by or self.requester).request(
            self.provider.peer_id,
            AWARD_PROTOCOL,
            encoding.encode(request),
            limit_bytes=2**20,
            timeout_s=REQUEST_S,
        )
        return encoding.decode(AwardReply, answer)


@asynccontextmanager
async def market_place(
    folder: Path,
    *,
    slots: int = 4,
    rules: Rules = EASY,
    avoid: frozenset[Address] = frozenset(),
    window_s: float = 0.1,
    expected: frozenset[PeerId] = frozenset(),
) -> AsyncGenerator[Place]:
    internet, market, moment = FakeInternet(), FakeMarket(), [float(NOW)]
    requester, provider = internet.node("requester"), internet.node("provider")
    provider.learn(requester.addresses()[0])
    requester.learn(provider.addresses()[0])
    clock = ChainClock(lambda: moment[0])
    bought_in, sold_in = (Markets([version_of(market)], clock.now) for _ in range(2))
    async with open_database(folder / "node.sqlite", [SCHEMA]) as database, trio.open_nursery() as nursery:
        agent = Agent(Journal(database), PROVIDER.address, lambda _: GRACE_S, now=lambda: moment[0])
        await nursery.start(agent.run, Idle())
        terrain = Terrain(
            provider=PROVIDER.address,
            signer=PROVIDER.address,
            hardware_class=HARDWARE,
            whole=Capacity(slots=slots, cpu_millis=64_000, memory_bytes=2**36, disk_bytes=2**40),
            rules=rules,
            rates=RATES,
            transfer_bytes_per_s=2**22,
            gas_units=1,
            utc_offset_s=0,
        )
        bidding = Bidding(
            Identity(PROVIDER.address, PROVIDER, HARDWARE),
            agent,
            provider,
            sold_in,
            Appraisal(terrain, agent, lambda: Wei(0), judged_by_nobody),
            clock,
            REQUEST_S,
        )
        bidding.serve()
        times = AuctionTimes(bid_window_s=window_s, assign_within_s=30, request_s=REQUEST_S)
        auction = Auction(
            requester,
            bought_in,
            WALLET,
            TOPIC,
            clock,
            times,
            avoid,
            lambda *_: market.promised_wei,
            lambda *_: expected,
        )
        auction.serve()
        heard = provider.subscribe(TOPIC, demand_filter(CHAIN_ID, clock.now))
        nursery.start_soon(bidding.run, heard)
        await requester.connect(provider.addresses()[0])
        yield Place(requester, provider, agent, bidding, auction, market, bought_in, sold_in, moment)
        nursery.cancel_scope.cancel()


def demand(**changes: Any) -> Demand:
    """A demand that the provider can serve."""
    return replace(
        deals.demand(),
        requester=WALLET.address,
        peer=PeerId("requester"),
        spec=spec_digest(SPEC),
        input_root=input_root(SPEC.inputs),
        price_cap_wei=Wei(10 * TOKEN),
        verification_wei=Wei(3 * ARBITER_FEE_WEI),
        window_s=60,
        **changes,
    )


def terms(wanted: Demand, **changes: Any) -> Terms:
    """Terms that fit the demand."""
    made = Terms(
        requester=wanted.requester,
        provider=PROVIDER.address,
        demand_digest=digest_of_demand(wanted),
        price_wei=PRICE,
        verification_wei=wanted.verification_wei,
        fraud_bond_wei=fraud_bond_wei(PRICE, wanted.audit_rate_ppm, wanted.verification),
        assign_by=UnixTime(NOW + 30),
        commit_by=UnixTime(NOW + 130),
        window_s=wanted.window_s,
        mode=Mode.LOCK,
        salt=wanted.salt,
    )
    return replace(made, **changes)


def award(wanted: Demand, signer: LocalSigner = WALLET, **changes: Any) -> AwardRequest:
    """The award of a demand, signed as it stands."""
    bound = terms(wanted, **changes)
    signature = signer.sign_digest(signed_digest(DOMAIN, bound, wanted.deal_id))
    return AwardRequest(MARKET, SignedAward(bound, wanted.deal_id, signature), wanted, SPEC)
