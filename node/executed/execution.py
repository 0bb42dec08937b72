"""Carrying a job out: its containers, what they left, and how that is kept for the requester.

Everything the program wrote is read back without following links, hashed into the canonical tree, and put into the blob
store before the commitment is made: a committed result can be served by a process that knows nothing but the journal.
A checkpointed job goes on after its last step that was written down, whatever happened meanwhile.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import structlog
import trio

from capanode.node.assigned.preparation import Preparation
from capanode.node.executed.checkpoints import Checkpoint, Checkpoints
from capanode.node.executed.results import Results
from capanode.node.executed.steps import EMPTY, Computed, Step, StepLost, computed, request_of
from capanode.node.executors.port import End, ExecutionId, Executor, ImageGone, RunOutcome, RunRequest
from capanode.node.storage.cid import digest_of
from capanode.proofs import leaf_list, trace
from capanode.protocol import provider
from capanode.protocol.events import ExecutionFailed, ExecutionFinished, Traced
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import Cid, DealId, Digest, UnixTime
from capanode.protocol.messages import ResultManifest
from capanode.scheduler.capacity import Gpu, matching

STAGE_S: Final = 10.0
"""Longest that making a container ahead may hold up a deal that was called off."""

RELEASE_S: Final = 30.0
"""Longest that giving a machine back may hold up a stop."""

LONGEST_DISPUTE_S: Final = 31 * 86_400
"""No dispute is open longer. Source: docs/protocol.md §6, `split`."""

log = structlog.get_logger()


class Execution:
    """Runs the executions of one node, one call a deal."""

    def __init__(
        self,
        executor: Executor,
        preparation: Preparation,
        results: Results,
        checkpoints: Checkpoints,
        gpus: tuple[Gpu, ...],
    ) -> None:
        self._executor = executor
        self._preparation = preparation
        self._results = results
        self._checkpoints = checkpoints
        self._gpus = gpus
        self._gpus_in_use: dict[ExecutionId, tuple[str, ...]] = {}
        self._ours: set[ExecutionId] = set()
        self._inherited: set[ExecutionId] = set()
        self._making: defaultdict[ExecutionId, trio.Lock] = defaultdict(trio.Lock)

    async def take_over(self, deals: Iterable[provider.Deal]) -> None:
        """Keep what an earlier process of this node may have begun for open deals, remove the rest; for the start."""
        self._inherited = await self.wanted(deals)
        await self._executor.sweep(self._inherited)

    async def wanted(self, deals: Iterable[provider.Deal]) -> set[ExecutionId]:
        """Executions of these deals that may be staged or running now."""
        return executions_of(deals, await self._checkpoints.counts())

    async def tidy(self, deals: Iterable[provider.Deal]) -> None:
        """Forget how far all other deals had come."""
        await self._checkpoints.keep_only({deal.work.deal_id for deal in deals})

    async def stage(self, work: provider.Work) -> None:
        """Do ahead what costs nothing to undo, while the assignment is on its way."""
        step = await self._next_step(work, await self._checkpoints.of(work.deal_id))
        execution = execution_of(work, 1, step.index if step is not None else 0)
        if step is None or execution in self._inherited:
            # It may run: the chain can have taken an assignment back. `run` looks whether it is there.
            return
        request = await self._request(work, execution, step)
        self._ours.add(execution)
        # Not to be left half done: the deal may be bound, and this called off, while the container is being made.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + STAGE_S):
            try:
                async with self._making[execution]:
                    await self._executor.stage(request)
            except ImageGone:
                self._preparation.forget(work)
                raise

    async def run(self, deal: provider.Executing) -> ExecutionFinished | ExecutionFailed:
        """Run the program to its end, or take up where an earlier process of this node left it."""
        work = deal.work
        kept = list(await self._checkpoints.of(work.deal_id))
        while step := await self._next_step(work, kept):
            # An engine that is away costs no attempt: it is waited for, as long as the deal's time allows.
            await self._executor.ready()
            done = await self._compute(deal, step)
            if isinstance(done, ExecutionFailed):
                return done
            if step.state is None:
                return await self._finish(work, done)
            kept.append(await self._checkpoint(work, done, kept))
            await self._let_go(execution_of(work, deal.attempt, step.index))
        return await self._finish_steps(work, kept)

    async def _next_step(self, work: provider.Work, kept: Sequence[Checkpoint]) -> Step | None:
        """What comes after the steps that are over; None after the last."""
        first, end = work.demand.first_step, work.demand.first_step + work.demand.step_limit
        if work.spec.steps is None:
            return Step(work.spec, first, end, None)
        if not kept:
            return Step(work.spec, first, end, EMPTY)
        if kept[-1].leaf.done:
            return None
        state = await trio.to_thread.run_sync(self._results.state, kept[-1].manifest)
        return Step(work.spec, kept[-1].leaf.index, end, state)

    async def _compute(self, deal: provider.Executing, step: Step) -> Computed | ExecutionFailed:
        work, execution = deal.work, execution_of(deal.work, deal.attempt, step.index)
        try:
            outcome = await self._outcome(work, execution, step)
        except ImageGone:
            self._preparation.forget(work)
            raise
        except Unavailable:
            # What became of it the engine will say: it is taken up as after a restart.
            self._ours.discard(execution)
            raise
        finally:
            self._gpus_in_use.pop(execution, None)
        try:
            return await computed(step, outcome)
        except StepLost:
            await self._release(execution)
        if outcome.end is End.DISK_FAILED and outcome.started_at is None:
            self._ours.discard(execution)
            raise Unavailable(outcome.detail)
        log.warning("execution-failed", deal=work.deal_id.hex(), attempt=deal.attempt, reason=outcome.detail)
        return ExecutionFailed(f"{outcome.end.value}: {outcome.detail}"[:500])

    async def _outcome(self, work: provider.Work, execution: ExecutionId, step: Step) -> RunOutcome:
        # What this process has begun itself is not left over from an earlier one.
        outcome = None if execution in self._ours else await self._executor.adopt(execution)
        self._ours.add(execution)
        if outcome is not None:
            return outcome
        request = await self._request(work, execution, step)
        log.info("execution-begins", deal=work.deal_id.hex(), step=step.index)
        return await self._executor.run(request, started=lambda _: None)

    async def logs(self, work: provider.Work, attempt: int, tail_bytes: int) -> bytes:
        """What the program has printed so far."""
        index = work.demand.first_step + await self._checkpoints.count(work.deal_id)
        now = await self._executor.logs(execution_of(work, attempt, index), tail_bytes)
        printed = await self._checkpoints.log(work.deal_id) + now
        return printed[-tail_bytes:] if tail_bytes > 0 else b""

    async def keep(self, deal: provider.Challenged) -> None:
        """Keep a disputed result for as long as a dispute can last."""
        until = UnixTime(deal.commitment.window_ends_at + LONGEST_DISPUTE_S + deal.work.demand.retention_s)
        await trio.to_thread.run_sync(self._results.extend, deal.work, until)
        await trio.to_thread.run_sync(self._preparation.keep, deal.work, until)

    async def drop(self, deal: provider.Retaining | provider.Discarding) -> None:
        """Forget a result that nobody needs any more."""
        await self.release(deal.work)
        await trio.to_thread.run_sync(self._results.drop, deal.work)

    def manifest(self, result: ExecutionFinished) -> ResultManifest | None:
        """The kept manifest; None once it was dropped."""
        return self._results.manifest(result.manifest)

    def has_blob(self, deal_id: DealId, cid: Cid) -> bool:
        """Whether a blob is part of the kept result of a deal, of a state before it, or lists one; cheap."""
        return self._results.has(deal_id, cid)

    async def _request(self, work: provider.Work, execution: ExecutionId, step: Step) -> RunRequest:
        image = await self._preparation.image(work)
        inputs = tuple((item.name, self._preparation.input_path(item)) for item in work.spec.inputs)
        return request_of(step, execution, image, inputs, self._lease(work, execution))

    def _lease(self, work: provider.Work, execution: ExecutionId) -> tuple[str, ...]:
        need = work.spec.resources.gpu
        if need is None:
            return ()
        taken = {uuid for held in self._gpus_in_use.values() for uuid in held}
        free = matching((gpu for gpu in self._gpus if gpu.uuid not in taken), need)
        return self._gpus_in_use.setdefault(execution, tuple(gpu.uuid for gpu in free[: need.count]))

    async def _finish(self, work: provider.Work, done: Computed) -> ExecutionFinished:
        """The result of a single-shot job."""
        manifest = await trio.to_thread.run_sync(self._results.keep, work, done.state, _printed(done.outcome))
        return _finished([_checkpoint_of(done, manifest)], manifest, None)

    async def _checkpoint(self, work: provider.Work, done: Computed, kept: Sequence[Checkpoint]) -> Checkpoint:
        """Make a step last: the blobs of its state first, then the row that says that it is over."""
        before = kept[-1].manifest if kept else None
        manifest = await trio.to_thread.run_sync(self._results.keep_state, work, done.state, before)
        checkpoint = _checkpoint_of(done, manifest)
        await self._checkpoints.add(work.deal_id, checkpoint, _printed(done.outcome))
        log.info("step-over", deal=work.deal_id.hex(), step=done.leaf.index - 1, done=done.leaf.done)
        return checkpoint

    async def _finish_steps(self, work: provider.Work, kept: Sequence[Checkpoint]) -> ExecutionFinished:
        printed = await self._checkpoints.log(work.deal_id)
        return await trio.to_thread.run_sync(self._keep_trace, work, kept, printed)

    def _keep_trace(self, work: provider.Work, kept: Sequence[Checkpoint], printed: bytes) -> ExecutionFinished:
        manifest = self._results.keep_last(work, kept[-1].manifest, printed)
        if len(kept) == 1:
            return _finished(kept, manifest, None)
        first = trace.first_leaf(work.demand.first_step, work.demand.input_root)
        leaves = (first, *(one.leaf for one in kept))
        listed = leaf_list.listed(work.deal_id, leaves, (None, *(one.manifest for one in kept)))
        cid = self._results.keep_leaf_list(work, listed)
        posted = trace.posted(leaf_list.trace_of(listed))
        return _finished(kept, manifest, Traced(len(kept), cid, Digest(digest_of(cid)), posted))

    async def release(self, work: provider.Work) -> None:
        """Give the machine back what the executions of a deal hold; the kept result is not touched. Idempotent.

        Goes on for `RELEASE_S` when called off: the commitment that it runs beside may be mined first.
        """
        with trio.CancelScope(shield=True, deadline=trio.current_time() + RELEASE_S):
            over = await self._checkpoints.count(work.deal_id)
            for execution in sorted(_attempts(work, over) | _attempts(work, max(0, over - 1))):
                await self._let_go(execution)

    async def _let_go(self, execution: ExecutionId) -> None:
        self._ours.discard(execution)
        self._gpus_in_use.pop(execution, None)
        # Not before a container that is being made is there to be removed.
        async with self._making[execution]:
            await self._release(execution)
        self._making.pop(execution, None)

    async def _release(self, execution: ExecutionId) -> None:
        """Release, or leave it to a later sweep: nothing that is owed to anybody waits for an engine."""
        try:
            await self._executor.release(execution)
        except Unavailable as reason:
            log.warning("left-behind", execution=execution, reason=str(reason))


def execution_of(work: provider.Work, attempt: int, index: int = 0) -> ExecutionId:
    """The name of one attempt: the deal id, the attempt as two hex digits, and the step's number as eight.

    A single-shot job has no number.
    """
    number = "" if work.spec.steps is None else f"{index:08x}"
    return ExecutionId(f"{work.deal_id.hex()}{attempt:02x}{number}")


def executions_of(deals: Iterable[provider.Deal], over: Mapping[DealId, int]) -> set[ExecutionId]:
    """Executions that may be staged or running now; each attempt of a deal that the chain may have taken back.

    `over` is how many steps of which deal are over: the next one's container is the only one that is needed.
    """
    wanted: set[ExecutionId] = set()
    for deal in deals:
        count = over.get(deal.work.deal_id, 0)
        match deal:
            case provider.Preparing() | provider.Assigning():
                wanted |= _attempts(deal.work, count)
            case provider.Executing():
                wanted.add(execution_of(deal.work, deal.attempt, deal.work.demand.first_step + count))
            case _:
                continue
    return wanted


def _attempts(work: provider.Work, over: int) -> set[ExecutionId]:
    index = work.demand.first_step + over
    return {execution_of(work, attempt, index) for attempt in range(1, provider.MAX_ATTEMPTS + 1)}


def _checkpoint_of(done: Computed, manifest: Cid) -> Checkpoint:
    outcome = done.outcome
    return Checkpoint(
        leaf=done.leaf,
        manifest=manifest,
        ended=done.ended,
        started_at_ms=_milliseconds(outcome.started_at),
        finished_at_ms=_milliseconds(outcome.finished_at),
        cpu_ns=outcome.usage.cpu_ns or 0,
        peak_memory_bytes=outcome.usage.peak_memory_bytes or 0,
    )


def _finished(kept: Sequence[Checkpoint], manifest: Cid, traced: Traced | None) -> ExecutionFinished:
    last = kept[-1]
    return ExecutionFinished(
        status=last.leaf.exit_code,
        outcome=last.ended,
        result_root=last.leaf.state_root,
        stdout_root=last.leaf.stdout_root,
        manifest=manifest,
        started_at_ms=kept[0].started_at_ms,
        finished_at_ms=last.finished_at_ms,
        cpu_ns=sum(one.cpu_ns for one in kept),
        peak_memory_bytes=max(one.peak_memory_bytes for one in kept),
        traced=traced,
    )


def _printed(outcome: RunOutcome) -> bytes:
    return outcome.stdout_tail + outcome.stderr_tail


def _milliseconds(at: float | None) -> int:
    return int(at * 1000) if at is not None else 0
