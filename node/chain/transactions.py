"""The transactions of our accounts as rows: what was promised, what was signed, what became of it.

A nonce belongs to one row, and that row is the lock: the nonce is taken, the transaction signed and its bytes stored
in one database transaction, before anybody else may see it. Nothing here speaks to a chain.

    signed → sent → mined → final
               ↑       ↓
               └── reorged            (the same bytes are sent again)
    signed, sent → dropped            (gone from the pool: sent again, or signed anew with higher fees)
    any but final → replaced → void   (the nonce was used by something else; a reorganisation may give it back
                                       until the block that used it is final)

A row whose newest attempt is a cancellation goes the same ways; whichever attempt is mined tells how it ended.
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
        """
        UPDATE chain_transactions SET state = 'void' WHERE state = 'replaced';
        DROP TABLE chain_nonces;
        DROP INDEX chain_transactions_open;
        CREATE UNIQUE INDEX chain_transactions_nonce ON chain_transactions (chain_id, account, nonce)
            WHERE state <> 'void';
        CREATE INDEX chain_transactions_waiting ON chain_transactions (chain_id, account, nonce)
            WHERE state NOT IN ('mined', 'final', 'void');
        CREATE INDEX chain_transactions_in_block ON chain_transactions (chain_id, account, block_number)
            WHERE state IN ('mined', 'replaced');
        ALTER TABLE chain_attempts ADD COLUMN is_cancel INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE chain_attempts ADD COLUMN signed_at INTEGER NOT NULL DEFAULT 0;
        """,
    ),
)


class State(StrEnum):
    """Where a transaction stands."""

    SIGNED = "signed"
    SENT = "sent"
    DROPPED = "dropped"
    REORGED = "reorged"
    MINED = "mined"
    FINAL = "final"
    REPLACED = "replaced"
    VOID = "void"
    """Replaced for good: the block that used its nonce is final."""


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
    """An order that the chain would carry out now, with what it may cost.

    `count` is the first nonce that, as far as the chain and its pool know, nobody has used.
    """

    order: Order
    gas: int
    fees: Fees
    count: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed form of a transaction."""

    hash: TxHash
    raw: bytes
    fees: Fees
    is_cancel: bool
    """A transfer of nothing to ourselves in place of the order."""

    signed_at: int
    """Unix seconds; zero where an older release signed it."""


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

    @property
    def newest(self) -> Attempt:
        """What is offered to the pool now."""
        return self.attempts[-1]

    @property
    def is_cancelled(self) -> bool:
        """Whether it was a cancellation that ended in a block."""
        mined = self.inclusion
        return mined is not None and any(one.is_cancel for one in self.attempts if one.hash == mined.tx_hash)


@dataclass(frozen=True, slots=True)
class Resting:
    """A block that transactions of ours rest on which are not final."""

    number: int
    hash: Digest


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
    if entry is not None and entry.state is not State.VOID:
        return entry.newest
    nonce = max(prepared.count, next_nonce(connection, account))
    return _sign_at(connection, account, signer, prepared, nonce)


def fill_in(
    connection: sqlite3.Connection, account: Account, signer: Signer, prepared: Prepared, nonce: int
) -> Attempt | None:
    """Sign and store at a nonce that no row has; None where one has it."""
    if find_nonce(connection, account, nonce) is not None:
        return None
    return _sign_at(connection, account, signer, prepared, nonce)


def sign_again_in(
    connection: sqlite3.Connection, account: Account, signer: Signer, entry: Entry, fees: Fees, *, is_cancel: bool
) -> Attempt:
    """Sign the same transaction, or its cancellation, at its own nonce with higher fees, and store it."""
    # What a cancellation leaves of the gas limit costs nothing, and some chains ask more than 21,000 of a transfer.
    order = nothing(account, entry.order.key) if is_cancel else entry.order
    return _sign(connection, account, signer, order, entry.gas, fees, entry.nonce, is_cancel=is_cancel)


def nothing(account: Account, key: str) -> Order:
    """A transfer of nothing to ourselves: all it does is use its nonce."""
    return Order(key, account.address, b"", Wei(0))


