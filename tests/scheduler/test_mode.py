from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capanode.protocol.ids import Address, DemandDigest, Digest, UnixTime, Wei
from capanode.protocol.records import Mode, Terms
from capanode.scheduler.mode import MAX_DIRECT_S, NO_EARMARK, Earmark, Secured, choose_mode, secured
from capanode.scheduler.refusal import Kind, Refusal
from tests.scheduler.samples import NOW

GRACE = 60


def terms(mode: Mode = Mode.DIRECT, commit_in_s: int = 600, price: int = 90, deposit: int = 10) -> Terms:
    return Terms(
        requester=Address(b"r" * 20),
        provider=Address(b"p" * 20),
        demand_digest=DemandDigest(b"d" * 32),
        price_wei=Wei(price),
        verification_wei=Wei(deposit),
        fraud_bond_wei=Wei(0),
        assign_by=UnixTime(NOW + commit_in_s),
        commit_by=UnixTime(NOW + commit_in_s),
        window_s=60,
        mode=mode,
        salt=Digest(b"s" * 32),
    )


def judged(earmark: Earmark, of: Terms, outstanding: int = 0, ready_to_lose: int = 0) -> Secured | Refusal:
    return secured(of, earmark, Wei(outstanding), NOW, grace_s=GRACE, max_unsecured_wei=Wei(ready_to_lose))


def mode_for(earmark: Earmark, of: Terms, outstanding: int = 0) -> Mode:
    needed = Wei(of.price_wei + of.verification_wei)
    return choose_mode(earmark, needed, of.commit_by, NOW, outstanding_wei=Wei(outstanding), grace_s=GRACE)


def test_a_sufficient_earmark_is_direct_inclusively() -> None:
    assert mode_for(Earmark(Wei(100)), terms()) is Mode.DIRECT
    assert mode_for(Earmark(Wei(99)), terms()) is Mode.LOCK
    assert mode_for(NO_EARMARK, terms()) is Mode.LOCK


def test_other_awards_use_the_earmark_up() -> None:
    assert mode_for(Earmark(Wei(150)), terms(), outstanding=50) is Mode.DIRECT
    assert mode_for(Earmark(Wei(150)), terms(), outstanding=51) is Mode.LOCK


def test_a_long_job_is_locked() -> None:
    rich = Earmark(Wei(10**6))
    assert mode_for(rich, terms(commit_in_s=MAX_DIRECT_S)) is Mode.DIRECT
    assert mode_for(rich, terms(commit_in_s=MAX_DIRECT_S + 1)) is Mode.LOCK


@pytest.mark.parametrize(
    ("ready_in_s", "thawing", "mode"),
    [
        (600 + GRACE, 1, Mode.LOCK),
        (600 + GRACE + 1, 100, Mode.DIRECT),
        (-10, 1, Mode.LOCK),
        (600 + GRACE, 0, Mode.DIRECT),
    ],
)
def test_what_thaws_too_early_does_not_count(ready_in_s: int, thawing: int, mode: Mode) -> None:
    earmark = Earmark(Wei(100), Wei(thawing), UnixTime(NOW + ready_in_s))
    assert mode_for(earmark, terms()) is mode


def test_every_mode_but_direct_waits_for_the_lock() -> None:
    for mode in (Mode.LOCK, Mode.AWARD, Mode.FIRST):
        assert judged(NO_EARMARK, terms(mode, commit_in_s=10**6)) == Secured(needs_lock=True)


def test_an_unsecured_direct_award_is_refused_with_the_figures() -> None:
    refusal = judged(Earmark(Wei(40)), terms())
    assert isinstance(refusal, Refusal)
    assert refusal.kind is Kind.SECURITY
    assert "covers 40 of the 100" in refusal.sentence


def test_a_direct_award_that_lasts_too_long_is_refused() -> None:
    refusal = judged(Earmark(Wei(10**6)), terms(commit_in_s=MAX_DIRECT_S + 1))
    assert isinstance(refusal, Refusal)
    assert refusal.remedy == "award it as LOCK"


def test_a_provider_may_choose_to_trust() -> None:
    assert judged(Earmark(Wei(40)), terms(), ready_to_lose=60) == Secured(needs_lock=False)
    assert isinstance(judged(Earmark(Wei(40)), terms(), ready_to_lose=59), Refusal)


def test_both_sides_agree_everywhere() -> None:
    """Small values exhaustively: the provider takes as DIRECT exactly what the requester would award as DIRECT."""
    for amount, thawing, ready, outstanding, commit in product(
        (0, 99, 100, 101, 200), (0, 1, 100), (0, 660, 661), (0, 1, 100), (600, 900, 901)
    ):
        earmark = Earmark(Wei(amount), Wei(min(thawing, amount)), UnixTime(NOW + ready))
        wanted = terms(commit_in_s=commit)
        is_direct = mode_for(earmark, wanted, outstanding) is Mode.DIRECT
        assert is_direct == isinstance(judged(earmark, wanted, outstanding), Secured)


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 200), st.integers(0, 2000))
def test_more_earmark_never_hurts(amount: int, more: int, outstanding: int, commit_in_s: int) -> None:
    wanted = terms(commit_in_s=commit_in_s)
    if mode_for(Earmark(Wei(amount)), wanted, outstanding) is Mode.DIRECT:
        assert mode_for(Earmark(Wei(amount + more)), wanted, outstanding) is Mode.DIRECT
