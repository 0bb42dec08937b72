"""The market in which strategies play: its rules, its prices of gas, and the deals that come up in it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from typing import Any, Final

from capanode.protocol.ids import Ppm, Wei
from capanode.protocol.tariff import PPM, TARIFF, Tariff
from capanode.protocol.verdict_money import Locked

TOKEN: Final = 10**18


@dataclass(frozen=True, slots=True)
class Gas:
    """Units of gas of each act, as `make bench NAME=gas` finds them, and the price of a unit in the payment token.

    A dispute's are what opens and settles it, and of all the rest a third for each seat of a committee of three. The
    price is that of a chain with 0.02 gwei where a coin costs 1,000 tokens, at which a dispute takes its allowance.
    """

    assign_and_commit: int = 71_031
    claim: int = 43_427
    assign: int = 65_995
    open_and_settle: int = 150_259
    seat: int = (736_361 - 150_259) // 3
    unit_wei: int = 2 * 10**10

    def cost_wei(self, units: int) -> int:
        return units * self.unit_wei

    @property
    def deal_wei(self) -> int:
        return self.cost_wei(self.assign_and_commit + self.claim)

    @property
    def unpaid_deal_wei(self) -> int:
        return self.cost_wei(self.assign_and_commit)

    @property
    def assign_wei(self) -> int:
        return self.cost_wei(self.assign)

    @property
    def challenge_wei(self) -> int:
        return self.cost_wei(self.open_and_settle)

    @property
    def seat_wei(self) -> int:
        return self.cost_wei(self.seat)


_RATE: Final = Ppm(200_000)


@dataclass(frozen=True, slots=True)
class World:
    """Every parameter that a strategy's payoff hangs on; the defaults are the protocol's and the node's.

    `stated_rate_ppm` sets the bond, `audited_ppm` is carried out. Of the cases that reach a committee the provider is
    right in `frivolous_ppm`; `wrong_ppm` of the results nobody looks at are wrong. Somebody owns `owned_ppm` of a
    class's stake. A dispute costs a provider `delay_ppm` of what is locked: a day at a third a year.

    The flags are rules without a number. Bids rank by the most that they may claim; answers, votes and replicas'
    results stay hidden until all are in; a provider fetches the inputs before it is bound; challenges run side by side;
    each deal locks its own bond; an arbiter's fee follows the price of a step. A slash never goes to the requester.
    """

    tariff: Tariff = TARIFF
    gas: Gas = Gas()
    stated_rate_ppm: Ppm = _RATE
    audited_ppm: int = 200_000
    frivolous_ppm: int = 500_000
    wrong_ppm: int = 1_000
    owned_ppm: int = 100_000
    delay_ppm: int = 1_000
    slash_to_requester_ppm: int = 0
    bids_rank_by_cap: bool = True
    answers_hidden: bool = True
    votes_hidden: bool = True
    replicas_hidden: bool = True
    inputs_come_first: bool = True
    challenges_side_by_side: bool = True
    bond_per_deal: bool = True
    fee_by_step: bool = True

    @property
    def audited(self) -> float:
        return self.audited_ppm / PPM


DEFAULT: Final = World()


@dataclass(frozen=True, eq=False)
class Job:
    """One deal: what its work costs, what its requester has from it, and what both sides lock."""

    cost_wei: int
    steps: int
    value_wei: int
    locked: Locked
    world: World

    @property
    def price_wei(self) -> int:
        return self.locked.price_wei

    @cached_property
    def step_wei(self) -> int:
        """What one step costs to execute."""
        return -(-self.cost_wei // self.steps)

    @cached_property
    def challenger_bond_wei(self) -> Wei:
        return self.world.tariff.challenger_bond_wei(self.locked.fee_wei)

    @cached_property
    def bounty_wei(self) -> int:
        return self.world.tariff.bounty_wei(self.locked.price_wei, self.locked.fraud_bond_wei)

    @cached_property
    def prize_wei(self) -> int:
        """What an overturned result pays to all challengers that are right: bounty and one allowance of gas."""
        tariff = self.world.tariff
        rest = tariff.spendable_wei(self.locked.fraud_bond_wei) - 3 * self.locked.fee_wei
        return max(0, min(rest, self.bounty_wei + tariff.gas_allowance_wei))

    @property
    def delay_wei(self) -> int:
        """What it costs a provider that price and bonds come later, by a dispute."""
        return self.locked.total_wei * self.world.delay_ppm // PPM

    @property
    def honest_provider_wei(self) -> int:
        return self.price_wei - self.cost_wei - self.world.gas.deal_wei

    @property
    def honest_requester_wei(self) -> int:
        return self.value_wei - self.price_wei

    @property
    def honest_arbiter_wei(self) -> int:
        return self.locked.fee_wei - self.step_wei - self.world.gas.seat_wei


LEAST_COST: Final = 4 * 10**15
MOST_COST: Final = 10**19
STEPS: Final = (1, 4, 16, 64, 256)
MARGIN_PPM: Final = 200_000
FLOOR_WEI: Final = 10**16
VALUE_PPM: Final = 1_500_000


def jobs(world: World, count: int, seed: int) -> Iterator[Job]:
    """So many deals, from a job of a few minutes to one of a day on several GPUs, priced as the node prices them."""
    dice = Random(seed)
    span = math.log(MOST_COST / LEAST_COST)
    for _ in range(count):
        cost = int(LEAST_COST * math.exp(span * dice.random()))
        yield job(world, cost, dice.choice(STEPS))


def job(world: World, cost_wei: int, steps: int) -> Job:
    """A deal about this work, at cost, margin and gas, or at the floor."""
    tariff = world.tariff
    price = Wei(max(FLOOR_WEI, cost_wei + cost_wei * MARGIN_PPM // PPM + world.gas.deal_wei))
    fee = tariff.arbiter_fee_up_wei(price, steps) if world.fee_by_step else tariff.judging_wei
    locked = Locked(
        price_wei=price,
        amount_wei=price,
        verification_wei=tariff.verification_deposit_wei(fee),
        fraud_bond_wei=tariff.fraud_bond_up_wei(price, world.stated_rate_ppm, fee),
        deadline_bond_wei=tariff.deadline_bond_wei(price),
        fee_wei=fee,
    )
    return Job(cost_wei, steps, price * VALUE_PPM // PPM, locked, world)


def weakened(world: World, **changes: Any) -> World:
    """The same world with another tariff."""
    return replace(world, tariff=replace(world.tariff, **changes))
