"""Leaves that a provider does not publish: said by a check, and forced where the trace leads elsewhere, never else."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from capanode.node.challenged.committed_trace import LeavesWithheld
from capanode.node.challenged.evidence import Found
from capanode.node.challenged.retracing import is_as_committed
from capanode.node.executors.port import RunRequest
from capanode.node.storage.cid import cid_of, digest_of
from capanode.proofs import leaf_list
from capanode.proofs.evidence import Evidence, slot_hash
from capanode.proofs.leaf_list import LeafList
from capanode.protocol import encoding
from capanode.protocol.faults import Refused
from capanode.protocol.ids import Cid, Digest, UnixTime
from capanode.protocol.records import Steps
from tests.challenged.committed import RULES, Committed, committed
from tests.challenged.test_checking import Desk, checking
from tests.challenged.test_checking_steps import SPEC_OF_STEPS, count, number_in, skip
from tests.fakes.fake_executor import Play, Played
from tests.node.market_place import HARDWARE
from tests.protocol.deals import NOW

COUNT = 18
NEED = replace(SPEC_OF_STEPS.resources, timeout_s=10 * COUNT, disk_bytes=2**20 * COUNT)
SPEC = replace(SPEC_OF_STEPS, resources=NEED, steps=Steps(limit=COUNT, timeout_s=10, state_bytes=2**20))


@asynccontextmanager
async def withholding(
    folder: Path, published: Callable[[bytes], bytes | None], theirs: Play = count, ours: Play = count
) -> AsyncGenerator[Desk]:
    """A provider that commits to another list than its own, or to one that it does not hand out."""
    deal_of = committed(folder, SPEC, theirs, step_limit=COUNT, resources=NEED, rules=RULES, hardware_class=HARDWARE)
    async with checking(folder, ours, deal_of=deal_of) as desk:
        await _publish(desk.deal, published)
        yield desk


async def _publish(deal: Committed, published: Callable[[bytes], bytes | None]) -> None:
    evidence = await deal.own.find(deal.deal)
    assert evidence is not None
    assert evidence.leaf_list is not None
    data = published(deal.blobs.path(evidence.leaf_list).read_bytes())
    if data is None:
        cid = cid_of(b"what nobody has")
    else:
        cid = deal.blobs.put_bytes(data, reason="evidence:x", until=UnixTime(NOW + 60))
    deal.lie(lambda told: _with_list(told, cid))
    deal.market.bound = slot_hash(_with_list(evidence, cid))


def _with_list(evidence: Evidence, cid: Cid) -> Evidence:
    commitment = replace(evidence.commitment, leaves_cid=Digest(digest_of(cid)))
    return replace(evidence, leaf_list=cid, commitment=commitment)


def as_it_is(data: bytes) -> bytes:
    return data


def missing(_: bytes) -> None:
    return None


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def shortened(data: bytes) -> bytes:
    """A list of fewer steps, well-formed."""
    rows = leaf_list.decode(data)
    last = (*rows.leaves[9][:3], True, rows.leaves[9][4])
    return encoding.encode(LeafList(rows.deal_id, rows.first_step, (*rows.leaves[:9], last)))


def forged(data: bytes) -> bytes:
    """A list with another state in its middle."""
    rows = leaf_list.decode(data)
    other = (Digest(b"\x55" * 32), *rows.leaves[9][1:])
    return encoding.encode(replace(rows, leaves=(*rows.leaves[:9], other, *rows.leaves[10:])))


async def found(desk: Desk) -> Found:
    with pytest.raises(LeavesWithheld) as withheld:
        await desk.checker.trace_of(desk.deal.deal)
    return withheld.value.found


async def test_a_published_list_is_no_matter(tmp_path: Path) -> None:
    async with withholding(tmp_path, as_it_is) as desk:
        assert len((await desk.checker.trace_of(desk.deal.deal)).steps) == COUNT


@pytest.mark.parametrize("published", [missing, cut, shortened, forged])
async def test_a_list_that_is_not_that_of_the_trace_is_withheld(
    tmp_path: Path, published: Callable[[bytes], bytes | None]
) -> None:
    async with withholding(tmp_path, published) as desk:
        assert (await found(desk)).evidence.step_count == COUNT


async def test_a_trace_is_recomputed_without_anything_of_the_providers(tmp_path: Path) -> None:
    async with withholding(tmp_path, missing) as desk:
        about = await found(desk)
        ours = await desk.checker.retracing.retrace(about)
        assert ours is not None
        assert is_as_committed(ours, about)
        assert [number_in(run) for run in desk.executor.runs] == [*range(COUNT), *range(COUNT)], "it is found twice"
        assert all(run.is_check for run in desk.executor.runs)
        assert not desk.executor.outcomes, "nothing is left of it"
        desk.executor.runs.clear()
        assert await desk.checker.retracing.known(desk.deal.deal) == ours
        assert not desk.executor.runs, "it is kept"


async def test_a_trace_that_leads_elsewhere_is_not_as_committed(tmp_path: Path) -> None:
    async with withholding(tmp_path, missing, theirs=skip) as desk:
        about = await found(desk)
        ours = await desk.checker.retracing.retrace(about)
        assert ours is not None
        assert not is_as_committed(ours, about)


async def test_what_comes_out_differently_each_time_is_no_trace(tmp_path: Path) -> None:
    runs: list[int] = []

    async def fickle(request: RunRequest) -> Played:
        runs.append(number_in(request))
        return await count(request) if len(runs) <= COUNT else await skip(request)

    async with withholding(tmp_path, missing, ours=fickle) as desk:
        assert await desk.checker.retracing.retrace(await found(desk)) is None


async def test_a_limit_that_is_met_here_accuses_nobody(tmp_path: Path, patient_clock: MockClock) -> None:
    async def slow(request: RunRequest) -> Played:
        if number_in(request) == 5:
            await trio.sleep_forever()
        return await count(request)

    async with withholding(tmp_path, missing, ours=slow) as desk:
        with pytest.raises(Refused, match="step 5 ran into a limit here"):
            await desk.checker.retracing.retrace(await found(desk))
        assert not desk.executor.outcomes
