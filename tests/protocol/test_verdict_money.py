"""Every end of a deal pays out what was locked, to the base unit, and in the shares that the protocol states."""

from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capanode.protocol import verdict_money as ends
from capanode.protocol.ids import Ppm, Wei
from capanode.protocol.tariff import PPM, TARIFF, Tariff
from capanode.protocol.verdict_money import Answer, Appeal, Challenge, Dispute, Locked, Payouts, Vote

TOKEN = 10**18
AMOUNTS = st.integers(0, 2**90).map(Wei)
DISPUTES = st.builds(
    Dispute,
    st.lists(st.builds(Challenge, AMOUNTS, st.sampled_from(Answer), st.booleans()), max_size=5).map(tuple),
    st.lists(st.sampled_from(Vote), max_size=25).map(tuple),
    st.lists(st.builds(Appeal, AMOUNTS, st.booleans()), max_size=3).map(tuple),
)
TARIFFS = st.builds(
    partial(replace, TARIFF),
    penalty_fees=st.integers(0, 5),
    gas_allowance_wei=AMOUNTS,
    bounty_ppm=st.integers(0, 2 * PPM).map(Ppm),
    bounty_of_price_ppm=st.integers(0, 2 * PPM).map(Ppm),
    least_burned_ppm=st.integers(0, PPM).map(Ppm),
    void_paid_ppm=st.integers(0, PPM).map(Ppm),
    void_burned_ppm=st.integers(0, PPM).map(Ppm),
)


@st.composite
def locks(draw: st.DrawFn) -> Locked:
    price = draw(AMOUNTS)
    amount = Wei(draw(st.integers(0, price)))
    return Locked(price, amount, draw(AMOUNTS), draw(AMOUNTS), draw(AMOUNTS), draw(AMOUNTS))


def deal(price: int = TOKEN, steps: int = 16) -> Locked:
    fee = TARIFF.arbiter_fee_up_wei(Wei(price), steps)
    return Locked(
        price_wei=Wei(price),
        amount_wei=Wei(price),
        verification_wei=TARIFF.verification_deposit_wei(fee),
        fraud_bond_wei=TARIFF.fraud_bond_up_wei(Wei(price), Ppm(200_000), fee),
        deadline_bond_wei=TARIFF.deadline_bond_wei(Wei(price)),
        fee_wei=fee,
    )


def committee(*votes: Vote) -> tuple[Vote, ...]:
    return votes or (Vote.AGREES,) * 3


def no_party_is_below_zero(payouts: Payouts) -> bool:
    parties = (payouts.requester_wei, payouts.provider_wei, payouts.caller_wei, payouts.burned_wei)
    return min((*parties, *payouts.challengers_wei, *payouts.appellants_wei)) >= 0


@given(locks(), DISPUTES, TARIFFS)
def test_every_verdict_pays_out_exactly_what_is_locked(locked: Locked, dispute: Dispute, tariff: Tariff) -> None:
    for end in (ends.overturned, ends.voided, ends.split):
        payouts = end(locked, dispute, tariff)
        assert payouts.total_wei == locked.total_wei + dispute.total_wei, end
        assert no_party_is_below_zero(payouts), end
    payouts = ends.upheld(locked.fee_wei, dispute, tariff)
    assert payouts.total_wei == dispute.total_wei
    assert no_party_is_below_zero(payouts)


@given(locks(), AMOUNTS)
def test_every_end_without_a_dispute_pays_out_exactly_what_is_locked(locked: Locked, reward: Wei) -> None:
    for payouts in (ends.finalized(locked), ends.abandoned(locked), ends.expired(locked, reward)):
        assert payouts.total_wei == locked.total_wei
        assert no_party_is_below_zero(payouts)


@given(locks(), DISPUTES)
def test_two_fifths_of_a_lost_fraud_bond_are_burned(locked: Locked, dispute: Dispute) -> None:
    payouts = ends.overturned(locked, dispute)
    assert 5 * payouts.burned_wei >= 2 * locked.fraud_bond_wei


@given(locks(), DISPUTES, TARIFFS)
def test_the_requester_never_has_more_than_it_locked(locked: Locked, dispute: Dispute, tariff: Tariff) -> None:
    for end in (ends.overturned, ends.voided, ends.split):
        assert end(locked, dispute, tariff).requester_wei <= locked.price_wei + locked.verification_wei


