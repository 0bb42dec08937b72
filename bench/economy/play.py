"""All strategies over the same deals: what each brings, beside what honesty would have brought."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from bench.economy import others, providers
from bench.economy.strategy import Strategy, right_among
from bench.economy.world import TOKEN, Job, World, jobs

STRATEGIES: Final = (*providers.STRATEGIES, *others.STRATEGIES)
ROUNDING_WEI: Final = 100
"""Roundings down of a dozen shares come to less than this."""


@dataclass(frozen=True, slots=True)
class Result:
    """Means over all deals, in tokens; `ci95` is half the width of the interval of the played mean.

    `best_gain` is the expected gain over honesty in the deal that suits the strategy best, as a share of its price: who
    cheats chooses its deals.
    """

    strategy: Strategy
    deals: int
    played: float
    ci95: float
    expected: float
    honest: float
    best_gain: float

    @property
    def is_profitable(self) -> bool:
        """It pays in some deal by the formulas, or on average by what was played."""
        return self.best_gain > 0 or self.played - self.ci95 > self.honest


def play(world: World, strategies: Sequence[Strategy], kinds: int, repeats: int, seed: int) -> Iterator[Result]:
    """Each strategy plays each of so many kinds of job so many times; the interval is that of the dice alone."""
    market = tuple(jobs(world, kinds, seed))
    for strategy in strategies:
        yield _play(strategy, market, repeats, Random(f"{seed} {strategy.name}"))


def _play(strategy: Strategy, market: Sequence[Job], repeats: int, dice: Random) -> Result:
    total = squares = expected = honest = 0.0
    best = -math.inf
    for job in market:
        payoffs = [strategy.play(job, dice) / TOKEN for _ in range(repeats)]
        mean = math.fsum(payoffs) / repeats
        total += mean
        squares += math.fsum((payoff - mean) ** 2 for payoff in payoffs) / (repeats - 1)
        expected += strategy.expected(job) / TOKEN
        honest += strategy.honest(job) / TOKEN
        best = max(best, (strategy.expected_gain(job) - ROUNDING_WEI) / job.price_wei)
    count = len(market)
    ci95 = 1.96 * math.sqrt(squares / repeats) / count
    return Result(strategy, count * repeats, total / count, ci95, expected / count, honest / count, best)


def profitable(world: World, kinds: int, seed: int) -> tuple[str, ...]:
    """The strategies that pay in some deal, by the formulas alone."""
    market = tuple(jobs(world, kinds, seed))
    return tuple(
        strategy.name for strategy in STRATEGIES if any(strategy.expected_gain(job) > ROUNDING_WEI for job in market)
    )


def honest_losers(world: World, kinds: int, seed: int) -> tuple[str, ...]:
    """The honest parts in a dispute that end below where they began, in some deal."""
    found: set[str] = set()
    for job in jobs(world, kinds, seed):
        found |= {name for name, payoff in _honest_parts(job) if payoff < 0}
    return tuple(sorted(found))


def _honest_parts(job: Job) -> Iterator[tuple[str, float]]:
    tariff, locked, gas = job.world.tariff, job.locked, job.world.gas
    cost = job.step_wei + gas.seat_wei
    seats = 3
    yield "arbiter of an upheld result", min(locked.fee_wei, job.challenger_bond_wei // seats) - cost
    spendable = tariff.spendable_wei(locked.fraud_bond_wei)
    yield "arbiter of an overturned result", min(locked.fee_wei, spendable // seats) - cost
    yield "arbiter of an irreproducible result", locked.verification_wei // seats - cost
    yield "challenger that is right", right_among(job, 0) - gas.challenge_wei - job.step_wei
    yield "provider that is paid", job.honest_provider_wei
