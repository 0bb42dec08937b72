"""Results on their way from provider to requester, and the acceptance on its way back.

The provider serves from its journal and its blobs. The requester believes nothing: the tree must hash to the root that
is on chain, every file to its entry, and the receipt must check out, before anything appears in the result folder.
"""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

from capanode.node.agent import Agent
from capanode.node.assigned.provider_peers import ProviderPeers
from capanode.node.chain.markets import Markets, MarketVersion
from capanode.node.executed.execution import Execution
from capanode.node.fault_points import durable
from capanode.node.journal import Side
from capanode.node.keys.recover import is_signed_by, recover
from capanode.node.keys.signer import Signer
from capanode.node.p2p.blobs import fetch_blob
from capanode.node.p2p.port import Network
from capanode.node.paid.settlement import commitment_made, digest_of
from capanode.node.storage.blobs import BlobStore
from capanode.node.storage.cid import digest_of as digest_of_cid
from capanode.node.storage.manifests import Contents
from capanode.node.storage.tree_walk import materialise
from capanode.node.storage.whole_file import write_whole
from capanode.proofs import leaf_list, tree
from capanode.proofs import receipt as receipts
from capanode.proofs.leaf_list import MAX_LEAF_LIST_BYTES, LeafList
from capanode.proofs.receipt import HostUsage, Receipt, SignedReceipt
from capanode.proofs.tree import Entry
from capanode.protocol import encoding, provider, requester
from capanode.protocol.events import AcceptReceived, DealCommitted, ExecutionFinished, ResultFetched
from capanode.protocol.faults import PeerFault, Refused, Unavailable
from capanode.protocol.ids import Address, Cid, DealId, PeerId, UnixTime
from capanode.protocol.messages import (
    ACCEPT_PROTOCOL,
    LOG_PROTOCOL,
    MAX_INLINE_MANIFEST_BYTES,
    MAX_MANIFEST_BYTES,
    MAX_REPLY_BYTES,
    MAX_REQUEST_BYTES,
    RESULT_PROTOCOL,
    AcceptReply,
    AcceptRequest,
    LogReply,
    LogRequest,
    ResultManifest,
    ResultReply,
    ResultRequest,
)
from capanode.protocol.typed_data import accept_digest

COMMITMENT_SEEN_S: Final = 2.0
"""How long a requester who is ahead of us on chain waits for us to follow."""

LEAVES_FILE: Final = "leaves.cbor"
"""The leaf list, beside the receipt of a job of several steps."""

MAX_TROUBLE_CHARS: Final = 300
MAX_LOG_BYTES: Final = 1_048_576
"""Most of a log that is sent at once."""

_Held = provider.Committed | provider.Claiming | provider.Challenged | provider.Retaining
"""Phases in which a committed result is here for its requester."""

_Fetching = requester.Committed | requester.Withheld | requester.Challenged | requester.Paid
"""Phases in which a committed result is fetched."""


