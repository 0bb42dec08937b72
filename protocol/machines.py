"""All machines together: how each begins, what it steps by, and when it has ended."""

from dataclasses import dataclass

from capanode.protocol import arbiter, challenger, provider, requester, standing
from capanode.protocol.cases import CommitteeDrawn
from capanode.protocol.commands import Command
from capanode.protocol.events import (
    ArbiterEvent,
    ChallengerEvent,
    ChallengeWanted,
    JobSubmitted,
    ProviderEvent,
    RequesterEvent,
    SeatFound,
    WorkTaken,
)
from capanode.protocol.faults import InvariantViolated
from capanode.protocol.ids import Address
from capanode.protocol.standing import Event, Standing, State

Ended = provider.Ended | requester.Ended | challenger.Ended | arbiter.Ended
"""Phases that nothing leaves but a reorganisation."""


@dataclass(frozen=True, slots=True)
class Times:
    """The contracts' seconds that the machines reckon with: grace, and the court's time to reveal votes."""

    grace_s: int
    reveal_s: int = 0


def first(event: Event) -> Standing[State]:
    """The first moment of what begins with this event.

    Raises:
        InvariantViolated: nothing begins with it.
    """
    match event:
        case JobSubmitted():
            job = requester.submit(event)
            return standing.begin(job.job, job.commands)
        case WorkTaken():
            deal = provider.take(event)
            return standing.begin(deal.deal, deal.commands)
        case ChallengeWanted():
            challenge = challenger.begin(event)
            return standing.begin(challenge.state, challenge.commands)
        case SeatFound():
            duty = arbiter.begin(event)
            return standing.begin(duty.state, duty.commands)
        case _:
            raise InvariantViolated(f"nothing begins with {type(event).__name__}")


def step(state: State, event: Event, me: Address, times: Times) -> tuple[State, tuple[Command, ...]]:
    """What an event makes of a state of whichever side; `me` sends this node's transactions.

    Raises:
        InvariantViolated: the event is one of another side.
    """
    if isinstance(state, provider.Deal):
        if isinstance(event, ProviderEvent):
            deal = provider.step(state, event, me, times.grace_s)
            return deal.deal, deal.commands
    elif isinstance(state, requester.Job):
        if isinstance(event, RequesterEvent):
            job = requester.step(state, event, times.grace_s)
            return job.job, job.commands
    elif isinstance(state, challenger.State):
        if isinstance(event, ChallengerEvent):
            challenge = challenger.step(state, event)
            return challenge.state, challenge.commands
    elif isinstance(event, ArbiterEvent):
        duty = arbiter.step(state, event, times.reveal_s)
        return duty.state, duty.commands
    raise InvariantViolated(f"the event {type(event).__name__} does not belong to {type(state).__name__}")


def seat_key(event: CommitteeDrawn) -> str:
    """The key of the duty in one round of a case."""
    return f"seat-{event.case_id.hex()}-{event.round}"


def seat_found(event: CommitteeDrawn, wallet: Address) -> SeatFound:
    """The beginning of a duty."""
    return SeatFound(event.case_id, event.round, wallet, event.vote_by)
