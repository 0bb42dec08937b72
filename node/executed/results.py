"""What executions left, kept as blobs for their deals: results, the states between steps, and leaf lists.

Every blob of a deal has one reason, so that it can be found, kept longer and dropped as a whole. A file that two states
have in common is one blob.
"""

from collections.abc import Mapping
from typing import Final

from capanode.node.executors.port import State
from capanode.node.storage.blobs import BlobStore
from capanode.node.storage.manifests import Contents
from capanode.proofs import tree
from capanode.proofs.leaf_list import LeafList
from capanode.proofs.tree import Entry, EntryType
from capanode.protocol import encoding, provider
from capanode.protocol.ids import Cid, DealId, Digest, UnixTime
from capanode.protocol.messages import MAX_INLINE_BYTES, ResultManifest, SentFile, StoredFile

LOG_TAIL_BYTES: Final = 65_536

INLINE_STATE_BYTES: Final = 65_536
"""States between steps are part of their manifests up to this size in all: there may be thousands of them."""

SPARE_RETENTION_S: Final = 3600
"""Kept beyond the last moment that a requester may ask, against clocks that disagree."""

_REASON: Final = "result:"


class Results:
    """The kept results of one node; everything here blocks, as its store does."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    def keep(self, work: provider.Work, state: State, log_tail: bytes) -> Cid:
        """Keep what a single-shot job left, with the end of its log; the blob that lists it."""
        return self._put(work, self._manifest(work, state, MAX_INLINE_BYTES, {}, log_tail))

    def keep_state(self, work: provider.Work, state: State, before: Cid | None) -> Cid:
        """Keep the state after a step; `before` lists the one with which the step began, if that was not empty."""
        known = self._stored_in(before) if before is not None else {}
        return self._put(work, self._manifest(work, state, INLINE_STATE_BYTES, known, b""))

    def keep_last(self, work: provider.Work, last: Cid, log_tail: bytes) -> Cid:
        """Make the last state the result, with the end of the log."""
        manifest = self._read(last)
        log = log_tail[-LOG_TAIL_BYTES:]
        return self._put(work, ResultManifest(manifest.tree, log, manifest.sent, manifest.stored))

    def keep_leaf_list(self, work: provider.Work, leaves: LeafList) -> Cid:
        """Keep the list that names every state."""
        return self._put(work, leaves)

    def manifest(self, cid: Cid) -> ResultManifest | None:
        """A kept manifest; None once it was dropped."""
        return self._read(cid) if self._blobs.has(cid) else None

    def state(self, cid: Cid) -> State:
        """A kept state, to begin a step with; raises Unavailable once it was dropped."""
        manifest = self._read(cid)
        return State(tree.decode(manifest.tree), Contents(manifest, self._blobs))

    def has(self, deal_id: DealId, cid: Cid) -> bool:
        """Whether a blob was kept for this deal; cheap enough to be asked for every part of every blob."""
        reason = reason_of(deal_id)
        return any(pin.reason == reason for pin in self._blobs.pins(cid))

    def extend(self, work: provider.Work, until: UnixTime) -> None:
        """Keep everything of a deal at least until then."""
        self._blobs.extend(reason=reason_of(work.deal_id), until=until)

    def drop(self, work: provider.Work) -> None:
        """Forget everything of a deal; idempotent."""
        self._blobs.forget(reason=reason_of(work.deal_id))

    def _read(self, cid: Cid) -> ResultManifest:
        return encoding.decode(ResultManifest, self._blobs.whole(cid))

    def _put(self, work: provider.Work, record: encoding.Record) -> Cid:
        return self._blobs.put_bytes(encoding.encode(record), reason=reason_of(work.deal_id), until=_until(work))

    def _manifest(
        self, work: provider.Work, state: State, inline_bytes: int, known: Mapping[Digest, Cid], log_tail: bytes
    ) -> ResultManifest:
        inline = tree.content_bytes(state.entries) <= inline_bytes
        sent: list[SentFile] = []
        stored: list[StoredFile] = []
        for entry in state.entries:
            if entry.type is EntryType.DIR:
                continue
            if inline or entry.type is EntryType.LINK:
                with state.content(entry) as file:
                    sent.append(SentFile(entry.path, file.read()))
            else:
                stored.append(StoredFile(entry.path, known.get(entry.content) or self._file(work, state, entry)))
        return ResultManifest(tree.encode(state.entries), log_tail[-LOG_TAIL_BYTES:], tuple(sent), tuple(stored))

    def _file(self, work: provider.Work, state: State, entry: Entry) -> Cid:
        with state.content(entry) as file:
            return self._blobs.put(file, entry.size, reason=reason_of(work.deal_id), until=_until(work))

    def _stored_in(self, cid: Cid) -> dict[Digest, Cid]:
        """The files of a kept state that are blobs already, by their content."""
        manifest = self._read(cid)
        contents = {entry.path: entry.content for entry in tree.decode(manifest.tree)}
        return {contents[file.path]: file.cid for file in manifest.stored}


def reason_of(deal_id: DealId) -> str:
    """Why the blobs of a deal's result are kept."""
    return f"{_REASON}{deal_id.hex()}"


def _until(work: provider.Work) -> UnixTime:
    terms = work.terms
    return UnixTime(terms.commit_by + terms.window_s + work.demand.retention_s + SPARE_RETENTION_S)
