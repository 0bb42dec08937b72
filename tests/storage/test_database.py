"""The node's one file: whole transactions, one owner, and no release that it does not know."""

import sqlite3
import threading
from functools import partial
from pathlib import Path

import pytest
import trio

from capanode.node.storage.database import Schema, open_database
from capanode.node.storage.integrity import seal_of, wal_of
from capanode.protocol.faults import Misconfigured, Unavailable

FIRST = Schema("fruit", ("CREATE TABLE fruit (name TEXT PRIMARY KEY);",))
SECOND = Schema("fruit", (*FIRST.steps, "ALTER TABLE fruit ADD COLUMN colour TEXT;"))
BROKEN = Schema("fruit", (*FIRST.steps, "CREATE TABLE more (x); NONSENSE;"))


def insert(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO fruit (name) VALUES ('fig')")


def names(connection: sqlite3.Connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM fruit ORDER BY name")]


async def test_what_was_written_is_there_again(tmp_path: Path) -> None:
    async with open_database(tmp_path / "node.sqlite", [FIRST]) as database:
        await database.write("test", insert)
    async with open_database(tmp_path / "node.sqlite", [FIRST]) as database:
        assert await database.read(names) == ["fig"]


async def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def half(connection: sqlite3.Connection) -> None:
        insert(connection)
        raise KeyError("lost")

    async with open_database(tmp_path / "node.sqlite", [FIRST]) as database:
        with pytest.raises(KeyError):
            await database.write("test", half)
        assert await database.read(names) == []
        await database.write("test", insert)
        assert await database.read(names) == ["fig"]


async def test_a_second_owner_is_refused(tmp_path: Path) -> None:
    async with open_database(tmp_path / "node.sqlite", [FIRST]):
        with pytest.raises(Misconfigured, match="stop the other node"):
            async with open_database(tmp_path / "node.sqlite", [FIRST]):
                raise AssertionError("two nodes in one folder")
    async with open_database(tmp_path / "node.sqlite", [FIRST]) as database:
        await database.write("test", insert)


async def test_a_damaged_file_is_said_to_be_damaged(tmp_path: Path) -> None:
    (tmp_path / "node.sqlite").write_bytes(b"this was a database once " * 100)
    with pytest.raises(Misconfigured, match="damaged"):
        async with open_database(tmp_path / "node.sqlite", [FIRST]):
            raise AssertionError("opened")


async def test_a_folder_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be used"):
        async with open_database(tmp_path / "nowhere" / "node.sqlite", [FIRST]):
            raise AssertionError("opened")


async def test_an_older_file_is_brought_up_to_date(tmp_path: Path) -> None:
    async with open_database(tmp_path / "node.sqlite", [FIRST]) as database:
        await database.write("test", insert)
    async with open_database(tmp_path / "node.sqlite", [SECOND]) as database:
        found = await database.read(lambda connection: connection.execute("SELECT * FROM fruit").fetchall())
    assert found == [("fig", None)]


async def test_a_newer_file_is_not_touched(tmp_path: Path) -> None:
    async with open_database(tmp_path / "node.sqlite", [SECOND]):
        pass
    with pytest.raises(Misconfigured, match="newer capanode"):
        async with open_database(tmp_path / "node.sqlite", [FIRST]):
            raise AssertionError("opened")


async def test_an_upgrade_that_fails_can_be_done_again(tmp_path: Path) -> None:
    async with open_database(tmp_path / "node.sqlite", [FIRST]) as database:
        await database.write("test", insert)
    with pytest.raises(sqlite3.OperationalError):
        async with open_database(tmp_path / "node.sqlite", [BROKEN]):
            raise AssertionError("opened")
    async with open_database(tmp_path / "node.sqlite", [SECOND]) as database:
        assert await database.read(names) == ["fig"]


LINKED = Schema(
    "tree",
    (
        "CREATE TABLE tree (name TEXT PRIMARY KEY);"
        "CREATE TABLE leaf (tree TEXT REFERENCES tree (name) DEFERRABLE INITIALLY DEFERRED);",
    ),
)


async def test_a_commit_that_fails_leaves_no_transaction_open(tmp_path: Path) -> None:
    """As when the disk is full at that very moment; here it is a reference that only the commit looks at."""

    def orphan(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO leaf VALUES ('no such tree')")

    def whole(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO tree VALUES ('fig')")

    async with open_database(tmp_path / "node.sqlite", [LINKED]) as database:
        with pytest.raises(sqlite3.IntegrityError):
            await database.write("test", orphan)
        await database.write("test", whole)
        counts = "SELECT (SELECT count(*) FROM tree), (SELECT count(*) FROM leaf)"
        assert await database.read(lambda connection: connection.execute(counts).fetchone()) == (1, 0)


async def test_a_full_disk_is_told_and_passes(tmp_path: Path) -> None:
    def much(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO fruit (name) VALUES (hex(randomblob(500000)))")

    def limit(connection: sqlite3.Connection, pages: int) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}")

    async with open_database(tmp_path / "node.sqlite", [FIRST]) as database:
        await database.read(partial(limit, pages=20))
        with pytest.raises(Unavailable, match="free some space on its disk"):
            await database.write("test", much)
        await database.write("test", insert)
        await database.read(partial(limit, pages=100_000))
        await database.write("test", much)
        assert len(await database.read(names)) == 2


# ---- damage ---------------------------------------------------------------------------------------------------------


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def _execute(connection: sqlite3.Connection, statement: str) -> None:
    connection.execute(statement)


async def filled(path: Path, rows: int) -> None:
    async with open_database(path, [FIRST]) as database:
        for number in range(rows):
            statement = f"INSERT INTO fruit (name) VALUES ('fig {number} ' || hex(randomblob(300)))"
            await database.write("test", partial(_execute, statement=statement))


async def refused(path: Path) -> bool:
    try:
        async with open_database(path, [FIRST]) as database:
            await database.read(names)
    except Misconfigured as error:
        return "damaged" in str(error) and "capanode restore FILE --force" in str(error)
    return False


async def test_any_byte_that_changes_while_no_node_runs_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "node.sqlite"
    await filled(path, 20)
    whole, sealed = path.read_bytes(), seal_of(path).read_bytes()
    for at in range(0, len(whole), len(whole) // 60):
        path.write_bytes(whole)
        seal_of(path).write_bytes(sealed)
        flip(path, at)
        assert await refused(path), f"byte {at}"
    path.write_bytes(whole)
    seal_of(path).write_bytes(sealed)
    assert not await refused(path)


async def test_a_damaged_log_is_not_taken_for_a_short_one(tmp_path: Path) -> None:
    """SQLite itself would drop, without a word, every transaction from the damaged frame on."""
    path, dead = tmp_path / "node.sqlite", tmp_path / "dead"
    dead.mkdir()
    async with open_database(path, [FIRST]) as database:
        for number in range(12):
            statement = f"INSERT INTO fruit (name) VALUES ('fig {number}')"
            await database.write("test", partial(_execute, statement=statement))
        files = {file.name: file.read_bytes() for file in (path, wal_of(path))}
    copy = dead / path.name

    def lay() -> None:
        for name, content in files.items():
            (dead / name).write_bytes(content)

    log = files[wal_of(path).name]
    frame_bytes = 4096 + 24
    frames = (len(log) - 32) // frame_bytes
    lay()
    assert not await refused(copy)
    for frame in range(frames - 8):
        for within in (0, 5, 9, 17, 30, 2000):
            lay()
            flip(wal_of(copy), 32 + frame * frame_bytes + within)
            assert await refused(copy), f"frame {frame}, byte {within}"
    lay()
    flip(wal_of(copy), 9)
    assert await refused(copy)
    # What a power cut leaves of the last transaction is no damage.
    lay()
    wal_of(copy).write_bytes(log[: -frame_bytes // 2])
    assert not await refused(copy)


async def test_pages_that_do_not_hang_together_are_noticed_after_a_crash_too(tmp_path: Path) -> None:
    path = tmp_path / "node.sqlite"
    await filled(path, 60)
    seal_of(path).unlink()
    flip(path, 4096 * 3 + 1)
    flip(path, 4096 * 3 + 4)
    assert await refused(path)


async def test_closing_waits_for_the_work_in_progress(tmp_path: Path) -> None:
    entered, leave = threading.Event(), threading.Event()
    seen: list[int] = []

    def work(connection: sqlite3.Connection) -> None:
        entered.set()
        leave.wait(10)
        seen.append(connection.execute("SELECT 1").fetchone()[0])

    async with trio.open_nursery() as nursery, open_database(tmp_path / "node.db", ()) as database:
        nursery.start_soon(database.read, work)
        await trio.to_thread.run_sync(entered.wait, 10)
        nursery.start_soon(trio.to_thread.run_sync, leave.set)

    assert seen == [1]
