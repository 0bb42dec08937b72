"""An appeal on a real chain changes what a bought committee has said; it is made only where it is worth it."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import trio

from capanode.contracts_abi import bindings
from capanode.node.agent import Agent
from capanode.node.chain import court as courts
from capanode.node.chain.clock import ChainClock
from capanode.node.chain.wire import hexadecimal, read_bytes, read_list, read_object, read_quantity
from capanode.node.challenged.appeals import Appeals, Limits, cost_of
from capanode.node.challenged.checking import Checker, StepCheck
from capanode.node.challenged.checking import Verdict as Found
from capanode.node.challenged.committed_trace import CommittedTrace
from capanode.proofs import trace as traces
from capanode.proofs.trace import Trace
from capanode.protocol import challenger
from capanode.protocol.cases import Case, CasePhase, Claimed, Kind, Papers, Verdict, Vote, fold
from capanode.protocol.events import ChallengeWanted, Contest
from capanode.protocol.ids import DealId, Digest, UnixTime, Wei
from capanode.protocol.phases import Phase
from tests.challenged.courthouse import (
    ARBITERS,
    CHALLENGER,
    CLOCKS,
    FEE,
    PRICE,
    WINDOW_S,
    Courthouse,
    Node,
    courthouse,
    leaves,
    node_of,
    published,
    trace,
    vote,
)
from tests.protocol.disputes import DRAWN, OPENED, PAPERS, RULES, SHOWN

STEPS, WRONG = 4, 2
KEY = "challenge"
ENOUGH = Limits(Wei(10**20), Wei(10**20))
NEVER = Limits(Wei(0), Wei(0))


@pytest.fixture
async def house(tmp_path: Path) -> AsyncGenerator[Courthouse]:
    with trio.fail_after(240):
        async with courthouse(tmp_path, arbiters=9) as opened:
            yield opened


async def nothing(_: DealId) -> Trace | None:
    await trio.lowlevel.checkpoint()
    return None


def step_contest(papers: Papers, until: int) -> Contest:
    theirs, ours = (trace(STEPS, wrong)(papers.deal_id) for wrong in ((WRONG, 3), ()))
    return Contest(
        papers=papers,
        kind=Kind.STEP,
        step=WRONG - 1,
        claimed=Claimed(theirs.leaves[WRONG], traces.proof(theirs, WRONG)),
        answer=ours.leaves[WRONG],
        salt=Digest(b"\x08" * 32),
        challenger=CHALLENGER.address,
        window_ends_at=UnixTime(until),
        reason="another leaf",
    )


def appealing(house: Courthouse, node: Node, limits: Limits) -> Appeals:
    return Appeals(
        node.agent,
        node.cases,
        cast(Checker, None),
        ChainClock(lambda: 0.0),
        limits,
        bond_wei=lambda *_: Wei(3 * FEE),
        orders=node.orders,
    )


async def judged(house: Courthouse, node: Node, papers: Papers, round_number: int, found: Vote, leaf: Digest) -> Case:
    """Have a committee that was drawn vote, and count it."""
    filed = await node.case(papers.deal_id, lambda case: bool(case.committee and case.committee.number == round_number))
    contest = step_contest(papers, 0)
    await vote(house, filed.case, found, leaf)
    data = courts.resolve(papers, filed.case, contest.claimed)
    await house.send(ARBITERS[0], f"resolve-{round_number}", house.court.address, data)
    return filed.case


async def challenged(house: Courthouse, node: Node) -> Papers:
    papers = await house.commit(STEPS, trace(STEPS, (WRONG, 3)))
    wanted = ChallengeWanted(step_contest(papers, await house.now() + WINDOW_S))
    assert await node.agent.challenge(KEY, wanted, lambda: True, house.at)
    await node.reach(KEY, challenger.Waiting)
    return papers


async def test_an_appeal_overturns_what_a_bought_committee_upheld(house: Courthouse, tmp_path: Path) -> None:
    before = await house.free_wei(CHALLENGER)
    async with node_of(house, tmp_path / "challenger", CHALLENGER, nothing) as node:
        papers = await challenged(house, node)
        contest = step_contest(papers, 0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.tending().run)
            await judged(house, node, papers, 0, Vote.UPHOLD, contest.claimed.leaf)
            nursery.start_soon(appealing(house, node, ENOUGH).run)
            larger = await judged(house, node, papers, 1, Vote.OVERTURN, contest.answer)
            committee = larger.committee
            assert committee is not None
            assert len(committee.arbiters) == 7
            await house.pass_(CLOCKS.appeal_time + 1)
            won = await node.reach(KEY, challenger.Won)
            nursery.cancel_scope.cancel()
    assert won.settled.verdict is Verdict.OVERTURNED
    assert await house.phase(papers.deal_id) is Phase.OVERTURNED
    assert await house.free_wei(CHALLENGER) > before, "what the appeal cost came back"


async def test_an_appeal_that_a_reorganisation_puts_before_the_verdict_is_made_again(
    house: Courthouse, tmp_path: Path
) -> None:
    async with node_of(house, tmp_path / "challenger", CHALLENGER, nothing) as node:
        papers = await challenged(house, node)
        contest = step_contest(papers, 0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.tending().run)
            nursery.start_soon(appealing(house, node, ENOUGH).run)
            await judged(house, node, papers, 0, Vote.UPHOLD, contest.claimed.leaf)
            await node.case(papers.deal_id, lambda case: case.phase is CasePhase.DRAWING)
            await verdict_after_appeal(house)
            with trio.fail_after(60):
                await judged(house, node, papers, 1, Vote.OVERTURN, contest.answer)
            nursery.cancel_scope.cancel()


async def verdict_after_appeal(house: Courthouse) -> None:
    """Other blocks, in which the appeal comes first and has no effect, and the verdict in the last one."""
    rpc, head = house.rpc, read_quantity(await house.rpc.call("eth_blockNumber"))
    found = dict[bytes, tuple[int, str]]()
    query = {"address": hexadecimal(house.court.address), "fromBlock": "0x0", "toBlock": "latest"}
    for row in map(read_object, read_list(await rpc.call("eth_getLogs", query))):
        raw = await rpc.call("eth_getRawTransactionByHash", hexadecimal(read_bytes(row["transactionHash"])))
        assert isinstance(raw, str)
        found[read_bytes(read_list(row["topics"])[0])] = read_quantity(row["blockNumber"]), raw
    (decided_at, verdict), (_, appeal) = found[bindings.Resolved.TOPIC], found[bindings.Appealed.TOPIC]
    depth = head - decided_at + 1
    await rpc.call_once("anvil_reorg", depth, [[appeal, 0], [verdict, depth - 1]])


async def test_a_verdict_is_left_alone_where_appeals_are_not_wanted(house: Courthouse, tmp_path: Path) -> None:
    async with node_of(house, tmp_path / "challenger", CHALLENGER, nothing) as node:
        papers = await challenged(house, node)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.tending().run)
            nursery.start_soon(appealing(house, node, NEVER).run)
            await judged(house, node, papers, 0, Vote.UPHOLD, step_contest(papers, 0).claimed.leaf)
            await node.case(papers.deal_id, lambda case: bool(case.appeal_by))
            await house.pass_(CLOCKS.appeal_time + 1)
            lost = await node.reach(KEY, challenger.Lost)
            nursery.cancel_scope.cancel()
    assert lost.settled.verdict is Verdict.UPHELD


async def test_a_challenger_that_was_right_has_nothing_to_appeal(house: Courthouse, tmp_path: Path) -> None:
    async with node_of(house, tmp_path / "challenger", CHALLENGER, nothing) as node:
        papers = await challenged(house, node)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.tending().run)
            nursery.start_soon(appealing(house, node, ENOUGH).run)
            await judged(house, node, papers, 0, Vote.OVERTURN, step_contest(papers, 0).answer)
            await node.case(papers.deal_id, lambda case: bool(case.appeal_by))
            await house.pass_(CLOCKS.appeal_time + 1)
            await node.reach(KEY, challenger.Won)
            nursery.cancel_scope.cancel()
        filed = await node.case(papers.deal_id, lambda case: case.is_closed)
        assert len(filed.case.committees) == 1


class Sure:
    """As much of a checker as a provider asks about its own step."""

    def __init__(self, trace: CommittedTrace, verdicts: Sequence[Found]) -> None:
        self._trace = trace
        self._verdicts = list(verdicts)

    async def trace_of(self, _: DealId) -> CommittedTrace:
        await trio.lowlevel.checkpoint()
        return self._trace

    async def check_step(self, trace: CommittedTrace, index: int) -> StepCheck:
        await trio.lowlevel.checkpoint()
        leaf = trace.after(index)
        return StepCheck(index, self._verdicts.pop(0), leaf, leaf, (), ())


class Own:
    """As much of an agent as says that a deal is its provider's."""

    def by_deal_id(self, *_: object) -> object:
        return self


