"""A result is computed again from its evidence: an honest one holds, an altered one is named with what differs."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from capanode.node.chain.clock import ChainClock
from capanode.node.challenged.checking import Check, Checker, Verdict
from capanode.node.challenged.committed_trace import States
from capanode.node.challenged.evidence import BytesMissing
from capanode.node.challenged.own_traces import OwnTraces
from capanode.node.challenged.reexecution import Bench, Reexecution, reexecution_of
from capanode.node.challenged.retracing import Retracing
from capanode.node.executors.port import End, Executor, RunRequest
from capanode.protocol.faults import Refused, Unavailable
from capanode.protocol.ids import DealId
from capanode.protocol.records import GpuNeed, Resources
from tests.challenged.committed import FILES, INPUT, RULES, TEXT, Committed, committed, play
from tests.fakes.fake_executor import FakeExecutor, Played
from tests.node.market_place import HARDWARE
from tests.protocol.deals import NOW, SPEC


@dataclass(slots=True)
class Room:
    """What open deals leave of the machine."""

    is_free: bool = True
    changed: trio.Event = field(default_factory=trio.Event)

    def set(self, is_free: bool) -> None:
        self.is_free = is_free
        self.changed.set()
        self.changed = trio.Event()

    async def until(self, _: Resources, is_free: bool) -> None:
        await trio.lowlevel.checkpoint()
        while self.is_free != is_free:
            await self.changed.wait()


@dataclass(slots=True)
class Desk:
    """A watcher who checks, with an engine of its own."""

    deal: Committed
    executor: FakeExecutor
    checker: Checker
    reexecution: Reexecution
    room: Room

    async def check(self) -> Check:
        return await self.checker.check(await self.checker.trace_of(self.deal.deal), tuple)


@asynccontextmanager
async def checking(
    folder: Path,
    rerun: Callable[[RunRequest], Awaitable[Played]] = play,
    hardware: str = HARDWARE,
    deal_of: AbstractAsyncContextManager[Committed] | None = None,
) -> AsyncGenerator[Desk]:
    """`rerun` is what the job does on the watcher's machine."""
    async with deal_of or committed(folder) as deal:
        executor, room = FakeExecutor(folder / "watcher-executor", rerun), Room()

        async def ours() -> Executor:
            await trio.lowlevel.checkpoint()
            return executor

        states = States(deal.watcher.finder, deal.watcher.blobs)
        bench = Bench(ours, hardware, (), room.until)
        reexecution = Reexecution(bench, deal.watcher.finder, states)
        retracing = Retracing(
            deal.watcher.finder, reexecution, OwnTraces(deal.watcher.database), ChainClock(lambda: float(NOW))
        )
        checker = Checker(deal.watcher.finder, states, reexecution, retracing)
        yield Desk(deal, executor, checker, reexecution, room)


async def test_an_honest_result_holds(tmp_path: Path) -> None:
    async with checking(tmp_path) as desk:
        check = await desk.check()
        assert (check.verdict, check.divergent, len(check.steps)) == (Verdict.HOLDS, None, 1)
        (run,) = desk.executor.runs
        assert run.is_check
        assert (run.argv, run.cpu_millis, run.timeout_s) == (
            SPEC.argv,
            SPEC.resources.cpu_millis,
            SPEC.resources.timeout_s,
        )
        assert [(name, path.read_bytes()) for name, path in run.inputs] == [(INPUT.name, TEXT)]
        assert dict(run.env)["OMP_NUM_THREADS"] == "1"
        assert not desk.executor.outcomes, "nothing is left of it"


async def test_the_leaf_is_the_committed_one(tmp_path: Path) -> None:
    async with checking(tmp_path) as desk:
        trace = await desk.checker.trace_of(desk.deal.deal)
        async with desk.reexecution.recomputed(trace, 0) as made:
            assert made.leaf.state_root == trace.found.evidence.commitment.result_root
            assert made.leaf.done


async def another(_: RunRequest) -> Played:
    changed = (FILES[0][0], FILES[0][1] + b"three,1\n")
    return Played(stdout=b"counted\n", files=(changed, ("extra.txt", b"")))


async def test_an_altered_result_is_named_with_what_differs(tmp_path: Path) -> None:
    async with checking(tmp_path, another) as desk:
        check = await desk.check()
        assert check.verdict is Verdict.DIFFERS
        assert check.divergent is not None
        assert check.divergent.index == 0
        assert [path for path, _ in check.divergent.findings] == ["counts.csv", "extra.txt", "notes.txt"]


