"""A market with its court on a real development chain, results that are committed there, and nodes that dispute."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from capanode.contracts_abi import bindings
from capanode.node import journal
from capanode.node.agent import Agent
from capanode.node.assigned import provider_peers
from capanode.node.chain import blocks, case_log, transactions, wallet_calls
from capanode.node.chain import court as courts
from capanode.node.chain.anvil import Anvil, AnvilOptions, development_key, run_anvil
from capanode.node.chain.case_log import CaseLog, Filed
from capanode.node.chain.contracts import Contracts, log_filter, resolve
from capanode.node.chain.court import Court
from capanode.node.chain.courts import Courts
from capanode.node.chain.deploy import DEVNET_CLOCKS, DEVNET_COURT_CLOCKS, DeployPlan, deploy, mint
from capanode.node.chain.follower import FollowerOptions, run_follower
from capanode.node.chain.head import HeadWatch
from capanode.node.chain.intake import ChainIntake
from capanode.node.chain.market import Market, SlotState
from capanode.node.chain.markets import Markets
from capanode.node.chain.orders import Orders
from capanode.node.chain.repair import run_sender
from capanode.node.chain.rpc import Rpc, open_rpc
from capanode.node.chain.sender import Mined, Sender, SenderOptions, open_sender
from capanode.node.chain.token import Token
from capanode.node.chain.wire import quantity, read_object, read_quantity
from capanode.node.challenged import own_traces
from capanode.node.challenged.committed_trace import CommittedTrace
from capanode.node.challenged.contests import Contests
from capanode.node.challenged.evidence import Found
from capanode.node.challenged.tending import Brief, Tending
from capanode.node.journal import Stored
from capanode.node.keys.signer import LocalSigner
from capanode.node.network_profile import NetworkProfile
from capanode.node.paid.settlement import Settlement, abi_terms
from capanode.node.performer import NodePerformer
from capanode.node.storage.database import open_database
from capanode.proofs import trace as traces
from capanode.proofs.commitment import Commitment
from capanode.proofs.evidence import Evidence
from capanode.proofs.trace import Leaf, Trace
from capanode.protocol.cases import Case, Papers, Vote, hidden_vote
from capanode.protocol.ids import ZERO_ADDRESS, ZERO_DIGEST, Address, Cid, DealId, Digest, Ppm, UnixTime, Wei
from capanode.protocol.judging import Rules, VerificationClass, class_pool, named_pool, steps_word
from capanode.protocol.phases import Phase
from capanode.protocol.records import Mode, Steps, Terms
from capanode.protocol.typed_data import award_digest, demand_digest, spec_digest
from tests.protocol import deals

TOKENS: Final = 10**18
CLASS: Final = "x86_64-v3"
POOL: Final = class_pool(CLASS)
PRICE: Final = Wei(10 * TOKENS)
FEE: Final = Wei(TOKENS // 10)
FRAUD_BOND: Final = Wei(50 * TOKENS)
DEPLOYER, REQUESTER, PROVIDER, CHALLENGER, RIVAL, *ARBITERS = (LocalSigner(development_key(at)) for at in range(14))
SPEC: Final = replace(
    deals.SPEC,
    resources=replace(deals.SPEC.resources, timeout_s=640, disk_bytes=64 * 2**20),
    steps=Steps(limit=64, timeout_s=10, state_bytes=2**20),
)
INPUT_ROOT: Final = Digest(b"\x05" * 32)
LIST: Final = Digest(b"\x06" * 32)
CLOCKS: Final = replace(DEVNET_COURT_CLOCKS, reveal_blocks=60, answer_time=600, appeal_time=600)
WINDOW_S: Final = 3600

Made = Callable[[DealId], Trace]
"""What a provider commits to."""


@dataclass(slots=True)
class Courthouse:
    """The chain, its contracts, and the keys of everybody."""

    anvil: Anvil
    rpc: Rpc
    profile: NetworkProfile
    contracts: Contracts
    senders: dict[Address, Sender]
    markets: Markets
    courts: Courts
    salts: int = 0

    @property
    def at(self) -> Address:
        """The market."""
        return self.contracts.market

    @property
    def market(self) -> Market:
        return Market(self.rpc, self.at)

    @property
    def court(self) -> Court:
        return self.courts.of(self.at).court

    async def send(self, signer: LocalSigner, key: str, to: Address, data: bytes) -> None:
        """A transaction that has to succeed."""
        sender = self.senders[signer.address]
        await sender.submit(key, to, data)
        outcome = await sender.outcome(key)
        assert isinstance(outcome, Mined), outcome

    async def now(self) -> int:
        block = read_object(await self.rpc.call("eth_getBlockByNumber", "latest", False))
        return read_quantity(block["timestamp"])

    async def pass_(self, seconds: int) -> None:
        """Let the chain's time go on."""
        await self.rpc.call_once("evm_increaseTime", quantity(seconds))
        await self.rpc.call_once("evm_mine")

    async def phase(self, deal: DealId) -> Phase:
        return (await self.market.slot(deal)).phase

    async def free_wei(self, signer: LocalSigner) -> Wei:
        return (await self.market.account(signer.address)).free_wei

    async def commit(
        self,
        steps: int,
        made: Made,
        audit_ppm: int = 200_000,
        window_s: int = WINDOW_S,
        named: tuple[Address, ...] = (),
    ) -> Papers:
        """Have the provider commit to a trace of several steps; what the court is shown of the deal."""
        self.salts += 1
        rules = Rules(
            verification=VerificationClass.EXACT,
            sealed=False,
            quorum=len(named) // 2 + 1 if named else 0,
            pool=named_pool(named) if named else POOL,
            comparator=ZERO_DIGEST,
            max_state_bytes=2**20,
            step_s=5,
            arbiter_fee_wei=FEE,
            audit_rate_ppm=Ppm(audit_ppm),
        )
        word = steps_word(rules, 0, steps)
        now = await self.now()
        terms = Terms(
            requester=REQUESTER.address,
            provider=PROVIDER.address,
            demand_digest=demand_digest(spec_digest(SPEC), INPUT_ROOT, word),
            price_wei=PRICE,
            verification_wei=Wei(3 * FEE),
            fraud_bond_wei=FRAUD_BOND,
            assign_by=UnixTime(now + 1000),
            commit_by=UnixTime(now + 2000),
            window_s=window_s,
            mode=Mode.LOCK,
            salt=Digest(self.salts.to_bytes(32, "big")),
        )
        at = self.markets.of(self.at).domain
        deal_id = DealId(award_digest(at, terms))
        signature = REQUESTER.sign_digest(Digest(deal_id))
        assign = bindings.encode_deal_market_assign(abi_terms(terms), signature)
        await self.send(PROVIDER, f"assign-{self.salts}", self.at, assign)
        trace = made(deal_id)
        result_root = state_root(steps)
        commitment = bindings.Commitment(
            result_root=result_root,
            delivery_root=ZERO_DIGEST,
            stdout_root=ZERO_DIGEST,
            leaves_cid=LIST,
            step_count=steps,
            status=0,
            amount=PRICE,
        )
        demand = bindings.DemandCore(spec_digest(SPEC), INPUT_ROOT, word)
        data = bindings.encode_deal_market_commit_steps(
            ZERO_ADDRESS, abi_terms(terms), demand, deal_id, commitment, traces.posted(trace)
        )
        await self.send(PROVIDER, f"commit-{self.salts}", self.at, data)
        return Papers(
            deal_id=deal_id,
            terms=terms,
            locked_by=ZERO_ADDRESS,
            amount_wei=PRICE,
            trace_root=traces.trace_root(trace),
            result_root=result_root,
            delivery_root=result_root,
            leaves_cid=LIST,
            step_count=steps,
            status=0,
            spec=Digest(spec_digest(SPEC)),
            input_root=INPUT_ROOT,
            first_step=0,
            step_limit=steps,
            rules=rules,
        )


