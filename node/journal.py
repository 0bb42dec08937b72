"""The durable memory of deals: events as they happened, the state they led to, the commands still owed.

One row a deal with its present state, so that recovery reads what is open rather than replaying what is over. One
transaction covers events, the new states, and the commands that follow. Confirmed chain events arrive in the `inbox`,
written by the follower in the transaction of their block, and leave it in the transaction that applies them:
neither a crash nor a restart can lose or repeat one.

An event remembers the block that it rests on. When the chain takes a block back whose events were applied, the inbox
says so, in its order; the events stay as rows that do not stand, so that the same ones can take their places again.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, assert_never

from capanode.node.chain.blocks import BlockRef, is_followed
from capanode.node.storage.database import Database, Schema
from capanode.node.storage.integrity import damaged
from capanode.protocol import arbiter, challenger, commands, encoding, events, machines, provider, requester
from capanode.protocol.cases import CASE_EVENTS
from capanode.protocol.events import ChainEvent
from capanode.protocol.ids import ZERO_ADDRESS, Address, CaseId, DealId, Digest
from capanode.protocol.standing import Event, Past, State, deal_id_of, subjects_of

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
        # What a reorganisation has to know. Rows of older releases rest on no block; a command's name gets its present
        # form: the phase, the command, and the hash of both as they are stored.
        """
        ALTER TABLE event ADD COLUMN block BLOB;
        ALTER TABLE event ADD COLUMN answers TEXT;
        ALTER TABLE event ADD COLUMN stands INTEGER NOT NULL DEFAULT 1;
        ALTER TABLE event ADD COLUMN waited INTEGER NOT NULL DEFAULT 0;
        CREATE INDEX event_by_block ON event (block) WHERE block IS NOT NULL;
        CREATE INDEX event_taken_back ON event (deal) WHERE NOT stands;
        CREATE INDEX event_waited ON event (deal) WHERE waited;
        CREATE TABLE deal_name (
            deal TEXT NOT NULL REFERENCES deal (key), deal_id BLOB NOT NULL, PRIMARY KEY (deal, deal_id)
        ) WITHOUT ROWID;
        CREATE INDEX deal_name_by_id ON deal_name (deal_id);
        INSERT INTO deal_name SELECT key, deal_id FROM deal WHERE deal_id IS NOT NULL;
        DROP INDEX deal_by_id;
        CREATE TABLE owed (
            deal TEXT NOT NULL REFERENCES deal (key), name TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY (deal, name)
        ) WITHOUT ROWID;
        INSERT INTO owed SELECT outbox.deal,
            substr(outbox.key, length(outbox.deal) + 2, length(outbox.key) - length(outbox.deal) - 17)
                || substr(sha256_hex(deal.state, outbox.data), 1, 16), outbox.data
            FROM outbox JOIN deal ON deal.key = outbox.deal;
        DROP TABLE outbox;
        ALTER TABLE owed RENAME TO outbox;
        ALTER TABLE inbox RENAME TO old_inbox;
        CREATE TABLE inbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, block BLOB NOT NULL, data BLOB);
        INSERT INTO inbox SELECT seq, block, data FROM old_inbox;
        DROP TABLE old_inbox;
        CREATE INDEX inbox_by_block ON inbox (block);
        """,
    ),
)


class Side(StrEnum):
    """What this node is to a deal."""

    PROVIDER = "provider"
    REQUESTER = "requester"
    CHALLENGER = "challenger"
    ARBITER = "arbiter"


_STATES: Final[dict[Side, tuple[type[State], ...]]] = {
    Side.PROVIDER: provider.PHASES,
    Side.REQUESTER: requester.PHASES,
    Side.CHALLENGER: challenger.PHASES,
    Side.ARBITER: arbiter.PHASES,
}
_CHAIN_EVENTS: Final[tuple[type[ChainEvent], ...]] = (
    events.DealAnnounced,
    events.DealAssigned,
    events.DealCommitted,
    events.DealFinalized,
    events.DealRefunded,
    events.DealCancelled,
    events.DealChallenged,
    events.ChallengeClosed,
    events.DealJudged,
    *CASE_EVENTS,
)
_EVENTS: Final[tuple[type[Event], ...]] = (
    *_CHAIN_EVENTS,
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
    events.ResultDrawn,
    events.ResultMissing,
    events.AuditEnded,
    events.WorkTaken,
    events.Prepared,
    events.PrepareFailed,
    events.ExecutionFinished,
    events.ExecutionFailed,
    events.AcceptReceived,
    events.ResultDropped,
    events.ChallengeWanted,
    events.ChallengePlanned,
    events.NodeChosen,
    events.LeafChosen,
    events.NothingDiffers,
    events.SeatFound,
    events.StepJudged,
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
    commands.ExpectResult,
    commands.AuditResult,
    commands.SendAccept,
    commands.Prepare,
    commands.SubmitAssign,
    commands.RunContainer,
    commands.SubmitCommit,
    commands.SubmitAbandon,
    commands.SubmitClaim,
    commands.SubmitAccept,
    commands.KeepResult,
    commands.DropResult,
    commands.PlanChallenge,
    commands.SubmitChallenge,
    commands.SubmitAnswer,
    commands.ChooseNode,
    commands.SubmitDescent,
    commands.SubmitNaming,
    commands.JudgeStep,
    commands.SubmitVote,
    commands.SubmitReveal,
)


@dataclass(frozen=True, slots=True)
class Stored:
    """A deal, or a challenge or duty about one, as the journal holds it. `key` is unique; times are Unix seconds.

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
    def subjects(self) -> frozenset[DealId | CaseId]:
        """What the chain may say something about that matters here."""
        return subjects_of(self.state)

    @property
    def ended(self) -> bool:
        """Whether nothing can happen to it any more."""
        return isinstance(self.state, machines.Ended)


