"""Replicated jobs over a real journal: nobody is bought from twice, the majority wins, and no crash changes that."""

from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from sqlite3 import Connection
from typing import Any, TypeVar

import pytest
import trio
from trio.testing import MockClock

from capanode.node.announced import replicas as stored_replicas
from capanode.node.announced.judges import Judged
from capanode.node.announced.replicas import Kept, Replicas, group_of, replica_key
from capanode.node.announced.submission import TakenIn
from capanode.node.api.job_view import job_view
from capanode.node.api.port import JobView
from capanode.node.api.replicated import OVER, ReplicatedJobs
from capanode.node.journal import SCHEMA, Stored
from capanode.node.storage.database import open_database
from capanode.node.storage.tree_walk import Tree, walk_here
from capanode.protocol import requester
from capanode.protocol.commands import CollectBids, Command, ExpectResult, FetchResult, SendAccept, SendAward, WakeAt
from capanode.protocol.events import (
    AwardAnswered,
    BidsClosed,
    CancelRequested,
    ChainEvent,
    DealFinalized,
    DealRefunded,
    ResultFetched,
    ResultMissing,
)
from capanode.protocol.faults import Refused, Unavailable
from capanode.protocol.ids import Address, DealId, Digest, Wei
from capanode.protocol.records import VerificationClass
from capanode.protocol.replicas import Decided, Divided, Stand, Withdrawn, provider_of, stand_of
from capanode.protocol.standing import Event
from tests.agent.scripted import Crash, MortalDatabase, agent_on, follow
from tests.protocol.deals import ASSIGNED, BID, COMMITTED, NOW, TX, award, renewed, submitted

MARKET = Address(b"\x0a" * 20)
HONEST = b"42\n"
JOB = replace(submitted(auto_accept=True), spec=replace(submitted().spec, verification=VerificationClass.REPLICATED))
OWN = ("JobSubmitted", "AcceptRequested", "CancelRequested")
T = TypeVar("T")


def who(number: int) -> Address:
    return Address(bytes([number]) * 20)


@dataclass(slots=True)
class Town:
    """What is true outside of the node: who offers, what each would leave, and what has happened on chain.

    A provider whose result is None copies a commitment and has nothing to hand over. Those that `hides` names hold back
    what they have committed to until the test says so.
    """

    folder: Path
    results: dict[Address, bytes | None]
    abandons: frozenset[Address] = frozenset()
    hides: dict[Address, trio.Event] = field(default_factory=dict[Address, trio.Event])
    settled: trio.Event = field(default_factory=trio.Event)
    bids_open: trio.Event = field(default_factory=trio.Event)
    bought: dict[DealId, Address] = field(default_factory=dict[DealId, Address])
    keys: dict[DealId, str] = field(default_factory=dict[DealId, str])
    accepted: Counter[DealId] = field(default_factory=Counter[DealId])
    logs: list[ChainEvent] = field(default_factory=list[ChainEvent])
    followed: int = 0
    news: trio.Event = field(default_factory=trio.Event)

    async def perform(self, stored: Stored, command: Command) -> Event | None:
        """As `Performer.perform`."""
        await trio.lowlevel.checkpoint()
        job = stored.state
        assert isinstance(job, requester.Job)
        match command:
            case CollectBids():
                await self.bids_open.wait()
                return self._awarded(stored.key, job)
            case SendAward() if isinstance(job, requester.Awarding):
                self._done(job.deal)
                return AwardAnswered(True, "")
            case FetchResult() if isinstance(job, requester.Committed | requester.Withheld):
                return await self._handed_over(stored.key, job.deal.terms.provider)
            case ExpectResult() if isinstance(job, requester.Committed):
                if self.results[job.deal.terms.provider] is None or job.deal.terms.provider in self.hides:
                    return ResultMissing(NOW, "it does not answer")
                await trio.sleep_forever()
            case SendAccept() if isinstance(job, requester.Delivered):
                if not self.accepted[job.deal.deal_id]:
                    self._log(DealFinalized(job.deal.deal_id, Wei(900), Wei(0), TX, NOW))
                self.accepted[job.deal.deal_id] += 1
            case WakeAt():
                await trio.sleep_forever()
            case _:
                raise AssertionError(f"the town has no {command}")
        return None

    def _awarded(self, key: str, job: requester.Job) -> Event:
        free = [one for one in self.results if one not in (job.order.avoid or ())]
        if not free:
            return BidsClosed(None, None, None, 0, "no provider bid for it")
        deal_id, signed = DealId(sha256(key.encode()).digest()), award()
        self.keys[deal_id] = key
        bid = replace(BID, bid=replace(BID.bid, provider=free[0], signer=free[0]))
        return BidsClosed(bid, replace(signed, terms=replace(signed.terms, provider=free[0])), deal_id, 1, "")

    def _done(self, deal: requester.Deal) -> None:
        """What a provider does with an award: once, however often it is handed over."""
        provider = deal.terms.provider
        if deal.deal_id in self.bought:
            return
        self.bought[deal.deal_id] = provider
        at: dict[str, Any] = {"deal_id": deal.deal_id, "provider": provider, "locked_by": provider}
        self._log(replace(ASSIGNED, **at))
        if provider in self.abandons:
            self._log(DealRefunded(deal.deal_id, Wei(930), Wei(90), 1, TX, NOW))
            return
        content = self.results[provider]
        copied = HONEST if content is None else content
        self._log(replace(COMMITTED, **at, result_root=self.written(self.folder / f"of-{deal.deal_id.hex()}", copied)))

    async def _handed_over(self, key: str, provider: Address) -> Event:
        if provider in self.hides:
            await self.hides[provider].wait()
        content = self.results[provider]
        if content is None:
            raise Unavailable("the provider has nothing to hand over")
        folder = self.folder / "results" / key / "outputs"
        self.written(folder, content)
        return ResultFetched(str(folder), b"receipt")

    @staticmethod
    def written(folder: Path, content: bytes) -> Digest:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "answer").write_bytes(content)
        found = walk_here(folder)
        assert isinstance(found, Tree)
        return found.root

    def _log(self, event: ChainEvent) -> None:
        self.logs.append(event)
        self.news.set()


