"""Both sides' machines, walked exhaustively: every event in every reachable state."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import pytest

from capanode.node.chain.head import HeadWatch
from capanode.node.journal import Side, Stored
from capanode.node.performer import NodePerformer, ProviderParts, RequesterParts
from capanode.protocol import encoding, provider, requester
from capanode.protocol.commands import (
    CollectBids,
    Command,
    ExpectResult,
    RenewDemand,
    RunContainer,
    SendAward,
    SubmitAbandon,
    SubmitAssign,
    WakeAt,
)
from capanode.protocol.events import (
    CancelRequested,
    DeadlinePassed,
    DealAssigned,
    DealCommitted,
    ExecutionFailed,
    Prepared,
    ProviderEvent,
    RequesterEvent,
    ResultFetched,
    WorkTaken,
)
from capanode.protocol.faults import InvariantViolated
from capanode.protocol.ids import UnixTime, Wei
from capanode.protocol.records import Mode
from capanode.protocol.standing import State
from tests.protocol.deals import (
    ANNOUNCED,
    ASSIGNED,
    ASSIGNED_TO_STRANGER,
    COMMITTED,
    FINALIZED,
    GRACE_S,
    NOW,
    PROVIDER,
    PROVIDER_EVENTS,
    REFUNDED,
    REQUESTER_EVENTS,
    STRANGER,
    announcement,
    chosen,
    submitted,
    work_taken,
)

S = TypeVar("S")
E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Arrow(Generic[S, E]):
    """One step: the event took the state to `target` and issued `commands`."""

    source: S
    event: E
    target: S
    commands: tuple[Command, ...]


def walk(starts: Iterable[S], events: Iterable[E], step: Callable[[S, E], tuple[S, Any]]) -> list[Arrow[S, E]]:
    """Every arrow that can be reached; raises what `step` raises."""
    front, events = list(starts), tuple(events)
    seen, arrows = set(front), list[Arrow[S, E]]()
    while front:
        source = front.pop()
        for event in events:
            target, commands = step(source, event)
            arrows.append(Arrow(source, event, target, commands))
            if target not in seen:
                seen.add(target)
                front.append(target)
    return arrows


def step_requester(job: requester.Job, event: RequesterEvent) -> tuple[requester.Job, Any]:
    done = requester.step(job, event, GRACE_S)
    return done.job, done.commands


def step_provider(deal: provider.Deal, event: ProviderEvent) -> tuple[provider.Deal, Any]:
    done = provider.step(deal, event, PROVIDER, GRACE_S)
    return done.deal, done.commands


JOBS = [
    submitted(mode, attempts=2, auto_accept=auto_accept)
    for mode in (Mode.LOCK, Mode.AWARD, Mode.FIRST)
    for auto_accept in (False, True)
]
WORKS = [work_taken(mode) for mode in Mode]
REQUESTER_STARTS = [requester.submit(job) for job in JOBS]
PROVIDER_STARTS = [provider.take(work) for work in WORKS]
REQUESTER_ARROWS = walk([start.job for start in REQUESTER_STARTS], REQUESTER_EVENTS, step_requester)
PROVIDER_ARROWS = walk([start.deal for start in PROVIDER_STARTS], PROVIDER_EVENTS, step_provider)
ARROWS: tuple[Arrow[Any, Any], ...] = (*REQUESTER_ARROWS, *PROVIDER_ARROWS)


def states(arrows: Iterable[Arrow[S, Any]]) -> set[S]:
    return {arrow.source for arrow in arrows}


def test_every_phase_is_reached() -> None:
    assert {type(job) for job in states(REQUESTER_ARROWS)} == set(requester.PHASES)
    assert {type(deal) for deal in states(PROVIDER_ARROWS)} == set(provider.PHASES)


def test_nothing_leaves_an_end() -> None:
    ended = (
        requester.Settled,
        requester.Undecided,
        requester.Failed,
        requester.Cancelled,
        provider.Done,
        provider.Lost,
    )
    from_ends = [arrow for arrow in ARROWS if isinstance(arrow.source, ended)]
    assert from_ends
    for arrow in from_ends:
        assert (arrow.target, arrow.commands) == (arrow.source, ())


def test_every_phase_that_is_entered_and_not_an_end_has_something_that_moves_it() -> None:
    """A new phase comes with a command, or waits for what is certain to come: the other side's own interest."""
    ended = (
        requester.Settled,
        requester.Undecided,
        requester.Failed,
        requester.Cancelled,
        provider.Done,
        provider.Lost,
    )
    # A dispute is its challengers' and the court's to move on.
    waits = (requester.Delivered, requester.Challenged, *ended)
    for arrow in ARROWS:
        entered = type(arrow.source) is not type(arrow.target)
        if entered and not isinstance(arrow.target, waits):
            assert arrow.commands, arrow


