"""The journal: how many events a second are durable, beside bare SQLite that makes the very same commits.

A first run of an agent that is told events of real deals keeps two tapes: what it hands to its journal, and the
statements with their values that each transaction comes to. Then the journal writes the one (encoding, thread and
database included), and bare SQLite plays the other on a file of the same tables with the same pragmas. Both make as
many commits, with full sync, in turn, on the same disk. The whole agent (channel, step, tasks of commands) is measured
beside them.
"""

import copy
import logging
import sqlite3
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog
import trio

from bench import report
from capanode.node.agent import TURN, Agent
from capanode.node.chain.blocks import FOLLOWER_SCHEMA, BlockRef
from capanode.node.journal import SCHEMA, Change, Incoming, Journal, Stored
from capanode.node.storage.database import Database, connect, open_database
from capanode.protocol.commands import Command
from capanode.protocol.events import AcceptReceived, Prepared, ResultDropped
from capanode.protocol.ids import DealId
from capanode.protocol.standing import Event
from tests.protocol import deals

ROUNDS: Final = 3
ONE_BY_ONE: Final = 60
"""Deals of the run in which each event waits for the one before."""
GROUPED: Final = 320
"""Deals of the run in which as many are at work at once as one turn takes events."""
PAST_EVENTS: Final = 100_000
OPEN_DEALS: Final = 100
EVENTS_OF_A_DEAL: Final = 7

Tape = list[list[tuple[str, tuple[Any, ...]]]]


class Nobody:
    """A performer whose commands are never answered: the events come from the bench."""

    async def perform(self, stored: Stored, command: Command) -> Event | None:
        await trio.sleep_forever()


class Taping(sqlite3.Connection):
    """A connection that keeps what it is told to do."""

    tape: Tape | None = None

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if self.tape is not None:
            if sql == "BEGIN IMMEDIATE":
                self.tape.append([])
            elif not sql.startswith("SELECT"):
                self.tape[-1].append((sql, tuple(parameters)))
        return super().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any, /) -> sqlite3.Cursor:
        rows = list(parameters)
        if self.tape is not None:
            self.tape[-1].extend((sql, tuple(row)) for row in rows)
        return super().executemany(sql, rows)


class TapingJournal(Journal):
    """A journal that keeps what it is handed."""

    def __init__(self, database: Database, tape: list[Sequence[Change]]) -> None:
        super().__init__(database)
        self._tape = tape

    async def record(
        self, changes: Sequence[Change], seen: Sequence[Incoming] = (), observed: BlockRef | None = None
    ) -> bool:
        self._tape.append(changes)
        return await super().record(changes, seen, observed)


@asynccontextmanager
async def running(folder: Path, journal: Callable[[Database], Journal] = Journal) -> AsyncIterator[Agent]:
    """An agent on a new file."""
    async with open_database(folder / "node.db", [SCHEMA, FOLLOWER_SCHEMA]) as database:
        agent = Agent(journal(database), deals.PROVIDER, lambda _: deals.GRACE_S)
        async with trio.open_nursery() as nursery:
            await nursery.start(agent.run, Nobody())
            yield agent
            nursery.cancel_scope.cancel()


async def a_deal(agent: Agent, number: int, *, to_its_end: bool = False) -> None:
    """What happens to a provider's deal, one thing after the other, each durable before the next."""
    deal_id = DealId(number.to_bytes(32, "big"))
    key = f"deal-{number}"
    await agent.take_work(key, replace(deals.work_taken(), deal_id=deal_id), lambda: True)
    for event in (
        Prepared(),
        replace(deals.ASSIGNED, deal_id=deal_id),
        deals.FINISHED,
        replace(deals.COMMITTED, deal_id=deal_id),
        AcceptReceived(b"\x09" * 65),
        replace(deals.FINALIZED, deal_id=deal_id),
        *((ResultDropped(),) if to_its_end else ()),
    ):
        await agent.tell(key, event)


async def some_deals(agent: Agent, numbers: Sequence[int]) -> None:
    for number in numbers:
        await a_deal(agent, number)


async def one_by_one(agent: Agent) -> None:
    await some_deals(agent, range(ONE_BY_ONE))


async def grouped(agent: Agent) -> None:
    async with trio.open_nursery() as nursery:
        for first in range(TURN):
            nursery.start_soon(some_deals, agent, range(first, GROUPED, TURN))


async def timed(work: Callable[[Agent], Awaitable[None]], folder: Path) -> float:
    async with running(folder) as agent:
        began = time.perf_counter()
        await work(agent)
        return time.perf_counter() - began


