"""What money does not prevent, in figures; docs/economics.md says what narrows it.

A job that gives other bytes on its provider's machine than on all others: the committee agrees with itself against an
honest provider, and the requester has its price back, the bounty by a challenger of its own, and the result as well.

An audit that the requester pays for by lot: nearly all results are right, so an arbiter that upholds each of them
unseen is paid like one that looks.
"""

from bench.economy.strategy import right_among
from bench.economy.world import TOKEN, World, jobs


def targeted_poison_tokens(world: World, kinds: int, seed: int) -> float:
    """What such a requester has more than an honest one, per deal in which the job tells the machines apart."""
    total = 0
    for job in jobs(world, kinds, seed):
        total += job.price_wei + right_among(job, 0) - world.gas.challenge_wei
    return total / kinds / TOKEN


def wrong_share_that_wakes(world: World, kinds: int, seed: int) -> float:
    """The share of audited results that must be wrong, or planted so, for looking to pay in each deal.

    Unseen it earns F in the others and loses the penalty in these; looking earns F in all and costs a step.
    """
    return max(
        job.step_wei / (job.locked.fee_wei + world.tariff.penalty_wei(job.locked.fee_wei))
        for job in jobs(world, kinds, seed)
    )
