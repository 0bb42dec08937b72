"""Amounts that follow from other amounts; integers only, the rounding in the name.

**Source**: docs/protocol.md §5; PROTOCOL, bonds.
"""

from typing import Final

from capanode.protocol.ids import Ppm, Wei
from capanode.protocol.records import VerificationClass

PPM: Final = 1_000_000


def deadline_bond_wei(price_wei: Wei) -> Wei:
    """Bd: a tenth of the price, rounded down. Source: `DealMarket`, deadline bond."""
    return Wei(price_wei // 10)


def verification_deposit_wei(arbiter_fee_wei: Wei, verification: VerificationClass) -> Wei:
    """V: three arbiters' fees, or nothing where nothing can be judged."""
    return Wei(0) if verification is VerificationClass.NONE else Wei(3 * arbiter_fee_wei)


def fraud_bond_up_wei(
    price_wei: Wei,
    audit_rate_ppm: Ppm,
    arbiter_fee_wei: Wei,
    gas_allowance_wei: Wei,
    verification: VerificationClass,
) -> Wei:
    """Bf: max(1.25 · P · (1 − p) / p, 3 · (3F + gas allowance)), rounded up; zero in class `none`.

    With an audit rate of zero no bond deters, so the rate must be positive in every other class.
    """
    if verification is VerificationClass.NONE:
        return Wei(0)
    if audit_rate_ppm <= 0:
        raise ValueError("the audit rate is zero, so no fraud bond would deter: state a rate or choose class none")
    deterrent = -(-5 * price_wei * (PPM - audit_rate_ppm) // (4 * audit_rate_ppm))
    return Wei(max(deterrent, 3 * (3 * arbiter_fee_wei + gas_allowance_wei)))


ARBITER_FEE_WEI: Final = Wei(10**16)
"""F: what one arbiter gets for judging one step, 0.01 token."""

GAS_ALLOWANCE_WEI: Final = Wei(2 * 10**16)
"""What a dispute's gas may cost its winner, in tokens: 0.02 token."""


def fraud_bond_wei(price_wei: Wei, audit_rate_ppm: Ppm, verification: VerificationClass) -> Wei:
    """Bf at this network's fee and gas allowance."""
    return fraud_bond_up_wei(price_wei, audit_rate_ppm, ARBITER_FEE_WEI, GAS_ALLOWANCE_WEI, verification)
