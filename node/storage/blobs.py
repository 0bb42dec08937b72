"""Content-addressed files on disk: what was put can be had by its CID until nobody needs it.

    <folder>/blobs/<last two letters>/<cid>          the file
    <folder>/blobs/<last two letters>/<cid>.leaves   digests of its chunks, if it has several
    <folder>/incoming/<cid>.part                     a transfer that was broken off; kept for resuming
    <folder>/incoming/new-*                          being written; removed at start
    <folder>/pins.json                               why each blob is kept, and until when

A blob appears only whole: written aside, hashed, synced, renamed. Everything here blocks: call it in a
thread. The store may be used from several threads at once, and by one process.
"""

import contextlib
import hashlib
import io
import json
import os
import secrets
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from capanode.node.fault_points import durable
from capanode.node.steady_time import unix_now
from capanode.node.storage.cid import (
    CHUNK_BYTES,
    MAX_BLOB_BYTES,
    BlobTree,
    TreeHasher,
    is_single_chunk,
    to_binary,
)
from capanode.protocol.faults import InvariantViolated, Misconfigured, PeerFault, Refused, Unavailable
from capanode.protocol.ids import Cid, UnixTime

_PART_DAYS_S: Final = 3 * 86_400
"""A broken-off transfer that nobody resumed is removed after this."""
_LEAVES: Final = ".leaves"


@dataclass(frozen=True, slots=True)
class Pin:
    """Why a blob is kept."""

    reason: str
    """Who needs it, such as `deal:<id>`; one pin per reason and blob."""
    until: UnixTime


