"""Gossip from strangers: what is judged how, how little of it is needed, and that nothing gets through or stops us."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capanode.node.announced.demand_filter import DEMANDS, demand_filter
from capanode.node.announced.gossip_judge import KNOWN, GossipJudge
from capanode.node.announced.offers import OFFERS, offer_filter
from capanode.node.chain.anvil import development_key
from capanode.node.keys.signer import LocalSigner
from capanode.node.p2p.port import Verdict
from capanode.protocol import encoding
from capanode.protocol.ids import Address, Digest, PeerId, UnixTime
from capanode.protocol.messages import MAX_GOSSIP_BYTES
from capanode.protocol.records import Demand, SignedDemand, SignedOffer
from capanode.protocol.typed_data import demand_hint_digest, domain, offer_digest
from tests.node.test_bid_window import offer
from tests.protocol import deals
from tests.protocol.deals import NOW

TOPIC = "/capanode/test/demands/1"
CHAIN_ID, MARKET = 31337, Address(b"\x0a" * 20)
DOMAIN = domain(CHAIN_ID, MARKET)
WALLET = LocalSigner(development_key(1))
STRANGER = LocalSigner(development_key(2))
PEER = PeerId("16Uiu2requester")
OTHER_PEER = PeerId("16Uiu2stranger")


class Clock:
    """Chain time that tests move."""

    def __init__(self) -> None:
        self.at = NOW

    def __call__(self) -> UnixTime:
        return self.at

    def pass_s(self, seconds: int) -> None:
        self.at = UnixTime(self.at + seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def judge(clock: Clock) -> GossipJudge:
    return demand_filter(CHAIN_ID, clock)


def demand(number: int = 0) -> Demand:
    return replace(deals.demand(), requester=WALLET.address, peer=PEER, salt=Digest(number.to_bytes(32, "big")))


def signed(subject: Demand, signer: LocalSigner = WALLET) -> bytes:
    return encoding.encode(SignedDemand(MARKET, subject, signer.sign_digest(demand_hint_digest(DOMAIN, subject))))


GOOD = signed(demand())


def test_a_good_demand_is_accepted(judge: GossipJudge) -> None:
    assert judge(TOPIC, PEER, GOOD) is Verdict.ACCEPT


def test_a_repeat_is_spread_again_and_not_more_than_once_a_second(judge: GossipJudge, clock: Clock) -> None:
    """A requester repeats a demand that nobody has taken; nobody may make others repeat it endlessly."""
    verdicts = [judge(TOPIC, PEER, GOOD) for _ in range(3)]
    clock.pass_s(3)
    verdicts.append(judge(TOPIC, PEER, GOOD))
    assert verdicts == [Verdict.ACCEPT, Verdict.IGNORE, Verdict.IGNORE, Verdict.ACCEPT]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff" * 100, id="no CBOR"),
        pytest.param(GOOD[:-1], id="cut"),
        pytest.param(GOOD + b"\0", id="more"),
        pytest.param(encoding.dump(["signed-demand", 1, {}]), id="no fields"),
        pytest.param(encoding.dump(["signed-demand", 2, {}]), id="another version"),
        pytest.param(encoding.encode(demand()), id="unsigned"),
        pytest.param(encoding.encode(SignedDemand(MARKET, demand(), b"\0")), id="no signature"),
        pytest.param(encoding.encode(SignedDemand(MARKET, demand(), b"\x1b" * 65)), id="no one's signature"),
        pytest.param(signed(demand(), STRANGER), id="a stranger's signature"),
        pytest.param(b"\x81" * 4000, id="nested"),
        pytest.param(GOOD.ljust(MAX_GOSSIP_BYTES + 1, b"\0"), id="oversized"),
    ],
)
def test_what_is_malformed_or_badly_signed_is_rejected(judge: GossipJudge, data: bytes) -> None:
    assert judge(TOPIC, PEER, data) is Verdict.REJECT


def test_an_altered_demand_is_rejected(judge: GossipJudge) -> None:
    honest = encoding.decode(SignedDemand, GOOD)
    changes: tuple[dict[str, Any], ...] = (
        {"price_cap_wei": 1},
        {"window_s": 1},
        {"salt": Digest(b"\x7e" * 32)},
        {"addresses": ("/x",)},
    )
    for change in changes:
        altered = replace(honest, demand=replace(honest.demand, **change))
        assert judge(TOPIC, PEER, encoding.encode(altered)) is Verdict.REJECT


def test_another_networks_demand_is_rejected(judge: GossipJudge) -> None:
    elsewhere = demand_hint_digest(domain(1, Address(b"\x0a" * 20)), demand())
    data = encoding.encode(SignedDemand(MARKET, demand(), WALLET.sign_digest(elsewhere)))
    assert judge(TOPIC, PEER, data) is Verdict.REJECT


def test_a_demand_from_another_peer_than_it_names_is_rejected(judge: GossipJudge) -> None:
    assert judge(TOPIC, OTHER_PEER, GOOD) is Verdict.REJECT


def test_an_expired_demand_is_ignored(judge: GossipJudge, clock: Clock) -> None:
    clock.at = demand().expires_at
    assert judge(TOPIC, PEER, GOOD) is Verdict.IGNORE


def test_a_demand_that_was_known_expires_all_the_same(judge: GossipJudge, clock: Clock) -> None:
    assert judge(TOPIC, PEER, GOOD) is Verdict.ACCEPT
    clock.at = demand().expires_at
    assert judge(TOPIC, PEER, GOOD) is Verdict.IGNORE


def test_a_demand_from_far_ahead_is_rejected(judge: GossipJudge) -> None:
    at_most, too_late = (replace(demand(), expires_at=UnixTime(NOW + DEMANDS.longest_life_s + more)) for more in (0, 1))
    assert judge(TOPIC, PEER, signed(at_most)) is Verdict.ACCEPT
    assert judge(TOPIC, PEER, signed(too_late)) is Verdict.REJECT


def test_a_requester_over_its_rate_is_ignored_and_heard_again_later(judge: GossipJudge, clock: Clock) -> None:
    batch = [signed(demand(number)) for number in range(DEMANDS.per_minute + 3)]
    verdicts = [judge(TOPIC, PEER, data) for data in batch]
    assert verdicts == [Verdict.ACCEPT] * DEMANDS.per_minute + [Verdict.IGNORE] * 3
    clock.pass_s(1)
    verdicts = [judge(TOPIC, PEER, data) for data in batch[-3:]]
    assert verdicts == [Verdict.ACCEPT, Verdict.ACCEPT, Verdict.IGNORE]


def test_a_clock_that_is_set_back_silences_nobody(judge: GossipJudge, clock: Clock) -> None:
    assert judge(TOPIC, PEER, GOOD) is Verdict.ACCEPT
    clock.pass_s(-3600)
    assert judge(TOPIC, PEER, signed(demand(1))) is Verdict.ACCEPT
    assert judge(TOPIC, PEER, GOOD) is Verdict.ACCEPT


def test_a_forger_does_not_use_up_its_victims_rate(judge: GossipJudge) -> None:
    for number in range(2 * DEMANDS.per_minute):
        forged = signed(replace(demand(number), peer=OTHER_PEER), STRANGER)
        assert judge(TOPIC, OTHER_PEER, forged) is not Verdict.ACCEPT
    assert judge(TOPIC, PEER, GOOD) is Verdict.ACCEPT


def test_many_wallets_do_not_raise_one_peers_rate(judge: GossipJudge) -> None:
    accepted = 0
    for number in range(DEMANDS.per_minute + 20):
        wallet = LocalSigner((number + 1).to_bytes(32, "big"))
        data = signed(replace(demand(number), requester=wallet.address), wallet)
        accepted += judge(TOPIC, PEER, data) is Verdict.ACCEPT
    assert accepted == DEMANDS.per_minute


def test_a_forged_copy_does_not_shadow_the_true_demand(judge: GossipJudge) -> None:
    forged = encoding.encode(SignedDemand(MARKET, demand(), b"\x1b" * 65))
    assert judge(TOPIC, PEER, forged) is Verdict.REJECT
    assert judge(TOPIC, PEER, GOOD) is Verdict.ACCEPT
    assert judge(TOPIC, PEER, forged) is Verdict.REJECT


def test_a_burst_of_ten_thousand_is_held_in_bounded_memory(judge: GossipJudge) -> None:
    """From as many peers: each message is decoded once and costs one signature check at most."""
    signature = encoding.decode(SignedDemand, GOOD).signature
    template = demand()
    verdicts = {
        judge(
            TOPIC,
            PeerId(f"peer-{number}"),
            encoding.encode(SignedDemand(MARKET, replace(template, peer=PeerId(f"peer-{number}")), signature)),
        )
        for number in range(10_000)
    }
    assert verdicts == {Verdict.REJECT}
    held = [value for value in vars(judge).values() if isinstance(value, dict)]
    assert max(map(len, held)) == KNOWN


@settings(max_examples=300)
@given(st.binary(max_size=2000))
def test_arbitrary_bytes_are_rejected_quietly(data: bytes) -> None:
    assert demand_filter(CHAIN_ID, Clock())(TOPIC, PEER, data) is Verdict.REJECT


@settings(max_examples=300)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_one_altered_byte_is_one_too_many(at: int, change: int) -> None:
    data = bytearray(GOOD)
    data[at] ^= change
    assert demand_filter(CHAIN_ID, Clock())(TOPIC, PEER, bytes(data)) is not Verdict.ACCEPT


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=20) | st.binary(max_size=70),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=12), inner, max_size=5),
    max_leaves=20,
)


@given(st.sampled_from(sorted(Demand.__dataclass_fields__)), plain)
def test_a_field_of_any_other_kind_is_rejected_quietly(field: str, value: object) -> None:
    loaded: Any = encoding.load(GOOD)
    name, version, fields = loaded
    fields["demand"][field] = value
    data = encoding.dump([name, version, fields])
    assert demand_filter(CHAIN_ID, Clock())(TOPIC, PEER, data) is not Verdict.ACCEPT or data == GOOD


def test_offers_are_judged_alike_and_have_a_rate_of_their_own(clock: Clock) -> None:
    judge, directory = offer_filter(DOMAIN, clock), DOMAIN

    def offered(number: int, signer: LocalSigner = WALLET) -> bytes:
        made = replace(offer(PEER), signer=WALLET.address, slots_left=number)
        return encoding.encode(SignedOffer(made, signer.sign_digest(offer_digest(directory, made))))

    assert judge(TOPIC, PEER, offered(0, STRANGER)) is Verdict.REJECT
    assert judge(TOPIC, OTHER_PEER, offered(0)) is Verdict.REJECT
    verdicts = [judge(TOPIC, PEER, offered(number)) for number in range(OFFERS.per_minute + 3)]
    assert verdicts.count(Verdict.ACCEPT) == OFFERS.per_minute - 1, "one was spent on the forgery"
    assert judge(TOPIC, PEER, offered(0)) is Verdict.IGNORE, "a repeat"
    clock.pass_s(60)
    assert judge(TOPIC, PEER, offered(99)) is Verdict.ACCEPT