@dataclass(frozen=True, slots=True)
class Owed:
    """A command that was issued and not yet answered. `name` is unique in its deal."""

    deal: str
    name: str
    command: commands.Command


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of the past, for timelines."""

    at: float
    event: Event


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of a deal's past. `stands` is False while the chain has taken it back."""

    seq: int
    past: Past[Event]
    block: Digest | None
    stands: bool


@dataclass(frozen=True, slots=True)
class Incoming:
    """News of the chain that no transaction has applied yet; without an event, that its block was taken back."""

    seq: int
    block: Digest
    event: ChainEvent | None


@dataclass(frozen=True, slots=True)
class Observed:
    """An event that holds as long as a block does: what the chain's time or state was as of it."""

    event: Event
    block: BlockRef


@dataclass(frozen=True, slots=True)
class Added:
    """Something more has happened. `place` is the row of one that was taken back, where it comes in its stead.

    `waits` where it changes nothing before the deal has come so far.
    """

    past: Past[Event]
    block: Digest | None = None
    place: int | None = None
    waits: bool = False

    @property
    def name(self) -> str:
        """The event's."""
        return type(self.past.event).__name__


@dataclass(frozen=True, slots=True)
class TakenBack:
    """A block went away, and what rested on it."""

    block: Digest
    name = "TakenBack"


@dataclass(frozen=True, slots=True)
class Change:
    """All that happens to a deal at once: written whole or not at all."""

    stored: Stored
    cause: Added | TakenBack
    issued: tuple[Owed, ...]
    called_off: tuple[str, ...]


