"""The owner's loop: order, calling off, retries, and the limits of what one deal can do to the others."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from sqlite3 import Connection

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from capanode.node.agent import CHANNEL, Agent
from capanode.node.errands import FIRST_RETRY_S, LAST_RETRY_S, Performer
from capanode.node.journal import Journal, Observed, Side, Stored, receive_in, retract_in
from capanode.node.storage.database import Database
from capanode.protocol import provider, requester
from capanode.protocol.commands import CollectBids, Command, DropResult, Prepare, SubmitAssign, WakeAt
from capanode.protocol.events import (
    AcceptReceived,
    AcceptRequested,
    CancelRequested,
    ChainEvent,
    Prepared,
    PrepareFailed,
)
from capanode.protocol.faults import InvariantViolated, PeerFault, Unavailable
from capanode.protocol.ids import DealId, Digest
from capanode.protocol.records import Mode
from capanode.protocol.standing import Event
from tests.agent.scripted import BLOCK, World, agent_on, opened, phase, until_ended
from tests.protocol.deals import (
    ASSIGNED,
    ASSIGNED_TO_STRANGER,
    COMMITTED,
    DEAL,
    FINALIZED,
    NOBODY,
    PASSED,
    submitted,
    work_taken,
)

Perform = Callable[[Stored, Command], Awaitable[Event | Observed | None]]


class Scripted:
    """A performer that is one function."""

    def __init__(self, perform: Perform) -> None:
        self.perform = perform


async def wait_for_ever(stored: Stored, command: Command) -> Event | Observed | None:
    await trio.sleep_forever()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncGenerator[Database]:
    async with opened(tmp_path) as found:
        yield found


@asynccontextmanager
async def running(database: Database, performer: Performer | Perform) -> AsyncGenerator[Agent]:
    agent = agent_on(database)
    scripted = Scripted(performer) if callable(performer) else performer
    async with trio.open_nursery() as nursery:
        await nursery.start(agent.run, scripted)
        yield agent
        nursery.cancel_scope.cancel()


async def arrive(database: Database, agent: Agent, *events: ChainEvent) -> None:
    """A block's logs come into the inbox."""

    def write(connection: Connection) -> None:
        for event in events:
            receive_in(connection, event, BLOCK)

    await database.write("test", write)
    agent.chain_moved()


async def until(agent: Agent, journal: Journal, key: str, wanted: type[object]) -> Stored:
    """The deal once it is in that phase."""
    async with agent.watching() as changes:
        stored = await journal.find(key)
        while stored is None or not isinstance(stored.state, wanted):
            changed = await changes.receive()
            stored = changed if changed.key == key else stored
        return stored


# ---- order ----------------------------------------------------------------------------------------------------------


async def test_an_answer_of_a_phase_that_was_left_meanwhile_is_dropped(database: Database) -> None:
    """The window's clock and the payment arrive together: the clock of the window must not end the retention."""
    dropped: list[Command] = []

    async def perform(stored: Stored, command: Command) -> Event | Observed | None:
        if isinstance(command, WakeAt) and isinstance(stored.state, provider.Committed):
            await arrive(database, agent, FINALIZED)
            return PASSED
        if isinstance(command, DropResult):
            dropped.append(command)
        return await forward(stored, command)

    forward = World().perform

    async def patient(stored: Stored, command: Command) -> Event | Observed | None:
        if isinstance(command, WakeAt) and not isinstance(stored.state, provider.Committed):
            await trio.sleep_forever()
        return await perform(stored, command)

    async with running(database, patient) as agent:
        await agent.take_work("deal", work_taken(Mode.DIRECT), lambda: True)
        await until(agent, Journal(database), "deal", provider.Committing)
        await arrive(database, agent, COMMITTED)
        await until(agent, Journal(database), "deal", provider.Retaining)
        await agent.submit_job("other", submitted())  # whatever was on its way has been applied before this
        assert phase(agent.find("deal")) == "Retaining"
        assert not dropped


async def test_what_the_chain_said_comes_before_what_a_clock_said(database: Database) -> None:
    """A log that was followed before a deadline passed counts, though nobody has called yet."""
    passed = trio.Event()

    async def perform(stored: Stored, command: Command) -> Event | Observed | None:
        if isinstance(command, WakeAt) and isinstance(stored.state, provider.Assigning):
            await passed.wait()
            return PASSED
        return Prepared() if isinstance(command, Prepare) else await wait_for_ever(stored, command)

    async with running(database, perform) as agent:
        await agent.take_work("deal", work_taken(Mode.LOCK), lambda: True)
        await until(agent, Journal(database), "deal", provider.Assigning)
        await database.write("test", lambda connection: receive_in(connection, ASSIGNED, BLOCK))
        passed.set()
        await until(agent, Journal(database), "deal", provider.Executing)


