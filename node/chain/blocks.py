"""The blocks that a follower has seen and may have to take back, as rows; and the undo rows of what they changed.

Nothing here speaks to a chain. Every function works inside the caller's transaction.
"""

import re
import sqlite3
from dataclasses import dataclass
from typing import Any, Final

import cbor2

from capanode.node.storage.database import Schema
from capanode.protocol.ids import Address, Digest, TxHash, UnixTime

FOLLOWER_SCHEMA: Final = Schema(
    "chain_follower",
    (
        """
        CREATE TABLE chain_blocks (
            chain_id INTEGER NOT NULL, number INTEGER NOT NULL, hash BLOB NOT NULL, parent BLOB NOT NULL,
            time INTEGER NOT NULL, logs BLOB NOT NULL, is_delivered INTEGER NOT NULL,
            PRIMARY KEY (chain_id, number)
        ) WITHOUT ROWID;
        CREATE TABLE chain_final (
            chain_id INTEGER PRIMARY KEY, number INTEGER NOT NULL
        );
        CREATE TABLE chain_undo (
            chain_id INTEGER NOT NULL, number INTEGER NOT NULL, sequence INTEGER NOT NULL,
            table_name TEXT NOT NULL, key BLOB NOT NULL, old BLOB NOT NULL,
            PRIMARY KEY (chain_id, number, sequence)
        ) WITHOUT ROWID;
        """,
    ),
)

_IDENTIFIER: Final = re.compile("[a-z_]{1,64}")

SqlValue = int | str | bytes | None


@dataclass(frozen=True, slots=True)
class BlockRef:
    """One block of one chain."""

    chain_id: int
    number: int
    hash: Digest
    parent: Digest | None
    """None where the block was met in a range of logs, which do not name it."""

    time: UnixTime


@dataclass(frozen=True, slots=True)
class RawLog:
    """A contract's log as the chain holds it."""

    address: Address
    topics: tuple[Digest, ...]
    data: bytes
    tx_hash: TxHash
    log_index: int
    """Position in its block; with the block's hash it names the log."""


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """A block with the logs that passed the filter."""

    block: BlockRef
    logs: tuple[RawLog, ...]
    is_delivered: bool


def tip(connection: sqlite3.Connection, chain_id: int) -> StoredBlock | None:
    """The last block that was stored."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM chain_blocks WHERE chain_id = ? ORDER BY number DESC LIMIT 1", (chain_id,)
    ).fetchone()
    return None if row is None else _stored(row)


def add(connection: sqlite3.Connection, stored: StoredBlock) -> None:
    """Store a block on top of the tip."""
    block = stored.block
    connection.execute(
        "INSERT INTO chain_blocks (chain_id, number, hash, parent, time, logs, is_delivered) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            block.chain_id,
            block.number,
            block.hash,
            block.parent,
            block.time,
            _pack(stored.logs),
            stored.is_delivered,
        ),
    )


def undelivered(connection: sqlite3.Connection, chain_id: int, up_to: int) -> tuple[StoredBlock, ...]:
    """Blocks that are deep enough by now and were not handed on yet, oldest first."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM chain_blocks WHERE chain_id = ? AND number <= ? AND NOT is_delivered ORDER BY number",
        (chain_id, up_to),
    ).fetchall()
    return tuple(_stored(row) for row in rows)


def set_delivered(connection: sqlite3.Connection, block: BlockRef) -> None:
    """Note that a block's logs were handed on."""
    connection.execute(
        "UPDATE chain_blocks SET is_delivered = 1 WHERE chain_id = ? AND number = ?", (block.chain_id, block.number)
    )


def remove(connection: sqlite3.Connection, block: BlockRef) -> None:
    """Forget a block and carry out its undo rows, newest first."""
    rows = connection.execute(
        "SELECT table_name, key, old FROM chain_undo WHERE chain_id = ? AND number = ? ORDER BY sequence DESC",
        (block.chain_id, block.number),
    ).fetchall()
    for table, key, old in rows:
        _restore(connection, table, cbor2.loads(key), cbor2.loads(old))
    for name in ("chain_undo", "chain_blocks"):
        connection.execute(f"DELETE FROM {name} WHERE chain_id = ? AND number = ?", (block.chain_id, block.number))


