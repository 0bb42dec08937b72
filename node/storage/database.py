"""The one SQLite file of a node: a single writer thread, full sync, one transaction per call.

Every durable fact of a node (journal, outbox, chain blocks, transactions) lives in this file, so that one
commit covers an event and all that follows from it. Tables belong to the modules that use them; each
hands its `Schema` to `open_database`.
"""

import hashlib
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import trio

from capanode.node.fault_points import durable, reach
from capanode.node.storage import integrity
from capanode.node.storage.integrity import damaged
from capanode.protocol.faults import Misconfigured, Unavailable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of one module: `steps[n]` is the SQL script that takes them from version n to n + 1."""

    name: str
    steps: tuple[str, ...]


class Database:
    """Transactions on the node's file, each run whole in one worker thread.

    Cancel-safe: a caller that is cancelled waits for its transaction to commit or roll back first.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path = Path()) -> None:
        self._connection = connection
        self._path = path
        self._turn = trio.CapacityLimiter(1)

    async def write(self, step: str, work: Callable[[sqlite3.Connection], T], also: tuple[str, ...] = ()) -> T:
        """Run `work` inside one durable transaction; an exception, the commit's own too, rolls all of it back.

        `step` names it among the fault points, and so does each of `also` where it writes for several causes at once.

        Raises:
            Unavailable: the disk is full or does not take the bytes; nothing was written.
            Misconfigured: the file is damaged.
        """
        with told(self._path):
            return await trio.to_thread.run_sync(self._in_transaction, (step, *also), work, limiter=self._turn)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work`, which must not write, between two transactions; errors as `write`."""
        with told(self._path):
            return await trio.to_thread.run_sync(work, self._connection, limiter=self._turn)

    async def copy_to(self, target: Path) -> None:
        """Copy the file as it is between two transactions to a new one that only its owner can read."""
        await self.read(lambda connection: snapshot_of(connection, target))

    async def close(self) -> None:
        """Close the file once no work is on it; closing it under a running statement would end the process."""
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._connection.close, limiter=self._turn)

    def _in_transaction(self, steps: tuple[str, ...], work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
            for step in steps:
                reach(f"{step}:before")
            connection.execute("COMMIT")
        except BaseException:
            # A full disk ends some transactions by itself, and leaves others open.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        for step in steps:
            reach(f"{step}:after")
        return result


def snapshot_of(connection: sqlite3.Connection, target: Path) -> None:
    """Copy an open file as it is now to a new one that only its owner can read."""
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(target)) as copy:
        connection.backup(copy)


@contextmanager
def told(path: Path) -> Generator[None]:
    """Turn what SQLite says of the disk and of the file into sentences for the operator."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise damaged(path, str(error)) from error
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM):
            raise Unavailable(
                f"The journal {path} cannot be written ({error}): free some space on its disk."
            ) from error
        raise


@asynccontextmanager
async def open_database(path: Path, schemas: Sequence[Schema]) -> AsyncIterator[Database]:
    """Open or create the file, lock it against a second process, check it, and bring every schema up to date.

    Raises:
        Misconfigured: another process uses the file, it is damaged, it was written by a newer release, or it cannot
            be written.
    """
    connection = connect(path)
    database = Database(connection, path)
    try:
        with told(path):
            for schema in schemas:
                _migrate(connection, schema)
        yield database
    finally:
        await database.close()
        await trio.to_thread.run_sync(integrity.seal, path)


def connect(path: Path) -> sqlite3.Connection:
    """The file, checked and locked; errors as `open_database`."""
    integrity.check_files(path)
    try:
        # Autocommit mode: every BEGIN and COMMIT stands in `Database`, none is implied by the driver.
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1)
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        # For schema steps.
        connection.create_function("sha256_hex", -1, _sha256_hex, deterministic=True)
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_version (name TEXT PRIMARY KEY, version INTEGER NOT NULL)"
        )
        # Takes the exclusive lock now rather than at the first event.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("COMMIT")
        integrity.check_pages(connection, path)
    except sqlite3.OperationalError as error:
        raise Misconfigured(
            f"The database {path} cannot be used ({error}): stop the other node that uses this data folder, "
            "or make the folder writable."
        ) from error
    except sqlite3.DatabaseError as error:
        raise damaged(path, str(error)) from error
    return connection


def _sha256_hex(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _migrate(connection: sqlite3.Connection, schema: Schema) -> None:
    row = connection.execute("SELECT version FROM schema_version WHERE name = ?", (schema.name,)).fetchone()
    version = int(row[0]) if row else 0
    if version > len(schema.steps):
        raise Misconfigured(
            f"The data folder was written by a newer capanode ({schema.name} version {version}): "
            "install that release again."
        )
    for number, script in enumerate(schema.steps[version:], start=version + 1):
        # executescript commits whatever is open, so the version row is part of the same script.
        name = schema.name.replace("'", "''")
        with durable(f"schema.{schema.name}"):
            connection.executescript(
                f"BEGIN;{script};INSERT INTO schema_version VALUES('{name}',{number})"
                f" ON CONFLICT(name) DO UPDATE SET version={number};COMMIT;"
            )
