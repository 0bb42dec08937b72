"""A whole deal, with a crash before and after every durable write: the end is always the same."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from capanode.node.journal import Journal, Stored
from capanode.protocol.events import ChainEvent, JobSubmitted, WorkTaken
from capanode.protocol.records import Mode
from tests.agent.scripted import Crash, MortalDatabase, World, agent_on, follow, opened, until_ended
from tests.protocol.deals import submitted, work_taken

KEY = "deal"


@dataclass(frozen=True, slots=True)
class Told:
    """What is left of a deal: its end, what happened on the way, and what was done for it."""

    end: Stored
    chain_events: tuple[ChainEvent, ...]
    performed: frozenset[str]
    effects: frozenset[str]
    writes: int
    crashes: int


DEALS: dict[str, JobSubmitted | WorkTaken] = {
    "requester": submitted(Mode.LOCK, auto_accept=True),
    "requester-posted": submitted(Mode.FIRST, auto_accept=True),
    "provider-direct": work_taken(Mode.DIRECT),
    "provider-lock": work_taken(Mode.LOCK),
}


async def live(
    folder: Path, world: World, first: JobSubmitted | WorkTaken, dies_at: int | None, *, before: bool
) -> Told:
    """One life of the node's process, to the deal's end or the crash."""
    async with opened(folder) as database:
        mortal = MortalDatabase(database, dies_at, before=before)
        agent, journal = agent_on(mortal), Journal(mortal)
        async with trio.open_nursery() as nursery:
            await nursery.start(agent.run, world)
            nursery.start_soon(follow, world, database, agent)
            if isinstance(first, JobSubmitted):
                await agent.submit_job(KEY, first)
            else:
                await agent.take_work(KEY, first, lambda: True)
            end = await until_ended(agent, journal, KEY)
            nursery.cancel_scope.cancel()
        happened = [entry.event for entry in await journal.history(KEY)]
        _, owed = await journal.open_deals()
        assert not owed, "an ended deal owes nothing"
        assert not await journal.incoming(10)
        return Told(
            end=end,
            chain_events=tuple(event for event in happened if isinstance(event, ChainEvent)),
            performed=frozenset(world.performed),
            effects=frozenset(world.effects),
            writes=mortal.writes,
            crashes=world.crashes,
        )


@pytest.mark.parametrize("name", DEALS)
async def test_a_crash_at_any_write_changes_nothing(name: str, tmp_path: Path) -> None:
    first = DEALS[name]
    whole = await live(made(tmp_path / "whole"), World(), first, None, before=False)
    assert whole.writes > 4
    crashes = 0
    for dies_at in range(1, whole.writes + 1):
        for before in (True, False):
            survived = await crashed(made(tmp_path / f"{dies_at}-{before}"), first, dies_at, before=before)
            where = f"crash {'before' if before else 'after'} write {dies_at}"
            assert survived.end.state == whole.end.state, where
            assert survived.chain_events == whole.chain_events, where
            assert survived.performed == whole.performed, where
            assert survived.effects == whole.effects, where
            crashes += survived.crashes
    assert crashes >= whole.writes


async def crashed(folder: Path, first: JobSubmitted | WorkTaken, dies_at: int, *, before: bool) -> Told:
    """Two lives in one world; the first may reach the end when its last writes come after that."""
    world = World()
    try:
        await live(folder, world, first, dies_at, before=before)
    except BaseExceptionGroup as group:
        _, other = group.split(Crash)
        if other is not None:
            raise other from None
        world.crashes += 1
    return await live(folder, world, first, None, before=False)


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder
