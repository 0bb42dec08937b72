"""Carrying a job out: the container, what it left, and how that is kept for the requester.

Everything the program wrote is read back without following links, hashed into the canonical tree, and put into the blob
store before the commitment is made: a committed result can be served by a process that knows nothing but the journal.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import structlog
import trio

from capanode.node.assigned.preparation import Preparation
from capanode.node.executors.hardware import determinism_env
from capanode.node.executors.port import End, ExecutionId, Executor, ImageGone, RunOutcome, RunRequest
from capanode.node.images.reference import ImageId
from capanode.node.storage.blobs import BlobStore
from capanode.node.storage.tree_walk import Tree, Unfit, walk
from capanode.proofs import tree
from capanode.proofs.tree import Entry, EntryType
from capanode.protocol import encoding, provider
from capanode.protocol.events import ExecutionFailed, ExecutionFinished
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import ZERO_DIGEST, Cid, Digest, UnixTime
from capanode.protocol.messages import MAX_INLINE_BYTES, ResultManifest, SentFile, StoredFile
from capanode.protocol.records import Spec, VerificationClass
from capanode.scheduler.capacity import Gpu, matching

PIDS: Final = 1024
"""Processes and threads of one job; no term of a deal, the same everywhere."""

UNFIT_STATUS: Final = 125
OOM_STATUS: Final = 137
TIMEOUT_STATUS: Final = 124

STAGE_S: Final = 10.0
"""Longest that making a container ahead may hold up a deal that was called off."""

RELEASE_S: Final = 30.0
"""Longest that giving a machine back may hold up a stop."""

LOG_TAIL_BYTES: Final = 65_536
SPARE_RETENTION_S: Final = 3600
"""Kept beyond the last moment that a requester may ask, against clocks that disagree."""

LONGEST_DISPUTE_S: Final = 31 * 86_400
"""No dispute is open longer. Source: docs/protocol.md §6, `split`."""

log = structlog.get_logger()


class Execution:
    """Runs the executions of one node, one call a deal."""

    def __init__(self, executor: Executor, preparation: Preparation, blobs: BlobStore, gpus: tuple[Gpu, ...]) -> None:
        self._executor = executor
        self._preparation = preparation
        self._blobs = blobs
        self._gpus = gpus
        self._gpus_in_use: dict[ExecutionId, tuple[str, ...]] = {}
        self._ours: set[ExecutionId] = set()
        self._inherited: set[ExecutionId] = set()
        self._making: defaultdict[ExecutionId, trio.Lock] = defaultdict(trio.Lock)
        self._blobs_of: dict[Cid, frozenset[Cid]] = {}

    async def take_over(self, deals: Iterable[provider.Deal]) -> None:
        """Keep what an earlier process of this node may have begun for open deals, remove the rest; for the start."""
        self._inherited = executions_of(deals)
        await self._executor.sweep(self._inherited)

    async def stage(self, work: provider.Work) -> None:
        """Do ahead what costs nothing to undo, while the assignment is on its way."""
        execution = execution_of(work, 1)
        if execution in self._inherited:
            # It may run: the chain can have taken an assignment back. `run` looks whether it is there.
            return
        image = await self._preparation.image(work)
        self._ours.add(execution)
        # Not to be left half done: the deal may be bound, and this called off, while the container is being made.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + STAGE_S):
            try:
                async with self._making[execution]:
                    await self._executor.stage(self._request(work, execution, image))
            except ImageGone:
                self._preparation.forget(work)
                raise

    async def run(self, deal: provider.Executing) -> ExecutionFinished | ExecutionFailed:
        """Run the program to its end, or take up the container that an earlier process of this node left."""
        work, execution = deal.work, execution_of(deal.work, deal.attempt)
        # An engine that is away costs no attempt: it is waited for, as long as the deal's time allows.
        await self._executor.ready()
        try:
            outcome = await self._outcome(work, execution)
        except ImageGone:
            self._preparation.forget(work)
            raise
        except Unavailable:
            # What became of it the engine will say: it is taken up as after a restart.
            self._ours.discard(execution)
            raise
        finally:
            self._gpus_in_use.pop(execution, None)
        if outcome.payable:
            return await self._finish(work, outcome)
        await self._release(execution)
        if outcome.end is End.DISK_FAILED and outcome.started_at is None:
            self._ours.discard(execution)
            raise Unavailable(outcome.detail)
        log.warning("execution-failed", deal=work.deal_id.hex(), attempt=deal.attempt, reason=outcome.detail)
        return ExecutionFailed(f"{outcome.end.value}: {outcome.detail}"[:500])

    async def _outcome(self, work: provider.Work, execution: ExecutionId) -> RunOutcome:
        # What this process has begun itself is not left over from an earlier one.
        outcome = None if execution in self._ours else await self._executor.adopt(execution)
        self._ours.add(execution)
        if outcome is not None:
            return outcome
        image = await self._preparation.image(work)
        request = self._request(work, execution, image)
        return await self._executor.run(request, started=lambda _: None)

    async def logs(self, work: provider.Work, attempt: int, tail_bytes: int) -> bytes:
        """What the program has printed so far."""
        return await self._executor.logs(execution_of(work, attempt), tail_bytes)

    async def keep(self, deal: provider.Challenged) -> None:
        """Keep a disputed result for as long as a dispute can last."""
        until = UnixTime(deal.commitment.window_ends_at + LONGEST_DISPUTE_S + deal.work.demand.retention_s)

        def pin() -> None:
            for cid in self.result_blobs(deal.result):
                self._blobs.pin(cid, reason=_reason(deal.work), until=until)

        await trio.to_thread.run_sync(pin)

    async def drop(self, deal: provider.Retaining | provider.Discarding) -> None:
        """Forget a result that nobody needs any more."""
        await self.release(deal.work)
        manifest = self.manifest(deal.result)
        if manifest is not None:
            for file in manifest.stored:
                self._blobs.unpin(file.cid, reason=_reason(deal.work))
        self._blobs.unpin(deal.result.manifest, reason=_reason(deal.work))
        self._blobs_of.pop(deal.result.manifest, None)

    def manifest(self, result: ExecutionFinished) -> ResultManifest | None:
        """The kept manifest; None once it was dropped."""
        if not self._blobs.has(result.manifest):
            return None
        return encoding.decode(ResultManifest, self._blobs.path(result.manifest).read_bytes())

    def result_blobs(self, result: ExecutionFinished) -> frozenset[Cid]:
        """Every blob of a kept result, the manifest's own included; cheap enough for the blob server to ask often."""
        if result.manifest not in self._blobs_of:
            manifest = self.manifest(result)
            files = {file.cid for file in manifest.stored} if manifest else set[Cid]()
            self._blobs_of[result.manifest] = frozenset({result.manifest, *files})
        return self._blobs_of[result.manifest]

    def _request(self, work: provider.Work, execution: ExecutionId, image: ImageId) -> RunRequest:
        spec = work.spec
        need = spec.resources
        gpus: tuple[str, ...] = ()
        if need.gpu is not None:
            taken = {uuid for held in self._gpus_in_use.values() for uuid in held}
            free = matching((gpu for gpu in self._gpus if gpu.uuid not in taken), need.gpu)
            gpus = self._gpus_in_use.setdefault(execution, tuple(gpu.uuid for gpu in free[: need.gpu.count]))
        return RunRequest(
            execution_id=execution,
            image=image,
            argv=spec.argv,
            env=job_env(spec),
            cpu_millis=need.cpu_millis,
            memory_bytes=need.memory_bytes,
            disk_bytes=need.disk_bytes,
            pids=PIDS,
            timeout_s=need.timeout_s,
            inputs=tuple((item.name, self._preparation.input_path(item)) for item in spec.inputs),
            gpu_uuids=gpus,
        )

    async def _finish(self, work: provider.Work, outcome: RunOutcome) -> ExecutionFinished:
        found = await _outputs(outcome)
        status, end = _status(outcome), outcome.end.value
        if isinstance(found, Unfit):
            log.info("outputs-unfit", deal=work.deal_id.hex(), problems=found.problems[:3])
            found, status, end = Tree((), tree.tree_root(())), UNFIT_STATUS, "outputs are no tree"
        manifest = await trio.to_thread.run_sync(self._keep, work, found.entries, outcome)
        return ExecutionFinished(
            status=status,
            outcome=end,
            result_root=found.root,
            stdout_root=_stdout_root(work.spec, outcome),
            manifest=manifest,
            started_at_ms=_milliseconds(outcome.started_at),
            finished_at_ms=_milliseconds(outcome.finished_at),
            cpu_ns=outcome.usage.cpu_ns or 0,
            peak_memory_bytes=outcome.usage.peak_memory_bytes or 0,
        )

    def _keep(self, work: provider.Work, entries: tuple[Entry, ...], outcome: RunOutcome) -> Cid:
        until = _kept_until(work)
        inline = sum(entry.size for entry in entries) <= MAX_INLINE_BYTES
        sent: list[SentFile] = []
        stored: list[StoredFile] = []
        for entry in entries:
            if entry.type is EntryType.DIR or outcome.outputs is None:
                continue
            path = outcome.outputs / entry.path
            if entry.type is EntryType.LINK:
                sent.append(SentFile(entry.path, os.readlink(os.fsencode(path))))
            elif inline:
                sent.append(SentFile(entry.path, path.read_bytes()))
            else:
                stored.append(StoredFile(entry.path, self._blobs.put_file(path, reason=_reason(work), until=until)))
        log_tail = (outcome.stdout_tail + outcome.stderr_tail)[-LOG_TAIL_BYTES:]
        manifest = ResultManifest(tree.encode(entries), log_tail, tuple(sent), tuple(stored))
        return self._blobs.put_bytes(encoding.encode(manifest), reason=_reason(work), until=until)

    async def release(self, work: provider.Work) -> None:
        """Give the machine back what the executions of a deal hold; the kept result is not touched. Idempotent.

        Goes on for `RELEASE_S` when called off: the commitment that it runs beside may be mined first.
        """
        with trio.CancelScope(shield=True, deadline=trio.current_time() + RELEASE_S):
            for attempt in range(1, provider.MAX_ATTEMPTS + 1):
                execution = execution_of(work, attempt)
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