async def test_chain_events_are_applied_once_and_only_to_their_deal(database: Database) -> None:
    other = DealId(b"\x77" * 32)
    async with running(database, wait_for_ever) as agent:
        await agent.take_work("deal", work_taken(), lambda: True)
        await agent.take_work("other", replace(work_taken(), deal_id=other), lambda: True)
        await arrive(
            database,
            agent,
            replace(ASSIGNED, deal_id=DealId(b"\x78" * 32)),
            replace(ASSIGNED_TO_STRANGER, deal_id=other),
        )
        agent.chain_moved()
        ended = await until_ended(agent, Journal(database), "other")
        assert phase(ended) == "Lost"
        assert phase(agent.find("deal")) == "Preparing"
        assert await Journal(database).incoming(10) == ()
        assert [type(entry.event).__name__ for entry in await Journal(database).history("other")] == [
            "WorkTaken",
            "DealAssigned",
        ]


async def test_both_sides_of_a_deal_in_one_node_hear_of_it(database: Database) -> None:
    async with running(database, World().perform) as agent:
        await agent.submit_job("job", submitted(Mode.FIRST))
        await agent.take_work("deal", work_taken(Mode.FIRST), lambda: True)
        await arrive(database, agent, ASSIGNED_TO_STRANGER)
        await until(agent, Journal(database), "deal", provider.Lost)
        assert agent.by_deal_id(Side.REQUESTER, DEAL) is not None
        assert agent.by_deal_id(Side.PROVIDER, DEAL) is None
        history = await Journal(database).history("job")
        assert [type(entry.event).__name__ for entry in history].count("DealAssigned") == 1


async def test_a_replaced_block_is_taken_back_as_far_as_nothing_has_seen_it(database: Database) -> None:
    other = Digest(b"\x0c" * 32)

    await database.write("test", lambda connection: receive_in(connection, ASSIGNED, BLOCK))
    await database.write("test", lambda connection: receive_in(connection, COMMITTED, other))
    await database.write("test", lambda connection: retract_in(connection, BLOCK))
    assert [incoming.event for incoming in await Journal(database).incoming(10)] == [COMMITTED]


async def test_a_log_that_was_taken_back_is_not_applied(database: Database) -> None:
    async with running(database, wait_for_ever) as agent:
        await agent.take_work("deal", work_taken(), lambda: True)
        await database.write("test", lambda connection: receive_in(connection, ASSIGNED, BLOCK))
        await database.write("test", lambda connection: retract_in(connection, BLOCK))
        agent.chain_moved()
        await agent.tell("deal", AcceptReceived(b"\x09" * 65))
        assert phase(agent.find("deal")) == "Preparing"


# ---- births ---------------------------------------------------------------------------------------------------------


async def test_a_deal_is_born_once(database: Database) -> None:
    async with running(database, wait_for_ever) as agent:
        for _ in range(3):
            assert await agent.take_work("deal", work_taken(), lambda: True)
        assert len(await Journal(database).history("deal")) == 1


async def test_an_ended_deal_is_not_born_again(database: Database) -> None:
    async def perform(stored: Stored, command: Command) -> Event | Observed | None:
        return PrepareFailed("no image") if isinstance(command, Prepare) else await wait_for_ever(stored, command)

    async with running(database, perform) as agent:
        await agent.take_work("deal", work_taken(), lambda: True)
        await until_ended(agent, Journal(database), "deal")
        assert await agent.take_work("deal", work_taken(), lambda: True)
        assert agent.open_deals() == ()


async def test_what_is_not_admitted_leaves_no_trace(database: Database) -> None:
    async with running(database, wait_for_ever) as agent:
        assert not await agent.take_work("deal", work_taken(), lambda: False)
        assert agent.open_deals() == ()
        assert await Journal(database).find("deal") is None


async def test_the_last_room_goes_to_one_of_many(database: Database) -> None:
    taken: list[bool] = []

    async def ask(number: int) -> None:
        work = replace(work_taken(), deal_id=DealId(bytes([number]) * 32))
        taken.append(await agent.take_work(f"deal-{number}", work, lambda: not agent.open_deals()))

    async with running(database, wait_for_ever) as agent:
        async with trio.open_nursery() as askers:
            for number in range(1, 9):
                askers.start_soon(ask, number)
        assert taken.count(True) == 1
        assert len(agent.open_deals()) == 1


async def test_an_event_for_a_deal_that_has_ended_or_never_was_is_nothing(database: Database) -> None:
    async with running(database, wait_for_ever) as agent:
        await agent.tell("never", CancelRequested())
        await agent.submit_job("job", submitted())
        await agent.tell("job", CancelRequested())
        await agent.tell("job", AcceptRequested())
        stored = await Journal(database).find("job")
        assert stored is not None
        assert isinstance(stored.state, requester.Cancelled)
        assert len(await Journal(database).history("job")) == 2