class Journal:
    """Reads and writes of the tables above; every write is one durable transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def copy_to(self, target: Path) -> None:
        """Copy the whole file of the journal, as it is at one moment, to a new one."""
        await self._database.copy_to(target)

    async def place(self, market: Address) -> None:
        """Name the market of the deals that a release which knew only one has left; idempotent."""
        query = "UPDATE deal SET market = ? WHERE market = ?"
        await self._database.write(
            "journal.place", lambda connection: connection.execute(query, (market, ZERO_ADDRESS))
        )

    async def markets(self) -> frozenset[Address]:
        """The markets of deals that have not ended."""
        return await self._database.read(open_markets_in)

    async def open_deals(self) -> tuple[tuple[Stored, ...], tuple[Owed, ...]]:
        """What recovery needs: deals that have not ended, and the commands that they still owe."""

        def read(connection: sqlite3.Connection) -> tuple[tuple[Stored, ...], tuple[Owed, ...]]:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM deal WHERE ended = 0").fetchall()
            owing = connection.execute("SELECT deal, name, data FROM outbox").fetchall()
            return tuple(map(_stored, rows)), tuple(map(_owed, owing))

        return await self._database.read(read)

    async def rewound(self) -> frozenset[str]:
        """Deals of which something was taken back and has not come again."""

        def read(connection: sqlite3.Connection) -> frozenset[str]:
            return frozenset(key for (key,) in connection.execute("SELECT DISTINCT deal FROM event WHERE NOT stands"))

        return await self._database.read(read)

    async def waited(self) -> frozenset[str]:
        """Open deals of which the chain has said what they were not ready for."""
        query = "SELECT DISTINCT deal FROM event WHERE waited AND deal IN (SELECT key FROM deal WHERE ended = 0)"

        def read(connection: sqlite3.Connection) -> frozenset[str]:
            return frozenset(key for (key,) in connection.execute(query))

        return await self._database.read(read)

    async def open_ids(self) -> dict[str, frozenset[DealId | CaseId]]:
        """By open deal, the ids on chain that it bears or has borne."""

        def read(connection: sqlite3.Connection) -> dict[str, frozenset[DealId | CaseId]]:
            found: dict[str, set[DealId | CaseId]] = {}
            query = "SELECT deal_name.deal_id, deal FROM deal_name JOIN deal ON key = deal WHERE ended = 0"
            for deal_id, deal in connection.execute(query):
                found.setdefault(deal, set()).add(DealId(deal_id))
            return {deal: frozenset(ids) for deal, ids in found.items()}

        return await self._database.read(read)

    async def ids_of(self, key: str) -> frozenset[DealId | CaseId]:
        """The ids on chain that a deal bears or has borne."""

        def read(connection: sqlite3.Connection) -> frozenset[DealId | CaseId]:
            rows = connection.execute("SELECT deal_id FROM deal_name WHERE deal = ?", (key,)).fetchall()
            return frozenset(DealId(deal_id) for (deal_id,) in rows)

        return await self._database.read(read)

    async def resting_on(self, block: Digest) -> tuple[Stored, ...]:
        """The deals of which something rests on a block, ended ones included."""
        query = (
            f"SELECT {_COLUMNS} FROM deal WHERE key IN"
            " (SELECT deal FROM event WHERE block = ? AND stands) ORDER BY created_at"
        )

        def read(connection: sqlite3.Connection) -> tuple[Stored, ...]:
            return tuple(map(_stored, connection.execute(query, (block,)).fetchall()))

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

    async def known(self, keys: Sequence[str]) -> frozenset[str]:
        """Those of the keys that are a deal's, ended ones included."""
        query = "SELECT 1 FROM deal WHERE key = ?"

        def read(connection: sqlite3.Connection) -> frozenset[str]:
            return frozenset(key for key in keys if connection.execute(query, (key,)).fetchone())

        return await self._database.read(read)

    async def history(self, key: str) -> tuple[Happened, ...]:
        """Everything that happened to a deal and stands, in order."""
        query = "SELECT at, data FROM event WHERE deal = ? AND stands ORDER BY seq"

        def read(connection: sqlite3.Connection) -> tuple[Happened, ...]:
            rows = connection.execute(query, (key,)).fetchall()
            return tuple(Happened(at, _read(_EVENTS, data)) for at, data in rows)

        return await self._database.read(read)

    async def entries(self, key: str) -> tuple[Entry, ...]:
        """All rows of a deal's past, in order."""
        query = "SELECT seq, data, answers, block, stands FROM event WHERE deal = ? ORDER BY seq"

        def read(connection: sqlite3.Connection) -> tuple[Entry, ...]:
            return tuple(map(_entry, connection.execute(query, (key,)).fetchall()))

        return await self._database.read(read)

    async def incoming(self, limit: int) -> tuple[Incoming, ...]:
        """What the chain said and no deal has heard, oldest first."""
        query = "SELECT seq, block, data FROM inbox ORDER BY seq LIMIT ?"

        def read(connection: sqlite3.Connection) -> tuple[Incoming, ...]:
            return tuple(map(_incoming, connection.execute(query, (limit,)).fetchall()))

        return await self._database.read(read)

    async def record(
        self, changes: Sequence[Change], seen: Sequence[Incoming] = (), observed: BlockRef | None = None
    ) -> bool:
        """Write what events changed and take `seen` out of the inbox, in one transaction.

        False, and nothing is written, when the chain has meanwhile taken back one of `seen` or the block `observed`.
        """

        def write(connection: sqlite3.Connection) -> None:
            taken = connection.executemany("DELETE FROM inbox WHERE seq = ?", [(item.seq,) for item in seen])
            if seen and taken.rowcount != len(seen):
                raise _Outdated
            if observed is not None and not is_followed(connection, observed):
                raise _Outdated
            for change in changes:
                _write_change(connection, change)

        try:
            await self._database.write(_step_of(changes), write, tuple(_step_of([change]) for change in changes[1:]))
        except _Outdated:
            return False
        return True


class _Outdated(Exception):
    """The chain moved on between a decision and its record."""


def open_markets_in(connection: sqlite3.Connection) -> frozenset[Address]:
    """The markets of deals that have not ended."""
    query = "SELECT DISTINCT market FROM deal WHERE ended = 0"
    return frozenset(Address(row[0]) for row in connection.execute(query))


