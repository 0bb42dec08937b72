from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capanode.protocol import money
from capanode.protocol.ids import Ppm, Wei
from capanode.protocol.records import VerificationClass

amounts = st.integers(0, 2**90).map(Wei)
rates = st.integers(1, 1_000_000).map(Ppm)


def test_default_audit_rate_asks_five_times_the_price() -> None:
    bond = money.fraud_bond_up_wei(Wei(10**18), Ppm(200_000), Wei(0), Wei(0), VerificationClass.EXACT)
    assert bond == 5 * 10**18


@given(amounts, rates, amounts, amounts)
def test_fraud_bond_is_the_formula_rounded_up(price: Wei, rate: Ppm, fee: Wei, gas: Wei) -> None:
    bond = money.fraud_bond_up_wei(price, rate, fee, gas, VerificationClass.EXACT)
    p = Fraction(rate, 1_000_000)
    factor = Fraction(5, 4) if p <= Fraction(1, 5) else Fraction(1_333_334, 1_000_000)
    exact = max(factor * price * (1 - p) / p, Fraction(3 * (3 * fee + gas)))
    assert exact <= bond < exact + 1


@pytest.mark.parametrize("none", [VerificationClass.NONE, VerificationClass.REPLICATED])
@given(price=amounts, rate=rates)
def test_what_nobody_judges_needs_no_deposit_and_no_bond(price: Wei, rate: Ppm, none: VerificationClass) -> None:
    assert money.verification_deposit_wei(price, none) == 0
    assert money.fraud_bond_up_wei(price, rate, price, price, none) == 0


def test_an_audit_rate_of_zero_is_refused_where_a_bond_must_deter() -> None:
    with pytest.raises(ValueError, match="audit rate"):
        money.fraud_bond_up_wei(Wei(1), Ppm(0), Wei(0), Wei(0), VerificationClass.EXACT)


@given(amounts)
def test_deadline_bond_is_a_tenth_rounded_down(price: Wei) -> None:
    bond = money.deadline_bond_wei(price)
    assert 10 * bond <= price < 10 * (bond + 1)


@given(amounts)
def test_verification_deposit_pays_three_arbiters(fee: Wei) -> None:
    assert money.verification_deposit_wei(fee, VerificationClass.EXACT) == 3 * fee
