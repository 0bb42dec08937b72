"""The loop that owns the node's state: event → step → one transaction → commands.

One task reads one bounded channel, so nothing here needs a lock. What waits there is applied in one transaction.
Commands are carried out beside it (`capanode.node.errands`); what they find comes back as an event. After `kill -9`
the loop starts from the journal: open deals, the commands they still owe, chain events not yet applied.

When the chain takes a block back, the events that rest on it cease to count, and the deal stands where the fold of all
others leads; when they come again they take their old places. Nothing that was done is forgotten by that.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import structlog
import trio

from capanode.node.errands import BY_THE_CHAIN, FIRST_RETRY_S, LAST_RETRY_S, Answer, Errands, Performer
from capanode.node.journal import (
    Added,
    Change,
    Incoming,
    Journal,
    Observed,
    Owed,
    Side,
    Stored,
    TakenBack,
)
from capanode.node.steady_time import unix_now
from capanode.protocol import machines, standing
from capanode.protocol.cases import CommitteeDrawn
from capanode.protocol.commands import Command
from capanode.protocol.events import (
    ChainEvent,
    ChallengeWanted,
    DeadlinePassed,
    JobSubmitted,
    TransactionRefused,
    WorkTaken,
    subject_of,
)
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import ZERO_ADDRESS, Address, CaseId, DealId, Digest
from capanode.protocol.machines import Times
from capanode.protocol.standing import Event, Past, Standing, State

CHANNEL: Final = 256
"""Events that may wait for the owner; producers block beyond it, nothing is dropped."""

TURN: Final = 64
"""Events that are applied in one transaction at most; what waits longer only makes the next turn longer."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Told:
    """An event for one deal, from elsewhere in the node."""

    deal: str
    event: Event
    done: trio.Event


@dataclass(frozen=True, slots=True)
class _Born:
    """A new deal."""

    stored: Stored
    event: Event
    admit: Callable[[], bool]
    answer: trio.MemorySendChannel[bool]


_Received = _Told | Answer | _Born | None
"""What comes through the channel; None that the inbox may hold something."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A deal in memory. `ids` are those that it bears or has borne on chain."""

    stored: Stored
    in_force: Mapping[str, Command]
    ids: frozenset[DealId | CaseId]
    waiting: tuple[ChainEvent, ...] = ()

    @property
    def standing(self) -> Standing[State]:
        return Standing(self.stored.state, self.in_force, self.waiting)


@dataclass(slots=True)
class _Turn:
    """What one transaction will write: the steps of its deals, and where they lead."""

    seen: list[Incoming] = field(default_factory=list[Incoming])
    steps: list[tuple[_Held, Change]] = field(default_factory=list[tuple[_Held, Change]])
    ahead: dict[str, _Held] = field(default_factory=dict[str, _Held])
    after: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])
    """Answers to those who wait until it is durable."""

    def add(self, held: _Held, change: Change) -> None:
        self.steps.append((held, change))
        self.ahead[held.stored.key] = held