class BlobStore:
    """See the module's docstring."""

    def __init__(self, folder: Path, *, limit_bytes: int, clock: Callable[[], float] = unix_now) -> None:
        """Open a store, creating it.

        Raises:
            Misconfigured: the folder cannot be written.
        """
        self._blobs = folder / "blobs"
        self._incoming = folder / "incoming"
        self._pins_file = folder / "pins.json"
        self._limit = limit_bytes
        self._clock = clock
        self._lock = threading.RLock()
        self._reserved = 0
        self._receiving: set[Cid] = set()
        try:
            self._blobs.mkdir(parents=True, exist_ok=True)
            self._incoming.mkdir(exist_ok=True)
            for left in self._incoming.glob("new-*"):
                left.unlink()
            self._sizes = _scan(self._blobs)
        except OSError as error:
            raise Misconfigured(f"The blob folder {folder} cannot be used ({error}); check owner and disk.") from error
        self._pins = _load_pins(self._pins_file)

    # -- Asking -------------------------------------------------------------------------------------------

    def has(self, cid: Cid) -> bool:
        """Whether the whole blob is here; does not touch the disk."""
        return cid in self._sizes

    def size(self, cid: Cid) -> int:
        """Its bytes.

        Raises:
            Unavailable: not here.
        """
        try:
            return self._sizes[cid]
        except KeyError:
            raise Unavailable(f"Blob {cid} is not on this node; fetch it first.") from None

    @property
    def used_bytes(self) -> int:
        """Bytes of all blobs here and of the transfers under way."""
        return sum(self._sizes.values()) + self._reserved

    def path(self, cid: Cid) -> Path:
        """Where the blob's file is; do not write to it.

        Raises:
            Unavailable: not here, or its file is gone.
        """
        self.size(cid)
        path = self._path(cid)
        with _reading(cid):
            path.stat()
        return path

    def open(self, cid: Cid) -> BinaryIO:
        """The blob's file, for reading; stays readable if the blob is collected.

        Raises:
            Unavailable: not here, or its file is gone.
        """
        with _reading(cid):
            return self.path(cid).open("rb")

    def read(self, cid: Cid, offset: int, length: int) -> bytes:
        """A part of the blob; shorter at its end.

        Raises:
            Unavailable: not here, or its file is gone or cannot be read.
        """
        with self.open(cid) as file, _reading(cid):
            file.seek(offset)
            return file.read(length)

    def whole(self, cid: Cid) -> bytes:
        """All of the blob, which should be small; raises as `read`."""
        return self.read(cid, 0, self.size(cid))

    def tree(self, cid: Cid) -> BlobTree:
        """What a receiver needs to check the blob.

        Raises:
            Unavailable: not here.
        """
        if is_single_chunk(cid):
            return BlobTree(cid, self.size(cid), to_binary(cid)[4:])
        size = self.size(cid)
        with _reading(cid):
            return BlobTree(cid, size, self._path(cid).with_name(cid + _LEAVES).read_bytes())

    # -- Putting ------------------------------------------------------------------------------------------

    def put_bytes(self, data: bytes, *, reason: str, until: UnixTime) -> Cid:
        """Store bytes and pin them.

        Raises:
            Unavailable: no room.
        """
        return self._put(io.BytesIO(data).read, len(data), Pin(reason, until))

    def put_file(self, source: Path, *, reason: str, until: UnixTime) -> Cid:
        """Store a copy of a regular file and pin it; the file may change afterwards.

        Raises:
            Refused: a link, device, folder or too large, or it grows while it is read.
            Unavailable: no room, or it cannot be read.
        """
        try:
            descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise Unavailable(f"{source} cannot be read ({error.strerror}); check it.") from error
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            os.close(descriptor)
            raise Refused(f"{source} is not a regular file; only files can be stored.")
        with os.fdopen(descriptor, "rb") as file:
            return self._put(lambda: file.read(CHUNK_BYTES), about.st_size, Pin(reason, until))

    def put(self, source: BinaryIO, size: int, *, reason: str, until: UnixTime) -> Cid:
        """Store what is read from an open file, at most `size` bytes, and pin it.

        Raises:
            Refused: there are more.
            Unavailable: no room.
        """
        return self._put(lambda: source.read(CHUNK_BYTES), size, Pin(reason, until))

    @contextlib.contextmanager
    def receive(self, tree: BlobTree) -> Iterator["Incoming"]:
        """Receive a blob; what was received of it before, and is right, is not needed again.

        Leaves the partial file for the next time unless `finish` was called.

        Raises:
            Unavailable: no room, or another transfer receives it now.
        """
        with self._lock:
            if tree.cid in self._receiving:
                raise Unavailable(f"Blob {tree.cid} is being received already; wait for it.")
            self._receiving.add(tree.cid)
        try:
            with self._room_for(tree.size), _writing(), self._part(tree.cid).open("a+b") as file:
                file.seek(0)
                yield Incoming(tree, file)
        finally:
            self._receiving.discard(tree.cid)

    def finish(self, incoming: "Incoming", *, reason: str, until: UnixTime) -> None:
        """Turn a complete transfer into a blob and pin it.

        Raises:
            Unavailable: the disk is full or fails.
        """
        if not incoming.is_complete:
            raise InvariantViolated(f"Blob {incoming.tree.cid} is not complete.")
        with _writing():
            incoming.sync()
            self._keep(self._part(incoming.tree.cid), incoming.tree, Pin(reason, until))

    # -- Keeping ------------------------------------------------------------------------------------------

    def pin(self, cid: Cid, *, reason: str, until: UnixTime) -> None:
        """Keep the blob at least until then for this reason; replaces the reason's earlier pin.

        Raises:
            Unavailable: not here, or the disk is full or fails.
        """
        with self._lock, _writing():
            self.size(cid)
            self._pins.setdefault(cid, {})[reason] = until
            self._save_pins()

    def unpin(self, cid: Cid, *, reason: str) -> None:
        """Drop a reason; idempotent. The blob goes with the next collection if none is left.

        Raises:
            Unavailable: the disk is full or fails.
        """
        with self._lock, _writing():
            pins = self._pins.get(cid, {})
            if pins.pop(reason, None) is not None:
                if not pins:
                    del self._pins[cid]
                self._save_pins()

    def extend(self, *, reason: str, until: UnixTime) -> None:
        """Keep everything that has this reason at least until then; idempotent.

        Raises:
            Unavailable: the disk is full or fails.
        """
        with self._lock, _writing():
            for pins in self._pins.values():
                if reason in pins:
                    pins[reason] = max(pins[reason], until)
            self._save_pins()

    def forget(self, *, reason: str) -> None:
        """Drop a reason from everything that has it; idempotent. What has no other goes with the next collection.

        Raises:
            Unavailable: the disk is full or fails.
        """
        with self._lock, _writing():
            for cid in [cid for cid, pins in self._pins.items() if pins.pop(reason, None) is not None and not pins]:
                del self._pins[cid]
            self._save_pins()

    def pins(self, cid: Cid) -> tuple[Pin, ...]:
        """Why it is kept."""
        return tuple(Pin(reason, UnixTime(until)) for reason, until in self._pins.get(cid, {}).items())

    def collect(self, now: UnixTime) -> int:
        """Remove the blobs without a pin that reaches beyond `now`; bytes freed.

        Raises:
            Unavailable: the disk fails; a full one is made emptier all the same.
        """
        with self._lock, _writing():
            for cid, pins in list(self._pins.items()):
                live = {reason: until for reason, until in pins.items() if until > now}
                if live and cid in self._sizes:
                    self._pins[cid] = live
                else:
                    del self._pins[cid]
            freed = sum(self._remove(cid) for cid in list(self._sizes) if cid not in self._pins)
            for part in self._incoming.glob("*.part"):
                with contextlib.suppress(FileNotFoundError):
                    if part.stat().st_mtime < now - _PART_DAYS_S:
                        part.unlink()
            # Last, since it needs room; pins of blobs that are gone are dropped at the next collection.
            self._save_pins()
            return freed

    # -- Inside -------------------------------------------------------------------------------------------

    def _path(self, cid: Cid) -> Path:
        return self._blobs / cid[-2:] / cid

    def _part(self, cid: Cid) -> Path:
        return self._incoming / f"{cid}.part"

    def _put(self, read: Callable[[], bytes], size: int, pin: Pin) -> Cid:
        if size > MAX_BLOB_BYTES:
            raise Refused(f"A blob of {size} bytes is larger than {MAX_BLOB_BYTES}; split it.")
        temporary = self._incoming / f"new-{secrets.token_hex(8)}"
        with self._room_for(size):
            try:
                with _writing():
                    with temporary.open("xb") as file:
                        tree = _copy(read, file, size)
                    return self._keep(temporary, tree, pin)
            finally:
                temporary.unlink(missing_ok=True)

    def _keep(self, written: Path, tree: BlobTree, pin: Pin) -> Cid:
        """Move a complete and synced file into place."""
        target = self._path(tree.cid)
        target.parent.mkdir(exist_ok=True)
        if tree.chunks > 1:
            leaves = self._incoming / f"new-{secrets.token_hex(8)}"
            with leaves.open("xb") as file:
                file.write(tree.leaves)
                file.flush()
                os.fsync(file.fileno())
            with durable("blob.leaves"):
                leaves.replace(target.with_name(tree.cid + _LEAVES))
        with self._lock:
            with durable("blob.put"):
                written.replace(target)
                _sync_folder(target.parent)
            self._sizes[tree.cid] = tree.size
            self._pins.setdefault(tree.cid, {})[pin.reason] = pin.until
            self._save_pins()
        return tree.cid

    def _remove(self, cid: Cid) -> int:
        path = self._path(cid)
        with durable("blob.remove"):
            path.unlink(missing_ok=True)
            path.with_name(cid + _LEAVES).unlink(missing_ok=True)
        return self._sizes.pop(cid)

    @contextlib.contextmanager
    def _room_for(self, size: int) -> Iterator[None]:
        with self._lock:
            if self.used_bytes + size > self._limit:
                self.collect(UnixTime(int(self._clock())))
            if self.used_bytes + size > self._limit:
                raise Unavailable(
                    f"The blob store is full: {size} bytes do not fit beside {self.used_bytes} of "
                    f"{self._limit}; raise the limit or wait until deals end."
                )
            self._reserved += size
        try:
            yield
        finally:
            with self._lock:
                self._reserved -= size

    def _save_pins(self) -> None:
        temporary = self._pins_file.with_suffix(".tmp")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(self._pins, file)
            file.flush()
            os.fsync(file.fileno())
        with durable("blob.pins"):
            temporary.replace(self._pins_file)


