"""The phases of a deal on chain and every transition between them, as data.

Everything that knows about phases is made from or compared with this table: the Solidity enum, ARCHITECTURE.md,
the glossary, and the exhaustive tests. It does not know which side of a deal we are on.

**Source**: `IDealMarket.Phase`; docs/protocol.md §6.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class Phase(IntEnum):
    """Where a deal stands on chain; the number is the tag in its slot."""

    NONE = 0
    ANNOUNCED = 1
    ASSIGNED = 2
    COMMITTED = 3
    CHALLENGED = 4
    FINALIZED = 5
    REFUNDED = 6
    CANCELLED = 7
    OVERTURNED = 8
    VOID = 9
    SPLIT = 10


@dataclass(frozen=True, slots=True)
class Transition:
    """One row of the table: who may do what, when, and where it leads. `t` is the block's timestamp."""

    source: Phase
    action: str
    who: str
    when: str
    target: Phase


TRANSITIONS: Final[tuple[Transition, ...]] = (
    Transition(Phase.NONE, "announce", "requester", "any", Phase.ANNOUNCED),
    Transition(Phase.NONE, "assign", "provider", "t <= assign_by", Phase.ASSIGNED),
    Transition(Phase.NONE, "assignAndCommit", "provider", "t <= commit_by + G", Phase.COMMITTED),
    Transition(Phase.ANNOUNCED, "assignAnnounced", "awarded provider", "t <= assign_by", Phase.ASSIGNED),
    Transition(Phase.ANNOUNCED, "assignFirst", "first eligible provider", "t <= assign_by", Phase.ASSIGNED),
    Transition(Phase.ANNOUNCED, "cancel", "requester, anyone once t > assign_by", "any", Phase.CANCELLED),
    Transition(Phase.ASSIGNED, "commit", "provider", "t <= commit_by + G", Phase.COMMITTED),
    Transition(Phase.ASSIGNED, "abandon", "provider", "t <= commit_by + G", Phase.REFUNDED),
    Transition(Phase.ASSIGNED, "expire", "anyone", "t > commit_by + G", Phase.REFUNDED),
    Transition(Phase.ASSIGNED, "cancelMutual", "both signatures", "t <= commit_by + G", Phase.CANCELLED),
    Transition(Phase.COMMITTED, "accept", "requester's signature", "any", Phase.FINALIZED),
    Transition(Phase.COMMITTED, "challenge", "anyone (sealed: requester)", "t <= window_end", Phase.CHALLENGED),
    Transition(Phase.COMMITTED, "claim", "anyone", "t > window_end", Phase.FINALIZED),
    Transition(Phase.CHALLENGED, "challenge", "anyone (sealed: requester)", "t <= window_end", Phase.CHALLENGED),
    Transition(Phase.CHALLENGED, "appeal", "either side", "appeal period", Phase.CHALLENGED),
    Transition(Phase.CHALLENGED, "uphold", "anyone", "appeals over, none open", Phase.COMMITTED),
    Transition(Phase.CHALLENGED, "overturn", "anyone", "appeals or clock over", Phase.OVERTURNED),
    Transition(Phase.CHALLENGED, "voidDeal", "anyone", "appeals over, not reproducible", Phase.VOID),
    Transition(Phase.CHALLENGED, "split", "anyone", "no quorum, or over 30 d", Phase.SPLIT),
)
"""Any call that is not a row here reverts."""

TERMINAL: Final = frozenset(
    {Phase.FINALIZED, Phase.REFUNDED, Phase.CANCELLED, Phase.OVERTURNED, Phase.VOID, Phase.SPLIT}
)
"""Phases that nothing leaves: the money has moved."""
