"""Jobs that fail, hang, flood, fill, fork and trick: how each one ends and that it stays within bounds."""

import os
import stat
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest
import trio

from capanode.node.executors import following
from capanode.node.executors.docker import DockerExecutor
from capanode.node.executors.port import End, ExecutionId, PreparedImage, RunRequest
from capanode.node.executors.sandbox import MAX_LOG_BYTES
from capanode.node.images.archive import check_archive
from capanode.node.images.reference import ArchivedImage, image_id
from capanode.protocol.ids import Cid
from tests.executors.running import MIB, finished, python_job
from tests.images.layers import archive_of

FORK_BOMB = """
import os, time
started = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(60)
        started += 1
except OSError as error:
    print(started, error.errno)
    os._exit(3)
"""

FILL_DISK = """
import errno
written = 0
try:
    with open("/out/big", "wb", buffering=0) as file:
        while True:
            written += file.write(bytes(1 << 16))
except OSError as error:
    print(written, errno.errorcode[error.errno])
"""

MANY_FILES = """
import errno
made = 0
try:
    for made in range(1_000_000):
        open(f"/out/{made}", "w").close()
except OSError as error:
    print(made, errno.errorcode[error.errno])
"""

LINKS_AND_DEVICES = """
import errno, os, stat
os.symlink("/etc/shadow", "/out/shadow")
os.symlink("../../../../etc/passwd", "/out/up")
os.mkfifo("/out/pipe")
for name, kind in (("disk", stat.S_IFBLK), ("null", stat.S_IFCHR)):
    try:
        os.mknod("/out/" + name, kind | 0o666, os.makedev(8, 0))
    except OSError as error:
        print(name, errno.errorcode[error.errno])
open("/out/program", "w").write("#!/bin/true")
os.chmod("/out/program", 0o6777)
"""


@pytest.mark.parametrize(
    ("script", "code"),
    [("raise SystemExit(7)", 7), ("import os; os.abort()", 134), ("import os; os.kill(os.getpid(), 11)", 139)],
)
async def test_a_program_that_fails_is_the_requester_s_and_payable(
    executor: DockerExecutor, image: PreparedImage, script: str, code: int
) -> None:
    outcome = await finished(executor, python_job(image, script))

    assert (outcome.end, outcome.exit_code, outcome.payable) == (End.EXITED, code, True)


@pytest.mark.parametrize("apart_s", [3600, -3600])
async def test_a_machine_clock_that_was_set_neither_holds_a_job_up_nor_hides_who_killed_it(
    executor: DockerExecutor, image: PreparedImage, apart_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "time", SimpleNamespace(time=lambda: time.time() + apart_s))
    with trio.fail_after(30):
        outcome = await finished(executor, python_job(image, "print('done')"))
        assert outcome.end is End.EXITED
        killed = await executor.run(python_job(image, "import time; time.sleep(60)"), started=_kill)
    assert killed.end is End.KILLED


def _kill(container: str) -> None:
    subprocess.run(["docker", "kill", container], check=True, capture_output=True)


async def test_a_program_that_kills_itself_with_signal_9_did_exit(
    executor: DockerExecutor, image: PreparedImage
) -> None:
    outcome = await finished(executor, python_job(image, "import os; os.kill(os.getpid(), 9)"))

    assert (outcome.end, outcome.exit_code) == (End.EXITED, 137)


async def test_a_program_that_hangs_is_stopped_at_its_timeout(executor: DockerExecutor, image: PreparedImage) -> None:
    script = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"

    outcome = await finished(executor, python_job(image, script, timeout_s=1))

    assert (outcome.end, outcome.exit_code, outcome.payable) == (End.TIMEOUT, None, True)
    assert outcome.stdout_tail == b"up\n"
    assert 1.0 <= outcome.usage.wall_s < 10.0


async def test_more_memory_than_allowed_ends_as_out_of_memory(executor: DockerExecutor, image: PreparedImage) -> None:
    outcome = await finished(executor, python_job(image, "x = bytearray(512 << 20)", memory_bytes=64 * MIB))

    assert (outcome.end, outcome.exit_code, outcome.payable) == (End.OOM, 137, True)


async def test_files_in_memory_count_as_the_job_s_memory(executor: DockerExecutor, image: PreparedImage) -> None:
    script = """
for folder in ("/tmp", "/dev/shm"):
    with open(folder + "/x", "wb") as file:
        for _ in range(31):
            file.write(bytes(1 << 20))
x = bytearray(24 << 20)
"""
    outcome = await finished(executor, python_job(image, script, memory_bytes=64 * MIB))

    assert outcome.end is End.OOM


async def test_a_fork_bomb_meets_the_process_limit(executor: DockerExecutor, image: PreparedImage) -> None:
    outcome = await finished(executor, python_job(image, FORK_BOMB, pids=32))

    assert (outcome.end, outcome.exit_code) == (End.EXITED, 3)
    started, error = outcome.stdout_tail.split()
    assert int(started) < 32
    assert error == b"11"  # EAGAIN


async def test_a_flood_of_output_keeps_its_last_part_only(executor: DockerExecutor, image: PreparedImage) -> None:
    script = "import sys\nfor n in range(40_000): sys.stdout.write(f'{n:>98}\\n')\nprint('the end')"
    request = python_job(image, script)

    outcome = await finished(executor, request)

    assert outcome.exit_code == 0
    assert outcome.stdout_tail.endswith(b"the end\n")
    assert outcome.log is not None
    kept = sum(file.stat().st_size for file in outcome.log.iterdir())
    assert 16 * 1024 < kept <= MAX_LOG_BYTES
    assert (await executor.logs(request.execution_id, 8)) == b"the end\n"


