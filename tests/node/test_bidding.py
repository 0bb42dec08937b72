"""Which awards a provider takes: only what is signed, unaltered, about what it comes with, and paid for."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from capanode.node.bid.bidding import key_of
from capanode.protocol import encoding
from capanode.protocol.awards import announced_terms, signed_digest
from capanode.protocol.faults import Refused, Unavailable
from capanode.protocol.ids import Address, DemandDigest, Digest, Ppm, UnixTime, Wei
from capanode.protocol.messages import AWARD_PROTOCOL, AwardRequest
from capanode.protocol.phases import Phase
from capanode.protocol.provider import Preparing
from capanode.protocol.records import Mode, SignedAward
from capanode.protocol.typed_data import announcement_deal_id, spec_digest
from capanode.scheduler.mode import MAX_DIRECT_S
from capanode.scheduler.rules import Rules
from tests.node.market_place import (
    DOMAIN,
    EASY,
    HARDWARE,
    MARKET,
    PRICE,
    REQUEST_S,
    STRANGER,
    TOKEN,
    WALLET,
    award,
    demand,
    market_place,
    terms,
)
from tests.protocol.deals import NOW, SPEC
from tests.scheduler.samples import named_by


async def test_a_good_award_is_taken_once(tmp_path: Path) -> None:
    async with market_place(tmp_path) as place:
        for _ in range(2):
            reply = await place.hand(award(demand()))
            assert (reply.accepted, reply.reason) == (True, "")
        (taken,) = place.agent.open_deals()
        assert isinstance(taken.state, Preparing)
        assert taken.state.work.requester_peer == place.requester.peer_id
        assert taken.key == key_of(taken.state.work.deal_id)


async def test_a_direct_award_that_is_handed_over_twice_at_once_is_taken_once(tmp_path: Path) -> None:
    async with market_place(tmp_path) as place:
        wanted = demand()
        place.market.earmark_wei = Wei(PRICE + wanted.verification_wei)
        sent, accepted = award(wanted, mode=Mode.DIRECT), list[bool]()

        async def hand() -> None:
            accepted.append((await place.hand(sent)).accepted)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hand)
            nursery.start_soon(hand)
        assert accepted == [True, True]
        assert len(place.agent.open_deals()) == 1


DECLINED: list[Any] = [
    pytest.param({"provider": STRANGER.address}, "names another provider", id="for another provider"),
    pytest.param({"assign_by": NOW}, "has expired", id="expired"),
    pytest.param({"commit_by": UnixTime(NOW + SPEC.resources.timeout_s)}, "too little time", id="too late"),
    pytest.param({"price_wei": Wei(1), "fraud_bond_wei": Wei(0)}, "below the bid", id="below the bid"),
]


@pytest.mark.parametrize(("changes", "reason"), DECLINED)
async def test_an_award_that_does_not_suit_is_declined(tmp_path: Path, changes: Any, reason: str) -> None:
    async with market_place(tmp_path) as place:
        reply = await place.hand(award(demand(), **changes))
        assert not reply.accepted
        assert reason in reply.reason
        assert place.agent.open_deals() == ()


ALTERED: list[dict[str, Any]] = [
    {"requester": STRANGER.address},
    {"provider": Address(b"\x55" * 20)},
    {"demand_digest": DemandDigest(b"\x55" * 32)},
    {"price_wei": Wei(2 * TOKEN)},
    {"verification_wei": Wei(1)},
    {"fraud_bond_wei": Wei(1)},
    {"assign_by": UnixTime(NOW + 31)},
    {"commit_by": UnixTime(NOW + 131)},
    {"window_s": 61},
    {"mode": Mode.DIRECT},
    {"salt": Digest(b"\x55" * 32)},
]


def test_every_field_of_the_terms_is_altered_below() -> None:
    assert [name for change in ALTERED for name in change] == list(terms(demand()).__dataclass_fields__)


@pytest.mark.parametrize("change", ALTERED, ids=lambda change: next(iter(change)))
async def test_an_altered_award_is_its_senders_fault(tmp_path: Path, change: dict[str, Any]) -> None:
    async with market_place(tmp_path) as place:
        place.market.earmark_wei = Wei(1000 * TOKEN)
        sent = award(demand())
        altered = replace(sent, award=replace(sent.award, terms=replace(sent.award.terms, **change)))
        with pytest.raises(Refused, match="says that our request is invalid"):
            await place.hand(altered)
        assert place.agent.open_deals() == ()


OTHER_SPEC = replace(SPEC, argv=("false",))
GREEDY = replace(SPEC, resources=replace(SPEC.resources, memory_bytes=2**40))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"spec": OTHER_SPEC}, id="another spec"),
        pytest.param({"spec": GREEDY}, id="a spec that needs more"),
        pytest.param({"demand": replace(demand(), first_step=1)}, id="other steps"),
        pytest.param({"demand": replace(demand(), price_cap_wei=Wei(1))}, id="a lower cap"),
        pytest.param({"demand": replace(demand(), verification_wei=Wei(0))}, id="another deposit"),
        pytest.param({"demand": replace(demand(), window_s=1)}, id="another window"),
        pytest.param({"demand": replace(demand(), requester=STRANGER.address)}, id="another requester"),
        pytest.param({"demand": replace(demand(), audit_rate_ppm=Ppm(1_000_000))}, id="a bond above its rate"),
        pytest.param(
            {"demand": replace(demand(), resources=replace(SPEC.resources, timeout_s=1))}, id="fewer resources"
        ),
    ],
)
async def test_an_award_with_another_demand_or_spec_is_its_senders_fault(tmp_path: Path, change: Any) -> None:
    async with market_place(tmp_path) as place:
        with pytest.raises(Refused, match="says that our request is invalid"):
            await place.hand(replace(award(demand()), **change))
        assert place.agent.open_deals() == ()


@pytest.mark.parametrize("steps", [{"first_step": 1}, {"step_limit": 2}], ids=["not from the first", "too many"])
async def test_an_award_for_other_steps_than_its_spec_has_is_its_senders_fault(tmp_path: Path, steps: Any) -> None:
    async with market_place(tmp_path) as place:
        with pytest.raises(Refused, match="says that our request is invalid"):
            await place.hand(award(demand(**steps)))
        assert place.agent.open_deals() == ()


NAMED = named_by(STRANGER.address, Address(b"\x07" * 20), quorum=2)


async def test_named_arbiters_judge_on_machines_that_the_spec_binds(tmp_path: Path) -> None:
    wanted = replace(
        demand(rules=NAMED.rules, arbiters=NAMED.arbiters, hardware_class=HARDWARE),
        verification_wei=NAMED.verification_wei,
    )
    async with market_place(tmp_path, rules=replace(EASY, named_arbiters=frozenset(NAMED.arbiters or ()))) as place:
        with pytest.raises(Refused, match="says that our request is invalid"):
            await place.hand(award(wanted))
        bound = replace(SPEC, hardware_class=HARDWARE)
        sent = replace(award(replace(wanted, spec=spec_digest(bound))), spec=bound)
        # The award is well-formed now; this market has no court.
        assert "no court" in (await place.hand(sent)).reason


@pytest.mark.parametrize("data", [b"", b"\xff", encoding.encode(demand()), b"\0" * 10_000])
async def test_what_is_no_award_is_its_senders_fault(tmp_path: Path, data: bytes) -> None:
    async with market_place(tmp_path) as place:
        with pytest.raises(Refused):
            await place.requester.request(
                place.provider.peer_id, AWARD_PROTOCOL, data, limit_bytes=2**20, timeout_s=REQUEST_S
            )


async def test_an_oversized_award_is_not_even_read(tmp_path: Path) -> None:
    async with market_place(tmp_path) as place:
        with pytest.raises(Unavailable):
            await place.requester.request(
                place.provider.peer_id, AWARD_PROTOCOL, bytes(2**21), limit_bytes=2**20, timeout_s=REQUEST_S
            )


# ---- money ----------------------------------------------------------------------------------------------------------


async def test_without_escrow_there_is_no_deal(tmp_path: Path) -> None:
    async with market_place(tmp_path) as place:
        wanted = demand()
        place.market.free_wei = Wei(PRICE + wanted.verification_wei - 1)
        reply = await place.hand(award(wanted))
        assert "escrow does not cover" in reply.reason
        place.market.free_wei = Wei(PRICE + wanted.verification_wei)
        assert (await place.hand(award(wanted))).accepted


@pytest.mark.parametrize(
    ("earmark", "thawing", "thawed_at", "accepted"),
    [
        pytest.param(0, 0, 0, False, id="none"),
        pytest.param(-1, 0, 0, False, id="one too few"),
        pytest.param(0 + TOKEN, TOKEN + 1, NOW + 1, False, id="thawing"),
        pytest.param(0 + TOKEN, TOKEN, NOW + 10_000, True, id="thawing later"),
    ],
)
async def test_a_direct_deal_needs_an_earmark_that_stays(
    tmp_path: Path, earmark: int, thawing: int, thawed_at: int, *, accepted: bool
) -> None:
    async with market_place(tmp_path) as place:
        wanted = demand()
        needed = PRICE + wanted.verification_wei
        place.market.earmark_wei = Wei(needed + earmark if earmark else 0)
        place.market.thawing_wei, place.market.thawed_at = Wei(thawing), UnixTime(thawed_at)
        reply = await place.hand(award(wanted, mode=Mode.DIRECT))
        assert reply.accepted is accepted, reply.reason
        assert accepted or "earmark" in reply.reason


async def test_a_direct_deal_has_to_be_short(tmp_path: Path) -> None:
    async with market_place(tmp_path) as place:
        place.market.earmark_wei = Wei(1000 * TOKEN)
        commit_by = UnixTime(NOW + MAX_DIRECT_S + 1)
        reply = await place.hand(award(demand(), mode=Mode.DIRECT, commit_by=commit_by))
        assert "has to commit within" in reply.reason


async def test_an_earmark_pays_for_one_deal_at_a_time(tmp_path: Path) -> None:
    """However many awards arrive together."""
    async with market_place(tmp_path, slots=16) as place:
        wanted = demand()
        place.market.earmark_wei = Wei(PRICE + wanted.verification_wei)
        accepted: list[bool] = []

        async def hand(number: int) -> None:
            salt = Digest(number.to_bytes(32, "big"))
            accepted.append((await place.hand(award(wanted, mode=Mode.DIRECT, salt=salt))).accepted)

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(hand, number)
        assert accepted.count(True) == 1


@pytest.mark.parametrize("length", [1, 64, 66, 1024])
async def test_a_direct_award_needs_a_signature_that_can_be_checked_now(tmp_path: Path, length: int) -> None:
    """Nothing is simulated before the work of a DIRECT deal is done, so a contract wallet's waits for a LOCK."""
    async with market_place(tmp_path) as place:
        place.market.earmark_wei = Wei(1000 * TOKEN)
        sent = award(demand(), mode=Mode.DIRECT)
        forged = replace(sent, award=replace(sent.award, signature=b"\x01" * length))
        reply = await place.hand(forged)
        assert "LOCK" in reply.reason
        assert place.agent.open_deals() == ()


