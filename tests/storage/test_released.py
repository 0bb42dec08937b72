"""Journals that released versions have written: brought up to date, and every deal in them goes on to its end."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trio

from capanode.node.journal import Journal, receive_in
from capanode.node.storage.database import open_database
from capanode.node.wiring.schemas import SCHEMAS
from capanode.protocol.events import DealEvent
from capanode.protocol.ids import DealId, Digest
from tests.agent.scripted import World, agent_on
from tests.protocol.deals import ASSIGNED, COMMITTED, FINALIZED

RELEASED = sorted(Path(__file__).with_name("released").glob("*.sql"))
PHASES = {
    "provider-1": "provider-preparing",
    "provider-2": "provider-assigning",
    "provider-3": "provider-executing",
    "provider-4": "provider-executing",
    "provider-5": "provider-committing",
    "provider-6": "provider-committed",
    "provider-7": "provider-done",
    "requester-11": "requester-bidding",
    "requester-12": "requester-awarding",
    "requester-13": "requester-running",
    "requester-14": "requester-committed",
    "requester-15": "requester-delivered",
    "requester-16": "requester-settled",
}
ENDED = ("provider-7", "requester-16")
NEWS: dict[str, tuple[DealEvent, ...]] = {
    "provider-1": (ASSIGNED, COMMITTED, FINALIZED),
    "provider-2": (ASSIGNED, COMMITTED, FINALIZED),
    "provider-3": (COMMITTED, FINALIZED),
    "provider-4": (COMMITTED, FINALIZED),
    # Its commitment waits in the inbox that the older release has left.
    "provider-5": (FINALIZED,),
    "provider-6": (FINALIZED,),
    "requester-12": (ASSIGNED, COMMITTED, FINALIZED),
    "requester-13": (COMMITTED, FINALIZED),
    "requester-14": (FINALIZED,),
    "requester-15": (FINALIZED,),
}


def written_by(release: Path, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(release.read_text("utf-8"))


def test_every_release_but_the_one_in_the_making_has_its_journal() -> None:
    assert [release.stem for release in RELEASED] == ["0.1.0"]


@pytest.mark.parametrize("release", RELEASED, ids=lambda release: release.stem)
async def test_a_journal_is_brought_up_to_date(release: Path, tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    written_by(release, path)
    async with open_database(path, SCHEMAS) as database:
        deals, owed = await Journal(database).open_deals()
        assert {one.key: one.state.RECORD[0] for one in deals} == {
            key: phase for key, phase in PHASES.items() if key not in ENDED
        }
        assert {item.deal for item in owed} == {one.key for one in deals}
        for key in PHASES:
            assert await Journal(database).history(key)
        made = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
        brought = await database.read(lambda connection: connection.execute(made).fetchall())
    async with open_database(tmp_path / "new.db", SCHEMAS) as database:
        new = await database.read(lambda connection: connection.execute(made).fetchall())
    assert brought == new, "an old file ends as a new one begins"


@pytest.mark.parametrize("release", RELEASED, ids=lambda release: release.stem)
async def test_its_deals_go_on_to_their_ends(release: Path, tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    written_by(release, path)
    world = World()
    world.effects |= {"assign", "commit", "claim", "accept", "award"}
    async with open_database(path, SCHEMAS) as database:
        journal, agent = Journal(database), agent_on(database)
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                await nursery.start(agent.run, world)
                for number, (key, events) in enumerate(NEWS.items()):
                    deal_id = DealId(bytes([int(key.rpartition("-")[2])]) * 32)
                    for event in events:
                        said, block = replace(event, deal_id=deal_id), Digest(bytes([number + 1]) * 32)
                        await database.write("test", partial(receive_in, event=said, block=block))
                        agent.chain_moved()
                async with agent.watching() as changes:
                    while {one.key for one in (await journal.open_deals())[0]} - {"requester-11"}:
                        await changes.receive()
                nursery.cancel_scope.cancel()
        ends = {key: (await journal.find(key)).state.RECORD[0] for key in NEWS}  # type: ignore[union-attr]  # they are there
        assert set(ends.values()) == {"provider-done", "requester-settled"}
