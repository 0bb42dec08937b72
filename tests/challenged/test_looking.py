"""What one look at a committed result comes to: nothing, or the challenge that fits what is wrong with it."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from capanode.node.chain.clock import ChainClock
from capanode.node.challenged.committed_trace import LeafForbidden, LeavesWithheld
from capanode.node.challenged.evidence import Found
from capanode.node.challenged.watching import Costs, Watching
from capanode.node.storage.cid import cid_of
from capanode.proofs import trace as traces
from capanode.proofs.leaf_list import ProvedLeaf
from capanode.protocol.cases import Kind
from capanode.protocol.faults import Refused
from capanode.protocol.ids import Address, Wei
from capanode.protocol.judging import VerificationClass
from tests.challenged.committed import WINDOW_ENDS_AT
from tests.challenged.test_checking import Desk
from tests.challenged.test_disputing import APPETITE, WATCHER, Begun, disputing
from tests.protocol.deals import NOW

BOND_WEI, GAS_WEI = Wei(5), Wei(3)
COSTS = Costs(lambda: GAS_WEI, lambda *_: Wei(2), lambda size_bytes: Wei(size_bytes))


@dataclass(frozen=True, slots=True)
class Tower:
    """A watcher, and what it looks at."""

    desk: Desk
    watching: Watching
    begun: Begun

    def shown(self, monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
        """Have whoever asks for the leaves told this."""

        async def trace_of(*_: object) -> None:
            await trio.lowlevel.checkpoint()
            raise fault

        monkeypatch.setattr(self.desk.checker, "trace_of", trace_of)

    async def found(self) -> Found:
        return (await self.desk.checker.trace_of(self.desk.deal.deal)).found


async def nobody() -> tuple[Address, ...]:
    await trio.lowlevel.checkpoint()
    return ()


@asynccontextmanager
async def tower(
    folder: Path, monkeypatch: pytest.MonkeyPatch, wallet: Address = WATCHER, now: Callable[[], float] = lambda: NOW
) -> AsyncGenerator[Tower]:
    folder.mkdir(exist_ok=True)
    async with disputing(folder, monkeypatch) as (desk, disputes, begun):
        watching = Watching(
            desk.checker,
            disputes,
            ChainClock(now),
            wallet,
            COSTS,
            bond_wei=lambda *_: BOND_WEI,
            named=lambda *_: nobody(),
        )
        yield Tower(desk, watching, begun)


async def test_looking_at_an_honest_result_costs_what_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with tower(tmp_path, monkeypatch) as here:
        finding = await here.watching.look(here.desk.deal.deal, APPETITE)
        assert (finding.verdict, finding.step, finding.challenge, finding.bond_wei) == ("holds", None, None, 0)
        assert finding.earned_wei == -(finding.cpu_wei + finding.pulls_wei) < 0
        assert not here.begun.contests


async def test_a_state_that_nobody_hands_over_is_challenged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patient_clock: MockClock
) -> None:
    async with tower(tmp_path, monkeypatch) as here:
        here.desk.deal.lie(lambda told: replace(told, manifest=cid_of(b"what nobody has")))
        finding = await here.watching.look(here.desk.deal.deal, APPETITE)
        assert (finding.verdict, finding.step, finding.bond_wei) == ("missing", 3, BOND_WEI)
        assert finding.challenge is not None
        assert here.begun.contests[finding.challenge].kind is Kind.DATA


async def test_a_dry_run_sends_nothing_and_tells_what_it_would_earn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patient_clock: MockClock
) -> None:
    async with tower(tmp_path, monkeypatch) as here:
        here.desk.deal.lie(lambda told: replace(told, manifest=cid_of(b"what nobody has")))
        finding = await here.watching.look(here.desk.deal.deal, replace(APPETITE, is_dry=True))
        assert (finding.challenge, finding.reason) == (None, "nothing is sent in a dry run")
        assert finding.bounty_wei > 0
        assert finding.earned_wei == finding.bounty_wei - GAS_WEI - finding.pulls_wei - finding.cpu_wei
        assert not here.begun.contests


async def test_a_leaf_that_speaks_against_itself_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with tower(tmp_path, monkeypatch) as here:
        trace = await here.desk.checker.trace_of(here.desk.deal.deal)
        whole = traces.Trace(tuple(traces.leaf_hash(here.desk.deal.deal, leaf) for leaf in trace.leaves))
        failed = replace(trace.leaves[2], exit_code=1)
        here.shown(monkeypatch, LeafForbidden(trace.found, ProvedLeaf(2, failed, traces.proof(whole, 2))))
        finding = await here.watching.look(here.desk.deal.deal, APPETITE)
        assert (finding.verdict, finding.step) == ("forbidden", 2)
        assert finding.challenge is not None
        assert here.begun.contests[finding.challenge].kind is Kind.SPEC


@pytest.mark.parametrize(
    ("most", "reason"), [(3, "all 4 steps would have to be"), (0, "there is nothing to challenge")]
)
async def test_withheld_leaves_are_demanded_where_all_steps_may_be_computed(
    most: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tower(tmp_path, monkeypatch) as here:
        here.shown(monkeypatch, LeavesWithheld(await here.found(), "nobody has the list"))
        finding = await here.watching.look(here.desk.deal.deal, replace(APPETITE, max_steps=most))
        assert (finding.verdict, finding.step, finding.challenge) == ("withheld", 0, None)
        assert reason in finding.reason, "the trace is right, so that nothing is staked on its leaves"


async def test_what_is_not_wanted_is_refused_whatever_is_wrong_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tower(tmp_path, monkeypatch) as here:
        found = await here.found()
        here.shown(monkeypatch, LeavesWithheld(found, "nobody has the list"))
        for unwanted, reason in (
            (replace(APPETITE, classes=frozenset({VerificationClass.TOLERANCE})), "the class exact is not watched"),
            (replace(APPETITE, min_price_wei=Wei(found.evidence.terms.price_wei + 1)), "it is worth less"),
        ):
            with pytest.raises(Refused, match=reason):
                await here.watching.look(here.desk.deal.deal, unwanted)
        assert not here.begun.contests
    own = found.evidence.terms.provider
    async with tower(tmp_path / "own", monkeypatch, wallet=own) as here:
        with pytest.raises(Refused, match="this node's own result"):
            await here.watching.look(here.desk.deal.deal, APPETITE)
    async with tower(tmp_path / "late", monkeypatch, now=lambda: WINDOW_ENDS_AT) as here:
        with pytest.raises(Refused, match="its window is over"):
            await here.watching.look(here.desk.deal.deal, APPETITE)
