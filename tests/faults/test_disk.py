"""The disk under every node is full for a while: it is told, nothing is lost, and work goes on when there is room."""

import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from capanode.node.api.client import NodeClient
from capanode.node.data_folder import MIN_FREE_BYTES
from capanode.node.devnet import DevnetPlan
from capanode.node.devnet_parties import Party
from capanode.node.storage.room import Room
from capanode.protocol.faults import Refused, Unavailable
from tests.e2e.held_job import outputs_of, running_containers
from tests.e2e.town import Town, eventually, false_checks, open_planned_town, result

DISK_MIB = 1400
SPARE_BYTES = 2**22


@contextmanager
def small_disk() -> Iterator[Path]:
    """A folder with a file system of its own; needs root."""
    with tempfile.TemporaryDirectory(prefix="cpd-") as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    with small_disk() as folder:
        yield folder


@pytest.fixture(scope="module")
def town(disk: Path, shell_image: Path) -> Iterator[Town]:
    with open_planned_town(DevnetPlan(disk / "devnet", providers=1), shell_image) as opened:
        yield opened


@contextmanager
def full(disk: Path, left_bytes: int = 0) -> Iterator[None]:
    """Nothing more than `left_bytes` can be written."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        told = os.statvfs(disk)
        # Not all at once: others write meanwhile.
        os.posix_fallocate(file.fileno(), 0, max(told.f_bavail * told.f_frsize - left_bytes - SPARE_BYTES, 1))
        file.seek(0, os.SEEK_END)
        try:
            while not left_bytes:
                file.write(bytes(4096))
        except OSError as error:  # that is what is wanted
            if error.errno != errno.ENOSPC:
                raise
    try:
        yield
    finally:
        ballast.unlink()


def objection(party: Party) -> str:
    try:
        return str(NodeClient(party.folder.socket).status()["objection"])
    except Unavailable as fault:
        return f"no answer: {fault}"


def assert_paid(town: Town, job_id: str, before: int) -> None:
    view = town.until(job_id, lambda _: False, within_s=120)
    assert (view.state, view.exit_code) == ("paid", 0), view.reason
    assert result(view, "answer") == b"done\n"
    assert false_checks(view) == []
    wealth = town.wealth()[town.providers[0].name]
    assert wealth.total_wei - before == view.paid_wei
    assert wealth.locked_wei == 0


def test_the_reserve_is_kept(tmp_path: Path) -> None:
    assert Room(tmp_path, 1).objection() == ""
    assert "free some" in Room(tmp_path, 2**60).objection()
    assert Room(tmp_path / "missing", 1).objection()


@pytest.mark.timeout(600)
def test_below_the_reserve_no_work_is_taken_and_none_is_submitted(town: Town, disk: Path) -> None:
    (provider,) = town.providers
    with full(disk, MIN_FREE_BYTES // 2):
        eventually(lambda: "free some" in objection(provider))
        with pytest.raises(Refused, match="free some"):
            town.submit(town.order("true"))
    eventually(lambda: objection(provider) == "")
    before = town.wealth()[provider.name].total_wei
    assert_paid(town, town.submit(town.order("echo done > /out/answer", timeout="10s")).job_id, before)


@pytest.mark.timeout(600)
def test_a_disk_that_is_full_when_the_program_ends_costs_neither_result_nor_money(town: Town, disk: Path) -> None:
    (provider,) = town.providers
    before = town.wealth()[provider.name].total_wei
    command = "echo up; until [ -e /out/go ]; do sleep 0.1; done; echo done > /out/answer; : > /out/seen"
    job = town.submit(town.order(command, timeout="20s"))
    town.until(job.job_id, lambda view: view.state == "running")
    eventually(lambda: b"up" in town.client.logs(job.job_id, 100))
    outputs = outputs_of(provider)
    with full(disk):
        eventually(lambda: "free some" in objection(provider))
        (outputs / "go").touch()
        eventually(lambda: (outputs / "seen").exists())
        eventually(lambda: not running_containers(provider))
    assert_paid(town, job.job_id, before)
    assert town.process(provider).poll() is None
    assert town.process(town.requester).poll() is None