class ResultDesk:
    """The provider's counter: hands out results and logs to the deals' requesters, takes acceptances."""

    def __init__(
        self,
        agent: Agent,
        network: Network,
        execution: Execution,
        blobs: BlobStore,
        signer: Signer,
        markets: Markets,
        hardware_class: str,
    ) -> None:
        self._agent = agent
        self._network = network
        self._execution = execution
        self._blobs = blobs
        self._signer = signer
        self._markets = markets
        self._hardware_class = hardware_class

    def serve(self) -> None:
        """Answer requesters from now on."""
        self._network.serve(RESULT_PROTOCOL, self._answer_result, limit_bytes=MAX_REQUEST_BYTES)
        self._network.serve(ACCEPT_PROTOCOL, self._answer_accept, limit_bytes=MAX_REQUEST_BYTES)
        self._network.serve(LOG_PROTOCOL, self._answer_log, limit_bytes=MAX_REQUEST_BYTES)

    def may_fetch(self, peer: PeerId, cid: Cid) -> bool:
        """Whether a blob belongs to a kept result of this peer."""
        for stored in self._agent.open_deals():
            state = stored.state
            if not isinstance(state, _Held):
                continue
            if state.work.requester_peer == peer and self._execution.has_blob(state.work.deal_id, cid):
                return True
        return False

    async def _answer_result(self, peer: PeerId, data: bytes) -> bytes:
        wanted = encoding.decode(ResultRequest, data)
        state = await self._committed(wanted.deal_id, peer)
        if not isinstance(state, _Held):
            raise Unavailable("the result is not committed yet")
        manifest = await trio.to_thread.run_sync(self._blobs.whole, state.result.manifest)
        reply = ResultReply(
            manifest_cid=state.result.manifest,
            manifest=manifest if len(manifest) <= MAX_INLINE_MANIFEST_BYTES else None,
            receipt=encoding.encode(
                self._receipt(self._market_of(wanted.deal_id), state.work, state.result, state.commitment)
            ),
            leaf_list=state.result.traced.leaf_list if state.result.traced is not None else None,
        )
        return encoding.encode(reply)

    async def _answer_accept(self, peer: PeerId, data: bytes) -> bytes:
        sent = encoding.decode(AcceptRequest, data)
        state = self._deal_of(sent.deal_id, peer)
        if not isinstance(state, provider.Committed | provider.Challenged):
            settled = isinstance(state, provider.Claiming | provider.Retaining)
            return encoding.encode(AcceptReply(settled, "" if settled else "the result is not committed yet"))
        requester_wallet = state.work.terms.requester
        digest = accept_digest(self._market_of(sent.deal_id).domain, sent.deal_id)
        if len(sent.signature) == 65 and not is_signed_by(requester_wallet, digest, sent.signature):
            raise PeerFault("the acceptance is not signed by the deal's requester")
        stored = self._agent.by_deal_id(Side.PROVIDER, sent.deal_id)
        if stored is not None and not state.accept:
            await self._agent.tell(stored.key, AcceptReceived(sent.signature))
        return encoding.encode(AcceptReply(True, ""))

    async def _answer_log(self, peer: PeerId, data: bytes) -> bytes:
        wanted = encoding.decode(LogRequest, data)
        state = self._deal_of(wanted.deal_id, peer)
        limit = max(0, min(wanted.tail_bytes, MAX_LOG_BYTES))
        if isinstance(state, provider.Executing):
            return encoding.encode(LogReply(await self._execution.logs(state.work, state.attempt, limit)))
        if isinstance(state, provider.Committing | _Held):
            manifest = self._execution.manifest(state.result)
            return encoding.encode(LogReply(manifest.log_tail[-limit:] if manifest and limit else b""))
        return encoding.encode(LogReply(b""))

    async def _committed(self, deal_id: bytes, peer: PeerId) -> provider.Deal:
        """The deal; where its requester has seen the commitment before us, as soon as we have seen it too."""
        async with self._agent.watching() as changes:
            state = self._deal_of(deal_id, peer)
            with trio.move_on_after(COMMITMENT_SEEN_S), suppress(trio.EndOfChannel):
                while isinstance(state, provider.Committing):
                    await changes.receive()
                    state = self._deal_of(deal_id, peer)
            return state

    def _deal_of(self, deal_id: bytes, peer: PeerId) -> provider.Deal:
        for stored in self._agent.open_deals():
            state = stored.state
            if isinstance(state, provider.Deal) and (state.work.deal_id, state.work.requester_peer) == (deal_id, peer):
                return state
        # One answer for what is not here and for what is somebody else's.
        raise Refused("there is no such deal of yours here")

    def _market_of(self, deal_id: DealId) -> MarketVersion:
        stored = self._agent.by_deal_id(Side.PROVIDER, deal_id)
        if stored is None:
            raise Refused("there is no such deal of yours here")
        return self._markets.of(stored.market)

    def _receipt(
        self, market: MarketVersion, work: provider.Work, result: ExecutionFinished, committed: DealCommitted
    ) -> SignedReceipt:
        record = Receipt(
            chain_id=market.chain_id,
            market=market.address,
            deal_id=work.deal_id,
            terms=work.terms,
            price_cap_wei=work.demand.price_cap_wei,
            provider=work.terms.provider,
            signer=self._signer.address,
            spec=work.demand.spec,
            image=work.spec.image,
            input_root=work.demand.input_root,
            first_step=work.demand.first_step,
            step_limit=work.demand.step_limit,
            commitment=commitment_made(result, committed.amount_wei),
            trace_root=committed.trace_root,
            commitment_digest=digest_of(committed),
            commit_tx=committed.tx,
            manifest=result.manifest,
            hardware_class=self._hardware_class,
            outcome=result.outcome,
            started_at_ms=result.started_at_ms,
            finished_at_ms=result.finished_at_ms,
            host_reported=HostUsage(result.cpu_ns, result.peak_memory_bytes),
            rules=work.demand.rules,
        )
        return SignedReceipt(record, self._signer.sign_digest(receipts.digest_to_sign(record)))


