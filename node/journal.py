"""The durable memory of deals: events as they happened, the state they led to, the commands still owed.

One row a deal with its present state, so that recovery reads what is open rather than replaying what is over. One
transaction covers an event, the new state, and the commands that follow. Confirmed chain events arrive in the `inbox`,
written by the follower in the transaction of their block, and leave it in the transaction that applies them:
neither a crash nor a restart can lose or repeat one.
"""

import hashlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from capanode.node.storage.database import Database, Schema
from capanode.protocol import commands, encoding, events, provider, requester
from capanode.protocol.events import ChainEvent, ProviderEvent, RequesterEvent
from capanode.protocol.ids import ZERO_ADDRESS, Address, DealId, Digest

SCHEMA: Final = Schema(
    "journal",
    (
        """
        CREATE TABLE deal (
            key TEXT PRIMARY KEY, side TEXT NOT NULL, deal_id BLOB, phase TEXT NOT NULL, ended INTEGER NOT NULL,
            state BLOB NOT NULL, created_at REAL NOT NULL, updated_at REAL NOT NULL
        );
        CREATE INDEX deal_by_id ON deal (deal_id);
        CREATE INDEX deal_open ON deal (key) WHERE ended = 0;
        CREATE TABLE event (
            seq INTEGER PRIMARY KEY, deal TEXT NOT NULL REFERENCES deal (key), data BLOB NOT NULL, at REAL NOT NULL
        );
        CREATE INDEX event_by_deal ON event (deal, seq);
        CREATE TABLE outbox (
            key TEXT PRIMARY KEY, deal TEXT NOT NULL REFERENCES deal (key), data BLOB NOT NULL
        );
        CREATE INDEX outbox_by_deal ON outbox (deal);
        CREATE TABLE inbox (seq INTEGER PRIMARY KEY, block BLOB NOT NULL, data BLOB NOT NULL);
        """,
        # Zero in rows of releases that knew one market only, until `Journal.place` names it.
        f"ALTER TABLE deal ADD COLUMN market BLOB NOT NULL DEFAULT x'{ZERO_ADDRESS.hex()}';",
    ),
)


class Side(StrEnum):
    """Which side of a deal this node is on."""

    PROVIDER = "provider"
    REQUESTER = "requester"


State = provider.Deal | requester.Job
Event = ProviderEvent | RequesterEvent

_STATES: Final[dict[Side, tuple[type[State], ...]]] = {
    Side.PROVIDER: provider.PHASES,
    Side.REQUESTER: requester.PHASES,
}
_EVENTS: Final[tuple[type[Event], ...]] = (
    events.DealAnnounced,
    events.DealAssigned,
    events.DealCommitted,
    events.DealFinalized,
    events.DealRefunded,
    events.DealCancelled,
    events.TransactionRefused,
    events.DeadlinePassed,
    events.JobSubmitted,
    events.DemandRenewed,
    events.BidsClosed,
    events.AwardAnswered,
    events.ResultFetched,
    events.AcceptRequested,
    events.CancelRequested,
    events.ProviderLost,
    events.ProviderReturned,
    events.WorkTaken,
    events.Prepared,
    events.PrepareFailed,
    events.ExecutionFinished,
    events.ExecutionFailed,
    events.AcceptReceived,
    events.ResultDropped,
)
_CHAIN_EVENTS: Final[tuple[type[ChainEvent], ...]] = (
    events.DealAnnounced,
    events.DealAssigned,
    events.DealCommitted,
    events.DealFinalized,
    events.DealRefunded,
    events.DealCancelled,
)
_COMMANDS: Final[tuple[type[commands.Command], ...]] = (
    commands.SubmitAnnounce,
    commands.RenewDemand,
    commands.PostDemand,
    commands.CollectBids,
    commands.SendAward,
    commands.WakeAt,
    commands.SubmitCancel,
    commands.SubmitExpire,
    commands.FetchResult,
    commands.SendAccept,
    commands.Prepare,
    commands.SubmitAssign,
    commands.RunContainer,
    commands.SubmitCommit,
    commands.SubmitAbandon,
    commands.SubmitClaim,
    commands.SubmitAccept,
    commands.DropResult,
)
_ENDED: Final = (provider.Done, provider.Lost, requester.Settled, requester.Failed, requester.Cancelled)


