"""A result on its way: the requester believes nothing, and the provider serves its own requester only."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from capanode.node.agent import Agent
from capanode.node.assigned.preparation import Preparation, PreparationLimits
from capanode.node.assigned.provider_peers import ProviderPeers
from capanode.node.chain.markets import Markets
from capanode.node.committed.delivery import LEAVES_FILE, Collector, ResultDesk
from capanode.node.executed.checkpoints import SCHEMA as CHECKPOINTS
from capanode.node.executed.checkpoints import Checkpoints
from capanode.node.executed.execution import Execution
from capanode.node.executed.results import Results
from capanode.node.executors.port import RunRequest
from capanode.node.journal import SCHEMA, Journal, receive_in
from capanode.node.keys.recover import recover
from capanode.node.keys.signer import LocalSigner
from capanode.node.p2p.blobs import serve_blobs
from capanode.node.paid.settlement import commitment_made, digest_of
from capanode.node.storage.blobs import BlobStore
from capanode.node.storage.database import open_database
from capanode.proofs import leaf_list
from capanode.proofs import receipt as receipts
from capanode.proofs.commitment import trace_of_single_step
from capanode.proofs.receipt import SignedReceipt
from capanode.proofs.step import STEP_VARIABLE
from capanode.proofs.trace import Trace, trace_root
from capanode.protocol import encoding, provider, requester
from capanode.protocol.events import DealCommitted, ExecutionFinished, Prepared, WorkTaken
from capanode.protocol.faults import PeerFault, Refused, Unavailable
from capanode.protocol.ids import ZERO_ADDRESS, Address, Cid, DealId, Digest, PeerId, TxHash, UnixTime
from capanode.protocol.messages import (
    LOG_PROTOCOL,
    RESULT_PROTOCOL,
    LogReply,
    LogRequest,
    ResultManifest,
    ResultReply,
    ResultRequest,
)
from capanode.protocol.records import Spec, Steps
from capanode.protocol.typed_data import accept_digest, award_digest, spec_digest
from tests.agent.scripted import BLOCK
from tests.fakes.fake_executor import FakeExecutor, Play, Played
from tests.fakes.fake_network import FakeInternet, FakeNetwork
from tests.node.market_place import (
    DOMAIN,
    HARDWARE,
    MARKET,
    PROVIDER,
    REQUEST_S,
    STRANGER,
    WALLET,
    FakeMarket,
    Idle,
    award,
    demand,
    version_of,
)
from tests.protocol import deals
from tests.protocol.deals import GRACE_S, NOW, SPEC

KEY = "deal"
MARKETS = Markets([version_of(FakeMarket())], lambda: UnixTime(NOW))
FILES = (("model.bin", b"weights" * 100), ("notes.txt", b"all well\n"))


async def play(_: object) -> Played:
    return Played(stdout=b"training\n", files=FILES)


@dataclass(slots=True)
class Counter:
    """Both ends of a delivery, with the deal committed."""

    agent: Agent
    collector: Collector
    network: FakeNetwork
    provider: FakeNetwork
    stranger: FakeNetwork
    desk: ResultDesk
    blobs: BlobStore
    job: requester.Committed
    deal: DealId
    results: Path

    async def ask(self, protocol: str, request: encoding.Record, by: FakeNetwork) -> bytes:
        return await by.request(
            self.provider.peer_id, protocol, encoding.encode(request), limit_bytes=2**22, timeout_s=REQUEST_S
        )

    def lie(self, alter: Any) -> None:
        """Have the provider answer something else to the result's request."""
        honest, limit = self.provider._services[RESULT_PROTOCOL]

        async def answer(peer: PeerId, data: bytes) -> bytes:
            reply = encoding.decode(ResultReply, await honest(peer, data))
            return encoding.encode(alter(reply))

        self.provider._services[RESULT_PROTOCOL] = (answer, limit)


@pytest.fixture
async def counter(tmp_path: Path) -> AsyncGenerator[Counter]:
    async with opened(tmp_path) as found:
        yield found


