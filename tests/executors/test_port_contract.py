"""What every executor promises, checked on the real one and on the fake that other tests use."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing

from capanode.node.executors.docker import DockerExecutor
from capanode.node.executors.port import End, ExecutionId, Executor, PreparedImage, RunOutcome, RunRequest
from capanode.node.images.reference import ArchivedImage, ImageRejected, image_id
from capanode.protocol.faults import InvariantViolated
from capanode.protocol.ids import Cid
from tests.executors.running import finished, python_job
from tests.fakes.fake_executor import FakeExecutor, Played

SCRIPTS = {
    "succeed": "print('hello'); open('/out/result', 'w').write('42')",
    "fail": "raise SystemExit(3)",
    "hang": "import time; time.sleep(600)",
}


async def act(request: RunRequest) -> Played:
    """What SCRIPTS do, for the fake."""
    what = next(name for name, script in SCRIPTS.items() if script == request.argv[1])
    if what == "hang":
        await trio.sleep_forever()
    return {"succeed": Played(stdout=b"hello\n", files=(("result", b"42"),))}.get(what, Played(exit_code=3))


@pytest.fixture(params=["docker", "fake"])
async def subject(
    request: pytest.FixtureRequest,
    executor: DockerExecutor,
    image: PreparedImage,
    packed_python: tuple[Path, ArchivedImage],
    tmp_path: Path,
) -> AsyncIterator[tuple[Executor, PreparedImage]]:
    if request.param == "docker":
        yield executor, image
        return
    fake = FakeExecutor(tmp_path / "fake", act)
    archive, reference = packed_python
    yield fake, await fake.prepare(reference, archive=archive, progress=lambda _: None)


Subject = tuple[Executor, PreparedImage]


async def test_a_job_that_succeeds(subject: Subject) -> None:
    executor, image = subject
    seen: list[str] = []
    outcome = await executor.run(python_job(image, SCRIPTS["succeed"]), started=seen.append)

    assert (outcome.end, outcome.exit_code, outcome.payable) == (End.EXITED, 0, True)
    assert outcome.stdout_tail == b"hello\n"
    assert outcome.outputs is not None
    assert [(file.name, file.read_text()) for file in outcome.outputs.iterdir()] == [("result", "42")]
    assert len(seen) == 1
    assert outcome.started_at is not None
    assert outcome.finished_at is not None
    assert outcome.finished_at >= outcome.started_at
    assert await executor.logs(outcome.execution_id, 3) == b"lo\n"


async def test_a_job_that_fails(subject: Subject) -> None:
    executor, image = subject
    outcome = await finished(executor, python_job(image, SCRIPTS["fail"]))

    assert (outcome.end, outcome.exit_code, outcome.payable) == (End.EXITED, 3, True)


async def test_a_job_that_hangs(subject: Subject) -> None:
    executor, image = subject
    outcome = await finished(executor, python_job(image, SCRIPTS["hang"], timeout_s=1))

    assert (outcome.end, outcome.exit_code, outcome.payable) == (End.TIMEOUT, None, True)


async def test_a_job_that_is_cancelled(subject: Subject) -> None:
    executor, image = subject
    request = python_job(image, SCRIPTS["hang"])
    up, outcomes = trio.Event(), list[RunOutcome]()

    async def run() -> None:
        outcomes.append(await executor.run(request, started=lambda _: up.set()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await up.wait()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(InvariantViolated):
            await executor.adopt(request.execution_id)
        await executor.cancel(request.execution_id)

    assert (outcomes[0].end, outcomes[0].payable) == (End.CANCELLED, False)


async def test_the_same_execution_again_gives_the_same_outcome(subject: Subject) -> None:
    executor, image = subject
    request = python_job(image, SCRIPTS["succeed"])

    assert await finished(executor, request) == await finished(executor, request)


async def test_release_and_sweep(subject: Subject) -> None:
    executor, image = subject
    outcome = await finished(executor, python_job(image, SCRIPTS["succeed"]))
    assert outcome.outputs is not None

    assert not [one for one in await executor.sweep({outcome.execution_id}) if outcome.execution_id in one]
    assert outcome.outputs.exists()
    await executor.release(outcome.execution_id)
    await executor.release(outcome.execution_id)
    assert not outcome.outputs.exists()
    assert await executor.adopt(outcome.execution_id) is None
    assert await executor.logs(outcome.execution_id, 10) == b""


async def test_what_is_unknown(subject: Subject) -> None:
    executor, image = subject
    await executor.cancel(ExecutionId("ab"))
    await executor.release(ExecutionId("ab"))

    assert await executor.adopt(ExecutionId("ab")) is None
    stranger = replace(image, image_id=image_id("sha256:" + "0" * 64))
    outcome = await finished(executor, python_job(stranger, "pass"))
    assert (outcome.end, outcome.payable, outcome.outputs) == (End.START_FAILED, False, None)
    unknown = ArchivedImage(Cid("bafyunknown"), stranger.image_id)
    with pytest.raises(ImageRejected):
        await executor.prepare(unknown, archive=None, progress=lambda _: None)


async def test_stage_then_run(subject: Subject) -> None:
    executor, image = subject
    request = python_job(image, SCRIPTS["succeed"])
    await executor.stage(request)
    await executor.stage(request)

    assert (await finished(executor, request)).exit_code == 0
    assert (await executor.capacity()).cpu_millis >= 1000
    await executor.warm(1)
