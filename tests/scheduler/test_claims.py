"""Claims wait for company, but never for long and never with much money."""

from hypothesis import given
from hypothesis import strategies as st

from capanode.protocol.ids import DealId, Wei
from capanode.scheduler.claims import ENOUGH, MAX_TOGETHER, ClaimPolicy, DueClaim, Wait, choose

TOKEN = 10**18
CHEAP, DEAR = Wei(10**9), Wei(100 * 10**9)
PATIENT = ClaimPolicy(max_wait_s=60)


def claim(number: int, amount: int = TOKEN, since_s: float = 0.0) -> DueClaim:
    return DueClaim(DealId(number.to_bytes(32, "big")), Wei(amount), since_s)


def claims(count: int) -> list[DueClaim]:
    return [claim(number) for number in range(count)]


def test_by_default_a_lone_claim_goes_at_once() -> None:
    assert choose([claim(1)], 0.0, DEAR, ClaimPolicy()) == (claim(1).deal_id,)


def test_a_patient_one_waits_for_company() -> None:
    assert choose([claim(1)], 10.0, CHEAP, PATIENT) == Wait(50.0)
    assert choose([claim(1), claim(2, since_s=30)], 60.0, CHEAP, PATIENT) == (claim(1).deal_id, claim(2).deal_id)


def test_enough_company_goes_at_once_unless_gas_is_dear() -> None:
    assert len(tuple(choose(claims(ENOUGH), 0.0, CHEAP, PATIENT))) == ENOUGH  # type: ignore[arg-type]
    assert choose(claims(ENOUGH), 0.0, DEAR, PATIENT) == Wait(60.0)
    assert choose(claims(ENOUGH - 1), 0.0, CHEAP, PATIENT) == Wait(60.0)


def test_a_large_claim_waits_for_nothing_and_takes_the_others_along() -> None:
    large = claim(99, amount=1000 * TOKEN, since_s=5)
    chosen = choose([*claims(MAX_TOGETHER + 9), large], 5.0, DEAR, PATIENT)
    assert not isinstance(chosen, Wait)
    assert chosen[0] == large.deal_id
    assert len(chosen) == MAX_TOGETHER


amounts = st.integers(0, 300 * TOKEN)
# Whole seconds: a sum of fractions may be off by a rounding.
moments = st.integers(0, 1000).map(float)


@given(
    st.lists(st.tuples(amounts, moments), min_size=1, max_size=80),
    moments,
    st.integers(0, 10**12),
    st.builds(
        ClaimPolicy,
        st.integers(0, 500).map(float),
        st.integers(1, 300 * TOKEN).map(Wei),
        st.integers(0, 10**12).map(Wei),
    ),
)
def test_what_waits_may_wait_and_what_goes_is_due(
    found: list[tuple[int, float]], later_s: float, price: int, policy: ClaimPolicy
) -> None:
    due = [claim(number, amount, since) for number, (amount, since) in enumerate(found)]
    now = max(since for _, since in found) + later_s
    chosen = choose(due, now, Wei(price), policy)
    if isinstance(chosen, Wait):
        assert all(each.amount_wei < policy.at_once_wei for each in due)
        assert 0 < chosen.seconds <= policy.max_wait_s
        assert all(now - each.since_s < policy.max_wait_s for each in due)
    else:
        assert 0 < len(chosen) == len(set(chosen)) <= MAX_TOGETHER
        assert set(chosen) <= {each.deal_id for each in due}
