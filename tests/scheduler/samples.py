"""A demand, a host and a market that fit each other; tests change one thing."""

from dataclasses import replace
from functools import cache
from typing import Any

from capanode.protocol import encoding
from capanode.protocol.ids import Address, Digest, PeerId, Ppm, SpecDigest, UnixTime, Wei
from capanode.protocol.named_set import NamedSet, in_order
from capanode.protocol.records import Bid, Demand, GpuNeed, Mode, Resources, SignedBid, VerificationClass
from capanode.protocol.tariff import TARIFF
from capanode.scheduler.capacity import Capacity, Gpu, GpuUuid
from capanode.scheduler.feasibility import Host, Market
from capanode.scheduler.judges import named_rules
from capanode.scheduler.pricing import Gas, Rates
from tests.protocol.deals import SPEC

NOW = UnixTime(1_800_000_000)
PROVIDER = Address(b"p" * 20)
TOKEN = 10**18

DEMAND = Demand(
    requester=Address(b"r" * 20),
    peer=PeerId("16Uiu2HAm"),
    addresses=(),
    spec=SpecDigest(b"s" * 32),
    input_root=Digest(b"i" * 32),
    first_step=0,
    step_limit=1,
    verification=VerificationClass.EXACT,
    hardware_class="x86_64-v3",
    resources=Resources(1000, 2**29, 2**28, 60, None),
    image_bytes=40 * 2**20,
    input_bytes=2**20,
    price_cap_wei=Wei(10 * TOKEN),
    verification_wei=Wei(3 * 10**16),
    audit_rate_ppm=Ppm(200_000),
    window_s=600,
    commit_within_s=600,
    retention_s=3600,
    mode=Mode.LOCK,
    deal_id=None,
    expires_at=UnixTime(NOW + 60),
    salt=Digest(b"x" * 32),
)

CAPACITY = Capacity(slots=4, cpu_millis=8000, memory_bytes=16 * 2**30, disk_bytes=100 * 2**30)
HOST = Host(PROVIDER, "x86_64-v3", CAPACITY, Wei(1000 * TOKEN), Wei(0), 0)
MARKET = Market(has_court=False, window_floor_s=5, arbiter_fee_wei=Wei(10**16), transfer_bytes_per_s=4 * 2**20)
RATES = Rates(
    cpu_hour_wei=Wei(2 * 10**16),
    memory_gib_hour_wei=Wei(3 * 10**15),
    disk_gib_hour_wei=Wei(10**14),
    gpu_hour_wei=Wei(TOKEN),
    floor_wei=Wei(10**15),
    tokens_per_coin_wei=Wei(1000 * TOKEN),
    margin_ppm=200_000,
    load_ppm=500_000,
)
GAS = Gas(units=150_000, price_wei=Wei(10**9))


def demand(**changes: Any) -> Demand:
    return replace(DEMAND, **changes)


def named_by(*arbiters: Address, quorum: int, **changes: Any) -> Demand:
    """A demand that names its arbiters."""
    named = NamedSet(in_order(arbiters), quorum)
    fee = TARIFF.arbiter_fee_up_wei(DEMAND.price_cap_wei, DEMAND.step_limit)
    rules = named_rules(SPEC, named, DEMAND.hardware_class, DEMAND.audit_rate_ppm, fee)
    return demand(**{"verification_wei": 3 * fee, "rules": rules, "arbiters": named.arbiters, **changes})


def resources(**changes: Any) -> Resources:
    return replace(DEMAND.resources, **changes)


def gpu(number: int, memory_gib: int = 80, model: str = "NVIDIA H100 PCIe", capability: int = 90) -> Gpu:
    return Gpu(GpuUuid(f"GPU-{number}"), "nvidia", model, memory_gib * 2**30, capability)


def gpu_need(count: int = 1, model: str = "", memory_gib: int = 0, capability: int = 0) -> GpuNeed:
    return GpuNeed(count, "", model, memory_gib * 2**30, capability)


_digest_of = cache(encoding.digest)


def bid(price: int, provider: int = 1, wanted: Demand = DEMAND, **changes: Any) -> SignedBid:
    address = Address(bytes([provider]) * 20)
    plain = Bid(
        provider=address,
        signer=address,
        peer=PeerId(f"peer{provider}"),
        demand=_digest_of(wanted),
        price_wei=Wei(price),
        ready_in_s=0,
        hardware_class="x86_64-v3",
        expires_at=UnixTime(NOW + 60),
    )
    return SignedBid(replace(plain, **changes), b"s" * 65)
