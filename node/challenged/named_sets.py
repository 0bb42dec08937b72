"""The named sets that this node serves in, by its operator's word; kept in the node's file.

Whoever is named is asked nothing, by the chain or by anybody. So a node judges only beside arbiters that its operator
has agreed to: else strangers could have it run their programs for no fee.
"""

import sqlite3
from typing import Final

from capanode.node.storage.database import Database, Schema
from capanode.protocol.cases import CommitteeDrawn
from capanode.protocol.faults import Refused
from capanode.protocol.ids import Address, Digest
from capanode.protocol.judging import named_pool

SCHEMA: Final = Schema(
    "named_sets",
    (
        "CREATE TABLE named_set (pool BLOB PRIMARY KEY, arbiters BLOB NOT NULL) WITHOUT ROWID;",
        "ALTER TABLE named_set ADD COLUMN is_left INTEGER NOT NULL DEFAULT 0;",
    ),
)

MOST_SERVED: Final = 64
"""Sets that one node may serve in."""

_ADDRESS_BYTES: Final = 20


class NamedSets:
    """What is agreed to, in memory as in the table."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sets: dict[Digest, tuple[Address, ...]] = {}
        self._left: dict[Digest, tuple[Address, ...]] = {}

    async def load(self) -> None:
        """Read what was agreed to before."""

        def read(connection: sqlite3.Connection) -> list[tuple[bytes, bytes, int]]:
            return connection.execute("SELECT pool, arbiters, is_left FROM named_set").fetchall()

        for pool, arbiters, is_left in await self._database.read(read):
            (self._left if is_left else self._sets)[Digest(pool)] = _addresses(arbiters)

    def all(self) -> tuple[tuple[Address, ...], ...]:
        """The arbiters of each set."""
        return tuple(self._sets.values())

    def left(self) -> tuple[tuple[Address, ...], ...]:
        """The arbiters of each set that was left: what was earned there may still be to be fetched."""
        return tuple(self._left.values())

    def find(self, pool: Digest) -> tuple[Address, ...] | None:
        """The arbiters of a set, if this node serves in it."""
        return self._sets.get(pool)

    def serves(self, drawn: CommitteeDrawn) -> bool:
        """Whether a committee is one that this node sits in: one of its class always, a named set by agreement."""
        # Of a named set everybody is seated, in its own order.
        return drawn.pool != named_pool(drawn.arbiters) or drawn.pool in self._sets

    async def agree(self, arbiters: tuple[Address, ...]) -> None:
        """Serve in a set from now on; idempotent.

        Raises:
            Refused: this node serves in as many as it can.
        """
        pool = named_pool(arbiters)
        if pool not in self._sets and len(self._sets) >= MOST_SERVED:
            raise Refused(f"this node serves in {MOST_SERVED} named sets already: leave one of them")

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO named_set VALUES (?,?,0)", (pool, b"".join(arbiters)))

        await self._database.write("duties.agree", write)
        self._sets[pool] = arbiters
        self._left.pop(pool, None)

    async def leave(self, arbiters: tuple[Address, ...]) -> None:
        """Serve no more; duties that have begun go on. Idempotent."""
        pool = named_pool(arbiters)

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE named_set SET is_left = 1 WHERE pool = ?", (pool,))

        await self._database.write("duties.retire", write)
        if self._sets.pop(pool, None) is not None:
            self._left[pool] = arbiters


def _addresses(joined: bytes) -> tuple[Address, ...]:
    return tuple(Address(joined[at : at + _ADDRESS_BYTES]) for at in range(0, len(joined), _ADDRESS_BYTES))