@pytest.mark.parametrize("side", Side)
def test_every_state_survives_its_encoding(side: Side) -> None:
    reached: set[Any] = states(PROVIDER_ARROWS) if side is Side.PROVIDER else states(REQUESTER_ARROWS)
    phases: tuple[type[Any], ...] = provider.PHASES if side is Side.PROVIDER else requester.PHASES
    for state in reached:
        assert encoding.decode_one_of(phases, encoding.encode(state)) == state


def test_every_event_and_command_survives_its_encoding() -> None:
    for record in (*REQUESTER_EVENTS, *PROVIDER_EVENTS):
        assert encoding.decode(type(record), encoding.encode(record)) == record
    commands = {command for arrow in ARROWS for command in arrow.commands}
    for command in commands:
        assert encoding.decode(type(command), encoding.encode(command)) == command


# ---- commands belong to their phase -------------------------------------------------------------------------------


class _Part:
    """A part of a node that does whatever it is asked to, and remembers it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name in ("locator", "renew"):
            return lambda *_: self.asked.append(name)

        async def do(*_: object) -> None:
            self.asked.append(name)

        return do


def performer_of(settlement: Any, parts: Any) -> NodePerformer:
    return NodePerformer(
        lambda _: settlement,
        HeadWatch(),
        requester_side=RequesterParts(parts, parts, parts, parts),
        provider_side=ProviderParts(parts, parts),
    )


def issued() -> set[tuple[Side, State, Command]]:
    found: set[tuple[Side, State, Command]] = set()
    for first in REQUESTER_STARTS:
        found |= {(Side.REQUESTER, first.job, command) for command in first.commands}
    for start in PROVIDER_STARTS:
        found |= {(Side.PROVIDER, start.deal, command) for command in start.commands}
    for job in REQUESTER_ARROWS:
        found |= {(Side.REQUESTER, job.target, command) for command in job.commands}
    for deal in PROVIDER_ARROWS:
        found |= {(Side.PROVIDER, deal.target, command) for command in deal.commands}
    return found


async def test_the_node_carries_out_every_command_in_the_phase_that_issued_it() -> None:
    for side, state, command in issued():
        if isinstance(command, WakeAt | ExpectResult):
            continue
        settlement, parts = _Part(), _Part()
        await performer_of(settlement, parts).perform(Stored("a", side, state, 0, 0), command)
        assert settlement.asked or parts.asked, f"nothing was done about {command} in {state}"


async def test_the_node_refuses_a_command_of_another_phase() -> None:
    performer = performer_of(_Part(), _Part())
    ended = provider.Lost(provider.take(work_taken()).deal.work, "", REFUNDED.burned_wei)
    with pytest.raises(InvariantViolated, match="RunContainer does not belong to Lost"):
        await performer.perform(Stored("a", Side.PROVIDER, ended, 0, 0), RunContainer(1))
    announcing = requester.submit(submitted(Mode.AWARD)).job
    with pytest.raises(InvariantViolated, match="CollectBids does not belong to Announcing"):
        await performer.perform(Stored("a", Side.REQUESTER, announcing, 0, 0), CollectBids())


# ---- the provider's money -----------------------------------------------------------------------------------------


def test_a_provider_executes_only_what_the_chain_has_bound_to_it() -> None:
    begun = [arrow for arrow in PROVIDER_ARROWS if any(isinstance(c, RunContainer) for c in arrow.commands)]
    assert begun
    for arrow in begun:
        if isinstance(arrow.source, provider.Executing):
            continue
        if cast(Any, arrow.source).work.terms.mode is Mode.DIRECT:
            assert isinstance(arrow.event, Prepared)
        else:
            assert isinstance(arrow.event, DealAssigned)
            assert arrow.event.provider == PROVIDER


def test_a_provider_tries_a_bounded_number_of_times_and_then_gives_the_deal_up() -> None:
    deal = provider.step(provider.Assigning(work_of(Mode.LOCK)), ASSIGNED, PROVIDER, GRACE_S).deal
    attempts = 1
    while True:
        step = provider.step(deal, ExecutionFailed("engine lost"), PROVIDER, GRACE_S)
        deal = step.deal
        if not isinstance(deal, provider.Executing):
            break
        attempts += 1
        assert step.commands == (RunContainer(attempts),)
    assert attempts == provider.MAX_ATTEMPTS
    assert isinstance(deal, provider.Abandoning)
    assert step.commands[0] == SubmitAbandon()


def test_a_direct_deal_that_cannot_be_done_costs_nothing() -> None:
    deal: provider.Deal = provider.Executing(work_of(Mode.DIRECT), PROVIDER, provider.MAX_ATTEMPTS)
    step = provider.step(deal, ExecutionFailed("engine lost"), PROVIDER, GRACE_S)
    assert step == provider.Step(provider.Lost(work_of(Mode.DIRECT), "engine lost", Wei(0)), ())


def test_whoever_loses_the_race_for_an_announced_demand_loses_nothing() -> None:
    for deal in (provider.Preparing(work_of(Mode.FIRST)), provider.Assigning(work_of(Mode.FIRST))):
        lost = provider.step(deal, ASSIGNED_TO_STRANGER, PROVIDER, GRACE_S).deal
        assert isinstance(lost, provider.Lost)
        assert lost.burned_wei == 0


def test_capacity_is_held_while_a_container_may_run() -> None:
    holding = {type(deal) for deal in states(PROVIDER_ARROWS) if provider.holds_capacity(deal)}
    assert holding == {provider.Preparing, provider.Assigning, provider.Executing}


def work_of(mode: Mode) -> provider.Work:
    return cast(provider.Preparing, provider.take(work_taken(mode)).deal).work


def test_the_first_wake_is_the_last_moment_to_start() -> None:
    for work in WORKS:
        terms = work.award.terms
        last = terms.commit_by if terms.mode is Mode.DIRECT else terms.assign_by
        assert WakeAt(last) in provider.take(work).commands


# ---- the requester's money ----------------------------------------------------------------------------------------


def test_no_second_award_before_the_first_has_lapsed() -> None:
    """Without an announcement each award has its own money behind it, so two could both become payable."""
    for arrow in REQUESTER_ARROWS:
        if not isinstance(arrow.source, requester.Awarding) or arrow.source.order.announcement is not None:
            continue
        if type(arrow.target) is not requester.Awarding:
            assert isinstance(arrow.event, DealAssigned | DealCommitted | DeadlinePassed), arrow
        assert not any(isinstance(command, SendAward | CollectBids) for command in arrow.commands)
        if any(isinstance(command, RenewDemand) for command in arrow.commands):
            assert isinstance(arrow.event, DeadlinePassed)


@pytest.mark.parametrize("mode", [Mode.LOCK, Mode.DIRECT])
def test_an_award_has_lapsed_when_the_chain_no_longer_takes_it(mode: Mode) -> None:
    step = requester.step(requester.submit(submitted()).job, chosen(mode), GRACE_S)
    terms = cast(requester.Awarding, step.job).award.terms
    lapses_at = terms.commit_by + GRACE_S if mode is Mode.DIRECT else terms.assign_by
    assert WakeAt(UnixTime(lapses_at)) in step.commands


def test_attempts_are_bounded() -> None:
    left = {cast(Any, job).order.attempts_left for job in states(REQUESTER_ARROWS)}
    assert left == {0, 1}


def test_what_was_fetched_after_the_payment_counts() -> None:
    paid = [job for job in states(REQUESTER_ARROWS) if isinstance(job, requester.Paid)]
    for job in paid:
        settled = requester.step(job, ResultFetched("/results/1", b"receipt"), GRACE_S).job
        assert isinstance(settled, requester.Settled)
        assert settled.folder == "/results/1"
        assert settled.paid_wei == FINALIZED.paid_wei


def test_an_announced_demand_that_another_provider_takes_is_followed_there() -> None:
    """An earlier award of an announced demand is still good, though its holder had declined it."""
    awarding = requester.step(bidding(Mode.AWARD), chosen(Mode.AWARD), GRACE_S).job
    running = requester.step(awarding, ASSIGNED_TO_STRANGER, GRACE_S).job
    assert isinstance(running, requester.Running)
    assert running.deal.terms.provider == STRANGER
    assert running.deal.terms.price_wei == ASSIGNED_TO_STRANGER.price_wei
    assert running.deal.peer == "", "the stranger is asked, not the peer of the bid"


def test_an_announced_demand_that_the_awarded_provider_takes_is_asked_of_the_bidding_peer() -> None:
    awarding = requester.step(bidding(Mode.AWARD), chosen(Mode.AWARD), GRACE_S).job
    running = requester.step(awarding, ASSIGNED, GRACE_S).job
    assert isinstance(running, requester.Running)
    assert running.deal.peer == cast(requester.Awarding, awarding).deal.peer


def bidding(mode: Mode) -> requester.Job:
    job = requester.submit(submitted(mode)).job
    return requester.step(job, ANNOUNCED, GRACE_S).job if isinstance(job, requester.Announcing) else job


def test_a_job_that_may_be_cancelled_is_not_asked_for_again() -> None:
    """Whatever `why_not_cancel` allows has to lead to the job's end without another attempt."""
    for job in states(REQUESTER_ARROWS):
        if requester.why_not_cancel(job):
            continue
        asked = requester.step(job, CancelRequested(), GRACE_S).job
        # A deal that is bound after all is another matter: it stands.
        events = [event for event in REQUESTER_EVENTS if not isinstance(event, DealAssigned | DealCommitted)]
        later = walk([asked], events, step_requester)
        again = [arrow for arrow in later if isinstance(arrow.target, requester.Renewing | requester.Posted)]
        assert not again, f"cancelled as {type(job).__name__} and still {again[0].target}"


