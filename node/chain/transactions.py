"""The transactions of our accounts as rows: what was promised, what was signed, what became of it.

The row of an account's next nonce is the lock: a nonce is taken, the transaction signed and its bytes stored
in one database transaction, before anybody else may see it. Nothing here speaks to a chain.

    signed → sent → mined → final
               ↑       ↓
               └── reorged        (the same bytes are sent again)
    signed, sent → dropped        (gone from the pool: sent again, or signed anew with higher fees)
    signed, sent → replaced       (the nonce was used by something else: submit the key again)
"""

import sqlite3
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from capanode.node.chain.transaction import Transaction, transaction_hash
from capanode.node.keys.signer import Signer
from capanode.node.storage.database import Schema
from capanode.protocol.ids import Address, Digest, TxHash, Wei

TRANSACTIONS_SCHEMA: Final = Schema(
    "chain_transactions",
    (
        """
        CREATE TABLE chain_nonces (
            chain_id INTEGER NOT NULL, account BLOB NOT NULL, next INTEGER NOT NULL,
            PRIMARY KEY (chain_id, account)
        ) WITHOUT ROWID;
        CREATE TABLE chain_transactions (
            chain_id INTEGER NOT NULL, account BLOB NOT NULL, key TEXT NOT NULL,
            nonce INTEGER NOT NULL, to_address BLOB, data BLOB NOT NULL, value_wei TEXT NOT NULL,
            gas INTEGER NOT NULL, state TEXT NOT NULL,
            mined_hash BLOB, block_number INTEGER, block_hash BLOB, gas_used INTEGER, failure TEXT,
            PRIMARY KEY (chain_id, account, key)
        ) WITHOUT ROWID;
        CREATE INDEX chain_transactions_open ON chain_transactions (chain_id, account, nonce)
            WHERE state NOT IN ('final', 'replaced');
        CREATE TABLE chain_attempts (
            hash BLOB PRIMARY KEY, chain_id INTEGER NOT NULL, account BLOB NOT NULL, key TEXT NOT NULL,
            nonce INTEGER NOT NULL, max_fee_wei TEXT NOT NULL, tip_wei TEXT NOT NULL, raw BLOB NOT NULL
        ) WITHOUT ROWID;
        CREATE INDEX chain_attempts_of ON chain_attempts (chain_id, account, key, nonce);
        """,
    ),
)


class State(StrEnum):
    """Where a transaction stands."""

    SIGNED = "signed"
    SENT = "sent"
    MINED = "mined"
    FINAL = "final"
    REORGED = "reorged"
    REPLACED = "replaced"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Fees:
    """What a unit of gas may cost."""

    max_fee_wei: Wei
    tip_wei: Wei


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done on chain, once, under an idempotency key."""

    key: str
    to: Address | None
    data: bytes
    value_wei: Wei


@dataclass(frozen=True, slots=True)
class Prepared:
    """An order that the chain would carry out now, with what it may cost."""

    order: Order
    gas: int
    fees: Fees


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed form of a transaction."""

    hash: TxHash
    raw: bytes
    fees: Fees


@dataclass(frozen=True, slots=True)
class Inclusion:
    """The block and the receipt in which a transaction ended."""

    tx_hash: TxHash
    block_number: int
    block_hash: Digest
    gas_used: int
    failure: str | None
    """Why it reverted, as a sentence; None when it succeeded."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored transaction."""

    order: Order
    nonce: int
    gas: int
    state: State
    attempts: tuple[Attempt, ...]
    """All signed forms for its nonce, oldest first."""

    inclusion: Inclusion | None


@dataclass(frozen=True, slots=True)
class Account:
    """Whose transactions: one address on one chain."""

    chain_id: int
    address: Address


def sign_in(connection: sqlite3.Connection, account: Account, signer: Signer, prepared: Prepared) -> Attempt:
    """Take the next nonce, sign and store, or return what is stored under the key already.

    To be called inside the caller's transaction: the nonce is used if and only if that commits.
    """
    entry = find(connection, account, prepared.order.key)
    if entry is not None and entry.state is not State.REPLACED:
        return entry.attempts[-1]
    nonce = _take_nonce(connection, account)
    _upsert(connection, account, prepared, nonce)
    return _sign(connection, account, signer, prepared, nonce)


def sign_again_in(
    connection: sqlite3.Connection, account: Account, signer: Signer, entry: Entry, fees: Fees
) -> Attempt:
    """Sign the same transaction at its own nonce with higher fees, and store it."""
    prepared = Prepared(entry.order, entry.gas, fees)
    return _sign(connection, account, signer, prepared, entry.nonce)


def find(connection: sqlite3.Connection, account: Account, key: str) -> Entry | None:
    """The transaction under an idempotency key."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM chain_transactions WHERE chain_id = ? AND account = ? AND key = ?",
        (account.chain_id, account.address, key),
    ).fetchone()
    return None if row is None else _entry(connection, account, row)


def unfinished(connection: sqlite3.Connection, account: Account, limit: int, *, with_mined: bool) -> tuple[Entry, ...]:
    """Transactions that something may still happen to, by nonce; those in a block on request only."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM chain_transactions WHERE chain_id = ? AND account = ? "
        "AND state NOT IN ('final', 'replaced') AND (? OR state <> 'mined') ORDER BY nonce LIMIT ?",
        (account.chain_id, account.address, with_mined, limit),
    ).fetchall()
    return tuple(_entry(connection, account, row) for row in rows)