@dataclass(frozen=True, slots=True)
class Stored:
    """A deal as the journal holds it. `key` is unique over both sides; times are Unix seconds.

    `market` is the version of the market that the deal is made in, from its first moment to its end.
    """

    key: str
    side: Side
    state: State
    created_at: float
    updated_at: float
    market: Address = ZERO_ADDRESS

    @property
    def deal_id(self) -> DealId | None:
        """The deal on chain, once there is one."""
        return deal_id_of(self.state)

    @property
    def ended(self) -> bool:
        """Whether nothing can happen to it any more."""
        return isinstance(self.state, _ENDED)


@dataclass(frozen=True, slots=True)
class Owed:
    """A command that was issued and not yet answered. `key` is unique per deal, phase and content."""

    key: str
    deal: str
    command: commands.Command


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of the past, for timelines."""

    at: float
    event: Event


@dataclass(frozen=True, slots=True)
class Incoming:
    """A confirmed chain event that no transaction has applied yet."""

    seq: int
    event: ChainEvent


def deal_id_of(state: State) -> DealId | None:
    """The deal that a state is about, once it has an id."""
    return requester.deal_id_of(state) if isinstance(state, requester.Job) else state.work.deal_id


def owed(stored: Stored, command: commands.Command) -> Owed:
    """The command under its key; issuing it twice in one phase gives the same key."""
    content = hashlib.sha256(encoding.encode(command)).hexdigest()[:16]
    return Owed(f"{stored.key}/{stored.state.RECORD[0]}/{command.RECORD[0]}/{content}", stored.key, command)


@dataclass(frozen=True, slots=True)
class Change:
    """All that one event changes: written whole or not at all."""

    stored: Stored
    event: Event
    issued: tuple[Owed, ...]
    phase_left: bool
    answered: str | None


class Journal:
    """Reads and writes of the tables above; every write is one durable transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def place(self, market: Address) -> None:
        """Name the market of the deals that a release which knew only one has left; idempotent."""
        query = "UPDATE deal SET market = ? WHERE market = ?"
        await self._database.write(
            "journal.place", lambda connection: connection.execute(query, (market, ZERO_ADDRESS))
        )

    async def markets(self) -> frozenset[Address]:
        """The markets of deals that have not ended."""
        query = "SELECT DISTINCT market FROM deal WHERE ended = 0"
        return await self._database.read(
            lambda connection: frozenset(Address(row[0]) for row in connection.execute(query))
        )

    async def open_deals(self) -> tuple[tuple[Stored, ...], tuple[Owed, ...]]:
        """What recovery needs: deals that have not ended, and the commands that they still owe."""

        def read(connection: sqlite3.Connection) -> tuple[tuple[Stored, ...], tuple[Owed, ...]]:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM deal WHERE ended = 0").fetchall()
            owing = connection.execute("SELECT key, deal, data FROM outbox ORDER BY rowid").fetchall()
            return tuple(map(_stored, rows)), tuple(map(_owed, owing))

        return await self._database.read(read)

    async def deals(self, side: Side, limit: int) -> tuple[Stored, ...]:
        """The newest deals of one side, ended ones included."""
        query = f"SELECT {_COLUMNS} FROM deal WHERE side = ? ORDER BY created_at DESC LIMIT ?"

        def read(connection: sqlite3.Connection) -> tuple[Stored, ...]:
            return tuple(map(_stored, connection.execute(query, (side.value, limit)).fetchall()))

        return await self._database.read(read)

    async def find(self, key: str) -> Stored | None:
        """One deal by key."""

        def read(connection: sqlite3.Connection) -> Stored | None:
            row = connection.execute(f"SELECT {_COLUMNS} FROM deal WHERE key = ?", (key,)).fetchone()
            return _stored(row) if row else None

        return await self._database.read(read)

    async def history(self, key: str) -> tuple[Happened, ...]:
        """Everything that happened to a deal, in order."""

        def read(connection: sqlite3.Connection) -> tuple[Happened, ...]:
            rows = connection.execute("SELECT at, data FROM event WHERE deal = ? ORDER BY seq", (key,)).fetchall()
            return tuple(Happened(at, encoding.decode_one_of(_EVENTS, data)) for at, data in rows)

        return await self._database.read(read)

    async def incoming(self, limit: int) -> tuple[Incoming, ...]:
        """Confirmed chain events that wait to be applied, oldest first."""

        def read(connection: sqlite3.Connection) -> tuple[Incoming, ...]:
            rows = connection.execute("SELECT seq, data FROM inbox ORDER BY seq LIMIT ?", (limit,)).fetchall()
            return tuple(Incoming(seq, encoding.decode_one_of(_CHAIN_EVENTS, data)) for seq, data in rows)

        return await self._database.read(read)

    async def record(self, changes: Sequence[Change], seen: Incoming | None = None) -> None:
        """Write what one event changed; with `seen`, take it out of the inbox in the same transaction."""

        def write(connection: sqlite3.Connection) -> None:
            for change in changes:
                _write_change(connection, change)
            if seen is not None:
                connection.execute("DELETE FROM inbox WHERE seq = ?", (seen.seq,))

        await self._database.write(_step_of(changes), write)


