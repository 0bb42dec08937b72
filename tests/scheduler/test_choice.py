from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capanode.protocol import encoding
from capanode.protocol.ids import Address, Ppm, Wei
from capanode.protocol.records import SignedBid, VerificationClass
from capanode.scheduler.choice import Choice, choose
from capanode.scheduler.refusal import Kind
from tests.scheduler.samples import DEMAND, NOW, bid, demand, named_by

CAP = DEMAND.price_cap_wei


def chosen(*bids: SignedBid, target: int = 0, scores: dict[Address, Ppm] | None = None) -> Choice:
    return choose(bids, DEMAND, Wei(target), NOW, scores or {})


def provider(number: int) -> Address:
    return Address(bytes([number]) * 20)


bids = st.builds(
    lambda price, who, ready, late, lower: bid(
        price,
        who,
        ready_in_s=ready,
        expires_at=NOW if late else NOW + 60,
        hardware_class="x86_64-v2" if lower else "x86_64-v3",
    ),
    st.integers(1, 12).map(lambda tokens: tokens * 10**18),
    st.integers(1, 6),
    st.sampled_from([0, 5, 541]),
    st.integers(0, 9).map(lambda n: n == 0),
    st.integers(0, 9).map(lambda n: n == 0),
)
score_tables = st.dictionaries(st.integers(1, 6).map(provider), st.integers(0, 10**6).map(Ppm), max_size=4)


@given(st.lists(bids, max_size=8), score_tables, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(some: list[SignedBid], scores: dict[Address, Ppm], order: Any) -> None:
    first = choose(some, DEMAND, Wei(0), NOW, scores)
    order.shuffle(some)
    assert choose(some, DEMAND, Wei(0), NOW, scores).bid == first.bid


@given(st.lists(bids, max_size=8), score_tables)
def test_every_bid_is_chosen_or_has_a_reason(some: list[SignedBid], scores: dict[Address, Ppm]) -> None:
    choice = choose(some, DEMAND, Wei(0), NOW, scores)
    assert len(choice.rejected) + (choice.bid is not None) == len(some)
    assert all(refusal.sentence for _, refusal in choice.rejected)


@given(st.lists(bids, min_size=1, max_size=8), bids, score_tables)
def test_one_more_bid_never_makes_it_dearer(some: list[SignedBid], more: SignedBid, scores: dict[Address, Ppm]) -> None:
    before = choose(some, DEMAND, Wei(0), NOW, scores).bid
    after = choose([*some, more], DEMAND, Wei(0), NOW, scores).bid
    if before is not None:
        assert after in (before, more)
        assert after is not None
        assert after.bid.price_wei <= before.bid.price_wei


@given(st.lists(bids, min_size=1, max_size=8), score_tables, st.data())
def test_who_wins_wins_at_a_lower_price_too(
    some: list[SignedBid], scores: dict[Address, Ppm], data: st.DataObject
) -> None:
    winner = choose(some, DEMAND, Wei(0), NOW, scores).bid
    if winner is None:
        return
    lower = Wei(data.draw(st.integers(1, winner.bid.price_wei)))
    cheaper = replace(winner, bid=replace(winner.bid, price_wei=lower))
    others = [one for one in some if one != winner]
    assert choose([*others, cheaper], DEMAND, Wei(0), NOW, scores).bid == cheaper


def test_an_arbiter_of_the_job_is_not_awarded_it() -> None:
    wanted = named_by(provider(1), provider(2), provider(3), quorum=2)
    own, other = (replace(one, bid=replace(one.bid, demand=encoding.digest(wanted))) for one in (bid(1, 1), bid(2, 4)))
    choice = choose([own, other], wanted, Wei(0), NOW, {})
    assert choice.bid == other
    assert [(bid, refusal.kind) for bid, refusal in choice.rejected] == [(own, Kind.VERIFICATION)]


def test_price_then_score_then_start_then_address_decide() -> None:
    cheap, good, early, first = bid(1, 9), bid(2, 8), bid(2, 7, ready_in_s=1), bid(2, 3, ready_in_s=2)
    last = bid(2, 4, ready_in_s=2)
    scores = {provider(8): Ppm(900_000)}
    ranking = [cheap, good, early, first, last]
    for count in range(len(ranking)):
        for order in permutations(ranking[count:]):
            assert chosen(*order, scores=scores).bid == ranking[count]


def test_the_target_ends_the_window_inclusively() -> None:
    assert chosen(bid(5), target=5).on_target
    assert not chosen(bid(6), target=5).on_target
    assert not chosen(target=5).on_target
    assert not chosen(bid(4, expires_at=NOW), target=5).on_target


REJECTED: dict[str, tuple[SignedBid, Kind]] = {
    "above the cap": (bid(CAP + 1), Kind.PRICE),
    "expired": (bid(1, expires_at=NOW), Kind.EXPIRED),
    "other demand": (bid(1, wanted=demand(window_s=601)), Kind.ANOTHER),
    "other hardware": (bid(1, hardware_class="x86_64-v4"), Kind.HARDWARE_CLASS),
    "too late": (bid(1, ready_in_s=541), Kind.TIME),
}


@pytest.mark.parametrize(("bad", "kind"), REJECTED.values(), ids=REJECTED.keys())
def test_each_rejection_has_its_reason(bad: SignedBid, kind: Kind) -> None:
    choice = chosen(bad)
    assert choice.bid is None
    assert [refusal.kind for _, refusal in choice.rejected] == [kind]
    better = bid(CAP, 2)
    assert chosen(bad, better).bid == better


def test_limits_are_inclusive() -> None:
    assert chosen(bid(CAP)).bid is not None
    assert chosen(bid(1, ready_in_s=540)).bid is not None


def test_outbid_says_by_how_much() -> None:
    choice = chosen(bid(7, 1), bid(5, 2), bid(5, 3))
    assert [(str(refusal), refusal.kind) for _, refusal in choice.rejected] == [
        ("another with the same price has a better record or starts earlier", Kind.OUTBID),
        ("it asks 7, another 5", Kind.OUTBID),
    ]


def test_a_bad_record_can_be_excluded() -> None:
    scores = {provider(1): Ppm(100_000)}
    choice = choose([bid(1, 1), bid(2, 2)], DEMAND, Wei(0), NOW, scores, least_score=Ppm(200_000))
    assert choice.bid == bid(2, 2)
    assert choice.rejected[0][1].kind is Kind.REPUTATION


def test_class_none_takes_better_hardware() -> None:
    loose = demand(verification=VerificationClass.NONE, hardware_class="x86_64-v2")
    better = bid(1, wanted=loose, hardware_class="x86_64-v4")
    assert choose([better], loose, Wei(0), NOW, {}).bid == better
