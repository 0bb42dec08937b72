"""Random deals on a chain that takes random blocks back, under random restarts: the end is that of a calm chain."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capanode.node.journal import Journal, Side
from capanode.protocol import encoding, provider, requester, standing
from capanode.protocol.events import ChainEvent, JobSubmitted, ProviderEvent, RequesterEvent, WorkTaken
from capanode.protocol.ids import TxHash, UnixTime
from capanode.protocol.records import Mode
from capanode.protocol.standing import Past
from tests.agent.forking import Fork, applied, opened
from tests.agent.scripted import agent_on
from tests.protocol.deals import (
    GRACE_S,
    NOW,
    PROVIDER,
    PROVIDER_EVENTS,
    REQUESTER_EVENTS,
    TX,
    submitted,
    work_taken,
)

KEY = "deal"
DEALS: dict[str, JobSubmitted | WorkTaken] = {
    "requester": submitted(Mode.LOCK, auto_accept=True),
    "requester-posted": submitted(Mode.FIRST, auto_accept=True),
    "provider-direct": work_taken(Mode.DIRECT),
    "provider-lock": work_taken(Mode.LOCK),
}
OVERTAKEN = {"AwardAnswered"}
"""A peer's answer, which counts only if it comes before the block that shows what was answered."""
LASTS = frozenset({"provider-committed", "provider-retaining"})


@dataclass(frozen=True, slots=True)
class Mine:
    """A block with some of what waits."""

    count: int


@dataclass(frozen=True, slots=True)
class Reorg:
    """The newest blocks go, and what was in them waits again."""

    depth: int
    changed: bool


@dataclass(frozen=True, slots=True)
class Settle:
    """The node may apply all that it has heard."""


@dataclass(frozen=True, slots=True)
class Restart:
    """The process ends, and another one begins."""


Act = Mine | Reorg | Settle | Restart
ACTS = st.lists(
    st.one_of(
        st.builds(Mine, st.integers(0, 2)),
        st.builds(Reorg, st.integers(1, 12), st.booleans()),
        st.builds(Settle),
        st.builds(Restart),
    ),
    max_size=25,
)


@dataclass(frozen=True, slots=True)
class End:
    """What a deal has come to, and what it took."""

    state: bytes
    happened: tuple[str, ...]
    effects: frozenset[str]
    ran: int


async def lived(folder: Path, first: JobSubmitted | WorkTaken, acts: list[Act]) -> End:
    """A deal's whole life, of as many processes as there are restarts."""
    world, left = Fork(passes_in=LASTS), list(acts)
    async with opened(folder) as database:
        is_over = False
        while not is_over:
            agent = agent_on(database)
            async with trio.open_nursery() as nursery:
                await nursery.start(agent.run, world)
                if not world.chain:
                    await world.mine(database, agent)
                if isinstance(first, JobSubmitted):
                    if await Journal(database).find(KEY) is None:
                        await agent.submit_job(KEY, first)
                else:
                    await agent.take_work(KEY, first, lambda: True)
                while left:
                    match left.pop(0):
                        case Mine(count):
                            await world.mine(database, agent, count)
                        case Reorg(depth, changed):
                            await world.take_back(database, agent, depth, changed=changed)
                        case Settle():
                            await applied(agent)
                        case Restart():
                            break
                else:
                    while (stored := await Journal(database).find(KEY)) is None or not stored.ended or world.pool:
                        await applied(agent)
                        await world.mine(database, agent)
                    await applied(agent)
                    is_over = True
                nursery.cancel_scope.cancel()
        journal = Journal(database)
        stored = await journal.find(KEY)
        assert stored is not None
        assert stored.ended
        deals, owed = await journal.open_deals()
        assert (deals, owed) == ((), ()), "an ended deal owes nothing"
        assert not await journal.incoming(1)
        entries = [entry for entry in await journal.entries(KEY) if entry.stands]
        assert stored.state == refolded(stored.side, [entry.past for entry in entries]), "the state is the fold"
        on_chain = {block.ref.hash: block.events for block in world.chain}
        for entry in entries:
            if isinstance(entry.past.event, ChainEvent):
                assert entry.block is not None
                assert entry.past.event in on_chain[entry.block], "what counts is on the chain, where it is said to be"
        return End(
            encoding.encode(plain(stored.state)),
            tuple(type(entry.past.event).__name__ for entry in entries),
            frozenset(world.effects),
            world.performed["RunContainer"],
        )


