"""What money cannot prevent: a job that gives other bytes on its provider's machine than on all others.

The committee then agrees with itself against an honest provider. The requester has its price back, the bounty by a
challenger of its own, and the result as well. No share of a bond changes the sign of that; docs/economics.md says what
narrows it.
"""

from bench.economy.strategy import right_among
from bench.economy.world import TOKEN, World, jobs


def targeted_poison_tokens(world: World, kinds: int, seed: int) -> float:
    """What such a requester has more than an honest one, per deal in which the job tells the machines apart."""
    total = 0
    for job in jobs(world, kinds, seed):
        total += job.price_wei + right_among(job, 0) - world.gas.challenge_wei
    return total / kinds / TOKEN