class Mortal(MortalDatabase):
    """Dies at one of the writes that a group makes, or that it has the agent make for it."""

    async def write(self, step: str, work: Callable[[Connection], T], also: tuple[str, ...] = ()) -> T:
        if any(step.startswith("replicas.") or step.endswith(OWN) for step in (step, *also)):
            return await super().write(step, work, also)
        return await self._inner.write(step, work, also)


class Renewals:
    """A submission that only makes demands anew."""

    def renew(self, order: object, market: Address) -> Any:
        del order
        assert market == MARKET
        return renewed()


@dataclass(slots=True)
class Node:
    """A requester's node, as far as replicated jobs need it."""

    replicas: Replicas
    desk: ReplicatedJobs
    database: Mortal
    told: list[str]

    async def view(self, key: str) -> JobView:
        return await self.desk.view(await self.kept(key))

    async def kept(self, key: str) -> Kept:
        found = await self.replicas.find(key)
        assert found is not None
        return found

    async def jobs(self, key: str) -> list[requester.Job]:
        states = [one.state for one in await self.replicas.of(await self.kept(key))]
        return [state for state in states if isinstance(state, requester.Job)]

    async def over(self, key: str) -> JobView:
        """The job once nothing will happen to it any more."""
        return await self.until(key, *OVER)

    async def ended(self, key: str) -> None:
        """Wait until the group has written down its end, which may be after that of its jobs."""
        moved = self.replicas.moved
        while not isinstance((await self.kept(key)).group, Decided | Withdrawn):
            await moved.wait()
            moved = self.replicas.moved

    async def until(self, key: str, *states: str) -> JobView:
        async with aclosing(self.desk.watch(await self.kept(key))) as items:
            async for item in items:
                view: JobView = item["job"]
                if view.state in states:
                    return view
        raise AssertionError(f"it never was {states}")


@asynccontextmanager
async def node(folder: Path, town: Town, *, dies_at: int | None = None, before: bool = False) -> AsyncGenerator[Node]:
    """One life of the node's process."""
    async with open_database(folder / "node.sqlite", [SCHEMA, stored_replicas.SCHEMA]) as database:
        mortal = Mortal(database, dies_at, before=before)
        agent, told = agent_on(mortal), list[str]()
        known: Any = lambda _, __: frozenset(town.results)  # noqa: E731
        submission: Any = Renewals()
        replicas = Replicas(
            mortal, agent, submission, known, town.settled.is_set, lambda said, _: told.append(said), lambda: float(NOW)
        )

        async def view_of(stored: Stored, _: bool) -> JobView:
            assert isinstance(stored.state, requester.Job)
            return job_view(stored, stored.state, (), "", None)

        async with trio.open_nursery() as nursery:
            await nursery.start(agent.run, town)
            nursery.start_soon(follow, town, database, agent)
            nursery.start_soon(replicas.run)
            yield Node(replicas, ReplicatedJobs(replicas, view_of), mortal, told)
            nursery.cancel_scope.cancel()


def order(count: int = 3, **changes: Any) -> TakenIn:
    return TakenIn(replace(JOB, **changes), MARKET, Judged(None, "", ""), count)


def town_of(folder: Path, *results: bytes | None, is_open: bool = True, **changes: Any) -> Town:
    made = Town(folder, {who(number): content for number, content in enumerate(results, 1)}, **changes)
    if is_open:
        made.bids_open.set()
    made.settled.set()
    return made