@pytest.mark.parametrize(
    ("verdicts", "is_sure"),
    [((Found.HOLDS, Found.HOLDS), True), ((Found.DIFFERS,), False), ((Found.HOLDS, Found.UNCLEAR), False)],
)
async def test_a_provider_appeals_for_a_step_that_comes_out_as_committed_twice(
    house: Courthouse, tmp_path: Path, verdicts: tuple[Found, ...], is_sure: bool
) -> None:
    papers = await house.commit(STEPS, trace(STEPS))
    async with node_of(house, tmp_path / "challenger", CHALLENGER, nothing) as node:
        wanted = ChallengeWanted(step_contest(papers, await house.now() + WINDOW_S))
        assert await node.agent.challenge(KEY, wanted, lambda: True, house.at)
        case = (await node.case(papers.deal_id, lambda case: case.kind is Kind.STEP)).case
    lost = replace(case, verdict=Verdict.OVERTURNED)
    checker = cast(Checker, Sure(published(house, papers, leaves(STEPS)), verdicts))
    appeals = Appeals(
        cast(Agent, Own()),
        node.cases,
        checker,
        ChainClock(lambda: 0.0),
        ENOUGH,
        bond_wei=lambda *_: Wei(0),
        orders=node.orders,
    )
    stake = await appeals._as_provider(lost)
    assert (stake is not None) == is_sure
    if stake is not None:
        assert stake.value_wei == PRICE + papers.terms.fraud_bond_wei
    assert await appeals._as_provider(replace(case, verdict=Verdict.UPHELD)) is None


def test_the_ladder_of_committees_ends() -> None:
    case = fold((OPENED, SHOWN, DRAWN))
    assert case is not None
    assert cost_of(case, PAPERS) == 7 * RULES.arbiter_fee_wei
    for seats, cost in ((7, 15), (15, None)):
        larger = replace(case, committees=(replace(case.committees[0], arbiters=(ARBITERS[0].address,) * seats),))
        assert cost_of(larger, PAPERS) == (cost and cost * RULES.arbiter_fee_wei)
    assert cost_of(case, replace(PAPERS, rules=replace(RULES, quorum=2))) is None
