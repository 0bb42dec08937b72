"""Evidence of a committed deal: fetched from whoever has it, and believed only as far as the chain says the same.

The chain is asked first, and no peer for a deal that cannot be checked. The provider comes first among the peers;
anybody else who has fetched the evidence before may stand in for one that is away.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import structlog
import trio

from capanode.node.assigned.https_input import download
from capanode.node.assigned.provider_peers import ProviderPeers
from capanode.node.chain.clock import ChainClock
from capanode.node.chain.market import SlotState
from capanode.node.chain.markets import Markets, MarketVersion
from capanode.node.challenged.kept_evidence import KeptEvidence
from capanode.node.p2p.blobs import BlobTooLarge, fetch_blob
from capanode.node.p2p.port import Network
from capanode.node.storage.blobs import BlobStore
from capanode.node.storage.cid import digest_of, to_binary
from capanode.proofs import tree
from capanode.proofs.evidence import BadEvidence, Evidence, verify
from capanode.proofs.tree import Entry
from capanode.protocol import encoding
from capanode.protocol.faults import PeerFault, Refused, Unavailable
from capanode.protocol.ids import Address, Cid, DealId, PeerId, UnixTime
from capanode.protocol.messages import (
    EVIDENCE_PROTOCOL,
    MAX_EVIDENCE_BYTES,
    MAX_INLINE_BYTES,
    EvidenceRequest,
    ResultManifest,
)
from capanode.protocol.phases import Phase
from capanode.protocol.records import Input

T = TypeVar("T")

COMMITTED_PHASES: Final = frozenset(
    {Phase.COMMITTED, Phase.CHALLENGED, Phase.FINALIZED, Phase.OVERTURNED, Phase.VOID, Phase.SPLIT}
)
"""Phases in which the slot binds a result."""

MAX_ASKED: Final = 8
"""Peers that are asked for one deal's evidence."""

RETENTION_S: Final = 86_400
"""What was fetched is kept, and handed on, for so long beyond the window or the last look."""

MAX_PUBLIC_MANIFEST_BYTES: Final = tree.MAX_ENCODED_BYTES + 2 * MAX_INLINE_BYTES
"""Longest manifest of a result that is fetched from a stranger: its tree, what is sent along, and the end of a log."""

FETCH_S: Final = 600.0
FETCH_S_PER_BYTE: Final = 1 / 2**20
"""Longest that the bytes of one blob are waited for. Source: PROTOCOL §6, data challenges."""

log = structlog.get_logger()


class BytesMissing(Unavailable):
    """Nobody who was asked has handed over bytes that a committed deal promises."""


@dataclass(frozen=True, slots=True)
class Found:
    """Evidence that agrees with the chain, the deal's slot as it was then, who had it, and the result's tree."""

    evidence: Evidence
    slot: SlotState
    sources: tuple[PeerId, ...]
    entries: tuple[Entry, ...]

    @property
    def reason(self) -> str:
        """What its blobs are kept for."""
        return reason_of(self.evidence.deal_id)


def reason_of(deal_id: DealId) -> str:
    """The pin of blobs that belong to a deal's evidence; whoever asks may have them."""
    return f"{PUBLIC}{deal_id.hex()}"


PUBLIC: Final = "evidence:"
"""How the reasons of pins begin whose blobs are anybody's."""


class ResultMissing(BytesMissing):
    """The deal's papers are here, and agree with the chain; the list of its result's files cannot be had."""

    def __init__(self, found: Found, reason: str) -> None:
        super().__init__(f"The result of the deal cannot be had: {reason}")
        self.found = found

    @property
    def step(self) -> int:
        """The last one: the result is the state after it."""
        return self.found.evidence.first_step + self.found.evidence.step_count - 1