class Agent:
    """The owner's state and the ways to reach it. Create it, then `run` it; one per data folder."""

    def __init__(
        self,
        journal: Journal,
        me: Address,
        grace_s: Callable[[Address], int],
        now: Callable[[], float] = unix_now,
        *,
        reveal_s: Callable[[Address], int] = lambda _: 0,
        wallet: Address | None = None,
        serves: Callable[[CommitteeDrawn], bool] = lambda _: True,
    ) -> None:
        """`grace_s` says the grace of a market, `reveal_s` the time to reveal votes in its court, in seconds.

        `wallet` is whom committees name that this node sits on, where it `serves` there; none by default.
        """
        self._journal = journal
        self._me = me
        self._grace_s = grace_s
        self._reveal_s = reveal_s
        self._wallet = wallet
        self._serves = serves
        self._now = now
        self._deals: dict[str, _Held] = {}
        self._ahead: Mapping[str, _Held] = {}
        self._bearers: dict[DealId | CaseId, set[str]] = {}
        self._rewound: set[str] = set()
        self._has_chain_moved = False
        self._send, self._receive = trio.open_memory_channel[_Received](CHANNEL)
        self._errands = Errands(self._in_force, self._send.send)
        self._watchers: dict[trio.MemorySendChannel[Stored], None] = {}

    # ---- what the rest of the node may ask ---------------------------------------------------------------

    def open_deals(self) -> tuple[Stored, ...]:
        """Deals that have not ended, as of the last event applied."""
        # `_ahead` is set while a new deal is asked about: it must see those of its own turn.
        held = {**self._deals, **self._ahead}.values() if self._ahead else self._deals.values()
        return tuple(one.stored for one in held if not one.stored.ended)

    def find(self, key: str) -> Stored | None:
        """An open deal by key."""
        held = self._deals.get(key)
        return held.stored if held else None

    def by_deal_id(self, side: Side, deal_id: DealId) -> Stored | None:
        """An open deal by its id on chain."""
        return next((d for d in self.open_deals() if d.side is side and d.deal_id == deal_id), None)

    async def submit_job(self, key: str, event: JobSubmitted, market: Address = ZERO_ADDRESS) -> None:
        """Take a job for a market; it is durable when this returns."""
        await self._bear(key, Side.REQUESTER, event, market, lambda: True)

    async def take_work(
        self, key: str, event: WorkTaken, admit: Callable[[], bool], market: Address = ZERO_ADDRESS
    ) -> bool:
        """Agree to a deal, if `admit` still says so when its turn comes; durable when this returns True.

        `admit` is asked by the owner, between two events, so that two deals never get the same room. Idempotent
        by key: a deal that is already there is not asked about again.
        """
        return await self._bear(key, Side.PROVIDER, event, market, admit)

    async def challenge(self, key: str, event: ChallengeWanted, admit: Callable[[], bool], market: Address) -> bool:
        """Dispute a result, if `admit` still says so when its turn comes; as `take_work`."""
        return await self._bear(key, Side.CHALLENGER, event, market, admit)

    async def tell(self, key: str, event: Event) -> None:
        """Tell a deal what happened to it; applied and durable when this returns."""
        done = trio.Event()
        await self._send.send(_Told(key, event, done))
        await done.wait()

    def chain_moved(self) -> None:
        """Say that the inbox may hold new events; never blocks."""
        self._has_chain_moved = True
        # A full channel is being worked off, and each turn begins with a look at what was said here.
        with suppress(trio.WouldBlock):
            self._send.send_nowait(None)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[trio.MemoryReceiveChannel[Stored]]:
        """Every change of every deal from now on; the channel ends for a watcher that falls 256 behind."""
        send, receive = trio.open_memory_channel[Stored](CHANNEL)
        self._watchers[send] = None
        try:
            yield receive
        finally:
            self._watchers.pop(send, None)
            send.close()
            receive.close()

    def _in_force(self, key: str, name: str) -> Stored | None:
        """A deal, if that command is in force in it."""
        held = self._deals.get(key)
        return held.stored if held is not None and name in held.in_force else None

    # ---- the loop ----------------------------------------------------------------------------------------

    async def run(self, performer: Performer, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Recover, then own the state until cancelled. An `InvariantViolated` ends it, and the process."""
        async with trio.open_nursery() as nursery:
            self._errands.begin_in(nursery, performer)
            await self._recover()
            task_status.started()
            await self._apply_inbox()
            while True:
                received = [await self._receive.receive()]
                with suppress(trio.WouldBlock):
                    while len(received) < TURN:
                        received.append(self._receive.receive_nowait())
                # What the chain said comes first: a deadline has passed only if nothing came before it.
                if self._has_chain_moved or any(map(_is_about_the_chain, received)):
                    await self._apply_inbox()
                await self._apply_received(received)

    async def _bear(self, key: str, side: Side, event: Event, market: Address, admit: Callable[[], bool]) -> bool:
        stored = Stored(key, side, machines.first(event).state, self._now(), self._now(), market)
        send, receive = trio.open_memory_channel[bool](1)
        await self._send.send(_Born(stored, event, admit, send))
        return await receive.receive()

    async def _recover(self) -> None:
        deals, owing = await self._journal.open_deals()
        in_force: dict[str, dict[str, Command]] = {stored.key: {} for stored in deals}
        for item in owing:
            if item.deal in in_force:
                in_force[item.deal][item.name] = item.command
        ids, waited = await self._journal.open_ids(), await self._journal.waited()
        for stored in deals:
            waiting = await self._waiting(stored) if stored.key in waited else ()
            self._hold(_Held(stored, in_force[stored.key], ids.get(stored.key, frozenset()), waiting))
        self._rewound = set(await self._journal.rewound())
        for item in owing:
            self._errands.dispatch(item)
        log.info("recovered", deals=len(deals), commands=len(owing))

    async def _waiting(self, stored: Stored) -> tuple[ChainEvent, ...]:
        pasts = [entry.past for entry in await self._journal.entries(stored.key) if entry.stands]
        return standing.replay(machines.first(pasts[0].event), pasts[1:], self._step_of(stored)).waiting

    # ---- what the chain said -----------------------------------------------------------------------------

    async def _apply_inbox(self) -> None:
        self._has_chain_moved = False
        while waiting := await self._journal.incoming(TURN):
            turn = _Turn()
            for item in waiting:
                if item.event is None or not await self._hear(turn, item, item.event):
                    break
            if turn.seen:
                await self._commit(turn)
            elif waiting[0].event is None:
                await self._take_back(waiting[0])
            else:
                await self._fill_in(waiting[0], waiting[0].event)

    async def _hear(self, turn: _Turn, item: Incoming, event: ChainEvent) -> bool:
        """Add what a chain event makes of its deals; False when it may be one that comes again."""
        touched = self._bearers.get(subject_of(event), set[str]())
        if touched & self._rewound:
            return False
        turn.seen.append(item)
        for key in sorted(touched | await self._summon(turn, event)):
            self._advance(turn, key, Past(event, None), item.block)
        return True

    async def _summon(self, turn: _Turn, event: ChainEvent) -> set[str]:
        """Begin the duty that a committee with this node's wallet brings, unless it is known; its key."""
        if not isinstance(event, CommitteeDrawn) or self._wallet is None or self._wallet not in event.arbiters:
            return set()
        key = machines.seat_key(event)
        if key in turn.ahead or await self._journal.known([key]) or not self._serves(event):
            return set()
        found = machines.seat_found(event, self._wallet)
        first = machines.first(found)
        stored = Stored(key, Side.ARBITER, first.state, self._now(), self._now(), event.market)
        self._add(turn, _Held(stored, {}, frozenset()), first, Added(Past(found, None)))
        return {key}

    async def _take_back(self, item: Incoming) -> None:
        """A block went away: let the deals stand where all the rest leads, those that had ended too."""
        turn = _Turn([item])
        for stored in await self._journal.resting_on(item.block):
            held = self._deals.get(stored.key) or _Held(stored, {}, await self._journal.ids_of(stored.key))
            entries = await self._journal.entries(stored.key)
            rest = [entry.past for entry in entries if entry.stands and entry.block != item.block]
            self._rewind(turn, held, rest, TakenBack(item.block))
        if await self._commit(turn):
            self._rewound.update(turn.ahead)

    async def _fill_in(self, item: Incoming, event: ChainEvent) -> None:
        """A chain event for deals of which something was taken back: the same as before takes its old place."""
        turn = _Turn([item])
        touched = self._bearers.get(subject_of(event), set[str]())
        for key in sorted(touched | await self._summon(turn, event)):
            await self._place(turn, key, Past(event, None), item.block)
        await self._commit(turn)

    async def _place(self, turn: _Turn, key: str, past: Past[Event], block: Digest) -> None:
        """Add an event at the place of the same one that was taken back, or else as the newest."""
        entries = await self._journal.entries(key) if key in self._rewound else ()
        gap = next((entry for entry in entries if not entry.stands and standing.is_same_kind(entry.past, past)), None)
        if gap is None:
            self._advance(turn, key, past, block)
        else:
            pasts = [past if entry is gap else entry.past for entry in entries if entry.stands or entry is gap]
            self._rewind(turn, self._deals[key], pasts, Added(past, block, gap.seq))

    # ---- what the rest of the node said ------------------------------------------------------------------

    async def _apply_received(self, received: Sequence[_Received]) -> None:
        turn = _Turn()
        born = [item.stored.key for item in received if isinstance(item, _Born)]
        known = set(await self._journal.known(born)) if born else set[str]()
        for item in received:
            match item:
                case Answer(event=Observed() as observed):
                    await self._commit_all(turn)
                    turn = _Turn()
                    await self._apply_observed(item, observed)
                case Answer(event=event) if not isinstance(event, Observed):
                    if self._errands.take(item):
                        self._advance(turn, item.deal, Past(event, item.name), None)
                case _Told():
                    turn.after.append(item.done.set)
                    self._advance(turn, item.deal, Past(item.event, None), None)
                case _Born():
                    turn.after.append(partial(item.answer.send_nowait, self._is_taken(turn, item, known)))
                case _:
                    continue
        await self._commit_all(turn)

    async def _commit_all(self, turn: _Turn) -> None:
        if turn.steps:
            await self._commit(turn)
        for answer in turn.after:
            answer()

    async def _apply_observed(self, answer: Answer, observed: Observed) -> None:
        """What a block showed counts if the question is in force and the block still there; else it is asked again."""
        name, held = answer.name, self._deals.get(answer.deal)
        if not self._errands.take(answer) or held is None or name not in held.in_force:
            return
        turn = _Turn()
        await self._place(turn, answer.deal, Past(observed.event, name), observed.block.hash)
        if not await self._commit(turn, observed):
            self._errands.dispatch(Owed(answer.deal, name, held.in_force[name]))

    def _is_taken(self, turn: _Turn, born: _Born, known: set[str]) -> bool:
        """Whether a deal is there, or has become a part of the turn, and so one of the `known`."""
        if born.stored.key in known:
            return True
        self._ahead = turn.ahead
        try:
            is_admitted = born.admit()
        finally:
            self._ahead = {}
        if is_admitted:
            first, cause = machines.first(born.event), Added(Past(born.event, None))
            self._add(turn, _Held(born.stored, {}, frozenset()), first, cause)
            known.add(born.stored.key)
        return is_admitted

    # ---- changes -----------------------------------------------------------------------------------------

    def _advance(self, turn: _Turn, key: str, past: Past[Event], block: Digest | None) -> None:
        held = turn.ahead.get(key) or self._deals.get(key)
        if held is not None and not held.stored.ended:
            after = standing.advance(held.standing, past, self._step_of(held.stored))
            self._add(turn, held, after, Added(past, block, waits=len(after.waiting) > len(held.waiting)))

    def _rewind(self, turn: _Turn, held: _Held, pasts: Sequence[Past[Event]], cause: Added | TakenBack) -> None:
        after = standing.replay(machines.first(pasts[0].event), pasts[1:], self._step_of(held.stored))
        self._add(turn, held, after, cause)

    def _add(self, turn: _Turn, before: _Held, after: Standing[State], cause: Added | TakenBack) -> None:
        stored = replace(before.stored, state=after.state, updated_at=self._now())
        ids = before.ids | stored.subjects
        change = Change(
            stored,
            cause,
            issued=tuple(
                Owed(stored.key, name, command)
                for name, command in after.in_force.items()
                if name not in before.in_force
            ),
            called_off=tuple(name for name in before.in_force if name not in after.in_force),
        )
        turn.add(_Held(stored, after.in_force, ids, after.waiting), change)

    def _step_of(self, stored: Stored) -> standing.Step[State, Event]:
        times = Times(self._grace_s(stored.market), self._reveal_s(stored.market))
        return partial(machines.step, me=self._me, times=times)

    async def _commit(self, turn: _Turn, observed: Observed | None = None) -> bool:
        """Make a turn durable and act on it; False, and nothing has happened, when the chain has moved meanwhile."""
        if not await self._recorded(turn, observed):
            return False
        for held, change in turn.steps:
            self._enact(held, change)
        return True

    async def _recorded(self, turn: _Turn, observed: Observed | None) -> bool:
        """Write a turn, however long the disk does not take it: what is not durable has not happened."""
        changes, pause = [change for _, change in turn.steps], FIRST_RETRY_S
        while True:
            try:
                return await self._journal.record(changes, turn.seen, observed.block if observed else None)
            except Unavailable as fault:
                log.error("journal-waits", reason=str(fault), retry_s=pause)
            await trio.sleep(pause)
            pause = min(pause * 2, LAST_RETRY_S)

    def _hold(self, held: _Held) -> None:
        """Have a deal in memory while it is open."""
        stored = held.stored
        if stored.ended:
            self._deals.pop(stored.key, None)
            for subject in held.ids:
                self._bearers.get(subject, set[str]()).discard(stored.key)
        else:
            self._deals[stored.key] = held
            for subject in held.ids:
                self._bearers.setdefault(subject, set()).add(stored.key)

    def _enact(self, held: _Held, change: Change) -> None:
        stored, before = held.stored, self._deals.get(held.stored.key)
        went_back = isinstance(change.cause, TakenBack) or change.cause.place is not None
        is_left = before is None or type(before.stored.state) is not type(stored.state)
        if is_left:
            log.info("phase", deal=stored.key, phase=stored.state.RECORD[0], cause=change.cause.name)
        self._hold(held)
        if stored.ended or (is_left and not went_back):
            self._errands.call_off_all(stored.key)
        elif before is not None:
            gone = [name for name in change.called_off if isinstance(before.in_force[name], BY_THE_CHAIN)]
            self._errands.call_off(stored.key, gone)
        for item in change.issued:
            self._errands.dispatch(item)
        self._tell_watchers(stored)

    def _tell_watchers(self, stored: Stored) -> None:
        for watcher in tuple(self._watchers):
            try:
                watcher.send_nowait(stored)
            except trio.WouldBlock:
                log.warning("watcher-behind", deal=stored.key)
                del self._watchers[watcher]
                watcher.close()


def _is_about_the_chain(item: _Received) -> bool:
    """Whether it says how far the chain is, and so comes after all that the chain has said up to there."""
    return isinstance(item, Answer | _Told) and isinstance(item.event, Observed | DeadlinePassed | TransactionRefused)
