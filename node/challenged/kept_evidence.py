"""Evidence of others' deals that this node has fetched, kept so that it can hand it on."""

import sqlite3
from typing import Final

from capanode.node.storage.database import Database, Schema
from capanode.proofs.evidence import Evidence
from capanode.protocol import encoding
from capanode.protocol.ids import DealId, UnixTime

SCHEMA: Final = Schema(
    "evidence",
    ("CREATE TABLE evidence (deal_id BLOB PRIMARY KEY, data BLOB NOT NULL, until INTEGER NOT NULL);",),
)

MAX_KEPT: Final = 4096
"""Deals of which evidence is kept; what ends first goes first."""


class KeptEvidence:
    """A table of the node's file. What is in it was checked against the chain when it came."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, evidence: Evidence, until: UnixTime, now: UnixTime) -> None:
        """Hold evidence until then; replaces what is there of the deal."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM evidence WHERE until <= ?", (now,))
            connection.execute(
                "INSERT OR REPLACE INTO evidence (deal_id, data, until) VALUES (?,?,?)",
                (evidence.deal_id, encoding.encode(evidence), until),
            )
            connection.execute(
                "DELETE FROM evidence WHERE deal_id IN (SELECT deal_id FROM evidence ORDER BY until DESC"
                " LIMIT -1 OFFSET ?)",
                (MAX_KEPT,),
            )

        await self._database.write("evidence.keep", write)

    async def find(self, deal_id: DealId) -> Evidence | None:
        """What is held of a deal."""

        def read(connection: sqlite3.Connection) -> bytes | None:
            row = connection.execute("SELECT data FROM evidence WHERE deal_id = ?", (deal_id,)).fetchone()
            return bytes(row[0]) if row else None

        data = await self._database.read(read)
        return None if data is None else encoding.decode(Evidence, data)
