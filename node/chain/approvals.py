"""The code that this node's operator has approved beyond what its release ships; kept in the node's database."""

import sqlite3
import time
from typing import Final

from capanode.node.storage.database import Database, Schema
from capanode.protocol.faults import Refused
from capanode.protocol.ids import Digest

SCHEMA: Final = Schema(
    "approvals",
    ("CREATE TABLE approved_code (code_hash BLOB PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;",),
)


def code_hash_of(text: str) -> Digest:
    """The hash that an operator wrote, 0x and 64 digits.

    Raises:
        Refused: it is none.
    """
    try:
        raw = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise Refused(f"{text[:80]!r} is no code hash: write 0x and 64 hexadecimal digits")
    return Digest(raw)


def approved_in(connection: sqlite3.Connection) -> frozenset[Digest]:
    """Every hash that was approved."""
    return frozenset(Digest(row[0]) for row in connection.execute("SELECT code_hash FROM approved_code"))


class Approvals:
    """Code hashes by the operator's word."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> frozenset[Digest]:
        """Every hash that was approved."""

        return await self._database.read(approved_in)

    async def add(self, code_hash: Digest) -> None:
        """Approve; durable when this returns, idempotent."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR IGNORE INTO approved_code VALUES (?,?)", (code_hash, time.time()))

        await self._database.write("approvals.add", write)
