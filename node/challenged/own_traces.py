"""Traces of others' deals as they came out here: what a forced reveal is compared with, restarts later too."""

import sqlite3
from collections.abc import Sequence
from typing import Final

from capanode.node.storage.database import Database, Schema
from capanode.protocol.ids import DealId, Digest, UnixTime

SCHEMA: Final = Schema(
    "own-traces",
    ("CREATE TABLE own_trace (deal_id BLOB PRIMARY KEY, leaves BLOB NOT NULL, until INTEGER NOT NULL);",),
)

DIGEST_BYTES: Final = 32


class OwnTraces:
    """A table of the node's file: hashed leaves, in their order, by deal."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, deal_id: DealId, leaves: Sequence[Digest], until: UnixTime, now: UnixTime) -> None:
        """Hold a trace until then; replaces what is there of the deal."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM own_trace WHERE until <= ?", (now,))
            row = (deal_id, b"".join(leaves), until)
            connection.execute("INSERT OR REPLACE INTO own_trace (deal_id, leaves, until) VALUES (?,?,?)", row)

        await self._database.write("trace.keep", write)

    async def find(self, deal_id: DealId) -> tuple[Digest, ...] | None:
        """What is held of a deal."""

        def read(connection: sqlite3.Connection) -> bytes | None:
            row = connection.execute("SELECT leaves FROM own_trace WHERE deal_id = ?", (deal_id,)).fetchone()
            return bytes(row[0]) if row else None

        data = await self._database.read(read)
        if data is None:
            return None
        return tuple(Digest(data[at : at + DIGEST_BYTES]) for at in range(0, len(data), DIGEST_BYTES))
