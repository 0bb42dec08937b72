"""Hands out evidence of committed deals to anybody who asks: of this node's own, and of those that it has fetched.

What the chain binds and a stranger may judge is public from the commit on, until its retention ends. Nothing of a deal
that is not committed yet, of a sealed one, or of class `none` leaves by this door.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from capanode.node.agent import Agent
from capanode.node.assigned.preparation import Preparation, needed_until, reason_of_inputs
from capanode.node.challenged.evidence import PUBLIC
from capanode.node.challenged.kept_evidence import KeptEvidence
from capanode.node.committed.blob_access import blobs_of
from capanode.node.executed.execution import Execution
from capanode.node.journal import Side, Stored
from capanode.node.p2p.limits import RateLimit
from capanode.node.p2p.port import Network
from capanode.node.storage.blobs import BlobStore
from capanode.proofs.commitment import Commitment
from capanode.proofs.evidence import Evidence, why_private
from capanode.protocol import encoding, provider
from capanode.protocol.faults import Refused, Unavailable
from capanode.protocol.ids import Cid, DealId, PeerId, UnixTime
from capanode.protocol.messages import EVIDENCE_PROTOCOL, EvidenceRequest
from capanode.protocol.records import Input

MAX_EVIDENCE_REQUEST_BYTES: Final = 256
ASKED_PER_S: Final = 2.0
ASKED_AT_ONCE: Final = 16.0
"""How often one peer may ask for evidence; more is answered as unavailable."""

Public = provider.Committed | provider.Claiming | provider.Challenged | provider.Retaining
"""Phases in which a result is committed and still here."""


class OwnEvidence:
    """Evidence of the deals that this node has computed, made of its journal."""

    def __init__(
        self, agent: Agent, execution: Execution, preparation: Preparation, blobs: BlobStore, hardware_class: str
    ) -> None:
        self._agent = agent
        self._execution = execution
        self._preparation = preparation
        self._blobs = blobs
        self._hardware_class = hardware_class
        self._made: dict[DealId, Evidence] = {}

    async def find(self, deal_id: DealId) -> Evidence | None:
        """The evidence of one of our deals; None where it is none of ours, or nobody's to see."""
        stored = self._agent.by_deal_id(Side.PROVIDER, deal_id)
        if stored is None or not isinstance(stored.state, Public) or _is_private(stored.state):
            return None
        self._made = {known: made for known, made in self._made.items() if self._agent.by_deal_id(Side.PROVIDER, known)}
        made = self._made.get(deal_id)
        if made is None or made.trace_root != stored.state.commitment.trace_root:
            made = self._made[deal_id] = await self._evidence(stored, stored.state)
        return made

    def is_public(self, cid: Cid) -> bool:
        """Whether a blob belongs to a deal of ours that anybody may check; cheap."""
        return any(
            isinstance(stored.state, Public) and not _is_private(stored.state) and self._has(stored.state, cid)
            for stored in self._agent.open_deals()
        )

    def _has(self, state: Public, cid: Cid) -> bool:
        made = self._made.get(state.work.deal_id)
        return (
            cid in blobs_of(state.work.spec)
            or (made is not None and cid in made.inputs)
            or self._execution.has_blob(state.work.deal_id, cid)
        )

    async def _evidence(self, stored: Stored, state: Public) -> Evidence:
        work, result, committed = state.work, state.result, state.commitment
        return Evidence(
            deal_id=work.deal_id,
            market=stored.market,
            terms=work.terms,
            locked_by=committed.locked_by,
            trace_root=committed.trace_root,
            commitment=Commitment(
                result_root=committed.result_root,
                delivery_root=committed.delivery_root,
                stdout_root=result.stdout_root,
                leaves_cid=committed.leaves_cid,
                step_count=committed.step_count,
                status=committed.status,
                amount_wei=committed.amount_wei,
            ),
            input_root=work.demand.input_root,
            first_step=work.demand.first_step,
            step_limit=work.demand.step_limit,
            rules=work.demand.rules,
            hardware_class=work.demand.hardware_class or self._hardware_class,
            spec=work.spec,
            inputs=tuple([await self._blob_of(item, work) for item in work.spec.inputs]),
            manifest=result.manifest,
            leaf_list=result.traced.leaf_list if result.traced is not None else None,
        )

    async def _blob_of(self, item: Input, work: provider.Work) -> Cid:
        """The blob of an input; one that came by https becomes one here."""
        if item.cid is not None:
            return item.cid
        path, until = self._preparation.input_path(item), needed_until(work)
        return await trio.to_thread.run_sync(self._put, path, reason_of_inputs(work), until)

    def _put(self, path: Path, reason: str, until: UnixTime) -> Cid:
        return self._blobs.put_file(path, reason=reason, until=until)


class EvidenceDesk:
    """The counter that everybody may come to."""

    def __init__(
        self,
        network: Network,
        blobs: BlobStore,
        kept: KeptEvidence,
        own: OwnEvidence | None,
        now: Callable[[], UnixTime],
    ) -> None:
        """`own` is None on a node that is no provider: it hands on what it has fetched."""
        self._network = network
        self._blobs = blobs
        self._kept = kept
        self._own = own
        self._now = now
        self._rates = RateLimit(ASKED_PER_S, ASKED_AT_ONCE)

    def serve(self) -> None:
        """Answer everybody from now on."""
        self._network.serve(EVIDENCE_PROTOCOL, self._answer, limit_bytes=MAX_EVIDENCE_REQUEST_BYTES)

    def is_public(self, cid: Cid) -> bool:
        """Whether a blob is anybody's to have: of an own public deal, or kept as evidence of another one."""
        now = self._now()
        if any(pin.reason.startswith(PUBLIC) and pin.until > now for pin in self._blobs.pins(cid)):
            return True
        return self._own is not None and self._own.is_public(cid)

    async def _answer(self, peer: PeerId, data: bytes) -> bytes:
        if not self._rates.allows(peer, trio.current_time()):
            raise Unavailable("you ask for evidence too often; wait some seconds")
        wanted = encoding.decode(EvidenceRequest, data)
        own = await self._own.find(wanted.deal_id) if self._own is not None else None
        evidence = own or await self._kept.find(wanted.deal_id)
        if evidence is None:
            # One answer for what is not here and for what is nobody's to see.
            raise Refused("there is no evidence of such a deal here")
        return encoding.encode(evidence)


def _is_private(state: Public) -> bool:
    return bool(why_private(state.work.spec, state.work.demand.rules))
