"""A real engine, one Python image for the whole run, and an executor with a node name of its own."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from capanode.node.executors.docker import DockerExecutor, DockerSettings, run_docker_executor
from capanode.node.executors.port import PreparedImage
from capanode.node.images.pack_python import pack_python
from capanode.node.images.reference import ArchivedImage
from capanode.protocol.ids import Cid


@pytest.fixture(scope="session")
def packed_python(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ArchivedImage]:
    """The archive of an image made of this Python and NumPy."""
    archive = tmp_path_factory.mktemp("image") / "python.tar"
    return archive, ArchivedImage(Cid("bafytest"), pack_python(archive))


@pytest.fixture
def settings(tmp_path: Path) -> DockerSettings:
    return DockerSettings(node="t" + secrets.token_hex(6), state=tmp_path / "state")


@pytest.fixture
async def executor(settings: DockerSettings) -> AsyncIterator[DockerExecutor]:
    async with trio.open_nursery() as nursery:
        running: DockerExecutor = await nursery.start(run_docker_executor, settings)
        yield running
        await running.sweep(set())
        for execution in list(running.known()):
            await running.release(execution)
        nursery.cancel_scope.cancel()


@pytest.fixture
async def image(executor: DockerExecutor, packed_python: tuple[Path, ArchivedImage]) -> PreparedImage:
    archive, reference = packed_python
    return await executor.prepare(reference, archive=archive, progress=lambda _: None)
