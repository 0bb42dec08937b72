"""Jobs that are cancelled, adopted, repeated, swept, or disturbed from outside."""

import secrets
import subprocess
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
import trio
import trio.testing

from bench.shell_image import write_shell_image
from capanode.node.challenged.reexecution import reexecution_of
from capanode.node.executors.container import container_name
from capanode.node.executors.docker import DockerExecutor, DockerSettings, run_docker_executor
from capanode.node.executors.docker_engine import Engine, EngineDown
from capanode.node.executors.port import End, ExecutionId, ImageGone, PreparedImage, RunOutcome, RunRequest
from capanode.node.executors.sandbox import EXECUTION_LABEL, HOLDER_LABEL, NODE_LABEL
from capanode.node.images.archive import check_archive
from capanode.node.images.reference import ArchivedImage, ImageId, image_id
from capanode.protocol.faults import InvariantViolated, Misconfigured, Refused, Unavailable
from capanode.protocol.ids import Cid, DealId
from tests.executors.running import MIB, finished, python_job
from tests.fakes.engine_proxy import engine_proxy
from tests.images.layers import archive_of

SLEEP = "import time; print('up', flush=True); time.sleep(600)"


@pytest.fixture
def engine() -> Engine:
    return Engine()


async def start(executor: DockerExecutor, request: RunRequest, nursery: trio.Nursery) -> list[RunOutcome]:
    """Begin a run; returns once the program runs, with the list that its outcome will be put in."""
    up, outcomes = trio.Event(), list[RunOutcome]()

    async def run() -> None:
        outcomes.append(await executor.run(request, started=lambda _: up.set()))

    nursery.start_soon(run)
    await up.wait()
    return outcomes


async def test_a_cancelled_job_ends_as_cancelled(executor: DockerExecutor, image: PreparedImage) -> None:
    request = python_job(image, SLEEP)
    async with trio.open_nursery() as nursery:
        outcomes = await start(executor, request, nursery)
        await executor.cancel(request.execution_id)

    assert [(one.end, one.exit_code, one.payable) for one in outcomes] == [(End.CANCELLED, None, False)]


async def test_cancelling_what_does_not_run_does_nothing(executor: DockerExecutor, image: PreparedImage) -> None:
    await executor.cancel(ExecutionId("ab"))
    await executor.stage(python_job(image, "print(1)", execution="ab"))
    await executor.cancel(ExecutionId("ab"))

    assert (await finished(executor, python_job(image, "print(1)", execution="ab"))).end is End.EXITED


async def test_cancelling_the_call_removes_all_of_the_job(
    executor: DockerExecutor, image: PreparedImage, engine: Engine, settings: DockerSettings
) -> None:
    request = python_job(image, SLEEP)
    async with trio.open_nursery() as nursery:
        await start(executor, request, nursery)
        nursery.cancel_scope.cancel()

    assert await executor.adopt(request.execution_id) is None
    containers = [labels for _, labels in engine.labelled({NODE_LABEL: settings.node}) if HOLDER_LABEL not in labels]
    assert containers == []
    assert not list((settings.state / "logs").iterdir())


async def test_a_staged_job_is_run_later(executor: DockerExecutor, image: PreparedImage) -> None:
    request = python_job(image, "print('late')")
    await executor.stage(request)
    await executor.stage(request)

    outcome = await finished(executor, request)

    assert outcome.stdout_tail == b"late\n"


async def test_staging_is_undone_by_release(executor: DockerExecutor, image: PreparedImage) -> None:
    request = python_job(image, "pass")
    await executor.stage(request)
    await executor.release(request.execution_id)
    await executor.release(request.execution_id)

    assert executor.known() == frozenset()
    assert await executor.sweep(set()) == []


async def test_an_execution_never_runs_twice(executor: DockerExecutor, image: PreparedImage, tmp_path: Path) -> None:
    request = python_job(image, "import uuid; print(uuid.uuid4())")

    first = await finished(executor, request)
    again = await finished(executor, request)

    assert first.stdout_tail == again.stdout_tail