def set_state(connection: sqlite3.Connection, account: Account, key: str, state: State) -> None:
    """Move a transaction to a state without an inclusion, or from mined to final."""
    connection.execute(
        "UPDATE chain_transactions SET state = ? WHERE chain_id = ? AND account = ? AND key = ?",
        (state, account.chain_id, account.address, key),
    )


def set_mined(connection: sqlite3.Connection, account: Account, key: str, inclusion: Inclusion) -> None:
    """Record the block in which a transaction was found."""
    connection.execute(
        "UPDATE chain_transactions SET state = 'mined', mined_hash = ?, block_number = ?, block_hash = ?, "
        "gas_used = ?, failure = ? WHERE chain_id = ? AND account = ? AND key = ?",
        (
            inclusion.tx_hash,
            inclusion.block_number,
            inclusion.block_hash,
            inclusion.gas_used,
            inclusion.failure,
            account.chain_id,
            account.address,
            key,
        ),
    )


def set_next_nonce(connection: sqlite3.Connection, account: Account, chain_count: int) -> None:
    """Bring the next nonce in line with the chain's count of mined transactions.

    Behind the chain it moves up (the key was used elsewhere). Ahead of the chain it moves back only as far as
    our own unfinished transactions allow, so that a gap which nothing fills does not last.
    """
    row = connection.execute(
        "SELECT MAX(nonce) FROM chain_transactions WHERE chain_id = ? AND account = ? "
        "AND state IN ('signed', 'sent', 'dropped', 'reorged', 'mined')",
        (account.chain_id, account.address),
    ).fetchone()
    after_ours = 0 if row[0] is None else int(row[0]) + 1
    connection.execute(
        "INSERT INTO chain_nonces VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET next = excluded.next",
        (account.chain_id, account.address, max(chain_count, after_ours)),
    )


_COLUMNS: Final = (
    "key, to_address, data, value_wei, nonce, gas, state, mined_hash, block_number, block_hash, gas_used, failure"
)


def _take_nonce(connection: sqlite3.Connection, account: Account) -> int:
    row = connection.execute(
        "UPDATE chain_nonces SET next = next + 1 WHERE chain_id = ? AND account = ? RETURNING next - 1",
        (account.chain_id, account.address),
    ).fetchone()
    return int(row[0])


def _upsert(connection: sqlite3.Connection, account: Account, prepared: Prepared, nonce: int) -> None:
    order = prepared.order
    connection.execute(
        "INSERT INTO chain_transactions "
        "(chain_id, account, key, nonce, to_address, data, value_wei, gas, state) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'signed') ON CONFLICT DO UPDATE SET nonce = excluded.nonce, "
        "to_address = excluded.to_address, data = excluded.data, value_wei = excluded.value_wei, "
        "gas = excluded.gas, state = 'signed'",
        (
            account.chain_id,
            account.address,
            order.key,
            nonce,
            order.to,
            order.data,
            str(order.value_wei),
            prepared.gas,
        ),
    )


def _sign(connection: sqlite3.Connection, account: Account, signer: Signer, prepared: Prepared, nonce: int) -> Attempt:
    order, fees = prepared.order, prepared.fees
    raw = signer.sign_transaction(
        Transaction(
            chain_id=account.chain_id,
            nonce=nonce,
            to=order.to,
            data=order.data,
            value_wei=order.value_wei,
            gas=prepared.gas,
            max_fee_wei=fees.max_fee_wei,
            tip_wei=fees.tip_wei,
        )
    )
    attempt = Attempt(transaction_hash(raw), raw, fees)
    connection.execute(
        "INSERT INTO chain_attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (
            attempt.hash,
            account.chain_id,
            account.address,
            order.key,
            nonce,
            str(fees.max_fee_wei),
            str(fees.tip_wei),
            raw,
        ),
    )
    return attempt


def _entry(connection: sqlite3.Connection, account: Account, row: tuple[object, ...]) -> Entry:
    key, to, data, value, nonce, gas, state, mined_hash, number, block_hash, gas_used, failure = row
    attempts = connection.execute(
        # Fees only ever rise from one attempt to the next; the text is compared by length first.
        "SELECT hash, raw, max_fee_wei, tip_wei FROM chain_attempts WHERE chain_id = ? AND account = ? "
        "AND key = ? AND nonce = ? ORDER BY length(max_fee_wei), max_fee_wei",
        (account.chain_id, account.address, key, nonce),
    ).fetchall()
    inclusion = None
    if isinstance(number, int) and state in (State.MINED, State.FINAL):
        inclusion = Inclusion(
            TxHash(_bytes(mined_hash)),
            number,
            Digest(_bytes(block_hash)),
            _integer(gas_used),
            None if failure is None else str(failure),
        )
    return Entry(
        order=Order(str(key), None if to is None else Address(_bytes(to)), _bytes(data), Wei(_integer(value))),
        nonce=_integer(nonce),
        gas=_integer(gas),
        state=State(str(state)),
        attempts=tuple(
            Attempt(TxHash(tx_hash), raw, Fees(Wei(int(max_fee)), Wei(int(tip))))
            for tx_hash, raw, max_fee, tip in attempts
        ),
        inclusion=inclusion,
    )


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value


def _integer(value: object) -> int:
    assert isinstance(value, int | str)
    return int(value)
