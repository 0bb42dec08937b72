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
    ("CREATE TABLE named_set (pool BLOB PRIMARY KEY, arbiters BLOB NOT NULL) WITHOUT ROWID;",),
)

MOST_SERVED: Final = 64
"""Sets that one node may serve in."""

_ADDRESS_BYTES: Final = 20


class NamedSets:
    """What is agreed to, in memory as in the table."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sets: dict[Digest, tuple[Address, ...]] = {}

    async def load(self) -> None:
        """Read what was agreed to before."""

        def read(connection: sqlite3.Connection) -> list[tuple[bytes, bytes]]:
            return [(bytes(pool), bytes(arbiters)) for pool, arbiters in connection.execute("SELECT * FROM named_set")]

        self._sets = {Digest(pool): _addresses(arbiters) for pool, arbiters in await self._database.read(read)}

    def all(self) -> tuple[tuple[Address, ...], ...]:
        """The arbiters of each set."""
        return tuple(self._sets.values())

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
            connection.execute("INSERT OR REPLACE INTO named_set VALUES (?,?)", (pool, b"".join(arbiters)))

        await self._database.write("duties.agree", write)
        self._sets[pool] = arbiters

    async def leave(self, arbiters: tuple[Address, ...]) -> None:
        """Serve no more; duties that have begun go on. Idempotent."""
        pool = named_pool(arbiters)

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM named_set WHERE pool = ?", (pool,))

        await self._database.write("duties.retire", write)
        self._sets.pop(pool, None)


def _addresses(joined: bytes) -> tuple[Address, ...]:
    return tuple(Address(joined[at : at + _ADDRESS_BYTES]) for at in range(0, len(joined), _ADDRESS_BYTES))