async def test_running_what_already_runs_is_our_bug(executor: DockerExecutor, image: PreparedImage) -> None:
    request = python_job(image, SLEEP)
    async with trio.open_nursery() as nursery:
        outcomes = await start(executor, request, nursery)
        with pytest.raises(InvariantViolated):
            await finished(executor, request)
        with pytest.raises(InvariantViolated):
            await executor.adopt(request.execution_id)
        await executor.cancel(request.execution_id)

    assert outcomes[0].end is End.CANCELLED


async def test_outputs_stay_until_released(executor: DockerExecutor, image: PreparedImage) -> None:
    outcome = await finished(executor, python_job(image, "open('/out/result', 'w').write('42')"))
    assert outcome.outputs is not None

    assert (outcome.outputs / "result").read_text() == "42"
    await executor.release(outcome.execution_id)
    assert not outcome.outputs.exists()
    assert await executor.logs(outcome.execution_id, 10) == b""


async def test_logs_can_be_read_while_the_job_runs(executor: DockerExecutor, image: PreparedImage) -> None:
    request = python_job(image, SLEEP)
    async with trio.open_nursery() as nursery:
        await start(executor, request, nursery)
        with trio.fail_after(10):
            while await executor.logs(request.execution_id, 100) != b"up\n":
                await trio.lowlevel.checkpoint()
        await executor.cancel(request.execution_id)


async def next_life(settings: DockerSettings, nursery: trio.Nursery) -> DockerExecutor:
    """Another process of the same node, as far as the engine can tell."""
    executor: DockerExecutor = await nursery.start(run_docker_executor, settings)
    return executor


async def test_a_running_job_is_adopted_after_a_restart(
    executor: DockerExecutor, image: PreparedImage, settings: DockerSettings
) -> None:
    script = (
        "import os, time\nwhile not os.path.exists('/in/gate/go'): time.sleep(0.02)\nopen('/out/r','w').write('ok')"
    )
    gate = settings.state / "gate"
    gate.mkdir(parents=True)
    request = python_job(image, script, inputs=(("gate", gate),))
    outcomes: list[RunOutcome | None] = []

    async def adopt(heir: DockerExecutor) -> None:
        outcomes.append(await heir.adopt(request.execution_id))

    async with trio.open_nursery() as nursery:
        await start(executor, request, nursery)
        async with trio.open_nursery() as second_life:
            heir = await next_life(settings, second_life)
            await heir.warm(1)
            assert await heir.sweep({request.execution_id}) == []
            async with trio.open_nursery() as adopting:
                adopting.start_soon(adopt, heir)
                other = await finished(heir, python_job(image, "print(1)"))
                (gate / "go").touch()
            assert outcomes[0] is not None
            assert outcomes[0].outputs is not None
            assert (outcomes[0].end, outcomes[0].exit_code) == (End.EXITED, 0)
            assert (outcomes[0].outputs / "r").read_text() == "ok"
            assert other.exit_code == 0
            second_life.cancel_scope.cancel()


async def test_a_job_that_was_left_is_finished_by_the_next_process(
    image: PreparedImage, settings: DockerSettings
) -> None:
    gate = settings.state / "gate"
    gate.mkdir(parents=True)
    script = "import os, time\nwhile not os.path.exists('/in/gate/go'): time.sleep(0.02)\nprint('once')"
    request = python_job(image, script, inputs=(("gate", gate),))
    async with trio.open_nursery() as first:
        executor = await next_life(settings, first)
        await start(executor, request, first)
        executor.leave()
        first.cancel_scope.cancel()

    (gate / "go").touch()
    async with trio.open_nursery() as second:
        outcome = await (await next_life(settings, second)).adopt(request.execution_id)
        second.cancel_scope.cancel()

    assert outcome is not None
    assert (outcome.end, outcome.stdout_tail) == (End.EXITED, b"once\n")


async def test_a_check_is_not_left_to_anybody(image: PreparedImage, settings: DockerSettings, engine: Engine) -> None:
    request = replace(python_job(image, "import time\ntime.sleep(600)"), is_check=True)
    async with trio.open_nursery() as first:
        executor = await next_life(settings, first)
        await start(executor, request, first)
        executor.leave()
        first.cancel_scope.cancel()
    assert not [labels for _, labels in engine.labelled({NODE_LABEL: settings.node}) if EXECUTION_LABEL in labels]

    async with trio.open_nursery() as second:
        assert await (await next_life(settings, second)).adopt(request.execution_id) is None
        second.cancel_scope.cancel()