# ---- commands -------------------------------------------------------------------------------------------------------


async def test_leaving_a_phase_calls_its_commands_off(database: Database) -> None:
    off = trio.Event()

    async def perform(stored: Stored, command: Command) -> Event | Observed | None:
        try:
            await trio.sleep_forever()
        finally:
            if isinstance(command, CollectBids):
                off.set()

    async with running(database, perform) as agent:
        await agent.submit_job("job", submitted())
        await agent.tell("job", CancelRequested())
        with trio.fail_after(5):
            await off.wait()
    deals, owed = await Journal(database).open_deals()
    assert (deals, owed) == ((), ())


async def test_what_is_unavailable_is_asked_again_ever_more_slowly(
    database: Database, autojump_clock: MockClock
) -> None:
    asked: list[float] = []

    async def perform(stored: Stored, command: Command) -> Event | Observed | None:
        if not isinstance(command, Prepare):
            await trio.sleep_forever()
        asked.append(trio.current_time())
        match len(asked) % 3:
            case 0:
                raise Unavailable("not now")
            case 1:
                raise PeerFault("nonsense")
            case _ if len(asked) < 12:
                raise ValueError("not foreseen, and still only this deal's")
        return PrepareFailed("enough")

    async with running(database, perform) as agent:
        await agent.take_work("deal", work_taken(), lambda: True)
        await until_ended(agent, Journal(database), "deal")
    pauses = [later - earlier for earlier, later in pairwise(asked)]
    assert len(pauses) == 13
    expected = [min(FIRST_RETRY_S * 2**n, LAST_RETRY_S) for n in range(len(pauses))]
    assert pauses == pytest.approx(expected)
    assert pauses[-1] == LAST_RETRY_S


@pytest.mark.parametrize("bug", [InvariantViolated("a bug of ours"), AssertionError("another")])
async def test_a_bug_of_ours_stops_the_node(database: Database, bug: Exception) -> None:
    async def perform(stored: Stored, command: Command) -> Event | Observed | None:
        if isinstance(command, Prepare):
            raise bug
        return await wait_for_ever(stored, command)

    with pytest.raises(ExceptionGroup) as stopped:  # noqa: PT012  # the deal's arrival is what stops it
        async with running(database, perform) as agent:
            await agent.take_work("deal", work_taken(), lambda: True)
            await trio.sleep_forever()
    assert stopped.group_contains(type(bug), match=str(bug))
    # The deal is not lost: it goes on when the bug is gone.
    async with running(database, wait_for_ever) as agent:
        assert phase(agent.find("deal")) == "Preparing"


async def test_an_event_of_the_other_side_is_a_bug(database: Database) -> None:
    with pytest.raises(ExceptionGroup) as stopped:  # noqa: PT012  # the deal's arrival is what stops it
        async with running(database, wait_for_ever) as agent:
            await agent.take_work("deal", work_taken(), lambda: True)
            await agent.tell("deal", NOBODY)
    assert stopped.group_contains(InvariantViolated, match="BidsClosed does not belong to Preparing")


async def test_what_is_owed_is_asked_again_after_a_restart(database: Database) -> None:
    async with running(database, wait_for_ever) as agent:
        await agent.take_work("deal", work_taken(), lambda: True)
    asked: list[str] = []
    all_asked = trio.Event()

    async def perform(stored: Stored, command: Command) -> Event | Observed | None:
        asked.append(type(command).__name__)
        if len(asked) == 2:
            all_asked.set()
        return await wait_for_ever(stored, command)

    async with running(database, perform):
        with trio.fail_after(5):
            await all_asked.wait()
    assert sorted(asked) == ["Prepare", "WakeAt"]


async def test_a_command_that_is_issued_twice_runs_once_at_a_time(database: Database) -> None:
    handed: list[str] = []
    forward = World().perform

    async def perform(stored: Stored, command: Command) -> Event | Observed | None:
        if type(command).__name__ == "SubmitAccept":
            handed.append("accept")
            await trio.sleep_forever()
        if isinstance(command, WakeAt):
            await trio.sleep_forever()
        return await forward(stored, command)

    async with running(database, perform) as agent:
        await agent.take_work("deal", work_taken(Mode.DIRECT), lambda: True)
        await until(agent, Journal(database), "deal", provider.Committing)
        await arrive(database, agent, COMMITTED)
        await until(agent, Journal(database), "deal", provider.Committed)
        for _ in range(3):
            await agent.tell("deal", AcceptReceived(b"\x09" * 65))
        await trio.testing.wait_all_tasks_blocked()
        assert handed == ["accept"]