def kept_up_to(connection: sqlite3.Connection, chain_id: int, number: int) -> tuple[StoredBlock, ...]:
    """What is stored up to a block, oldest first; the first one is the last that is final, or the first of all."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM chain_blocks WHERE chain_id = ?1 AND number <= ?2 AND number >= coalesce("
        "(SELECT max(number) FROM chain_blocks WHERE chain_id = ?1 AND number <= ?3), 0) ORDER BY number",
        (chain_id, number, final_number(connection, chain_id)),
    ).fetchall()
    return tuple(map(_stored, rows))


def is_followed(connection: sqlite3.Connection, block: BlockRef) -> bool:
    """Whether a block that was followed once is still a part of the chain."""
    if block.number <= final_number(connection, block.chain_id):
        return True
    query = "SELECT 1 FROM chain_blocks WHERE chain_id = ? AND number = ? AND hash = ?"
    return connection.execute(query, (block.chain_id, block.number, block.hash)).fetchone() is not None


def bottom(connection: sqlite3.Connection, chain_id: int) -> int:
    """The highest block that is never taken back: final, or the first one that was stored."""
    (first,) = connection.execute("SELECT MIN(number) FROM chain_blocks WHERE chain_id = ?", (chain_id,)).fetchone()
    return max(final_number(connection, chain_id), -1 if first is None else int(first))


def final_number(connection: sqlite3.Connection, chain_id: int) -> int:
    """The highest block that the chain ever called final; -1 before it did."""
    row = connection.execute("SELECT number FROM chain_final WHERE chain_id = ?", (chain_id,)).fetchone()
    return -1 if row is None else int(row[0])


def set_final(connection: sqlite3.Connection, chain_id: int, number: int) -> None:
    """Raise the final number, and forget what can no longer be taken back, but for the tip.

    `number` is that of a stored block, so that there is something to go on from.
    """
    connection.execute(
        "INSERT INTO chain_final VALUES (?, ?) ON CONFLICT DO UPDATE SET number = max(number, excluded.number)",
        (chain_id, number),
    )
    connection.execute("DELETE FROM chain_undo WHERE chain_id = ? AND number <= ?", (chain_id, number))
    connection.execute(
        "DELETE FROM chain_blocks WHERE chain_id = ?1 AND number < ?2 AND is_delivered "
        "AND number < (SELECT MAX(number) FROM chain_blocks WHERE chain_id = ?1)",
        (chain_id, number),
    )


def replace_all(connection: sqlite3.Connection, anchor: BlockRef) -> None:
    """Make a final block the only one stored, after a range below finality was read at once."""
    connection.execute("DELETE FROM chain_blocks WHERE chain_id = ?", (anchor.chain_id,))
    add(connection, StoredBlock(anchor, (), is_delivered=True))


def remember_row(connection: sqlite3.Connection, block: BlockRef, table: str, key: dict[str, SqlValue]) -> None:
    """Keep a row as it is before `apply` changes, inserts or deletes it, to be restored if the block goes away.

    To be called inside `apply`, before the change; `key` names the primary key's columns.
    """
    where = " AND ".join(f"{_identifier(column)} = ?" for column in key)
    cursor = connection.execute(f"SELECT * FROM {_identifier(table)} WHERE {where}", tuple(key.values()))
    row = cursor.fetchone()
    old = None if row is None else dict(zip((column[0] for column in cursor.description), row, strict=True))
    connection.execute(
        "INSERT INTO chain_undo VALUES (?1, ?2, (SELECT COUNT(*) FROM chain_undo "
        "WHERE chain_id = ?1 AND number = ?2), ?3, ?4, ?5)",
        (block.chain_id, block.number, table, cbor2.dumps(key), cbor2.dumps(old)),
    )


_COLUMNS: Final = "chain_id, number, hash, parent, time, logs, is_delivered"


def _restore(
    connection: sqlite3.Connection, table: str, key: dict[str, SqlValue], old: dict[str, SqlValue] | None
) -> None:
    where = " AND ".join(f"{_identifier(column)} = ?" for column in key)
    connection.execute(f"DELETE FROM {_identifier(table)} WHERE {where}", tuple(key.values()))
    if old is not None:
        columns = ", ".join(_identifier(column) for column in old)
        marks = ", ".join("?" for _ in old)
        connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", tuple(old.values()))


def _identifier(name: str) -> str:
    if not _IDENTIFIER.fullmatch(name):
        raise ValueError(f"{name!r} is no table or column of ours")
    return name


def _stored(row: tuple[Any, ...]) -> StoredBlock:
    chain_id, number, block_hash, parent, time, logs, is_delivered = row
    block = BlockRef(chain_id, number, Digest(block_hash), Digest(parent), UnixTime(time))
    return StoredBlock(block, _unpack(logs), bool(is_delivered))


def _pack(logs: tuple[RawLog, ...]) -> bytes:
    if not logs:
        return b""
    return cbor2.dumps([[log.address, list(log.topics), log.data, log.tx_hash, log.log_index] for log in logs])


def _unpack(packed: bytes) -> tuple[RawLog, ...]:
    if not packed:
        return ()
    return tuple(
        RawLog(Address(address), tuple(map(Digest, topics)), data, TxHash(tx_hash), log_index)
        for address, topics, data, tx_hash, log_index in cbor2.loads(packed)
    )
