"""The soak's accounts: what is in order passes, and each kind of loss is told by name."""

from dataclasses import replace

import pytest

from capanode.contracts_abi import bindings
from capanode.node.api.port import DealView, JobView
from capanode.protocol import cases
from capanode.protocol.ids import ZERO_ADDRESS, Address, DealId, Digest
from capanode.protocol.phases import Phase
from tests.chaos.ledger import Provider, Requester, Verdict, judge, read_deals, read_disputed

SELLER = Address(b"\x11" * 20)
BUYER = Address(b"\x22" * 20)
PAID, REFUNDED, CANCELLED = (DealId(bytes([number]) * 32) for number in (1, 2, 3))
PRICE, BURNED, REWARD = 100, 8, 2

ASSIGNED = tuple(
    bindings.DealAssigned(deal_id=deal, requester=BUYER, provider=SELLER, price=PRICE, locked_by=ZERO_ADDRESS)
    for deal in (PAID, REFUNDED)
)
ENDS = (
    bindings.DealFinalized(deal_id=PAID, provider=SELLER, paid=PRICE, returned=0),
    bindings.DealRefunded(deal_id=REFUNDED, provider=SELLER, returned=PRICE, burned=BURNED, reason=1),
    bindings.DealCancelled(deal_id=CANCELLED, provider=ZERO_ADDRESS, paid=0, returned=PRICE),
)
PHASES = {PAID: Phase.FINALIZED, REFUNDED: Phase.REFUNDED, CANCELLED: Phase.CANCELLED}


def job(name: str, phase: str, deal: DealId | None = None, paid_wei: int = 0, returned_wei: int = 0) -> JobView:
    return JobView(
        job_id=f"id-{name}",
        name=name,
        state="",
        phase=phase,
        reason="",
        notice="",
        refund_at=None,
        deal_id=f"0x{deal.hex()}" if deal else None,
        provider=None,
        mode="LOCK",
        price_wei=PRICE,
        verification_wei=0,
        paid_wei=paid_wei,
        returned_wei=returned_wei,
        exit_code=0,
        window_ends_at=None,
        result_dir=None,
        receipt=None,
        created_at=0.0,
        timeline=(),
    )


def deal(deal_id: DealId, phase: str) -> DealView:
    return DealView(
        deal_id=f"0x{deal_id.hex()}",
        phase=phase,
        requester="",
        price_wei=PRICE,
        mode="LOCK",
        since=0.0,
        reason="",
        window_ends_at=None,
    )


JOBS = (
    job("bought", "Settled", PAID, PRICE),
    job("late", "Failed", returned_wei=PRICE),
    job("taken back", "Cancelled"),
    job("unwanted", "Failed"),
)
REQUESTER = Requester("requester", frozenset(one.name for one in JOBS), JOBS, PRICE - REWARD)
"""It has expired the late deal itself, for a reward."""

PROVIDER = Provider(
    "provider",
    f"0x{SELLER.hex()}",
    (deal(PAID, "Retaining"), deal(REFUNDED, "Lost")),
    PRICE - BURNED - REWARD,
)


def verdict(
    requester: Requester = REQUESTER,
    provider: Provider = PROVIDER,
    events: tuple[object, ...] = (*ASSIGNED, *ENDS),
    phases: dict[DealId, Phase] = PHASES,
) -> Verdict:
    return judge(read_deals(events), phases, [requester], [provider], REWARD)


def test_accounts_in_order_are_clean() -> None:
    found = verdict()
    assert found.is_clean, found
    assert (found.started, found.finalized, found.refunded, found.unsold) == (4, 1, 2, 1)


def test_logs_of_others_are_passed_over() -> None:
    deposited = bindings.Deposited(account=BUYER, amount=1)
    assert verdict(events=(deposited, None, *ASSIGNED, *ENDS)).is_clean


@pytest.mark.parametrize(
    ("requester", "provider", "events", "phases", "sentence"),
    [
        (None, None, None, PHASES | {REFUNDED: Phase.ASSIGNED}, "is still ASSIGNED"),
        (replace(REQUESTER, handed_over=frozenset({"gone"})), None, None, None, "has forgotten the job gone"),
        (replace(REQUESTER, jobs=(job("x", "Running"), *JOBS)), None, None, None, "is still Running"),
        (None, None, (*ASSIGNED, *ENDS[1:]), PHASES | {PAID: Phase.REFUNDED}, "its deal"),
        (None, replace(PROVIDER, deals=(deal(PAID, "Claiming"), PROVIDER.deals[1])), None, None, "still Claiming"),
    ],
    ids=["open on chain", "forgotten", "not ended", "paid for nothing", "provider waits"],
)
def test_what_is_lost_is_told(
    requester: Requester | None,
    provider: Provider | None,
    events: tuple[object, ...] | None,
    phases: dict[DealId, Phase] | None,
    sentence: str,
) -> None:
    found = verdict(requester or REQUESTER, provider or PROVIDER, events or (*ASSIGNED, *ENDS), phases or PHASES)
    assert any(sentence in lost for lost in found.lost), found