def is_ours_in(connection: sqlite3.Connection, subject: DealId | CaseId, market: Address) -> bool:
    """Whether a deal of this node in this market, or a case about one there, bears the id or has borne it.

    Ended ones count: the block that ended one may be taken back before the owner has heard of it.
    """
    query = "SELECT 1 FROM deal_name JOIN deal ON key = deal WHERE deal_name.deal_id = ? AND market = ? LIMIT 1"
    return connection.execute(query, (subject, market)).fetchone() is not None


def receive_in(connection: sqlite3.Connection, event: ChainEvent, block: Digest) -> None:
    """Put a confirmed event into the inbox, within the transaction of its block."""
    connection.execute("INSERT INTO inbox (block, data) VALUES (?,?)", (block, encoding.encode(event)))


def retract_in(connection: sqlite3.Connection, block: Digest) -> bool:
    """Take a replaced block back, within the transaction that removes it; whether the owner has to hear of it.

    What no deal has seen yet leaves the inbox without a trace.
    """
    connection.execute("DELETE FROM inbox WHERE block = ?", (block,))
    query = "INSERT INTO inbox (block) SELECT ?1 WHERE EXISTS (SELECT 1 FROM event WHERE block = ?1 AND stands)"
    return connection.execute(query, (block,)).rowcount > 0


def _write_change(connection: sqlite3.Connection, change: Change) -> None:
    stored = change.stored
    deal_id = stored.deal_id
    connection.execute(
        "INSERT INTO deal (key, side, deal_id, phase, ended, state, created_at, updated_at, market)"
        " VALUES (?,?,?,?,?,?,?,?,?)"
        " ON CONFLICT (key) DO UPDATE SET deal_id = excluded.deal_id, phase = excluded.phase, ended = excluded.ended,"
        " state = excluded.state, updated_at = excluded.updated_at",
        (
            stored.key,
            stored.side.value,
            deal_id,
            stored.state.RECORD[0],
            int(stored.ended),
            encoding.encode(stored.state),
            stored.created_at,
            stored.updated_at,
            stored.market,
        ),
    )
    for subject in stored.subjects:
        connection.execute("INSERT OR IGNORE INTO deal_name VALUES (?,?)", (stored.key, subject))
    match change.cause:
        case Added(place=None) as added:
            connection.execute(
                "INSERT INTO event (deal, data, at, block, answers, waited) VALUES (?,?,?,?,?,?)",
                (
                    stored.key,
                    encoding.encode(added.past.event),
                    stored.updated_at,
                    added.block,
                    added.past.answers,
                    added.waits,
                ),
            )
        case Added() as added:
            connection.execute(
                "UPDATE event SET data = ?, at = ?, block = ?, stands = 1 WHERE seq = ?",
                (encoding.encode(added.past.event), stored.updated_at, added.block, added.place),
            )
        case TakenBack(block=block):
            connection.execute("UPDATE event SET stands = 0 WHERE deal = ? AND block = ?", (stored.key, block))
        case _:
            assert_never(change.cause)
    for name in change.called_off:
        connection.execute("DELETE FROM outbox WHERE deal = ? AND name = ?", (stored.key, name))
    for item in change.issued:
        connection.execute(
            "INSERT OR REPLACE INTO outbox (deal, name, data) VALUES (?,?,?)",
            (item.deal, item.name, encoding.encode(item.command)),
        )


def _step_of(changes: Sequence[Change]) -> str:
    """The name of a write among the fault points: whose deal reached which phase by what."""
    if not changes:
        return "journal.inbox"
    return f"journal.{changes[0].stored.state.RECORD[0]}.{changes[0].cause.name}"


_COLUMNS: Final = "key, side, state, created_at, updated_at, market"


def _read(kinds: tuple[type[encoding.R], ...], data: bytes) -> encoding.R:
    try:
        return encoding.decode_one_of(kinds, data)
    except encoding.BadMessage as error:
        raise damaged(Path("node.db"), f"a record cannot be read: {error}") from error


def _stored(row: tuple[str, str, bytes, float, float, bytes]) -> Stored:
    key, side_text, data, created_at, updated_at, market = row
    side = Side(side_text)
    return Stored(key, side, _read(_STATES[side], data), created_at, updated_at, Address(market))


def _owed(row: tuple[str, str, bytes]) -> Owed:
    deal, name, data = row
    return Owed(deal, name, _read(_COMMANDS, data))


def _entry(row: tuple[int, bytes, str | None, bytes | None, int]) -> Entry:
    seq, data, answers, block, stands = row
    past = Past(_read(_EVENTS, data), answers)
    return Entry(seq, past, None if block is None else Digest(block), bool(stands))


def _incoming(row: tuple[int, bytes, bytes | None]) -> Incoming:
    seq, block, data = row
    return Incoming(seq, Digest(block), None if data is None else _read(_CHAIN_EVENTS, data))
