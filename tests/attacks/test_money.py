"""Attacks 27, 36, 37 and 41: what they bring, at the protocol's own shares and at any price."""

from hypothesis import given
from hypothesis import strategies as st

from bench.economy.play import STRATEGIES
from bench.economy.world import DEFAULT, LEAST_COST, MOST_COST, Job, job
from capanode.protocol import verdict_money as ends
from capanode.protocol.verdict_money import Answer, Challenge, Dispute, Vote

DEALS = st.builds(job, st.just(DEFAULT), st.integers(LEAST_COST, MOST_COST), st.integers(1, 1024))
EXPECTED_GAIN = {strategy.name: strategy.expected_gain for strategy in STRATEGIES}


@given(DEALS)
def test_attack_27_lazy_arbiter_loses_while_half_of_the_cases_are_serious(deal: Job) -> None:
    assert EXPECTED_GAIN["lazy_arbiter"](deal) < 0


@given(DEALS, st.integers(1, 8), st.lists(st.sampled_from(Vote), max_size=25))
def test_attack_36_irreproducible_job_costs_more_than_an_honest_one(deal: Job, friends: int, votes: list[Vote]) -> None:
    """And its provider keeps its bonds and is paid half."""
    challenges = (Challenge(deal.challenger_bond_wei, Answer.OPEN),) * friends
    void = ends.voided(deal.locked, Dispute(challenges, tuple(votes)))
    honest = ends.finalized(deal.locked)
    assert void.requester_wei <= honest.requester_wei
    assert void.challengers_wei == (deal.challenger_bond_wei,) * friends
    assert void.provider_wei == honest.provider_wei - (deal.locked.amount_wei - deal.locked.amount_wei // 2)


@given(DEALS, st.integers(1, 8))
def test_attack_37_dispute_with_oneself_loses_two_fifths_of_the_bond(deal: Job, names: int) -> None:
    """Even where provider, requester, challengers and all arbiters are one."""
    challenges = (Challenge(deal.challenger_bond_wei, Answer.RIGHT),) * names
    dispute = Dispute(challenges, (Vote.AGREES,) * 3)
    burned = ends.overturned(deal.locked, dispute).burned_wei
    assert 5 * burned >= 2 * deal.locked.fraud_bond_wei


@given(DEALS)
def test_attack_41_nothing_that_is_known_beats_honesty(deal: Job) -> None:
    assert [name for name, gain in EXPECTED_GAIN.items() if gain(deal) > 100] == []
