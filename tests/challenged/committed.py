"""A deal that is committed on a fake wire: its provider with all that it computed, and a watcher who knows nothing."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import trio

from capanode.node.agent import Agent
from capanode.node.assigned.preparation import Preparation, PreparationLimits
from capanode.node.assigned.provider_peers import SCHEMA as PEERS
from capanode.node.assigned.provider_peers import ProviderPeers
from capanode.node.chain.clock import ChainClock
from capanode.node.chain.market import SlotState
from capanode.node.chain.markets import Markets
from capanode.node.challenged.evidence import EvidenceFinder
from capanode.node.challenged.evidence_desk import EvidenceDesk, OwnEvidence
from capanode.node.challenged.kept_evidence import SCHEMA as KEPT
from capanode.node.challenged.kept_evidence import KeptEvidence
from capanode.node.challenged.own_traces import SCHEMA as TRACES
from capanode.node.executed.checkpoints import SCHEMA as CHECKPOINTS
from capanode.node.executed.checkpoints import Checkpoints
from capanode.node.executed.execution import Execution
from capanode.node.executed.results import Results
from capanode.node.journal import SCHEMA, Journal, receive_in
from capanode.node.p2p.blobs import serve_blobs
from capanode.node.storage.blobs import BlobStore
from capanode.node.storage.cid import cid_of
from capanode.node.storage.database import Database, open_database
from capanode.proofs.evidence import Evidence, slot_hash
from capanode.proofs.trace import MAX_POSTED_STEPS, Trace, trace_for_single_step, trace_root
from capanode.proofs.tree import input_root
from capanode.protocol import encoding, provider
from capanode.protocol.events import DealCommitted, ExecutionFinished, Prepared, WorkTaken
from capanode.protocol.ids import ZERO_ADDRESS, ZERO_DIGEST, Address, DealId, Digest, PeerId, Ppm, UnixTime, Wei
from capanode.protocol.judging import Rules, class_pool
from capanode.protocol.messages import EVIDENCE_PROTOCOL
from capanode.protocol.phases import Phase
from capanode.protocol.records import Input, Spec, VerificationClass
from capanode.protocol.typed_data import award_digest, spec_digest
from tests.agent.scripted import BLOCK
from tests.fakes.fake_executor import FakeExecutor, Play, Played
from tests.fakes.fake_network import FakeInternet, FakeNetwork
from tests.node.market_place import (
    DOMAIN,
    HARDWARE,
    MARKET,
    PROVIDER,
    REQUEST_S,
    FakeMarket,
    Idle,
    award,
    demand,
    version_of,
)
from tests.protocol import deals
from tests.protocol.deals import GRACE_S, NOW, SPEC

TEXT = b"one two three\n"
INPUT = Input("text.txt", Digest(sha256(TEXT).digest()), len(TEXT), cid_of(TEXT), None)
RULES = Rules(
    verification=VerificationClass.EXACT,
    sealed=False,
    quorum=0,
    pool=class_pool("x86_64-v3"),
    comparator=Digest(bytes(32)),
    max_state_bytes=2**24,
    step_s=10,
    arbiter_fee_wei=Wei(10**16),
    audit_rate_ppm=Ppm(200_000),
)
FILES = (("counts.csv", b"one,1\ntwo,1\n"), ("notes.txt", b"all well\n"))
DAY_S = 86_400
WINDOW_ENDS_AT = UnixTime(NOW + 60)


async def play(_: object) -> Played:
    return Played(stdout=b"counted\n", files=FILES)


@dataclass(slots=True)
class BoundMarket(FakeMarket):
    """A market that knows one deal."""

    bound: int = 0
    deal_id: DealId | None = None
    phase: Phase = Phase.COMMITTED
    deadline: UnixTime = WINDOW_ENDS_AT

    async def slot(self, deal_id: DealId) -> SlotState:
        await trio.lowlevel.checkpoint()
        if deal_id != self.deal_id:
            return SlotState(Phase.NONE, 0, UnixTime(0), 0)
        return SlotState(self.phase, 0, self.deadline, self.bound)


@dataclass(slots=True)
class Watcher:
    """A node that computed nothing of the deal."""

    network: FakeNetwork
    blobs: BlobStore
    kept: KeptEvidence
    finder: EvidenceFinder
    desk: EvidenceDesk
    database: Database


@dataclass(slots=True)
class Committed:
    """The deal, its provider, and who wants to know."""

    internet: FakeInternet
    provider: FakeNetwork
    market: BoundMarket
    own: OwnEvidence
    desk: EvidenceDesk
    blobs: BlobStore
    watcher: Watcher
    deal: DealId
    folder: Path

    def lie(self, alter: Callable[[Evidence], Evidence | bytes]) -> None:
        """Have the provider answer something else to who asks for evidence."""
        honest, limit = self.provider._services[EVIDENCE_PROTOCOL]

        async def answer(peer: PeerId, data: bytes) -> bytes:
            told = alter(encoding.decode(Evidence, await honest(peer, data)))
            return told if isinstance(told, bytes) else encoding.encode(told)

        self.provider._services[EVIDENCE_PROTOCOL] = (answer, limit)


@asynccontextmanager
async def committed(
    folder: Path, spec: Spec | None = None, play: Play = play, **changes: Any
) -> AsyncGenerator[Committed]:
    """`changes` are to the demand."""
    spec = spec or replace(SPEC, inputs=(INPUT,))
    internet, market = FakeInternet(), BoundMarket()
    markets = Markets([version_of(market)], lambda: UnixTime(NOW))
    buyer, seller = internet.node("requester"), internet.node("provider")
    wanted = replace(demand(), spec=spec_digest(spec), input_root=input_root(spec.inputs), **changes)
    sent = award(wanted)
    work = WorkTaken(DealId(award_digest(DOMAIN, sent.award.terms)), sent.award, wanted, spec, buyer.peer_id)
    seller.learn(buyer.addresses()[0])
    bought = BlobStore(folder / "bought", limit_bytes=2**24, clock=lambda: float(NOW))
    for _ in spec.inputs:
        bought.put_bytes(TEXT, reason="job", until=UnixTime(NOW + DAY_S))
    serve_blobs(buyer, bought, lambda *_: True)
    blobs = BlobStore(folder / "blobs", limit_bytes=2**24, clock=lambda: float(NOW))
    executor = FakeExecutor(folder / "executor", play)
    preparation = Preparation(executor, seller, blobs, folder / "https", PreparationLimits(2**24, 2**24, 30))
    async with (
        open_database(folder / "node.sqlite", [SCHEMA, KEPT, CHECKPOINTS]) as db,
        trio.open_nursery() as nursery,
    ):
        execution = Execution(executor, preparation, Results(blobs), Checkpoints(db), ())
        agent = Agent(Journal(db), PROVIDER.address, lambda _: GRACE_S, now=lambda: float(NOW))
        await nursery.start(agent.run, Idle())
        await agent.take_work("deal", work, lambda: True, MARKET)
        preparing = provider.take(work).deal
        assert isinstance(preparing, provider.Preparing)
        prepared = await preparation.prepare(preparing)
        assert isinstance(prepared, Prepared), prepared
        await agent.tell("deal", prepared)
        finished = await execution.run(provider.Executing(preparing.work, ZERO_ADDRESS, 1))
        assert isinstance(finished, ExecutionFinished)
        logged = _logged(preparing.work, finished)
        assigned = replace(deals.ASSIGNED, deal_id=work.deal_id, provider=PROVIDER.address, locked_by=ZERO_ADDRESS)
        await db.write("test", lambda connection: receive_in(connection, assigned, BLOCK))
        agent.chain_moved()
        await agent.tell("deal", finished)
        await db.write("test", lambda connection: receive_in(connection, logged, BLOCK))
        agent.chain_moved()
        await agent.tell("nobody", Prepared())
        own = OwnEvidence(agent, execution, preparation, blobs, HARDWARE)
        desk = EvidenceDesk(seller, blobs, KeptEvidence(db), own, lambda: UnixTime(NOW))
        desk.serve()
        serve_blobs(seller, blobs, lambda _, cid: desk.is_public(cid))
        evidence = await own.find(work.deal_id)
        market.deal_id, market.bound = work.deal_id, slot_hash(evidence) if evidence else 0
        async with open_database(folder / "watcher.sqlite", [KEPT, PEERS, TRACES]) as other:
            watcher = watching(internet, "watcher", folder, markets, other)
            watcher.network.learn(seller.addresses()[0])
            await watcher.network.connect(seller.addresses()[0])
            yield Committed(internet, seller, market, own, desk, blobs, watcher, work.deal_id, folder)
        nursery.cancel_scope.cancel()


def watching(internet: FakeInternet, name: str, folder: Path, markets: Markets, database: Database) -> Watcher:
    """A node that may fetch evidence, and hands on what it has."""
    network = internet.node(name)
    blobs = BlobStore(folder / name, limit_bytes=2**24, clock=lambda: float(NOW))
    kept = KeptEvidence(database)

    async def nobody(*_: object) -> Address | None:
        await trio.lowlevel.checkpoint()
        return None

    async def none(_: DealId) -> Evidence | None:
        await trio.lowlevel.checkpoint()
        return None

    finder = EvidenceFinder(
        network,
        ProviderPeers(database),
        markets,
        blobs,
        kept,
        ChainClock(lambda: float(NOW)),
        provider_of=nobody,
        own=none,
        downloads=folder / f"{name}-https",
        request_s=REQUEST_S,
    )
    desk = EvidenceDesk(network, blobs, kept, None, lambda: UnixTime(NOW))
    desk.serve()
    serve_blobs(network, blobs, lambda _, cid: desk.is_public(cid))
    return Watcher(network, blobs, kept, finder, desk, database)


def _logged(work: provider.Work, result: ExecutionFinished) -> DealCommitted:
    """What the market logs of the commitment."""
    if result.traced is None:
        trace = trace_for_single_step(
            work.deal_id, work.demand.input_root, result.result_root, result.status, result.stdout_root
        )
        root = trace_root(trace)
    elif result.traced.step_count <= MAX_POSTED_STEPS:
        root = trace_root(Trace(result.traced.posted))
    else:
        root = result.traced.posted[0]
    return replace(
        deals.COMMITTED,
        deal_id=work.deal_id,
        provider=PROVIDER.address,
        trace_root=root,
        result_root=result.result_root,
        delivery_root=result.result_root,
        leaves_cid=result.traced.leaves_cid if result.traced is not None else ZERO_DIGEST,
        step_count=result.traced.step_count if result.traced is not None else 1,
        status=result.status,
        amount_wei=work.terms.price_wei,
        locked_by=ZERO_ADDRESS,
    )
