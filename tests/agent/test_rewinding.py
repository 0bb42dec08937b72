"""Deals on a chain that takes back what it said: they go back with it, and come again to where they were."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing

from capanode.node.agent import Agent
from capanode.node.errands import Performer
from capanode.node.journal import Journal, Observed, Stored
from capanode.node.storage.database import Database
from capanode.protocol import provider, requester
from capanode.protocol.commands import Command, FetchResult, RunContainer, SubmitAssign, SubmitCommit, WakeAt
from capanode.protocol.events import CancelRequested, DeadlinePassed, JobSubmitted, TransactionRefused
from capanode.protocol.ids import Digest, UnixTime
from capanode.protocol.records import Mode
from capanode.protocol.standing import Event
from tests.agent.forking import Fork, applied, opened, reached
from tests.agent.scripted import agent_on, phase, until_ended
from tests.protocol.deals import (
    ASSIGNED,
    ASSIGNED_TO_STRANGER,
    COMMITTED,
    FINALIZED,
    FINISHED,
    submitted,
    work_taken,
)

KEY = "deal"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncGenerator[Database]:
    async with opened(tmp_path) as found:
        yield found


@asynccontextmanager
async def living(database: Database, performer: Performer) -> AsyncGenerator[Agent]:
    agent = agent_on(database)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(agent.run, performer)
            yield agent
            nursery.cancel_scope.cancel()


class Patient(Fork):
    """A world in which some commands wait until they are let go."""

    def __init__(self, hold: Callable[[Command], bool]) -> None:
        Fork.__init__(self)
        self.hold = hold
        self.asked = trio.Event()
        self.let_go = trio.Event()
        self.called_off: list[str] = []

    async def perform(self, stored: Stored, command: Command) -> Event | Observed | None:
        if self.hold(command):
            self.asked.set()
            try:
                await self.let_go.wait()
            except trio.Cancelled:
                self.called_off.append(type(command).__name__)
                raise
        return await Fork.perform(self, stored, command)


async def to_phase(world: Fork, database: Database, agent: Agent, wanted: str) -> Stored:
    """Mine until the deal is so far."""
    while True:
        await applied(agent)
        stored = agent.find(KEY) or await Journal(database).find(KEY)
        if phase(stored) == wanted:
            assert stored is not None
            return stored
        await world.mine(database, agent)


async def at_work(world: Fork, database: Database, agent: Agent, mode: Mode, wanted: str) -> Stored:
    """A provider's deal from its beginning, until it is so far."""
    await world.mine(database, agent)
    await agent.take_work(KEY, work_taken(mode), lambda: True)
    return await to_phase(world, database, agent, wanted)


async def buying(world: Fork, database: Database, agent: Agent, job: JobSubmitted, wanted: str) -> Stored:
    """A requester's deal from its beginning, until it is so far."""
    await world.mine(database, agent)
    await agent.submit_job(KEY, job)
    return await to_phase(world, database, agent, wanted)


@asynccontextmanager
async def too_late(database: Database) -> AsyncGenerator[tuple[Fork, Agent]]:
    """A provider whose assignment is not sent before its deadline passes."""
    world = Fork(passes_in=frozenset({"provider-assigning"}))

    async def assign(stored: Stored, command: Command) -> Event | Observed | None:
        if isinstance(command, SubmitAssign):
            await trio.sleep_forever()
        return await world.perform(stored, command)

    async with living(database, _Acting(assign)) as agent:
        await world.mine(database, agent)
        await world.mine(database, agent)
        await agent.take_work(KEY, work_taken(Mode.LOCK), lambda: True)
        yield world, agent


async def names(database: Database) -> list[str]:
    return [type(entry.event).__name__ for entry in await Journal(database).history(KEY)]


# ---- there and back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changed", [False, True], ids=["same", "another form"])
async def test_a_container_that_has_finished_is_not_run_again(database: Database, changed: bool) -> None:
    world = Fork(passes_in=frozenset())
    async with living(database, world) as agent:
        await at_work(world, database, agent, Mode.LOCK, "Committed")
        await world.take_back(database, agent, 9, changed=changed)
        await applied(agent)
        assert phase(agent.find(KEY)) == "Assigning"
        await to_phase(world, database, agent, "Committed")
        assert world.performed["RunContainer"] == 1
        assert world.performed["SubmitAssign"] == 2
        assert world.effects == {"assign", "commit"}
        assert await names(database) == ["WorkTaken", "Prepared", "DealAssigned", "ExecutionFinished", "DealCommitted"]


async def test_a_container_that_runs_meanwhile_goes_on_and_counts(database: Database) -> None:
    world = Patient(lambda command: isinstance(command, RunContainer))
    async with living(database, world) as agent:
        await at_work(world, database, agent, Mode.LOCK, "Executing")
        await world.asked.wait()
        await world.take_back(database, agent, 1, changed=False)
        await applied(agent)
        assert phase(agent.find(KEY)) == "Assigning"
        world.let_go.set()
        await applied(agent)
        assert phase(agent.find(KEY)) == "Assigning", "its end counts once the deal is bound again"
        await world.mine(database, agent)
        await applied(agent)
        assert phase(agent.find(KEY)) == "Committing"
        assert world.performed["RunContainer"] == 1
        assert world.called_off == []


