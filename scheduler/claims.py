"""When to claim what is due: at once, or a little later with others in one transaction.

A claim alone costs some 43,000 gas, one in a company of a hundred some 13,000: the transaction itself and the first
touch of both accounts are paid once. Waiting is bounded, since money that is not claimed is not there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from capanode.protocol.ids import DealId, Wei

MAX_TOGETHER: Final = 50
"""Claims in one transaction: well under a million gas, which any block has room for."""

ENOUGH: Final = 16
"""So many together pay within a sixth of what the largest company pays; more are not waited for."""

AT_ONCE_WEI: Final = Wei(100 * 10**18)
COMFORT_PRICE_WEI: Final = Wei(20 * 10**9)


@dataclass(frozen=True, slots=True)
class ClaimPolicy:
    """The operator's wishes; by default nothing waits, and what is due at the same time goes together."""

    max_wait_s: float = 0.0
    """Longest time that a claim waits for company or for cheaper gas."""

    at_once_wei: Wei = AT_ONCE_WEI
    """A claim of so much waits for nothing."""

    comfort_price_wei: Wei = COMFORT_PRICE_WEI
    """Above this price of a unit of gas even many together wait, as long as they may."""


@dataclass(frozen=True, slots=True)
class DueClaim:
    """A deal that can be claimed; `since_s` is on the same clock as `now_s` below."""

    deal_id: DealId
    amount_wei: Wei
    since_s: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is to be sent for so long, unless more claims come."""

    seconds: float


def choose(due: Sequence[DueClaim], now_s: float, gas_price_wei: Wei, policy: ClaimPolicy) -> tuple[DealId, ...] | Wait:
    """The claims to send now in one transaction, oldest first, or how long to wait; `due` is not empty."""
    oldest_first = sorted(due, key=lambda claim: claim.since_s)
    left_s = oldest_first[0].since_s + policy.max_wait_s - now_s
    is_enough = len(due) >= ENOUGH and gas_price_wei <= policy.comfort_price_wei
    is_large = any(claim.amount_wei >= policy.at_once_wei for claim in due)
    if left_s > 0 and not is_enough and not is_large:
        return Wait(left_s)
    # A large one goes in the first transaction, whatever its turn; the others are company.
    by_urgency = sorted(oldest_first, key=lambda claim: claim.amount_wei < policy.at_once_wei)
    return tuple(claim.deal_id for claim in by_urgency[:MAX_TOGETHER])
