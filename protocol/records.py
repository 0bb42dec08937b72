"""The records that parties exchange: spec, demand, bid, and the terms of a deal.

Frozen, and checked whole when built: a record that exists is well-formed. Whether it is true (a signature,
money behind it, a deadline not yet over) is decided where a clock and a chain are at hand.
"""

import re
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import ClassVar, Final, assert_never

from capanode.protocol.comparator import Comparator
from capanode.protocol.ids import (
    UINT96_MAX,
    ZERO_ADDRESS,
    Address,
    Cid,
    DealId,
    DemandDigest,
    Digest,
    PeerId,
    Ppm,
    SpecDigest,
    UnixTime,
    Wei,
)
from capanode.protocol.judging import Rules
from capanode.protocol.judging import VerificationClass as VerificationClass
from capanode.protocol.named_set import NamedSet

MAX_ARGUMENTS: Final = 1024
MAX_TEXT_BYTES: Final = 65_536
MAX_INPUTS: Final = 256
MAX_ADDRESSES: Final = 8
MAX_OFFERED_MARKETS: Final = 8
MAX_TIMEOUT_S: Final = 7 * 86_400
"""Longest execution, all its steps together, seconds: longer work is several jobs, one from the other's last state."""

MAX_STEPS: Final = 65_535
"""Most steps of a checkpointed job: its leaf list is one blob of at most 2**16 leaves."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_CID = re.compile(r"b[a-z2-7]{20,120}")
_REGISTRY_IMAGE = re.compile(r"[a-z0-9][a-z0-9._:/-]{0,254}@sha256:[0-9a-f]{64}")


class Mode(IntEnum):
    """How a deal comes about; the number is `Terms.mode` on chain. Source: `IDealMarket.Mode`."""

    DIRECT = 0
    LOCK = 1
    AWARD = 2
    FIRST = 3


@dataclass(frozen=True, slots=True)
class RegistryImage:
    """An image in a registry, pinned by the digest of its manifest: `name@sha256:…`."""

    reference: str

    def __post_init__(self) -> None:
        _require(_REGISTRY_IMAGE.fullmatch(self.reference) is not None, "the image is not pinned as name@sha256:…")


@dataclass(frozen=True, slots=True)
class ArchiveImage:
    """An image that travels as a docker archive: the CID of the archive, and the image id (sha256 of its config)."""

    cid: Cid
    image_id: Digest
    size_bytes: int

    def __post_init__(self) -> None:
        _require(_CID.fullmatch(self.cid) is not None, "the image archive's CID is malformed")
        _require(len(self.image_id) == 32, "the image id is not 32 bytes")
        _require(0 < self.size_bytes < 2**40, "the image archive's size is out of range")


@dataclass(frozen=True, slots=True)
class Image:
    """Exactly one of the two ways in which an image is pinned."""

    registry: RegistryImage | None
    archive: ArchiveImage | None

    def __post_init__(self) -> None:
        _require((self.registry is None) != (self.archive is None), "an image has exactly one source")


@dataclass(frozen=True, slots=True)
class GpuNeed:
    """GPUs by need; zero and empty mean "any". Memory in bytes, compute capability times ten (8.6 is 86)."""

    count: int
    vendor: str
    model: str
    min_memory_bytes: int
    min_compute_capability: int

    def __post_init__(self) -> None:
        _require(1 <= self.count <= 64, "the GPU count is out of range")
        _require(len(self.vendor) <= 32 and len(self.model) <= 64, "the GPU vendor or model is too long")
        _require(0 <= self.min_memory_bytes < 2**50, "the GPU memory is out of range")
        _require(0 <= self.min_compute_capability < 1000, "the compute capability is out of range")


@dataclass(frozen=True, slots=True)
class Resources:
    """What one execution may use at most: thousandths of a CPU, bytes, seconds."""

    cpu_millis: int
    memory_bytes: int
    disk_bytes: int
    timeout_s: int
    gpu: GpuNeed | None

    def __post_init__(self) -> None:
        _require(10 <= self.cpu_millis <= 1_024_000, "cpu is out of range (0.01 to 1024)")
        _require(2**22 <= self.memory_bytes < 2**50, "memory is out of range (4 MiB to 1 PiB)")
        _require(2**20 <= self.disk_bytes < 2**50, "disk is out of range (1 MiB to 1 PiB)")
        _require(1 <= self.timeout_s <= MAX_TIMEOUT_S, "the timeout is out of range (1 s to 7 days)")


@dataclass(frozen=True, slots=True)
class Input:
    """One input file: its name in `/in`, sha256 and size of its bytes, and one place to get them from.

    `cid` names a blob at the requester; `url` an https address. The bytes are checked against `sha256` either way.
    """

    name: str
    sha256: Digest
    size_bytes: int
    cid: Cid | None
    url: str | None

    def __post_init__(self) -> None:
        _require(
            _NAME.fullmatch(self.name) is not None,
            "an input's name may have letters, digits, '.', '_' and '-'",
        )
        _require(len(self.sha256) == 32, "an input's sha256 is not 32 bytes")
        _require(0 <= self.size_bytes < 2**44, "an input's size is out of range")
        _require((self.cid is None) != (self.url is None), "an input has exactly one source")
        _require(self.cid is None or _CID.fullmatch(self.cid) is not None, "an input's CID is malformed")
        _require(self.url is None or _is_https(self.url), "an input's url is not https:// or is too long")


@dataclass(frozen=True, slots=True)
class Steps:
    """A checkpointed job: the program is called once a step, at most `limit` times, and leaves a state each time.

    One step takes at most `timeout_s` seconds, one state has at most `state_bytes`.
    """

    limit: int
    timeout_s: int
    state_bytes: int

    def __post_init__(self) -> None:
        _require(1 <= self.limit <= MAX_STEPS, f"the number of steps is out of range (1 to {MAX_STEPS})")
        _require(1 <= self.timeout_s <= MAX_TIMEOUT_S, "the timeout of a step is out of range (1 s to 7 days)")
        _require(2**20 <= self.state_bytes < 2**50, "the size of a state is out of range (1 MiB to 1 PiB)")


@dataclass(frozen=True, slots=True)
class Spec:
    """What is to be computed, content-addressed: equal bytes mean an equal job.

    `argv` empty means the image's own command. `env` is public by definition; keys are sorted and unique.
    `deterministic_stdout` makes standard output part of the leaves. With `steps`, time limit and disk are those of all
    steps together. Without a `comparator` results are compared bit by bit. `hardware_class` is stated where named
    arbiters judge: their pool does not say on which machines a result has to come out.
    """

    RECORD: ClassVar[tuple[str, int]] = ("spec", 1)

    image: Image
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    inputs: tuple[Input, ...]
    resources: Resources
    verification: VerificationClass
    deterministic_stdout: bool
    steps: Steps | None = None
    comparator: Comparator | None = None
    hardware_class: str | None = None

    def __post_init__(self) -> None:
        _require(self.hardware_class is None or 0 < len(self.hardware_class) <= 64, "the hardware class is malformed")
        _require(len(self.argv) <= MAX_ARGUMENTS, "the command has too many arguments")
        _require(sum(len(part.encode()) for part in self.argv) <= MAX_TEXT_BYTES, "the command is too long")
        names = [name for name, _ in self.env]
        _require(names == sorted(set(names)), "the env names are not sorted and unique")
        _require(all(_is_env_name(name) for name in names), "an env name is malformed")
        _require(
            sum(len(n.encode()) + len(v.encode()) for n, v in self.env) <= MAX_TEXT_BYTES,
            "the env is too long",
        )
        _require(
            not any("\0" in text for text in (*self.argv, *(v for _, v in self.env))),
            "a text holds a NUL byte",
        )
        _require(len(self.inputs) <= MAX_INPUTS, "there are too many inputs")
        inputs = [item.name for item in self.inputs]
        _require(inputs == sorted(set(inputs)), "the input names are not sorted and unique")
        whole = self.resources if self.steps is None else whole_resources(self.resources, self.steps)
        _require(self.resources == whole, "time limit and disk are not those of all steps together")
        match self.verification:
            case VerificationClass.TOLERANCE:
                _require(self.comparator is not None, "a tolerance needs a comparator")
            case VerificationClass.REPLICATED:
                pass
            case VerificationClass.EXACT | VerificationClass.NONE:
                _require(self.comparator is None, "only tolerance and replicated have a comparator")
            case _:
                assert_never(self.verification)


def whole_resources(one: Resources, steps: Steps) -> Resources:
    """What a checkpointed job may use at most: time limit and disk are those of one step, times their number.

    Raises ValueError where that is more than a job may have.
    """
    return replace(one, timeout_s=steps.limit * steps.timeout_s, disk_bytes=steps.limit * steps.state_bytes)


@dataclass(frozen=True, slots=True)
class Demand:
    """A requester's signed wish, spread by gossip: enough to decide on a bid, nothing of the job's content.

    A hint: no contract accepts it. `price_cap_wei` bounds the bids; `fraud_bond` follows from the price by
    `capanode.protocol.money`. `deal_id` is set when the demand was also announced on chain. Without `rules` nobody can
    dispute its result. `arbiters` are those of the named set that the rules bind: a bidder has to know who would judge.
    """

    RECORD: ClassVar[tuple[str, int]] = ("demand", 1)

    requester: Address
    peer: PeerId
    addresses: tuple[str, ...]
    spec: SpecDigest
    input_root: Digest
    first_step: int
    step_limit: int
    verification: VerificationClass
    hardware_class: str
    resources: Resources
    image_bytes: int
    input_bytes: int
    price_cap_wei: Wei
    verification_wei: Wei
    audit_rate_ppm: Ppm
    window_s: int
    commit_within_s: int
    retention_s: int
    mode: Mode
    deal_id: DealId | None
    expires_at: UnixTime
    salt: Digest
    rules: Rules | None = None
    arbiters: tuple[Address, ...] | None = None

    def __post_init__(self) -> None:
        _require(
            len(self.requester) == 20 and self.requester != ZERO_ADDRESS,
            "the requester's address is malformed",
        )
        _require(0 < len(self.peer) <= 128, "the peer id is malformed")
        _require(len(self.addresses) <= MAX_ADDRESSES, "there are too many addresses")
        _require(all(0 < len(address) <= 256 for address in self.addresses), "an address is malformed")
        _require(
            len(self.spec) == 32 and len(self.input_root) == 32 and len(self.salt) == 32,
            "a digest is not 32 bytes",
        )
        _require(0 <= self.first_step < self.first_step + self.step_limit < 2**32, "the steps are out of range")
        _require(len(self.hardware_class) <= 64, "the hardware class is too long")
        _require(0 <= self.image_bytes < 2**44 and 0 <= self.input_bytes < 2**50, "a size is out of range")
        _require(0 < self.price_cap_wei <= UINT96_MAX, "the price is out of range")
        _require(0 <= self.verification_wei <= UINT96_MAX, "the verification deposit is out of range")
        _require(0 <= self.audit_rate_ppm <= 1_000_000, "the audit rate is out of range")
        _require(0 < self.window_s < 2**32, "the window is out of range")
        _require(0 < self.commit_within_s < 2**32, "the time to commit is out of range")
        _require(0 <= self.retention_s < 2**32, "the retention is out of range")
        _require(self.deal_id is None or len(self.deal_id) == 32, "the deal id is not 32 bytes")
        _require(
            (self.deal_id is not None) == (self.mode in (Mode.AWARD, Mode.FIRST)),
            "only an announced demand has a deal id",
        )
        _require(0 < self.expires_at < 2**40, "the expiry is out of range")
        stated = self.verification, self.audit_rate_ppm
        _require(
            self.rules is None or stated == (self.rules.verification, self.rules.audit_rate_ppm),
            "the rules of judging are for another class or audit rate",
        )
        named = self.named
        _require(
            named is not None or self.rules is None or self.rules.quorum == 0,
            "the rules bind arbiters that are not named",
        )
        _require(named is None or self.requester not in named.arbiters, "a requester cannot be its own arbiter")

    @property
    def named(self) -> NamedSet | None:
        """The named set that would judge; None where arbiters are drawn, or nobody judges."""
        if self.arbiters is None:
            return None
        _require(self.rules is not None, "arbiters are named without rules of judging")
        assert self.rules is not None
        named = NamedSet(self.arbiters, self.rules.quorum)
        _require(named.pool == self.rules.pool, "the named arbiters are not those that the rules bind")
        return named


@dataclass(frozen=True, slots=True)
class SignedDemand:
    """A demand, the market that it is for, and the requester's signature of it in that market's domain.

    **Source**: docs/protocol.md §2, `Demand`.
    """

    RECORD: ClassVar[tuple[str, int]] = ("signed-demand", 2)

    market: Address
    demand: Demand
    signature: bytes

    def __post_init__(self) -> None:
        _require(len(self.market) == 20, "the market's address is malformed")
        _require(_is_signature(self.signature), "the signature is malformed")


@dataclass(frozen=True, slots=True)
class Offer:
    """A provider's standing capacity and ask, spread by gossip: what could be had now, at what price, until when.

    A hint: it binds nobody. `cpu_hour_wei` and `gpu_hour_wei` are asks for one core or GPU and hour, `floor_wei` the
    least that any job costs.
    """

    RECORD: ClassVar[tuple[str, int]] = ("offer", 2)

    provider: Address
    signer: Address
    peer: PeerId
    markets: tuple[Address, ...]
    """The versions of the market in which this provider has stake, newest first."""

    hardware_class: str
    slots_left: int
    cpu_millis_left: int
    memory_bytes_left: int
    disk_bytes_left: int
    gpus_left: int
    cpu_hour_wei: Wei
    gpu_hour_wei: Wei
    floor_wei: Wei
    expires_at: UnixTime

    def __post_init__(self) -> None:
        _require(len(self.provider) == 20 and len(self.signer) == 20, "an address is malformed")
        _require(0 < len(self.peer) <= 128, "the peer id is malformed")
        _require(len(self.markets) <= MAX_OFFERED_MARKETS, "there are too many markets")
        _require(all(len(market) == 20 for market in self.markets), "a market's address is malformed")
        _require(len(self.hardware_class) <= 64, "the hardware class is too long")
        left = (self.slots_left, self.cpu_millis_left, self.memory_bytes_left, self.disk_bytes_left, self.gpus_left)
        _require(all(0 <= amount < 2**50 for amount in left), "a capacity is out of range")
        asks = (self.cpu_hour_wei, self.gpu_hour_wei, self.floor_wei)
        _require(all(0 <= ask <= UINT96_MAX for ask in asks), "an ask is out of range")
        _require(0 < self.expires_at < 2**40, "the expiry is out of range")


@dataclass(frozen=True, slots=True)
class SignedOffer:
    """An offer and its signer's signature. Source: docs/protocol.md §2, `Offer`."""

    RECORD: ClassVar[tuple[str, int]] = ("signed-offer", 1)

    offer: Offer
    signature: bytes

    def __post_init__(self) -> None:
        _require(_is_signature(self.signature), "the signature is malformed")


