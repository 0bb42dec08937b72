"""A world for an agent: it carries commands out by a script, keeps what had an effect, and outlives every crash."""

from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from sqlite3 import Connection
from typing import Protocol, TypeVar

import trio

from capanode.node.agent import Agent
from capanode.node.journal import SCHEMA, Journal, Observed, Stored, receive_in
from capanode.node.storage.database import Database, open_database
from capanode.protocol.commands import (
    CollectBids,
    Command,
    DropResult,
    ExpectResult,
    FetchResult,
    PostDemand,
    Prepare,
    RunContainer,
    SendAccept,
    SendAward,
    SubmitAnnounce,
    SubmitAssign,
    SubmitClaim,
    SubmitCommit,
    WakeAt,
)
from capanode.protocol.events import AwardAnswered, ChainEvent, Prepared, ResultDropped, ResultFetched
from capanode.protocol.ids import Digest
from capanode.protocol.records import Mode
from capanode.protocol.standing import Event
from tests.protocol.deals import (
    ANNOUNCED,
    ASSIGNED,
    COMMITTED,
    FINALIZED,
    FINISHED,
    GRACE_S,
    NOW,
    PASSED,
    PROVIDER,
    chosen,
)

BLOCK = Digest(b"\x0b" * 32)
T = TypeVar("T")


class Crash(Exception):
    """The power is gone."""


class MortalDatabase(Database):
    """Loses its power at one of its writes, before or after that one is durable."""

    def __init__(self, inner: Database, dies_at: int | None, *, before: bool) -> None:
        self._inner = inner
        self._dies_at = dies_at
        self._before = before
        self.writes = 0

    async def write(self, step: str, work: Callable[[Connection], T], also: tuple[str, ...] = ()) -> T:
        self.writes += 1
        if self.writes == self._dies_at and self._before:
            raise Crash
        result = await self._inner.write(step, work, also)
        if self.writes == self._dies_at:
            raise Crash
        return result

    async def read(self, work: Callable[[Connection], T]) -> T:
        return await self._inner.read(work)


@dataclass(slots=True)
class World:
    """What is true outside of the node: which effects there were, and which logs the chain has."""

    performed: Counter[str] = field(default_factory=Counter)
    effects: set[str] = field(default_factory=set)
    logs: list[ChainEvent] = field(default_factory=list)
    followed: int = 0
    crashes: int = 0
    news: trio.Event = field(default_factory=trio.Event)

    async def perform(self, stored: Stored, command: Command) -> Event | Observed | None:
        """As `Performer.perform`: a deal that goes well."""
        if not isinstance(command, WakeAt | ExpectResult):
            self.performed[type(command).__name__] += 1
        await trio.lowlevel.checkpoint()
        match command:
            case SubmitAnnounce():
                self._once(stored, "announce", ANNOUNCED)
            case CollectBids():
                return chosen(Mode.LOCK)
            case SendAward():
                self._once(stored, "award", ASSIGNED, COMMITTED)
                return AwardAnswered(True, "")
            case PostDemand():
                self._once(stored, "post", ASSIGNED, COMMITTED)
                await trio.sleep_forever()
            case FetchResult():
                return ResultFetched("/results/1", b"receipt")
            case SendAccept():
                self._once(stored, "accept", FINALIZED)
            case Prepare():
                return Prepared()
            case SubmitAssign():
                self._once(stored, "assign", ASSIGNED)
            case RunContainer():
                return FINISHED
            case SubmitCommit():
                self._once(stored, "commit", COMMITTED)
            case SubmitClaim():
                self._once(stored, "claim", FINALIZED)
            case DropResult():
                return ResultDropped()
            case ExpectResult():
                await trio.sleep_forever()
            case WakeAt():
                if stored.state.RECORD[0] in ("provider-committed", "provider-retaining"):
                    return PASSED
                await trio.sleep_forever()
            case _:
                raise AssertionError(f"the script has no {command}")
        return None

    def _once(self, stored: Stored, verb: str, *logs: ChainEvent) -> None:
        """What a keyed transaction does: performed twice, it happens once."""
        if verb not in self.effects:
            self.effects.add(verb)
            self.logs += logs
            self.news.set()


class Told(Protocol):
    """What a play's chain has said, in its order, and how far it was followed."""

    logs: list[ChainEvent]
    followed: int
    news: trio.Event


async def follow(told: Told, database: Database, agent: Agent) -> None:
    """The chain follower: each log comes into the inbox once."""
    while True:
        told.news = trio.Event()
        while told.followed < len(told.logs):
            log = told.logs[told.followed]
            await database.write("test", partial(receive_in, event=log, block=BLOCK))
            told.followed += 1
            agent.chain_moved()
        await told.news.wait()


@asynccontextmanager
async def opened(folder: Path) -> AsyncGenerator[Database]:
    """The node's file, as a new process opens it."""
    async with open_database(folder / "node.sqlite", [SCHEMA]) as database:
        yield database


def agent_on(database: Database) -> Agent:
    """An agent with the clock at one moment."""
    return Agent(Journal(database), PROVIDER, lambda _: GRACE_S, now=lambda: float(NOW))


async def until_ended(agent: Agent, journal: Journal, key: str) -> Stored:
    """The deal once it has ended."""
    async with agent.watching() as changes:
        stored = await journal.find(key)
        while stored is None or not stored.ended:
            changed = await changes.receive()
            if changed.key == key:
                stored = changed
        return stored


def phase(stored: Stored | None) -> str:
    """The name of a deal's phase."""
    assert stored is not None
    return type(stored.state).__name__
