"""Taking a node out of service: no new work, and the moment from which switching it off loses nothing.

Durable: a node that is started again while draining goes on draining. What is already agreed goes on as ever, to its
result or, shortly before its deadline, to its abandonment.
"""

import sqlite3
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, assert_never

import trio

from capanode.node.agent import Agent
from capanode.node.alerts import Alerts, Occasion
from capanode.node.executed.execution import LONGEST_DISPUTE_S
from capanode.node.journal import Journal, Stored
from capanode.node.storage.database import Database, Schema
from capanode.protocol import provider, requester
from capanode.protocol.events import AcceptReceived
from capanode.protocol.ids import Address, UnixTime

SCHEMA: Final = Schema(
    "drain", ("CREATE TABLE drain (only INTEGER PRIMARY KEY CHECK (only = 1), since REAL NOT NULL);",)
)

MINING_S: Final = 60
"""Time for a claim or an expiry to be mined once its clock is over. Seconds."""

LOOK_S: Final = 5.0
"""How often a draining node looks whether it is done; reads nothing but its memory."""


class Drain:
    """Whether this node takes new work. Open it with `open_drain`."""

    def __init__(self, database: Database, since: float | None, now: Callable[[], float]) -> None:
        self._database = database
        self._now = now
        self._changed = trio.Event()
        self.since = since

    @property
    def is_on(self) -> bool:
        """Whether the node is being taken out of service."""
        return self.since is not None

    async def begin(self) -> None:
        """Take no new work from now on, also after a restart; idempotent."""
        since = self._now() if self.since is None else self.since
        await self._database.write("drain.begin", lambda connection: _put(connection, since))
        self._set(since)

    async def end(self) -> None:
        """Take work again; idempotent."""
        await self._database.write("drain.end", lambda connection: connection.execute("DELETE FROM drain"))
        self._set(None)

    async def wait_change(self) -> None:
        """Return once it is begun or ended."""
        await self._changed.wait()

    def _set(self, since: float | None) -> None:
        self.since = since
        self._changed.set()
        self._changed = trio.Event()


async def open_drain(database: Database, now: Callable[[], float] = time.time) -> Drain:
    """As it stood when the node was last up."""

    def read(connection: sqlite3.Connection) -> float | None:
        row = connection.execute("SELECT since FROM drain").fetchone()
        return None if row is None else float(row[0])

    return Drain(database, await database.read(read), now)


