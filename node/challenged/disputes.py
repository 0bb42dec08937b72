"""A node's part in disputes, put together: what its challenges and duties need, and what runs beside them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

import structlog
import trio

from capanode.node.agent import Agent
from capanode.node.chain.case_log import CaseLog
from capanode.node.chain.clock import ChainClock
from capanode.node.chain.courts import Courts
from capanode.node.chain.head import HeadWatch
from capanode.node.chain.market import Market
from capanode.node.chain.markets import Markets
from capanode.node.chain.orders import Orders
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.sender import Sender
from capanode.node.challenged.answering import Answering
from capanode.node.challenged.appeals import Appeals, Limits
from capanode.node.challenged.appetite import MIN_SOURCES, Appetite
from capanode.node.challenged.briefs import claimed_of, papers_of
from capanode.node.challenged.checking import Checker
from capanode.node.challenged.commits import Commits
from capanode.node.challenged.complaints import Complaints
from capanode.node.challenged.contests import Contests
from capanode.node.challenged.disputing import Disputing
from capanode.node.challenged.enrolment import Enrolment
from capanode.node.challenged.judging import Judging
from capanode.node.challenged.lots import Lots, drawn_step
from capanode.node.challenged.named_sets import NamedSets
from capanode.node.challenged.tending import Brief, Tending
from capanode.node.challenged.watching import Costs, Finding, Watching
from capanode.node.config import NodeConfig, Role
from capanode.node.network_profile import NetworkProfile
from capanode.protocol.cases import Case
from capanode.protocol.ids import Address, DealId, Digest, Wei

TURN_S: Final = 12.0
DEVNET_TURN_S: Final = 0.5
"""How long each of those who tend a case waits for the one before it. Seconds."""

log = structlog.get_logger()


def appetite_of(config: NodeConfig, profile: NetworkProfile) -> Appetite:
    """What the operator wants to look at, and to risk."""
    wanted = config.challenger
    return Appetite(
        sample_ppm=wanted.sample_ppm,
        max_bonds_wei=wanted.max_bonds_wei,
        min_price_wei=wanted.min_price_wei,
        classes=wanted.classes,
        max_steps=wanted.max_steps,
        is_dry=wanted.dry_run,
        named_arbiters=wanted.named_arbiters,
        min_sources=1 if profile.is_devnet else MIN_SOURCES,
    )


@dataclass(frozen=True, slots=True)
class Place:
    """What disputes stand on."""

    agent: Agent
    cases: CaseLog
    commits: Commits
    named_sets: NamedSets
    markets: Markets
    courts: Courts
    rpc: Rpc
    sender: Sender
    head: HeadWatch
    clock: ChainClock
    wallet: Address
    hardware_class: str
    turn_s: float


@dataclass(frozen=True, slots=True)
class Policy:
    """What an operator leaves to its node."""

    begins_audits: bool
    appeals: Limits


def policy_of(config: NodeConfig) -> Policy:
    """As the config file says."""
    limits = Limits(config.provider.max_appeal_wei, config.challenger.max_appeal_wei)
    return Policy(config.arbiter.begin_audits, limits)


class Disputes:
    """All parts of a node that disputes are the business of."""

    def __init__(
        self,
        place: Place,
        checker: Checker,
        costs: Costs,
        appetite: Appetite,
        policy: Policy,
        roles: frozenset[Role],
    ) -> None:
        self._place = place
        self._checker = checker
        self._costs = costs
        self._policy = policy
        self._roles = roles
        self.appetite = appetite
        self.cases = place.cases

        @cache
        def orders(market: Address) -> Orders:
            return Orders(place.sender, place.courts.of(market).court.address)

        self.contests = Contests(
            place.cases,
            place.head,
            lambda market: place.courts.of(market).court,
            orders,
            checker.retracing.known,
        )
        signer = place.sender.signer
        self.judging = Judging(place.cases, checker, checker.states, place.head, place.clock, orders, signer)
        self.disputing = Disputing(
            place.agent,
            checker,
            place.rpc,
            place.wallet,
            bond_wei=self._bond_wei,
            open_challenges=self._open_challenges,
        )
        self.watching = Watching(
            checker,
            self.disputing,
            place.clock,
            place.wallet,
            costs,
            bond_wei=self._bond_wei,
            named=self._named,
        )
        self.enrolment = Enrolment(
            place.courts, place.sender, place.wallet, place.clock, place.hardware_class, place.named_sets
        )
        self._orders: Callable[[Address], Orders] = orders

    async def run(self) -> None:
        """Tend, answer, watch and complain, as the node's roles ask for it, until cancelled."""
        place = self._place
        tending = Tending(
            place.agent,
            place.cases,
            place.markets,
            place.head,
            place.sender.account.address,
            place.turn_s,
            brief=self._brief,
            clocks=lambda market: place.courts.of(market).clocks,
            orders=self._orders,
            draws_lots=self._begins_audits,
        )
        appeals = Appeals(
            place.agent,
            place.cases,
            self._checker,
            place.clock,
            self._policy.appeals,
            bond_wei=self._bond_wei,
            orders=self._orders,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tending.run)
            nursery.start_soon(appeals.run)
            if Role.PROVIDER in self._roles:
                nursery.start_soon(Answering(place.agent, place.cases, self._checker.trace_of, self._orders).run)
            if Role.REQUESTER in self._roles:
                nursery.start_soon(Complaints(place.agent, self.disputing, place.wallet, self.appetite).run)
            if Role.CHALLENGER in self._roles:
                nursery.start_soon(self._watch)
            if Role.ARBITER in self._roles:
                nursery.start_soon(self.enrolment.run)
            if self._begins_audits:
                nursery.start_soon(self._begin_audits)

    @property
    def _begins_audits(self) -> bool:
        return Role.ARBITER in self._roles and self._policy.begins_audits

    async def _begin_audits(self) -> None:
        place = self._place
        lots = Lots(
            self._checker,
            place.courts,
            place.clock,
            place.wallet,
            place.hardware_class,
            place.turn_s,
            gas_wei=self._costs.gas_wei,
            orders=self._orders,
            named=place.named_sets.find,
        )
        with place.commits.listening() as committed:
            await lots.run(committed)

    async def _watch(self) -> None:
        with self._place.commits.listening() as committed:
            # What is found is in its challenges, and in the log.
            async for told in self.watching.watch(committed, self.appetite):
                if isinstance(told, Finding):
                    log.info("watched", deal=told.deal_id.hex(), verdict=told.verdict, earned_wei=told.earned_wei)

    def _bond_wei(self, market: Address, fee_wei: Wei) -> Wei:
        return self._place.courts.of(market).bond_wei(fee_wei)

    async def _named(self, market: Address, pool: Digest) -> tuple[Address, ...]:
        return await self._place.courts.of(market).pools.named(pool)

    async def _open_challenges(self, market: Address, deal_id: DealId) -> int:
        return (await Market(self._place.rpc, market).slot(deal_id)).open_challenges

    async def _brief(self, case: Case) -> Brief:
        trace = await self._checker.trace_of(case.deal_id)
        papers = papers_of(trace.found.evidence)
        step = await drawn_step(self._place.rpc, case, papers) if case.awaits_lot else case.step
        return Brief(papers, claimed_of(trace, case.kind, step))