@given(locks(), DISPUTES)
def test_an_overturned_deal_gives_the_requester_all_back_and_the_provider_its_deadline_bond(
    locked: Locked, dispute: Dispute
) -> None:
    payouts = ends.overturned(locked, dispute)
    assert payouts.requester_wei == locked.price_wei + locked.verification_wei
    assert payouts.provider_wei == locked.deadline_bond_wei


@given(locks(), DISPUTES)
def test_a_void_deal_is_never_cheaper_than_an_honest_one(locked: Locked, dispute: Dispute) -> None:
    assert ends.voided(locked, dispute).requester_wei <= ends.finalized(locked).requester_wei


def test_the_common_overturn_pays_committee_gas_and_bounty() -> None:
    locked = deal()
    bond = TARIFF.challenger_bond_wei(locked.fee_wei)
    dispute = Dispute((Challenge(bond, Answer.RIGHT),), committee())
    payouts = ends.overturned(locked, dispute)
    assert payouts.challengers_wei == (bond + TARIFF.gas_allowance_wei + TOKEN,)  # the bounty is P: Bf / 4 is more
    assert payouts.arbiters_wei == (locked.fee_wei,) * 3
    rest = locked.fraud_bond_wei - 3 * locked.fee_wei - TARIFF.gas_allowance_wei - TOKEN
    assert payouts.burned_wei == rest


def test_a_prize_is_what_a_right_challenger_has_more_than_its_bond() -> None:
    locked = deal()
    assert ends.prize_wei(locked) == TOKEN + TARIFF.gas_allowance_wei
    assert ends.prize_wei(locked, rivals=3) == TOKEN // 4 + TARIFF.gas_allowance_wei // 4
    assert ends.prize_wei(deal(steps=1), seats=10) < ends.prize_wei(deal(steps=1))


def test_the_fee_of_a_seat_that_dissents_is_burned_with_its_penalty() -> None:
    fee = Wei(10**16)
    bond = TARIFF.challenger_bond_wei(fee)
    votes = (Vote.AGREES, Vote.AGREES, Vote.DISSENTS)
    payouts = ends.upheld(fee, Dispute((Challenge(bond, Answer.WRONG),), votes))
    assert payouts.arbiters_wei == (fee, fee, -fee)
    assert payouts.burned_wei == 2 * fee + TARIFF.gas_allowance_wei


def test_challengers_that_are_right_share_one_bounty_and_the_wrong_one_loses_its_bond() -> None:
    locked = deal()
    bond = TARIFF.challenger_bond_wei(locked.fee_wei)
    answers = (Answer.RIGHT, Answer.WRONG, Answer.RIGHT, Answer.OPEN)
    payouts = ends.overturned(locked, Dispute(tuple(Challenge(bond, answer) for answer in answers), committee()))
    each = TOKEN // 2 + TARIFF.gas_allowance_wei // 2
    assert payouts.challengers_wei == (bond + each, 0, bond + each, bond)


@pytest.mark.parametrize("moved", [True, False])
def test_an_upheld_result_costs_the_challenger_its_bond_and_pays_the_gas_of_a_provider_that_had_to_move(
    moved: bool,
) -> None:
    fee = Wei(10**16)
    bond = TARIFF.challenger_bond_wei(fee)
    payouts = ends.upheld(fee, Dispute((Challenge(bond, Answer.WRONG),), committee()), provider_moved=moved)
    gas = TARIFF.gas_allowance_wei
    assert payouts == Payouts(
        provider_wei=Wei(gas * moved),
        challengers_wei=(Wei(0),),
        arbiters_wei=(fee,) * 3,
        burned_wei=Wei(gas * (not moved)),
    )


def test_without_an_answer_the_bond_burns() -> None:
    bond = TARIFF.challenger_bond_wei(Wei(10**16))
    assert ends.upheld(Wei(10**16), Dispute((Challenge(bond, Answer.WRONG),))).burned_wei == bond


def test_a_requester_that_challenges_itself_has_its_gas_and_no_bounty() -> None:
    locked = deal()
    challenge = Challenge(TARIFF.challenger_bond_wei(locked.fee_wei), Answer.RIGHT, of_requester=True)
    (back,) = ends.overturned(locked, Dispute((challenge,), committee())).challengers_wei
    assert back == challenge.bond_wei + TARIFF.gas_allowance_wei


