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
    """One bond C, and what became of the answer behind it; the deal's own requester gets no bounty."""

    bond_wei: Wei
    answer: Answer
    of_requester: bool = False


class Vote(StrEnum):
    """What a verdict makes of one drawn seat. Where the seats agreed on nothing, each that revealed agrees."""

    AGREES = "agrees"
    DISSENTS = "dissents"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Appeal:
    """Money put up for more seats; lost if the verdict that it was against is the last one too."""

    prefund_wei: Wei
    is_lost: bool


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


def upheld(fee_wei: Wei, dispute: Dispute, tariff: Tariff = TARIFF, *, provider_moved: bool = False) -> Payouts:
    """A case that the provider won, or in which nobody showed an answer; the deal itself goes on.

    The lost bonds pay the seats and, if the provider had to show leaves, its gas; the rest is burned.
    """
    lost = sum(c.bond_wei for c in dispute.challenges if c.answer is not Answer.OPEN)
    judged = _judged(fee_wei, dispute, lost, tariff)
    gas = min(tariff.gas_allowance_wei, judged.left_wei) if provider_moved else 0
    return Payouts(
        provider_wei=Wei(gas),
        challengers_wei=tuple(c.bond_wei if c.answer is Answer.OPEN else _NOTHING for c in dispute.challenges),
        arbiters_wei=judged.arbiters_wei,
        appellants_wei=judged.appellants_wei,
        burned_wei=Wei(judged.left_wei - gas + judged.burned_wei),
    )


def overturned(locked: Locked, dispute: Dispute, tariff: Tariff = TARIFF) -> Payouts:
    """The result is wrong: price and deposit go back, the fraud bond is lost.

    Out of it come, as far as the burned share leaves money: the seats, one allowance of gas and the bounty. Challengers
    that are right share the last two equally; where there is none they are burned too.
    """
    bond = locked.fraud_bond_wei
    spendable = tariff.spendable_wei(bond)
    judged = _judged(locked.fee_wei, dispute, spendable, tariff)
    gas = min(tariff.gas_allowance_wei, judged.left_wei)
    bounty = min(tariff.bounty_wei(locked.price_wei, bond), judged.left_wei - gas)
    right = sum(c.answer is Answer.RIGHT for c in dispute.challenges)
    shares = (gas // right, bounty // right) if right else (0, 0)
    challengers = tuple(_after_overturn(challenge, *shares) for challenge in dispute.challenges)
    bonds = sum(challenge.bond_wei for challenge in dispute.challenges)
    return Payouts(
        requester_wei=_escrow(locked),
        provider_wei=locked.deadline_bond_wei,
        challengers_wei=challengers,
        arbiters_wei=judged.arbiters_wei,
        appellants_wei=judged.appellants_wei,
        burned_wei=Wei(bond - spendable + judged.left_wei + bonds - sum(challengers) + judged.burned_wei),
    )


def voided(locked: Locked, dispute: Dispute, tariff: Tariff = TARIFF) -> Payouts:
    """Nobody can reproduce the result: half of m to the provider, the seats' fees out of V, every bond back.

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
    judged = _judged(locked.fee_wei, dispute, locked.verification_wei, tariff)
    returned = min(judged.left_wei, locked.verification_wei)
    fines = [min(fine_wei, challenge.bond_wei) for challenge in dispute.challenges]
    return Payouts(
        requester_wei=Wei(locked.price_wei - paid_wei - burned_wei + returned),
        provider_wei=Wei(_bonds(locked) + paid_wei),
        challengers_wei=tuple(Wei(c.bond_wei - fine) for c, fine in zip(dispute.challenges, fines, strict=True)),
        arbiters_wei=judged.arbiters_wei,
        appellants_wei=judged.appellants_wei,
        burned_wei=Wei(burned_wei + sum(fines) + judged.left_wei - returned + judged.burned_wei),
    )


def prize_wei(locked: Locked, seats: int = 3, rivals: int = 0, tariff: Tariff = TARIFF) -> Wei:
    """What a challenger that is right has more than its bond, before its own gas, beside so many others that are."""
    challenges = (Challenge(_NOTHING, Answer.RIGHT),) * (rivals + 1)
    return overturned(locked, Dispute(challenges, (Vote.AGREES,) * seats), tariff).challengers_wei[0]


@dataclass(frozen=True, slots=True)
class _Judged:
    """What each seat earns or loses, what is left of the pot, the appeals that go back, and what the seats burn."""

    arbiters_wei: tuple[Wei, ...]
    left_wei: int
    appellants_wei: tuple[Wei, ...]
    burned_wei: int


def _judged(fee_wei: Wei, dispute: Dispute, purse_wei: int, tariff: Tariff) -> _Judged:
    """A fee is set aside for every drawn seat, out of the purse and lost appeals; less where these are too little.

    A seat that does not agree loses a penalty, and its fee burns with that.
    """
    seats = len(dispute.votes)
    pot = purse_wei + sum(appeal.prefund_wei for appeal in dispute.appeals if appeal.is_lost)
    each = min(fee_wei, pot // seats) if seats else 0
    penalty = tariff.penalty_wei(Wei(each))
    others = sum(vote is not Vote.AGREES for vote in dispute.votes)
    return _Judged(
        tuple(Wei(each if vote is Vote.AGREES else -penalty) for vote in dispute.votes),
        pot - each * seats,
        tuple(_NOTHING if appeal.is_lost else appeal.prefund_wei for appeal in dispute.appeals),
        (each + penalty) * others,
    )


def _after_overturn(challenge: Challenge, gas_wei: int, bounty_wei: int) -> Wei:
    match challenge.answer:
        case Answer.RIGHT:
            return Wei(challenge.bond_wei + gas_wei + (0 if challenge.of_requester else bounty_wei))
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
