"""What a requester is told when the provider of an open job falls silent, and that nothing else comes of it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio
import trio.testing

from capanode.node.agent import Agent
from capanode.node.api.story import entry_of
from capanode.node.assigned import provider_peers
from capanode.node.assigned.provider_peers import ProviderPeers
from capanode.node.chain.clock import ChainClock
from capanode.node.executed import provider_watch
from capanode.node.executed.provider_watch import ProviderWatch
from capanode.node.journal import SCHEMA, Journal
from capanode.node.storage.database import Database, open_database
from capanode.protocol import requester
from capanode.protocol.events import BidsClosed, ProviderLost, ProviderReturned, RequesterEvent
from capanode.protocol.ids import PeerId
from capanode.protocol.records import Mode
from tests.fakes.fake_network import FakeInternet, FakeNetwork
from tests.node.market_place import Idle
from tests.protocol.deals import ANNOUNCED, ASSIGNED, CANCELLED, COMMITTED, GRACE_S, NOW, PROVIDER, chosen, submitted

SILENT = PeerId("provider")
MAX_TOLD = 8


@dataclass(slots=True)
class Scene:
    """A requester with one job, its provider on the same wire."""

    agent: Agent
    journal: Journal
    watch: ProviderWatch
    me: FakeNetwork
    provider: FakeNetwork

    async def told(self, count: int) -> list[str]:
        """Names of what the job's timeline says about its provider, once there are so many."""
        with trio.fail_after(20):
            while len(names := await self._names()) < count:
                await trio.testing.wait_all_tasks_blocked()
        return names

    async def watched(self, peer: PeerId, *, yes: bool = True) -> None:
        """Wait until the peer is watched, or is no longer."""
        with trio.fail_after(20):
            while (peer in self.me._watched) != yes:
                await self._names()

    async def _names(self) -> list[str]:
        past = await self.journal.history("job")
        return [type(one.event).__name__ for one in past if isinstance(one.event, ProviderLost | ProviderReturned)]

    def notice(self) -> str:
        stored = self.agent.find("job")
        assert stored is not None
        return self.watch.notice(stored)


def from_peer(peer: PeerId) -> BidsClosed:
    """An award to a provider that answers at this peer."""
    closed = chosen(Mode.LOCK)
    assert closed.bid is not None
    return replace(closed, bid=replace(closed.bid, bid=replace(closed.bid.bid, peer=peer)))


@asynccontextmanager
async def scene(folder: Path, mode: Mode = Mode.LOCK) -> AsyncGenerator[Scene]:
    internet = FakeInternet()
    me, other, third = internet.node("requester"), internet.node(SILENT), internet.node("third")
    for network in (other, third):
        await me.connect(network.addresses()[0])
    schemas = [SCHEMA, provider_peers.SCHEMA]
    async with open_database(folder / "node.sqlite", schemas) as database, trio.open_nursery() as nursery:
        journal = Journal(database)
        agent = Agent(journal, PROVIDER, lambda _: GRACE_S, now=lambda: float(NOW))
        await nursery.start(agent.run, Idle())
        watch = ProviderWatch(agent, me, ProviderPeers(database), ChainClock(lambda: float(NOW)), lambda _: GRACE_S)
        nursery.start_soon(watch.run)
        await agent.submit_job("job", submitted(mode))
        yield Scene(agent, journal, watch, me, other)
        nursery.cancel_scope.cancel()


async def test_a_silent_provider_is_told_with_the_time_of_the_refund_and_changes_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        await it.agent.tell("job", from_peer(SILENT))
        await it.agent.tell("job", ASSIGNED)
        await it.watched(SILENT)
        before = it.agent.find("job")
        it.provider.go_down()
        assert await it.told(1) == ["ProviderLost"]
        assert "does not answer since" in it.notice()
        assert "you get your money back at" in it.notice()
        after = it.agent.find("job")
        assert before is not None
        assert after is not None
        assert after.state == before.state
        it.provider.come_up()
        assert await it.told(2) == ["ProviderLost", "ProviderReturned"]
        assert it.notice() == ""


async def test_the_timeline_says_when_the_money_is_free(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        await it.agent.tell("job", from_peer(SILENT))
        await it.agent.tell("job", ASSIGNED)
        await it.watched(SILENT)
        it.provider.go_down()
        await it.told(1)
        stored = it.agent.find("job")
        assert stored is not None
        assert isinstance(stored.state, requester.Running)
        (lost,) = [one for one in await it.journal.history("job") if isinstance(one.event, ProviderLost)]
        _, sentence, fields = entry_of(lost)
        assert fields["refund_at"] == stored.state.deal.terms.commit_by + GRACE_S
        assert "the money is free again at" in sentence


@pytest.mark.parametrize(("further", "said"), [((), "costs nothing"), ((ASSIGNED, COMMITTED), "as soon as it returns")])
async def test_each_phase_says_what_comes_next(tmp_path: Path, further: tuple[RequesterEvent, ...], said: str) -> None:
    async with scene(tmp_path) as it:
        for event in (from_peer(SILENT), *further):
            await it.agent.tell("job", event)
        await it.watched(SILENT)
        it.provider.go_down()
        await it.told(1)
        assert said in it.notice()


async def test_without_any_peer_the_own_line_is_named(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        await it.agent.tell("job", from_peer(SILENT))
        await it.watched(SILENT)
        it.me.go_down()
        it.provider.go_down()
        await it.told(1)
        assert it.notice().startswith("no peer answers this node")


async def test_nobody_is_watched_once_the_job_has_ended(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        await it.agent.tell("job", from_peer(SILENT))
        await it.agent.tell("job", ASSIGNED)
        await it.watched(SILENT)
        await it.agent.tell("job", CANCELLED)
        await it.watched(SILENT, yes=False)


async def test_a_line_that_flaps_does_not_fill_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_watch, "MAX_TOLD", MAX_TOLD)
    async with scene(tmp_path) as it:
        await it.agent.tell("job", from_peer(SILENT))
        await it.watched(SILENT)
        for _ in range(MAX_TOLD // 2 + 2):
            it.provider.go_down()
            it.provider.come_up()
        it.provider.go_down()
        with trio.fail_after(20):
            while not it.notice() or len(await it.told(MAX_TOLD)) < MAX_TOLD:
                await trio.testing.wait_all_tasks_blocked()
        await it.agent.tell("job", ASSIGNED)
        assert len(await it.told(MAX_TOLD)) == MAX_TOLD


async def test_a_provider_known_by_its_wallet_alone_is_found_in_the_registry(tmp_path: Path) -> None:
    async with scene(tmp_path, Mode.FIRST) as it:
        await register(it, SILENT)
        await it.agent.tell("job", ANNOUNCED)
        await it.agent.tell("job", ASSIGNED)
        await it.watched(SILENT)
        it.provider.go_down()
        assert await it.told(1) == ["ProviderLost"]


async def register(it: Scene, peer: PeerId) -> None:
    database: Database = it.journal._database
    await database.write(
        "test.register",
        lambda connection: connection.execute(
            "INSERT INTO provider_peer (owner, peer_address, peer_id) VALUES (?,?,?)", (PROVIDER, b"\1" * 20, peer)
        ),
    )