def state_root(step: int, lie: int = 0) -> Digest:
    """The state after so many steps."""
    return Digest(bytes([step, lie]) * 16)


def leaves(steps: int, wrong: Sequence[int] = ()) -> tuple[Leaf, ...]:
    """A trace whose states at these positions are not what the steps lead to; the last one is always the same."""
    between = [Leaf(at, state_root(at, at in wrong), 0, ZERO_DIGEST, done=False) for at in range(1, steps)]
    last = Leaf(steps, state_root(steps), 0, ZERO_DIGEST, done=True)
    return (traces.first_leaf(0, INPUT_ROOT), *between, last)


def trace(steps: int, wrong: Sequence[int] = ()) -> Made:
    """The trace of any deal."""
    return lambda deal_id: traces.trace_of(deal_id, leaves(steps, wrong))


def published(house: Courthouse, papers: Papers, made: Sequence[Leaf]) -> CommittedTrace:
    """What the provider has of its own deal, or anybody of one whose leaves are published."""
    commitment = Commitment(
        result_root=papers.result_root,
        delivery_root=papers.delivery_root,
        stdout_root=ZERO_DIGEST,
        leaves_cid=papers.leaves_cid,
        step_count=papers.step_count,
        status=papers.status,
        amount_wei=papers.amount_wei,
    )
    evidence = Evidence(
        deal_id=papers.deal_id,
        market=house.at,
        terms=papers.terms,
        locked_by=papers.locked_by,
        trace_root=papers.trace_root,
        commitment=commitment,
        input_root=papers.input_root,
        first_step=papers.first_step,
        step_limit=papers.step_limit,
        rules=papers.rules,
        hardware_class=CLASS,
        spec=SPEC,
        inputs=(),
        manifest=Cid("b" + "a" * 58),
        leaf_list=Cid("b" + "b" * 58),
    )
    slot = SlotState(Phase.COMMITTED, 0, UnixTime(papers.terms.commit_by + papers.terms.window_s), 0)
    return CommittedTrace(Found(evidence, slot, (), ()), tuple(made), None)


