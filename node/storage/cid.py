"""Content ids: CIDv1 of a file, as IPFS's UnixFS importers make it, with the parameters fixed here.

- chunks of 1 MiB, each a *raw* block (codec 0x55); sha2-256; base32 in text (`bafk…`);
- up to one chunk: its raw block is the file (the empty file too);
- more: a balanced tree of dag-pb nodes (codec 0x70, `bafy…`) with 1,024 links each. A link is (Hash, Name "",
  Tsize: the bytes of the block it names and of everything under it); a node's Data is UnixFS type File with
  filesize and the blocksizes of its links.

The leaf digests and the size determine the tree, so a transfer needs no dag-pb nodes: who has the list of
leaf digests can check it against the CID, and then each chunk against the list.
**Source**: IPFS UnixFS specification; DAG-PB specification. Equal to helia 7's defaults (vectors in
`tests/vectors/cid.json`, made with `ipfs-unixfs-importer`).
"""

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

from capanode.protocol.faults import Refused
from capanode.protocol.ids import Cid

CHUNK_BYTES: Final = 1024 * 1024
LINKS: Final = 1024
MAX_BLOB_BYTES: Final = 64 * 1024**3
"""Largest blob: its list of leaf digests (2 MiB) still fits one reply."""

RAW: Final = 0x55
DAG_PB: Final = 0x70
_DIGEST_BYTES: Final = 32
_BINARY_BYTES: Final = 36
_TEXT_CHARS: Final = 59


@dataclass(frozen=True, slots=True)
class BlobTree:
    """A file's CID with what a transfer is checked against."""

    cid: Cid
    size: int
    leaves: bytes
    """sha2-256 of each chunk, one after the other."""

    @property
    def chunks(self) -> int:
        """How many chunks there are; at least one."""
        return len(self.leaves) // _DIGEST_BYTES

    def leaf(self, index: int) -> bytes:
        """Digest of one chunk."""
        return self.leaves[index * _DIGEST_BYTES : (index + 1) * _DIGEST_BYTES]

    def chunk_bytes(self, index: int) -> int:
        """Length of one chunk: all are full but the last."""
        return min(CHUNK_BYTES, self.size - index * CHUNK_BYTES)


@dataclass(slots=True)
class TreeHasher:
    """Makes the tree of a file that is fed in pieces."""

    _leaves: bytearray = field(default_factory=bytearray)
    _size: int = 0
    _chunk: Any = field(default_factory=hashlib.sha256)
    _chunk_size: int = 0

    def update(self, data: bytes) -> None:
        """Feed the next bytes, any number of them."""
        view = memoryview(data)
        while view:
            taken = view[: CHUNK_BYTES - self._chunk_size]
            self._chunk.update(taken)
            self._chunk_size += len(taken)
            self._size += len(taken)
            view = view[len(taken) :]
            if self._chunk_size == CHUNK_BYTES:
                self._end_chunk()

    def finish(self) -> BlobTree:
        """The tree of everything fed; call once."""
        if self._chunk_size or not self._leaves:
            self._end_chunk()
        return tree_of(bytes(self._leaves), self._size)

    def _end_chunk(self) -> None:
        self._leaves += self._chunk.digest()
        self._chunk = hashlib.sha256()
        self._chunk_size = 0


@dataclass(frozen=True, slots=True)
class _Node:
    cid: bytes
    file_bytes: int
    dag_bytes: int


def cid_of(data: bytes) -> Cid:
    """CID of a file in memory."""
    hasher = TreeHasher()
    hasher.update(data)
    return hasher.finish().cid


def tree_of(leaves: bytes, size: int) -> BlobTree:
    """The tree over leaf digests; the CID commits to both arguments.

    Raises:
        ValueError: as many leaves as that size cannot have.
    """
    count = max(1, -(-size // CHUNK_BYTES))
    if len(leaves) != count * _DIGEST_BYTES or not 0 <= size <= MAX_BLOB_BYTES:
        raise ValueError(f"{len(leaves)} bytes of leaf digests do not belong to a file of {size} bytes")
    nodes = [
        _Node(_binary(RAW, leaves[at * _DIGEST_BYTES : (at + 1) * _DIGEST_BYTES]), length, length)
        for at, length in enumerate(_chunk_lengths(size, count))
    ]
    while len(nodes) > 1:
        nodes = [_parent(nodes[at : at + LINKS]) for at in range(0, len(nodes), LINKS)]
    return BlobTree(to_text(nodes[0].cid), size, leaves)


def to_binary(cid: Cid) -> bytes:
    """36 bytes: 01 ‖ codec ‖ 12 20 ‖ digest.

    Raises:
        Refused: not a CID of the kind made here.
    """
    text = str(cid)
    try:
        if len(text) != _TEXT_CHARS or text[0] != "b":
            raise ValueError
        binary = base64.b32decode(text[1:].upper() + "=" * 6)
        if to_text(binary) != text:
            raise ValueError
    except ValueError as error:
        raise Refused(
            f"'{text[:80]}' is not a CID of capanode (CIDv1, base32, sha2-256, raw or dag-pb: bafk… or bafy…)."
        ) from error
    return binary


def to_text(binary: bytes) -> Cid:
    """Text form of a binary CID.

    Raises:
        ValueError: not a CID of the kind made here.
    """
    head = binary[:4]
    if len(binary) != _BINARY_BYTES or head[0] != 1 or head[1] not in (RAW, DAG_PB) or head[2:] != b"\x12\x20":
        raise ValueError("not a CIDv1 with sha2-256 and the raw or dag-pb codec")
    return Cid("b" + base64.b32encode(binary).decode("ascii").rstrip("=").lower())


def is_single_chunk(cid: Cid) -> bool:
    """Whether the CID names a raw block: a file of at most one chunk."""
    return to_binary(cid)[1] == RAW


def digest_of(cid: Cid) -> bytes:
    """The 32 bytes of sha2-256 inside."""
    return to_binary(cid)[4:]


def from_digest(digest: bytes, *, single_chunk: bool) -> Cid:
    """The CID with this sha2-256, of a raw block or of a tree's root."""
    return to_text(_binary(RAW if single_chunk else DAG_PB, digest))


def _chunk_lengths(size: int, count: int) -> list[int]:
    return [CHUNK_BYTES] * (count - 1) + [size - CHUNK_BYTES * (count - 1)]


def _parent(children: list[_Node]) -> _Node:
    links = b"".join(
        _bytes_field(2, _bytes_field(1, child.cid) + _bytes_field(2, b"") + _int_field(3, child.dag_bytes))
        for child in children
    )
    file_bytes = sum(child.file_bytes for child in children)
    sizes = b"".join(_int_field(4, child.file_bytes) for child in children)
    block = links + _bytes_field(1, _int_field(1, 2) + _int_field(3, file_bytes) + sizes)
    cid = _binary(DAG_PB, hashlib.sha256(block).digest())
    return _Node(cid, file_bytes, len(block) + sum(child.dag_bytes for child in children))


def _binary(codec: int, digest: bytes) -> bytes:
    return bytes([1, codec, 0x12, 0x20]) + digest


def _int_field(number: int, value: int) -> bytes:
    return bytes([number << 3]) + _varint(value)


def _bytes_field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