def refolded(side: Side, pasts: list[Past[Any]]) -> Any:
    first = pasts[0].event
    if side is Side.PROVIDER:
        taken = provider.take(first)
        return standing.replay(standing.begin(taken.deal, taken.commands), pasts[1:], step_provider).state
    begun = requester.submit(first)
    return standing.replay(standing.begin(begun.job, begun.commands), pasts[1:], step_requester).state


def step_provider(deal: Any, event: Any) -> Any:
    done = provider.step(deal, event, PROVIDER, GRACE_S)
    return done.deal, done.commands


def step_requester(job: Any, event: Any) -> Any:
    done = requester.step(job, event, GRACE_S)
    return done.job, done.commands


def plain(record: Any) -> Any:
    """A state without what may differ: when and in which transaction the chain said it."""
    changes = {}
    for name in record.__dataclass_fields__:
        value = getattr(record, name)
        if isinstance(value, ChainEvent):
            changes[name] = replace(value, tx=TX, at=NOW)
    return replace(record, **changes)


CALM: dict[str, End] = {}


def calm(name: str) -> End:
    if name not in CALM:
        with tempfile.TemporaryDirectory() as folder:
            CALM[name] = trio.run(lived, Path(folder), DEALS[name], [])
    return CALM[name]


@pytest.mark.parametrize("name", DEALS)
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(acts=ACTS)
def test_the_end_is_that_of_a_calm_chain(name: str, acts: list[Act]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        end = trio.run(lived, Path(folder), DEALS[name], acts)
    expected = calm(name)
    assert end.state == expected.state
    assert end.effects == expected.effects
    assert set(end.happened) - OVERTAKEN == set(expected.happened) - OVERTAKEN, "nothing is lost"
    restarts = sum(isinstance(act, Restart) for act in acts)
    if not restarts:
        assert end.ran == expected.ran, "a container that has finished is not run again"


# ---- the fold alone, exhaustively ------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", Side)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_what_is_taken_back_and_comes_again_changes_nothing(side: Side, data: st.DataObject) -> None:
    """Any history, however senseless: without some of its chain events it is the shorter one's, with them its own."""
    events: tuple[ProviderEvent | RequesterEvent, ...] = PROVIDER_EVENTS if side is Side.PROVIDER else REQUESTER_EVENTS
    firsts = [first for first in DEALS.values() if isinstance(first, WorkTaken) is (side is Side.PROVIDER)]
    first = data.draw(st.sampled_from(firsts))
    step: Callable[[Any, Any], Any] = step_provider if side is Side.PROVIDER else step_requester
    begun: Any = provider.take(first) if isinstance(first, WorkTaken) else requester.submit(first)
    stand: Any = standing.begin(begun.deal if isinstance(first, WorkTaken) else begun.job, begun.commands)
    stood, pasts = [stand], list[Past[Any]]()
    for event in data.draw(st.lists(st.sampled_from(events), max_size=12)):
        answers = data.draw(st.sampled_from([None, *stand.in_force]))
        past: Past[Any] = Past(event, None if isinstance(event, ChainEvent) else answers)
        pasts.append(past)
        stand = standing.advance(stand, past, step)
        stood.append(stand)
    assert standing.replay(stood[0], pasts, step) == stand
    cut = data.draw(st.integers(0, len(pasts)))
    gone = {index for index in range(cut, len(pasts)) if isinstance(pasts[index].event, ChainEvent)}
    shorter = standing.replay(stood[0], [past for index, past in enumerate(pasts) if index not in gone], step)
    again = [replaced(past) if index in gone else past for index, past in enumerate(pasts)]
    back = standing.replay(stood[0], again, step)
    assert plain(back.state) == plain(stand.state) or any(bound_to_its_block(pasts[index].event) for index in gone)
    if not gone:
        assert shorter == stand


def replaced(past: Past[Any]) -> Past[Any]:
    return Past(replace(past.event, tx=TxHash(b"\x99" * 32), at=UnixTime(NOW + 7)), past.answers)


def bound_to_its_block(event: Any) -> bool:
    """A commitment's receipt names its transaction, so what answered to one does not answer to the other."""
    return type(event).__name__ == "DealCommitted"
