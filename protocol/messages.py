"""What nodes say to each other on direct streams: one request record and one reply record a protocol.

Names, sizes and who may ask are normative: docs/protocol.md §8.
"""

from dataclasses import dataclass
from typing import ClassVar, Final

from capanode.protocol.ids import Address, Cid, DealId
from capanode.protocol.records import Demand, SignedAward, SignedBid, SignedDemand, Spec

BID_PROTOCOL: Final = "/capanode/bid/1"
AWARD_PROTOCOL: Final = "/capanode/award/1"
DEMAND_PROTOCOL: Final = "/capanode/demand/1"
RESULT_PROTOCOL: Final = "/capanode/result/1"
ACCEPT_PROTOCOL: Final = "/capanode/accept/1"
LOG_PROTOCOL: Final = "/capanode/log/1"
EVIDENCE_PROTOCOL: Final = "/capanode/evidence/1"

MAX_GOSSIP_BYTES: Final = 16_384
"""Largest gossip message: a signed demand with eight addresses has about two kilobytes."""

MAX_REQUEST_BYTES: Final = 1_048_576
"""Largest request on any of these protocols: an award with a full spec."""

MAX_REPLY_BYTES: Final = 4 * 1_048_576
"""Largest reply: a result's tree with what is sent along."""

MAX_EVIDENCE_BYTES: Final = MAX_REQUEST_BYTES + 65_536
"""Longest evidence: a full spec, and the facts of its deal."""

MAX_INLINE_BYTES: Final = 1_048_576
"""Result files are part of the manifest up to this size in all, and blobs of their own above it."""

MAX_INLINE_MANIFEST_BYTES: Final = 3 * 1_048_576
"""Manifests up to this size travel in the reply itself."""

MAX_MANIFEST_BYTES: Final = 256 * 1_048_576
"""Largest manifest: a tree with the most files that are allowed, all with long names."""


def topic(chain_id: int, directory: Address, name: str) -> str:
    """The gossip topic of one kind of message on one network: /capanode/<chain>-<directory>/<name>/1."""
    return f"/capanode/{chain_id}-{directory.hex()}/{name}/1"


@dataclass(frozen=True, slots=True)
class BidRequest:
    """Provider to requester: a bid for a demand that the requester has spread."""

    RECORD: ClassVar[tuple[str, int]] = ("bid-request", 1)
    bid: SignedBid


@dataclass(frozen=True, slots=True)
class BidReply:
    """Whether the bid is on the short list; then with the spec, so that the bidder can look whether it can do it."""

    RECORD: ClassVar[tuple[str, int]] = ("bid-reply", 1)
    shortlisted: bool
    reason: str
    spec: Spec | None


@dataclass(frozen=True, slots=True)
class AwardRequest:
    """Requester to provider: the binding award, the market in whose domain it is signed, and what it is about."""

    RECORD: ClassVar[tuple[str, int]] = ("award-request", 2)
    market: Address
    award: SignedAward
    demand: Demand
    spec: Spec


@dataclass(frozen=True, slots=True)
class AwardReply:
    """Whether the provider takes the award. A hint: the chain says whether it is bound."""

    RECORD: ClassVar[tuple[str, int]] = ("award-reply", 1)
    accepted: bool
    reason: str


@dataclass(frozen=True, slots=True)
class DemandRequest:
    """Provider to requester: the demand behind an announced deal."""

    RECORD: ClassVar[tuple[str, int]] = ("demand-request", 1)
    deal_id: DealId


@dataclass(frozen=True, slots=True)
class DemandReply:
    """The signed demand, absent when it is not, or no longer, this node's."""

    RECORD: ClassVar[tuple[str, int]] = ("demand-reply", 1)
    demand: SignedDemand | None


@dataclass(frozen=True, slots=True)
class ResultRequest:
    """Requester to provider: the outputs of a committed deal."""

    RECORD: ClassVar[tuple[str, int]] = ("result-request", 1)
    deal_id: DealId


@dataclass(frozen=True, slots=True)
class SentFile:
    """A result file that travels with its tree."""

    path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A result file that is fetched as a blob."""

    path: str
    cid: Cid


@dataclass(frozen=True, slots=True)
class ResultManifest:
    """The canonical tree, the end of the log, and the bytes of each file and link in one of two ways."""

    RECORD: ClassVar[tuple[str, int]] = ("result-manifest", 1)
    tree: bytes
    log_tail: bytes
    sent: tuple[SentFile, ...]
    stored: tuple[StoredFile, ...]


@dataclass(frozen=True, slots=True)
class ResultReply:
    """The manifest, in full up to `MAX_INLINE_MANIFEST_BYTES` and as a blob above it, and the signed receipt.

    `leaf_list` is the blob with the leaves of a result of several steps.
    """

    RECORD: ClassVar[tuple[str, int]] = ("result-reply", 1)
    manifest_cid: Cid
    manifest: bytes | None
    receipt: bytes
    leaf_list: Cid | None = None


@dataclass(frozen=True, slots=True)
class AcceptRequest:
    """Requester to provider: the signature that finalizes at once."""

    RECORD: ClassVar[tuple[str, int]] = ("accept-request", 1)
    deal_id: DealId
    signature: bytes


@dataclass(frozen=True, slots=True)
class AcceptReply:
    """Whether the provider will use it."""

    RECORD: ClassVar[tuple[str, int]] = ("accept-reply", 1)
    accepted: bool
    reason: str


@dataclass(frozen=True, slots=True)
class LogRequest:
    """Requester to provider: the last bytes that the job has printed so far."""

    RECORD: ClassVar[tuple[str, int]] = ("log-request", 1)
    deal_id: DealId
    tail_bytes: int


@dataclass(frozen=True, slots=True)
class LogReply:
    """Standard output and error, as they came."""

    RECORD: ClassVar[tuple[str, int]] = ("log-reply", 1)
    data: bytes


@dataclass(frozen=True, slots=True)
class EvidenceRequest:
    """Anybody to whoever may have it: what a committed deal was about. The reply is an `evidence` record."""

    RECORD: ClassVar[tuple[str, int]] = ("evidence-request", 1)
    deal_id: DealId
