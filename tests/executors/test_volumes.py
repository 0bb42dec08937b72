"""Outputs without root: in the engine's memory, with the same limits and the same result on the host."""

import io
import os
import stat
import tarfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from capanode.node.executors.docker import (
    DockerExecutor,
    DockerSettings,
    OutputWay,
    output_way,
    run_docker_executor,
)
from capanode.node.executors.docker_engine import Engine
from capanode.node.executors.port import End, PreparedImage
from capanode.node.executors.sandbox import NODE_LABEL
from capanode.node.executors.volumes import unpack
from capanode.node.images.reference import ArchivedImage
from tests.executors.running import MIB, finished, python_job

WRITE = """
import os
os.makedirs("/out/a/b")
open("/out/a/b/file", "w").write("content")
os.chmod("/out/a/b/file", 0o755)
os.link("/out/a/b/file", "/out/twin")
os.symlink("/etc/shadow", "/out/shadow")
os.mkfifo("/out/pipe")
"""
FILL = """
import errno
try:
    open("/out/big", "wb").write(bytes(16 << 20))
except OSError as error:
    print(errno.errorcode[error.errno])
"""


@pytest.fixture
async def rootless(settings: DockerSettings) -> AsyncIterator[DockerExecutor]:
    async with trio.open_nursery() as nursery:
        running: DockerExecutor = await nursery.start(run_docker_executor, replace(settings, outputs=OutputWay.MEMORY))
        yield running
        for execution in running.known():
            await running.release(execution)
        nursery.cancel_scope.cancel()


async def test_outputs_arrive_and_go(
    rootless: DockerExecutor, packed_python: tuple[Path, ArchivedImage], settings: DockerSettings
) -> None:
    archive, reference = packed_python
    image = await rootless.prepare(reference, archive=archive, progress=lambda _: None)
    await rootless.warm(1)

    outcome = await finished(rootless, python_job(image, WRITE))
    full = await finished(rootless, python_job(image, FILL, disk_bytes=4 * MIB))

    assert (outcome.end, outcome.exit_code) == (End.EXITED, 0), outcome.stderr_tail
    assert outcome.outputs is not None
    assert (outcome.outputs / "a" / "b" / "file").read_text() == "content"
    assert (outcome.outputs / "a" / "b" / "file").stat().st_mode & stat.S_IXUSR
    assert (outcome.outputs / "twin").read_text() == "content"
    assert os.readlink(outcome.outputs / "shadow") == "/etc/shadow"
    assert full.stdout_tail == b"ENOSPC\n"
    await adopted_again(rootless, settings, image)
    for done in (outcome, full):
        await rootless.release(done.execution_id)
    assert not list((settings.state / "outputs").iterdir())
    assert await rootless.sweep(set()) == []


async def adopted_again(rootless: DockerExecutor, settings: DockerSettings, image: PreparedImage) -> None:
    first = await finished(rootless, python_job(image, "open('/out/x', 'w').write('1')"))
    async with trio.open_nursery() as nursery:
        heir: DockerExecutor = await nursery.start(run_docker_executor, replace(settings, outputs=OutputWay.MEMORY))
        second = await heir.adopt(first.execution_id)
        assert second is not None
        assert second == first
        assert second.outputs is not None
        assert (second.outputs / "x").read_text() == "1"
        await heir.release(first.execution_id)
        nursery.cancel_scope.cancel()
    await rootless.release(first.execution_id)
    engine = Engine()
    labels = [labels for _, labels in engine.labelled({NODE_LABEL: settings.node})]
    engine.close()
    assert not [one for one in labels if one.get("capanode.execution") == first.execution_id]


def packed(*members: tuple[str, bytes, str]) -> list[bytes]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, kind, link in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            tar.addfile(info)
    return [buffer.getvalue()[at : at + 100] for at in range(0, len(buffer.getvalue()), 100)]


def test_nothing_is_written_outside_or_through_a_link(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()

    unpack(
        packed(
            ("out", tarfile.DIRTYPE, ""),
            ("out/link", tarfile.SYMTYPE, str(outside)),
            ("out/link/through", tarfile.REGTYPE, ""),
            ("out/../../climb", tarfile.REGTYPE, ""),
            ("out/hard", tarfile.LNKTYPE, "out/../../../etc/passwd"),
            ("out/disk", tarfile.BLKTYPE, ""),
            ("out/good", tarfile.REGTYPE, ""),
        ),
        inside,
    )

    assert sorted(os.listdir(inside)) == ["good", "link"]
    assert list(outside.iterdir()) == []
    assert sorted(os.listdir(tmp_path)) == ["in", "outside"]


def test_without_root_the_memory_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert output_way() is OutputWay.DISK
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert output_way() is OutputWay.MEMORY