def findings(view: JobView) -> list[str]:
    return [one.finding for one in view.replicas]


async def test_the_majority_is_the_result_and_only_it_is_accepted(tmp_path: Path) -> None:
    town = town_of(tmp_path, HONEST, b"41\n", HONEST)
    async with node(tmp_path, town) as here:
        key = await here.replicas.begin(order())
        view = await here.over(key)
        assert (view.state, findings(view)) == ("paid", ["agrees", "differs", "agrees"])
        assert view.result_dir == str(tmp_path / "results" / replica_key(key, 1) / "outputs")
        assert f"0x{who(2).hex()} ('answer': its bytes are not the same)" in view.reason
        assert (view.paid_wei, view.price_wei) == (1800, 2700)
        assert {town.bought[deal_id] for deal_id in town.accepted} == {who(1), who(3)}
        assert [who(2).hex() in said for said in here.told] == [True]
        assert stand_of((await here.jobs(key))[1]) is Stand.HERE
        compared = next(entry for entry in view.timeline if entry.event == "ReplicasCompared")
        assert compared.sentence == "compared: 2 of 3 results agree"


async def test_who_copies_a_commitment_has_no_vote(tmp_path: Path) -> None:
    """Two who copy the first one's root make no majority with it: what they cannot hand over does not count."""
    town = town_of(tmp_path, HONEST, None, None)
    async with node(tmp_path, town) as here:
        key = await here.replicas.begin(order())
        view = await here.until(key, "running")
        while not all(isinstance(job, requester.Delivered | requester.Withheld) for job in await here.jobs(key)) or (
            len(await here.jobs(key)) < 3
        ):
            await here.replicas.moved.wait()
        roots = {job.commitment.result_root for job in await here.jobs(key) if isinstance(job, requester.Withheld)}
        assert len(roots) == 1
        view = await here.view(key)
        # Their bytes may still come, so there is no verdict; nothing was accepted either.
        assert (view.state, town.accepted.total()) == ("running", 0)
        assert view.reason == "replica 2: the bytes of its result are missing: it does not answer"


async def test_a_late_result_decides_where_the_others_could_not(tmp_path: Path) -> None:
    late = trio.Event()
    town = town_of(tmp_path, HONEST, b"41\n", HONEST, hides={who(3): late})
    async with node(tmp_path, town) as here:
        key = await here.replicas.begin(order())
        await here.until(key, "running")
        while [stand_of(job) for job in await here.jobs(key)] != [Stand.HERE, Stand.HERE, Stand.LATE]:
            await here.replicas.moved.wait()
        late.set()
        assert findings(await here.over(key)) == ["agrees", "differs", "agrees"]


async def test_without_a_majority_the_job_has_failed_and_nothing_is_accepted(tmp_path: Path) -> None:
    town = town_of(tmp_path, b"1", b"2", b"3")
    async with node(tmp_path, town) as here:
        key = await here.replicas.begin(order())
        view = await here.over(key)
        assert (view.state, view.result_dir, town.accepted.total()) == ("failed", None, 0)
        assert "no majority: 3 of 3 results came, and no 2 of them are equal" in view.reason
        assert isinstance((await here.kept(key)).group, Divided)
        with pytest.raises(Refused, match="have no majority"):
            await here.desk.accept(await here.kept(key))


async def test_a_provider_that_gives_up_is_replaced_by_a_spare(tmp_path: Path) -> None:
    town = town_of(tmp_path, HONEST, HONEST, HONEST, HONEST, abandons=frozenset({who(2)}))
    town.results = {who(1): HONEST, who(3): HONEST, who(2): HONEST, who(4): HONEST}
    async with node(tmp_path, town) as here:
        key = await here.replicas.begin(order())
        view = await here.over(key)
        assert view.state == "paid"
        assert Counter(findings(view))["agrees"] >= 2
        live = [provider_of(job) for job in await here.jobs(key) if stand_of(job) is not Stand.GONE]
        assert len(live) == len(set(live))


async def test_too_few_providers_are_said_before_anything_is_bought(tmp_path: Path) -> None:
    async with node(tmp_path, town_of(tmp_path, HONEST, HONEST)) as here:
        with pytest.raises(Refused, match="3 different providers are to do the job, and 2 are known"):
            await here.replicas.begin(order())
        assert await here.replicas.all(10) == ()


