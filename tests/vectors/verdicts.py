"""Writes the golden vectors of verdicts: `python -m tests.vectors.verdicts` renews them.

What `capanode.protocol.verdict_money` says of disputes thrown by a fixed seed, amounts down to single base units among
them. A Solidity test plays each one through market and court and compares every account, so the two cannot differ by a
base unit. One file for each end; integers are decimal strings, lists follow the order of challengers, rounds and seats.
"""

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from capanode.protocol import verdict_money as money
from capanode.protocol.ids import Wei
from capanode.protocol.tariff import TARIFF
from capanode.protocol.verdict_money import Answer, Appeal, Challenge, Dispute, Locked, Payouts, Vote

HERE: Final = Path(__file__).parent
CASES: Final = 80
SEATS: Final = (3, 7, 15)

UNDECIDED, UPHOLD, OVERTURN, UNREPRODUCIBLE = range(4)
LAST: Final = {"upheld": UPHOLD, "overturned": OVERTURN, "void": UNREPRODUCIBLE}
"""What the last committee has agreed on, where there is one."""

AS_ROUND, OTHERWISE, NOT_CAST, NOT_REVEALED = range(4)
"""What a seat does: it votes as its round decides, or says that bytes are missing, or nothing."""

SHOWS_WRONG, SHOWS_RIGHT, SHOWS_NOTHING = range(3)

Case = dict[str, Any]


def main() -> None:
    for name in ENDS:
        (HERE / f"verdicts_{name}.json").write_text(rendered(name), encoding="utf-8")


def rendered(name: str) -> str:
    """The file of one end."""
    dice = random.Random(f"capanode verdicts: {name}")
    return json.dumps({f"{name}_{n}": dict(_case(name, dice)) for n in range(CASES)}, indent=1) + "\n"


def _case(name: str, dice: random.Random) -> Iterator[tuple[str, Any]]:
    locked = _locked(dice)
    bond = Wei(locked.verification_wei + TARIFF.gas_allowance_wei)
    answers = [dice.randrange(3) for _ in range(dice.randrange(1, 4))]
    rounds = _rounds(name, dice)
    if not rounds:
        answers = [SHOWS_NOTHING] * len(answers)
    elif set(answers) == {SHOWS_NOTHING}:
        answers[0] = SHOWS_RIGHT
    of_requester = dice.random() < 0.3
    last = rounds[-1][0] if rounds else 0
    dispute = Dispute(
        tuple(
            Challenge(
                bond,
                Answer.RIGHT if answer == SHOWS_RIGHT and last == OVERTURN else Answer.WRONG,
                place == 0 and of_requester,
            )
            for place, answer in enumerate(answers)
        ),
        tuple(_vote(seat, decision, last) for decision, seats in rounds for seat in seats),
        tuple(Appeal(Wei(len(seats) * locked.fee_wei), before == last) for (before, _), (_, seats) in pairwise(rounds)),
    )
    paid = ENDS[name](locked, dispute)
    yield from _texts(
        {
            "price": locked.price_wei,
            "amount": locked.amount_wei,
            "verification": locked.verification_wei,
            "fraudBond": locked.fraud_bond_wei,
            "fee": locked.fee_wei,
            "ofRequester": int(of_requester),
            "answers": answers,
            "decisions": [decision for decision, _ in rounds],
            "seats": [seat for _, seats in rounds for seat in seats],
            "requesterGets": paid.requester_wei,
            "providerGets": paid.provider_wei,
            "challengersGet": paid.challengers_wei,
            "arbitersEarn": [max(each, 0) for each in paid.arbiters_wei],
            "arbitersLose": [max(-each, 0) for each in paid.arbiters_wei],
            "appellantsGet": sum(paid.appellants_wei),
            "burned": paid.burned_wei,
        }
    )


def _texts(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        yield name, str(value) if isinstance(value, int) else [str(each) for each in value]


def _locked(dice: random.Random) -> Locked:
    price = _amount(dice, 10**20) + 1
    return Locked(
        price_wei=Wei(price),
        amount_wei=Wei(dice.choice((price, 0, dice.randrange(price)))),
        verification_wei=Wei(_amount(dice, 10**18)),
        fraud_bond_wei=Wei(_amount(dice, 10**21)),
        deadline_bond_wei=TARIFF.deadline_bond_wei(Wei(price)),
        fee_wei=Wei(_amount(dice, 10**18)),
    )


def _amount(dice: random.Random, most: int) -> int:
    """From nothing to `most`, as often among the small ones as among the large ones."""
    return dice.randrange(10 ** dice.randrange(len(str(most)))) if dice.random() < 0.5 else dice.randrange(most)


def _rounds(name: str, dice: random.Random) -> list[tuple[int, list[int]]]:
    """What each committee decides, and what its seats do; three sizes at most, the last as the end needs it."""
    if name == "split":  # nobody counts the votes of its only committee
        return [(UNDECIDED, [dice.randrange(4) for _ in range(SEATS[0])])]
    if name == "upheld" and dice.random() < 0.1:  # nobody shows an answer
        return []
    count = dice.randrange(1, 4)
    decisions = [dice.choice((UPHOLD, OVERTURN, UNREPRODUCIBLE)) for _ in range(count - 1)] + [LAST[name]]
    return [(decision, _seats(dice, seats)) for decision, seats in zip(decisions, SEATS, strict=False)]


def _seats(dice: random.Random, count: int) -> list[int]:
    others = dice.randrange(count // 3 + 1)
    seats = [dice.choice((OTHERWISE, NOT_CAST, NOT_REVEALED)) for _ in range(others)] + [AS_ROUND] * (count - others)
    dice.shuffle(seats)
    return seats


def _vote(seat: int, decision: int, last: int) -> Vote:
    if seat in (NOT_CAST, NOT_REVEALED):
        return Vote.ABSENT
    return Vote.AGREES if last == UNDECIDED or (seat, decision) == (AS_ROUND, last) else Vote.DISSENTS


def _upheld(locked: Locked, dispute: Dispute) -> Payouts:
    """The case, and then the deal, which goes on to its claim."""
    case, deal = money.upheld(locked.fee_wei, dispute), money.finalized(locked)
    return replace(case, requester_wei=deal.requester_wei, provider_wei=Wei(case.provider_wei + deal.provider_wei))


ENDS: Final = {"upheld": _upheld, "overturned": money.overturned, "void": money.voided, "split": money.split}


if __name__ == "__main__":
    main()