@asynccontextmanager
async def opened(folder: Path, spec: Spec = SPEC, play: Play = play) -> AsyncGenerator[Counter]:
    internet = FakeInternet()
    ours, theirs, stranger = internet.node("requester"), internet.node("provider"), internet.node("stranger")
    for node in (ours, stranger):
        node.learn(theirs.addresses()[0])
    limit = spec.steps.limit if spec.steps is not None else 1
    sent = award(replace(demand(), spec=spec_digest(spec), resources=spec.resources, step_limit=limit))
    work = WorkTaken(DealId(award_digest(DOMAIN, sent.award.terms)), sent.award, sent.demand, spec, ours.peer_id)
    blobs = BlobStore(folder / "blobs", limit_bytes=2**24, clock=lambda: float(NOW))
    executor = FakeExecutor(folder / "executor", play)
    preparation = Preparation(executor, theirs, blobs, folder / "https", PreparationLimits(2**24, 2**24, 30))
    async with (
        open_database(folder / "node.sqlite", [SCHEMA, CHECKPOINTS]) as db,
        trio.open_nursery() as nursery,
    ):
        execution = Execution(executor, preparation, Results(blobs), Checkpoints(db), ())
        agent = Agent(Journal(db), PROVIDER.address, lambda _: GRACE_S, now=lambda: float(NOW))
        await nursery.start(agent.run, Idle())
        await agent.take_work(KEY, work, lambda: True, MARKET)
        await agent.tell(KEY, Prepared())
        made = cast(provider.Preparing, provider.take(work).deal)
        finished = await execution.run(provider.Executing(made.work, ZERO_ADDRESS, 1))
        assert isinstance(finished, ExecutionFinished)
        committed = commitment(made.work, finished)
        assigned = replace(deals.ASSIGNED, deal_id=work.deal_id, provider=PROVIDER.address, locked_by=ZERO_ADDRESS)
        await db.write("test", lambda connection: receive_in(connection, assigned, BLOCK))
        agent.chain_moved()
        await agent.tell(KEY, finished)
        await db.write("test", lambda connection: receive_in(connection, committed, BLOCK))
        agent.chain_moved()
        await agent.tell("nobody", Prepared())
        desk = ResultDesk(agent, theirs, execution, blobs, PROVIDER, MARKETS, HARDWARE)
        desk.serve()
        serve_blobs(theirs, blobs, desk.may_fetch)
        own = BlobStore(folder / "own", limit_bytes=2**24, clock=lambda: float(NOW))
        peers = ProviderPeers(db)
        results = folder / "results"
        collector = Collector(ours, peers, own, WALLET, MARKETS, results, 2**20, REQUEST_S)
        submitted = replace(deals.submitted(), demand=sent.demand, spec=spec)
        order = cast(requester.Bidding, requester.submit(submitted).job).order
        deal = requester.Deal(work.deal_id, sent.award.terms, theirs.peer_id, ZERO_ADDRESS)
        job = requester.Committed(order, deal, committed)
        yield Counter(agent, collector, ours, theirs, stranger, desk, blobs, job, work.deal_id, results)
        nursery.cancel_scope.cancel()


def commitment(work: provider.Work, result: ExecutionFinished) -> DealCommitted:
    """What the chain says about the result."""
    made = commitment_made(result, work.terms.price_wei)
    if result.traced is None:
        root = trace_root(trace_of_single_step(made, work.deal_id, work.demand.input_root))
    else:
        root = trace_root(Trace(result.traced.posted))
    return replace(
        deals.COMMITTED,
        deal_id=work.deal_id,
        provider=PROVIDER.address,
        trace_root=root,
        result_root=result.result_root,
        delivery_root=result.result_root,
        leaves_cid=made.leaves_cid,
        step_count=made.step_count,
        status=result.status,
        amount_wei=work.terms.price_wei,
        locked_by=ZERO_ADDRESS,
    )


async def test_a_result_arrives_whole_with_its_receipt(counter: Counter) -> None:
    await counter.collector.fetch(KEY, counter.job)
    fetched = await counter.collector.fetch(KEY, counter.job)
    outputs = Path(fetched.folder)
    assert {(file.name, file.read_bytes()) for file in outputs.iterdir()} == set(FILES)
    assert (outputs.parent / "log.txt").read_bytes() == b"training\n"
    signed = receipts.decode(fetched.receipt)
    assert signed.receipt.deal_id == counter.deal
    assert signed.receipt.commitment_digest == digest_of(counter.job.commitment)


