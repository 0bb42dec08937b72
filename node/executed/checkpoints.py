"""How far the checkpointed jobs of this node have come: one durable row for each step that is over.

A row is written after the blobs of its state, so what it names is here. A step whose row is written is never computed
again for its deal, whatever becomes of the process, the engine, or the block that the assignment stood in.
"""

import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from capanode.node.executed.results import LOG_TAIL_BYTES
from capanode.node.storage.database import Database, Schema
from capanode.proofs.trace import Leaf
from capanode.protocol import encoding
from capanode.protocol.ids import Cid, DealId

SCHEMA: Final = Schema(
    "checkpoints",
    (
        """
        CREATE TABLE checkpoint (
            deal BLOB NOT NULL, position INTEGER NOT NULL, data BLOB NOT NULL, log BLOB NOT NULL,
            PRIMARY KEY (deal, position)
        );
        """,
    ),
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A step that is over: its leaf, the blob that lists the state after it, and how the step ended.

    Times are Unix milliseconds of this host.
    """

    RECORD: ClassVar[tuple[str, int]] = ("checkpoint", 1)

    leaf: Leaf
    manifest: Cid
    ended: str
    started_at_ms: int
    finished_at_ms: int
    cpu_ns: int
    peak_memory_bytes: int


class Checkpoints:
    """The rows of one node."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, deal_id: DealId, checkpoint: Checkpoint, printed: bytes) -> None:
        """Write the next step of a deal with what it printed; it is over from now on."""

        def write(connection: sqlite3.Connection) -> None:
            # The newest row has the end of the whole log, so that it has its bound whatever the number of steps.
            log = (_log(connection, deal_id) + printed)[-LOG_TAIL_BYTES:]
            connection.execute("UPDATE checkpoint SET log = x'' WHERE deal = ? AND log != x''", (deal_id,))
            row = (deal_id, checkpoint.leaf.index, encoding.encode(checkpoint), log)
            connection.execute("INSERT INTO checkpoint (deal, position, data, log) VALUES (?,?,?,?)", row)

        await self._database.write("checkpoint.add", write)

    async def log(self, deal_id: DealId) -> bytes:
        """The end of what the steps that are over have printed."""
        return await self._database.read(lambda connection: _log(connection, deal_id))

    async def of(self, deal_id: DealId) -> tuple[Checkpoint, ...]:
        """The steps of a deal that are over, in their order."""

        def read(connection: sqlite3.Connection) -> tuple[Checkpoint, ...]:
            query = "SELECT data FROM checkpoint WHERE deal = ? ORDER BY position"
            rows = connection.execute(query, (deal_id,)).fetchall()
            return tuple(encoding.decode(Checkpoint, data) for (data,) in rows)

        return await self._database.read(read)

    async def count(self, deal_id: DealId) -> int:
        """How many steps of a deal are over."""
        query = "SELECT COUNT(*) FROM checkpoint WHERE deal = ?"
        return await self._database.read(lambda connection: int(connection.execute(query, (deal_id,)).fetchone()[0]))

    async def counts(self) -> Mapping[DealId, int]:
        """How many steps are over, by deal."""

        def read(connection: sqlite3.Connection) -> Mapping[DealId, int]:
            rows = connection.execute("SELECT deal, COUNT(*) FROM checkpoint GROUP BY deal").fetchall()
            return {DealId(deal): count for deal, count in rows}

        return await self._database.read(read)

    async def keep_only(self, deals: Collection[DealId]) -> None:
        """Forget the steps of all other deals; idempotent."""
        others = [(deal,) for deal in await self.counts() if deal not in deals]
        if not others:
            return

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM checkpoint WHERE deal = ?", others)

        await self._database.write("checkpoint.forget", write)


def _log(connection: sqlite3.Connection, deal_id: DealId) -> bytes:
    query = "SELECT log FROM checkpoint WHERE deal = ? ORDER BY position DESC LIMIT 1"
    row = connection.execute(query, (deal_id,)).fetchone()
    return bytes(row[0]) if row is not None else b""