def _put(connection: sqlite3.Connection, since: float) -> None:
    connection.execute("INSERT INTO drain VALUES (1, ?) ON CONFLICT DO UPDATE SET since = excluded.since", (since,))


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is still open, and when it is over at the latest; block times, which are Unix seconds.

    Until `money_at` something of this provider's could be lost, until `safe_at` a requester might still fetch a result;
    None where that is so no longer. `back_by` is when the first result of a job of this node's own could be gone.
    """

    working: int
    in_window: int
    ending: int
    kept: int
    """Results that are promised to requesters who have not accepted them."""

    own_jobs: int
    money_at: UnixTime | None
    safe_at: UnixTime | None
    back_by: UnixTime | None

    @property
    def is_safe(self) -> bool:
        """Whether the node may be switched off now."""
        return self.safe_at is None


class Forecast:
    """Looks ahead over the open deals of one node."""

    def __init__(
        self, agent: Agent, journal: Journal, grace_s: Callable[[Address], int], now: Callable[[], UnixTime]
    ) -> None:
        self._agent = agent
        self._journal = journal
        self._grace_s = grace_s
        self._now = now
        self._accepted: dict[str, bool] = {}

    async def outlook(self) -> Outlook:
        """As of the last event applied."""
        open_deals = self._agent.open_deals()
        kept = [stored for stored in open_deals if isinstance(stored.state, provider.Retaining)]
        # Only of those that are kept; what was accepted stays accepted.
        self._accepted = {stored.key: await self._is_accepted(stored.key) for stored in kept}
        accepted = {key for key, is_so in self._accepted.items() if is_so}
        return outlook([one for one in open_deals if one.key not in accepted], self._grace_s, self._now())

    async def _is_accepted(self, key: str) -> bool:
        if key in self._accepted:
            return self._accepted[key]
        return any(isinstance(happened.event, AcceptReceived) for happened in await self._journal.history(key))


def outlook(deals: Iterable[Stored], grace_s: Callable[[Address], int], now: UnixTime) -> Outlook:
    """What is open; results that their requesters have accepted are to be left out, as they have them."""
    listed = list(deals)
    sold = [(one.state, grace_s(one.market)) for one in listed if isinstance(one.state, provider.Open)]
    bought = [one.state for one in listed if isinstance(one.state, requester.Open)]
    ending = provider.Claiming | provider.Discarding | provider.Abandoning | provider.Overdue
    working = provider.Preparing | provider.Assigning | provider.Executing | provider.Committing
    money = [at for deal, grace in sold if (at := _money_at(deal, grace)) is not None]
    safe = money + [at for deal, grace in sold if (at := _kept_until(deal, grace)) is not None]
    return Outlook(
        working=sum(isinstance(deal, working) for deal, _ in sold),
        in_window=sum(isinstance(deal, provider.Committed | provider.Challenged) for deal, _ in sold),
        ending=sum(isinstance(deal, ending) for deal, _ in sold),
        kept=sum(isinstance(deal, provider.Retaining) for deal, _ in sold),
        own_jobs=len(bought),
        money_at=max(money, default=None),
        safe_at=max(safe, default=None),
        back_by=min((at for job in bought if (at := _back_by(job, now)) is not None), default=None),
    )


def _money_at(deal: provider.Open, grace_s: int) -> UnixTime | None:
    """When the deal's money is where it belongs at the latest."""
    terms = deal.work.terms
    match deal:
        case provider.Preparing() | provider.Assigning() | provider.Executing() | provider.Committing():
            return UnixTime(terms.commit_by + grace_s + terms.window_s + MINING_S)
        case provider.Committed() if deal.accept:
            return UnixTime(deal.commitment.at + MINING_S)
        case provider.Committed() | provider.Claiming():
            return UnixTime(deal.commitment.window_ends_at + MINING_S)
        case provider.Challenged():
            # A dispute is decided long before; this is when the last clean-up is due.
            return UnixTime(deal.commitment.window_ends_at + LONGEST_DISPUTE_S + MINING_S)
        case provider.Abandoning() | provider.Overdue():
            return UnixTime(terms.commit_by + grace_s + provider.OVERDUE_PATIENCE_S + MINING_S)
        case provider.Discarding() | provider.Retaining():
            return None
        case _:
            assert_never(deal)


def _kept_until(deal: provider.Open, grace_s: int) -> UnixTime | None:
    """Until when the deal's requester may fetch its result."""
    terms, retention_s = deal.work.terms, deal.work.demand.retention_s
    match deal:
        case provider.Preparing() | provider.Assigning() | provider.Executing() | provider.Committing():
            return UnixTime(terms.commit_by + grace_s + terms.window_s + retention_s)
        case provider.Committed() if deal.accept:
            return None
        case provider.Committed() | provider.Claiming() | provider.Retaining():
            return UnixTime(deal.commitment.window_ends_at + retention_s)
        case provider.Challenged():
            return UnixTime(deal.commitment.window_ends_at + LONGEST_DISPUTE_S + retention_s)
        case provider.Discarding() | provider.Abandoning() | provider.Overdue():
            return None
        case _:
            assert_never(deal)


def _back_by(job: requester.Open, now: UnixTime) -> UnixTime | None:
    """When the job's result could be gone if this node is away until then. Refunds wait for as long as it takes."""
    match job:
        case requester.Awarding() | requester.Running() | requester.Expiring():
            # Its provider may commit this moment, and keeps the result for so long after the window.
            return UnixTime(now + job.deal.terms.window_s + job.order.demand.retention_s)
        case requester.Committed() | requester.Withheld() | requester.Challenged(folder="") | requester.Paid():
            return UnixTime(job.commitment.window_ends_at + job.order.demand.retention_s)
        case (
            requester.Announcing()
            | requester.Bidding()
            | requester.Posted()
            | requester.Renewing()
            | requester.Withdrawing()
            | requester.Auditing()
            | requester.Faulty()
            | requester.Delivered()
            | requester.Challenged()
        ):
            return None
        case _:
            assert_never(job)


async def run_drain(drain: Drain, forecast: Forecast, alerts: Alerts) -> None:
    """Tell the operator once, for each time that the node is drained, that it may be switched off."""
    told: float | None = None
    while True:
        since = drain.since
        if since is not None and since != told and (await forecast.outlook()).is_safe:
            alerts.raise_(Occasion.DRAINED, "The node is drained: it may be switched off now.")
            told = since
        with trio.move_on_after(LOOK_S if since != told else float("inf")):
            await drain.wait_change()
