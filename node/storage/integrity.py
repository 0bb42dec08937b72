"""Whether the node's file is as it was written: found out before a node goes on with it.

Three looks, each for what the others cannot see. A node that stops leaves a seal, the hash of its whole file. After a
crash there is none, but there is a write-ahead log, of which SQLite would drop, without a word, all that follows a
damaged frame. And in every case the pages have to hang together.

**Source**: the file format of SQLite's write-ahead log, https://www.sqlite.org/fileformat2.html#walformat.
"""

import hashlib
import sqlite3
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from capanode.node.fault_points import durable
from capanode.node.storage.whole_file import write_whole
from capanode.protocol.faults import Misconfigured

CHECK_S: Final = 20.0
"""Longest that the pages are looked at; a file of many gigabytes is looked at in part, and its seal in whole."""

MAX_LOG_BYTES: Final = 64 * 2**20
"""Most of a log that is looked at; it is merged into the file from 4 MiB on."""

_WAL_HEADER: Final = struct.Struct(">8I")
_FRAME_HEADER: Final = struct.Struct(">6I")
_MAGIC: Final = 0x377F0682
_STEPS_BETWEEN_LOOKS: Final = 100_000


def seal_of(path: Path) -> Path:
    """Where the hash of a file that was closed lies."""
    return path.with_name(f"{path.name}.sum")


def wal_of(path: Path) -> Path:
    """The write-ahead log of a file that is open or whose process died."""
    return path.with_name(f"{path.name}-wal")


def restoring_of(path: Path) -> Path:
    """The mark of a restore that has begun and not ended."""
    return path.with_name(f"{path.name}.restoring")


def damaged(path: Path, what: str) -> Misconfigured:
    """The sentence for a file that is not as it was written."""
    return Misconfigured(
        f"The journal {path} is damaged ({what}): put the last backup in its place with "
        "`capanode restore FILE --force`, and check the disk."
    )


def seal(path: Path) -> None:
    """Leave the hash of a closed file beside it; none where its log could not be merged into it or the disk is full."""
    if path.exists() and not wal_of(path).exists():
        with suppress(OSError):
            write_whole("database.seal", seal_of(path), hash_of(path))


def check_files(path: Path) -> None:
    """Compare a file with its seal, which is then gone, and look at its log.

    Raises:
        Misconfigured: it is damaged.
    """
    if restoring_of(path).exists():
        raise Misconfigured(f"A restore of {path} was cut short: run the same `capanode restore` again.")
    mark = seal_of(path)
    if path.exists() and mark.exists() and not wal_of(path).exists() and mark.read_text("utf-8") != hash_of(path):
        raise damaged(path, f"its bytes changed while no node ran; delete {mark.name} if that was you")
    if (frame := broken_frame(path)) is not None:
        raise damaged(path, f"frame {frame} of its write-ahead log, which was complete once, is not any more")
    if mark.exists():
        with durable("database.unseal"):
            mark.unlink()


def check_pages(connection: sqlite3.Connection, path: Path, limit_s: float = CHECK_S) -> None:
    """Look whether the pages of an open file hang together.

    Raises:
        Misconfigured: they do not.
    """
    give_up = time.monotonic() + limit_s
    connection.set_progress_handler(lambda: time.monotonic() > give_up, _STEPS_BETWEEN_LOOKS)
    try:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return
    finally:
        connection.set_progress_handler(None, 0)
    if found != "ok":
        raise damaged(path, str(found)[:200])


def hash_of(path: Path) -> str:
    """sha256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def broken_frame(path: Path) -> int | None:
    """The first frame of the log that is damaged in a transaction that another one follows; None where there is none.

    The last transaction is not judged: a power cut may leave it half, and then it was never promised to anybody.
    """
    log = wal_of(path)
    if not log.exists():
        return None
    with log.open("rb") as file:
        data = file.read(MAX_LOG_BYTES)
    if len(data) < _WAL_HEADER.size:
        return None
    magic, _, page_bytes, _, *salts, sum_0, sum_1 = _WAL_HEADER.unpack_from(data)
    order = ">" if magic & 1 else "<"
    if magic & ~1 != _MAGIC or _sum(data[:24], order, (0, 0)) != (sum_0, sum_1):
        return 0
    running, first_bad, has_ended = (sum_0, sum_1), None, False
    frame_bytes = _FRAME_HEADER.size + page_bytes
    for number, start in enumerate(range(_WAL_HEADER.size, len(data) - frame_bytes + 1, frame_bytes), start=1):
        _, commit, *found_salts, sum_0, sum_1 = _FRAME_HEADER.unpack_from(data, start)
        # Other salts are what is left of an earlier round of the log.
        body = data[start : start + 8] + data[start + _FRAME_HEADER.size : start + frame_bytes]
        is_whole = found_salts == salts and _sum(body, order, running) == (sum_0, sum_1)
        if is_whole and has_ended:
            return first_bad
        if not is_whole and first_bad is None:
            first_bad = number
        has_ended |= first_bad is not None and commit != 0
        # Sums run on from frame to frame, so the next one is judged by what this one says of itself.
        running = (sum_0, sum_1)
    return None


def _sum(data: bytes, order: str, seed: tuple[int, int]) -> tuple[int, int]:
    one, two = seed
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        one = (one + even + two) & 0xFFFFFFFF
        two = (two + odd + one) & 0xFFFFFFFF
    return one, two