@dataclass(frozen=True, slots=True)
class Bid:
    """A provider's answer to a demand. It binds nobody; bids rank by price.

    `signer` is the provider's wallet or one of its hot keys; `demand` is the digest of the demand record.
    """

    RECORD: ClassVar[tuple[str, int]] = ("bid", 1)

    provider: Address
    signer: Address
    peer: PeerId
    demand: Digest
    price_wei: Wei
    ready_in_s: int
    hardware_class: str
    expires_at: UnixTime

    def __post_init__(self) -> None:
        _require(len(self.provider) == 20 and len(self.signer) == 20, "an address is malformed")
        _require(0 < len(self.peer) <= 128, "the peer id is malformed")
        _require(len(self.demand) == 32, "the demand's digest is not 32 bytes")
        _require(0 < self.price_wei <= UINT96_MAX, "the price is out of range")
        _require(0 <= self.ready_in_s < 2**32, "the time to start is out of range")
        _require(len(self.hardware_class) <= 64, "the hardware class is too long")
        _require(0 < self.expires_at < 2**40, "the expiry is out of range")


@dataclass(frozen=True, slots=True)
class SignedBid:
    """A bid and its signer's signature. Source: docs/protocol.md §2, `Bid`."""

    RECORD: ClassVar[tuple[str, int]] = ("signed-bid", 1)

    bid: Bid
    signature: bytes

    def __post_init__(self) -> None:
        _require(_is_signature(self.signature), "the signature is malformed")


