"""The output file systems themselves, with root and without an engine."""

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from capanode.node.executors.outputs import (
    destroy_disk,
    disk_is_sound,
    disk_names,
    find_disk,
    make_disk,
    missing_tools,
    name_for,
)
from capanode.node.executors.sandbox import JOB_UID
from capanode.protocol.faults import Unavailable

MIB = 2**20


def test_made_empty_bounded_found_again_and_destroyed(tmp_path: Path) -> None:
    disk = make_disk(tmp_path, name_for(4 * MIB))
    try:
        assert list(disk.path.iterdir()) == []
        assert disk.path.stat().st_uid == JOB_UID
        assert disk_is_sound(disk)
        assert find_disk(tmp_path, disk.name) == disk
        assert disk_names(tmp_path) == [disk.name]
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            (disk.path / "big").write_bytes(bytes(8 * MIB))
    finally:
        destroy_disk(tmp_path, disk.name)
        destroy_disk(tmp_path, disk.name)
    assert list(tmp_path.iterdir()) == []
    assert find_disk(tmp_path, disk.name) is None


def test_several_may_remove_the_same_at_once(tmp_path: Path) -> None:
    """As a node that ends does: the job's task lets go of it, and so does who runs the task."""
    many = 4
    together = threading.Barrier(many)

    def destroy(name: str) -> None:
        together.wait()
        destroy_disk(tmp_path, name)

    with ThreadPoolExecutor(many) as threads:
        for _ in range(10):
            disk = make_disk(tmp_path, name_for(4 * MIB))
            for done in [threads.submit(destroy, disk.name) for _ in range(many)]:
                done.result()
            assert list(tmp_path.iterdir()) == []


def test_the_host_s_blocks_are_reserved_at_once(tmp_path: Path) -> None:
    disk = make_disk(tmp_path, name_for(16 * MIB))
    try:
        assert (tmp_path / f"{disk.name}.img").stat().st_blocks * 512 >= 16 * MIB
    finally:
        destroy_disk(tmp_path, disk.name)


def test_more_than_the_host_has_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="free disk space"):
        make_disk(tmp_path, name_for(2**45))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "/etc", "a/b", ""])
def test_names_from_labels_do_not_lead_elsewhere(tmp_path: Path, name: str) -> None:
    assert find_disk(tmp_path, name) is None


def test_the_tools_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing_tools() == []