@contextlib.contextmanager
def _reading(cid: Cid) -> Iterator[None]:
    """A file that somebody has removed, or a disk that fails, is no bug either."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"The file of blob {cid} cannot be read ({error.strerror}): put it back.") from error


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    """A disk that is full or fails is a reason to try again later, not a bug."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"The blob store cannot be written ({error.strerror}); free disk space.") from error


class Incoming:
    """A blob that arrives in order, chunk by chunk; each is checked before it is kept.

    Made by `BlobStore.receive`. What was kept survives a break and a restart, and is checked again.
    """

    def __init__(self, tree: BlobTree, file: BinaryIO) -> None:
        self.tree = tree
        self._file = file
        self._chunks = 0
        while not self.is_complete and self._is_next(file.read(tree.chunk_bytes(self._chunks))):
            self._chunks += 1
        file.seek(self.received_bytes)
        file.truncate()

    @property
    def received_bytes(self) -> int:
        """Bytes received and checked."""
        return min(self._chunks * CHUNK_BYTES, self.tree.size)

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing."""
        return self._chunks == self.tree.chunks

    def append(self, data: bytes) -> None:
        """Keep the next whole chunks.

        Raises:
            PeerFault: a chunk is not the one that the CID commits to; the ones before it are kept.
        """
        view = memoryview(data)
        while view:
            if self.is_complete:
                raise PeerFault(f"More bytes were sent for {self.tree.cid} than it has.")
            length = self.tree.chunk_bytes(self._chunks)
            if not self._is_next(view[:length]):
                raise PeerFault(f"Chunk {self._chunks} of {self.tree.cid} has the wrong bytes.")
            self._file.write(view[:length])
            self._chunks += 1
            view = view[length:]

    def sync(self) -> None:
        """Make sure that it is on disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def _is_next(self, chunk: "bytes | memoryview") -> bool:
        right_length = len(chunk) == self.tree.chunk_bytes(self._chunks)
        return right_length and hashlib.sha256(chunk).digest() == self.tree.leaf(self._chunks)


