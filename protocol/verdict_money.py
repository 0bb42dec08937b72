"""Who gets what at the end of a deal: a pure function for each end, in base units, with the contracts' roundings.

What a deal and its disputes have locked is exactly what the payouts add up to. An arbiter's fees come out of money that
is locked; its penalty comes out of its own stake, so its payout may be negative.

**Source**: docs/economics.md, "Verdicts"; PROTOCOL §7, §8.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, assert_never

from capanode.protocol.ids import Wei
from capanode.protocol.tariff import PPM, TARIFF, Tariff

_NOTHING: Final = Wei(0)


@dataclass(frozen=True, slots=True)
class Locked:
    """What both sides of a deal have locked: P with m of it claimed, V, Bf, Bd (zero in a DIRECT deal); and F."""

    price_wei: Wei
    amount_wei: Wei
    verification_wei: Wei
    fraud_bond_wei: Wei
    deadline_bond_wei: Wei
    fee_wei: Wei

    def __post_init__(self) -> None:
        if min(self.total_wei, self.fee_wei, self.verification_wei, self.fraud_bond_wei, self.deadline_bond_wei) < 0:
            raise ValueError("an amount is negative")
        if not 0 <= self.amount_wei <= self.price_wei:
            raise ValueError("the amount is not between zero and the price")

    @property
    def total_wei(self) -> Wei:
        """All of it."""
        return Wei(self.price_wei + self.verification_wei + self.fraud_bond_wei + self.deadline_bond_wei)


class Answer(StrEnum):
    """What a verdict makes of one challenge: the committee's leaf, another one or never revealed, or not judged."""

    RIGHT = "right"
    WRONG = "wrong"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Challenge:
    """One bond C, and what became of the answer behind it."""

    bond_wei: Wei
    answer: Answer


class Vote(StrEnum):
    """What a verdict makes of one drawn seat."""

    AGREES = "agrees"
    DISSENTS = "dissents"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Appeal:
    """The money that one side put up for more seats."""

    by_provider: bool
    prefund_wei: Wei


@dataclass(frozen=True, slots=True)
class Dispute:
    """All challenges of a deal that a verdict closes, all seats of all its rounds, and its appeals."""

    challenges: tuple[Challenge, ...] = ()
    votes: tuple[Vote, ...] = ()
    appeals: tuple[Appeal, ...] = ()

    @property
    def total_wei(self) -> Wei:
        """What it has locked."""
        bonds = sum(challenge.bond_wei for challenge in self.challenges)
        return Wei(bonds + sum(appeal.prefund_wei for appeal in self.appeals))


@dataclass(frozen=True, slots=True)
class Payouts:
    """Where each base unit goes; the tuples follow the order of challenges, seats and appeals."""

    requester_wei: Wei = _NOTHING
    provider_wei: Wei = _NOTHING
    challengers_wei: tuple[Wei, ...] = ()
    arbiters_wei: tuple[Wei, ...] = ()
    appellants_wei: tuple[Wei, ...] = ()
    caller_wei: Wei = _NOTHING
    burned_wei: Wei = _NOTHING

    @property
    def total_wei(self) -> Wei:
        """Their sum."""
        several = (*self.challengers_wei, *self.arbiters_wei, *self.appellants_wei)
        return Wei(self.requester_wei + self.provider_wei + self.caller_wei + self.burned_wei + sum(several))


def finalized(locked: Locked) -> Payouts:
    """The window is over: m to the provider, the rest back."""
    return Payouts(
        requester_wei=Wei(locked.price_wei - locked.amount_wei + locked.verification_wei),
        provider_wei=Wei(locked.amount_wei + _bonds(locked)),
    )


def abandoned(locked: Locked, tariff: Tariff = TARIFF) -> Payouts:
    """Given up in time: a hundredth of P out of Bd is burned, and never more than Bd."""
    lost = min(tariff.abandoned_wei(locked.price_wei), locked.deadline_bond_wei)
    return Payouts(requester_wei=_escrow(locked), provider_wei=Wei(_bonds(locked) - lost), burned_wei=Wei(lost))


