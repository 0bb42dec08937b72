"""Computing a step of somebody else's deal again, with the deal's own limits, where nothing better is to be done.

Such work earns at best later. It uses no slot that is offered: it waits until the open deals leave room on the machine,
one at a time, makes room again as soon as they need it, and is the first to go when memory runs out.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog
import trio

from capanode.node.assigned.preparation import reference_of
from capanode.node.challenged.committed_trace import CommittedTrace, States
from capanode.node.challenged.evidence import EvidenceFinder, Found
from capanode.node.executed.steps import EMPTY, Computed, Step, computed, request_of
from capanode.node.executors.port import End, ExecutionId, Executor
from capanode.node.images.reference import ImageId
from capanode.proofs.evidence import Evidence
from capanode.proofs.trace import Leaf, first_leaf
from capanode.protocol.faults import Fault, Refused, Unavailable
from capanode.protocol.ids import DealId
from capanode.protocol.records import Resources
from capanode.scheduler.capacity import Gpu, matching
from capanode.scheduler.hardware import serves

RELEASE_S: Final = 30.0

Inputs = tuple[tuple[str, Path], ...]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Bench:
    """Where steps are computed again: this machine as it is.

    `until` returns once open deals leave so much of it free, or, asked for False, once they no longer do.
    """

    executor: Callable[[], Awaitable[Executor]]
    hardware_class: str
    gpus: tuple[Gpu, ...]
    until: Callable[[Resources, bool], Awaitable[None]]


class Reexecution:
    """Recomputes one step at a time."""

    def __init__(self, bench: Bench, finder: EvidenceFinder, states: States) -> None:
        self._bench = bench
        self._finder = finder
        self._states = states
        self._turn = trio.Lock()

    def objection(self, evidence: Evidence) -> str:
        """Why this machine cannot judge a deal, in a clause; empty where it can."""
        spec, bench = evidence.spec, self._bench
        if evidence.is_class_bound and not self.is_like(evidence):
            return (
                f"its result is judged on machines of the class {evidence.hardware_class[:64]!a}, "
                f"and this one is {bench.hardware_class}"
            )
        if spec.resources.gpu is not None and len(matching(bench.gpus, spec.resources.gpu)) < spec.resources.gpu.count:
            return "it needs GPUs that this machine does not have"
        return ""

    def is_like(self, evidence: Evidence) -> bool:
        """Whether this machine is of the deal's hardware class, so that it has to come to the same result."""
        return serves(self._bench.hardware_class, evidence.hardware_class, evidence.spec.verification)

    @asynccontextmanager
    async def recomputed(self, trace: CommittedTrace, index: int) -> AsyncGenerator[Computed]:
        """Compute step `index` from the committed state before it; what it left stays until the block ends.

        Waits for its turn, and for room. Cancel-safe: the container goes with the call.

        Raises:
            Refused: the deal has no such step, or this machine cannot judge it.
            BytesMissing: inputs, image or state cannot be had.
            PeerFault: what is served of them is not what was committed.
            StepLost, Unavailable: the engine, the disk or a device failed.
        """
        evidence = trace.found.evidence
        if index not in trace.steps:
            raise Refused(f"the deal has the steps {trace.steps.start} to {trace.steps.stop - 1}, and no step {index}")
        if objection := self.objection(evidence):
            raise Refused(f"this machine cannot recompute the deal: {objection}")
        step = Step(
            evidence.spec, index, evidence.first_step + evidence.step_limit, await self._states.start(trace, index)
        )
        inputs = tuple((await self._finder.have_inputs(trace.found)).items())
        executor = await self._bench.executor()
        image = await self._image(executor, trace.found)
        execution = reexecution_of(evidence.deal_id, index)
        async with self._turn:
            try:
                made = await self._computed(executor, step, execution, image, inputs)
                log.info("recomputed", deal=evidence.deal_id.hex(), step=index)
                yield made
            finally:
                await _release(executor, execution)

    async def trace(self, found: Found) -> tuple[Leaf, ...]:
        """The leaves of a whole trace, computed from its inputs on; at most as many as were committed.

        Between two steps others have their turn. Cancel-safe; raises as `recomputed`.
        """
        evidence = found.evidence
        if objection := self.objection(evidence):
            raise Refused(f"this machine cannot recompute the deal: {objection}")
        if evidence.spec.steps is None or evidence.first_step != 0:
            raise Refused("the deal does not begin with its inputs: the state before it is known by its leaves alone")
        inputs = tuple((await self._finder.have_inputs(found)).items())
        executor = await self._bench.executor()
        image = await self._image(executor, found)
        leaves = [first_leaf(0, evidence.input_root)]
        state, held = EMPTY, set[ExecutionId]()
        try:
            for index in range(evidence.step_count):
                execution = retracing_of(evidence.deal_id, index)
                held.add(execution)
                async with self._turn:
                    step = Step(evidence.spec, index, evidence.step_limit, state)
                    made = await self._computed(executor, step, execution, image, inputs)
                log.info("retraced", deal=evidence.deal_id.hex(), step=index)
                if made.outcome.end is not End.EXITED:
                    raise Refused(f"step {index} ran into a limit here, which may come of the machine")
                leaves.append(made.leaf)
                if made.leaf.done:
                    break
                # Of two states only the one is needed that the next step begins with.
                spare = {execution} if made.state is state else held - {execution}
                await _release_all(executor, spare)
                held, state = held - spare, made.state
            return tuple(leaves)
        finally:
            await _release_all(executor, held)

    async def _computed(
        self, executor: Executor, step: Step, execution: ExecutionId, image: ImageId, inputs: Inputs
    ) -> Computed:
        need = replace(step.spec.resources, disk_bytes=step.disk_bytes)
        gpus = tuple(gpu.uuid for gpu in matching(self._bench.gpus, need.gpu)[: need.gpu.count]) if need.gpu else ()
        request = replace(request_of(step, execution, image, inputs, gpus), is_check=True)
        while True:
            await self._bench.until(need, True)
            outcome, fault = None, None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._make_room, need, nursery.cancel_scope)
                try:
                    outcome = await executor.run(request, started=lambda _: None)
                except Fault as error:
                    # Raised below, as itself and not in a group.
                    fault = error
                nursery.cancel_scope.cancel()
            if fault is not None:
                raise fault
            if outcome is not None:
                return await computed(step, outcome)
            log.info("reexecution-yields", execution=execution)

    async def _make_room(self, need: Resources, scope: trio.CancelScope) -> None:
        """End a run whose room an open deal has taken."""
        await self._bench.until(need, False)
        scope.cancel()

    async def _image(self, executor: Executor, found: Found) -> ImageId:
        image = found.evidence.spec.image
        archive = None
        if image.archive is not None:
            archive = await self._finder.have(found, image.archive.cid, image.archive.size_bytes)
        prepared = await executor.prepare(reference_of(image), archive=archive, progress=lambda _: None)
        return prepared.image_id


def reexecution_of(deal_id: DealId, index: int) -> ExecutionId:
    """The name of a step's re-execution: longer than that of any execution."""
    return ExecutionId(f"{deal_id.hex()}c4ec{index:08x}")


def retracing_of(deal_id: DealId, index: int) -> ExecutionId:
    """The name of a step's execution within a trace that is computed whole."""
    return ExecutionId(f"{deal_id.hex()}7ace{index:08x}")


async def _release_all(executor: Executor, executions: Iterable[ExecutionId]) -> None:
    for execution in sorted(executions):
        await _release(executor, execution)


async def _release(executor: Executor, execution: ExecutionId) -> None:
    with trio.CancelScope(shield=True, deadline=trio.current_time() + RELEASE_S):
        try:
            await executor.release(execution)
        except Unavailable as reason:
            # The next sweep finds it by its labels.
            log.warning("left-behind", execution=execution, reason=str(reason))
