"""No mixture of what a coalition can do pays: searched over deals and plans."""

from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.economy.coalition import Plan, expected_wei
from bench.economy.world import DEFAULT, LEAST_COST, MOST_COST, Job, job, weakened
from capanode.protocol.ids import Ppm

DEALS = st.builds(job, st.just(DEFAULT), st.integers(LEAST_COST, MOST_COST), st.integers(1, 1024))
PLANS = st.builds(
    Plan,
    skipped=st.integers(1, 1024),
    puppets=st.integers(0, 64),
    sacrifices=st.integers(0, 4),
    owned_ppm=st.sampled_from([0, 10_000, 50_000, 100_000]),
)
LARGEST = job(DEFAULT, MOST_COST, 256)


def fitted(deal: Job, plan: Plan) -> Plan:
    """The plan, with no more skipped than there is; what is challenged in vain must be right."""
    skipped = min(plan.skipped, deal.steps)
    return replace(plan, skipped=skipped, sacrifices=min(plan.sacrifices, deal.steps - skipped))


@settings(max_examples=200)
@given(DEALS, PLANS)
@example(LARGEST, Plan(256, 64, 0, 100_000))
@example(LARGEST, Plan(256, 7, 0, 0))
def test_no_coalition_earns_without_the_whole_work(deal: Job, plan: Plan) -> None:
    """Who invents everything needs no machine, so it must lose; who invents a part could have done it all."""
    plan = fitted(deal, plan)
    without_a_machine = plan.skipped == deal.steps
    alternative = 0 if without_a_machine else deal.honest_provider_wei
    assert expected_wei(deal, plan) < alternative


@settings(max_examples=100)
@given(DEALS, st.integers(1, 1024))
def test_each_step_less_costs_more_than_it_saves(deal: Job, skipped: int) -> None:
    here = fitted(deal, Plan(skipped, 0, 0, 0))
    if here.skipped < deal.steps:
        assert expected_wei(deal, replace(here, skipped=here.skipped + 1)) < expected_wei(deal, here)


def test_the_search_would_find_puppets_behind_too_small_a_bond() -> None:
    one_factor = weakened(DEFAULT, fraud_above_ppm=DEFAULT.tariff.fraud_ppm)
    weaker = replace(one_factor, stated_rate_ppm=Ppm(500_000), audited_ppm=500_000)
    assert expected_wei(job(weaker, MOST_COST, 256), Plan(256, 16, 0, 0)) > 0


def test_the_search_would_find_a_class_in_one_hand() -> None:
    assert expected_wei(LARGEST, Plan(256, 0, 0, 600_000)) > 0
