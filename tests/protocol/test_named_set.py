"""Named sets: what the chain and both sides take for one, and whose word is enough."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capanode.protocol import encoding
from capanode.protocol.encoding import BadMessage
from capanode.protocol.ids import ZERO_ADDRESS, ZERO_DIGEST, Address, Ppm, Wei
from capanode.protocol.judging import Rules, VerificationClass, named_pool
from capanode.protocol.messages import MAX_GOSSIP_BYTES
from capanode.protocol.named_set import MOST_NAMED, NamedSet, in_order
from capanode.protocol.records import Demand
from tests.protocol.deals import REQUESTER, demand

A, B, C = (Address(bytes([number]) * 20) for number in (0x0A, 0x0B, 0x0C))
ADDRESSES = st.binary(min_size=20, max_size=20).map(Address).filter(lambda one: one != ZERO_ADDRESS)
SETS = st.sets(ADDRESSES, min_size=1, max_size=MOST_NAMED)


def rules_of(arbiters: Sequence[Address], quorum: int) -> Rules:
    return Rules(
        verification=VerificationClass.EXACT,
        sealed=False,
        quorum=quorum,
        pool=named_pool(arbiters),
        comparator=ZERO_DIGEST,
        max_state_bytes=1,
        step_s=1,
        arbiter_fee_wei=Wei(1),
        audit_rate_ppm=Ppm(200_000),
    )


def judged(arbiters: Sequence[Address], quorum: int) -> Demand:
    return replace(demand(), rules=rules_of(arbiters, quorum), arbiters=tuple(arbiters), hardware_class="x86_64-v3")


def forged(**changes: Any) -> bytes:
    """The bytes of a demand that no honest node could make."""
    record = judged((A, B, C), 2)
    for name, value in changes.items():
        object.__setattr__(record, name, value)
    return encoding.encode(record)


@given(SETS)
def test_a_set_has_one_spelling_and_needs_more_than_half(chosen: set[Address]) -> None:
    ordered = in_order(tuple(chosen))
    assert ordered == in_order(ordered[::-1]) == tuple(sorted(chosen))
    most = len(ordered)
    assert NamedSet(ordered, most).pool == NamedSet(ordered, most // 2 + 1).pool == named_pool(chosen)
    for quorum in (most // 2, most + 1):
        with pytest.raises(ValueError, match="have to agree"):
            NamedSet(ordered, quorum)
    if most > 1:
        with pytest.raises(ValueError, match="not in ascending order"):
            NamedSet(ordered[::-1], most)


@pytest.mark.parametrize(
    ("arbiters", "sentence"),
    [
        ((), "1 to 15 arbiters, not 0"),
        (tuple(Address(number.to_bytes(20, "big")) for number in range(1, 17)), "1 to 15 arbiters, not 16"),
        ((A, B, A), f"0x{A.hex()} is named twice"),
        ((A, ZERO_ADDRESS), "malformed"),
        ((A, Address(b"short")), "malformed"),
    ],
)
def test_what_is_no_set_is_said_in_a_sentence(arbiters: tuple[Address, ...], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        in_order(arbiters)


def test_whose_word_is_enough() -> None:
    named = NamedSet((A, B, C), 2)
    assert [named.is_backed_by(trusted) for trusted in ((), (A,), (A, REQUESTER), (A, C), (A, B, C))] == [
        False,
        False,
        False,
        True,
        True,
    ]


def test_a_demand_brings_the_names_that_its_rules_bind() -> None:
    wanted = judged((A, B, C), 2)
    assert wanted.named == NamedSet((A, B, C), 2)
    assert encoding.decode(Demand, encoding.encode(wanted)) == wanted
    assert len(encoding.encode(judged([Address(bytes([at]) * 20) for at in range(20, 35)], 8))) < MAX_GOSSIP_BYTES
    assert demand().named is None
    assert b"arbiters" not in encoding.encode(demand())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"arbiters": None}, "arbiters that are not named"),
        ({"rules": None}, "without rules"),
        ({"arbiters": (A, B)}, "not those that the rules bind"),
        ({"arbiters": (B, A, C)}, "ascending"),
        ({"arbiters": (A, A, B)}, "named twice"),
        ({"arbiters": tuple(Address(at.to_bytes(20, "big")) for at in range(1, 10_001))}, "not 10000"),
        ({"rules": rules_of((A, B, C), 4)}, "2 to 3 have to agree"),
        ({"rules": rules_of((A, B, C), 1)}, "2 to 3 have to agree"),
        ({"rules": rules_of((A, B, C), 255)}, "2 to 3 have to agree"),
        ({"rules": rules_of((A, B, C), 0)}, "have to agree"),
        ({"requester": B}, "its own arbiter"),
    ],
)
def test_a_hostile_demand_is_refused_as_it_is_read(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadMessage, match=sentence):
        encoding.decode(Demand, forged(**changes))