@asynccontextmanager
async def courthouse(
    folder: Path, arbiters: int = 4, clocks: bindings.CourtClocks = CLOCKS
) -> AsyncGenerator[Courthouse]:
    """A network with a court, where everybody has money and so many arbiters are on duty."""
    async with AsyncExitStack() as stack:
        anvil = await stack.enter_async_context(run_anvil(AnvilOptions(idle_block_s=1, accounts=14)))
        rpc = await stack.enter_async_context(open_rpc([anvil.rpc_url], anvil.chain_id))
        senders: dict[Address, Sender] = {}
        for signer in (DEPLOYER, REQUESTER, PROVIDER, *ARBITERS[:arbiters]):
            path = folder / f"{signer.address.hex()}.sqlite"
            senders[signer.address] = await stack.enter_async_context(_sending(rpc, path, signer))
        plan = DeployPlan("test", (anvil.rpc_url,), clocks=DEVNET_CLOCKS, court_clocks=clocks)
        profile = await deploy(senders[DEPLOYER.address], plan)
        contracts = await resolve(rpc, profile)
        markets = Markets(contracts.markets, lambda: UnixTime(0))
        judges = Courts(rpc, markets)
        await judges.learn()
        house = Courthouse(anvil, rpc, profile, contracts, senders, markets, judges)
        await _endow(house, folder, ARBITERS[:arbiters])
        yield house


