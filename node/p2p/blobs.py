"""Blobs between nodes: `/capanode/blob/1`, on the `Network` port.

Request (49 bytes): operation (1) ‖ CID (36) ‖ offset (8) ‖ length (4), big-endian.
`HEAD` → size (8) ‖ the sha2-256 of each chunk; offset and length are 0.
`PART` → the bytes at offset; offset is a multiple of 1 MiB, length at most 4 MiB.

Each part is one acknowledged request, because a stream whose receiver does not read for 5 s is broken by
yamux. The receiver checks the list of digests against the CID before it takes a byte, and each chunk
against the list before it keeps it, so a hostile server costs at most one part.
"""

import logging
import math
from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import partial
from typing import Final, TypeVar

import trio

from capanode.node.p2p.groups import errors_inside
from capanode.node.p2p.port import Network
from capanode.node.storage.blobs import BlobStore, Incoming
from capanode.node.storage.cid import (
    CHUNK_BYTES,
    MAX_BLOB_BYTES,
    BlobTree,
    digest_of,
    is_single_chunk,
    to_binary,
    to_text,
    tree_of,
)
from capanode.protocol.faults import PeerFault, Refused, Unavailable
from capanode.protocol.ids import Cid, PeerId, UnixTime

_log = logging.getLogger(__name__)

PROTOCOL: Final = "/capanode/blob/1"
PART_BYTES: Final = 4 * CHUNK_BYTES
_REQUEST_BYTES: Final = 49
_HEAD_BYTES: Final = 8 + 32 * (MAX_BLOB_BYTES // CHUNK_BYTES)
_HEAD_S: Final = 20.0
_PART_S: Final = 60.0
"""Longest time for 4 MiB: links below 70 kB/s are too slow to serve blobs."""
_ROUNDS: Final = 4
_PAUSE_S: Final = 1.0

_DISK: Final = trio.CapacityLimiter(4)
"""Own threads for the disk, so that transfers do not starve other blocking work."""

T = TypeVar("T")

MayFetch = Callable[[PeerId, Cid], bool]
"""(peer, cid) → whether that peer is a party to something that needs the blob. Quick, never raises."""

Progress = Callable[[int, int], None]
"""(bytes received and checked, bytes in all)."""


class BlobTooLarge(Refused):
    """A blob has more bytes than may be fetched."""


class _Operation(IntEnum):
    HEAD = 0
    PART = 1


def serve_blobs(network: Network, store: BlobStore, may_fetch: MayFetch, *, parts_at_once: int = 8) -> None:
    """Let peers fetch blobs; `parts_at_once` bounds memory to 4 MiB each, for all peers together."""
    slots = trio.Semaphore(parts_at_once)

    async def answer(peer: PeerId, request: bytes) -> bytes:
        operation, cid, offset, length = _parse_untrusted(request)
        if not may_fetch(peer, cid) or not store.has(cid):
            # One answer for both, so that nobody learns what is here.
            raise Refused(f"Blob {cid} is not here for you.")
        async with slots:
            if operation is _Operation.PART:
                return await _on_disk(partial(store.read, cid, offset, length))
            tree = await _on_disk(partial(store.tree, cid))
            return tree.size.to_bytes(8, "big") + tree.leaves

    network.serve(PROTOCOL, answer, limit_bytes=_REQUEST_BYTES)


async def fetch_blob(
    network: Network,
    peers: Sequence[PeerId],
    cid: Cid,
    store: BlobStore,
    *,
    max_bytes: int,
    reason: str,
    until: UnixTime,
    timeout_s: float = math.inf,
    progress: Progress | None = None,
) -> None:
    """Have the blob in the store, pinned; fetch it from the peers in turn if it is not there.

    What was received before a break, a failing peer or a cancellation is kept and not fetched again.

    Raises:
        Refused: larger than `max_bytes`, not a CID of ours, or every peer refuses.
        PeerFault: every peer sent wrong bytes (each is charged).
        Unavailable: no peer answers, no room, or not done within `timeout_s`.
    """
    fetch = _Fetch(network, cid, store, max_bytes, reason, until, progress or _no_progress)
    try:
        with trio.fail_after(timeout_s):
            await fetch.from_any(peers)
    except trio.TooSlowError as error:
        raise Unavailable(f"Blob {cid} did not arrive within {timeout_s:g} s; its parts are kept.") from error


class _Fetch:
    def __init__(
        self,
        network: Network,
        cid: Cid,
        store: BlobStore,
        max_bytes: int,
        reason: str,
        until: UnixTime,
        progress: Progress,
    ) -> None:
        self._network = network
        self._cid = cid
        self._binary = to_binary(cid)
        self._store = store
        self._max_bytes = max_bytes
        self._reason = reason
        self._until = until
        self._progress = progress

    async def from_any(self, peers: Sequence[PeerId]) -> None:
        if await _on_disk(self._is_pinned):
            return
        left = list(dict.fromkeys(peers))
        last: PeerFault | Refused | Unavailable = Unavailable(f"No peer is known to have blob {self._cid}.")
        for round_ in range(_ROUNDS):
            for peer in list(left):
                try:
                    await self._from(peer)
                    return
                except PeerFault as error:
                    self._network.charge(peer)
                    left.remove(peer)
                    last = error
                except Refused as error:
                    left.remove(peer)
                    last = error
                except Unavailable as error:
                    last = error
            if not left:
                break
            if round_ + 1 < _ROUNDS:
                await trio.sleep(_PAUSE_S * 2**round_)
        raise last

    def _is_pinned(self) -> bool:
        if not self._store.has(self._cid):
            return False
        self._store.pin(self._cid, reason=self._reason, until=self._until)
        return True

    async def _from(self, peer: PeerId) -> None:
        tree = await self._head(peer)
        with self._store.receive(tree) as incoming:
            await self._parts(peer, incoming)
            await _on_disk(lambda: self._store.finish(incoming, reason=self._reason, until=self._until))

    async def _head(self, peer: PeerId) -> BlobTree:
        reply = await self._ask(peer, _Operation.HEAD, 0, 0, _HEAD_BYTES, _HEAD_S)
        size = int.from_bytes(reply[:8], "big")
        try:
            tree = _tree_untrusted(self._cid, size, reply[8:])
        except ValueError as error:
            raise PeerFault(f"Peer {peer} describes blob {self._cid} wrongly.") from error
        if size > self._max_bytes:
            raise BlobTooLarge(f"Blob {self._cid} has {size} bytes; at most {self._max_bytes} are allowed here.")
        return tree

    async def _parts(self, peer: PeerId, incoming: Incoming) -> None:
        """One part is on its way while the one before it is checked and written."""
        send, receive = trio.open_memory_channel[bytes](0)
        start = incoming.received_bytes

        async def pull() -> None:
            async with send:
                for offset in range(start, incoming.tree.size, PART_BYTES):
                    length = min(PART_BYTES, incoming.tree.size - offset)
                    part = await self._ask(peer, _Operation.PART, offset, length, length, _PART_S)
                    if len(part) != length:
                        raise PeerFault(f"Peer {peer} sent {len(part)} of {length} bytes of {self._cid}.")
                    await send.send(part)

        self._progress(start, incoming.tree.size)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pull)
                async for part in receive:
                    await _on_disk(partial(incoming.append, part))
                    self._progress(incoming.received_bytes, incoming.tree.size)
        except ExceptionGroup as group:
            raise errors_inside(group)[0] from group

    async def _ask(
        self, peer: PeerId, operation: _Operation, offset: int, length: int, limit: int, timeout_s: float
    ) -> bytes:
        request = bytes([operation]) + self._binary + offset.to_bytes(8, "big") + length.to_bytes(4, "big")
        return await self._network.request(peer, PROTOCOL, request, limit_bytes=limit, timeout_s=timeout_s)


