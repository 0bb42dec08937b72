"""The data folder: its lock, its permissions, and the socket's path."""

import os
import shutil
import stat
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from capanode.node import data_folder
from capanode.node.data_folder import DataFolder, held, holder, prepare, private_folder
from capanode.protocol.faults import Misconfigured

Usage = namedtuple("Usage", "total used free")

HOLD = """
import sys
from pathlib import Path
from capanode.node.data_folder import DataFolder, held
with held(DataFolder(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_folder_in_use_is_refused_with_the_process_that_uses_it(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == b"held\n"
        assert holder(DataFolder(tmp_path)) == other.pid
        with pytest.raises(Misconfigured, match=f"process id {other.pid}"), held(DataFolder(tmp_path)):
            pass
        other.stdin.close()
    with held(DataFolder(tmp_path)):
        assert holder(DataFolder(tmp_path)) is not None
    assert holder(DataFolder(tmp_path)) is None


def test_lock_goes_with_a_killed_process(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        other.kill()
    with held(DataFolder(tmp_path)):
        pass


def test_folders_are_private(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    prepare(folder)
    for path in (folder.root, folder.networks, folder.p2p, folder.blobs, folder.results):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(Misconfigured, match="--data"):
        prepare(DataFolder(tmp_path / "data"))


def test_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(Misconfigured, match="not a folder of this user"):
        private_folder(tmp_path / "link")


def test_folder_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(Misconfigured, match=r"Permission denied.*--data"):
        prepare(DataFolder(tmp_path / "data"))


def test_full_disk_is_refused_before_anything_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**40, 2**40 - 2**20, 2**20))
    with pytest.raises(Misconfigured, match="only 1 MiB free"):
        prepare(DataFolder(tmp_path / "data"))


def test_a_node_that_has_a_journal_starts_on_a_full_disk_to_end_what_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = DataFolder(tmp_path / "data")
    prepare(folder)
    folder.database.touch()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**40, 2**40 - 2**20, 2**20))
    prepare(folder)


def test_long_paths_get_a_short_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    near, far = DataFolder(Path("/data")), DataFolder(Path("/" + "x" * 120))
    assert near.socket == Path("/data/api.sock")
    assert far.socket.parent == Path("/run/user/7/capanode")
    assert far.socket != DataFolder(Path("/" + "y" * 120)).socket
    assert len(str(far.socket)) < 100


def test_data_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAPANODE_DATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert data_folder.data_folder().root == tmp_path / "capanode"
    monkeypatch.setenv("CAPANODE_DATA", "/elsewhere")
    assert data_folder.data_folder().root == Path("/elsewhere")
    assert data_folder.data_folder(Path("/given")).root == Path("/given")


def test_what_a_killed_command_left_half_written_is_removed_once_it_is_old(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    prepare(folder)
    left = [tmp_path / ".hot.key.0a1b2c3d", folder.networks / ".default.toml.00ff00ff", tmp_path / ".snapshot-12345678"]
    (tmp_path / ".restore-0a1b2c3d").mkdir()
    (tmp_path / ".restore-0a1b2c3d" / "wallet.json").touch()
    kept = [tmp_path / ".gitignore", tmp_path / "wallet.json.0a1b2c3d", tmp_path / ".hot.key.ffffffff"]
    for path in (*left, *kept):
        path.touch()
    for path in (*left, tmp_path / ".restore-0a1b2c3d", *kept[:2]):
        os.utime(path, (0, 0))
    prepare(folder)
    assert [path for path in (*left, tmp_path / ".restore-0a1b2c3d") if path.exists()] == []
    assert [path for path in kept if not path.exists()] == []
