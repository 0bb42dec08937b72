"""Where a deal stands: the fold of all that happened to it, and the commands in force there.

This is the one place that says which events count. A command's name binds it to the state that asked for it, so an
answer counts where, and only where, the very same question is being asked: the fold may be taken again without an
event that the chain took back, or with another one in its place, and no phase has to know. A `Question` is bound to
nothing but itself: its answer was acted on, and holds when the chain comes to the same by other blocks.

What the chain has said stays true. Where it is ahead of the deal, as after the restore of an old journal, its word
waits until the deal has come so far.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from capanode.protocol import arbiter, challenger, encoding, provider, requester
from capanode.protocol.commands import Command, Question
from capanode.protocol.events import (
    ArbiterEvent,
    ChainEvent,
    ChallengerEvent,
    ProviderEvent,
    RequesterEvent,
    subject_of,
)
from capanode.protocol.ids import CaseId, DealId

State = provider.Deal | requester.Job | challenger.State | arbiter.State
Event = ProviderEvent | RequesterEvent | ChallengerEvent | ArbiterEvent
S = TypeVar("S", bound=State)
E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class Past(Generic[E]):
    """Something that happened. `answers` names the command that it answers, None for what came by itself."""

    event: E
    answers: str | None


@dataclass(frozen=True, slots=True)
class Standing(Generic[S]):
    """A state; by their names the commands that are in force in it; what the chain said that does not fit it yet."""

    state: S
    in_force: Mapping[str, Command]
    waiting: tuple[ChainEvent, ...] = ()


Step = Callable[[S, E], tuple[S, tuple[Command, ...]]]
"""One side's `step`, with what it needs besides state and event."""


def begin(state: S, commands: Sequence[Command]) -> Standing[S]:
    """A deal at its first moment."""
    return Standing(state, _named(state, commands))


def advance(standing: Standing[S], past: Past[E], step: Step[S, E]) -> Standing[S]:
    """What an event makes of a deal; the same standing when it does not count."""
    if not counts(standing, past):
        return standing
    after = _stepped(standing, past, step)
    if isinstance(past.event, ChainEvent) and after.state == standing.state:
        return replace(after, waiting=(*standing.waiting, past.event))
    while type(after.state) is not type(standing.state) and after.waiting:
        standing, after = after, _caught_up(after, step)
    return after


def _stepped(standing: Standing[S], past: Past[E], step: Step[S, E]) -> Standing[S]:
    state, commands = step(standing.state, past.event)
    if type(state) is not type(standing.state):
        return Standing(state, _named(state, commands), standing.waiting)
    if not commands and past.answers is None:
        return replace(standing, state=state)
    kept = {name: command for name, command in standing.in_force.items() if name != past.answers}
    return Standing(state, kept | _named(state, commands), standing.waiting)


def _caught_up(standing: Standing[S], step: Step[S, E]) -> Standing[S]:
    """The first of what waited that fits now takes effect."""
    for event in standing.waiting:
        past: Past[Any] = Past(event, None)
        after = _stepped(standing, past, step) if counts(standing, past) else standing
        if after.state != standing.state:
            return replace(after, waiting=tuple(one for one in standing.waiting if one is not event))
    return standing


def counts(standing: Standing[S], past: Past[E]) -> bool:
    """Whether an event is about what the deal is at: its id on chain, a command that is in force."""
    if isinstance(past.event, ChainEvent):
        return subject_of(past.event) in subjects_of(standing.state)
    return past.answers is None or past.answers in standing.in_force


def replay(first: Standing[S], later: Sequence[Past[E]], step: Step[S, E]) -> Standing[S]:
    """The fold from a deal's first moment."""
    standing = first
    for past in later:
        standing = advance(standing, past, step)
    return standing


def is_same_kind(one: Past[Event], other: Past[Event]) -> bool:
    """Whether one may stand where the other stood before the chain took that back: it says the same of the same."""
    if type(one.event) is not type(other.event):
        return False
    if isinstance(one.event, ChainEvent) and isinstance(other.event, ChainEvent):
        return subject_of(one.event) == subject_of(other.event)
    return one.answers == other.answers


def deal_id_of(state: State) -> DealId | None:
    """The deal that a state is about, once it has an id; None for an arbiter, whose duty is about a case."""
    if isinstance(state, requester.Job):
        return requester.deal_id_of(state)
    if isinstance(state, provider.Deal):
        return state.work.deal_id
    return challenger.deal_id(state) if isinstance(state, challenger.State) else None


def subjects_of(state: State) -> frozenset[DealId | CaseId]:
    """What the chain may say something about that matters to a state: its deal, its case."""
    found: tuple[DealId | CaseId | None, ...]
    if isinstance(state, arbiter.State):
        found = (state.call.case_id,)
    elif isinstance(state, challenger.State):
        found = (challenger.deal_id(state), *challenger.case_ids(state))
    else:
        found = (deal_id_of(state),)
    return frozenset(subject for subject in found if subject is not None)


def _named(state: State, commands: Sequence[Command]) -> dict[str, Command]:
    if not commands:
        return {}
    asked_in = hashlib.sha256(encoding.encode(state)).digest()
    return {_name(state, asked_in, command): command for command in commands}


def _name(state: State, asked_in: bytes, command: Command) -> str:
    bound_to = b"" if isinstance(command, Question) else asked_in
    content = hashlib.sha256(bound_to + encoding.encode(command)).hexdigest()[:16]
    return f"{state.RECORD[0]}/{command.RECORD[0]}/{content}"
