"""Commands while they are carried out, beside the owner of the state: each in a cancel scope of its own, until done.

An errand is one command under way. What it finds is told to the owner; until the owner has applied that, the command is
in force, and a crash begins the errand again.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
import trio

from capanode.node.journal import Observed, Owed, Stored
from capanode.protocol.commands import (
    Command,
    ExpectResult,
    SubmitAbandon,
    SubmitAccept,
    SubmitAnnounce,
    SubmitAnswer,
    SubmitAssign,
    SubmitCancel,
    SubmitChallenge,
    SubmitClaim,
    SubmitCommit,
    SubmitDescent,
    SubmitExpire,
    SubmitNaming,
    SubmitReveal,
    SubmitVote,
    WakeAt,
)
from capanode.protocol.faults import Fault, InvariantViolated, PeerFault, Unavailable
from capanode.protocol.standing import Event

FIRST_RETRY_S: Final = 0.25
LAST_RETRY_S: Final = 30.0
"""Back-off of a command whose outside is unavailable, doubling from the first to the last."""

BY_THE_CHAIN: Final = (
    SubmitAnnounce,
    SubmitCancel,
    SubmitExpire,
    SubmitAssign,
    SubmitCommit,
    SubmitAbandon,
    SubmitClaim,
    SubmitAccept,
    SubmitChallenge,
    SubmitAnswer,
    SubmitDescent,
    SubmitNaming,
    SubmitVote,
    SubmitReveal,
    ExpectResult,
    WakeAt,
)
"""Commands that follow from where the chain is, called off when it goes back. What else runs, as a container, goes on:
its answer counts as soon as the chain has come again to where it was asked for."""

log = structlog.get_logger()


class Performer(Protocol):
    """Carries out commands on the outside world."""

    async def perform(self, stored: Stored, command: Command) -> Event | Observed | None:
        """Do it and say what came of it; None when the answer arrives by another way (a chain event).

        Called at least once for a command, again after a crash. Raises `Unavailable` or `PeerFault` to be
        called again later.
        """
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a command, on its way to the owner."""

    deal: str
    name: str
    event: Event | Observed
    scope: trio.CancelScope

    @property
    def is_called_off(self) -> bool:
        """Whether the phase that asked was left meanwhile."""
        return self.scope.cancel_called


class Errands:
    """Every command under way, by deal and name; begin it within the nursery that `run` is given."""

    def __init__(self, find: Callable[[str, str], Stored | None], tell: Callable[[Answer], Awaitable[None]]) -> None:
        """`find` gives the deal in which a command is in force; `tell` brings an answer to the owner."""
        self._find = find
        self._tell = tell
        self._scopes: dict[str, dict[str, trio.CancelScope]] = {}
        self._start: Callable[[Owed, trio.CancelScope], None] = _not_running

    def begin_in(self, nursery: trio.Nursery, performer: Performer) -> None:
        """Have commands carried out from now on."""

        def start(item: Owed, scope: trio.CancelScope) -> None:
            nursery.start_soon(self._carry_out, performer, item, scope)

        self._start = start

    def dispatch(self, item: Owed) -> None:
        """Carry a command out, unless it is under way."""
        scopes = self._scopes.setdefault(item.deal, {})
        if item.name not in scopes:
            scope = scopes[item.name] = trio.CancelScope()
            self._start(item, scope)

    def call_off(self, deal: str, names: Sequence[str]) -> None:
        """Stop commands that are not wanted any more."""
        scopes = self._scopes.get(deal, {})
        for name in names:
            if scope := scopes.pop(name, None):
                scope.cancel()
        if not scopes:
            self._scopes.pop(deal, None)

    def call_off_all(self, deal: str) -> None:
        """Stop all that a deal has under way."""
        self.call_off(deal, tuple(self._scopes.get(deal, ())))

    def take(self, answer: Answer) -> bool:
        """Whether an answer is still wanted; its errand is over."""
        if answer.is_called_off:
            return False
        self._forget(answer.deal, answer.name)
        return True

    def _forget(self, deal: str, name: str) -> None:
        self._scopes.get(deal, {}).pop(name, None)

    async def _carry_out(self, performer: Performer, item: Owed, scope: trio.CancelScope) -> None:
        event: Event | Observed | None = None
        with scope:
            event = await self._until_performed(performer, item)
        if scope.cancelled_caught:
            return
        if event is not None:
            # The command is in force until its answer is applied: the phase may be left before.
            await self._tell(Answer(item.deal, item.name, event, scope))
        elif not scope.cancel_called:
            self._forget(item.deal, item.name)

    async def _until_performed(self, performer: Performer, item: Owed) -> Event | Observed | None:
        pause = FIRST_RETRY_S
        while True:
            stored = self._find(item.deal, item.name)
            if stored is None:
                # Gone with its phase, or let go on after the chain went back: then it is dispatched again if need be.
                return None
            try:
                event = await performer.perform(stored, item.command)
            except (Unavailable, PeerFault) as fault:
                log.warning(
                    "command-waits", deal=item.deal, command=item.command.RECORD[0], reason=str(fault), retry_s=pause
                )
            except InvariantViolated:
                raise
            except (Fault, OSError, ValueError, ArithmeticError, LookupError) as bug:
                # One deal's fault stays that deal's: the others go on, and the operator reads of it.
                log.error(
                    "command-failed", deal=item.deal, command=item.command.RECORD[0], reason=repr(bug), retry_s=pause
                )
            else:
                if event is not None or not isinstance(item.command, BY_THE_CHAIN):
                    return event
                # Mined: its log calls this off. If the log does not come, the block was lost, and perhaps the nonce.
                pause = LAST_RETRY_S
            await trio.sleep(pause)
            pause = min(pause * 2, LAST_RETRY_S)


def _not_running(item: Owed, scope: trio.CancelScope) -> None:
    raise InvariantViolated(f"{item.name} was to be done before the agent ran")