def _copy(read: Callable[[], bytes], file: BinaryIO, size: int) -> BlobTree:
    hasher = TreeHasher()
    copied = 0
    while data := read():
        copied += len(data)
        if copied > size:
            raise Refused("A file grew while it was being stored; store it when it is finished.")
        hasher.update(data)
        file.write(data)
    file.flush()
    os.fsync(file.fileno())
    return hasher.finish()


def _scan(folder: Path) -> dict[Cid, int]:
    found: dict[Cid, int] = {}
    for group in os.scandir(folder):
        for entry in os.scandir(group.path) if group.is_dir(follow_symlinks=False) else ():
            cid = Cid(entry.name)
            if entry.is_file(follow_symlinks=False) and _is_whole(cid, entry.path):
                found[cid] = entry.stat(follow_symlinks=False).st_size
    return found


def _is_whole(cid: Cid, path: str) -> bool:
    try:
        return is_single_chunk(cid) or os.path.exists(path + _LEAVES)
    except Refused:
        return False  # a list of digests, or not ours


def _load_pins(path: Path) -> dict[Cid, dict[str, int]]:
    try:
        return {
            Cid(cid): {str(r): int(u) for r, u in pins.items()} for cid, pins in json.loads(path.read_text()).items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise Misconfigured(
            f"{path} is damaged ({error}); restore it, or remove it to let unneeded blobs go."
        ) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
