"""A record that exists is well-formed: each field's limits, one at a time, from a record that is right."""

from dataclasses import replace
from typing import Any

import pytest

from capanode.protocol import encoding
from capanode.protocol.ids import (
    ZERO_ADDRESS,
    Address,
    Cid,
    DealId,
    DemandDigest,
    Digest,
    PeerId,
    Ppm,
    UnixTime,
    Wei,
)
from capanode.protocol.records import (
    MAX_ARGUMENTS,
    MAX_INPUTS,
    MAX_SIGNATURE_BYTES,
    MAX_STEPS,
    MAX_TEXT_BYTES,
    MAX_TIMEOUT_S,
    ArchiveImage,
    Bid,
    Demand,
    GpuNeed,
    Image,
    Input,
    Mode,
    RegistryImage,
    Resources,
    SignedAward,
    SignedBid,
    SignedDemand,
    Spec,
    Steps,
    Terms,
    VerificationClass,
)
from tests.vectors import golden

VECTORS = golden.load("records")
SPEC = encoding.decode(Spec, VECTORS["spec"]["bytes"])
GPU_SPEC = encoding.decode(Spec, VECTORS["spec_gpu"]["bytes"])
DEMAND = encoding.decode(Demand, VECTORS["demand"]["bytes"])
STEPPED = encoding.decode(Spec, VECTORS["spec_steps"]["bytes"])
RULED = encoding.decode(Demand, VECTORS["demand_rules"]["bytes"])
STEPS = Steps(20, 30, 50 * 2**20)
BID = encoding.decode(Bid, VECTORS["bid"]["bytes"])
CID = Cid("bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku")
INPUT = Input("data.csv", Digest(bytes(32)), 5, CID, None)
ARCHIVE = ArchiveImage(CID, Digest(bytes(32)), 1)
GPU = GpuNeed(1, "", "", 0, 0)
LIMITS = Resources(10, 2**22, 2**20, 1, None)
TERMS = Terms(
    requester=Address(b"r" * 20),
    provider=Address(b"p" * 20),
    demand_digest=DemandDigest(bytes(32)),
    price_wei=Wei(1),
    verification_wei=Wei(0),
    fraud_bond_wei=Wei(0),
    assign_by=UnixTime(1),
    commit_by=UnixTime(1),
    window_s=1,
    mode=Mode.LOCK,
    salt=Digest(bytes(32)),
)

