"""Dishonesty does not pay at the default parameters, and would be seen if it did."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.economy.play import STRATEGIES, Result, honest_losers, play, profitable
from bench.economy.strategy import Strategy
from bench.economy.world import DEFAULT, LEAST_COST, MOST_COST, World, job, weakened
from bench.gas import BARS
from capanode.protocol.ids import Ppm, Wei

SEED = 4
KINDS = 300
EVENTFUL = replace(DEFAULT, wrong_ppm=300_000, owned_ppm=300_000)
"""A world in which a few thousand deals see what is rare in the default one."""
FREE_TO_CHALLENGE = {"challenger_fees": 0, "gas_allowance_wei": 0}


def test_no_dishonest_strategy_pays_at_the_default_parameters() -> None:
    assert profitable(DEFAULT, 2_000, SEED) == ()


def test_nobody_honest_loses_in_a_dispute_at_the_default_parameters() -> None:
    assert honest_losers(DEFAULT, 2_000, SEED) == ()


@given(st.integers(LEAST_COST, MOST_COST), st.integers(1, 1024))
def test_no_deal_of_any_size_makes_a_dishonest_strategy_pay(cost: int, steps: int) -> None:
    deal = job(DEFAULT, cost, steps)
    assert [strategy.name for strategy in STRATEGIES if strategy.expected_gain(deal) > 100] == []


@pytest.fixture(scope="module")
def results() -> tuple[Result, ...]:
    return tuple(play(EVENTFUL, STRATEGIES, KINDS, 20, SEED))


@pytest.mark.parametrize("number", range(len(STRATEGIES)), ids=[strategy.name for strategy in STRATEGIES])
def test_the_dice_agree_with_the_formula(results: tuple[Result, ...], number: int) -> None:
    """Within 2.5 times the interval of 95 %: by chance a seed in a million is outside."""
    result = results[number]
    print("seed", SEED)
    assert abs(result.played - result.expected) <= 2.5 * result.ci95 + 1e-6


def test_names_are_those_of_different_strategies() -> None:
    names = [strategy.name for strategy in STRATEGIES]
    assert len(set(names)) == len(names)


WEAKER: dict[str, tuple[World, str]] = {
    "nobody audits": (replace(DEFAULT, audited_ppm=0), "cheating"),
    "half as many audits as stated": (replace(DEFAULT, audited_ppm=100_000), "cheating_without_a_machine"),
    "a fraud bond of half the size": (weakened(DEFAULT, fraud_ppm=625_000), "cheating_without_a_machine"),
    "a fraud bond without margin": (weakened(DEFAULT, fraud_ppm=1_000_000), "cheating_with_puppets"),
    "a bounty of three prices": (weakened(DEFAULT, bounty_of_price_ppm=3_000_000), "cheating_with_puppets"),
    "no penalty for a wrong vote": (weakened(DEFAULT, penalty_fees=0), "lazy_arbiter"),
    "the unpaid half of a void deal goes back": (weakened(DEFAULT, void_burned_ppm=0), "poisoned_job"),
    "a void deal is not paid": (
        weakened(weakened(DEFAULT, void_burned_ppm=0), void_paid_ppm=0, verification_fees=0),
        "poisoned_job",
    ),
    "nine in ten challenges are frivolous": (replace(DEFAULT, frivolous_ppm=900_000), "lazy_arbiter"),
    "half of a class in one hand": (replace(DEFAULT, owned_ppm=500_000), "colluding_arbiters"),
    "bids rank by their estimate": (replace(DEFAULT, bids_rank_by_cap=False), "over_metering"),
    "answers are visible": (replace(DEFAULT, answers_hidden=False), "result_copying_challenger"),
    "votes are visible": (replace(DEFAULT, votes_hidden=False), "vote_copying"),
    "replicas are visible": (replace(DEFAULT, replicas_hidden=False), "result_copying_replica"),
    "one challenge at a time": (replace(DEFAULT, challenges_side_by_side=False), "sacrificial_challenge"),
    "one bond behind all deals": (replace(DEFAULT, bond_per_deal=False), "stake_reuse"),
    "one fee for steps of every size": (replace(DEFAULT, fee_by_step=False), "lazy_arbiter"),
    "slashes go to the requester, who need not show its inputs": (
        replace(DEFAULT, inputs_come_first=False, slash_to_requester_ppm=500_000),
        "withheld_input",
    ),
    "a challenge is free": (weakened(DEFAULT, **FREE_TO_CHALLENGE), "griefing"),
}


@pytest.mark.parametrize("what", WEAKER)
def test_the_check_sees_what_a_weaker_parameter_makes_profitable(what: str) -> None:
    world, strategy = WEAKER[what]
    assert strategy in profitable(world, KINDS, SEED)


@pytest.mark.parametrize("what", ["nobody audits", "one bond behind all deals", "half of a class in one hand"])
def test_so_do_the_dice(what: str) -> None:
    world, name = WEAKER[what]
    chosen: list[Strategy] = [strategy for strategy in STRATEGIES if strategy.name == name]
    (result,) = play(world, chosen, 2_000, 20, SEED)
    print("seed", SEED)
    assert result.played - result.ci95 > result.honest


LOSERS: dict[str, tuple[dict[str, Any], str]] = {
    "no challenger's bond": (FREE_TO_CHALLENGE, "arbiter of an upheld result"),
    "no verification deposit": ({"verification_fees": 0}, "arbiter of an irreproducible result"),
    "no fee for the vote itself": ({"judging_wei": 0}, "arbiter of an upheld result"),
    "no floor below the fraud bond": ({"floor_times": 0}, "arbiter of an overturned result"),
    "all of a lost bond burns": ({"least_burned_ppm": 1_000_000}, "challenger that is right"),
}


@pytest.mark.parametrize("what", LOSERS)
def test_the_check_sees_who_honest_pays_for_a_weaker_parameter(what: str) -> None:
    changes, loser = LOSERS[what]
    assert loser in honest_losers(weakened(DEFAULT, **changes), KINDS, SEED)


def test_one_fee_for_steps_of_every_size_costs_an_honest_arbiter_money() -> None:
    assert "arbiter of an upheld result" in honest_losers(replace(DEFAULT, fee_by_step=False), KINDS, SEED)


def test_the_gas_of_the_simulation_is_within_the_bars() -> None:
    gas = DEFAULT.gas
    assert gas.assign_and_commit + gas.claim <= BARS["direct_deal_total"]
    assert gas.open_and_settle + 3 * gas.seat <= BARS["dispute_committee3_total"]


def at_gas(unit_wei: int) -> World:
    return replace(DEFAULT, gas=replace(DEFAULT.gas, unit_wei=unit_wei))


@pytest.mark.parametrize("unit_wei", [10**10, 2 * 10**10, 3 * 10**10])
def test_allowance_and_fee_hold_from_half_to_one_and_a_half_of_the_price_of_gas(unit_wei: int) -> None:
    world = at_gas(unit_wei)
    assert profitable(world, 1_000, SEED) == ()
    assert honest_losers(world, 1_000, SEED) == ()


def test_an_allowance_far_above_the_gas_is_a_gift_to_puppets() -> None:
    assert "cheating_with_puppets" in profitable(at_gas(10**9), KINDS, SEED)


def test_a_fee_below_the_gas_makes_a_vote_a_loss() -> None:
    assert "arbiter of an upheld result" in honest_losers(at_gas(10**11), KINDS, SEED)


@pytest.mark.parametrize(("rate", "pays"), [(50_000, False), (200_000, False), (250_000, True), (500_000, True)])
def test_a_margin_of_a_quarter_is_enough_up_to_the_default_rate_only(rate: int, pays: bool) -> None:
    """Above it a caught cheater's puppets bring a quarter of the bond back, and three quarters of 1.25 are below 1."""
    one_margin = weakened(DEFAULT, fraud_above_ppm=DEFAULT.tariff.fraud_ppm)
    world = replace(one_margin, stated_rate_ppm=Ppm(rate), audited_ppm=rate)
    assert ("cheating_with_puppets" in profitable(world, KINDS, SEED)) is pays


@pytest.mark.parametrize("rate", [50_000, 200_000, 200_001, 250_000, 500_000, 900_000, 1_000_000])
def test_no_rate_that_the_rules_allow_makes_a_dishonest_strategy_pay(rate: int) -> None:
    """Griefing wins nothing at any rate; at low ones, where more is locked, the delay costs more than the challenge."""
    world = replace(DEFAULT, stated_rate_ppm=Ppm(rate), audited_ppm=rate)
    assert set(profitable(world, KINDS, SEED)) <= {"griefing"}


@given(st.integers(1, 10**24), st.integers(1, 1_000_000))
def test_what_a_caught_cheater_really_loses_deters_at_every_rate(price: int, rate: int) -> None:
    """Bf − B is at least P · (1 − p) / p: whatever share of the bounty comes back to its puppets."""
    tariff = DEFAULT.tariff
    bond = tariff.fraud_bond_up_wei(Wei(price), Ppm(rate), Wei(0))
    assert (bond - tariff.bounty_wei(Wei(price), bond)) * rate >= price * (1_000_000 - rate)