async def test_a_transaction_whose_log_does_not_come_is_asked_for_again(
    database: Database, autojump_clock: MockClock
) -> None:
    """It was mined, and the block went away before anybody saw it; perhaps its nonce was used by another one since."""
    asked: list[float] = []

    async def perform(stored: Stored, command: Command) -> Event | Observed | None:
        if isinstance(command, Prepare):
            return Prepared()
        if not isinstance(command, SubmitAssign):
            await trio.sleep_forever()
        asked.append(trio.current_time())
        if len(asked) == 3:
            await arrive(database, agent, ASSIGNED)
            await trio.sleep_forever()
        return None

    async with running(database, perform) as agent:
        await agent.take_work("deal", work_taken(Mode.LOCK), lambda: True)
        await until(agent, Journal(database), "deal", provider.Executing)
    assert [later - earlier for earlier, later in pairwise(asked)] == pytest.approx([LAST_RETRY_S] * 2)


async def test_one_deal_that_never_answers_holds_up_no_other(database: Database) -> None:
    async def perform(stored: Stored, command: Command) -> Event | Observed | None:
        if stored.key == "quick" and isinstance(command, Prepare):
            return PrepareFailed("no image")
        return await wait_for_ever(stored, command)

    async with running(database, perform) as agent:
        await agent.take_work("slow", work_taken(), lambda: True)
        await agent.take_work("quick", replace(work_taken(), deal_id=DealId(b"\x66" * 32)), lambda: True)
        await until_ended(agent, Journal(database), "quick")
        assert phase(agent.find("slow")) == "Preparing"


# ---- watchers -------------------------------------------------------------------------------------------------------


async def test_a_watcher_that_does_not_look_holds_nobody_up(database: Database) -> None:
    async with running(database, wait_for_ever) as agent:
        await agent.take_work("deal", work_taken(), lambda: True)
        async with agent.watching():
            for _ in range(CHANNEL + 10):
                await agent.tell("deal", AcceptReceived(b"\x09" * 65))
        assert phase(agent.find("deal")) == "Preparing"


async def test_a_watcher_that_fell_behind_is_told_so(database: Database) -> None:
    """It sees the end of its channel, and can look again: what it waits for may be what it missed."""
    async with running(database, wait_for_ever) as agent:
        await agent.take_work("deal", work_taken(), lambda: True)
        async with agent.watching() as changes:
            for _ in range(CHANNEL + 10):
                await agent.tell("deal", AcceptReceived(b"\x09" * 65))
            seen = [stored async for stored in changes]
        assert len(seen) == CHANNEL


# ---- recovery -------------------------------------------------------------------------------------------------------

PAST = 100_000


async def test_recovery_reads_what_is_open_and_not_what_is_over(database: Database) -> None:
    """A long past costs nothing at the start: only its rows are in the file."""
    async with running(database, wait_for_ever) as agent:
        await agent.take_work("deal", work_taken(), lambda: True)
    rows = [("deal", b"never read", 0.0)] * PAST
    await database.write(
        "test", lambda connection: connection.executemany("INSERT INTO event (deal, data, at) VALUES (?,?,?)", rows)
    )
    began = trio.current_time()
    async with running(database, wait_for_ever) as agent:
        assert phase(agent.find("deal")) == "Preparing"
    assert trio.current_time() - began < 1


async def test_a_full_inbox_is_worked_off_in_order(database: Database) -> None:
    """What came while the node was down: thousands of strangers' deals, and one of ours."""
    strangers = [replace(ASSIGNED, deal_id=DealId(number.to_bytes(32, "big"))) for number in range(300)]
    async with running(database, wait_for_ever) as agent:
        await agent.take_work("deal", work_taken(), lambda: True)

    def fill(connection: Connection) -> None:
        for event in (*strangers, ASSIGNED_TO_STRANGER, *strangers):
            receive_in(connection, event, BLOCK)

    await database.write("test", fill)
    async with running(database, wait_for_ever) as agent:
        await until_ended(agent, Journal(database), "deal")
        await agent.tell("deal", Prepared())
        assert await Journal(database).incoming(1) == ()


async def test_the_newest_deals_are_listed_first(database: Database) -> None:
    agent = Agent(Journal(database), ASSIGNED.provider, lambda _: 0, now=iter(range(100)).__next__)
    async with trio.open_nursery() as nursery:
        await nursery.start(agent.run, Scripted(wait_for_ever))
        for number in range(3):
            await agent.submit_job(f"job-{number}", submitted())
        nursery.cancel_scope.cancel()
    listed = await Journal(database).deals(Side.REQUESTER, 2)
    assert [stored.key for stored in listed] == ["job-2", "job-1"]
    assert await Journal(database).deals(Side.PROVIDER, 2) == ()