def test_a_second_payment_is_told() -> None:
    again = DealId(b"\x09" * 32)
    events = (
        *ASSIGNED,
        *ENDS,
        bindings.DealAssigned(deal_id=again, requester=BUYER, provider=SELLER, price=PRICE, locked_by=ZERO_ADDRESS),
        bindings.DealFinalized(deal_id=again, provider=SELLER, paid=PRICE, returned=0),
    )
    found = verdict(events=events, phases=PHASES | {again: Phase.FINALIZED})
    assert any(again.hex() in sentence and "no job names it" in sentence for sentence in found.double_paid)


def test_two_ends_of_one_deal_are_told() -> None:
    assert "2 ends" in verdict(events=(*ASSIGNED, *ENDS, ENDS[0])).double_paid[0]


@pytest.mark.parametrize(
    ("requester", "provider", "sentence"),
    [
        (replace(REQUESTER, spent_wei=PRICE + 1), PROVIDER, "has spent 101"),
        (replace(REQUESTER, spent_wei=PRICE - REWARD * 3), PROVIDER, "has spent 94"),
        (REQUESTER, replace(PROVIDER, earned_wei=PRICE), "has earned 100"),
        (REQUESTER, replace(PROVIDER, deals=PROVIDER.deals[1:]), "is unknown to provider, and finalized on chain"),
        (replace(REQUESTER, jobs=(replace(JOBS[0], paid_wei=99), *JOBS[1:])), PROVIDER, "cost 99"),
        (replace(REQUESTER, jobs=(*JOBS, JOBS[0])), PROVIDER, "2 jobs name the deal"),
    ],
    ids=["spent too much", "got too much", "earned too much", "unknown deal", "other price", "one deal twice"],
)
def test_disagreements_are_told(requester: Requester, provider: Provider, sentence: str) -> None:
    found = verdict(requester, provider)
    assert any(sentence in told for told in found.disagreements), found


def test_a_deal_that_was_never_assigned_is_known_by_its_commitment() -> None:
    committed = bindings.DealCommitted(
        deal_id=PAID,
        requester=BUYER,
        provider=SELLER,
        trace_root=Digest(b"\0" * 32),
        result_root=Digest(b"\0" * 32),
        delivery_root=Digest(b"\0" * 32),
        leaves_cid=Digest(b"\0" * 32),
        step_count=1,
        status=0,
        amount=PRICE,
        window_ends_at=0,
        locked_by=ZERO_ADDRESS,
    )
    assert read_deals([committed])[PAID].provider == f"0x{SELLER.hex()}"


BOND = 30
OPENED = bindings.Challenged(
    case_id=b"\x07" * 32,
    deal_id=PAID,
    opener=BUYER,
    kind=cases.Kind.DATA,
    step=0,
    serial=0,
    bond=BOND,
    answer=b"\x00" * 32,
    seed_block=9,
)


def settled(end: cases.Verdict) -> bindings.Settled:
    return bindings.Settled(case_id=OPENED.case_id, deal_id=PAID, verdict=end, fee=0, bounty=0, burned=0)


@pytest.mark.parametrize("end", [cases.Verdict.UPHELD, cases.Verdict.LAPSED])
def test_a_challenge_that_was_lost_costs_its_bond_and_no_more(end: cases.Verdict) -> None:
    disputed = read_disputed((OPENED, settled(end)))[BUYER]
    told = replace(REQUESTER, disputed=disputed, spent_wei=REQUESTER.spent_wei + BOND)
    assert verdict(told).is_clean
    assert verdict(told).challenges_lost == 1
    assert not verdict(replace(told, spent_wei=told.spent_wei + REWARD + 1)).is_clean


def test_a_challenge_that_came_to_nothing_costs_nothing() -> None:
    disputed = read_disputed((OPENED, settled(cases.Verdict.MOOT)))[BUYER]
    assert verdict(replace(REQUESTER, disputed=disputed)).is_clean
    assert not verdict(replace(REQUESTER, disputed=disputed, spent_wei=REQUESTER.spent_wei + BOND)).is_clean


def test_a_deal_that_a_court_has_ended_has_one_end_and_costs_its_provider_the_bond() -> None:
    judged = bindings.DealJudged(
        deal_id=PAID, provider=SELLER, end=Phase.OVERTURNED, paid=0, returned=PRICE, slashed=BOND
    )
    jobs = (job("bought", "Failed", returned_wei=PRICE), *JOBS[1:])
    provider = replace(
        PROVIDER,
        deals=(deal(PAID, "Lost"), PROVIDER.deals[1]),
        earned_wei=PROVIDER.earned_wei - PRICE - BOND,
    )
    found = verdict(
        replace(REQUESTER, jobs=jobs, spent_wei=-REWARD),
        provider,
        (*ASSIGNED, judged, *ENDS[1:]),
        PHASES | {PAID: Phase.OVERTURNED},
    )
    assert found.is_clean, found
    assert (found.finalized, found.judged) == (0, 1)
