"""GPUs as jobs get them, on an engine with a hook that records instead of a driver that computes."""

import json
import os
import secrets
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from capanode.node.executors.docker import DockerExecutor, DockerSettings, run_docker_executor
from capanode.node.executors.port import End, PreparedImage, RunOutcome
from capanode.node.executors.preparing import gpu_objection
from capanode.node.images.archive import write_archive
from capanode.node.images.reference import ArchivedImage
from capanode.protocol.ids import Cid
from tests.executors.running import finished, python_job
from tests.fakes.nvidia_hook import HookedEngine, engine_with_hook
from tests.fakes.nvml_stub import NVML, NvmlStub, StubGpu

ONE, TWO, BROKEN = "GPU-11111111-aaaa", "GPU-22222222-bbbb", "GPU-33333333-cccc"
GPUS = tuple(StubGpu(uuid, "NVIDIA A10", 24 * 2**30, (8, 6), minor) for minor, uuid in enumerate((ONE, TWO, BROKEN)))
LOOK = """
import json, os, time
print(json.dumps([os.environ.get("NVIDIA_VISIBLE_DEVICES"), sorted(n for n in os.listdir("/dev") if "nvidia" in n)]))
time.sleep(0.3)
"""


@dataclass(frozen=True, slots=True)
class Bench:
    executor: DockerExecutor
    engine: HookedEngine
    image: PreparedImage


async def opened(address: str | None, state: Path, nursery: trio.Nursery) -> DockerExecutor:
    settings = DockerSettings("t" + secrets.token_hex(6), state, address=address)
    executor: DockerExecutor = await nursery.start(run_docker_executor, settings)
    return executor


@pytest.fixture
async def bench(
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    bare_python: tuple[Path, ArchivedImage],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Bench]:
    """An executor on an engine whose hook knows the first two GPUs, but not the third."""
    monkeypatch.setattr(NVML, "nvmlLib", NvmlStub(GPUS))
    monkeypatch.setattr(NVML, "_nvmlGetFunctionPointer_cache", {})
    folder = tmp_path_factory.mktemp("hooked")
    async with engine_with_hook(folder, {ONE: 0, TWO: 1}) as engine, trio.open_nursery() as nursery:
        executor = await opened(engine.address, tmp_path / "state", nursery)
        archive, reference = bare_python
        image = await executor.prepare(reference, archive=archive, progress=lambda _: None)
        yield Bench(executor, engine, image)
        for execution in executor.known():
            await executor.release(execution)
        nursery.cancel_scope.cancel()


async def test_gpus_from_request_to_device_files(bench: Bench) -> None:
    await a_job_gets_exactly_the_gpus_it_was_given(bench)
    await a_cpu_job_gets_none_whatever_its_image_says(bench)
    await a_gpu_that_does_not_arrive_is_the_provider_s_failure(bench)
    await a_gpu_in_use_is_not_given_twice(bench)
    await images_that_attack_the_hook_get_no_gpu(bench)


async def a_job_gets_exactly_the_gpus_it_was_given(bench: Bench) -> None:
    capacity = await bench.executor.capacity()
    outcome = await finished(bench.executor, python_job(bench.image, LOOK, gpu_uuids=(TWO, ONE)))

    assert [gpu.uuid for gpu in capacity.gpus] == [ONE, TWO, BROKEN]
    assert (outcome.end, outcome.exit_code) == (End.EXITED, 0), outcome.detail
    assert json.loads(outcome.stdout_tail) == [f"{TWO},{ONE}", ["nvidia0", "nvidia1"]]
    call = bench.engine.calls()[-1]
    assert call["arguments"] == ["prestart"]
    assert call["env"]["NVIDIA_VISIBLE_DEVICES"] == f"{TWO},{ONE}"
    assert set(call["env"]["NVIDIA_DRIVER_CAPABILITIES"].split(",")) == {"compute", "utility"}


async def a_cpu_job_gets_none_whatever_its_image_says(bench: Bench) -> None:
    before = len(bench.engine.calls())
    outcome = await finished(bench.executor, python_job(bench.image, LOOK, env=(("NVIDIA_VISIBLE_DEVICES", "all"),)))

    assert json.loads(outcome.stdout_tail) == ["void", []]
    assert len(bench.engine.calls()) == before