async def test_a_contract_wallets_lock_award_is_left_to_the_chain(tmp_path: Path) -> None:
    async with market_place(tmp_path) as place:
        sent = award(demand())
        assert (await place.hand(replace(sent, award=replace(sent.award, signature=b"\x01" * 96)))).accepted


async def test_a_strangers_signature_is_its_senders_fault(tmp_path: Path) -> None:
    async with market_place(tmp_path) as place:
        with pytest.raises(Refused, match="not signed by its requester"):
            await place.hand(award(demand(), signer=STRANGER))


# ---- announced demands ----------------------------------------------------------------------------------------------


def announced(mode: Mode = Mode.AWARD, **changes: Any) -> AwardRequest:
    """An award of an announced demand, as it stands on chain."""
    plain = demand()
    bound = terms(plain, mode=mode, fraud_bond_wei=Wei(0), **changes)
    found = announcement_deal_id(DOMAIN, announced_terms(bound, plain.price_cap_wei))
    wanted = replace(plain, mode=mode, deal_id=found)
    signature = WALLET.sign_digest(signed_digest(DOMAIN, bound, found))
    return AwardRequest(MARKET, SignedAward(bound, found, signature), wanted, SPEC)


async def test_an_announced_award_is_taken_while_the_demand_is_open(tmp_path: Path) -> None:
    async with market_place(tmp_path) as place:
        place.market.free_wei = Wei(0)
        assert (await place.hand(announced())).accepted
        place.market.phase = Phase.ASSIGNED
        reply = await place.hand(announced(salt=Digest(b"\x44" * 32)))
        assert "no longer open" in reply.reason