async def test_a_node_that_has_just_begun_to_listen_waits_for_who_is_near(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    del autojump_clock
    town = town_of(tmp_path, HONEST, is_open=False)
    town.settled = trio.Event()
    async with node(tmp_path, town) as here, trio.open_nursery() as nursery:
        nursery.start_soon(here.replicas.begin, order())
        await trio.sleep(5)
        assert await here.replicas.all(10) == ()
        town.results |= {who(2): HONEST, who(3): HONEST}
        await trio.sleep(5)
        assert len(await here.replicas.all(10)) == 1


async def test_who_cancels_before_anybody_is_bound_pays_nothing(tmp_path: Path) -> None:
    town = town_of(tmp_path, HONEST, HONEST, HONEST, is_open=False)
    async with node(tmp_path, town) as here:
        key = await here.replicas.begin(order())
        while not await here.jobs(key):
            await here.replicas.moved.wait()
        await here.desk.cancel(await here.kept(key))
        view = await here.over(key)
        assert (view.state, view.paid_wei, view.reason, town.bought) == ("cancelled", 0, "", {})
        assert isinstance((await here.kept(key)).group, Withdrawn)
        with pytest.raises(Refused, match="already ended"):
            await here.desk.cancel(await here.kept(key))


async def test_what_is_compared_cannot_be_cancelled_and_waits_for_its_users_word(tmp_path: Path) -> None:
    town = town_of(tmp_path, HONEST, HONEST, b"0")
    async with node(tmp_path, town) as here:
        key = await here.replicas.begin(order(auto_accept=False))
        with pytest.raises(Refused, match="not compared yet"):
            await here.desk.accept(await here.kept(key))
        view = await here.until(key, "result_ready")
        assert town.accepted.total() == 0
        with pytest.raises(Refused, match="already compared"):
            await here.desk.cancel(await here.kept(key))
        await here.desk.accept(await here.kept(key))
        view = await here.over(key)
        assert (view.state, town.accepted.total()) == ("paid", 2)
        assert (await here.desk.example(await here.kept(key))).key == replica_key(key, 1)
        assert await here.desk.find(key[:6], 10) == await here.desk.find("job", 10) == (await here.kept(key),)


async def test_three_who_agree_are_all_accepted(tmp_path: Path) -> None:
    town = town_of(tmp_path, HONEST, HONEST, HONEST)
    async with node(tmp_path, town) as here:
        key = await here.replicas.begin(order())
        view = await here.over(key)
        assert (findings(view), view.reason, here.told) == (["agrees"] * 3, "", [])


def test_a_replicas_key_names_its_group() -> None:
    assert group_of(replica_key("0123456789abcdef", 4)) == "0123456789abcdef"
    assert group_of("0123456789abcdef") is None
    assert group_of("job-2") is None


# ---- crashes -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of a replicated job in the end."""

    state: str
    providers: tuple[str | None, ...]
    findings: tuple[str, ...]
    bought: frozenset[Address]
    accepted: frozenset[Address]


async def lived(
    folder: Path, town: Town, dies_at: int | None, *, before: bool, wish: type[Any] | None
) -> tuple[Left, int]:
    """One life of the node, to the job's end or to the crash; the user submits only what is not there yet."""
    writes = 0
    async with node(folder, town, dies_at=dies_at, before=before) as here:
        known = await here.replicas.all(10)
        key = known[0].key if known else await here.replicas.begin(order())
        if wish is CancelRequested:
            while not await here.jobs(key):
                await here.replicas.moved.wait()
            with_group = await here.kept(key)
            if not await here.replicas.why_not_cancel(with_group):
                await here.replicas.hear(key, CancelRequested())
        view = await here.over(key)
        while wish is None and town.accepted.total() < 2:
            await here.replicas.moved.wait()
        await here.ended(key)
        writes = here.database.writes
        accepted = frozenset(town.bought[deal_id] for deal_id in town.accepted)
        left = Left(
            view.state,
            tuple(one.provider for one in view.replicas),
            tuple(findings(view)),
            frozenset(town.bought.values()),
            accepted,
        )
        assert len(town.bought) == len(set(town.bought.values())), "nobody is bought from twice"
    return left, writes


@pytest.mark.parametrize("wish", [None, CancelRequested], ids=["done", "cancelled"])
async def test_a_crash_at_any_write_neither_loses_nor_doubles_a_replica(tmp_path: Path, wish: type[Any] | None) -> None:
    def fresh(name: str) -> tuple[Path, Town]:
        folder = tmp_path / name
        folder.mkdir()
        return folder, town_of(folder, HONEST, b"41\n", HONEST, is_open=wish is None)

    whole, writes = await lived(*fresh("whole"), None, before=False, wish=wish)
    assert writes >= (8 if wish is None else 4)
    crashes = 0
    for dies_at in range(1, writes + 1):
        for before in (True, False):
            folder, town = fresh(f"{dies_at}-{before}")
            try:
                left, _ = await lived(folder, town, dies_at, before=before, wish=wish)
            except BaseExceptionGroup as group:
                _, other = group.split(Crash)
                if other is not None:
                    raise other from None
                crashes += 1
                left, _ = await lived(folder, town, None, before=False, wish=wish)
            assert left == whole, f"crash {'before' if before else 'after'} write {dies_at}"
    assert crashes >= writes