async def _on_disk(work: Callable[[], T]) -> T:
    return await trio.to_thread.run_sync(work, limiter=_DISK)


def _tree_untrusted(cid: Cid, size: int, leaves: bytes) -> BlobTree:
    if is_single_chunk(cid):
        if size > CHUNK_BYTES or leaves != digest_of(cid):
            raise ValueError
        return BlobTree(cid, size, leaves)
    tree = tree_of(leaves, size)
    if tree.cid != cid:
        raise ValueError
    return tree


def _parse_untrusted(request: bytes) -> tuple[_Operation, Cid, int, int]:
    try:
        if len(request) != _REQUEST_BYTES:
            raise ValueError("it does not have 49 bytes")
        operation = _Operation(request[0])
        cid = to_text(request[1:37])
        offset = int.from_bytes(request[37:45], "big")
        length = int.from_bytes(request[45:], "big")
        if offset % CHUNK_BYTES or length > PART_BYTES or offset > MAX_BLOB_BYTES:
            raise ValueError("its range is not made of whole chunks up to 4 MiB")
    except ValueError as error:
        raise PeerFault(f"The blob request is malformed: {error}.") from error
    return operation, cid, offset, length


def _no_progress(received_bytes: int, size_bytes: int) -> None:
    del received_bytes, size_bytes