async def test_a_result_takes_the_place_of_one_of_an_earlier_deal(counter: Counter) -> None:
    fetched = await counter.collector.fetch(KEY, counter.job)
    outputs, signed = Path(fetched.folder), receipts.decode(fetched.receipt)
    (outputs / "cheated").write_bytes(b"overturned by the court")
    earlier = replace(signed, receipt=replace(signed.receipt, deal_id=DealId(b"\x66" * 32)))
    (outputs.parent / "receipt.cbor").write_bytes(encoding.encode(earlier))
    await counter.collector.fetch(KEY, counter.job)
    assert {(file.name, file.read_bytes()) for file in outputs.iterdir()} == set(FILES)
    assert (outputs.parent / "receipt.cbor").read_bytes() == fetched.receipt


async def refused(counter: Counter, match: str) -> None:
    with pytest.raises(PeerFault, match=match):
        await counter.collector.fetch(KEY, counter.job)
    assert not (counter.results / KEY / "outputs").exists(), "nothing unchecked appears"


async def test_a_result_that_is_not_what_was_committed_is_refused(counter: Counter) -> None:
    counter.job = replace(counter.job, commitment=replace(counter.job.commitment, result_root=Digest(b"\x55" * 32)))
    await refused(counter, "another result than it committed to")


async def test_a_missing_file_is_refused(counter: Counter) -> None:
    def alter(reply: ResultReply) -> ResultReply:
        assert reply.manifest is not None
        manifest = encoding.decode(ResultManifest, reply.manifest)
        return replace(reply, manifest=encoding.encode(replace(manifest, sent=manifest.sent[1:])))

    counter.lie(alter)
    await refused(counter, "does not hold")


async def test_a_file_with_other_bytes_is_refused(counter: Counter) -> None:
    def alter(reply: ResultReply) -> ResultReply:
        assert reply.manifest is not None
        manifest = encoding.decode(ResultManifest, reply.manifest)
        first = replace(manifest.sent[0], content=b"x" * len(manifest.sent[0].content))
        return replace(reply, manifest=encoding.encode(replace(manifest, sent=(first, *manifest.sent[1:]))))

    counter.lie(alter)
    await refused(counter, ".")


def signed_again(change: dict[str, Any], signer: LocalSigner) -> Any:
    def alter(reply: ResultReply) -> ResultReply:
        receipt = replace(receipts.decode(reply.receipt).receipt, **change)
        made = SignedReceipt(receipt, signer.sign_digest(receipts.digest_to_sign(receipt)))
        return replace(reply, receipt=encoding.encode(made))

    return alter


@pytest.mark.parametrize(
    "alter",
    [
        pytest.param(lambda reply: replace(reply, receipt=b""), id="none"),
        pytest.param(signed_again({}, STRANGER), id="a stranger's signature"),
        pytest.param(signed_again({"signer": STRANGER.address}, STRANGER), id="signed by who may not"),
        pytest.param(signed_again({"deal_id": DealId(b"\x55" * 32)}, PROVIDER), id="of another deal"),
        pytest.param(signed_again({"commit_tx": TxHash(b"\x55" * 32)}, PROVIDER), id="of another commit"),
        pytest.param(signed_again({"market": Address(b"\x55" * 20)}, PROVIDER), id="of another market"),
        pytest.param(signed_again({"commitment_digest": Digest(b"\x55" * 32)}, PROVIDER), id="of another commitment"),
    ],
)
async def test_a_wrong_receipt_is_refused(counter: Counter, alter: Any) -> None:
    counter.lie(alter)
    await refused(counter, ".")


async def test_a_result_larger_than_this_node_takes_is_refused(counter: Counter) -> None:
    counter.collector._max_result_bytes = 10
    await refused(counter, "larger than this node downloads")


async def test_strangers_get_neither_result_nor_log_nor_blobs(counter: Counter) -> None:
    for protocol, request in (
        (RESULT_PROTOCOL, ResultRequest(counter.deal)),
        (LOG_PROTOCOL, LogRequest(counter.deal, 100)),
    ):
        with pytest.raises(Refused, match="no such deal of yours"):
            await counter.ask(protocol, request, counter.stranger)
    manifest = state_of(counter).result.manifest
    assert counter.desk.may_fetch(counter.network.peer_id, manifest)
    assert not counter.desk.may_fetch(counter.stranger.peer_id, manifest)
    assert not counter.desk.may_fetch(counter.network.peer_id, Cid("bafkrei" + "a" * 52))