def next_nonce(connection: sqlite3.Connection, account: Account) -> int:
    """The nonce after all of ours, used or in flight."""
    row = connection.execute(
        "SELECT MAX(nonce) FROM chain_transactions WHERE chain_id = ? AND account = ? AND state <> 'void'",
        (account.chain_id, account.address),
    ).fetchone()
    return 0 if row[0] is None else int(row[0]) + 1


def find(connection: sqlite3.Connection, account: Account, key: str) -> Entry | None:
    """The transaction under an idempotency key."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM chain_transactions WHERE chain_id = ? AND account = ? AND key = ?",
        (account.chain_id, account.address, key),
    ).fetchone()
    return None if row is None else _entry(connection, account, row)


def find_nonce(connection: sqlite3.Connection, account: Account, nonce: int) -> Entry | None:
    """The transaction that holds a nonce."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM chain_transactions "
        "WHERE chain_id = ? AND account = ? AND nonce = ? AND state <> 'void'",
        (account.chain_id, account.address, nonce),
    ).fetchone()
    return None if row is None else _entry(connection, account, row)


def waiting(connection: sqlite3.Connection, account: Account, limit: int) -> tuple[Entry, ...]:
    """Transactions that are in no block, or whose nonce another one took, by nonce."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM chain_transactions WHERE chain_id = ? AND account = ? "
        "AND state NOT IN ('mined', 'final', 'void') ORDER BY nonce LIMIT ?",
        (account.chain_id, account.address, limit),
    ).fetchall()
    return tuple(_entry(connection, account, row) for row in rows)


def carrying(
    connection: sqlite3.Connection, account: Account, to: Address, selectors: tuple[bytes, ...], word: bytes
) -> tuple[str, ...]:
    """Keys of calls to a contract that are not over and have a word in their data, newest first.

    For words that nobody can choose, such as digests.
    """
    marks = ", ".join("?" * len(selectors))
    of_ours = f"chain_id = ? AND account = ? AND to_address = ? AND substr(data, 1, 4) IN ({marks}) AND instr(data, ?)"
    values = (account.chain_id, account.address, to, *selectors, word)
    # By the two small indexes: those that are final are many, and their data long.
    rows = connection.execute(
        f"SELECT key, nonce FROM chain_transactions INDEXED BY chain_transactions_waiting WHERE {of_ours} "
        "AND state NOT IN ('mined', 'final', 'void') UNION ALL "
        f"SELECT key, nonce FROM chain_transactions INDEXED BY chain_transactions_in_block WHERE {of_ours} "
        "AND state = 'mined' AND state IN ('mined', 'replaced') ORDER BY nonce DESC",
        (*values, *values),
    ).fetchall()
    return tuple(str(key) for key, _ in rows)


def resting(connection: sqlite3.Connection, account: Account) -> tuple[Resting, ...]:
    """The blocks that transactions rest on which are not final, newest first."""
    rows = connection.execute(
        "SELECT DISTINCT block_number, block_hash FROM chain_transactions WHERE chain_id = ? AND account = ? "
        "AND state IN ('mined', 'replaced') ORDER BY block_number DESC",
        (account.chain_id, account.address),
    ).fetchall()
    return tuple(Resting(number, Digest(block_hash)) for number, block_hash in rows)


def set_state(connection: sqlite3.Connection, account: Account, key: str, state: State) -> None:
    """Move a transaction to a state without a block."""
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


def set_replaced(connection: sqlite3.Connection, account: Account, key: str, number: int, block: Digest) -> None:
    """Record the block at which the nonce was found used by another transaction."""
    connection.execute(
        "UPDATE chain_transactions SET state = 'replaced', block_number = ?, block_hash = ? "
        "WHERE chain_id = ? AND account = ? AND key = ?",
        (number, block, account.chain_id, account.address, key),
    )


def set_reorged(connection: sqlite3.Connection, account: Account, block: Resting) -> int:
    """Take the transactions back that rest on a block which is no longer in the chain; how many."""
    return connection.execute(
        "UPDATE chain_transactions INDEXED BY chain_transactions_in_block SET state = 'reorged', mined_hash = NULL, "
        f"block_number = NULL, block_hash = NULL, gas_used = NULL, failure = NULL {_RESTING_ON}",
        (account.chain_id, account.address, block.number, block.hash),
    ).rowcount


def set_final(connection: sqlite3.Connection, account: Account, block: Resting) -> None:
    """Nothing can happen any more to what rests on a block."""
    connection.execute(
        "UPDATE chain_transactions INDEXED BY chain_transactions_in_block "
        f"SET state = CASE state WHEN 'mined' THEN 'final' ELSE 'void' END {_RESTING_ON}",
        (account.chain_id, account.address, block.number, block.hash),
    )


_RESTING_ON: Final = (
    "WHERE chain_id = ? AND account = ? AND block_number = ? AND block_hash = ? AND state IN ('mined', 'replaced')"
)
_COLUMNS: Final = (
    "key, to_address, data, value_wei, nonce, gas, state, mined_hash, block_number, block_hash, gas_used, failure"
)


def _sign_at(
    connection: sqlite3.Connection, account: Account, signer: Signer, prepared: Prepared, nonce: int
) -> Attempt:
    order = prepared.order
    connection.execute(
        "INSERT INTO chain_transactions "
        "(chain_id, account, key, nonce, to_address, data, value_wei, gas, state) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'signed') ON CONFLICT (chain_id, account, key) DO UPDATE SET "
        "nonce = excluded.nonce, to_address = excluded.to_address, data = excluded.data, "
        "value_wei = excluded.value_wei, gas = excluded.gas, state = 'signed', block_number = NULL, block_hash = NULL",
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
    return _sign(connection, account, signer, order, prepared.gas, prepared.fees, nonce, is_cancel=False)


def _sign(
    connection: sqlite3.Connection,
    account: Account,
    signer: Signer,
    order: Order,
    gas: int,
    fees: Fees,
    nonce: int,
    *,
    is_cancel: bool,
) -> Attempt:
    raw = signer.sign_transaction(
        Transaction(
            chain_id=account.chain_id,
            nonce=nonce,
            to=order.to,
            data=order.data,
            value_wei=order.value_wei,
            gas=gas,
            max_fee_wei=fees.max_fee_wei,
            tip_wei=fees.tip_wei,
        )
    )
    signed_at = int(connection.execute("SELECT CAST(strftime('%s', 'now') AS INTEGER)").fetchone()[0])
    attempt = Attempt(transaction_hash(raw), raw, fees, is_cancel, signed_at)
    connection.execute(
        "INSERT INTO chain_attempts "
        "(hash, chain_id, account, key, nonce, max_fee_wei, tip_wei, raw, is_cancel, signed_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (
            attempt.hash,
            account.chain_id,
            account.address,
            order.key,
            nonce,
            str(fees.max_fee_wei),
            str(fees.tip_wei),
            raw,
            is_cancel,
            signed_at,
        ),
    )
    return attempt


def _entry(connection: sqlite3.Connection, account: Account, row: tuple[object, ...]) -> Entry:
    key, to, data, value, nonce, gas, state, mined_hash, number, block_hash, gas_used, failure = row
    attempts = connection.execute(
        # Fees only ever rise from one attempt to the next; the text is compared by length first.
        "SELECT hash, raw, max_fee_wei, tip_wei, is_cancel, signed_at FROM chain_attempts "
        "WHERE chain_id = ? AND account = ? AND key = ? AND nonce = ? ORDER BY length(max_fee_wei), max_fee_wei",
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
            Attempt(TxHash(tx_hash), raw, Fees(Wei(int(max_fee)), Wei(int(tip))), bool(is_cancel), signed_at)
            for tx_hash, raw, max_fee, tip, is_cancel, signed_at in attempts
        ),
        inclusion=inclusion,
    )


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value


def _integer(value: object) -> int:
    assert isinstance(value, int | str)
    return int(value)