async def test_a_container_is_called_off_when_another_provider_has_won_after_all(database: Database) -> None:
    world = Patient(lambda command: isinstance(command, RunContainer))
    async with living(database, world) as agent:
        await at_work(world, database, agent, Mode.FIRST, "Executing")
        await world.asked.wait()
        await world.take_back(database, agent, 1, changed=False)
        world.pool[:] = [ASSIGNED_TO_STRANGER]
        await world.mine(database, agent)
        ended = await until_ended(agent, Journal(database), KEY)
        assert phase(ended) == "Lost"
        await applied(agent)
        assert world.called_off == ["RunContainer"]
        # And back: the stranger's assignment is taken back, ours is mined.
        await world.take_back(database, agent, 1, changed=False)
        world.pool[:] = [ASSIGNED]
        world.let_go.set()
        await to_phase(world, database, agent, "Committing")


async def test_a_deal_that_had_ended_is_opened_again(database: Database) -> None:
    world = Fork()
    async with living(database, world) as agent:
        before = await buying(world, database, agent, submitted(Mode.LOCK, auto_accept=True), "Settled")
        assert agent.find(KEY) is None
        await world.take_back(database, agent, 1, changed=False)
        await applied(agent)
        assert phase(agent.find(KEY)) == "Delivered"
        after = await to_phase(world, database, agent, "Settled")
        assert after.state == before.state
        assert world.performed["FetchResult"] == 1


async def test_the_same_news_in_one_batch_finds_the_deal_open(database: Database) -> None:
    """The block that ended it goes and comes again before the owner has looked once."""
    world = Fork()
    async with living(database, world) as agent:
        before = await buying(world, database, agent, submitted(Mode.LOCK, auto_accept=True), "Settled")
    idle = agent_on(database)
    await world.take_back(database, idle, 1, changed=False)
    await world.mine(database, idle)
    assert len(await Journal(database).incoming(10)) == 2
    async with living(database, world) as agent:
        await applied(agent)
        after = await Journal(database).find(KEY)
        assert after is not None
        assert after.state == before.state


async def test_a_deal_rewound_by_one_process_is_brought_back_by_the_next(database: Database) -> None:
    world = Fork(passes_in=frozenset())
    async with living(database, world) as agent:
        await at_work(world, database, agent, Mode.LOCK, "Committed")
        await world.take_back(database, agent, 9, changed=True)
        await applied(agent)
    async with living(database, world) as agent:
        assert phase(agent.find(KEY)) == "Assigning"
        await to_phase(world, database, agent, "Committed")
    assert world.performed["RunContainer"] == 1


async def test_the_users_word_outlives_what_the_chain_takes_back(database: Database) -> None:
    world = Fork()
    async with living(database, world) as agent:
        await world.mine(database, agent)
        await agent.submit_job(KEY, submitted(Mode.FIRST))
        await reached(agent, KEY, "Announcing")
        await applied(agent)
        await world.mine(database, agent, 1)
        await reached(agent, KEY, "Posted")
        await world.take_back(database, agent, 1, changed=True)
        await agent.tell(KEY, CancelRequested())
        announcing = agent.find(KEY)
        assert announcing is not None
        assert isinstance(announcing.state, requester.Announcing)
        assert announcing.state.cancelled


# ---- what is not the same any more ----------------------------------------------------------------------------------


async def test_a_result_is_fetched_again_when_another_one_is_committed(database: Database) -> None:
    """What was verified against one commitment says nothing of another."""
    world = Fork(passes_in=frozenset())
    async with living(database, world) as agent:
        await buying(world, database, agent, submitted(Mode.LOCK), "Delivered")
        await world.take_back(database, agent, 1, changed=False)
        await applied(agent)
        hold = Patient(lambda command: isinstance(command, FetchResult))
        world.pool[:] = [ASSIGNED, replace(COMMITTED, result_root=Digest(b"\x66" * 32))]
    hold.chain, hold.pool, hold.made = world.chain, world.pool, world.made + 100
    async with living(database, hold) as agent:
        await hold.mine(database, agent)
        with trio.fail_after(5):
            await hold.asked.wait()
        assert phase(agent.find(KEY)) == "Committed"


# ---- clocks and refusals --------------------------------------------------------------------------------------------


async def test_a_deadline_that_passed_in_a_block_which_went_away_has_not_passed(database: Database) -> None:
    async with too_late(database) as (world, agent):
        assert phase(await until_ended(agent, Journal(database), KEY)) == "Lost"
        world.passes_in = frozenset()
        await world.take_back(database, agent, 1, changed=False)
        await applied(agent)
        assert phase(agent.find(KEY)) == "Assigning"
        world.pool.append(ASSIGNED)
        await to_phase(world, database, agent, "Committing")