class Collector:
    """The requester's side: fetches results, checks them, and hands over acceptances."""

    def __init__(
        self,
        network: Network,
        peers: ProviderPeers,
        blobs: BlobStore,
        wallet: Signer,
        markets: Markets,
        results: Path,
        max_result_bytes: int,
        request_s: float,
    ) -> None:
        self._network = network
        self._peers = peers
        self._blobs = blobs
        self._wallet = wallet
        self._markets = markets
        self._results = results
        self._max_result_bytes = max_result_bytes
        self._request_s = request_s
        self._trouble: dict[str, str] = {}

    def trouble(self, key: str) -> str:
        """Why the result of a job is not here yet, as the last attempt found it."""
        return self._trouble.get(key, "its provider has not answered yet")

    async def fetch(self, key: str, job: _Fetching) -> ResultFetched:
        """Get, check and store the result. Idempotent: what is there of this commitment was checked before.

        Raises:
            Unavailable: the provider cannot be reached, or has not seen its own commitment yet.
            PeerFault: what it sent is not what it committed to.
        """
        try:
            fetched = await self._fetched(key, job)
        except (Unavailable, PeerFault, Refused) as fault:
            self._trouble[key] = str(fault)[:MAX_TROUBLE_CHARS]
            raise
        self._trouble.pop(key, None)
        return fetched

    async def _fetched(self, key: str, job: _Fetching) -> ResultFetched:
        folder = self._results / key
        peer = job.deal.peer or await self._peers.peer_of(job.deal.terms.provider)
        reply = encoding.decode(ResultReply, await self._ask(peer, RESULT_PROTOCOL, ResultRequest(job.deal.deal_id)))
        manifest = await self._manifest(reply, peer, job)
        entries = tree.decode(manifest.tree)
        if tree.tree_root(entries) != job.commitment.result_root:
            raise PeerFault("the provider served another result than it committed to")
        listed = await self._leaf_list(reply, peer, job)
        self._check_receipt(reply.receipt, entries, listed, job)
        try:
            await self._store(folder, entries, manifest, peer, job)
            if listed is not None:
                leaves = encoding.encode(listed)
                await trio.to_thread.run_sync(write_whole, "result.leaves", folder / LEAVES_FILE, leaves)
            await trio.to_thread.run_sync(write_whole, "result.receipt", folder / "receipt.cbor", reply.receipt)
        except OSError as error:
            raise Unavailable(f"The result cannot be kept in {folder} ({error.strerror}); free disk space.") from error
        return ResultFetched(str(folder / "outputs"), reply.receipt)

    async def hand_accept(self, job: requester.Delivered, market: Address) -> None:
        """Sign the acceptance and give it to the provider, who has every reason to use it.

        Raises:
            Unavailable: the provider does not answer now, or not yet.
        """
        signature = self._wallet.sign_digest(accept_digest(self._markets.of(market).domain, job.deal.deal_id))
        peer = job.deal.peer or await self._peers.peer_of(job.deal.terms.provider)
        with durable("accept.send"):
            answer = await self._ask(peer, ACCEPT_PROTOCOL, AcceptRequest(job.deal.deal_id, signature))
        reply = encoding.decode(AcceptReply, answer)
        if not reply.accepted:
            raise Unavailable(f"The provider does not take the acceptance yet: {reply.reason[:200]}")

    async def logs(self, deal: requester.Deal, tail_bytes: int) -> bytes:
        """The end of what the program has printed."""
        peer = deal.peer or await self._peers.peer_of(deal.terms.provider)
        answer = await self._ask(peer, LOG_PROTOCOL, LogRequest(deal.deal_id, tail_bytes))
        return encoding.decode(LogReply, answer).data

    async def _ask(self, peer: PeerId, protocol: str, request: encoding.Record) -> bytes:
        return await self._network.request(
            peer, protocol, encoding.encode(request), limit_bytes=MAX_REPLY_BYTES, timeout_s=self._request_s
        )

    async def _manifest(self, reply: ResultReply, peer: PeerId, job: _Fetching) -> ResultManifest:
        if reply.manifest is not None:
            return encoding.decode(ResultManifest, reply.manifest)
        await self._have(reply.manifest_cid, MAX_MANIFEST_BYTES, peer, job)
        return encoding.decode(ResultManifest, await trio.to_thread.run_sync(self._blobs.whole, reply.manifest_cid))

    async def _leaf_list(self, reply: ResultReply, peer: PeerId, job: _Fetching) -> LeafList | None:
        """The leaves that led to the result, checked against the trace root on chain; None for a single step."""
        committed = job.commitment
        if committed.step_count == 1:
            return None
        if reply.leaf_list is None or digest_of_cid(reply.leaf_list) != committed.leaves_cid:
            raise PeerFault("the provider does not serve the leaf list that it committed to")
        await self._have(reply.leaf_list, MAX_LEAF_LIST_BYTES, peer, job)
        found = leaf_list.decode(await trio.to_thread.run_sync(self._blobs.whole, reply.leaf_list))
        first = job.order.demand.first_step
        leaf_list.check(found, job.deal.deal_id, first, committed.step_count, committed.trace_root)
        return found

    def _check_receipt(self, data: bytes, entries: tuple[Entry, ...], listed: LeafList | None, job: _Fetching) -> None:
        signed = receipts.decode(data)
        receipt, committed = signed.receipt, job.commitment
        if receipt.deal_id != job.deal.deal_id or receipt.provider != job.deal.terms.provider:
            raise PeerFault("the receipt is of another deal")
        if receipt.commit_tx != committed.tx or receipt.commitment_digest != digest_of(committed):
            raise PeerFault("the receipt is not of the commitment that is on chain")
        # The key that locked the bonds; the market names none when it was the provider's wallet.
        if receipt.signer not in (receipt.provider, committed.locked_by):
            raise PeerFault("the receipt is signed by a key that does not act for the provider in this deal")
        leaves = leaf_list.trace_of(listed).leaves if listed is not None else ()
        checks = receipts.verify(signed, recover, outputs=entries, spec=job.order.spec, leaves=leaves)
        failed = [check.sentence for check in checks if not check.ok]
        if failed:
            raise PeerFault(f"the receipt does not check out: {failed[0]}")

    async def _store(
        self,
        folder: Path,
        entries: tuple[Entry, ...],
        manifest: ResultManifest,
        peer: PeerId,
        job: _Fetching,
    ) -> None:
        outputs = folder / "outputs"
        if await trio.to_thread.run_sync(_is_kept, folder, job):
            return
        if tree.content_bytes(entries) > self._max_result_bytes:
            raise PeerFault(f"the result is larger than this node downloads ({self._max_result_bytes} bytes)")
        sizes = {entry.path: entry.size for entry in entries}
        for file in manifest.stored:
            if file.path in sizes:
                await self._have(file.cid, sizes[file.path], peer, job)
        await trio.Path(folder).mkdir(parents=True, exist_ok=True)
        # The outputs last: where they are, nothing is missing.
        await trio.to_thread.run_sync(_clear, folder)
        await trio.to_thread.run_sync(write_whole, "result.log", folder / "log.txt", manifest.log_tail)
        await materialise(entries, Contents(manifest, self._blobs), outputs)

    async def _have(self, cid: Cid, max_bytes: int, peer: PeerId, job: _Fetching) -> None:
        until = UnixTime(job.commitment.window_ends_at + job.order.demand.retention_s)
        reason = f"result:{job.deal.deal_id.hex()}"
        await fetch_blob(self._network, (peer,), cid, self._blobs, max_bytes=max_bytes, reason=reason, until=until)


def _is_kept(folder: Path, job: _Fetching) -> bool:
    """Whether this deal's result is in the folder: a job may have had another one before, which was overturned."""
    try:
        kept = receipts.decode((folder / "receipt.cbor").read_bytes()).receipt
    except (OSError, PeerFault):
        return False
    is_same = (kept.deal_id, kept.commitment_digest) == (job.deal.deal_id, digest_of(job.commitment))
    return is_same and (folder / "outputs").exists()


def _clear(folder: Path) -> None:
    """Make room for another result."""
    if (folder / "outputs").exists():
        shutil.rmtree(folder / "outputs")
    (folder / LEAVES_FILE).unlink(missing_ok=True)