@asynccontextmanager
async def _sending(rpc: Rpc, path: Path, signer: LocalSigner) -> AsyncGenerator[Sender]:
    options = SenderOptions(poll_s=0.05, mined_poll_s=0.05)
    async with (
        open_database(path, [transactions.TRANSACTIONS_SCHEMA]) as database,
        open_sender(rpc, database, signer, options=options) as sender,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(run_sender, sender)
        yield sender
        nursery.cancel_scope.cancel()


async def _endow(house: Courthouse, folder: Path, arbiters: Sequence[LocalSigner]) -> None:
    deployer, pools = house.senders[DEPLOYER.address], house.courts.of(house.at).pools.address
    token = Token(house.rpc, house.contracts.token)
    amount = Wei(1000 * TOKENS)
    for signer in (REQUESTER, PROVIDER, CHALLENGER, RIVAL, *arbiters):
        await mint(deployer, f"mint-{signer.address.hex()}", house.contracts.token, signer.address, amount)
        if signer.address in house.senders:
            await _deposit(house.senders[signer.address], house.at, token, amount)
        else:
            # Its node has a sender of its own.
            async with _sending(house.rpc, folder / f"{signer.address.hex()}.sqlite", signer) as sender:
                await _deposit(sender, house.at, token, amount)
    stake = wallet_calls.stake(house.at, Wei(500 * TOKENS))
    await house.send(PROVIDER, "stake", stake.to, stake.data)
    for signer in arbiters:
        await house.send(signer, "enroll", pools, courts.enroll(CLASS, Wei(500 * TOKENS)))


async def vote(house: Courthouse, case: Case, found: Vote, leaf: Digest) -> None:
    """Have all arbiters of a case's newest committee find the same."""
    committee = case.committee
    assert committee is not None
    by_address = {signer.address: signer for signer in ARBITERS}
    salt, to = Digest(b"\x09" * 32), house.court.address
    for seat, address in enumerate(committee.arbiters):
        hidden = hidden_vote(case.case_id, committee.number, found, leaf, salt, address)
        data = courts.cast_vote(committee.pool, case.case_id, seat, hidden)
        await house.send(by_address[address], f"cast-{case.case_id.hex()}-{committee.number}", to, data)
    for seat, address in enumerate(committee.arbiters):
        data = courts.reveal_vote(committee.pool, case.case_id, seat, found, leaf, salt)
        await house.send(by_address[address], f"reveal-{case.case_id.hex()}-{committee.number}", to, data)


async def _deposit(sender: Sender, market: Address, token: Token, amount: Wei) -> None:
    for call in (token.approve(market, amount), wallet_calls.deposit(market, amount)):
        await sender.submit(call.data.hex()[:8], call.to, call.data)
        assert isinstance(await sender.outcome(call.data.hex()[:8]), Mined)


@dataclass(slots=True)
class Node:
    """One party's node, as far as disputes need it; what it has written survives its end."""

    house: Courthouse
    agent: Agent
    cases: CaseLog
    sender: Sender
    head: HeadWatch
    contests: Contests
    told: list[str] = field(default_factory=list[str])

    async def reach(self, key: str, *phases: type[Any]) -> Any:
        """The state of a challenge, once it is in one of these phases."""
        async with self.agent.watching() as changes:
            stored = self.agent.find(key)
            if stored is not None and isinstance(stored.state, phases):
                return stored.state
            async for changed in changes:
                if changed.key == key and isinstance(changed.state, phases):
                    return changed.state
        raise AssertionError("the watcher fell behind")

    async def next_phase(self, key: str, phase: str) -> Stored:
        """A challenge as soon as it is in another phase than this one."""
        async with self.agent.watching() as changes:
            stored = self.agent.find(key)
            if stored is not None and type(stored.state).__name__ != phase:
                return stored
            async for changed in changes:
                if changed.key == key and type(changed.state).__name__ != phase:
                    return changed
        raise AssertionError("the watcher fell behind")

    async def case(self, deal: DealId, fits: Callable[[Case], bool]) -> Filed:
        """A case of a deal, once one fits."""
        while True:
            for filed in await self.cases.of_deal(deal):
                if fits(filed.case):
                    return filed
            with trio.move_on_after(0.5):
                await self.cases.wait_change()

    def orders(self, _: Address) -> Orders:
        return Orders(self.sender, self.house.court.address, ())

    def tending(self, brief: Callable[[Case], Awaitable[Brief]] | None = None, *, draws_lots: bool = False) -> Tending:
        async def nobody(_: Case) -> Brief:
            raise AssertionError("every case that is tended here is its own")

        return Tending(
            self.agent,
            self.cases,
            self.house.markets,
            self.head,
            self.sender.account.address,
            0.05,
            brief=brief or nobody,
            clocks=lambda _: self.house.courts.of(self.house.at).clocks,
            orders=self.orders,
            draws_lots=draws_lots,
        )


@asynccontextmanager
async def node_of(
    house: Courthouse,
    folder: Path,
    signer: LocalSigner,
    ours: Callable[[DealId], Awaitable[Trace | None]],
) -> AsyncGenerator[Node]:
    """A node that follows the chain and carries out its challenges; `ours` is what traces come to on its machine."""
    schemas = (
        journal.SCHEMA,
        transactions.TRANSACTIONS_SCHEMA,
        blocks.FOLLOWER_SCHEMA,
        provider_peers.SCHEMA,
        case_log.SCHEMA,
        own_traces.SCHEMA,
    )
    folder.mkdir(exist_ok=True)
    async with (
        open_database(folder / "node.sqlite", schemas) as database,
        open_sender(house.rpc, database, signer, options=SenderOptions(poll_s=0.05, mined_poll_s=0.05)) as sender,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(run_sender, sender)
        cases, head = CaseLog(database), HeadWatch()
        agent = Agent(
            journal.Journal(database),
            signer.address,
            house.markets.grace_s,
            reveal_s=house.courts.reveal_s,
            wallet=signer.address,
        )

        def heard(_: object) -> None:
            trio.from_thread.run_sync(cases.touch)

        intake = ChainIntake(heard, house.courts.market_of, signer.address)
        contests = Contests(
            cases,
            head,
            lambda market: house.courts.of(market).court,
            lambda market: Orders(sender, house.courts.of(market).court.address, ()),
            ours,
        )
        follow = partial(
            run_follower,
            house.rpc,
            database,
            log_filter(house.contracts, house.profile),
            FollowerOptions(confirmations=0, poll_s=0.1, idle_poll_s=0.1, lag_patience_s=0.0),
            intake.apply,
            intake.unwind,
            wake=agent.chain_moved,
            head=head,
        )
        await nursery.start(follow)
        performer = NodePerformer(
            lambda market: Settlement(sender, market, ()),
            head,
            requester_side=None,
            provider_side=None,
            challenges=contests,
        )
        await nursery.start(agent.run, performer)
        yield Node(house, agent, cases, sender, head, contests)
        nursery.cancel_scope.cancel()
