"""A forced reveal on a real chain: whoever withheld leaves shows them or loses, and the first wrong one is named."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
import trio

from capanode.node.agent import Agent
from capanode.node.chain.orders import Orders
from capanode.node.challenged.answering import Answering
from capanode.node.challenged.committed_trace import CommittedTrace
from capanode.node.journal import Side
from capanode.proofs.trace import Trace, trace_root
from capanode.protocol import challenger
from capanode.protocol.cases import CasePhase, Claimed, Kind, Papers, Verdict
from capanode.protocol.events import ChallengeWanted, Contest
from capanode.protocol.ids import Address, DealId, Digest, UnixTime
from capanode.protocol.phases import Phase
from tests.challenged.courthouse import (
    CHALLENGER,
    CLOCKS,
    PROVIDER,
    WINDOW_S,
    Courthouse,
    Node,
    courthouse,
    leaves,
    node_of,
    published,
    trace,
)

STEPS = 32
WRONG = 20
"""The first leaf that the cheating provider has forged: step 19 does not lead to it."""

FORGED = tuple(range(WRONG, STEPS))
KEY = "challenge"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncGenerator[Courthouse]:
    with trio.fail_after(240):
        async with courthouse(tmp_path) as opened:
            yield opened


async def ours(deal_id: DealId) -> Trace | None:
    """What a trace comes to on an honest machine."""
    await trio.lowlevel.checkpoint()
    return trace(STEPS)(deal_id)


async def demand(house: Courthouse, node: Node, papers: Papers) -> None:
    """Have the challenger's node demand the leaves."""
    contest = Contest(
        papers=papers,
        kind=Kind.WITHHELD,
        step=0,
        claimed=Claimed(),
        answer=trace_root(trace(STEPS)(papers.deal_id)),
        salt=Digest(b"\x08" * 32),
        challenger=CHALLENGER.address,
        window_ends_at=UnixTime(await house.now() + WINDOW_S),
        reason="the leaves cannot be had",
    )
    assert await node.agent.challenge(KEY, ChallengeWanted(contest), lambda: True, house.at)


@dataclass(frozen=True, slots=True)
class Own:
    """As much of the provider's agent as its answers need: the deals that are its own."""

    deal: DealId

    def by_deal_id(self, side: Side, deal_id: DealId) -> object | None:
        return self if (side, deal_id) == (Side.PROVIDER, self.deal) else None


async def answer(house: Courthouse, node: Node, papers: Papers, wrong: Sequence[int]) -> None:
    """Answer as the provider's node does, until cancelled."""

    async def committed(_: DealId) -> CommittedTrace:
        await trio.lowlevel.checkpoint()
        return published(house, papers, leaves(STEPS, wrong))

    def orders(_: Address) -> Orders:
        return Orders(house.senders[PROVIDER.address], house.court.address, ())

    await Answering(cast(Agent, Own(papers.deal_id)), node.cases, committed, orders).run()


async def test_a_provider_that_cheated_and_answers_is_led_to_its_first_wrong_step(
    house: Courthouse, tmp_path: Path
) -> None:
    papers = await house.commit(STEPS, trace(STEPS, FORGED))
    async with node_of(house, tmp_path / "challenger", CHALLENGER, ours) as node, trio.open_nursery() as nursery:
        nursery.start_soon(answer, house, node, papers, FORGED)
        await demand(house, node, papers)
        waiting = await node.reach(KEY, challenger.Waiting)
        assert (waiting.contest.kind, waiting.contest.step) == (Kind.STEP, WRONG - 1)
        assert waiting.contest.answer == trace(STEPS)(papers.deal_id).leaves[WRONG]
        filed = await node.case(papers.deal_id, lambda case: case.kind is Kind.STEP and bool(case.committees))
        assert filed.case.phase is CasePhase.VOTING
        committee = filed.case.committee
        assert committee is not None
        assert committee.claimed_leaf == trace(STEPS, FORGED)(papers.deal_id).leaves[WRONG]
        assert (await house.market.slot(papers.deal_id)).open_challenges == 1, "the bond has gone on"
        nursery.cancel_scope.cancel()


async def test_of_a_provider_that_was_honest_and_answers_no_step_can_be_named(
    house: Courthouse, tmp_path: Path
) -> None:
    papers = await house.commit(STEPS, trace(STEPS))
    before = await house.free_wei(PROVIDER)
    async with node_of(house, tmp_path / "challenger", CHALLENGER, ours) as node, trio.open_nursery() as nursery:
        nursery.start_soon(answer, house, node, papers, ())
        nursery.start_soon(node.tending().run)
        await demand(house, node, papers)
        lapsing = await node.reach(KEY, challenger.Lapsing)
        assert "is what was computed here" in lapsing.reason
        await house.pass_(CLOCKS.answer_time + 1)
        lost = await node.reach(KEY, challenger.Lost)
        assert lost.settled.verdict is Verdict.LAPSED
        assert await house.phase(papers.deal_id) is Phase.COMMITTED
        assert await house.free_wei(PROVIDER) - before == CLOCKS.gas_allowance, "its answer was paid for"
        nursery.cancel_scope.cancel()


async def test_a_provider_that_says_nothing_loses_the_deal(house: Courthouse, tmp_path: Path) -> None:
    papers = await house.commit(STEPS, trace(STEPS))
    before = await house.free_wei(CHALLENGER)
    async with node_of(house, tmp_path / "challenger", CHALLENGER, ours) as node, trio.open_nursery() as nursery:
        nursery.start_soon(node.tending().run)
        await demand(house, node, papers)
        await node.reach(KEY, challenger.Asked)
        await house.pass_(CLOCKS.answer_time + 1)
        won = await node.reach(KEY, challenger.Won)
        assert won.settled.verdict is Verdict.OVERTURNED
        assert await house.phase(papers.deal_id) is Phase.OVERTURNED
        assert await house.free_wei(CHALLENGER) == before + won.settled.bounty_wei + CLOCKS.gas_allowance
        nursery.cancel_scope.cancel()


async def test_a_challenger_that_is_killed_at_every_move_goes_on_where_it_was(
    house: Courthouse, tmp_path: Path
) -> None:
    papers = await house.commit(STEPS, trace(STEPS, FORGED))
    folder, passed = tmp_path / "challenger", list[str]()
    last: challenger.State | None = None
    async with node_of(house, tmp_path / "bystander", PROVIDER, ours) as bystander, trio.open_nursery() as nursery:
        nursery.start_soon(answer, house, bystander, papers, FORGED)
        while "Waiting" not in passed:
            async with node_of(house, folder, CHALLENGER, ours) as node:
                if not passed:
                    await demand(house, node, papers)
                stored = await node.next_phase(KEY, passed[-1] if passed else "Planning")
                assert isinstance(stored.state, challenger.State)
                last = stored.state
                passed.append(type(last).__name__)
        nursery.cancel_scope.cancel()
    assert isinstance(last, challenger.Waiting)
    assert last.contest.step == WRONG - 1
    assert (await house.market.slot(papers.deal_id)).open_challenges == 1
