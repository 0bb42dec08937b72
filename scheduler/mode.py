"""DIRECT or LOCK: whether a requester's earmark is enough for work to start before anything is locked on chain.

**Source**: docs/protocol.md; PROTOCOL, "Nobody works for nothing, nobody pays twice".
"""

from dataclasses import dataclass
from typing import Final

from capanode.protocol.ids import UnixTime, Wei
from capanode.protocol.records import Mode, Terms
from capanode.scheduler.refusal import Kind, Refusal

MAX_DIRECT_S: Final = 15 * 60
"""A DIRECT deal commits within this time of its award; an earmark thaws for longer than that."""


_NOTHING: Final = Wei(0)
_NEVER: Final = UnixTime(0)


@dataclass(frozen=True, slots=True)
class Earmark:
    """What a requester has set aside for one provider at confirmed depth, and the part that is leaving.

    `ready_at` is when the thawing part may be taken back, zero when none is.
    """

    amount_wei: Wei
    thawing_wei: Wei = _NOTHING
    ready_at: UnixTime = _NEVER


NO_EARMARK: Final = Earmark(Wei(0))


@dataclass(frozen=True, slots=True)
class Secured:
    """A provider may go on: `needs_lock` says that paid work starts only after a confirmed assignment."""

    needs_lock: bool


def choose_mode(
    earmark: Earmark,
    needed_wei: Wei,
    commit_by: UnixTime,
    now: UnixTime,
    *,
    outstanding_wei: Wei = _NOTHING,
    grace_s: int = 0,
) -> Mode:
    """DIRECT when the earmark covers price and deposit for long enough and the job is short, else LOCK.

    Args:
        needed_wei: P + V of this deal.
        outstanding_wei: P + V of other DIRECT awards to this provider that are not committed yet.
        grace_s: G of the market.
    """
    covered = available_wei(earmark, outstanding_wei, UnixTime(commit_by + grace_s)) >= needed_wei
    return Mode.DIRECT if covered and commit_by <= now + MAX_DIRECT_S else Mode.LOCK


def secured(
    terms: Terms,
    earmark: Earmark,
    outstanding_wei: Wei,
    now: UnixTime,
    *,
    grace_s: int,
    max_unsecured_wei: Wei = _NOTHING,
) -> Secured | Refusal:
    """Whether the provider that these terms name is sure of its money before it works.

    Args:
        outstanding_wei: P + V of this requester's DIRECT awards that this provider has taken and not committed.
        grace_s: G of the market.
        max_unsecured_wei: what the provider is ready to lose to this requester.
    """
    if terms.mode is not Mode.DIRECT:
        return Secured(needs_lock=True)
    if terms.commit_by > now + MAX_DIRECT_S:
        return Refusal(
            Kind.SECURITY,
            f"a DIRECT deal has to commit within {MAX_DIRECT_S} s, this one in {terms.commit_by - now} s",
            "award it as LOCK",
        )
    needed = terms.price_wei + terms.verification_wei
    available = available_wei(earmark, outstanding_wei, UnixTime(terms.commit_by + grace_s))
    if needed - available > max_unsecured_wei:
        return Refusal(
            Kind.SECURITY,
            f"the earmark covers {max(available, 0)} of the {needed} that the deal may cost",
            "earmark more for this provider, or award it as LOCK",
        )
    return Secured(needs_lock=False)


def available_wei(earmark: Earmark, outstanding_wei: Wei, until: UnixTime) -> int:
    """What no other award uses and no thaw can take away until then; negative when too much is promised."""
    leaving = earmark.thawing_wei if earmark.ready_at <= until else 0
    return earmark.amount_wei - leaving - outstanding_wei
