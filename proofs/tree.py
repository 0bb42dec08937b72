"""The canonical tree: a directory as a sorted list of entries, and its root.

Two nodes that ran the same job agree on its outputs when their roots agree, so everything that may
differ without meaning anything (times, owners, the order of a directory) is left out. Reading a real
directory is I/O and not done here.

**Source**: docs/protocol.md §4.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, cast

from capanode.protocol import encoding
from capanode.protocol.encoding import BadMessage
from capanode.protocol.ids import ZERO_DIGEST, Digest
from capanode.protocol.records import Input

TAG: Final = b"capanode.tree.1\x00"
MAX_PATH_BYTES: Final = 4096
MAX_NAME_BYTES: Final = 255
MAX_LINK_BYTES: Final = 4095
"""Longest target of a symbolic link that Linux stores."""
MAX_ENCODED_BYTES: Final = 64 * 2**20
"""Longest encoded list of entries that is read at all; 100,000 entries of usual length need 10 MiB."""


class EntryType(StrEnum):
    """The three things that a tree may hold."""

    FILE = "file"
    DIR = "dir"
    LINK = "link"


_MODES: Final = {EntryType.FILE: (0o644, 0o755), EntryType.DIR: (0o755,), EntryType.LINK: (0o777,)}


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, directory or link below the root of a tree; well-formed when it exists.

    `content` is the sha256 of a file's bytes or of a link's target, zero for a directory; `size` counts
    the same bytes.
    """

    path: str
    type: EntryType
    mode: int
    size: int
    content: Digest

    def __post_init__(self) -> None:
        _require(is_path(self.path), "the path is not relative, normal and within its length")
        _require(self.mode in _MODES[self.type], "the mode is not one that its type may have")
        _require(len(self.content) == 32, "the content's digest is not 32 bytes")
        _require(0 <= self.size < 2**50, "the size is out of range")
        match self.type:
            case EntryType.DIR:
                _require(self.size == 0 and self.content == ZERO_DIGEST, "a directory has content")
            case EntryType.LINK:
                _require(0 < self.size <= MAX_LINK_BYTES, "the link's target is empty or too long")
            case EntryType.FILE:
                pass


@dataclass(frozen=True, slots=True)
class Bounds:
    """How large a tree may be at most: entries, bytes of all contents together, names in one path."""

    entries: int = 100_000
    content_bytes: int = 2**42
    depth: int = 64

    def __post_init__(self) -> None:
        if not 0 <= self.content_bytes < 2**50:
            raise ValueError("the bound of the contents is out of range")


DEFAULT_BOUNDS: Final = Bounds()


class BadTree(BadMessage):
    """A list of entries that is not the canonical form of any directory."""


def ordered(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """The entries in the tree's order: by the bytes of their paths."""
    return tuple(sorted(entries, key=lambda entry: entry.path.encode()))


def check(entries: Sequence[Entry], bounds: Bounds = DEFAULT_BOUNDS) -> None:
    """Refuse entries which no directory within the bounds could have.

    Raises:
        BadTree: too many, too large, too deep, out of order, repeated, or without their directory. The
            sender's fault.
    """
    if len(entries) > bounds.entries:
        raise BadTree(f"the tree has {len(entries)} entries, more than {bounds.entries}")
    if content_bytes(entries) > bounds.content_bytes:
        raise BadTree(f"the tree holds more than {bounds.content_bytes} bytes")
    directories = {""}
    previous = b""
    for entry in entries:
        path = entry.path.encode()
        # The empty path is below every other, so this refuses repeats and disorder from the first entry on.
        if path <= previous:
            raise BadTree(f"the entry {_shown(entry)} is out of order or repeated")
        previous = path
        if entry.path.count("/") >= bounds.depth:
            raise BadTree(f"the entry {_shown(entry)} lies more than {bounds.depth} names deep")
        if entry.path.rpartition("/")[0] not in directories:
            raise BadTree(f"the entry {_shown(entry)} lies in no directory of the tree")
        if entry.type is EntryType.DIR:
            directories.add(entry.path)


def content_bytes(entries: Iterable[Entry]) -> int:
    """Bytes of all files and link targets together."""
    return sum(entry.size for entry in entries)


def encode(entries: Sequence[Entry]) -> bytes:
    """The canonical bytes of checked entries: a CBOR array of `[path, type, mode, size, content]`."""
    return encoding.dump([[entry.path, entry.type.value, entry.mode, entry.size, entry.content] for entry in entries])


def decode(data: bytes, bounds: Bounds = DEFAULT_BOUNDS) -> tuple[Entry, ...]:
    """The checked entries that `data` encodes.

    Raises:
        BadTree: too long, not canonical, or not a tree. The sender's fault.
    """
    if len(data) > MAX_ENCODED_BYTES:
        raise BadTree(f"the list of entries is longer than {MAX_ENCODED_BYTES} bytes")
    try:
        value = encoding.load(data)
    except BadMessage as error:
        raise BadTree(f"the list of entries is {error}") from error
    if not isinstance(value, list):
        raise BadTree("the tree is not a list of entries")
    items = cast("list[object]", value)
    entries = tuple(_entry(item, index) for index, item in enumerate(items))
    check(entries, bounds)
    return entries


def tree_root(entries: Sequence[Entry]) -> Digest:
    """The root of checked entries: sha256("capanode.tree.1" ‖ 0x00 ‖ CBOR(entries))."""
    return root_of_encoded(encode(entries))


def root_of_encoded(data: bytes) -> Digest:
    """The root of entries that are at hand in their encoding."""
    return Digest(hashlib.sha256(TAG + data).digest())


def input_tree(inputs: Iterable[Input]) -> tuple[Entry, ...]:
    """The tree of a job's `/in`: each input is the file of its name."""
    return ordered(Entry(item.name, EntryType.FILE, 0o644, item.size_bytes, item.sha256) for item in inputs)


def input_root(inputs: Iterable[Input]) -> Digest:
    """The root of a job's `/in`, with which its first leaf begins."""
    return tree_root(input_tree(inputs))


def is_path(path: str) -> bool:
    """Whether an entry may have this path: relative, without `.` and `..`, within the lengths of Linux."""
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return False
    names = encoded.split(b"/")
    return (
        len(encoded) <= MAX_PATH_BYTES
        and b"\0" not in encoded
        and all(len(name) <= MAX_NAME_BYTES and name not in (b"", b".", b"..") for name in names)
    )


def _entry(value: object, index: int) -> Entry:
    match value:
        case [str(path), str(kind), int(mode), int(size), bytes(content)]:
            # `True` is an `int` to a pattern, and would spell a second encoding of 1.
            if isinstance(mode, bool) or isinstance(size, bool):
                raise BadTree(f"the entry {index} has a wrong type in a field")
            try:
                return Entry(path, EntryType(kind), mode, size, Digest(content))
            except ValueError as error:
                raise BadTree(f"the entry {index} is malformed: {error}") from error
        case _:
            raise BadTree(f"the entry {index} is not [path, type, mode, size, content]")


def _shown(entry: Entry) -> str:
    """A path for an error: short, and without control characters that would write on a terminal."""
    return ascii(entry.path[:80])


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ValueError(sentence)
