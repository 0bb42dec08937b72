"""Audits by lot on a real chain: whoever earns by them begins them, and the drawn are paid whatever they find."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import cast

import pytest
import trio

from capanode.node.chain import court as courts
from capanode.node.chain.clock import ChainClock
from capanode.node.chain.orders import Orders
from capanode.node.challenged.briefs import claimed_of
from capanode.node.challenged.checking import Checker
from capanode.node.challenged.committed_trace import CommittedTrace
from capanode.node.challenged.evidence import BytesMissing
from capanode.node.challenged.lots import Lots, drawn_step, expected_wei
from capanode.node.challenged.tending import Brief, Tending
from capanode.proofs.trace import Trace
from capanode.protocol.cases import Case, CasePhase, Kind, Papers, Verdict, Vote, case_id_of
from capanode.protocol.ids import DealId, Digest, Wei
from capanode.protocol.phases import Phase
from tests.challenged.committed import RULES
from tests.challenged.courthouse import (
    ARBITERS,
    CLASS,
    CLOCKS,
    FEE,
    POOL,
    RIVAL,
    Courthouse,
    Node,
    courthouse,
    leaves,
    node_of,
    published,
    trace,
    vote,
)

STEPS = 4
ALWAYS, NEVER = 1_000_000, 1


@pytest.fixture
async def house(tmp_path: Path) -> AsyncGenerator[Courthouse]:
    with trio.fail_after(240):
        async with courthouse(tmp_path) as opened:
            yield opened


class Published:
    """As much of a checker as finds a deal whose leaves are published, if need be not at once."""

    def __init__(self, house: Courthouse, papers: Papers, *, asked_too_early: int = 0) -> None:
        self._house = house
        self._papers = papers
        self._left = asked_too_early

    async def trace_of(self, _: DealId) -> CommittedTrace:
        await trio.lowlevel.checkpoint()
        self._left -= 1
        if self._left >= 0:
            raise BytesMissing("Nobody hands over the evidence of the deal yet.")
        return published(self._house, self._papers, leaves(STEPS))


def lots(house: Courthouse, papers: Papers, gas_wei: int, *, asked_too_early: int = 0) -> Lots:
    """Those of the first arbiter."""
    me = ARBITERS[0].address
    return Lots(
        cast(Checker, Published(house, papers, asked_too_early=asked_too_early)),
        house.courts,
        ChainClock(lambda: 0.0),
        me,
        CLASS,
        0.0,
        gas_wei=lambda: Wei(gas_wei),
        orders=lambda _: Orders(house.senders[me], house.court.address, ()),
    )


def tending(house: Courthouse, node: Node, papers: Papers) -> Tending:
    """Of a node that has nothing to do with the deal, but that it may be drawn."""

    async def brief(case: Case) -> Brief:
        step = await drawn_step(house.rpc, case, papers) if case.awaits_lot else case.step
        return Brief(papers, claimed_of(published(house, papers, leaves(STEPS)), Kind.AUDIT, step))

    return node.tending(brief, draws_lots=True)


async def drawn(house: Courthouse, node: Node, papers: Papers) -> Case:
    """The audit, once its committee was drawn by that node."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tending(house, node, papers).run)
        filed = await node.case(papers.deal_id, lambda case: bool(case.committees))
        nursery.cancel_scope.cancel()
    return filed.case


async def nothing(_: DealId) -> Trace | None:
    await trio.lowlevel.checkpoint()
    return None


async def settle(house: Courthouse, node: Node, papers: Papers, case: Case) -> None:
    """Count, wait, settle and pay, as anybody may."""
    brief = Brief(papers, claimed_of(published(house, papers, leaves(STEPS)), Kind.AUDIT, case.step))
    to, committee = house.court.address, case.committee
    assert committee is not None
    await house.send(ARBITERS[0], "resolve", to, courts.resolve(papers, case, brief.claimed))
    await house.pass_(CLOCKS.appeal_time + 1)
    await house.send(ARBITERS[0], "settle", to, courts.settle(papers, case))
    paying = courts.pay_committee(committee.pool, case.case_id, committee.number)
    await house.send(ARBITERS[0], "pay", to, paying)


async def fees_wei(house: Courthouse, case: Case) -> list[Wei]:
    pools, committee = house.courts.of(house.at).pools, case.committee
    assert committee is not None
    return [(await pools.arbiter(POOL, address)).fees_wei for address in committee.arbiters]


@pytest.mark.parametrize(
    ("found", "verdict", "phase"),
    [(Vote.UPHOLD, Verdict.UPHELD, Phase.COMMITTED), (Vote.OVERTURN, Verdict.OVERTURNED, Phase.OVERTURNED)],
)
async def test_the_drawn_are_paid_whatever_they_find(
    house: Courthouse, tmp_path: Path, found: Vote, verdict: Verdict, phase: Phase
) -> None:
    papers = await house.commit(STEPS, trace(STEPS), audit_ppm=ALWAYS)
    assert await lots(house, papers, 0).consider(papers.deal_id)
    assert not await lots(house, papers, 0).consider(papers.deal_id), "once for a deal"
    async with node_of(house, tmp_path / "node", RIVAL, nothing) as node:
        case = await drawn(house, node, papers)
        assert (case.kind, case.phase) == (Kind.AUDIT, CasePhase.VOTING)
        assert 0 <= case.step < STEPS
        committee = case.committee
        assert committee is not None
        assert committee.claimed_leaf == trace(STEPS)(papers.deal_id).leaves[case.step + 1]
        leaf = committee.claimed_leaf if found is Vote.UPHOLD else Digest(b"\x77" * 32)
        await vote(house, case, found, leaf)
        await settle(house, node, papers, case)
        closed = (await node.case(papers.deal_id, lambda case: case.is_closed)).case
    assert closed.verdict is verdict
    assert await fees_wei(house, case) == [FEE] * 3
    assert await house.phase(papers.deal_id) is phase


async def test_a_result_that_its_provider_does_not_hand_over_yet_is_audited_a_moment_later(house: Courthouse) -> None:
    papers = await house.commit(STEPS, trace(STEPS), audit_ppm=ALWAYS)
    send, receive = trio.open_memory_channel[DealId](1)
    await send.send(papers.deal_id)
    await send.aclose()
    await lots(house, papers, 0, asked_too_early=1).run(receive)
    case_id = case_id_of(papers.deal_id, Kind.AUDIT, 0, 0)
    assert (await house.court.case(case_id)).phase is CasePhase.DRAWING


async def test_a_lot_that_falls_elsewhere_ends_the_audit(house: Courthouse, tmp_path: Path) -> None:
    papers = await house.commit(STEPS, trace(STEPS), audit_ppm=NEVER)
    # One in a million is audited: what it is worth does not pay for any gas.
    assert not await lots(house, papers, int(FEE) // 1000).consider(papers.deal_id)
    assert await lots(house, papers, 0).consider(papers.deal_id)
    async with node_of(house, tmp_path / "node", RIVAL, nothing) as node, trio.open_nursery() as nursery:
        nursery.start_soon(tending(house, node, papers).run)
        case = (await node.case(papers.deal_id, lambda case: case.is_closed)).case
        nursery.cancel_scope.cancel()
    assert case.verdict is Verdict.LAPSED
    assert await house.phase(papers.deal_id) is Phase.COMMITTED


def test_an_arbiter_expects_its_share_of_the_pool() -> None:
    assert expected_wei(RULES, Wei(1), Wei(4)) == 3 * RULES.arbiter_fee_wei * RULES.audit_rate_ppm // 1_000_000 // 4
    assert expected_wei(RULES, Wei(0), Wei(0)) == 0
