"""What a case waits for that anybody may do: the acts by which a dispute comes to its end without anyone's goodwill.

By the case's logs and the chain's head alone. An act that is due here may still be refused, as when somebody else was
faster; one that is not due here is not possible.

**Source**: docs/protocol.md §12; `IDisputeCourt`: `draw`, `retarget`, `resolve`, `settle`, `payCommittee`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from capanode.protocol.cases import HASHED_BLOCKS, Case, CasePhase
from capanode.protocol.ids import UnixTime, Wei


class Act(StrEnum):
    """A call of the court that takes no role."""

    DRAW = "draw"
    RETARGET = "retarget"
    RESOLVE = "resolve"
    SETTLE = "settle"
    PAY = "pay"


@dataclass(frozen=True, slots=True)
class CourtClocks:
    """The court's constants: blocks, seconds, arbiters, and amounts. Source: `CourtClocks` in `Case.sol`."""

    join_blocks: int
    reveal_blocks: int
    vote_s: int
    reveal_s: int
    appeal_s: int
    answer_s: int
    max_dispute_s: int
    min_age_s: int
    leave_s: int
    min_arbiters: int
    min_stake_wei: Wei
    gas_allowance_wei: Wei


@dataclass(frozen=True, slots=True)
class Moment:
    """How far the chain is: its newest block, and the time that a block made now would carry."""

    block: int
    at: UnixTime


@dataclass(frozen=True, slots=True)
class Due:
    """An act, and for a payment the round that it is about."""

    act: Act
    round: int = 0


def due(case: Case, clocks: CourtClocks, now: Moment, *, is_over: bool = False) -> tuple[Due, ...]:
    """The acts that anybody may do now, in their order.

    `is_over` says that the deal has ended by another case, or that its dispute has lasted too long: then the case may
    be settled from wherever it stands.
    """
    if case.awaits_lot:
        return _of_lot(case, now, is_over)
    if is_over and not case.is_closed:
        return (Due(Act.SETTLE),)
    match case.phase:
        case CasePhase.OPEN:
            return _of_open(case, clocks, now)
        case CasePhase.DRAWING:
            return _by_seed(case, now)
        case CasePhase.VOTING | CasePhase.REVEALING:
            committee = case.committee
            over = committee is not None and (
                committee.has_all_revealed or now.at > committee.vote_by + clocks.reveal_s
            )
            return (Due(Act.RESOLVE),) if over else ()
        case CasePhase.DECIDED:
            return (Due(Act.SETTLE),) if now.at > case.appeal_by else ()
        case CasePhase.ASKED | CasePhase.ANSWERED:
            question = case.question
            return (Due(Act.SETTLE),) if question is not None and now.at > question.deadline else ()
        case CasePhase.CLOSED:
            return tuple(Due(Act.PAY, one.number) for one in case.committees if not one.is_paid)
        case CasePhase.NONE:
            return ()
        case _:
            assert_never(case.phase)


def _of_open(case: Case, clocks: CourtClocks, now: Moment) -> tuple[Due, ...]:
    """The last who shows its answer draws; where somebody has shown none, its time has to be over."""
    shown = [one.has_shown for one in case.challengers]
    if now.block <= case.seed_block or (now.block <= case.seed_block + clocks.reveal_blocks and not all(shown)):
        return ()
    return _by_seed(case, now) if any(shown) else (Due(Act.SETTLE),)


def _of_lot(case: Case, now: Moment, is_over: bool) -> tuple[Due, ...]:
    """An audit that is missed is never drawn again, and no lot falls on a deal that has ended."""
    if now.block >= case.seed_block + HASHED_BLOCKS:
        return (Due(Act.SETTLE),)
    return (Due(Act.DRAW),) if now.block > case.seed_block and not is_over else ()


def _by_seed(case: Case, now: Moment) -> tuple[Due, ...]:
    if now.block <= case.seed_block:
        return ()
    return (Due(Act.DRAW if now.block < case.seed_block + HASHED_BLOCKS else Act.RETARGET),)
