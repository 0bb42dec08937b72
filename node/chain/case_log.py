"""Every case of the courts that this node follows: their logs as the chain has them, and the cases folded from those.

Written in the transactions of their blocks and taken back with them. Disputes are few, so all are kept, and any node
can say what became of one.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import trio

from capanode.node.storage.database import Database, Schema
from capanode.protocol import cases, encoding
from capanode.protocol.cases import CASE_EVENTS, Case, CaseEvent, CaseOpened, CaseSettled, Verdict
from capanode.protocol.events import ChallengeClosed, DealChallenged
from capanode.protocol.ids import Address, CaseId, DealId, Digest

SCHEMA: Final = Schema(
    "cases",
    (
        """
        CREATE TABLE court_case (
            case_id BLOB PRIMARY KEY, deal_id BLOB NOT NULL, market BLOB NOT NULL,
            is_against INTEGER NOT NULL, is_over INTEGER NOT NULL
        );
        CREATE INDEX court_case_by_deal ON court_case (deal_id);
        CREATE INDEX court_case_open ON court_case (case_id) WHERE NOT is_over;
        CREATE TABLE court_log (
            seq INTEGER PRIMARY KEY, block BLOB NOT NULL, case_id BLOB NOT NULL, data BLOB NOT NULL
        );
        CREATE INDEX court_log_by_case ON court_log (case_id, seq);
        CREATE INDEX court_log_by_block ON court_log (block);
        """,
    ),
)


@dataclass(frozen=True, slots=True)
class Filed:
    """A case, and the market in whose court it is."""

    case: Case
    market: Address


class CaseLog:
    """Reads of the tables above."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changed = trio.Event()

    async def find(self, case_id: CaseId) -> Filed | None:
        """One case by its id."""
        return next(iter(await self._of("case_id = ?", case_id)), None)

    async def of_deal(self, deal_id: DealId) -> tuple[Filed, ...]:
        """The cases about one deal."""
        return await self._of("deal_id = ?", deal_id)

    async def open(self) -> tuple[Filed, ...]:
        """Cases in which something is still to be done."""
        return await self._of("NOT is_over")

    async def newest(self, limit: int) -> tuple[Filed, ...]:
        """The cases that were opened last, ended ones included, newest first."""
        return await self._of("1 ORDER BY rowid DESC LIMIT ?", limit)

    def touch(self) -> None:
        """Say that something has changed."""
        self._changed.set()
        self._changed = trio.Event()

    async def wait_change(self) -> None:
        """Return when a case has changed."""
        await self._changed.wait()

    async def _of(self, where: str, *values: bytes | int) -> tuple[Filed, ...]:
        def read(connection: sqlite3.Connection) -> tuple[Filed, ...]:
            rows = connection.execute(f"SELECT case_id, market FROM court_case WHERE {where}", values).fetchall()
            folded = ((_folded(connection, CaseId(case_id)), Address(market)) for case_id, market in rows)
            return tuple(Filed(case, market) for case, market in folded if case is not None)

        return await self._database.read(read)


def receive_in(
    connection: sqlite3.Connection, market: Address, event: CaseEvent, block: Digest
) -> DealChallenged | ChallengeClosed | None:
    """Keep a log, within the transaction of its block; what it says of the deal, if anything."""
    deal_id = event.deal_id if isinstance(event, CaseOpened) else _deal_of(connection, event.case_id)
    if deal_id is None:
        # A case that began before this node's first block.
        return None
    before = _open_against(connection, deal_id)
    connection.execute(
        "INSERT INTO court_log (block, case_id, data) VALUES (?,?,?)", (block, event.case_id, encoding.encode(event))
    )
    _refold(connection, event.case_id, deal_id, market)
    after = _open_against(connection, deal_id)
    if after > before:
        return DealChallenged(deal_id, after, event.tx, event.at)
    # Of a forced reveal that names a step the bond goes on; of the other verdicts the market tells.
    closes = isinstance(event, CaseSettled) and event.verdict in (Verdict.UPHELD, Verdict.LAPSED)
    return ChallengeClosed(deal_id, after, event.tx, event.at) if closes and after < before else None


def retract_in(connection: sqlite3.Connection, block: Digest) -> None:
    """Forget what a replaced block said, within the transaction that removes it."""
    query = "SELECT DISTINCT case_id, deal_id, market FROM court_log JOIN court_case USING (case_id) WHERE block = ?"
    touched = connection.execute(query, (block,)).fetchall()
    connection.execute("DELETE FROM court_log WHERE block = ?", (block,))
    for case_id, deal_id, market in touched:
        _refold(connection, CaseId(case_id), DealId(deal_id), Address(market))


def _deal_of(connection: sqlite3.Connection, case_id: CaseId) -> DealId | None:
    row = connection.execute("SELECT deal_id FROM court_case WHERE case_id = ?", (case_id,)).fetchone()
    return DealId(row[0]) if row else None


def _open_against(connection: sqlite3.Connection, deal_id: DealId) -> int:
    query = "SELECT COUNT(*) FROM court_case WHERE deal_id = ? AND is_against"
    return int(connection.execute(query, (deal_id,)).fetchone()[0])


def _refold(connection: sqlite3.Connection, case_id: CaseId, deal_id: DealId, market: Address) -> None:
    case = _folded(connection, case_id)
    if case is None:
        connection.execute("DELETE FROM court_case WHERE case_id = ?", (case_id,))
        return
    is_over = case.is_closed and all(one.is_paid for one in case.committees)
    connection.execute(
        "INSERT INTO court_case (case_id, deal_id, market, is_against, is_over) VALUES (?,?,?,?,?)"
        " ON CONFLICT (case_id) DO UPDATE SET is_against = excluded.is_against, is_over = excluded.is_over",
        (case_id, deal_id, market, case.is_open_against_deal, is_over),
    )


def _folded(connection: sqlite3.Connection, case_id: CaseId) -> Case | None:
    rows = connection.execute("SELECT data FROM court_log WHERE case_id = ? ORDER BY seq", (case_id,))
    return cases.fold(_read(row[0] for row in rows.fetchall()))


def _read(rows: Iterable[bytes]) -> Iterable[CaseEvent]:
    for data in rows:
        event: CaseEvent = encoding.decode_one_of(CASE_EVENTS, data)
        yield event
