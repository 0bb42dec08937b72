"""A job of several steps is checked step by step, each from the state that its provider committed before it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from trio.testing import MockClock

from capanode.node.challenged.checking import Verdict
from capanode.node.challenged.evidence import BytesMissing
from capanode.node.executors.port import RunRequest
from capanode.proofs import tree
from capanode.proofs.step import STEP_VARIABLE
from capanode.protocol import encoding
from capanode.protocol.faults import PeerFault
from capanode.protocol.ids import UnixTime
from capanode.protocol.messages import ResultManifest
from capanode.protocol.records import Steps
from tests.challenged.committed import INPUT, committed
from tests.challenged.test_checking import Desk, checking
from tests.fakes.fake_executor import Play, Played
from tests.protocol.deals import NOW, SPEC

STEPS = Steps(limit=4, timeout_s=10, state_bytes=2**20)
NEED = replace(SPEC.resources, timeout_s=40, disk_bytes=2**22)
SPEC_OF_STEPS = replace(SPEC, inputs=(INPUT,), resources=NEED, steps=STEPS)


def number_in(request: RunRequest) -> int:
    """The step that a container computes."""
    return int(dict(request.env)[STEP_VARIABLE])


def lines_in(request: RunRequest) -> bytes:
    """What the steps before have written."""
    assert request.state is not None
    for entry in request.state.entries:
        if entry.path == "lines":
            with request.state.content(entry) as file:
                return file.read()
    return b""


async def count(request: RunRequest) -> Played:
    """Add a line to the state."""
    return Played(files=(("lines", lines_in(request) + b"step %d\n" % number_in(request)),))


async def skip(request: RunRequest) -> Played:
    """As `count`, but for the work of step 2."""
    return Played(files=(("lines", lines_in(request)),)) if number_in(request) == 2 else await count(request)


@asynccontextmanager
async def checking_steps(folder: Path, theirs: Play, ours: Play = count) -> AsyncGenerator[Desk]:
    deal = committed(folder, SPEC_OF_STEPS, theirs, step_limit=4, resources=NEED)
    async with checking(folder, ours, deal_of=deal) as desk:
        yield desk


async def test_every_step_of_an_honest_trace_holds(tmp_path: Path) -> None:
    async with checking_steps(tmp_path, count) as desk:
        check = await desk.check()
        assert [(one.index, one.verdict) for one in check.steps] == [(index, Verdict.HOLDS) for index in range(4)]
        assert [number_in(run) for run in desk.executor.runs] == [0, 1, 2, 3]
        assert lines_in(desk.executor.runs[3]) == b"step 0\nstep 1\nstep 2\n"


async def test_the_skipped_step_is_named_and_no_other(tmp_path: Path) -> None:
    async with checking_steps(tmp_path, skip) as desk:
        check = await desk.check()
        assert [one.verdict for one in check.steps] == [Verdict.HOLDS, Verdict.HOLDS, Verdict.DIFFERS]
        assert check.divergent is not None
        assert (check.divergent.index, check.divergent.findings) == (2, (("lines", "its bytes are not the same"),))
        trace = await desk.checker.trace_of(desk.deal.deal)
        after = await desk.checker.check_step(trace, 3)
        assert after.verdict is Verdict.HOLDS, "the step after it begins with what the provider had"


async def test_a_state_that_is_withheld_is_missing(tmp_path: Path, patient_clock: MockClock) -> None:
    async with checking_steps(tmp_path, count) as desk:
        trace = await desk.checker.trace_of(desk.deal.deal)
        await desk.checker.check_step(trace, 1)
        desk.deal.provider.go_down()
        assert (await desk.checker.check_step(trace, 1)).verdict is Verdict.HOLDS, "what is here is not asked for again"
        with pytest.raises(BytesMissing):
            await desk.checker.check_step(trace, 3)


async def test_a_state_that_is_not_the_committed_one_is_its_senders_fault(tmp_path: Path) -> None:
    async with checking_steps(tmp_path, count) as desk:
        trace = await desk.checker.trace_of(desk.deal.deal)
        assert trace.listed is not None
        made = ResultManifest(tree.encode(()), b"", (), ())
        other = desk.deal.blobs.put_bytes(encoding.encode(made), reason="evidence:x", until=UnixTime(NOW + 60))
        rows = list(trace.listed.leaves)
        rows[2] = (*rows[2][:4], other)
        forged = replace(trace, listed=replace(trace.listed, leaves=tuple(rows)))
        with pytest.raises(PeerFault, match="another state"):
            await desk.checker.check_step(forged, 2)
