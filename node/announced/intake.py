"""The user's own files on their way into the store: inputs and image archives, each read once while it is unchanged."""

import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from capanode.node.images.archive import ImageLimits, check_archive
from capanode.node.storage.blobs import BlobStore
from capanode.protocol.faults import Refused
from capanode.protocol.ids import Cid, Digest, UnixTime
from capanode.protocol.records import ArchiveImage

T = TypeVar("T")

MAX_REMEMBERED: Final = 1024
"""Files whose digests are kept in memory."""

RENEW_S: Final = 3600
"""How much shorter than wanted a pin may be before it is renewed."""

SETTLED_NS: Final = 2 * 10**9
"""A file changed more recently is not remembered: another change could bear the same time."""


@dataclass(frozen=True, slots=True)
class TakenFile:
    """A file's content in the store."""

    cid: Cid
    sha256: Digest
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Mark:
    """What is the same while a file is unchanged."""

    path: str
    device: int
    inode: int
    size: int
    content_at_ns: int
    inode_at_ns: int


class Intake:
    """Takes files in; blocking, to be called in threads."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._files: OrderedDict[_Mark, TakenFile] = OrderedDict()
        self._archives: OrderedDict[_Mark, ArchiveImage] = OrderedDict()

    def file(self, name: str, path: Path, until: UnixTime) -> TakenFile:
        """An input's content, pinned until then.

        Raises:
            Refused: there is no such file, or it is too large.
            Unavailable: it cannot be read, or there is no room.
        """
        if not path.is_file():
            raise Refused(f"the input {name} is not there: {path} is no file")
        mark = _mark(path)
        known = self._files.get(mark)
        if known is not None and self._kept(known.cid, "input", until):
            return known
        digest, size = sha256_of(path)
        taken = TakenFile(self._blobs.put_file(path, reason="input", until=until), digest, size)
        _remember(self._files, mark, taken)
        return taken

    def archive(self, path: Path, until: UnixTime) -> ArchiveImage:
        """A checked image archive, pinned until then.

        Raises:
            ImageRejected: it is no image that a provider would take.
            Unavailable: it cannot be read, or there is no room.
        """
        mark = _mark(path)
        known = self._archives.get(mark)
        if known is not None and self._kept(known.cid, "image", until):
            return known
        checked = check_archive(path, None, ImageLimits())
        cid = self._blobs.put_file(path, reason="image", until=until)
        image_id = Digest(bytes.fromhex(checked.image_id.removeprefix("sha256:")))
        taken = ArchiveImage(cid, image_id, self._blobs.size(cid))
        _remember(self._archives, mark, taken)
        return taken

    def _kept(self, cid: Cid, reason: str, until: UnixTime) -> bool:
        """Whether the blob is still here; its pin is moved on now and then, since each move is a write."""
        if not self._blobs.has(cid):
            return False
        pinned = max((pin.until for pin in self._blobs.pins(cid) if pin.reason == reason), default=0)
        if pinned + RENEW_S < until:
            self._blobs.pin(cid, reason=reason, until=until)
        return True


def sha256_of(path: Path) -> tuple[Digest, int]:
    """Digest and size of a file's content."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
        return Digest(digest), file.tell()


def _mark(path: Path) -> _Mark:
    about = path.stat()
    return _Mark(str(path), about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)


def _remember(known: OrderedDict[_Mark, T], mark: _Mark, taken: T) -> None:
    if time.time_ns() - max(mark.content_at_ns, mark.inode_at_ns) < SETTLED_NS:
        return
    known[mark] = taken
    if len(known) > MAX_REMEMBERED:
        known.popitem(last=False)
