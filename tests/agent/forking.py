"""A chain for an agent that takes its blocks back: what was in them goes back to the pool and is mined again."""

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import trio

from capanode.node.agent import Agent
from capanode.node.chain import blocks
from capanode.node.chain.blocks import FOLLOWER_SCHEMA, BlockRef, StoredBlock
from capanode.node.journal import SCHEMA, Observed, Stored, is_ours_in, receive_in, retract_in
from capanode.node.storage.database import Database, open_database
from capanode.protocol.commands import Command, WakeAt
from capanode.protocol.events import AcceptRequested, ChainEvent, DeadlinePassed, subject_of
from capanode.protocol.ids import ZERO_ADDRESS, Digest, TxHash, UnixTime
from capanode.protocol.standing import Event
from tests.agent.scripted import World, phase
from tests.protocol.deals import NOW

CHAIN = 31_337


@dataclass(frozen=True, slots=True)
class Block:
    """A block and the events that it holds."""

    ref: BlockRef
    events: tuple[ChainEvent, ...]


@dataclass(slots=True)
class Fork(World):
    """The outside of a node, with a chain that is mined, and taken back, by hand."""

    chain: list[Block] = field(default_factory=list[Block])
    pool: list[ChainEvent] = field(default_factory=list[ChainEvent])
    made: int = 0
    passes_in: frozenset[str] = frozenset({"provider-committed", "provider-retaining"})
    """Phases whose deadline passes as soon as it is asked for."""

    async def perform(self, stored: Stored, command: Command) -> Event | Observed | None:
        """As `World.perform`; what a clock said rests on the newest block."""
        if isinstance(command, WakeAt):
            if phase_of(stored) not in self.passes_in:
                await trio.sleep_forever()
            await trio.lowlevel.checkpoint()
            return Observed(DeadlinePassed(command.at), self.chain[-1].ref)
        return await World.perform(self, stored, command)

    def _once(self, stored: Stored, verb: str, *logs: ChainEvent) -> None:
        if verb not in self.effects:
            self.effects.add(verb)
            self.pool += logs

    async def mine(self, database: Database, agent: Agent, count: int | None = None) -> None:
        """A block with the first `count` of what waits, or with everything."""
        taken = tuple(self.pool[: len(self.pool) if count is None else count])
        del self.pool[: len(taken)]
        self.made += 1
        below = self.chain[-1].ref if self.chain else None
        ref = BlockRef(
            CHAIN,
            below.number + 1 if below else 0,
            Digest(self.made.to_bytes(32, "big")),
            below.hash if below else Digest(b"\0" * 32),
            UnixTime(NOW + self.made),
        )
        block = Block(ref, taken)
        self.chain.append(block)
        await database.write("test", partial(_store, block))
        agent.chain_moved()

    async def take_back(self, database: Database, agent: Agent, depth: int, *, changed: bool) -> None:
        """Remove the newest blocks; `changed` says that what was in them comes again in another form."""
        for _ in range(min(depth, len(self.chain) - 1)):
            block = self.chain.pop()
            again = tuple(self._other(event) for event in block.events) if changed else block.events
            self.pool[:0] = again
            await database.write("test", partial(_remove, block))
            agent.chain_moved()

    def _other(self, event: ChainEvent) -> ChainEvent:
        self.made += 1
        return replace(event, tx=TxHash(self.made.to_bytes(32, "big")), at=UnixTime(event.at + 1))


def phase_of(stored: Stored) -> str:
    """The record name of a deal's phase."""
    return stored.state.RECORD[0]


async def applied(agent: Agent) -> None:
    """Wait until what was told and done before has been applied, and what that led to."""
    for _ in range(4):
        await trio.testing.wait_all_tasks_blocked()
        await agent.tell("nobody", AcceptRequested())


async def reached(agent: Agent, key: str, wanted: str) -> Stored:
    """The open deal once it is in a phase."""
    async with agent.watching() as changes:
        stored = agent.find(key)
        while stored is None or phase(stored) != wanted:
            changed = await changes.receive()
            stored = changed if changed.key == key else stored
        return stored


@asynccontextmanager
async def opened(folder: Path) -> AsyncGenerator[Database]:
    """The node's file, as a new process opens it."""
    async with open_database(folder / "node.sqlite", [SCHEMA, FOLLOWER_SCHEMA]) as database:
        yield database


def _store(block: Block, connection: sqlite3.Connection) -> None:
    blocks.add(connection, StoredBlock(block.ref, (), is_delivered=True))
    for event in block.events:
        if is_ours_in(connection, subject_of(event), ZERO_ADDRESS):
            receive_in(connection, event, block.ref.hash)


def _remove(block: Block, connection: sqlite3.Connection) -> None:
    retract_in(connection, block.ref.hash)
    blocks.remove(connection, block.ref)