REFUSED: list[tuple[Any, dict[str, Any]]] = [
    (SPEC, {"argv": ("x",) * (MAX_ARGUMENTS + 1)}),
    (SPEC, {"argv": ("x" * (MAX_TEXT_BYTES + 1),)}),
    (SPEC, {"argv": ("a\0b",)}),
    (SPEC, {"env": (("B", ""), ("A", ""))}),
    (SPEC, {"env": (("A", "1"), ("A", "2"))}),
    (SPEC, {"env": (("1A", ""),)}),
    (SPEC, {"env": (("A=B", ""),)}),
    (SPEC, {"env": (("A", "\0"),)}),
    (SPEC, {"env": (("A", "x" * MAX_TEXT_BYTES),)}),
    (SPEC, {"inputs": SPEC.inputs[::-1]}),
    (SPEC, {"inputs": (INPUT, INPUT)}),
    (SPEC, {"inputs": tuple(replace(INPUT, name=f"{n:04}") for n in range(MAX_INPUTS + 1))}),
    (INPUT, {"name": ""}),
    (INPUT, {"name": ".."}),
    (INPUT, {"name": "a/b"}),
    (INPUT, {"name": "x" * 129}),
    (INPUT, {"name": "a\n"}),
    (INPUT, {"sha256": Digest(b"")}),
    (INPUT, {"size_bytes": -1}),
    (INPUT, {"size_bytes": 2**44}),
    (INPUT, {"cid": None}),
    (INPUT, {"cid": Cid("Qm")}),
    (INPUT, {"url": "https://example.org/"}),
    *(
        (replace(INPUT, cid=None, url="https://example.org/"), {"url": url})
        for url in (
            "http://example.org/",
            "https://",
            "https:///x",
            "https://user:pass@example.org/",
            "https://example.org/ x",
            "https://example.org/#x",
            "https://example.org/" + "x" * 2048,
            "file:///etc/passwd",
        )
    ),
    (LIMITS, {"cpu_millis": 9}),
    (LIMITS, {"cpu_millis": 1_024_001}),
    (LIMITS, {"memory_bytes": 2**22 - 1}),
    (LIMITS, {"memory_bytes": 2**50}),
    (LIMITS, {"disk_bytes": 2**20 - 1}),
    (LIMITS, {"timeout_s": 0}),
    (LIMITS, {"timeout_s": MAX_TIMEOUT_S + 1}),
    (GPU, {"count": 0}),
    (GPU, {"count": 65}),
    (GPU, {"vendor": "x" * 33}),
    (GPU, {"model": "x" * 65}),
    (GPU, {"min_memory_bytes": -1}),
    (GPU, {"min_compute_capability": 1000}),
    (ARCHIVE, {"cid": Cid("x")}),
    (ARCHIVE, {"image_id": Digest(b"")}),
    (ARCHIVE, {"size_bytes": 0}),
    (ARCHIVE, {"size_bytes": 2**40}),
    (SPEC.image, {"registry": None}),
    (SPEC.image, {"archive": ARCHIVE}),
    (RegistryImage("a@sha256:" + "0" * 64), {"reference": "a:latest"}),
    (RegistryImage("a@sha256:" + "0" * 64), {"reference": "a@sha256:" + "0" * 63}),
    (RegistryImage("a@sha256:" + "0" * 64), {"reference": "A@sha256:" + "0" * 64}),
    (DEMAND, {"requester": ZERO_ADDRESS}),
    (DEMAND, {"requester": Address(b"")}),
    (DEMAND, {"peer": PeerId("")}),
    (DEMAND, {"peer": PeerId("x" * 129)}),
    (DEMAND, {"addresses": ("x",) * 9}),
    (DEMAND, {"addresses": ("",)}),
    (DEMAND, {"addresses": ("x" * 257,)}),
    (DEMAND, {"input_root": Digest(b"")}),
    (DEMAND, {"first_step": -1}),
    (DEMAND, {"step_limit": 0}),
    (DEMAND, {"step_limit": 2**32}),
    (RULED, {"verification": VerificationClass.NONE}),
    (RULED, {"audit_rate_ppm": Ppm(1)}),
    (STEPS, {"limit": 0}),
    (STEPS, {"limit": MAX_STEPS + 1}),
    (STEPS, {"timeout_s": 0}),
    (STEPS, {"timeout_s": MAX_TIMEOUT_S + 1}),
    (STEPS, {"state_bytes": 2**20 - 1}),
    (STEPS, {"state_bytes": 2**50}),
    (STEPPED, {"steps": Steps(20, 31, 50 * 2**20)}),
    (STEPPED, {"steps": Steps(20, 30, 51 * 2**20)}),
    (DEMAND, {"hardware_class": "x" * 65}),
    (DEMAND, {"image_bytes": -1}),
    (DEMAND, {"input_bytes": 2**50}),
    (DEMAND, {"price_cap_wei": Wei(0)}),
    (DEMAND, {"price_cap_wei": Wei(2**96)}),
    (DEMAND, {"verification_wei": Wei(-1)}),
    (DEMAND, {"audit_rate_ppm": Ppm(1_000_001)}),
    (DEMAND, {"window_s": 0}),
    (DEMAND, {"commit_within_s": 2**32}),
    (DEMAND, {"retention_s": -1}),
    (DEMAND, {"deal_id": DealId(bytes(32))}),
    (DEMAND, {"mode": Mode.AWARD}),
    (DEMAND, {"mode": Mode.FIRST, "deal_id": DealId(b"")}),
    (DEMAND, {"expires_at": UnixTime(0)}),
    (DEMAND, {"expires_at": UnixTime(2**40)}),
    (BID, {"provider": Address(b"")}),
    (BID, {"peer": PeerId("")}),
    (BID, {"demand": Digest(b"")}),
    (BID, {"price_wei": Wei(0)}),
    (BID, {"ready_in_s": -1}),
    (BID, {"expires_at": UnixTime(0)}),
    (SignedBid(BID, b"s"), {"signature": b""}),
    (SignedBid(BID, b"s"), {"signature": b"s" * (MAX_SIGNATURE_BYTES + 1)}),
    (SignedDemand(Address(b"\x0a" * 20), DEMAND, b"s"), {"signature": b""}),
    (SignedDemand(Address(b"\x0a" * 20), DEMAND, b"s"), {"market": Address(b"")}),
    (TERMS, {"requester": Address(b"")}),
    (TERMS, {"salt": Digest(b"")}),
    (TERMS, {"price_wei": Wei(0)}),
    (TERMS, {"price_wei": Wei(2**96)}),
    (TERMS, {"fraud_bond_wei": Wei(2**96)}),
    (TERMS, {"assign_by": UnixTime(2**40)}),
    (TERMS, {"commit_by": UnixTime(0)}),
    (TERMS, {"window_s": 2**32}),
    (SignedAward(TERMS, None, b"s"), {"deal_id": DealId(bytes(32))}),
    (SignedAward(TERMS, None, b"s"), {"terms": replace(TERMS, mode=Mode.AWARD)}),
    (SignedAward(TERMS, None, b"s"), {"signature": b""}),
]


@pytest.mark.parametrize(("right", "change"), REFUSED, ids=lambda value: str(value)[:40])
def test_a_field_out_of_its_limits_is_refused(right: Any, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        replace(right, **change)


def test_limits_are_inclusive() -> None:
    replace(SPEC, argv=("x" * 64,) * MAX_ARGUMENTS)
    replace(LIMITS, cpu_millis=1_024_000, memory_bytes=2**50 - 1, timeout_s=MAX_TIMEOUT_S)
    replace(DEMAND, price_cap_wei=Wei(2**96 - 1), step_limit=2**32 - 1, expires_at=UnixTime(2**40 - 1))
    replace(DEMAND, mode=Mode.FIRST, deal_id=DealId(bytes(32)))
    replace(INPUT, name="x" * 128, size_bytes=2**44 - 1)
    assert Image(None, ARCHIVE) != SPEC.image
    assert GPU_SPEC.resources.gpu is not None
