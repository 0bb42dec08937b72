import dataclasses
import hashlib
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, ClassVar

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capanode.protocol import encoding
from capanode.protocol.encoding import BadMessage
from capanode.protocol.ids import Address, Cid, DealId, Digest, PeerId, Ppm, SpecDigest, UnixTime, Wei
from capanode.protocol.judging import Rules
from capanode.protocol.named_set import MOST_NAMED, NamedSet, in_order
from capanode.protocol.records import (
    ArchiveImage,
    Bid,
    Demand,
    GpuNeed,
    Image,
    Input,
    Mode,
    RegistryImage,
    Resources,
    SignedBid,
    Spec,
    VerificationClass,
)
from tests.protocol.test_comparator import MIXED
from tests.vectors import golden
from tests.vectors.generate import cbor as reference_cbor

VECTORS = golden.load("records")
KINDS: dict[str, type[Any]] = {"spec": Spec, "demand": Demand, "bid": Bid}

digests = st.binary(min_size=32, max_size=32).map(Digest)
addresses = st.binary(min_size=20, max_size=20).filter(any).map(Address)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
env_names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
cids = st.from_regex(r"b[a-z2-7]{20,60}", fullmatch=True).map(Cid)
gpus = st.builds(
    GpuNeed,
    st.integers(1, 64),
    st.sampled_from(["", "nvidia", "amd"]),
    texts,
    st.integers(0, 2**50 - 1),
    st.integers(0, 999),
)
resources = st.builds(
    Resources,
    st.integers(10, 1_024_000),
    st.integers(2**22, 2**50 - 1),
    st.integers(2**20, 2**50 - 1),
    st.integers(1, 7 * 86_400),
    st.none() | gpus,
)
images = st.builds(Image, st.none(), st.builds(ArchiveImage, cids, digests, st.integers(1, 2**40 - 1))) | (
    st.builds(
        Image,
        digests.map(lambda digest: RegistryImage(f"ghcr.io/some/image@sha256:{digest.hex()}")),
        st.none(),
    )
)
sources = st.tuples(cids, st.none()) | st.tuples(st.none(), st.just("https://example.org/data?x=1"))


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    inputs = [
        Input(name, draw(digests), draw(st.integers(0, 2**44 - 1)), *draw(sources))
        for name in sorted(draw(st.sets(names, max_size=4)))
    ]
    verification = draw(st.sampled_from(VerificationClass))
    return Spec(
        image=draw(images),
        argv=tuple(draw(st.lists(texts, max_size=4))),
        env=tuple((name, draw(texts)) for name in sorted(draw(st.sets(env_names, max_size=4)))),
        inputs=tuple(inputs),
        resources=draw(resources),
        verification=verification,
        deterministic_stdout=draw(st.booleans()),
        comparator=MIXED if verification is VerificationClass.TOLERANCE else None,
        hardware_class=draw(st.none() | st.text(min_size=1, max_size=64)),
    )