async def fails(_: RunRequest) -> Played:
    return Played(exit_code=3, stdout=b"counted\n", files=FILES)


async def test_another_exit_code_differs(tmp_path: Path) -> None:
    async with checking(tmp_path, fails) as desk:
        check = await desk.check()
        assert check.divergent is not None
        assert check.divergent.reasons == ("the exit code 0 was committed, 3 came out",)
        assert check.divergent.findings == ()


async def sleeps(_: RunRequest) -> Played:
    await trio.sleep_forever()
    raise AssertionError


async def test_a_machine_that_is_too_slow_accuses_nobody(tmp_path: Path, patient_clock: MockClock) -> None:
    async with checking(tmp_path, sleeps) as desk:
        check = await desk.check()
        assert (check.verdict, check.divergent) == (Verdict.UNCLEAR, None)


async def lost(_: RunRequest) -> Played:
    return Played(end=End.DISK_FAILED)


async def test_a_machine_that_fails_accuses_nobody(tmp_path: Path) -> None:
    async with checking(tmp_path, lost) as desk:
        with pytest.raises(Unavailable, match="could not be computed here"):
            await desk.check()


async def test_without_an_engine_nothing_is_said(tmp_path: Path) -> None:
    async with checking(tmp_path) as desk:
        desk.executor.engine_up = False
        with pytest.raises(Unavailable):
            await desk.check()


async def test_on_other_machines_other_bytes_prove_nothing(tmp_path: Path) -> None:
    async with checking(tmp_path, another, hardware="x86_64-v2") as desk:
        assert (await desk.check()).verdict is Verdict.UNCLEAR


async def test_machines_of_another_class_than_the_terms_bind_do_not_judge(tmp_path: Path) -> None:
    deal = committed(tmp_path, rules=RULES, hardware_class=HARDWARE)
    async with checking(tmp_path, hardware="x86_64-v2", deal_of=deal) as desk:
        with pytest.raises(Refused, match="class 'x86_64-v3', and this one is x86_64-v2"):
            await desk.check()
        assert not desk.executor.runs


async def test_a_job_for_gpus_is_not_judged_without(tmp_path: Path) -> None:
    async with checking(tmp_path) as desk:
        found = await desk.deal.watcher.finder.fetch_evidence(desk.deal.deal)
        needs = replace(found.evidence.spec.resources, gpu=GpuNeed(1, "", "", 0, 0))
        spec = replace(found.evidence.spec, resources=needs)
        assert "GPUs" in desk.reexecution.objection(replace(found.evidence, spec=spec))


async def test_a_step_that_the_deal_does_not_have_is_refused(tmp_path: Path) -> None:
    async with checking(tmp_path) as desk:
        with pytest.raises(Refused, match="no step 7"):
            await desk.checker.check(await desk.checker.trace_of(desk.deal.deal), lambda _: (7,))


async def test_withheld_inputs_are_missing_and_nothing_runs(tmp_path: Path, patient_clock: MockClock) -> None:
    async with checking(tmp_path) as desk:
        trace = await desk.checker.trace_of(desk.deal.deal)
        desk.deal.provider.go_down()
        with pytest.raises(BytesMissing):
            await desk.checker.check_step(trace, 0)
        assert not desk.executor.runs


async def test_open_deals_come_first(tmp_path: Path, patient_clock: MockClock) -> None:
    began, may_end = trio.Event(), trio.Event()

    async def slow(request: RunRequest) -> Played:
        began.set()
        await may_end.wait()
        return await play(request)

    async with checking(tmp_path, slow) as desk, trio.open_nursery() as nursery:
        ended: list[Check] = []

        async def check() -> None:
            ended.append(await desk.check())

        desk.room.set(False)
        nursery.start_soon(check)
        await trio.sleep(60)
        assert not desk.executor.runs, "it waits for room"
        desk.room.set(True)
        await began.wait()
        desk.room.set(False)
        await trio.sleep(3)
        assert not desk.executor._running, "it makes room"
        desk.room.set(True)
        may_end.set()
    assert ended[0].verdict is Verdict.HOLDS


def test_its_name_is_that_of_no_execution() -> None:
    assert reexecution_of(DealId(b"\xab" * 32), 5) == "ab" * 32 + "c4ec00000005"