@dataclass(frozen=True, slots=True)
class Terms:
    """The eleven fields that an award or an announcement fixes, in ABI order. Source: docs/protocol.md §2."""

    requester: Address
    provider: Address
    demand_digest: DemandDigest
    price_wei: Wei
    verification_wei: Wei
    fraud_bond_wei: Wei
    assign_by: UnixTime
    commit_by: UnixTime
    window_s: int
    mode: Mode
    salt: Digest

    def __post_init__(self) -> None:
        _require(len(self.requester) == 20 and len(self.provider) == 20, "an address is malformed")
        _require(len(self.demand_digest) == 32 and len(self.salt) == 32, "a digest is not 32 bytes")
        _require(0 < self.price_wei <= UINT96_MAX, "the price is out of range")
        _require(0 <= self.verification_wei <= UINT96_MAX, "the verification deposit is out of range")
        _require(0 <= self.fraud_bond_wei <= UINT96_MAX, "the fraud bond is out of range")
        _require(0 < self.assign_by < 2**40 and 0 < self.commit_by < 2**40, "a deadline is out of range")
        _require(0 < self.window_s < 2**32, "the window is out of range")


@dataclass(frozen=True, slots=True)
class SignedAward:
    """The requester's only signature that binds: terms with the provider and the price filled in.

    `deal_id` is the announced deal that is awarded, else absent: the deal id is then the award's digest. For an
    announced deal the signature is over the same terms with the deal id as salt.

    **Source**: docs/protocol.md §2, `Award`; `capanode.protocol.awards`.
    """

    RECORD: ClassVar[tuple[str, int]] = ("signed-award", 1)

    terms: Terms
    deal_id: DealId | None
    signature: bytes

    def __post_init__(self) -> None:
        announced = self.terms.mode in (Mode.AWARD, Mode.FIRST)
        _require((self.deal_id is not None) == announced, "only an announced award names a deal")
        _require(self.deal_id is None or len(self.deal_id) == 32, "the deal id is not 32 bytes")
        _require(_is_signature(self.signature), "the signature is malformed")


MAX_SIGNATURE_BYTES: Final = 1024
"""Room for a contract wallet's ERC-1271 signature; a key's own has 65 bytes."""


def _is_signature(signature: bytes) -> bool:
    return 0 < len(signature) <= MAX_SIGNATURE_BYTES


def _is_env_name(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,127}", name) is not None


def _is_https(url: str) -> bool:
    return len(url) <= 2048 and re.fullmatch(r"https://[^\s/?#@]+(/[^\s#]*)?", url) is not None


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ValueError(sentence)
