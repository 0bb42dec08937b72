"""Amounts that follow from other amounts; integers only, the rounding in the name.

**Source**: docs/protocol.md §5; PROTOCOL, bonds.
"""

from dataclasses import replace
from typing import Final

from capanode.protocol.ids import Ppm, Wei
from capanode.protocol.judging import JUDGED
from capanode.protocol.records import Demand, VerificationClass
from capanode.protocol.tariff import PPM as PPM
from capanode.protocol.tariff import TARIFF

_NOTHING: Final = Wei(0)


def deadline_bond_wei(price_wei: Wei) -> Wei:
    """Bd: a tenth of the price, rounded down. Source: `DealMarket`, deadline bond."""
    return TARIFF.deadline_bond_wei(price_wei)


def verification_deposit_wei(arbiter_fee_wei: Wei, verification: VerificationClass) -> Wei:
    """V: three arbiters' fees, or nothing where nothing can be judged."""
    return TARIFF.verification_deposit_wei(arbiter_fee_wei) if verification in JUDGED else _NOTHING


def fraud_bond_up_wei(
    price_wei: Wei,
    audit_rate_ppm: Ppm,
    arbiter_fee_wei: Wei,
    gas_allowance_wei: Wei,
    verification: VerificationClass,
) -> Wei:
    """Bf: max(1.25 · P · (1 − p) / p, 3 · (3F + gas allowance)), rounded up; zero where nothing is judged.

    Above a rate of 0.2 the factor is 4/3, see `Tariff`.
    With an audit rate of zero no bond deters, so the rate must be positive in the classes that are judged.
    """
    if verification not in JUDGED:
        return _NOTHING
    tariff = replace(TARIFF, gas_allowance_wei=gas_allowance_wei)
    return tariff.fraud_bond_up_wei(price_wei, audit_rate_ppm, arbiter_fee_wei)


ARBITER_FEE_WEI: Final = TARIFF.judging_wei
"""F: what one arbiter gets for judging one step, 0.01 token."""

GAS_ALLOWANCE_WEI: Final = TARIFF.gas_allowance_wei
"""What a dispute's gas may cost its winner, in tokens: 0.02 token."""


def fraud_bond_wei(price_wei: Wei, audit_rate_ppm: Ppm, verification: VerificationClass) -> Wei:
    """Bf at this network's fee and gas allowance."""
    return fraud_bond_up_wei(price_wei, audit_rate_ppm, ARBITER_FEE_WEI, GAS_ALLOWANCE_WEI, verification)


def fee_wei(demand: Demand) -> Wei:
    """F: what the demand's rules give an arbiter; where nobody can judge, what judging alone is worth."""
    return ARBITER_FEE_WEI if demand.rules is None else demand.rules.arbiter_fee_wei


def bond_wei(demand: Demand, price_wei: Wei) -> Wei:
    """Bf of a deal about the demand at a price."""
    return fraud_bond_up_wei(price_wei, demand.audit_rate_ppm, fee_wei(demand), GAS_ALLOWANCE_WEI, demand.verification)