def is_open_in(connection: sqlite3.Connection, deal_id: DealId, market: Address) -> bool:
    """Whether a deal of this node in this market that has not ended bears the id."""
    query = "SELECT 1 FROM deal WHERE deal_id = ? AND market = ? AND ended = 0 LIMIT 1"
    return connection.execute(query, (deal_id, market)).fetchone() is not None


def receive_in(connection: sqlite3.Connection, event: ChainEvent, block: Digest) -> None:
    """Put a confirmed event into the inbox, within the transaction of its block."""
    connection.execute("INSERT INTO inbox (block, data) VALUES (?,?)", (block, encoding.encode(event)))


def retract_in(connection: sqlite3.Connection, block: Digest) -> None:
    """Take the events of a replaced block out of the inbox, as far as no deal has seen them."""
    connection.execute("DELETE FROM inbox WHERE block = ?", (block,))


def _write_change(connection: sqlite3.Connection, change: Change) -> None:
    stored = change.stored
    connection.execute(
        "INSERT INTO deal (key, side, deal_id, phase, ended, state, created_at, updated_at, market)"
        " VALUES (?,?,?,?,?,?,?,?,?)"
        " ON CONFLICT (key) DO UPDATE SET deal_id = excluded.deal_id, phase = excluded.phase, ended = excluded.ended,"
        " state = excluded.state, updated_at = excluded.updated_at",
        (
            stored.key,
            stored.side.value,
            stored.deal_id,
            stored.state.RECORD[0],
            int(stored.ended),
            encoding.encode(stored.state),
            stored.created_at,
            stored.updated_at,
            stored.market,
        ),
    )
    connection.execute(
        "INSERT INTO event (deal, data, at) VALUES (?,?,?)",
        (stored.key, encoding.encode(change.event), stored.updated_at),
    )
    if change.phase_left:
        connection.execute("DELETE FROM outbox WHERE deal = ?", (stored.key,))
    elif change.answered is not None:
        connection.execute("DELETE FROM outbox WHERE key = ?", (change.answered,))
    connection.executemany(
        "INSERT OR REPLACE INTO outbox (key, deal, data) VALUES (?,?,?)",
        [(item.key, item.deal, encoding.encode(item.command)) for item in change.issued],
    )


def _step_of(changes: Sequence[Change]) -> str:
    """The name of a write among the fault points: whose deal reached which phase by what."""
    if not changes:
        return "journal.inbox"
    change = changes[0]
    return f"journal.{change.stored.state.RECORD[0]}.{type(change.event).__name__}"


_COLUMNS: Final = "key, side, state, created_at, updated_at, market"


def _stored(row: tuple[str, str, bytes, float, float, bytes]) -> Stored:
    key, side_text, data, created_at, updated_at, market = row
    side = Side(side_text)
    return Stored(key, side, encoding.decode_one_of(_STATES[side], data), created_at, updated_at, Address(market))


def _owed(row: tuple[str, str, bytes]) -> Owed:
    key, deal, data = row
    return Owed(key, deal, encoding.decode_one_of(_COMMANDS, data))