@pytest.mark.parametrize(("tail", "data"), [(4, b"ing\n"), (0, b""), (-5, b""), (2**40, b"training\n")])
async def test_the_log_is_as_long_as_asked(counter: Counter, tail: int, data: bytes) -> None:
    answer = await counter.ask(LOG_PROTOCOL, LogRequest(counter.deal, tail), counter.network)
    assert encoding.decode(LogReply, answer).data == data


STEPPED = replace(
    SPEC,
    resources=replace(SPEC.resources, timeout_s=3 * 10, disk_bytes=3 * 2**20),
    steps=Steps(limit=3, timeout_s=10, state_bytes=2**20),
)


async def step(request: RunRequest) -> Played:
    """Leave the number of the step, and something large."""
    number = dict(request.env)[STEP_VARIABLE].encode()
    return Played(stdout=b"step " + number, files=(("large", b"l" * 2**17), ("step", number)))


async def test_a_result_of_several_steps_is_the_last_state_and_comes_with_its_leaves(tmp_path: Path) -> None:
    async with opened(tmp_path, STEPPED, step) as counter:
        fetched = await counter.collector.fetch(KEY, counter.job)
        outputs = Path(fetched.folder)
        assert {file.name for file in outputs.iterdir()} == {"large", "step"}
        assert (outputs / "step").read_bytes() == b"2"
        listed = leaf_list.decode((outputs.parent / LEAVES_FILE).read_bytes())
        whole = leaf_list.trace_of(listed)
        assert trace_root(whole) == counter.job.commitment.trace_root
        receipt = receipts.decode(fetched.receipt)
        assert all(check.ok for check in receipts.verify(receipt, recover, spec=STEPPED, leaves=whole.leaves))
        assert receipt.receipt.commitment.step_count == 3
        for row in listed.leaves[1:]:
            assert row[4] is not None
            assert counter.desk.may_fetch(counter.network.peer_id, row[4])
            assert not counter.desk.may_fetch(counter.stranger.peer_id, row[4])


@pytest.mark.parametrize(
    "alter",
    [
        pytest.param(lambda reply: replace(reply, leaf_list=None), id="none"),
        pytest.param(lambda reply: replace(reply, leaf_list=reply.manifest_cid), id="another blob"),
    ],
)
async def test_a_result_without_the_leaves_that_were_committed_is_refused(tmp_path: Path, alter: Any) -> None:
    async with opened(tmp_path, STEPPED, step) as counter:
        counter.lie(alter)
        await refused(counter, "does not serve the leaf list")


async def test_leaves_that_do_not_lead_to_the_root_on_chain_are_refused(tmp_path: Path) -> None:
    async with opened(tmp_path, STEPPED, step) as counter:
        wrong = replace(counter.job.commitment, trace_root=Digest(b"\x55" * 32))
        counter.job = replace(counter.job, commitment=wrong)
        await refused(counter, "does not lead to the trace root")


async def test_an_acceptance_reaches_the_deal(counter: Counter) -> None:
    delivered = requester.Delivered(counter.job.order, counter.job.deal, counter.job.commitment, "", b"")
    await counter.collector.hand_accept(delivered, MARKET)
    assert state_of(counter).accept == WALLET.sign_digest(accept_digest(DOMAIN, counter.deal))


async def test_a_strangers_acceptance_is_no_acceptance(counter: Counter) -> None:
    delivered = requester.Delivered(counter.job.order, counter.job.deal, counter.job.commitment, "", b"")
    counter.collector._wallet = STRANGER
    with pytest.raises(Refused, match="not signed by the deal's requester"):
        await counter.collector.hand_accept(delivered, MARKET)
    assert state_of(counter).accept == b""


async def test_a_provider_that_is_away_is_asked_again(counter: Counter) -> None:
    counter.provider.go_down()
    with pytest.raises(Unavailable):
        await counter.collector.fetch(KEY, counter.job)


def state_of(counter: Counter) -> provider.Committed:
    stored = counter.agent.find(KEY)
    assert stored is not None
    assert isinstance(stored.state, provider.Committed)
    return stored.state