async def test_a_check_that_a_killed_process_left_goes_with_the_sweep_of_the_next(
    executor: DockerExecutor, image: PreparedImage, settings: DockerSettings, engine: Engine
) -> None:
    request = replace(python_job(image, "pass", execution=reexecution_of(DealId(b"\xab" * 32), 3)), is_check=True)
    await finished(executor, request)
    async with trio.open_nursery() as nursery:
        removed = await (await next_life(settings, nursery)).sweep(set())
        assert f"container of execution {request.execution_id}" in removed
        nursery.cancel_scope.cancel()
    assert not [labels for _, labels in engine.labelled({NODE_LABEL: settings.node}) if EXECUTION_LABEL in labels]


async def test_a_job_that_ended_meanwhile_is_adopted_with_its_outcome(
    executor: DockerExecutor, image: PreparedImage, settings: DockerSettings
) -> None:
    request = python_job(image, "print('done'); raise SystemExit(5)")
    first = await finished(executor, request)
    async with trio.open_nursery() as nursery:
        heir = await next_life(settings, nursery)
        second = await heir.adopt(request.execution_id)
        nursery.cancel_scope.cancel()

    assert second == first


async def test_a_job_that_was_only_staged_is_not_adopted(
    executor: DockerExecutor, image: PreparedImage, settings: DockerSettings
) -> None:
    request = python_job(image, "pass")
    await executor.stage(request)
    async with trio.open_nursery() as nursery:
        heir = await next_life(settings, nursery)
        assert await heir.adopt(request.execution_id) is None
        assert await heir.adopt(ExecutionId("cd")) is None
        nursery.cancel_scope.cancel()


async def test_an_adopted_job_still_has_its_timeout(
    executor: DockerExecutor, image: PreparedImage, settings: DockerSettings
) -> None:
    request = python_job(image, SLEEP, timeout_s=2)
    async with trio.open_nursery() as nursery:
        await start(executor, request, nursery)
        async with trio.open_nursery() as second_life:
            heir = await next_life(settings, second_life)
            outcome = await heir.adopt(request.execution_id)
            second_life.cancel_scope.cancel()

    assert outcome is not None
    assert outcome.end is End.TIMEOUT


async def test_sweep_removes_our_orphans_and_nothing_else(
    executor: DockerExecutor, image: PreparedImage, settings: DockerSettings, engine: Engine
) -> None:
    kept, orphan = python_job(image, "pass", execution="aa"), python_job(image, "pass", execution="bb")
    for request in (kept, orphan):
        await finished(executor, request)
    stranger = engine.create({"Image": f"capanode-image:{image.image_id.removeprefix('sha256:')}"}, settings.node + "x")
    try:
        async with trio.open_nursery() as nursery:
            heir = await next_life(settings, nursery)
            removed = await heir.sweep({kept.execution_id})
            assert "container of execution bb" in removed
            assert not any("aa" in one and "container" in one for one in removed)
            assert engine.inspect(stranger).never_started
            outcome = await heir.adopt(kept.execution_id)
            assert outcome is not None
            assert outcome.outputs is not None
            assert outcome.outputs.is_mount()
            nursery.cancel_scope.cancel()
    finally:
        engine.remove(stranger)


async def test_a_container_removed_by_someone_is_told(
    executor: DockerExecutor, image: PreparedImage, engine: Engine, settings: DockerSettings
) -> None:
    request = python_job(image, SLEEP)
    async with trio.open_nursery() as nursery:
        outcomes = await start(executor, request, nursery)
        await trio.to_thread.run_sync(engine.remove, container_name(settings.node, request.execution_id))

    assert (outcomes[0].end, outcomes[0].payable) == (End.KILLED, False)
    assert "someone on this machine" in outcomes[0].detail


