"""The loop that owns the node's state: event → step → one transaction → commands.

One task reads one bounded channel, so nothing here needs a lock. Commands are carried out beside it, each in its own
cancel scope; what they find comes back as an event. After `kill -9` the loop starts from the journal: open deals,
the commands they still owe, chain events not yet applied.
"""

import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, Protocol, assert_never

import structlog
import trio

from capanode.node.journal import Change, Event, Incoming, Journal, Owed, Side, State, Stored, owed
from capanode.protocol import provider, requester
from capanode.protocol.commands import Command
from capanode.protocol.events import JobSubmitted, ProviderEvent, RequesterEvent, WorkTaken
from capanode.protocol.faults import Fault, InvariantViolated, PeerFault, Unavailable
from capanode.protocol.ids import ZERO_ADDRESS, Address, DealId

INBOX_BATCH: Final = 64
"""Chain events read at a time; a bound on memory, not on progress."""

CHANNEL: Final = 256
"""Events that may wait for the owner; producers block beyond it, nothing is dropped."""

FIRST_RETRY_S: Final = 0.25
LAST_RETRY_S: Final = 30.0
"""Back-off of a command whose outside is unavailable, doubling from the first to the last."""

log = structlog.get_logger()


class Performer(Protocol):
    """Carries out commands on the outside world."""

    async def perform(self, stored: Stored, command: Command) -> Event | None:
        """Do it and say what came of it; None when the answer arrives by another way (a chain event).

        Called at least once for a command, again after a crash. Raises `Unavailable` or `PeerFault` to be
        called again later.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Told:
    """An event for one deal, from elsewhere in the node or from a command: then with its key and its scope."""

    deal: str
    event: Event
    answered: str | None
    done: trio.Event | None
    scope: trio.CancelScope | None

    @property
    def is_called_off(self) -> bool:
        """Whether the phase that asked was left while the answer was on its way."""
        return self.scope is not None and self.scope.cancel_called


@dataclass(frozen=True, slots=True)
class _Born:
    """A new deal."""

    stored: Stored
    event: Event
    issued: tuple[Command, ...]
    admit: Callable[[], bool]
    answer: trio.MemorySendChannel[bool]


class Agent:
    """The owner's state and the ways to reach it. Create it, then `run` it; one per data folder."""

    def __init__(
        self,
        journal: Journal,
        me: Address,
        grace_s: Callable[[Address], int],
        now: Callable[[], float] = time.time,
    ) -> None:
        """`grace_s` says the grace of a market, in seconds."""
        self._journal = journal
        self._me = me
        self._grace_s = grace_s
        self._now = now
        self._deals: dict[str, Stored] = {}
        self._scopes: dict[str, dict[str, trio.CancelScope]] = defaultdict(dict)
        self._send, self._receive = trio.open_memory_channel[_Told | _Born | None](CHANNEL)
        self._watchers: dict[trio.MemorySendChannel[Stored], None] = {}

    # ---- what the rest of the node may ask ---------------------------------------------------------------

    def open_deals(self) -> tuple[Stored, ...]:
        """Deals that have not ended, as of the last event applied."""
        return tuple(self._deals.values())

    def find(self, key: str) -> Stored | None:
        """An open deal by key."""
        return self._deals.get(key)

    def by_deal_id(self, side: Side, deal_id: DealId) -> Stored | None:
        """An open deal by its id on chain."""
        return next((d for d in self._deals.values() if d.side is side and d.deal_id == deal_id), None)

    async def submit_job(self, key: str, event: JobSubmitted, market: Address = ZERO_ADDRESS) -> None:
        """Take a job for a market; it is durable when this returns."""
        first = requester.submit(event)
        stored = Stored(key, Side.REQUESTER, first.job, self._now(), self._now(), market)
        await self._bear(stored, event, first.commands, lambda: True)

    async def take_work(
        self, key: str, event: WorkTaken, admit: Callable[[], bool], market: Address = ZERO_ADDRESS
    ) -> bool:
        """Agree to a deal, if `admit` still says so when its turn comes; durable when this returns True.

        `admit` is asked by the owner, between two events, so that two deals never get the same room. Idempotent
        by key: a deal that is already there is not asked about again.
        """
        first = provider.take(event)
        stored = Stored(key, Side.PROVIDER, first.deal, self._now(), self._now(), market)
        return await self._bear(stored, event, first.commands, admit)

    async def tell(self, key: str, event: Event) -> None:
        """Tell a deal what happened to it; applied and durable when this returns."""
        done = trio.Event()
        await self._send.send(_Told(key, event, None, done, None))
        await done.wait()

    def chain_moved(self) -> None:
        """Say that the inbox may hold new events; never blocks."""
        try:
            self._send.send_nowait(None)
        except trio.WouldBlock:
            # A full channel is being worked off, and each turn begins with a look into the inbox.
            return

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

    # ---- the loop ----------------------------------------------------------------------------------------

    async def run(self, performer: Performer, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Recover, then own the state until cancelled. An `InvariantViolated` ends it, and the process."""
        async with trio.open_nursery() as nursery:
            await self._recover(performer, nursery)
            task_status.started()
            await self._apply_inbox(performer, nursery)
            while True:
                received = await self._receive.receive()
                # What the chain said comes first: a deadline has passed only if nothing came before it.
                await self._apply_inbox(performer, nursery)
                match received:
                    case _Born() as born:
                        await self._apply_birth(born, performer, nursery)
                    case _Told() as told:
                        await self._apply_told(told, performer, nursery)
                    case None:
                        continue

    async def _bear(self, stored: Stored, event: Event, issued: tuple[Command, ...], admit: Callable[[], bool]) -> bool:
        send, receive = trio.open_memory_channel[bool](1)
        await self._send.send(_Born(stored, event, issued, admit, send))
        return await receive.receive()

    async def _recover(self, performer: Performer, nursery: trio.Nursery) -> None:
        deals, owing = await self._journal.open_deals()
        self._deals = {stored.key: stored for stored in deals}
        for item in owing:
            if stored := self._deals.get(item.deal):
                self._dispatch(stored, item, performer, nursery)
        log.info("recovered", deals=len(deals), commands=len(owing))

    async def _apply_inbox(self, performer: Performer, nursery: trio.Nursery) -> None:
        while waiting := await self._journal.incoming(INBOX_BATCH):
            for incoming in waiting:
                await self._apply_incoming(incoming, performer, nursery)

    async def _apply_incoming(self, incoming: Incoming, performer: Performer, nursery: trio.Nursery) -> None:
        touched = [stored for stored in self._deals.values() if stored.deal_id == incoming.event.deal_id]
        changes = [self._change(stored, incoming.event, None) for stored in touched]
        await self._journal.record(changes, incoming)
        for change in changes:
            self._enact(change, performer, nursery)

    async def _apply_birth(self, born: _Born, performer: Performer, nursery: trio.Nursery) -> None:
        is_known = born.stored.key in self._deals or await self._journal.find(born.stored.key) is not None
        is_admitted = is_known or born.admit()
        if is_admitted and not is_known:
            issued = tuple(owed(born.stored, command) for command in born.issued)
            change = Change(born.stored, born.event, issued, phase_left=False, answered=None)
            await self._journal.record([change])
            self._enact(change, performer, nursery)
        born.answer.send_nowait(is_admitted)

    async def _apply_told(self, told: _Told, performer: Performer, nursery: trio.Nursery) -> None:
        if told.answered is not None and not told.is_called_off:
            self._scopes[told.deal].pop(told.answered, None)
        stored = self._deals.get(told.deal)
        if stored is not None and not told.is_called_off:
            change = self._change(stored, told.event, told.answered)
            await self._journal.record([change])
            self._enact(change, performer, nursery)
        if told.done is not None:
            told.done.set()

    def _change(self, stored: Stored, event: Event, answered: str | None) -> Change:
        state, issued = self._step(stored, event)
        after = replace(stored, state=state, updated_at=self._now())
        return Change(
            after,
            event,
            tuple(owed(after, command) for command in issued),
            phase_left=type(state) is not type(stored.state),
            answered=answered,
        )

    def _step(self, stored: Stored, event: Event) -> tuple[State, tuple[Command, ...]]:
        match stored.side:
            case Side.PROVIDER:
                if isinstance(stored.state, provider.Deal) and isinstance(event, ProviderEvent):
                    done = provider.step(stored.state, event, self._me, self._grace_s(stored.market))
                    return done.deal, done.commands
            case Side.REQUESTER:
                if isinstance(stored.state, requester.Job) and isinstance(event, RequesterEvent):
                    step = requester.step(stored.state, event, self._grace_s(stored.market))
                    return step.job, step.commands
            case _:
                assert_never(stored.side)
        raise InvariantViolated(f"the event {type(event).__name__} does not belong to the {stored.side} side")

    def _enact(self, change: Change, performer: Performer, nursery: trio.Nursery) -> None:
        stored = change.stored
        before = self._deals.get(stored.key)
        if before is None or change.phase_left:
            log.info("phase", deal=stored.key, phase=stored.state.RECORD[0], event_name=type(change.event).__name__)
        if stored.ended:
            self._deals.pop(stored.key, None)
        else:
            self._deals[stored.key] = stored
        if change.phase_left:
            for scope in self._scopes.pop(stored.key, {}).values():
                scope.cancel()
        for item in change.issued:
            self._dispatch(stored, item, performer, nursery)
        for watcher in tuple(self._watchers):
            try:
                watcher.send_nowait(stored)
            except trio.WouldBlock:
                log.warning("watcher-behind", deal=stored.key)
                del self._watchers[watcher]
                watcher.close()

    def _dispatch(self, stored: Stored, item: Owed, performer: Performer, nursery: trio.Nursery) -> None:
        if item.key in self._scopes[stored.key]:
            return
        scope = self._scopes[stored.key][item.key] = trio.CancelScope()
        nursery.start_soon(self._carry_out, stored.key, item, scope, performer)

    # ---- commands, beside the owner ----------------------------------------------------------------------

    async def _carry_out(self, deal: str, item: Owed, scope: trio.CancelScope, performer: Performer) -> None:
        event: Event | None = None
        with scope:
            event = await self._until_performed(deal, item, performer)
        if scope.cancelled_caught:
            return
        if event is not None:
            # The command is in force until its answer is applied: the phase may be left before.
            await self._send.send(_Told(deal, event, item.key, None, scope))
        elif not scope.cancel_called:
            self._scopes[deal].pop(item.key, None)

    async def _until_performed(self, deal: str, item: Owed, performer: Performer) -> Event | None:
        pause = FIRST_RETRY_S
        while True:
            stored = self._deals.get(deal)
            if stored is None:
                return None
            try:
                event = await performer.perform(stored, item.command)
            except (Unavailable, PeerFault) as fault:
                log.warning(
                    "command-waits", deal=deal, command=item.command.RECORD[0], reason=str(fault), retry_s=pause
                )
            except InvariantViolated:
                raise
            except (Fault, OSError, ValueError, ArithmeticError, LookupError) as bug:
                # One deal's fault stays that deal's: the others go on, and the operator reads of it.
                log.error("command-failed", deal=deal, command=item.command.RECORD[0], reason=repr(bug), retry_s=pause)
            else:
                return event
            await trio.sleep(pause)
            pause = min(pause * 2, LAST_RETRY_S)