async def a_gpu_that_does_not_arrive_is_the_provider_s_failure(bench: Bench) -> None:
    outcome = await finished(bench.executor, python_job(bench.image, LOOK, gpu_uuids=(BROKEN,)))

    assert (outcome.end, outcome.payable) == (End.GPU_MISSING, False)
    assert "/dev/nvidia2" in outcome.detail


async def a_gpu_in_use_is_not_given_twice(bench: Bench) -> None:
    up, outcomes = trio.Event(), list[RunOutcome]()
    request = python_job(bench.image, "import time; time.sleep(600)", gpu_uuids=(ONE,))

    async def hold() -> None:
        outcomes.append(await bench.executor.run(request, started=lambda _: up.set()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold)
        await up.wait()
        second = await finished(bench.executor, python_job(bench.image, LOOK, gpu_uuids=(ONE,)))
        await bench.executor.cancel(request.execution_id)

    assert (second.end, second.payable) == (End.GPU_MISSING, False)
    assert "in use" in second.detail
    third = await finished(bench.executor, python_job(bench.image, LOOK, gpu_uuids=(ONE,)))
    assert third.end is End.EXITED


async def images_that_attack_the_hook_get_no_gpu(bench: Bench) -> None:
    before = len(bench.engine.calls())
    outcome = await finished(
        bench.executor, python_job(bench.image, LOOK, gpu_uuids=(ONE,), env=(("LD_PRELOAD", "/proc/self/cwd/x.so"),))
    )

    assert (outcome.end, outcome.payable) == (End.START_FAILED, False)
    assert "LD_PRELOAD" in outcome.detail
    assert len(bench.engine.calls()) == before


async def test_an_image_that_preloads_a_library_is_refused_with_a_gpu_and_told_so(
    tmp_path: Path, bare_python: tuple[Path, ArchivedImage]
) -> None:
    archive = tmp_path / "trap.tar"
    root = tmp_path / "root.tar"
    with tarfile.open(root, "w") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    loads_as = write_archive(root, {"Env": ["LD_PRELOAD=/proc/self/cwd/x.so"], "Cmd": ["/empty"]}, archive)
    async with trio.open_nursery() as nursery:
        executor = await opened(None, tmp_path / "state", nursery)
        reference = ArchivedImage(Cid("bafytrap"), loads_as)
        image = await executor.prepare(reference, archive=archive, progress=lambda _: None)
        outcome = await finished(executor, python_job(image, "", gpu_uuids=(ONE,)))
        nursery.cancel_scope.cancel()

    assert image.gpu_objection is not None
    assert "LD_PRELOAD" in image.gpu_objection
    assert outcome.end is End.START_FAILED


async def test_an_engine_without_gpu_support_fails_the_start(
    tmp_path: Path, bare_python: tuple[Path, ArchivedImage]
) -> None:
    async with trio.open_nursery() as nursery:
        executor = await opened(None, tmp_path / "state", nursery)
        archive, reference = bare_python
        image = await executor.prepare(reference, archive=archive, progress=lambda _: None)
        outcome = await finished(executor, python_job(image, LOOK, gpu_uuids=(ONE,)))
        nursery.cancel_scope.cancel()

    assert not outcome.payable
    assert "device driver" in outcome.detail


@pytest.mark.parametrize(
    "variable",
    [
        "LD_PRELOAD=/x.so",
        "LD_AUDIT=/x.so",
        "LD_LIBRARY_PATH=/proc/self/cwd",
        "LD_LIBRARY_PATH=relative",
        "LD_LIBRARY_PATH=/usr/lib:",
        "LD_LIBRARY_PATH=/usr/../proc",
        "GLIBC_TUNABLES=glibc.malloc.check=1",
    ],
)
def test_variables_that_could_reach_the_hook_are_objected_to(variable: str) -> None:
    assert gpu_objection(("PATH=/bin", variable)) is not None


def test_what_vendors_images_set_is_fine() -> None:
    env = (
        "PATH=/usr/bin",
        "LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64",
        "NVIDIA_VISIBLE_DEVICES=all",
    )

    assert gpu_objection(env) is None


def test_root_runs_these_tests() -> None:
    assert os.geteuid() == 0, "the GPU tests start an engine of their own; run them as root"
