"""A backup is whole or refused; what it replaces is not lost; a running node can be kept."""

import gzip
import io
import json
import shutil
import sqlite3
import stat
import tarfile
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path

import pytest
import trio

from capanode.node.data_folder import DataFolder, prepare
from capanode.node.storage.backup import Backup, restore_backup, write_backup
from capanode.node.storage.database import Database, Schema, open_database, snapshot_of
from capanode.node.storage.integrity import restoring_of
from capanode.protocol.faults import Misconfigured, Refused

SCHEMA = Schema("fruit", ("CREATE TABLE fruit (name TEXT PRIMARY KEY);",))
NEWER = Schema("fruit", (*SCHEMA.steps, "ALTER TABLE fruit ADD COLUMN colour TEXT;"))
PEER_KEY = b"\x07" * 64


def insert(connection: sqlite3.Connection, name: str) -> None:
    connection.execute("INSERT INTO fruit (name) VALUES (?)", (name,))


def _copy(source: Path, target: Path) -> None:
    shutil.copy(source, target)


def names(connection: sqlite3.Connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM fruit ORDER BY name")]


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    made = DataFolder(tmp_path / "data")
    prepare(made)
    made.config.write_text("roles = ['provider']\n")
    made.wallet.write_text("{}")
    made.hot_key.write_bytes(b"\x08" * 32)
    (made.networks / "devnet.toml").write_text("name = 'devnet'\n")
    (made.p2p / "peer.key").write_bytes(PEER_KEY)
    (made.blobs / "large").write_bytes(b"content")
    return made


@pytest.fixture
async def database(folder: DataFolder) -> AsyncGenerator[Database]:
    async with open_database(folder.database, [SCHEMA]) as opened:
        await opened.write("test", partial(insert, name="fig"))
        yield opened


def keep(folder: DataFolder, target: Path) -> Backup:
    """A backup of a node that does not run."""

    def snapshot(path: Path) -> None:
        connection = sqlite3.connect(folder.database)
        snapshot_of(connection, path)
        connection.close()

    return write_backup(folder, target, snapshot)


async def fill(folder: DataFolder, *found: str) -> None:
    async with open_database(folder.database, [SCHEMA]) as database:
        for name in found:
            await database.write("test", partial(insert, name=name))


async def content(folder: DataFolder) -> list[str]:
    async with open_database(folder.database, [SCHEMA]) as database:
        return await database.read(names)


async def test_a_running_node_is_kept_as_it_is_at_one_moment(
    folder: DataFolder, database: Database, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    await database.copy_to(copy)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    await database.write("test", partial(insert, name="pear"))
    made = write_backup(folder, tmp_path / "kept", partial(_copy, copy))
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o600
    assert set(made.files) == {
        "node.db",
        "config.toml",
        "hot.key",
        "networks/devnet.toml",
        "p2p/peer.key",
        "wallet.json",
    }
    other = DataFolder(tmp_path / "other")
    prepare(other)
    assert restore_backup(other, tmp_path / "kept", [SCHEMA], force=False) == made
    assert (other.p2p / "peer.key").read_bytes() == PEER_KEY
    assert stat.S_IMODE((other.p2p / "peer.key").stat().st_mode) == 0o600
    assert await content(other) == ["fig"]


async def test_what_is_there_is_replaced_only_by_force_and_stays_beside(folder: DataFolder, tmp_path: Path) -> None:
    await fill(folder, "fig")
    keep(folder, tmp_path / "kept")
    await fill(folder, "pear")
    with pytest.raises(Refused, match="--force"):
        restore_backup(folder, tmp_path / "kept", [SCHEMA], force=False)
    assert await content(folder) == ["fig", "pear"]
    restore_backup(folder, tmp_path / "kept", [SCHEMA], force=True)
    assert await content(folder) == ["fig"]
    assert folder.database.with_name("node.db.before").exists()
    assert not list(folder.root.glob(".restore-*"))


async def test_the_log_of_a_journal_is_not_applied_to_the_one_that_replaces_it(
    folder: DataFolder, tmp_path: Path
) -> None:
    await fill(folder, "fig")
    keep(folder, tmp_path / "kept")
    async with open_database(folder.database, [SCHEMA]) as database:
        await database.write("test", partial(insert, name="pear"))
        crashed = DataFolder(tmp_path / "crashed")
        shutil.copytree(folder.root, crashed.root)
    assert (crashed.root / "node.db-wal").exists()
    restore_backup(crashed, tmp_path / "kept", [SCHEMA], force=True)
    assert await content(crashed) == ["fig"]


async def test_a_backup_that_was_cut_or_changed_is_refused_and_nothing_is_touched(
    folder: DataFolder, tmp_path: Path
) -> None:
    await fill(folder, "fig")
    keep(folder, tmp_path / "kept")
    await fill(folder, "pear")
    whole = gzip.decompress((tmp_path / "kept").read_bytes())
    bad = tmp_path / "bad"
    for at in range(0, len(whole), len(whole) // 40):
        changed = bytearray(whole)
        changed[at] ^= 0x20
        bad.write_bytes(gzip.compress(changed))
        try:
            restore_backup(folder, bad, [SCHEMA], force=True)
        except Refused:
            assert await content(folder) == ["fig", "pear"]
        else:
            # Padding between files says nothing.
            assert await content(folder) == ["fig"]
            await fill(folder, "pear")
    for size in (0, 10, 600, len(whole) // 2):
        bad.write_bytes(gzip.compress(whole[:size]))
        with pytest.raises(Refused):
            restore_backup(folder, bad, [SCHEMA], force=True)
    bad.write_bytes(b"no archive at all")
    with pytest.raises(Refused, match="not a whole backup"):
        restore_backup(folder, bad, [SCHEMA], force=True)
    assert await content(folder) == ["fig", "pear"]


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "blobs/x", ".hidden", "networks/../../outside"])
def test_a_file_that_belongs_nowhere_is_refused(folder: DataFolder, tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "hostile", "w:gz") as tar:
        index = json.dumps({"format": 1, "made_at": 0, "files": {"node.db": "", name: ""}}).encode()
        for entry, data in (("backup.json", index), (name, b"x")):
            head = tarfile.TarInfo(entry)
            head.size = len(data)
            tar.addfile(head, io.BytesIO(data))
    with pytest.raises(Refused, match="holds"):
        restore_backup(folder, tmp_path / "hostile", [SCHEMA], force=True)
    assert not (tmp_path / "outside").exists()


async def test_a_backup_of_a_newer_release_is_refused(folder: DataFolder, tmp_path: Path) -> None:
    async with open_database(folder.database, [NEWER]):
        pass
    keep(folder, tmp_path / "kept")
    with pytest.raises(Refused, match="newer capanode"):
        restore_backup(folder, tmp_path / "kept", [SCHEMA], force=True)


async def test_a_restore_that_was_cut_short_is_finished_by_another(folder: DataFolder, tmp_path: Path) -> None:
    await fill(folder, "fig")
    keep(folder, tmp_path / "kept")
    restoring_of(folder.database).touch()
    with pytest.raises(Misconfigured, match="run the same `capanode restore` again"):
        await content(folder)
    restore_backup(folder, tmp_path / "kept", [SCHEMA], force=False)
    assert await content(folder) == ["fig"]


async def test_an_older_backup_is_not_overwritten(folder: DataFolder, tmp_path: Path) -> None:
    await fill(folder, "fig")
    await trio.to_thread.run_sync(keep, folder, tmp_path / "kept")
    with pytest.raises(Refused, match="already there"):
        keep(folder, tmp_path / "kept")
    with pytest.raises(Refused, match="cannot be written"):
        keep(folder, tmp_path / "nowhere" / "kept")