async def test_a_deadline_that_passed_again_leads_to_the_same(database: Database) -> None:
    """The refund of a late deal, and the attempt after it, survive that both blocks are made anew."""
    async with too_late(database) as (world, agent):
        before = await until_ended(agent, Journal(database), KEY)
        await world.take_back(database, agent, 1, changed=False)
        await world.mine(database, agent)
        after = await until_ended(agent, Journal(database), KEY)
        await applied(agent)
        assert after.state == before.state
        assert await names(database) == ["WorkTaken", "Prepared", "DeadlinePassed"]


async def test_what_was_seen_in_a_block_that_is_gone_is_asked_again(database: Database) -> None:
    """The block went away between the look and the record."""
    world = Fork(passes_in=frozenset())
    asked: list[UnixTime] = []

    async def perform(stored: Stored, command: Command) -> Event | Observed | None:
        if isinstance(command, WakeAt):
            asked.append(command.at)
            if len(asked) == 1:
                await world.mine(database, agent)
                seen = world.chain[-1].ref
                await world.take_back(database, agent, 1, changed=False)
                return Observed(DeadlinePassed(command.at), seen)
        return await world.perform(stored, command) if isinstance(command, WakeAt) else await trio.sleep_forever()

    async with living(database, _Acting(perform)) as agent:
        await world.mine(database, agent)
        await agent.take_work(KEY, work_taken(Mode.LOCK), lambda: True)
        while len(asked) < 2:
            await applied(agent)
        assert phase(agent.find(KEY)) == "Preparing"
        assert await names(database) == ["WorkTaken"]


async def test_a_refusal_goes_with_the_state_that_caused_it(database: Database) -> None:
    """The commitment was refused because the chain had just lost the assignment."""
    world = Fork(passes_in=frozenset())
    refused = [True]

    async def perform(stored: Stored, command: Command) -> Event | Observed | None:
        if isinstance(command, SubmitCommit) and refused:
            refused.clear()
            return Observed(TransactionRefused("commit", "the deal is not assigned"), world.chain[-1].ref)
        return await world.perform(stored, command) if type(command).__name__ != "SubmitAbandon" else None

    async with living(database, _Acting(perform)) as agent:
        await at_work(world, database, agent, Mode.LOCK, "Abandoning")
        await world.take_back(database, agent, 1, changed=False)
        await applied(agent)
        assert phase(agent.find(KEY)) == "Assigning"
        await to_phase(world, database, agent, "Committed")


async def test_a_refusal_for_a_question_that_is_not_asked_any_more_is_nothing(database: Database) -> None:
    world = Patient(lambda command: isinstance(command, SubmitCommit))
    world.passes_in = frozenset()
    async with living(database, world) as agent:
        await at_work(world, database, agent, Mode.LOCK, "Committing")
        await world.asked.wait()
        await world.take_back(database, agent, 1, changed=False)
        await applied(agent)
        assert world.called_off == ["SubmitCommit"], "what follows from the chain stops when it goes back"
        assert phase(agent.find(KEY)) == "Assigning"


async def test_the_container_of_a_direct_deal_is_paid_though_its_blocks_come_twice(database: Database) -> None:
    world = Fork(passes_in=frozenset())
    async with living(database, world) as agent:
        await at_work(world, database, agent, Mode.DIRECT, "Committed")
        world.pool.append(FINALIZED)
        await to_phase(world, database, agent, "Retaining")
        await world.take_back(database, agent, 2, changed=True)
        await applied(agent)
        committing = agent.find(KEY)
        assert committing is not None
        assert isinstance(committing.state, provider.Committing)
        assert committing.state.result == FINISHED
        await to_phase(world, database, agent, "Retaining")
        assert world.performed["RunContainer"] == 1


class _Acting:
    """A performer that is one function."""

    def __init__(self, perform: Callable[[Stored, Command], Awaitable[Event | Observed | None]]) -> None:
        self._perform = perform

    async def perform(self, stored: Stored, command: Command) -> Event | Observed | None:
        return await self._perform(stored, command)


# ---- a chain that is ahead -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_deal_catches_up_with_a_chain_that_is_ahead(database: Database, restarts: bool) -> None:
    """An old journal was put back: the chain says how the deal ended before the node has done anything for it."""
    world = Patient(lambda command: isinstance(command, RunContainer))
    world.passes_in = frozenset()
    world.effects |= {"assign", "commit"}
    async with living(database, world) as agent:
        await world.mine(database, agent)
        await agent.take_work(KEY, work_taken(Mode.LOCK), lambda: True)
        world.pool += [ASSIGNED, COMMITTED, FINALIZED]
        await world.mine(database, agent)
        await applied(agent)
        assert phase(agent.find(KEY)) == "Executing"
        if not restarts:
            world.let_go.set()
            await to_phase(world, database, agent, "Retaining")
    if restarts:
        world.let_go.set()
        async with living(database, world) as agent:
            await to_phase(world, database, agent, "Retaining")
    assert world.performed["SubmitCommit"] == 0, "nothing is sent that is on the chain"
