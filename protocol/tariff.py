"""The shares and fees from which every bond, bounty and burn follows: one table for node, contract and simulation.

The defaults are the protocol's. `make bench NAME=economics` plays dishonest strategies against any such table, and a
test fails when one of them pays at the defaults.

**Source**: docs/economics.md; docs/protocol.md §5; PROTOCOL §3, §7, §8.
"""

from dataclasses import dataclass
from typing import Final

from capanode.protocol.ids import Ppm, Wei

PPM: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Tariff:
    """What is locked, and in which shares it is lost. `..._fees` count arbiters' fees F, `..._ppm` parts per million.

    `void_burned_ppm` is the burned share of what was committed and is not paid, when nobody can reproduce a result.
    """

    deadline_bond_ppm: Ppm
    abandon_ppm: Ppm
    fraud_ppm: Ppm
    fraud_above_ppm: Ppm
    above_rate_ppm: Ppm
    floor_times: int
    verification_fees: int
    challenger_fees: int
    penalty_fees: int
    judging_wei: Wei
    gas_allowance_wei: Wei
    bounty_ppm: Ppm
    bounty_of_price_ppm: Ppm
    least_burned_ppm: Ppm
    void_paid_ppm: Ppm
    void_burned_ppm: Ppm

    def deadline_bond_wei(self, price_wei: Wei) -> Wei:
        """Bd, rounded down."""
        return Wei(price_wei * self.deadline_bond_ppm // PPM)

    def abandoned_wei(self, price_wei: Wei) -> Wei:
        """What giving a deal up costs, out of Bd, rounded down."""
        return Wei(price_wei * self.abandon_ppm // PPM)

    def arbiter_fee_up_wei(self, price_wei: Wei, steps: int) -> Wei:
        """F that pays for judging: the votes, and one step's share of the price, rounded up."""
        return Wei(self.judging_wei - (-price_wei // steps))

    def verification_deposit_wei(self, fee_wei: Wei) -> Wei:
        """V."""
        return Wei(self.verification_fees * fee_wei)

    def challenger_bond_wei(self, fee_wei: Wei, further_steps: int = 0) -> Wei:
        """C, doubled by each further step of the same deal that the challenger disputes."""
        return Wei((self.challenger_fees * fee_wei + self.gas_allowance_wei) << further_steps)

    def penalty_wei(self, fee_wei: Wei) -> Wei:
        """What a drawn arbiter loses that stays away, or whose vote is not the verdict."""
        return Wei(self.penalty_fees * fee_wei)

    def fraud_bond_up_wei(self, price_wei: Wei, audit_rate_ppm: Ppm, fee_wei: Wei) -> Wei:
        """Bf: max(1.25 · P · (1 − p) / p, 3 · (3F + gas allowance)), rounded up; 4/3 for 1.25 where p is above 0.2.

        With an audit rate of zero no bond deters, so it must be positive.
        """
        if audit_rate_ppm <= 0:
            raise ValueError("the audit rate is zero, so no fraud bond would deter: state a rate or choose class none")
        factor = self.fraud_ppm if audit_rate_ppm <= self.above_rate_ppm else self.fraud_above_ppm
        deterrent = -(-factor * price_wei * (PPM - audit_rate_ppm) // (PPM * audit_rate_ppm))
        return Wei(max(deterrent, self.floor_times * (3 * fee_wei + self.gas_allowance_wei)))

    def bounty_wei(self, price_wei: Wei, fraud_bond_wei: Wei) -> Wei:
        """min(Bf / 4, P), rounded down; all challengers that are right share it."""
        return Wei(min(fraud_bond_wei * self.bounty_ppm, price_wei * self.bounty_of_price_ppm) // PPM)

    def spendable_wei(self, fraud_bond_wei: Wei) -> Wei:
        """What may be paid out of a lost fraud bond: all but the burned share, which is rounded up."""
        return Wei(fraud_bond_wei + (-fraud_bond_wei * self.least_burned_ppm // PPM))


TARIFF: Final = Tariff(
    deadline_bond_ppm=Ppm(100_000),
    abandon_ppm=Ppm(10_000),
    fraud_ppm=Ppm(1_250_000),
    fraud_above_ppm=Ppm(1_333_334),
    above_rate_ppm=Ppm(200_000),
    floor_times=3,
    verification_fees=3,
    challenger_fees=3,
    penalty_fees=1,
    judging_wei=Wei(10**16),
    gas_allowance_wei=Wei(2 * 10**16),
    bounty_ppm=Ppm(250_000),
    bounty_of_price_ppm=Ppm(PPM),
    least_burned_ppm=Ppm(400_000),
    void_paid_ppm=Ppm(500_000),
    void_burned_ppm=Ppm(PPM),
)
"""The protocol's own."""
