"""What an earlier process of a node left running, what the chain does to it meanwhile, and jobs of several steps."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from capanode.node.assigned.preparation import Preparation, PreparationLimits
from capanode.node.executed.checkpoints import SCHEMA, Checkpoints
from capanode.node.executed.execution import Execution, execution_of, executions_of
from capanode.node.executed.results import Results
from capanode.node.executors.port import End, RunRequest
from capanode.node.storage.blobs import BlobStore
from capanode.node.storage.cid import digest_of
from capanode.node.storage.database import open_database
from capanode.proofs import leaf_list, trace
from capanode.proofs.step import DONE_FILE, STEP_VARIABLE
from capanode.protocol import encoding, provider
from capanode.protocol.events import ExecutionFailed, ExecutionFinished
from capanode.protocol.ids import ZERO_ADDRESS, DealId, Wei
from capanode.protocol.messages import ResultManifest
from capanode.protocol.records import Steps
from tests.fakes.fake_executor import FakeExecutor, Play, Played
from tests.fakes.fake_network import FakeInternet
from tests.protocol.deals import COMMITTED, work_taken
from tests.vectors import golden

STEPS = Steps(limit=4, timeout_s=10, state_bytes=2**20)


def executing(steps: Steps | None = None) -> provider.Executing:
    """A deal that is being carried out."""
    taken = work_taken()
    if steps is not None:
        need = replace(taken.spec.resources, timeout_s=steps.limit * 10, disk_bytes=steps.limit * 2**20)
        spec = replace(taken.spec, resources=need, steps=steps, deterministic_stdout=True)
        taken = replace(taken, spec=spec, demand=replace(taken.demand, resources=need, step_limit=steps.limit))
    deal = provider.take(taken).deal
    assert isinstance(deal, provider.Preparing)
    return provider.Executing(deal.work, ZERO_ADDRESS, 1)


def test_a_deal_that_the_chain_took_back_keeps_whichever_attempt_was_running() -> None:
    work = executing().work
    assigning = provider.Assigning(work)
    assert executions_of([assigning], {}) == {execution_of(work, attempt) for attempt in (1, 2, 3)}
    assert executions_of([provider.Executing(work, ZERO_ADDRESS, 2)], {}) == {execution_of(work, 2)}
    assert executions_of([provider.Abandoning(work, ZERO_ADDRESS, "")], {}) == set()


def test_only_the_step_that_comes_next_may_be_running() -> None:
    deal = executing(STEPS)
    assert executions_of([deal], {deal.work.deal_id: 2}) == {execution_of(deal.work, 1, 2)}
    names = {execution_of(deal.work, attempt, index) for attempt in (1, 2, 3) for index in range(4)}
    assert len(names) == 12


@dataclass(slots=True)
class Machine:
    """A provider's machine; `begun` is a new process of its node on it."""

    executor: FakeExecutor
    blobs: BlobStore
    preparation: Preparation
    checkpoints: Checkpoints

    def begun(self) -> Execution:
        self.executor.restart()
        return Execution(self.executor, self.preparation, Results(self.blobs), self.checkpoints, ())


@asynccontextmanager
async def machine(folder: Path, play: Play | None = None) -> AsyncGenerator[Machine]:
    executor = FakeExecutor(folder / "executor")
    executor.play = play or executor.play
    blobs = BlobStore(folder / "blobs", limit_bytes=2**24)
    network = FakeInternet().node("provider")
    preparation = Preparation(executor, network, blobs, folder / "https", PreparationLimits(2**24, 2**24, 30))
    async with open_database(folder / "node.db", [SCHEMA]) as database:
        yield Machine(executor, blobs, preparation, Checkpoints(database))


@pytest.mark.parametrize("was_taken_back", [True, False])
async def test_a_container_of_an_earlier_process_is_taken_up_and_not_made_anew(
    tmp_path: Path, was_taken_back: bool
) -> None:
    deal = executing()
    async with machine(tmp_path) as at:
        assert isinstance(await at.begun().run(deal), ExecutionFinished)
        ran: list[RunRequest] = list(at.executor.runs)

        after = at.begun()
        await after.take_over([provider.Assigning(deal.work) if was_taken_back else deal])
        if was_taken_back:
            await after.stage(deal.work)
        assert isinstance(await after.run(deal), ExecutionFinished)
        assert at.executor.runs == ran


def number_in(request: RunRequest) -> int:
    """The step that a container computes."""
    return int(dict(request.env)[STEP_VARIABLE])


async def count(request: RunRequest) -> Played:
    """Add a line to a file of the state, and leave another one alone."""
    assert request.state is not None
    lines, step = b"", number_in(request)
    for entry in request.state.entries:
        if entry.path == "lines":
            with request.state.content(entry) as file:
                lines = file.read()
    files = (("data", b"d" * 100_000), ("lines", lines + b"%d\n" % step))
    return Played(stdout=b"step %d\n" % step, files=files)


