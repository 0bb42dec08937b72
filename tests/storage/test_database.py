"""The node's one file: whole transactions, one owner, and no release that it does not know."""

import sqlite3
import threading
from pathlib import Path

import pytest
import trio

from capanode.node.storage.database import Schema, open_database
from capanode.protocol.faults import Misconfigured

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
