"""Attack 41: cheating that pays because few look."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capanode.protocol.ids import Ppm, Wei
from capanode.protocol.money import ARBITER_FEE_WEI, GAS_ALLOWANCE_WEI, PPM, fraud_bond_wei, verification_deposit_wei
from capanode.protocol.records import VerificationClass

PRICES = st.integers(1, 2**90).map(Wei)
RATES = st.integers(1, PPM).map(Ppm)


@given(PRICES, RATES)
def test_attack_41_cheater_loses_on_average_at_any_price_and_audit_rate(price: Wei, rate: Ppm) -> None:
    """Not found it earns the price for nothing, found it loses the bond; the margin is a quarter."""
    bond = fraud_bond_wei(price, rate, VerificationClass.EXACT)
    assert 4 * rate * bond >= 5 * (PPM - rate) * price


@given(PRICES, RATES)
def test_attack_41_bond_pays_for_the_dispute_that_takes_it(price: Wei, rate: Ppm) -> None:
    deposit = verification_deposit_wei(ARBITER_FEE_WEI, VerificationClass.EXACT)
    assert fraud_bond_wei(price, rate, VerificationClass.EXACT) >= 3 * (deposit + GAS_ALLOWANCE_WEI)


def test_attack_41_rate_of_zero_deters_nobody_and_is_refused() -> None:
    with pytest.raises(ValueError, match="audit rate"):
        fraud_bond_wei(Wei(1), Ppm(0), VerificationClass.EXACT)