async def test_a_container_killed_by_someone_is_not_the_requester_s_failure(
    executor: DockerExecutor, image: PreparedImage, settings: DockerSettings
) -> None:
    request = python_job(image, SLEEP)
    async with trio.open_nursery() as nursery:
        outcomes = await start(executor, request, nursery)
        name = container_name(settings.node, request.execution_id)
        await trio.run_process(["docker", "kill", name], stdout=subprocess.DEVNULL)

    assert (outcomes[0].end, outcomes[0].payable) == (End.KILLED, False)


async def test_a_holder_that_has_gone_is_made_anew(
    executor: DockerExecutor, image: PreparedImage, engine: Engine, settings: DockerSettings
) -> None:
    await executor.warm(1)
    for holder, _ in engine.labelled({NODE_LABEL: settings.node, HOLDER_LABEL: "network"}):
        engine.remove(holder)

    outcome = await finished(executor, python_job(image, "print('ran')"))

    assert (outcome.end, outcome.stdout_tail) == (End.EXITED, b"ran\n")


async def test_a_holder_that_was_stopped_is_made_anew(
    executor: DockerExecutor, image: PreparedImage, engine: Engine, settings: DockerSettings
) -> None:
    await executor.warm(1)
    request = python_job(image, "print('ran')")
    await executor.stage(request)
    for holder, _ in engine.labelled({NODE_LABEL: settings.node, HOLDER_LABEL: "network"}):
        engine.kill(holder)

    outcome = await finished(executor, request)

    assert (outcome.end, outcome.stdout_tail) == (End.EXITED, b"ran\n")


async def test_without_an_engine_the_start_says_what_to_do(tmp_path: Path) -> None:
    settings = DockerSettings("nobody", tmp_path, address=f"unix://{tmp_path}/none.sock")

    with pytest.RaisesGroup(EngineDown) as caught:
        async with trio.open_nursery() as nursery:
            await nursery.start(run_docker_executor, settings)

    assert "start it" in str(caught.value.exceptions[0])


async def test_a_node_name_that_would_break_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured):
        await run_docker_executor(DockerSettings("Not OK", tmp_path))


async def test_an_engine_that_stays_away_leaves_the_job_to_be_taken_up_later(
    packed_python: tuple[Path, ArchivedImage], tmp_path: Path, settings: DockerSettings
) -> None:
    async with engine_proxy(tmp_path) as proxy, trio.open_nursery() as nursery:
        through = DockerSettings(settings.node, settings.state, address=proxy.address, reconnect_s=0.2)
        executor = await next_life(through, nursery)
        archive, reference = packed_python
        image = await executor.prepare(reference, archive=archive, progress=lambda _: None)
        gate = tmp_path / "gate"
        gate.mkdir()
        script = "import os, time\nwhile not os.path.exists('/in/gate/go'): time.sleep(0.02)\nprint('done')"
        request = python_job(image, script, inputs=(("gate", gate),))
        with pytest.RaisesGroup(EngineDown):
            async with trio.open_nursery() as running:
                await start(executor, request, running)
                proxy.cut()

        assert executor.known() == frozenset()
        assert "does not answer" in executor.objection()
        with pytest.raises(EngineDown):
            await executor.capacity()
        with pytest.raises(EngineDown):
            await finished(executor, python_job(image, "pass"))
        with pytest.raises(Unavailable):
            await executor.release(request.execution_id)
        proxy.mend()
        with trio.fail_after(20):
            await executor.ready()
        assert executor.objection() == ""
        (gate / "go").touch()
        outcome = await executor.adopt(request.execution_id)
        assert outcome is not None
        assert (outcome.end, outcome.stdout_tail) == (End.EXITED, b"done\n")
        await executor.release(request.execution_id)
        assert await executor.sweep(set()) is not None
        nursery.cancel_scope.cancel()


async def test_a_paused_container_goes_on(
    executor: DockerExecutor, image: PreparedImage, settings: DockerSettings
) -> None:
    request = python_job(image, "import time; print('up', flush=True); time.sleep(1); print('done')")
    async with trio.open_nursery() as nursery:
        outcomes = await start(executor, request, nursery)
        await docker("pause", container_name(settings.node, request.execution_id))

    assert [(one.end, one.exit_code) for one in outcomes] == [(End.EXITED, 0)]