class EvidenceFinder:
    """Gets evidence and the bytes that it names."""

    def __init__(
        self,
        network: Network,
        peers: ProviderPeers,
        markets: Markets,
        blobs: BlobStore,
        kept: KeptEvidence,
        clock: ChainClock,
        *,
        provider_of: Callable[[MarketVersion, DealId], Awaitable[Address | None]],
        own: Callable[[DealId], Awaitable[Evidence | None]],
        downloads: Path,
        request_s: float,
    ) -> None:
        """`own` is what this node itself can say of a deal, `provider_of` whom its market names as the provider."""
        self._network = network
        self._peers = peers
        self._markets = markets
        self._blobs = blobs
        self._kept = kept
        self._clock = clock
        self._provider_of = provider_of
        self._own = own
        self._downloads = downloads
        self._request_s = request_s

    async def fetch_evidence(self, deal_id: DealId) -> Found:
        """Get a deal's evidence, check it against the chain, and keep it to hand it on.

        Raises:
            Refused: there is no such deal, it has no committed result, or nobody may check it.
            PeerFault: what was sent is not what the chain has bound, and nobody had better.
            ResultMissing: nobody who was asked has the list of its files.
            BytesMissing: nobody who was asked has it.
            Unavailable: the chain does not answer.
        """
        market, slot = await self._slot(deal_id)
        sources = await self._sources(market, deal_id)
        found = await self._held(deal_id, slot, sources) or await self._asked(deal_id, slot, sources)
        now = self._clock.now()
        await self._kept.keep(found.evidence, _until(slot, now), now)
        return found

    async def have(self, found: Found, cid: Cid, max_bytes: int) -> Path:
        """Where a blob of the deal lies on this machine, fetched if it has to be.

        Raises:
            BytesMissing: nobody hands it over in time.
            PeerFault: it is larger than it may be, or everybody sent other bytes.
        """
        return await self._have(found.evidence, found.slot, found.sources, cid, max_bytes)

    async def read(self, found: Found, cid: Cid, max_bytes: int) -> bytes:
        """All of a blob of the deal, fetched if it has to be; raises as `have`."""
        return await self._read(found.evidence, found.slot, found.sources, cid, max_bytes)

    async def have_inputs(self, found: Found) -> Mapping[str, Path]:
        """Where the deal's input files lie, by name, each with the bytes that its spec states.

        Raises:
            BytesMissing, PeerFault: as `have`.
        """
        paths: dict[str, Path] = {}
        for item, cid in zip(found.evidence.spec.inputs, found.evidence.inputs, strict=True):
            paths[item.name] = path = await self._input(found, item, cid)
            if await trio.to_thread.run_sync(_sha256, path) != item.sha256:
                raise PeerFault(f"The input {item.name} was served with other bytes than the deal's spec states.")
        return paths

    async def _input(self, found: Found, item: Input, cid: Cid) -> Path:
        try:
            return await self.have(found, cid, item.size_bytes)
        except BytesMissing:
            if item.url is None:
                raise
        path = self._downloads / item.sha256.hex()
        try:
            await download(item, path)
        except (Refused, Unavailable) as missing:
            raise BytesMissing(f"Bytes of the deal cannot be had ({missing})") from missing
        return path

    async def _have(
        self, evidence: Evidence, slot: SlotState, sources: tuple[PeerId, ...], cid: Cid, max_bytes: int
    ) -> Path:
        try:
            await fetch_blob(
                self._network,
                sources,
                cid,
                self._blobs,
                max_bytes=max_bytes,
                reason=reason_of(evidence.deal_id),
                until=_until(slot, self._clock.now()),
                timeout_s=FETCH_S + max_bytes * FETCH_S_PER_BYTE,
            )
        except BlobTooLarge as fault:
            raise PeerFault(f"What is served is not what the deal promises: {fault}") from fault
        except (Unavailable, Refused) as missing:
            raise BytesMissing(f"Bytes of the deal cannot be had ({missing})") from missing
        if self._blobs.size(cid) > max_bytes:
            raise PeerFault(f"The blob {cid} is larger than the deal allows ({max_bytes} bytes).")
        return _lying_here(self._blobs.path, cid)

    async def _read(
        self, evidence: Evidence, slot: SlotState, sources: tuple[PeerId, ...], cid: Cid, max_bytes: int
    ) -> bytes:
        await self._have(evidence, slot, sources, cid, max_bytes)
        return await trio.to_thread.run_sync(_lying_here, self._blobs.whole, cid)

    async def _slot(self, deal_id: DealId) -> tuple[MarketVersion, SlotState]:
        for market in self._markets.adopted():
            slot = await market.contract.slot(deal_id)
            if slot.phase in COMMITTED_PHASES:
                return market, slot
            if slot.phase is not Phase.NONE:
                raise Refused(f"the deal 0x{deal_id.hex()} has no committed result: its phase is {slot.phase.name}")
        raise Refused(f"no market of this network knows a deal 0x{deal_id.hex()}")

    async def _held(self, deal_id: DealId, slot: SlotState, sources: tuple[PeerId, ...]) -> Found | None:
        """What is here already and still agrees with the chain: a commitment may have been made anew."""
        for known in (await self._own(deal_id), await self._kept.find(deal_id)):
            if known is not None:
                try:
                    verify(known, deal_id, slot.hash)
                    return await self._whole(known, slot, sources)
                except (PeerFault, BytesMissing) as stale:
                    log.info("evidence-stale", deal=deal_id.hex(), reason=str(stale))
        return None

    async def _sources(self, market: MarketVersion, deal_id: DealId) -> tuple[PeerId, ...]:
        provider = await self._provider_of(market, deal_id)
        first = await self._peers.peers_of(provider) if provider is not None else ()
        others = sorted(self._network.peers() - set(first))
        found = tuple(peer for peer in (*first, *others) if peer != self._network.peer_id)
        return found[:MAX_ASKED]

    async def _asked(self, deal_id: DealId, slot: SlotState, sources: tuple[PeerId, ...]) -> Found:
        fault: PeerFault | None = None
        reasons: list[str] = []
        missing: ResultMissing | None = None
        for peer in sources:
            try:
                evidence = await self._ask(peer, deal_id, slot)
                return await self._whole(evidence, slot, (peer, *(other for other in sources if other != peer)))
            except PeerFault as error:
                self._network.charge(peer)
                fault = fault or error
            except ResultMissing as error:
                missing = error
            except (Refused, Unavailable) as error:
                reasons.append(str(error))
        if missing is not None:
            raise missing
        if fault is not None:
            raise fault
        raise BytesMissing(
            f"Nobody hands over the evidence of the deal 0x{deal_id.hex()} "
            f"({reasons[0] if reasons else 'no peer is known to have it'})"
        )

    async def _whole(self, evidence: Evidence, slot: SlotState, sources: tuple[PeerId, ...]) -> Found:
        """The evidence with its result's tree, whose blob nothing on chain names: it has to lead to the root."""
        try:
            data = await self._read(evidence, slot, sources, evidence.manifest, MAX_PUBLIC_MANIFEST_BYTES)
        except BytesMissing as missing:
            raise ResultMissing(Found(evidence, slot, sources, ()), str(missing)) from missing
        manifest = encoding.decode(ResultManifest, data)
        entries = tree.decode(manifest.tree)
        if tree.tree_root(entries) != evidence.commitment.result_root:
            raise BadEvidence("the evidence does not hold: its manifest lists another result than the committed one")
        return Found(evidence, slot, sources, entries)

    async def _ask(self, peer: PeerId, deal_id: DealId, slot: SlotState) -> Evidence:
        data = await self._network.request(
            peer,
            EVIDENCE_PROTOCOL,
            encoding.encode(EvidenceRequest(deal_id)),
            limit_bytes=MAX_EVIDENCE_BYTES,
            timeout_s=self._request_s,
        )
        evidence = encoding.decode(Evidence, data)
        verify(evidence, deal_id, slot.hash)
        _verify_cids(evidence)
        return evidence


def _lying_here(ask: Callable[[Cid], T], cid: Cid) -> T:
    """What the store says of a blob that it has had; its file may have been removed by somebody."""
    try:
        return ask(cid)
    except Unavailable as gone:
        raise BytesMissing(f"Bytes of the deal cannot be had ({gone})") from gone


def _verify_cids(evidence: Evidence) -> None:
    try:
        for cid in (*evidence.inputs, evidence.manifest):
            to_binary(cid)
        listed = evidence.leaf_list is None or digest_of(evidence.leaf_list) == evidence.commitment.leaves_cid
    except Refused as malformed:
        raise BadEvidence(f"the evidence does not hold: {malformed}") from malformed
    if not listed:
        raise BadEvidence("the evidence does not hold: its list of leaves is not the one that was committed")


def _until(slot: SlotState, now: UnixTime) -> UnixTime:
    return UnixTime(max(slot.deadline, now) + RETENTION_S)


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
