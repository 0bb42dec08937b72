"""`capanode run --local`: the market's sandbox on this machine, without wallet, chain or peers."""

import secrets
import shutil
from functools import partial
from pathlib import Path
from typing import assert_never

import trio
import typer

from capanode.node.cli.exits import Exit
from capanode.node.cli.jobs import printable
from capanode.node.cli.output import emit, note
from capanode.node.data_folder import DataFolder, private_folder
from capanode.node.executors.docker import DockerExecutor, DockerSettings, run_docker_executor
from capanode.node.executors.hardware import determinism_env
from capanode.node.executors.port import End, RunOutcome, RunRequest, execution_id
from capanode.node.images.archive import ImageLimits, check_archive
from capanode.node.images.reference import ImageId, ImageRef, archived_image, registry_image
from capanode.node.jobfile.job_file import JobFile, LocalInput
from capanode.node.jobfile.parse import parse
from capanode.node.storage.tree_walk import Unfit, walk_here
from capanode.proofs.tree import EntryType
from capanode.protocol.faults import Refused, Unavailable
from capanode.protocol.ids import Cid
from capanode.protocol.records import VerificationClass

PIDS = 1024


def ran(text: str, image: str, out: Path | None, folder: DataFolder, as_json: bool) -> int:
    """Run a job of the command line here; its outputs go to `out`, or to a new folder in this one."""
    job = parse(text)
    target = out or Path.cwd() / f"out-{job.name or 'job'}"
    if target.exists() and any(target.iterdir()):
        raise Refused(f"{target} is not empty: name a new folder with --out.")
    private_folder(folder.root)
    state = folder.root / "local"
    private_folder(state)
    outcome = trio.run(partial(_run, job, image, target, state))
    log = outcome.stdout_tail + outcome.stderr_tail
    if as_json:
        emit({"exit_code": outcome.exit_code, "end": outcome.end.value, "out": str(target), "log": printable(log)})
    else:
        typer.echo(printable(log), nl=False)
        note(
            f"{outcome.end.value} after {outcome.usage.wall_s:.2f} s, exit code {outcome.exit_code}; outputs: {target}"
        )
    return _exit(outcome)


async def _run(job: JobFile, image: str, target: Path, state: Path) -> RunOutcome:
    reference, archive = await trio.to_thread.run_sync(local_image, image)
    node = f"local{secrets.token_hex(4)}"
    outcome: RunOutcome | None = None
    async with trio.open_nursery() as nursery:
        executor: DockerExecutor = await nursery.start(run_docker_executor, DockerSettings(node=node, state=state))
        prepared = await executor.prepare(reference, archive=archive, progress=lambda step: note(step.doing))
        request = local_request(job, prepared.image_id, Path.cwd())
        try:
            outcome = await executor.run(request, started=lambda _: None)
            if outcome.outputs is not None:
                await trio.to_thread.run_sync(_copy, outcome.outputs, target)
        finally:
            with trio.CancelScope(shield=True):
                await executor.release(request.execution_id)
                await executor.sweep(set())
        nursery.cancel_scope.cancel()
    assert outcome is not None
    return outcome


def local_request(job: JobFile, image: ImageId, base: Path, *, pinned: bool = False) -> RunRequest:
    """A job ready to run here; `base` is where its inputs' paths begin, `pinned` asks for the pins of `exact`.

    Raises:
        Refused: it needs what only the market has.
    """
    needs = job.resources
    if needs.gpu is not None:
        raise Refused("a local run has no GPU lease: leave GPUs away, or submit to the market.")
    pinned = pinned or job.verification is not VerificationClass.NONE
    pins = dict(determinism_env()) if pinned else {}
    return RunRequest(
        execution_id=execution_id(secrets.token_hex(16)),
        image=image,
        argv=job.argv,
        env=tuple(sorted({**pins, **dict(job.env)}.items())),
        cpu_millis=needs.cpu_millis,
        memory_bytes=needs.memory_bytes,
        disk_bytes=needs.disk_bytes,
        pids=PIDS,
        timeout_s=needs.timeout_s,
        inputs=tuple((name, _local(name, source, base)) for name, source in job.inputs),
    )


def _local(name: str, source: object, base: Path) -> Path:
    if not isinstance(source, LocalInput):
        raise Refused(f"a local run takes files of this machine only, and the input {name} is none.")
    path = base / source.path
    if not path.is_file():
        raise Refused(f"the input {name} is not there: {path} is no file.")
    return path


def local_image(image: str) -> tuple[ImageRef, Path | None]:
    """A pinned image as the executor takes it, and its archive if it is one; blocks."""
    if "@sha256:" in image:
        return registry_image(image), None
    archive = Path(image)
    loads_as = check_archive(archive, None, ImageLimits()).image_id
    # The CID says where others find an archive; this one is here already.
    return archived_image(Cid("local"), loads_as), archive


def _copy(outputs: Path, target: Path) -> None:
    """The outputs as the provider would serve them: links and other special files never lead anywhere."""
    match walk_here(outputs):
        case Unfit(problems=problems):
            raise Refused(f"on the market these outputs would count as none: {problems[0]}")
        case tree:
            target.mkdir(parents=True, exist_ok=True)
            for entry in tree.entries:
                _copy_entry(outputs / entry.path, target / entry.path, entry.type)


def _copy_entry(source: Path, target: Path, kind: EntryType) -> None:
    match kind:
        case EntryType.DIR:
            target.mkdir(exist_ok=True)
        case EntryType.LINK:
            note(f"left out the link {source.name}")
        case EntryType.FILE:
            shutil.copyfile(source, target, follow_symlinks=False)
            shutil.copymode(source, target, follow_symlinks=False)
        case _:
            assert_never(kind)


def _exit(outcome: RunOutcome) -> int:
    if outcome.end in (End.EXITED, End.OOM, End.TIMEOUT):
        return Exit.JOB_FAILED if outcome.exit_code != 0 or outcome.end is not End.EXITED else Exit.DONE
    if outcome.end is End.CANCELLED:
        return Exit.INTERRUPTED
    raise Unavailable(f"the sandbox failed ({outcome.end.value}): {outcome.detail}")
