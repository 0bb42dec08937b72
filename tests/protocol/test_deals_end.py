"""Machine and chain together: every deal can end by its own side's doing, and never while money is out.

The other side may be gone for good at any time: nothing that only it can do is counted on.

A model of the chain (PROTOCOL's table, as far as this release can send it) runs beside each machine. What the chain
says arrives late, in order, and before any deadline, as the node's follower guarantees.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain as concat
from typing import Any

import pytest

from capanode.protocol import provider, requester
from capanode.protocol.commands import (
    AuditResult,
    CollectBids,
    Command,
    DropResult,
    ExpectResult,
    FetchResult,
    Prepare,
    RenewDemand,
    RunContainer,
    SendAward,
    SubmitAbandon,
    SubmitAccept,
    SubmitAnnounce,
    SubmitAssign,
    SubmitCancel,
    SubmitClaim,
    SubmitCommit,
    SubmitExpire,
    WakeAt,
)
from capanode.protocol.events import (
    AcceptReceived,
    AcceptRequested,
    AwardAnswered,
    CancelRequested,
    ChainEvent,
    ExecutionFailed,
    Prepared,
    PrepareFailed,
    ResultDropped,
    ResultFetched,
)
from capanode.protocol.phases import TERMINAL, Phase
from capanode.protocol.records import Mode
from tests.protocol.deals import (
    ANNOUNCED,
    ASSIGNED,
    ASSIGNED_TO_STRANGER,
    AUDITS,
    CANCELLED,
    CHALLENGED,
    CLOSED,
    COMMITTED,
    DRAWN,
    FINALIZED,
    FINISHED,
    GRACE_S,
    MISSING,
    NOBODY,
    OVERTURNED,
    PASSED,
    PROVIDER,
    REFUNDED,
    REFUSED,
    SPLIT,
    VOID,
    chosen,
    renewed,
    submitted,
    work_taken,
)

MAX_UNSEEN = 2
"""Logs that may be on their way at a time."""

JUDGED = frozenset({Phase.OVERTURNED, Phase.VOID, Phase.SPLIT})
MONEY_OUT = frozenset({Phase.ANNOUNCED, Phase.ASSIGNED, Phase.COMMITTED, Phase.CHALLENGED})
RESULT_IS_BOUND = frozenset({Phase.COMMITTED, Phase.CHALLENGED, *JUDGED, Phase.FINALIZED})


@dataclass(frozen=True, slots=True)
class World:
    """Chain, logs not yet seen, machine, and the commands that the machine still owes."""

    phase: Phase
    unseen: tuple[ChainEvent, ...]
    state: Any
    owed: frozenset[Command]


@dataclass(frozen=True, slots=True)
class Move:
    """One thing that can happen; `helpful` when this side or a clock does it, with the other side gone for good."""

    to: World
    helpful: bool


def moves(world: World) -> Iterable[Move]:
    return concat(_chain_moves(world), _log_moves(world), _node_moves(world))


def _chain_moves(world: World) -> Iterable[Move]:
    if len(world.unseen) < MAX_UNSEEN:
        for source, target, log, helpful in _calls(world):
            if source is world.phase:
                yield Move(replace(world, phase=target, unseen=(*world.unseen, log)), helpful)


Call = tuple[Phase, Phase, ChainEvent, bool]


def _calls(world: World) -> Iterable[Call]:
    owes = {type(command) for command in world.owed}
    if isinstance(world.state, requester.Job):
        yield from _calls_beside_requester(world.state, owes)
    else:
        yield from _calls_beside_provider(world.state, owes)
    yield Phase.ASSIGNED, Phase.CANCELLED, CANCELLED, False
    yield Phase.COMMITTED, Phase.FINALIZED, FINALIZED, SubmitClaim in owes
    # Anybody disputes a result, and anybody moves a dispute on to its end.
    yield Phase.COMMITTED, Phase.CHALLENGED, CHALLENGED, False
    # Of a leaf that says what none may nothing is heard before its end.
    yield Phase.COMMITTED, Phase.OVERTURNED, OVERTURNED, False
    yield Phase.CHALLENGED, Phase.COMMITTED, CLOSED, True
    yield Phase.CHALLENGED, Phase.OVERTURNED, OVERTURNED, True
    yield Phase.CHALLENGED, Phase.VOID, VOID, True
    yield Phase.CHALLENGED, Phase.SPLIT, SPLIT, True


def _calls_beside_requester(job: requester.Job, owes: set[type[Command]]) -> Iterable[Call]:
    if SubmitAnnounce in owes:
        yield Phase.NONE, Phase.ANNOUNCED, ANNOUNCED, True
    if isinstance(job, requester.Awarding) and job.order.announcement is None:
        if job.award.terms.mode is Mode.DIRECT:
            yield Phase.NONE, Phase.COMMITTED, COMMITTED, False
        else:
            yield Phase.NONE, Phase.ASSIGNED, ASSIGNED, False
    # Awards of an announced demand stay good, and its posted price anybody takes; once over, anybody cancels.
    yield Phase.ANNOUNCED, Phase.ASSIGNED, ASSIGNED, False
    yield Phase.ANNOUNCED, Phase.ASSIGNED, ASSIGNED_TO_STRANGER, False
    yield Phase.ANNOUNCED, Phase.CANCELLED, CANCELLED, SubmitCancel in owes
    yield Phase.ASSIGNED, Phase.COMMITTED, COMMITTED, False
    yield Phase.ASSIGNED, Phase.REFUNDED, REFUNDED, SubmitExpire in owes


def _calls_beside_provider(deal: provider.Deal, owes: set[type[Command]]) -> Iterable[Call]:
    mode = deal.work.terms.mode
    if SubmitAssign in owes:
        yield Phase.NONE if mode is Mode.LOCK else Phase.ANNOUNCED, Phase.ASSIGNED, ASSIGNED, True
    if SubmitCommit in owes:
        yield Phase.NONE if mode is Mode.DIRECT else Phase.ASSIGNED, Phase.COMMITTED, COMMITTED, True
    if not _is_ours(deal):
        yield Phase.ANNOUNCED, Phase.ASSIGNED, ASSIGNED_TO_STRANGER, False
    yield Phase.ANNOUNCED, Phase.CANCELLED, CANCELLED, False
    # Somebody may have a late deal refunded; nobody has to.
    yield Phase.ASSIGNED, Phase.REFUNDED, REFUNDED, bool({SubmitAbandon, SubmitExpire} & owes)


def _is_ours(deal: provider.Deal) -> bool:
    return not isinstance(deal, provider.Preparing | provider.Assigning | provider.Lost)


def _log_moves(world: World) -> Iterable[Move]:
    if world.unseen:
        log, *later = world.unseen
        yield Move(_stepped(replace(world, unseen=tuple(later)), log, None), helpful=True)


def _node_moves(world: World) -> Iterable[Move]:
    for command in world.owed:
        for event in _answers(world, command):
            yield Move(_stepped(world, event, command), helpful=True)
    for event in (
        (CancelRequested(), AcceptRequested())
        if isinstance(world.state, requester.Job)
        else (AcceptReceived(b"\x09" * 65),)
    ):
        yield Move(_stepped(world, event, None), helpful=False)


def _answers(world: World, command: Command) -> Iterable[Any]:
    mode = world.state.order.demand.mode if isinstance(world.state, requester.Job) else None
    match command:
        case WakeAt():
            return () if world.unseen else (PASSED,)
        case SubmitAnnounce():
            return (REFUSED,) if world.phase is Phase.NONE else ()
        case SubmitAssign():
            return (REFUSED,) if world.phase in (Phase.NONE, Phase.ANNOUNCED) or _went_elsewhere(world) else ()
        case SubmitCommit() | SubmitAbandon():
            return (REFUSED,) if world.phase not in RESULT_IS_BOUND else ()
        case SubmitAccept():
            return (REFUSED,)
        case RenewDemand():
            assert mode is not None
            return (renewed(mode),)
        case CollectBids():
            if mode is Mode.LOCK:
                return (chosen(Mode.LOCK), chosen(Mode.DIRECT), NOBODY)
            return (chosen(Mode.AWARD), NOBODY)
        case SendAward():
            return (AwardAnswered(True, ""), AwardAnswered(False, "busy"))
        case FetchResult() if isinstance(world.state, requester.Committed | requester.Withheld):
            return (ResultFetched("/results/1", b"receipt"), DRAWN)
        case FetchResult():
            return (ResultFetched("/results/1", b"receipt"),)
        case ExpectResult():
            return (MISSING,)
        case AuditResult():
            return AUDITS
        case Prepare():
            return (Prepared(), PrepareFailed("no image"))
        case RunContainer():
            return (FINISHED, ExecutionFailed("engine lost"))
        case DropResult():
            return (ResultDropped(),)
        case _:
            return ()


def _went_elsewhere(world: World) -> bool:
    return ASSIGNED_TO_STRANGER in world.unseen or world.phase is Phase.CANCELLED


def _stepped(world: World, event: Any, answered: Command | None) -> World:
    state: requester.Job | provider.Deal
    if isinstance(world.state, requester.Job):
        step = requester.step(world.state, event, GRACE_S)
        state, issued = step.job, frozenset[Command](step.commands)
    else:
        done = provider.step(world.state, event, PROVIDER, GRACE_S)
        state, issued = done.deal, frozenset[Command](done.commands)
    stays = type(state) is type(world.state)
    owed = issued | (world.owed - {answered} if stays else frozenset())
    again = isinstance(world.state, requester.Renewing) and not isinstance(state, requester.Renewing)
    # A demand that is made anew is another deal.
    return World(Phase.NONE, (), state, owed) if again else replace(world, state=state, owed=owed)


@cache
def explored(start: World) -> dict[World, tuple[Move, ...]]:
    found: dict[World, tuple[Move, ...]] = {}
    front = [start]
    while front:
        world = front.pop()
        if world not in found:
            found[world] = tuple(moves(world))
            front += [move.to for move in found[world]]
    return found


def requester_start(mode: Mode) -> World:
    first = requester.submit(submitted(mode, attempts=2, auto_accept=True))
    return World(Phase.NONE, (), first.job, frozenset(first.commands))


def provider_start(mode: Mode) -> World:
    first = provider.take(work_taken(mode))
    phase = Phase.ANNOUNCED if mode in (Mode.AWARD, Mode.FIRST) else Phase.NONE
    return World(phase, (), first.deal, frozenset(first.commands))


STARTS = [
    *(pytest.param(requester_start(mode), id=f"requester-{mode.name}") for mode in (Mode.LOCK, Mode.AWARD, Mode.FIRST)),
    *(pytest.param(provider_start(mode), id=f"provider-{mode.name}") for mode in Mode),
]
ENDED = (requester.Settled, requester.Undecided, requester.Failed, requester.Cancelled, provider.Done, provider.Lost)


@pytest.mark.parametrize("start", STARTS)
def test_every_deal_can_end_without_a_strangers_help(start: World) -> None:
    worlds = explored(start)
    can_end = {world for world in worlds if isinstance(world.state, ENDED)}
    back: dict[World, list[World]] = {}
    for world, options in worlds.items():
        for move in options:
            if move.helpful:
                back.setdefault(move.to, []).append(world)
    front = list(can_end)
    while front:
        for world in back.get(front.pop(), ()):
            if world not in can_end:
                can_end.add(world)
                front.append(world)
    stuck = {(world.phase.name, type(world.state).__name__) for world in worlds if world not in can_end}
    assert not stuck


@pytest.mark.parametrize("start", STARTS)
def test_no_deal_ends_while_its_money_is_out(start: World) -> None:
    for world in explored(start):
        match world.state:
            case requester.Failed() | requester.Cancelled() | requester.Renewing():
                assert world.phase not in MONEY_OUT, world
                assert not world.unseen
            case requester.Settled():
                assert world.phase is Phase.FINALIZED
            case requester.Undecided():
                assert world.phase in (Phase.VOID, Phase.SPLIT)
            case provider.Done():
                assert world.phase in (Phase.FINALIZED, Phase.VOID, Phase.SPLIT)
            case provider.Lost():
                assert world.phase not in (Phase.COMMITTED, Phase.CHALLENGED), "a committed result is worth money"
                assert world.phase is not Phase.ASSIGNED or world.state.burned_wei == 0 or world.unseen
            case _:
                pass


MOVERS: dict[str, str] = {
    # requester
    "Announcing": "own transaction, else the clock: later than assign_by it cannot be mined",
    "Bidding": "own bid window, which the demand's expiry ends; anybody cancels a lapsed announcement",
    "Posted": "the clock at assign_by, then own cancel",
    "Renewing": "this node itself",
    "Awarding": "the clock: an award lapses",
    "Withdrawing": "own cancel, which needs nobody",
    "Running": "the clock at commit_by + G, then own expire",
    "Expiring": "own expire, which anybody may send",
    "Committed": "the clock a while after the window, then own claim, which anybody may send",
    "Withheld": "the clock a while after the window, then own claim, which anybody may send",
    "Auditing": "own audit, which ends with the window",
    "Faulty": "the clock a while after the window, then own claim, which anybody may send",
    "Delivered": "the clock a while after the window, then own claim, which anybody may send",
    "Challenged": "the court's clocks, which anybody may call for",
    "Paid": "the clock at the end of the retention",
    # provider
    "Preparing": "own preparation, else the clock at assign_by",
    "Assigning": "own transaction, else the clock at assign_by",
    "Executing": "own container, else the clock before commit_by + G",
    "Committing": "own transaction, else the clock at commit_by + G",
    "Claiming": "own claim, which anybody may send",
    "Discarding": "this node itself",
    "Retaining": "the clock at the end of the retention, then this node itself",
    "Abandoning": "own transaction, else the clock at commit_by + G",
    "Overdue": "the clock a while after commit_by + G, then own expire, which anybody may send",
}
"""Who moves each open phase on when the other side is gone for good; docs/operations.md shows it to operators."""


def test_somebody_of_this_side_moves_every_open_phase_on() -> None:
    opened = {phase.__name__ for phase in (*requester.PHASES, *provider.PHASES) if phase not in ENDED}
    assert set(MOVERS) == opened


@pytest.mark.parametrize("start", STARTS)
def test_an_open_phase_is_left_by_own_commands_alone(start: World) -> None:
    """From each world with an open state there is a way on that only logs and this side's own commands make."""
    worlds = explored(start)
    for world, options in worlds.items():
        if not isinstance(world.state, ENDED):
            assert any(move.helpful for move in options), world


@pytest.mark.parametrize("start", STARTS)
def test_a_claim_or_refund_is_asked_for_wherever_one_is_due(start: World) -> None:
    """Before a side rests in an open state, it owes the call that gets its money, or a clock that leads there."""
    for world in explored(start):
        if isinstance(world.state, provider.Committed):
            assert any(isinstance(command, WakeAt) for command in world.owed) or world.phase in TERMINAL
        if isinstance(world.state, provider.Claiming):
            assert SubmitClaim() in world.owed
        if isinstance(world.state, requester.Committed | requester.Delivered | requester.Running | provider.Overdue):
            due = (WakeAt, SubmitClaim, SubmitExpire)
            assert any(isinstance(command, due) for command in world.owed)
        if isinstance(world.state, requester.Running):
            assert any(isinstance(command, WakeAt) for command in world.owed)