@st.composite
def named_sets(draw: st.DrawFn) -> NamedSet:
    arbiters = in_order(draw(st.sets(addresses, min_size=1, max_size=MOST_NAMED)))
    return NamedSet(arbiters, draw(st.integers(len(arbiters) // 2 + 1, len(arbiters))))


@st.composite
def rules(draw: st.DrawFn, named: NamedSet | None) -> Rules:
    """Rules by which those judge, or arbiters that are drawn."""
    return Rules(
        verification=VerificationClass.REPLICATED,
        sealed=draw(st.booleans()),
        quorum=named.quorum if named is not None else 0,
        pool=named.pool if named is not None else draw(digests),
        comparator=draw(digests),
        max_state_bytes=draw(st.integers(1, 2**64 - 1)),
        step_s=draw(st.integers(1, 2**32 - 1)),
        arbiter_fee_wei=Wei(draw(st.integers(0, 2**96 - 1))),
        audit_rate_ppm=Ppm(draw(st.integers(1, 1_000_000))),
    )


@st.composite
def demands(draw: st.DrawFn) -> Demand:
    mode = draw(st.sampled_from(Mode))
    named = draw(st.none() | named_sets())
    judged = draw(rules(named) if named is not None else st.none() | rules(None))
    arbiters = named.arbiters if named is not None else ()
    return Demand(
        requester=draw(addresses.filter(lambda one: one not in arbiters)),
        peer=PeerId("16Uiu2HAm"),
        addresses=tuple(draw(st.lists(texts.filter(bool), max_size=3))),
        spec=SpecDigest(draw(digests)),
        input_root=draw(digests),
        first_step=draw(st.integers(0, 2**16)),
        step_limit=draw(st.integers(1, 2**16)),
        verification=judged.verification if judged is not None else draw(st.sampled_from(VerificationClass)),
        hardware_class="x86-64-v3",
        resources=draw(resources),
        image_bytes=draw(st.integers(0, 2**44 - 1)),
        input_bytes=draw(st.integers(0, 2**44 - 1)),
        price_cap_wei=Wei(draw(st.integers(1, 2**96 - 1))),
        verification_wei=Wei(draw(st.integers(0, 2**96 - 1))),
        audit_rate_ppm=judged.audit_rate_ppm if judged is not None else Ppm(draw(st.integers(0, 1_000_000))),
        window_s=draw(st.integers(1, 2**32 - 1)),
        commit_within_s=draw(st.integers(1, 2**32 - 1)),
        retention_s=draw(st.integers(0, 2**32 - 1)),
        mode=mode,
        deal_id=DealId(draw(digests)) if mode in (Mode.AWARD, Mode.FIRST) else None,
        expires_at=UnixTime(draw(st.integers(1, 2**40 - 1))),
        salt=draw(digests),
        rules=judged,
        arbiters=arbiters or None,
    )


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**100) | st.binary(max_size=30) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


def test_a_later_field_is_left_out_while_it_is_null() -> None:
    name, version, fields = cbor2.loads(VECTORS["demand"]["bytes"])
    assert "rules" not in fields
    assert encoding.decode(Demand, VECTORS["demand"]["bytes"]).rules is None
    with pytest.raises(BadMessage, match="left out"):
        encoding.decode(Demand, reference_cbor([name, version, {**fields, "rules": None}]))
    without = {key: value for key, value in fields.items() if key != "salt"}
    with pytest.raises(BadMessage, match="exactly the fields"):
        encoding.decode(Demand, reference_cbor([name, version, without]))


@pytest.mark.parametrize("name", VECTORS)
def test_record_matches_the_reference(name: str) -> None:
    vector = VECTORS[name]
    record = encoding.decode(KINDS[vector["kind"]], vector["bytes"])
    assert encoding.encode(record) == vector["bytes"]
    assert encoding.digest(record) == vector["digest"]


@given(st.one_of(specs(), demands()))
def test_records_survive_the_way_through_bytes(record: Spec | Demand) -> None:
    data = encoding.encode(record)
    assert encoding.decode(type(record), data) == record
    assert encoding.digest(record) == hashlib.sha256(data).digest()


@given(demands(), demands())
def test_other_records_have_other_digests(one: Demand, other: Demand) -> None:
    assert (one == other) == (encoding.digest(one) == encoding.digest(other))


@given(plain_values)
def test_plain_values_are_deterministic_cbor(value: object) -> None:
    data = encoding.dump(value)
    assert data == reference_cbor(value)
    assert encoding.load(data) == value


@given(st.binary(max_size=300))
def test_any_bytes_are_canonical_or_refused(data: bytes) -> None:
    try:
        value = encoding.load(data)
    except BadMessage:
        return
    assert reference_cbor(value) == data


@given(specs(), st.data())
def test_a_changed_byte_is_another_spec_or_none(spec: Spec, data: st.DataObject) -> None:
    encoded = bytearray(encoding.encode(spec))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        other = encoding.decode(Spec, bytes(encoded))
    except BadMessage:
        return
    assert other != spec


@given(specs(), st.data())
def test_a_cut_record_is_refused(spec: Spec, data: st.DataObject) -> None:
    encoded = encoding.encode(spec)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(BadMessage):
        encoding.decode(Spec, encoded[:cut])


SPELLINGS = {
    "long integer": "1817",
    "two-byte integer": "190001",
    "eight-byte integer": "1b0000000000000001",
    "indefinite list": "9f01ff",
    "indefinite bytes": "5f4101ff",
    "indefinite text": "7f6161ff",
    "indefinite map": "bf616101ff",
    "long length": "980101",
    "keys out of order": "a2616201616101",
    "longer key first": "a262616101616201",
    "repeated key": "a2616101616102",
    "number as key": "a10101",
    "bytes as key": "a1416101",
    "half float": "f93c00",
    "double": "fb3ff0000000000000",
    "not a number": "f97e00",
    "undefined": "f7",
    "simple value": "e0",
    "date": "c074323031332d30332d32315432303a30343a30305a",
    "timestamp": "c11a514b67b0",
    "short bignum": "c24101",
    "bignum with a leading zero": "c249000000000000000100",
    "decimal fraction": "c48221196ab3",
    "decimal with a huge exponent": "c4821b7fffffffffffffff01",
    "bigfloat with a huge exponent": "c5821b7fffffffffffffff01",
    "rational": "d81e820103",
    "rational by zero": "d81e820100",
    "regular expression": "d8236161",
    "a regular expression that is none": "d8236128",
    "message": "d8246161",
    "uuid": "d82550" + "00" * 16,
    "set": "d9010281 01".replace(" ", ""),
    "address": "d9010444c0a80001",
    "self-described": "d9d9f701",
    "shared value": "d81c8101",
    "shared reference": "82d81c8101d81d00",
    "itself inside": "d81c81d81d00",
    "string reference": "d9010082646161616164616161616",
    "unknown tag": "d9ffff01",
    "break alone": "ff",
    "trailing byte": "0100",
    "nothing": "",
    "invalid text": "62c328",
    "surrogate in text": "63eda080",
    "huge list": "9b0fffffffffffffff",
    "huge map": "bb0fffffffffffffff",
    "huge bytes": "5b0fffffffffffffff",
    "huge text": "7b0fffffffffffffff",
    "negative length": "5bffffffffffffffff",
    "deep": "81" * 17 + "01",
    "very deep": "81" * 100_000 + "01",
    "deep map": "a16161" * 17 + "01",
    "deep tags": "c2" * 50_000 + "01",
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_other_spellings_are_refused(spelling: str) -> None:
    with pytest.raises(BadMessage):
        encoding.load(bytes.fromhex(spelling + "0" * (len(spelling) % 2)))


def test_depth_is_bounded_exactly() -> None:
    deepest = bytes([0x81]) * (encoding.MAX_DEPTH - 1) + b"\x01"
    assert encoding.dump(encoding.load(deepest)) == deepest


class Colour(StrEnum):
    RED = "red"


class Number(IntEnum):
    ONE = 1


@dataclass(frozen=True, slots=True)
class Inner:
    flag: bool


@dataclass(frozen=True, slots=True)
class Sample:
    RECORD: ClassVar[tuple[str, int]] = ("sample", 2)

    count: int
    colour: Colour
    number: Number
    inner: Inner | None
    items: tuple[Inner, ...]
    pair: tuple[str, bytes]

    def __post_init__(self) -> None:
        if self.count == 13:
            raise ValueError("thirteen is refused")


SAMPLE = Sample(1, Colour.RED, Number.ONE, None, (Inner(flag=True),), ("a", b"b"))
FIELDS: dict[str, Any] = {
    "count": 1,
    "colour": "red",
    "number": 1,
    "inner": None,
    "items": [{"flag": True}],
    "pair": ["a", b"b"],
}


def test_sample_is_the_map_of_its_fields() -> None:
    assert encoding.encode(SAMPLE) == reference_cbor(["sample", 2, FIELDS])
    assert encoding.decode(Sample, reference_cbor(["sample", 2, FIELDS])) == SAMPLE


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"count": True}, "sample.count"),
        ({"count": "1"}, "sample.count"),
        ({"count": 13}, "thirteen"),
        ({"colour": "blue"}, "sample.colour"),
        ({"colour": b"red"}, "sample.colour"),
        ({"colour": ["red"]}, "sample.colour"),
        ({"number": 2}, "sample.number"),
        ({"number": True}, "sample.number"),
        ({"inner": False}, "sample.inner"),
        ({"inner": {}}, "sample.inner"),
        ({"items": {}}, "sample.items"),
        ({"items": [None]}, "items\\[0\\]"),
        ({"items": [{"flag": 1}]}, "items\\[0\\].flag"),
        ({"pair": ["a"]}, "sample.pair"),
        ({"pair": ["a", "b"]}, "sample.pair"),
        ({"more": 1}, "exactly the fields"),
    ],
)
def test_wrong_fields_are_refused_by_name(change: dict[str, Any], place: str) -> None:
    with pytest.raises(BadMessage, match=place):
        encoding.decode(Sample, reference_cbor(["sample", 2, {**FIELDS, **change}]))