async def test_time_that_someone_took_by_a_pause_is_not_the_program_s(
    executor: DockerExecutor, image: PreparedImage, settings: DockerSettings
) -> None:
    request = python_job(image, SLEEP, timeout_s=1)
    async with trio.open_nursery() as nursery:
        outcomes = await start(executor, request, nursery)
        await docker("pause", container_name(settings.node, request.execution_id))

    assert [(one.end, one.payable) for one in outcomes] == [(End.KILLED, False)]
    assert "paused" in outcomes[0].detail


async def test_a_program_that_ends_well_because_someone_stopped_it_has_not_ended_well(
    executor: DockerExecutor, image: PreparedImage, settings: DockerSettings
) -> None:
    script = (
        "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(0))\nprint('up', flush=True)\ntime.sleep(600)"
    )
    request = python_job(image, script)
    async with trio.open_nursery() as nursery:
        outcomes = await start(executor, request, nursery)
        with trio.fail_after(20):
            while await executor.logs(request.execution_id, 100) != b"up\n":
                await trio.lowlevel.checkpoint()
        await docker("stop", container_name(settings.node, request.execution_id))

    assert [(one.end, one.payable) for one in outcomes] == [(End.KILLED, False)]


async def test_outputs_that_someone_unmounted_are_not_taken_for_empty_ones(
    executor: DockerExecutor, image: PreparedImage, settings: DockerSettings
) -> None:
    script = "import os, time\nopen('/out/r', 'w').write('1')\nwhile not os.path.exists('/out/go'): time.sleep(0.02)"
    request = python_job(image, script)
    async with trio.open_nursery() as nursery:
        outcomes = await start(executor, request, nursery)
        (mount,) = [path for path in (settings.state / "outputs").iterdir() if path.is_mount()]
        (mount / "go").touch()
        await trio.run_process(["umount", "--lazy", str(mount)])

    assert [(one.end, one.payable) for one in outcomes] == [(End.DISK_FAILED, False)]
    assert (await finished(executor, python_job(image, "print(1)"))).exit_code == 0


async def test_a_spare_that_someone_unmounted_is_not_used(
    executor: DockerExecutor, image: PreparedImage, settings: DockerSettings
) -> None:
    request = python_job(image, "open('/out/r', 'w').write('1')")
    assert (await finished(executor, request)).exit_code == 0
    await executor.release(request.execution_id)
    await executor.warm(1)
    for spare in [path for path in (settings.state / "outputs").iterdir() if path.is_mount()]:
        await trio.run_process(["umount", str(spare)])
    outcome = await finished(executor, python_job(image, "open('/out/r', 'w').write('1')"))

    assert outcome.exit_code == 0
    assert outcome.outputs is not None
    assert outcome.outputs.is_mount()


async def test_an_image_that_someone_removed_is_asked_for_again(
    executor: DockerExecutor, packed_python: tuple[Path, ArchivedImage], tmp_path: Path
) -> None:
    archive, image_id_ = own_image(tmp_path)
    reference = ArchivedImage(Cid("bafysmall"), image_id_)
    image = await executor.prepare(reference, archive=archive, progress=lambda _: None)
    request = replace(python_job(image, "-"), argv=("echo hi",))
    assert await executor.holds(image.image_id)
    await docker("image", "rm", "-f", f"capanode-image:{image_id_.removeprefix('sha256:')}")
    with pytest.raises(ImageGone):
        await finished(executor, request)
    assert not await executor.holds(image.image_id)
    await executor.prepare(reference, archive=archive, progress=lambda _: None)
    assert (await finished(executor, request)).stdout_tail == b"hi\n"


