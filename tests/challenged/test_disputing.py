"""What is begun without a word of the operator's: missing bytes, and a leaf that speaks against itself."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest
import trio
from trio.testing import MockClock

from capanode.node.agent import Agent
from capanode.node.chain.rpc import Rpc
from capanode.node.challenged import disputing as disputing_of
from capanode.node.challenged.appetite import Appetite
from capanode.node.challenged.briefs import papers_of
from capanode.node.challenged.committed_trace import LeafForbidden, StateMissing
from capanode.node.challenged.disputing import Disputing
from capanode.node.challenged.evidence import Found, ResultMissing
from capanode.node.storage.cid import cid_of
from capanode.proofs import trace as traces
from capanode.proofs.evidence import Evidence
from capanode.protocol import encoding
from capanode.protocol.cases import Claimed, Kind
from capanode.protocol.events import ChallengeWanted, Contest
from capanode.protocol.ids import Address, DealId, Digest, Ppm, UnixTime, Wei
from capanode.protocol.judging import VerificationClass
from tests.challenged.committed import RULES, committed
from tests.challenged.loose import loosely_listed, trace_of
from tests.challenged.test_checking import Desk, checking
from tests.challenged.test_checking_steps import NEED, SPEC_OF_STEPS, count
from tests.node.market_place import HARDWARE
from tests.protocol.deals import NOW

WATCHER = Address(b"\x77" * 20)
APPETITE = Appetite(
    sample_ppm=Ppm(1_000_000),
    max_bonds_wei=Wei(10**20),
    min_price_wei=Wei(0),
    classes=frozenset(VerificationClass),
    max_steps=0,
    is_dry=False,
    min_sources=1,
)


@dataclass(slots=True)
class Begun:
    """As much of an agent as takes challenges."""

    contests: dict[str, Contest] = field(default_factory=dict[str, Contest])
    challenges_open: int = 0
    """Those of anybody about the deal, as the chain says."""

    async def challenge(self, key: str, event: ChallengeWanted, admit: Callable[[], bool], market: Address) -> bool:
        await trio.lowlevel.checkpoint()
        if admit():
            self.contests[key] = event.contest
        return key in self.contests

    def open_deals(self) -> tuple[object, ...]:
        return ()

    async def count_open(self) -> int:
        await trio.lowlevel.checkpoint()
        return self.challenges_open


@asynccontextmanager
async def disputing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[tuple[Desk, Disputing, Begun]]:
    """A watcher whose only endpoint agrees with itself."""

    async def one(_: Rpc, market: Address, deal_id: DealId) -> int:
        await trio.lowlevel.checkpoint()
        return 1

    monkeypatch.setattr(disputing_of, "agreeing_endpoints", one)
    deal_of = committed(
        folder, SPEC_OF_STEPS, count, step_limit=4, resources=NEED, rules=RULES, hardware_class=HARDWARE
    )
    async with checking(folder, count, deal_of=deal_of) as desk:
        begun = Begun()
        agent, rpc = cast(Agent, begun), cast(Rpc, None)
        disputes = Disputing(
            agent,
            desk.checker,
            rpc,
            WATCHER,
            bond_wei=lambda *_: Wei(1),
            open_challenges=lambda *_: begun.count_open(),
        )
        yield desk, disputes, begun


async def test_bytes_that_can_be_had_are_no_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patient_clock: MockClock
) -> None:
    async with disputing(tmp_path, monkeypatch) as (desk, disputes, begun):
        for step in range(4):
            assert (await disputes.dispute_data(desk.deal.deal, step, APPETITE))[0] is None
        assert not begun.contests


async def test_a_state_that_nobody_hands_over_is_disputed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patient_clock: MockClock
) -> None:
    async with disputing(tmp_path, monkeypatch) as (desk, disputes, begun):
        trace = await desk.checker.trace_of(desk.deal.deal)
        assert trace.listed is not None
        gone = trace.listed.manifest(2)
        assert gone is not None
        desk.deal.blobs.path(gone).unlink()
        with pytest.raises(StateMissing, match="after step 1 cannot be had"):
            await desk.checker.check_step(trace, 2)
        key, reason = await disputes.dispute_whatever(desk.deal.deal, 2, APPETITE)
        assert key is not None, reason
        contest = begun.contests[key]
        assert (contest.kind, contest.step, contest.claimed.leaf) == (Kind.DATA, 1, bytes(32))


async def test_a_result_that_nobody_lists_is_disputed_by_its_last_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patient_clock: MockClock
) -> None:
    async with disputing(tmp_path, monkeypatch) as (desk, disputes, begun):
        desk.deal.lie(lambda told: replace(told, manifest=cid_of(b"what nobody has")))
        with pytest.raises(ResultMissing) as missing:
            await desk.checker.trace_of(desk.deal.deal)
        assert missing.value.step == 3
        key, reason = await disputes.dispute_whatever(desk.deal.deal, 0, APPETITE)
        assert key is not None, reason
        assert (begun.contests[key].kind, begun.contests[key].step) == (Kind.DATA, 3)


async def test_each_challenge_that_is_open_doubles_the_bond_that_the_budget_must_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patient_clock: MockClock
) -> None:
    async with disputing(tmp_path, monkeypatch) as (desk, disputes, begun):
        desk.deal.lie(lambda told: replace(told, manifest=cid_of(b"what nobody has")))
        begun.challenges_open = 3
        little = replace(APPETITE, max_bonds_wei=Wei(7))
        assert await disputes.dispute_whatever(desk.deal.deal, 0, little) == (None, "the budget for bonds is used up")
        enough = replace(APPETITE, max_bonds_wei=Wei(8))
        assert (await disputes.dispute_whatever(desk.deal.deal, 0, enough))[0] is not None


async def test_a_leaf_that_failed_in_the_middle_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with disputing(tmp_path, monkeypatch) as (desk, disputes, begun):
        told = await _forged(desk, monkeypatch)
        with pytest.raises(LeafForbidden) as wrong:
            await desk.checker.trace_of(desk.deal.deal)
        assert wrong.value.leaf.position == 2
        assert (await disputes.expose(desk.deal.deal, 1, APPETITE))[0] is None
        key, reason = await disputes.expose(desk.deal.deal, 2, APPETITE)
        assert key is not None, reason
        contest = begun.contests[key]
        assert (contest.kind, contest.step) == (Kind.SPEC, 2)
        assert contest.shown is not None
        assert (contest.shown.exit_code, contest.shown.done, contest.shown.index) == (1, False, 2)
        assert traces.root_from_proof(contest.claimed.leaf, 2, contest.claimed.proof) == told.trace_root


async def test_a_result_that_never_came_is_said_to_be_missing_with_a_bond(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disputing(tmp_path, monkeypatch) as (desk, disputes, begun):
        evidence = (await desk.checker.trace_of(desk.deal.deal)).found.evidence
        missing = _said_to_be_missing(evidence)
        key, reason = await disputes.dispute_missing(missing, evidence.market, APPETITE)
        assert key is not None, reason
        assert begun.contests[key] == missing


async def test_a_result_that_never_came_for_a_leaf_that_none_may_commit_takes_no_bond(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disputing(tmp_path, monkeypatch) as (desk, disputes, begun):
        evidence = (await desk.checker.trace_of(desk.deal.deal)).found.evidence
        missing = _said_to_be_missing(evidence)
        await _forged(desk, monkeypatch)
        key, reason = await disputes.dispute_missing(missing, evidence.market, APPETITE)
        assert key is not None, reason
        assert [contest.kind for contest in begun.contests.values()] == [Kind.SPEC]


def _said_to_be_missing(evidence: Evidence) -> Contest:
    """What a requester says of a result that it could not fetch."""
    word = Digest(b"\x05" * 32)
    return Contest(papers_of(evidence), Kind.DATA, 2, Claimed(), word, word, WATCHER, UnixTime(NOW + 60), "missing")


async def _forged(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Evidence:
    """The evidence of a deal whose provider has committed to a leaf that says its step has failed."""
    trace = await desk.checker.trace_of(desk.deal.deal)
    assert trace.listed is not None
    evidence, honest = trace.found.evidence, list(trace.leaves)
    leaves = [*honest[:2], replace(honest[2], exit_code=1), *honest[3:]]
    listed = loosely_listed(evidence.deal_id, leaves, [trace.listed.manifest(at) for at in range(len(leaves))])
    cid = desk.deal.watcher.blobs.put_bytes(encoding.encode(listed), reason="evidence:x", until=UnixTime(NOW + 60))
    told = replace(evidence, trace_root=traces.trace_root(trace_of(listed)), leaf_list=cid)
    monkeypatch.setattr(desk.checker._finder, "fetch_evidence", _found(replace(trace.found, evidence=told)))
    return told


def _found(found: Found) -> Callable[[DealId], Awaitable[Found]]:
    async def fetch(_: DealId) -> Found:
        await trio.lowlevel.checkpoint()
        return found

    return fetch
