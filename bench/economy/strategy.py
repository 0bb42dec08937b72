"""A dishonest strategy: how it plays one deal, what it should come to on average, and what its players could have had.

`play` throws dice and lets the protocol's own functions move the money. `expected` is a formula, written without them;
each checks the other. Amounts are what the whole coalition has more at the end, in base units.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Final

from bench.economy.world import Job
from capanode.protocol import verdict_money
from capanode.protocol.tariff import PPM
from capanode.protocol.verdict_money import Answer, Challenge, Dispute, Vote

COMMITTEE: Final = (Vote.AGREES,) * 3
_RECENT: Final = 256
"""Answers kept: the deals of one job are played together."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """`honest` is what the same players have on average by the best honest thing that they can do in the same deal."""

    name: str
    players: str
    play: Callable[[Job, Random], int]
    expected: Callable[[Job], float]
    honest: Callable[[Job], float]

    def expected_gain(self, job: Job) -> float:
        """What it brings on average over honesty."""
        return self.expected(job) - self.honest(job)


def stay_out(job: Job) -> float:
    """What has who cannot do the work, or has nothing to do with the deal."""
    return 0.0


def always(payoff: Callable[[Job], int]) -> Callable[[Job, Random], int]:
    """A strategy that needs no luck."""
    known = lru_cache(_RECENT)(payoff)
    return lambda job, dice: known(job)


def happens(ppm: int, dice: Random) -> bool:
    return dice.randrange(PPM) < ppm


@lru_cache(_RECENT)
def convicted(job: Job, others: int = 1) -> int:
    """What a provider has less when somebody else proves its result wrong."""
    bond = job.challenger_bond_wei
    dispute = Dispute((Challenge(bond, Answer.RIGHT),) * others, COMMITTEE)
    payouts = verdict_money.overturned(job.locked, dispute, job.world.tariff)
    return payouts.provider_wei - job.locked.fraud_bond_wei - job.locked.deadline_bond_wei


@lru_cache(_RECENT)
def right_among(job: Job, rivals: int) -> int:
    """What one challenger that is right has more, before its gas, beside so many others that are."""
    return verdict_money.prize_wei(job.locked, rivals=rivals, tariff=job.world.tariff)


@lru_cache(_RECENT)
def wrong_about_a_wrong_result(job: Job) -> int:
    """What a challenger with another answer than the committee's has more: less than nothing."""
    bond = job.challenger_bond_wei
    dispute = Dispute((Challenge(bond, Answer.RIGHT), Challenge(bond, Answer.WRONG)), COMMITTEE)
    return verdict_money.overturned(job.locked, dispute, job.world.tariff).challengers_wei[1] - bond


@lru_cache(_RECENT)
def wrong_about_a_right_result(job: Job, further_steps: int = 0) -> int:
    """What the challenger of a right result has more: less than nothing."""
    bond = job.world.tariff.challenger_bond_wei(job.locked.fee_wei, further_steps)
    dispute = Dispute((Challenge(bond, Answer.WRONG),), COMMITTEE)
    payouts = verdict_money.upheld(job.locked.fee_wei, dispute, job.world.tariff)
    return payouts.challengers_wei[0] - bond