def expired(locked: Locked, reward_wei: Wei) -> Payouts:
    """Too late: Bd is burned but for the caller's reward, which is never more than Bd."""
    reward = min(reward_wei, locked.deadline_bond_wei)
    return Payouts(
        requester_wei=_escrow(locked),
        provider_wei=locked.fraud_bond_wei,
        caller_wei=Wei(reward),
        burned_wei=Wei(locked.deadline_bond_wei - reward),
    )


def upheld(fee_wei: Wei, dispute: Dispute, tariff: Tariff = TARIFF) -> Payouts:
    """A case that the provider won, or that nobody revealed; the deal itself goes on.

    The lost bonds pay the seats, then the provider's gas; the rest is burned, with the fees of seats that disagree.
    """
    lost = sum(c.bond_wei for c in dispute.challenges if c.answer is not Answer.OPEN)
    judged = _judged(fee_wei, dispute, lost, tariff, provider_won=True)
    gas = min(tariff.gas_allowance_wei, judged.purse_wei)
    return Payouts(
        provider_wei=Wei(gas),
        challengers_wei=tuple(c.bond_wei if c.answer is Answer.OPEN else _NOTHING for c in dispute.challenges),
        arbiters_wei=judged.arbiters_wei,
        appellants_wei=judged.appellants_wei,
        burned_wei=Wei(judged.purse_wei - gas + judged.burned_wei),
    )


def overturned(locked: Locked, dispute: Dispute, tariff: Tariff = TARIFF) -> Payouts:
    """The result is wrong: price and deposit go back, the fraud bond is lost.

    Out of it come, as far as the burned share leaves money: the seats, one allowance of gas and the bounty. Challengers
    that are right share the last two equally; where there is none they are burned too.
    """
    bond = locked.fraud_bond_wei
    spendable = tariff.spendable_wei(bond)
    judged = _judged(locked.fee_wei, dispute, spendable, tariff, provider_won=False)
    gas = min(tariff.gas_allowance_wei, judged.purse_wei)
    bounty = min(tariff.bounty_wei(locked.price_wei, bond), judged.purse_wei - gas)
    right = sum(c.answer is Answer.RIGHT for c in dispute.challenges)
    prize = (gas + bounty) // right if right else 0
    wrong = sum(c.bond_wei for c in dispute.challenges if c.answer is Answer.WRONG)
    burned = bond - spendable + judged.purse_wei - prize * right + wrong + judged.burned_wei
    return Payouts(
        requester_wei=_escrow(locked),
        provider_wei=locked.deadline_bond_wei,
        challengers_wei=tuple(_after_overturn(challenge, prize) for challenge in dispute.challenges),
        arbiters_wei=judged.arbiters_wei,
        appellants_wei=judged.appellants_wei,
        burned_wei=Wei(burned),
    )


def voided(locked: Locked, dispute: Dispute, tariff: Tariff = TARIFF) -> Payouts:
    """Nobody can reproduce the result: half of m to the provider, V to the seats that revealed, every bond back.

    The other half is burned, so that a job made to be irreproducible is never cheaper than an honest one.
    """
    paid = locked.amount_wei * tariff.void_paid_ppm // PPM
    burned = (locked.amount_wei - paid) * tariff.void_burned_ppm // PPM
    return _undecided(locked, dispute, tariff, paid, burned, fine_wei=0)


def split(locked: Locked, dispute: Dispute, tariff: Tariff = TARIFF) -> Payouts:
    """The court could not decide: as VOID, but the unpaid half goes back, and each challenger loses one fee at most."""
    paid = locked.amount_wei * tariff.void_paid_ppm // PPM
    return _undecided(locked, dispute, tariff, paid, 0, fine_wei=locked.fee_wei)