def taped(work: Callable[[Agent], Awaitable[None]], folder: Path) -> tuple[list[Sequence[Change]], Tape]:
    """What the agent hands to its journal, and what that writes, transaction by transaction."""
    handed = list[Sequence[Change]]()
    plain, Taping.tape = sqlite3.connect, None

    def connect_taping(*arguments: Any, **options: Any) -> sqlite3.Connection:
        return plain(*arguments, factory=Taping, **options)

    async def run() -> None:
        async with running(folder, partial(TapingJournal, tape=handed)) as agent:
            Taping.tape = []
            await work(agent)

    sqlite3.connect = connect_taping  # type: ignore[assignment]
    try:
        trio.run(run)
        assert Taping.tape is not None
        return handed, [[entry for entry in one if entry[0] != "COMMIT"] for one in Taping.tape]
    finally:
        sqlite3.connect, Taping.tape = plain, None


async def written(handed: Sequence[Sequence[Change]], folder: Path) -> float:
    """The journal alone, with changes that it has not seen before, so that nothing is encoded already."""
    fresh = copy.deepcopy(handed)
    async with open_database(folder / "node.db", [SCHEMA, FOLLOWER_SCHEMA]) as database:
        journal = Journal(database)
        began = time.perf_counter()
        for changes in fresh:
            await journal.record(changes)
        return time.perf_counter() - began


def played(tape: Tape, folder: Path) -> float:
    """The same commits by nothing but SQLite."""

    async def empty() -> None:
        async with open_database(folder / "node.db", [SCHEMA, FOLLOWER_SCHEMA]):
            pass

    trio.run(empty)
    connection = connect(folder / "node.db")
    try:
        began = time.perf_counter()
        for transaction in tape:
            connection.execute("BEGIN IMMEDIATE")
            for sql, values in transaction:
                connection.execute(sql, values)
            connection.execute("COMMIT")
        return time.perf_counter() - began
    finally:
        connection.close()


@dataclass(frozen=True, slots=True)
class Comparison:
    """Medians of rounds in turn, and how many commits each made."""

    journal_per_s: float
    agent_per_s: float
    bare_per_s: float
    commits: int

    @property
    def ratio(self) -> float:
        return self.journal_per_s / self.bare_per_s

    @property
    def agent_ratio(self) -> float:
        return self.agent_per_s / self.bare_per_s


def compared(work: Callable[[Agent], Awaitable[None]], events: int) -> Comparison:
    """Journal, agent and bare SQLite at the same commits."""
    journal, agent, bare = list[float](), list[float](), list[float]()
    with tempfile.TemporaryDirectory(prefix="capanode-bench-") as name:
        handed, tape = taped(work, made(Path(name, "tape")))
        assert sum(map(len, handed)) == events
        for round_ in range(ROUNDS):
            journal.append(trio.run(written, handed, made(Path(name, f"journal-{round_}"))))
            agent.append(trio.run(timed, work, made(Path(name, f"agent-{round_}"))))
            bare.append(played(tape, made(Path(name, f"bare-{round_}"))))
    return Comparison(
        events / statistics.median(journal),
        events / statistics.median(agent),
        events / statistics.median(bare),
        len(tape),
    )


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


async def fill(agent: Agent) -> None:
    """A long past of ended deals, and some open ones."""

    async def ended(numbers: Sequence[int]) -> None:
        for number in numbers:
            await a_deal(agent, number, to_its_end=True)

    past = PAST_EVENTS // (EVENTS_OF_A_DEAL + 1)
    async with trio.open_nursery() as nursery:
        for first in range(TURN):
            nursery.start_soon(ended, range(first, past, TURN))
    await some_deals(agent, range(past, past + OPEN_DEALS))


async def recovered(folder: Path) -> float:
    """From opening the file, with all its checks, to an agent that has taken up every open deal."""
    began = time.perf_counter()
    async with running(folder) as agent:
        took = time.perf_counter() - began
        assert len(agent.open_deals()) == OPEN_DEALS
    return took


def main() -> None:
    """Measure, and write the report."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory(prefix="capanode-bench-") as name:
        trio.run(timed, fill, Path(name))
        recovery_s = statistics.median(trio.run(recovered, Path(name)) for _ in range(ROUNDS))
        past_bytes = Path(name, "node.db").stat().st_size
    single = compared(one_by_one, ONE_BY_ONE * EVENTS_OF_A_DEAL)
    group = compared(grouped, GROUPED * EVENTS_OF_A_DEAL)
    report.write(
        "journal",
        {
            "durable_events_per_s": single.journal_per_s,
            "sqlite_events_per_s": single.bare_per_s,
            "ratio_vs_sqlite": single.ratio,
            "group_commit_events_per_s": group.journal_per_s,
            "group_sqlite_events_per_s": group.bare_per_s,
            "group_ratio_vs_sqlite": group.ratio,
            "group_events_per_commit": GROUPED * EVENTS_OF_A_DEAL / group.commits,
            "agent_events_per_s": single.agent_per_s,
            "agent_ratio_vs_sqlite": single.agent_ratio,
            "agent_group_events_per_s": group.agent_per_s,
            "agent_group_ratio_vs_sqlite": group.agent_ratio,
            "recovery_100k_s": recovery_s,
            "recovery_file_mib": past_bytes / 2**20,
        },
    )


if __name__ == "__main__":
    main()