def execution_of(work: provider.Work, attempt: int) -> ExecutionId:
    """The name of one attempt: the deal id, then the attempt as two hex digits."""
    return ExecutionId(f"{work.deal_id.hex()}{attempt:02x}")


def executions_of(deals: Iterable[provider.Deal]) -> set[ExecutionId]:
    """Executions that may be staged or running now; each attempt of a deal that the chain may have taken back."""
    wanted: set[ExecutionId] = set()
    for deal in deals:
        match deal:
            case provider.Preparing() | provider.Assigning():
                wanted |= {execution_of(deal.work, attempt) for attempt in range(1, provider.MAX_ATTEMPTS + 1)}
            case provider.Executing():
                wanted.add(execution_of(deal.work, deal.attempt))
            case _:
                continue
    return wanted


def job_env(spec: Spec) -> tuple[tuple[str, str], ...]:
    """The environment of the program: the pins that make `exact` results repeatable, and over them the spec's."""
    pins = determinism_env() if spec.verification is VerificationClass.EXACT else ()
    env = {**dict(pins), **dict(spec.env)}
    return tuple(sorted(env.items()))


async def _outputs(outcome: RunOutcome) -> Tree | Unfit:
    if outcome.outputs is None:
        return Tree((), tree.tree_root(()))
    return await walk(outcome.outputs)


def _status(outcome: RunOutcome) -> int:
    match outcome.end:
        case End.OOM:
            return OOM_STATUS
        case End.TIMEOUT:
            return TIMEOUT_STATUS
        case _:
            return (outcome.exit_code or 0) & 0xFF


def _stdout_root(spec: Spec, outcome: RunOutcome) -> Digest:
    """sha256 of the end of standard output, where the spec declares it deterministic."""
    if not spec.deterministic_stdout:
        return ZERO_DIGEST
    return Digest(hashlib.sha256(outcome.stdout_tail[-LOG_TAIL_BYTES:]).digest())


def _kept_until(work: provider.Work) -> UnixTime:
    terms = work.terms
    return UnixTime(terms.commit_by + terms.window_s + work.demand.retention_s + SPARE_RETENTION_S)


def _reason(work: provider.Work) -> str:
    return f"result:{work.deal_id.hex()}"


def _milliseconds(at: float | None) -> int:
    return int(at * 1000) if at is not None else 0