async def test_a_full_disk_is_the_job_s_own(executor: DockerExecutor, image: PreparedImage) -> None:
    outcome = await finished(executor, python_job(image, FILL_DISK, disk_bytes=8 * MIB))

    written, error = outcome.stdout_tail.split()
    assert error == b"ENOSPC"
    assert 8 * MIB <= int(written) < 10 * MIB
    assert outcome.end is End.EXITED


async def test_a_million_files_meet_the_limit_of_the_file_system(
    executor: DockerExecutor, image: PreparedImage
) -> None:
    outcome = await finished(executor, python_job(image, MANY_FILES, disk_bytes=8 * MIB))

    made, error = outcome.stdout_tail.split()
    assert error == b"ENOSPC"
    assert 1000 < int(made) < 2000


async def test_links_and_devices_stay_harmless_on_the_host(executor: DockerExecutor, image: PreparedImage) -> None:
    outcome = await finished(executor, python_job(image, LINKS_AND_DEVICES))

    assert outcome.stdout_tail == b"disk EPERM\nnull EPERM\n"
    assert outcome.outputs is not None
    kinds = {entry.name: stat.S_IFMT(entry.lstat().st_mode) for entry in outcome.outputs.iterdir()}
    assert kinds == {
        "shadow": stat.S_IFLNK,
        "up": stat.S_IFLNK,
        "pipe": stat.S_IFIFO,
        "program": stat.S_IFREG,
    }
    flags = os.statvfs(outcome.outputs).f_flag
    assert flags & os.ST_NOSUID
    assert flags & os.ST_NODEV
    assert flags & os.ST_NOEXEC


async def test_inputs_cannot_be_changed(executor: DockerExecutor, image: PreparedImage, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_text("original")
    data.chmod(0o666)
    script = "print(open('/in/data').read()); open('/in/data', 'w').write('changed')"

    outcome = await finished(executor, python_job(image, script, inputs=(("data", data),)))

    assert outcome.stdout_tail == b"original\n"
    assert b"Read-only file system" in outcome.stderr_tail
    assert data.read_text() == "original"


async def test_an_input_that_is_gone_fails_the_start(
    executor: DockerExecutor, image: PreparedImage, tmp_path: Path
) -> None:
    request = python_job(image, "pass", inputs=(("data", tmp_path / "missing"),))

    outcome = await finished(executor, request)

    assert (outcome.end, outcome.payable, outcome.outputs) == (End.START_FAILED, False, None)


async def test_an_image_that_was_never_prepared_fails_the_start(executor: DockerExecutor, image: PreparedImage) -> None:
    stranger = PreparedImage(image_id("sha256:" + "0" * 64), 0, None)

    outcome = await finished(executor, python_job(stranger, "pass"))

    assert (outcome.end, outcome.payable) == (End.START_FAILED, False)
    assert "has not been prepared" in outcome.detail


async def test_what_one_job_leaves_the_next_one_in_the_slot_does_not_find(
    executor: DockerExecutor, image: PreparedImage
) -> None:
    await executor.warm(1)
    leave = "import socket; open('/out/x','w'); open('/tmp/x','w'); s = socket.socket(1); s.bind('\\0capanode')"
    look = "import os, socket; print(os.listdir('/out'), os.listdir('/tmp')); socket.socket(1).bind('\\0capanode')"

    first = await finished(executor, python_job(image, leave))
    second = await finished(executor, python_job(image, look))

    assert (first.exit_code, second.exit_code) == (0, 0), second.stderr_tail
    assert second.stdout_tail == b"[] []\n"


async def test_two_jobs_at_once_do_not_share_a_network(executor: DockerExecutor, image: PreparedImage) -> None:
    await executor.warm(2)
    script = "import os; print(os.stat('/proc/self/ns/net').st_ino)"
    seen: set[bytes] = set()

    async def one(request: RunRequest) -> None:
        seen.add((await finished(executor, request)).stdout_tail)

    async with trio.open_nursery() as nursery:
        for number in range(2):
            nursery.start_soon(one, python_job(image, script, execution=f"{number:02x}"))

    assert len(seen) == 2


async def test_output_disks_larger_than_the_host_s_are_refused(executor: DockerExecutor, image: PreparedImage) -> None:
    outcome = await finished(executor, python_job(image, "pass", disk_bytes=2**46, execution="ab"))

    assert (outcome.end, outcome.payable) == (End.DISK_FAILED, False)
    assert ExecutionId("ab") not in executor.known()


async def test_volumes_of_an_image_are_small_and_in_memory(
    executor: DockerExecutor, packed_python: tuple[Path, ArchivedImage], tmp_path: Path
) -> None:
    checked = check_archive(packed_python[0], packed_python[1].image_id)
    config = orjson.loads(checked.config)
    config["config"]["Volumes"] = {"/data/cache": {}}
    with packed_python[0].open("rb") as file:
        file.seek(checked.layers[0].offset)
        layer = file.read(checked.layers[0].packed_bytes)
    archive = archive_of(tmp_path / "image.tar", orjson.dumps(config), [layer])
    reference = ArchivedImage(Cid("bafyvolume"), check_archive(archive, None).image_id)
    image = await executor.prepare(reference, archive=archive, progress=lambda _: None)
    script = FILL_DISK.replace("/out/big", "/data/cache/big")

    outcome = await finished(executor, python_job(image, script))

    written, error = outcome.stdout_tail.split()
    assert (int(written), error) == (16 * MIB, b"ENOSPC")