@pytest.mark.parametrize("missing", FIELDS)
def test_missing_fields_are_refused(missing: str) -> None:
    fields = {name: value for name, value in FIELDS.items() if name != missing}
    with pytest.raises(BadMessage, match="exactly the fields"):
        encoding.decode(Sample, reference_cbor(["sample", 2, fields]))


@pytest.mark.parametrize(
    "value",
    [
        ["sample", 1, FIELDS],
        ["other", 2, FIELDS],
        ["sample", 2],
        ["sample", 2, FIELDS, 0],
        ["sample", 2, []],
        ["sample", True, FIELDS],
        FIELDS,
        None,
    ],
    ids=["version", "name", "short", "long", "list", "bool", "bare", "null"],
)
def test_wrong_wrappers_are_refused(value: object) -> None:
    with pytest.raises(BadMessage, match="expected the record sample/2"):
        encoding.decode(Sample, reference_cbor(value))


def test_refusals_do_not_repeat_a_strangers_text_at_length() -> None:
    with pytest.raises(BadMessage) as caught:
        encoding.decode(Sample, reference_cbor(["x" * 10_000, 2, FIELDS]))
    assert len(str(caught.value)) < 200


@given(demands())
def test_every_field_changes_the_digest(demand: Demand) -> None:
    changed = dataclasses.replace(demand, window_s=demand.window_s % (2**32 - 1) + 1)
    assert encoding.digest(changed) != encoding.digest(demand)


def test_a_signed_record_holds_the_record_and_nothing_else() -> None:
    bid = encoding.decode(Bid, VECTORS["bid"]["bytes"])
    signed = SignedBid(bid, b"s" * 65)
    assert encoding.decode(SignedBid, encoding.encode(signed)) == signed
    with pytest.raises(BadMessage):
        encoding.decode(Bid, encoding.encode(signed))


def test_the_library_agrees_with_the_reference_on_map_order() -> None:
    value = {"aaa": 1, "b": 2, "": 3, "é": 4, "aa": 5}
    assert cbor2.dumps(value, canonical=True) == reference_cbor(value)