async def test_an_announced_award_names_its_own_deal(tmp_path: Path) -> None:
    async with market_place(tmp_path) as place:
        sent, other = announced(), announced(salt=Digest(b"\x44" * 32))
        mixed = replace(sent, award=replace(sent.award, deal_id=other.award.deal_id), demand=other.demand)
        with pytest.raises(Refused, match="does not belong to the deal"):
            await place.hand(mixed)


# ---- the machine and its operator -----------------------------------------------------------------------------------


async def test_a_full_machine_takes_nothing(tmp_path: Path) -> None:
    async with market_place(tmp_path, slots=1) as place:
        assert (await place.hand(award(demand()))).accepted
        reply = await place.hand(award(demand(), salt=Digest(b"\x44" * 32)))
        assert reply.reason.startswith("busy")


async def test_a_draining_node_takes_nothing(tmp_path: Path) -> None:
    async with market_place(tmp_path) as place:
        place.bidding.is_draining = True
        assert "no new work" in (await place.hand(award(demand()))).reason


async def test_an_image_that_the_operator_denies_is_not_taken(tmp_path: Path) -> None:
    async with market_place(tmp_path, rules=Rules(images_denied=("registry.test/",))) as place:
        assert not (await place.hand(award(demand()))).accepted


async def test_too_small_a_stake_bids_on_nothing(tmp_path: Path) -> None:
    async with market_place(tmp_path) as place:
        place.market.stake_wei = Wei(1)
        reply = await place.hand(award(demand()))
        assert not reply.accepted
        assert "stake" in reply.reason