def test_an_arbiter_that_stays_away_or_dissents_loses_a_fee_and_the_others_are_paid() -> None:
    locked = deal()
    votes = committee(Vote.AGREES, Vote.DISSENTS, Vote.ABSENT)
    challenge = Challenge(Wei(0), Answer.RIGHT)
    assert ends.overturned(locked, Dispute((challenge,), votes)).arbiters_wei == (
        locked.fee_wei,
        -locked.fee_wei,
        -locked.fee_wei,
    )
    votes = committee(Vote.AGREES, Vote.AGREES, Vote.ABSENT)
    void = ends.voided(locked, Dispute((challenge,), votes))
    assert void.arbiters_wei == (locked.fee_wei, locked.fee_wei, -locked.fee_wei)
    assert void.burned_wei == locked.amount_wei - locked.amount_wei // 2 + 2 * locked.fee_wei


@pytest.mark.parametrize("against_overturn", [True, False])
def test_who_appeals_and_loses_pays_the_larger_committee(against_overturn: bool) -> None:
    locked = deal()
    appeal = Appeal(Wei(7 * locked.fee_wei), is_lost=True)
    bond = TARIFF.challenger_bond_wei(locked.fee_wei)
    votes = (Vote.AGREES,) * 10
    if against_overturn:
        with_appeal = ends.overturned(locked, Dispute((Challenge(bond, Answer.RIGHT),), votes, (appeal,)))
        without = ends.overturned(locked, Dispute((Challenge(bond, Answer.RIGHT),), votes[:3]))
    else:
        with_appeal = ends.upheld(locked.fee_wei, Dispute((Challenge(bond, Answer.WRONG),), votes, (appeal,)))
        without = ends.upheld(locked.fee_wei, Dispute((Challenge(bond, Answer.WRONG),), votes[:3]))
    assert with_appeal.appellants_wei == (0,)
    assert replace(with_appeal, arbiters_wei=(), appellants_wei=()) == replace(without, arbiters_wei=())
    assert with_appeal.arbiters_wei == (locked.fee_wei,) * 10


def test_who_appeals_and_wins_has_its_money_back() -> None:
    locked = deal(steps=64)
    appeal = Appeal(Wei(7 * locked.fee_wei), is_lost=False)
    challenge = Challenge(TARIFF.challenger_bond_wei(locked.fee_wei), Answer.RIGHT)
    payouts = ends.overturned(locked, Dispute((challenge,), (Vote.AGREES,) * 10, (appeal,)))
    assert payouts.appellants_wei == (appeal.prefund_wei,)


def test_a_split_costs_each_challenger_one_fee_and_halves_the_price() -> None:
    locked = deal()
    bond = TARIFF.challenger_bond_wei(locked.fee_wei)
    payouts = ends.split(locked, Dispute((Challenge(bond, Answer.OPEN),), (Vote.ABSENT,) * 3))
    assert payouts.challengers_wei == (bond - locked.fee_wei,)
    assert payouts.requester_wei == locked.price_wei - locked.amount_wei // 2
    assert payouts.burned_wei == locked.fee_wei + 6 * locked.fee_wei  # three fees of V and three penalties


def test_amounts_that_no_deal_can_have_are_refused() -> None:
    with pytest.raises(ValueError, match="between zero and the price"):
        replace(deal(), amount_wei=Wei(TOKEN + 1))
    with pytest.raises(ValueError, match="negative"):
        replace(deal(), verification_wei=Wei(-1))


@given(AMOUNTS, st.integers(1, 1024))
def test_an_arbiters_fee_covers_a_step_at_its_price(price: Wei, steps: int) -> None:
    fee = TARIFF.arbiter_fee_up_wei(price, steps)
    assert price <= steps * (fee - TARIFF.judging_wei) < price + steps


@given(AMOUNTS, st.integers(1, PPM).map(Ppm), AMOUNTS)
def test_the_floor_of_the_fraud_bond_pays_all_that_an_overturn_pays(price: Wei, rate: Ppm, fee: Wei) -> None:
    bond = TARIFF.fraud_bond_up_wei(price, rate, fee)
    due = 3 * fee + TARIFF.gas_allowance_wei + TARIFF.bounty_wei(price, bond)
    assert due <= TARIFF.spendable_wei(bond) + 1