def test_a_late_cancel_of_ours_leaves_the_deal_standing() -> None:
    withdrawing = requester.step(bidding(Mode.AWARD), CancelRequested(), GRACE_S).job
    assert isinstance(withdrawing, requester.Withdrawing)
    assert isinstance(requester.step(withdrawing, ASSIGNED, GRACE_S).job, requester.Running)


def test_a_commit_in_the_last_second_beats_our_refund() -> None:
    running = requester.Running(order(), deal())
    expiring = requester.step(running, DeadlinePassed(NOW), GRACE_S).job
    assert isinstance(expiring, requester.Expiring)
    assert isinstance(requester.step(expiring, COMMITTED, GRACE_S).job, requester.Committed)


def order() -> requester.Order:
    return cast(requester.Bidding, requester.submit(submitted()).job).order


def deal() -> requester.Deal:
    return cast(requester.Awarding, requester.step(requester.submit(submitted()).job, chosen(), GRACE_S).job).deal


def test_the_announcement_is_what_is_bound() -> None:
    posted = requester.step(requester.submit(submitted(Mode.FIRST)).job, ANNOUNCED, GRACE_S)
    assert WakeAt(announcement(Mode.FIRST).assign_by) in posted.commands
    running = requester.step(posted.job, ASSIGNED, GRACE_S).job
    assert isinstance(running, requester.Running)
    assert running.deal.terms.salt == announcement(Mode.FIRST).salt


def test_a_provider_that_takes_work_first_prepares() -> None:
    for work in WORKS:
        assert isinstance(work, WorkTaken)
        assert SubmitAssign() not in provider.take(work).commands