def _undecided(
    locked: Locked, dispute: Dispute, tariff: Tariff, paid_wei: int, burned_wei: int, fine_wei: int
) -> Payouts:
    revealed = sum(vote is not Vote.ABSENT for vote in dispute.votes)
    prefunds = sum(appeal.prefund_wei for appeal in dispute.appeals)
    wanted = max(locked.verification_wei, locked.fee_wei * revealed)
    each = min(wanted, locked.verification_wei + prefunds) // revealed if revealed else 0
    from_deposit = min(each * revealed, locked.verification_wei)
    back = _drawn(dispute.appeals, each * revealed - from_deposit)
    penalty = tariff.penalty_wei(locked.fee_wei)
    fines = [min(fine_wei, challenge.bond_wei) for challenge in dispute.challenges]
    return Payouts(
        requester_wei=Wei(_escrow(locked) - from_deposit - paid_wei - burned_wei),
        provider_wei=Wei(_bonds(locked) + paid_wei),
        challengers_wei=tuple(Wei(c.bond_wei - fine) for c, fine in zip(dispute.challenges, fines, strict=True)),
        arbiters_wei=tuple(Wei(-penalty if vote is Vote.ABSENT else each) for vote in dispute.votes),
        appellants_wei=back,
        burned_wei=Wei(burned_wei + sum(fines) + penalty * (len(dispute.votes) - revealed)),
    )


def prize_wei(locked: Locked, seats: int = 3, rivals: int = 0, tariff: Tariff = TARIFF) -> Wei:
    """What a challenger that is right has more than its bond, before its own gas, beside so many others that are."""
    challenges = (Challenge(_NOTHING, Answer.RIGHT),) * (rivals + 1)
    return overturned(locked, Dispute(challenges, (Vote.AGREES,) * seats), tariff).challengers_wei[0]


@dataclass(frozen=True, slots=True)
class _Judged:
    """What each seat earns or loses, what is left of the loser's bond, prefunds that go back, and what is burned."""

    arbiters_wei: tuple[Wei, ...]
    purse_wei: int
    appellants_wei: tuple[Wei, ...]
    burned_wei: int


def _judged(fee_wei: Wei, dispute: Dispute, purse_wei: int, tariff: Tariff, *, provider_won: bool) -> _Judged:
    """The loser pays for every drawn seat: first by what it put up for its appeals, then by its bond.

    What is missing comes from the winner's prefunds, and less is paid where even these are too little.
    """
    losing = sum(appeal.prefund_wei for appeal in dispute.appeals if appeal.by_provider is not provider_won)
    winning = tuple(
        appeal if appeal.by_provider is provider_won else Appeal(appeal.by_provider, _NOTHING)
        for appeal in dispute.appeals
    )
    seats = len(dispute.votes)
    purses = losing + purse_wei + sum(appeal.prefund_wei for appeal in winning)
    each = min(fee_wei, purses // seats) if seats else 0
    due = each * seats
    from_losing = min(due, losing)
    from_purse = min(due - from_losing, purse_wei)
    back = _drawn(winning, due - from_losing - from_purse)
    others = sum(vote is not Vote.AGREES for vote in dispute.votes)
    penalty = tariff.penalty_wei(Wei(each))
    arbiters = tuple(Wei(each if vote is Vote.AGREES else -penalty) for vote in dispute.votes)
    burned = losing - from_losing + (each + penalty) * others
    return _Judged(arbiters, purse_wei - from_purse, back, burned)


def _drawn(appeals: tuple[Appeal, ...], amount_wei: int) -> tuple[Wei, ...]:
    """What is left of prefunds out of which an amount is taken, the first first."""
    left: list[Wei] = []
    for appeal in appeals:
        taken = min(amount_wei, appeal.prefund_wei)
        amount_wei -= taken
        left.append(Wei(appeal.prefund_wei - taken))
    return tuple(left)


def _after_overturn(challenge: Challenge, prize_wei: int) -> Wei:
    match challenge.answer:
        case Answer.RIGHT:
            return Wei(challenge.bond_wei + prize_wei)
        case Answer.OPEN:
            return challenge.bond_wei
        case Answer.WRONG:
            return _NOTHING
        case _:
            assert_never(challenge.answer)


def _escrow(locked: Locked) -> Wei:
    return Wei(locked.price_wei + locked.verification_wei)


def _bonds(locked: Locked) -> Wei:
    return Wei(locked.fraud_bond_wei + locked.deadline_bond_wei)