async def test_an_image_that_lost_its_name_while_a_container_used_it_is_run_by_its_id(
    executor: DockerExecutor, settings: DockerSettings, tmp_path: Path
) -> None:
    archive, image_id_ = own_image(tmp_path)
    reference = ArchivedImage(Cid("bafysmall"), image_id_)
    image = await executor.prepare(reference, archive=archive, progress=lambda _: None)
    user = replace(python_job(image, "-", execution="aa"), argv=("sleep 600",))
    async with trio.open_nursery() as nursery:
        outcomes = await start(executor, user, nursery)
        await docker("image", "rm", "-f", f"capanode-image:{image_id_.removeprefix('sha256:')}")
        request = replace(python_job(image, "-", execution="ab"), argv=("echo hi",))
        with pytest.raises(Unavailable, match="by its id"):
            await finished(executor, request)
        assert (await finished(executor, request)).stdout_tail == b"hi\n"
        await executor.cancel(user.execution_id)
    assert [one.end for one in outcomes] == [End.CANCELLED]


def own_image(folder: Path) -> tuple[Path, ImageId]:
    """The shell's image under an id that nobody else uses."""
    write_shell_image(folder / "shell.tar")
    checked = check_archive(folder / "shell.tar", None)
    config = orjson.loads(checked.config)
    config["config"]["Labels"] = {"own": secrets.token_hex(8)}
    layer = (folder / "shell.tar").read_bytes()[checked.layers[0].offset :][: checked.layers[0].packed_bytes]
    archive = archive_of(folder / "own.tar", orjson.dumps(config), [layer])
    return archive, check_archive(archive, None).image_id


async def docker(*arguments: str) -> None:
    await trio.run_process(["docker", *arguments], stdout=subprocess.DEVNULL)


async def test_the_start_waits_for_an_engine_that_is_late(settings: DockerSettings, tmp_path: Path) -> None:
    late = replace(settings, address=f"unix://{tmp_path}/engine.sock", patience_s=30)
    async with trio.open_nursery() as nursery:
        started = trio.Event()

        async def begin() -> None:
            await next_life(late, nursery)
            started.set()

        nursery.start_soon(begin)
        await trio.testing.wait_all_tasks_blocked(0.1)
        assert not started.is_set()
        async with engine_proxy(tmp_path):
            with trio.fail_after(20):
                await started.wait()
            nursery.cancel_scope.cancel()


async def test_an_engine_that_comes_back_loses_nothing(
    packed_python: tuple[Path, ArchivedImage], tmp_path: Path, settings: DockerSettings
) -> None:
    async with engine_proxy(tmp_path) as proxy, trio.open_nursery() as nursery:
        through = DockerSettings(settings.node, settings.state, address=proxy.address)
        executor = await next_life(through, nursery)
        archive, reference = packed_python
        image = await executor.prepare(reference, archive=archive, progress=lambda _: None)
        gate = tmp_path / "gate"
        gate.mkdir()
        script = "import os, time\nwhile not os.path.exists('/in/gate/go'): time.sleep(0.02)\nprint('done')"
        request = python_job(image, script, inputs=(("gate", gate),))
        async with trio.open_nursery() as running:
            outcomes = await start(executor, request, running)
            proxy.cut()
            (gate / "go").touch()
            proxy.mend()

        assert (outcomes[0].end, outcomes[0].stdout_tail) == (End.EXITED, b"done\n")
        await executor.release(request.execution_id)
        nursery.cancel_scope.cancel()


async def test_capacity_is_the_machine_s(executor: DockerExecutor) -> None:
    capacity = await executor.capacity()

    assert capacity.cpu_millis >= 1000
    assert capacity.memory_bytes > 256 * MIB
    assert capacity.disk_bytes > 0


def test_a_request_names_all_its_mistakes() -> None:
    image = PreparedImage(image_id("sha256:" + "0" * 64), 0, None)
    with pytest.raises(Refused) as caught:
        python_job(
            image,
            "a\0b",
            execution="XYZ",
            memory_bytes=1,
            pids=1,
            timeout_s=0,
            inputs=(("../x", Path("rel")),),
            env=(("A B", ""), ("A", "1"), ("A", "2")),
            gpu_uuids=("all",),
        )
    for part in ("lower-case hex", "16 MiB", "between 4", "30 days", "NUL", "plain file name", "absolute"):
        assert part in str(caught.value)
    for part in ("C identifier", "set twice", "by its UUID"):
        assert part in str(caught.value)