async def test_a_job_of_several_steps_is_committed_with_all_its_leaves(tmp_path: Path) -> None:
    deal = executing(STEPS)
    async with machine(tmp_path, count) as at:
        execution = at.begun()
        done = await execution.run(deal)
        assert isinstance(done, ExecutionFinished)
        assert done.traced is not None
        listed = leaf_list.decode(at.blobs.path(done.traced.leaf_list).read_bytes())
        whole = leaf_list.trace_of(listed)
        assert (done.traced.step_count, done.traced.posted) == (4, trace.posted(whole))
        assert done.traced.leaves_cid == digest_of(done.traced.leaf_list)
        assert listed.leaf(0) == trace.first_leaf(0, deal.work.demand.input_root)
        assert listed.leaf(4).state_root == done.result_root
        assert listed.leaf(4).stdout_root == done.stdout_root
        result = execution.manifest(done)
        assert result is not None
        assert result.log_tail == b"step 0\nstep 1\nstep 2\nstep 3\n"
        states = [Results(at.blobs).manifest(cid) for _, _, _, _, cid in listed.leaves if cid is not None]
        shared = {file.cid for state in states if state for file in state.stored if file.path == "data"}
        assert len(shared) == 1, "what did not change is kept once"
        assert all(execution.has_blob(deal.work.deal_id, row[4]) for row in listed.leaves[1:] if row[4])
        assert at.executor.outcomes == {}, "no step leaves its container behind"
        await execution.drop(provider.Retaining(deal.work, done, COMMITTED, Wei(1), Wei(0)))
        at.blobs.collect(deal.work.terms.commit_by)
        assert not at.blobs.has(done.traced.leaf_list)


async def test_a_node_that_dies_goes_on_after_its_last_step_and_takes_up_the_one_that_ran(tmp_path: Path) -> None:
    deal = executing(STEPS)
    async with machine(tmp_path, count) as at:

        class Killed(BaseException):
            """As a SIGKILL: nothing runs after it."""

        async def dies(request: RunRequest) -> Played:
            if number_in(request) == 2:
                raise Killed
            return await count(request)

        at.executor.play = dies
        with pytest.raises(Killed):
            await at.begun().run(deal)
        assert [number_in(run) for run in at.executor.runs] == [0, 1, 2]

        at.executor.play = count
        again = at.begun()
        await again.take_over([deal])
        done = await again.run(deal)
        assert [number_in(run) for run in at.executor.runs] == [0, 1, 2, 2, 3]
        assert isinstance(done, ExecutionFinished)
        once_more = await at.begun().run(deal)
        assert once_more == done, "a node that dies before it has said so says the same again"
        assert [number_in(run) for run in at.executor.runs] == [0, 1, 2, 2, 3]


async def test_a_step_that_fails_ends_the_trace_with_its_code(tmp_path: Path) -> None:
    async def fails(request: RunRequest) -> Played:
        made = await count(request)
        return replace(made, exit_code=3) if number_in(request) == 1 else made

    async with machine(tmp_path, fails) as at:
        done = await at.begun().run(executing(STEPS))
        assert isinstance(done, ExecutionFinished)
        assert done.traced is not None
        assert (done.status, done.traced.step_count) == (3, 2)


async def test_a_file_in_the_state_says_that_the_job_is_done(tmp_path: Path) -> None:
    async def stops(request: RunRequest) -> Played:
        return Played(files=((DONE_FILE, b""),))

    async with machine(tmp_path, stops) as at:
        done = await at.begun().run(executing(STEPS))
        assert isinstance(done, ExecutionFinished)
        assert done.traced is None, "a trace of one step is that of a single-shot job"
        assert len(at.executor.runs) == 1


async def test_an_attempt_that_this_machine_failed_does_not_cost_the_steps_before_it(tmp_path: Path) -> None:
    deal, failed = executing(STEPS), False

    async def breaks(request: RunRequest) -> Played:
        nonlocal failed
        if number_in(request) == 1 and not failed:
            failed = True
            return Played(end=End.ENGINE_LOST)
        return await count(request)

    async with machine(tmp_path, breaks) as at:
        execution = at.begun()
        assert isinstance(await execution.run(deal), ExecutionFailed)
        assert isinstance(await execution.run(replace(deal, attempt=2)), ExecutionFinished)
        assert [number_in(run) for run in at.executor.runs] == [0, 1, 1, 2, 3]


async def test_the_steps_of_deals_that_are_over_are_forgotten(tmp_path: Path) -> None:
    deal = executing(STEPS)
    async with machine(tmp_path, count) as at:
        execution = at.begun()
        await execution.run(deal)
        await execution.tidy([deal])
        assert await at.checkpoints.counts() == {deal.work.deal_id: 4}
        assert await at.checkpoints.log(deal.work.deal_id) == b"step 0\nstep 1\nstep 2\nstep 3\n"
        await execution.tidy([])
        assert await at.checkpoints.counts() == {}
        assert await at.checkpoints.log(deal.work.deal_id) == b""


async def test_a_whole_trace_is_the_reference(tmp_path: Path) -> None:
    """The runner against vectors made without our code: a job of twenty steps that says after three that it is done."""
    vectors = golden.load("steps")

    async def replay(request: RunRequest) -> Played:
        made = vectors[f"state_{number_in(request) + 1}"]
        manifest = encoding.decode(ResultManifest, made["manifest"])
        files = tuple((file.path, file.content) for file in manifest.sent if file.path != "deep/way")
        return Played(stdout=made["stdout"], files=files, links=(("deep/way", "../n"),))

    deal = executing(Steps(limit=vectors["job"]["step_limit"], timeout_s=10, state_bytes=2**20))
    root, deal_id = vectors["job"]["input_root"], DealId(vectors["job"]["deal_id"])
    work = replace(deal.work, deal_id=deal_id, demand=replace(deal.work.demand, input_root=root))
    async with machine(tmp_path, replay) as at:
        done = await at.begun().run(replace(deal, work=work))
        assert isinstance(done, ExecutionFinished)
        assert done.traced is not None
        assert at.blobs.path(done.traced.leaf_list).read_bytes() == vectors["leaf_list"]["bytes"]
        assert (done.traced.leaf_list, done.traced.leaves_cid) == (
            vectors["leaf_list"]["cid"],
            vectors["leaf_list"]["leaves_cid"],
        )
        assert list(done.traced.posted) == vectors["leaf_list"]["leaves"]
