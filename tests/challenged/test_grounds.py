"""What else a result may be disputed for, on a real chain: a leaf that speaks against itself, and missing bytes."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from capanode.node.chain import court as courts
from capanode.proofs import trace as traces
from capanode.proofs.trace import Trace, leaf_hash
from capanode.protocol import challenger
from capanode.protocol.cases import CasePhase, Claimed, Kind, Papers, ShownLeaf
from capanode.protocol.events import ChallengeWanted, Contest
from capanode.protocol.ids import DealId, Digest, UnixTime
from capanode.protocol.phases import Phase
from tests.challenged.courthouse import (
    ARBITERS,
    CHALLENGER,
    CLOCKS,
    WINDOW_S,
    Courthouse,
    courthouse,
    leaves,
    node_of,
    trace,
)

STEPS, WRONG = 4, 2
KEY = "challenge"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncGenerator[Courthouse]:
    with trio.fail_after(240):
        async with courthouse(tmp_path) as opened:
            yield opened


def failed_on_the_way(deal_id: DealId) -> Trace:
    """A trace that goes on after a step that failed."""
    made = [replace(leaf, exit_code=int(leaf.index == WRONG)) for leaf in leaves(STEPS)]
    return Trace(tuple(leaf_hash(deal_id, leaf) for leaf in made))


async def nothing(_: DealId) -> Trace | None:
    await trio.lowlevel.checkpoint()
    return None


async def contest(house: Courthouse, papers: Papers, kind: Kind, step: int) -> Contest:
    return Contest(
        papers=papers,
        kind=kind,
        step=step,
        claimed=Claimed(),
        answer=Digest(b"\x07" * 32),
        salt=Digest(b"\x08" * 32),
        challenger=CHALLENGER.address,
        window_ends_at=UnixTime(await house.now() + WINDOW_S),
        reason="it cannot be",
    )


async def exposure(house: Courthouse, papers: Papers) -> Contest:
    whole = failed_on_the_way(papers.deal_id)
    said = leaves(STEPS)[WRONG]
    shown = ShownLeaf(said.index, said.state_root, 1, said.stdout_root, said.done)
    claimed = Claimed(whole.leaves[WRONG], traces.proof(whole, WRONG))
    return replace(await contest(house, papers, Kind.SPEC, WRONG), claimed=claimed, shown=shown)


async def test_a_leaf_that_says_what_none_may_ends_the_deal_at_once(house: Courthouse, tmp_path: Path) -> None:
    papers = await house.commit(STEPS, failed_on_the_way)
    before = await house.free_wei(CHALLENGER)
    async with node_of(house, tmp_path / "challenger", CHALLENGER, nothing) as node:
        wanted = ChallengeWanted(await exposure(house, papers))
        assert await node.agent.challenge(KEY, wanted, lambda: True, house.at)
        await node.reach(KEY, challenger.Exposed)
    assert await house.phase(papers.deal_id) is Phase.OVERTURNED
    assert await house.free_wei(CHALLENGER) > before + CLOCKS.gas_allowance, "no bond, gas and a bounty"


async def test_whoever_is_overtaken_loses_nothing(house: Courthouse, tmp_path: Path) -> None:
    """The bounty goes to the first, and what is shown can be copied on its way: so nothing is locked for it."""
    papers = await house.commit(STEPS, failed_on_the_way)
    before = await house.free_wei(CHALLENGER)
    said = await exposure(house, papers)
    assert said.shown is not None
    data = courts.challenge_spec(papers, WRONG, said.shown, said.claimed.proof)
    await house.send(ARBITERS[0], "overtakes", house.court.address, data)
    async with node_of(house, tmp_path / "challenger", CHALLENGER, nothing) as node:
        assert await node.agent.challenge(KEY, ChallengeWanted(said), lambda: True, house.at)
        await node.reach(KEY, challenger.Withdrawn, challenger.Exposed)
    assert await house.free_wei(CHALLENGER) == before


async def test_missing_bytes_are_asked_for_by_drawn_arbiters(house: Courthouse, tmp_path: Path) -> None:
    papers = await house.commit(STEPS, trace(STEPS))
    async with node_of(house, tmp_path / "challenger", CHALLENGER, nothing) as node:
        wanted = ChallengeWanted(await contest(house, papers, Kind.DATA, 1))
        assert await node.agent.challenge(KEY, wanted, lambda: True, house.at)
        await node.reach(KEY, challenger.Waiting)
        filed = await node.case(papers.deal_id, lambda case: bool(case.committees))
    assert (filed.case.phase, filed.case.kind, filed.case.step) == (CasePhase.VOTING, Kind.DATA, 1)
    committee = filed.case.committee
    assert committee is not None
    assert len(set(committee.arbiters)) == 3
    assert set(committee.arbiters) <= {arbiter.address for arbiter in ARBITERS}
    assert committee.claimed_leaf == bytes(32)
