"""Canonical trees on disk: reading a directory that a stranger's program wrote, and writing one out.

Every object is opened by its name in an already open directory, without following links, and looked at
before it is read: a FIFO never blocks, a device is never touched, and swapping a name for a link in between
changes nothing.

**Source**: docs/protocol.md §4.
"""

import errno
import hashlib
import io
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, assert_never

import trio

from capanode.node.fault_points import durable
from capanode.proofs import tree
from capanode.proofs.tree import DEFAULT_BOUNDS, Bounds, Entry, EntryType
from capanode.protocol.faults import PeerFault, Refused, Unavailable
from capanode.protocol.ids import ZERO_DIGEST, Digest

CHUNK_BYTES: Final = 2**20
MAX_PROBLEMS: Final = 20
"""A list for a person, who needs no more of them; a hostile job could cause a million."""

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_PATH opens the object itself, whatever it is, and has no effect on it.
_LOOK: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Tick = Callable[[], None]
"""Called once per chunk and entry; may raise to stop the work."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A directory in canonical form: its checked entries and their root."""

    entries: tuple[Entry, ...]
    root: Digest


@dataclass(frozen=True, slots=True)
class Unfit:
    """A directory that has no canonical form; the first problems, each a sentence for its author."""

    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Written:
    """A tree was written; `skipped_links` are the links that would have led out of it."""

    skipped_links: tuple[str, ...]


class BadContent(PeerFault):
    """Bytes that are not what their entry promises."""


async def walk(root: Path, bounds: Bounds = DEFAULT_BOUNDS) -> Tree | Unfit:
    """Read the directory in a worker thread, at the speed of the disk; cancel-safe.

    Raises:
        Unavailable: the disk could not be read.
    """
    return await trio.to_thread.run_sync(walk_here, root, bounds, trio.from_thread.check_cancelled)


async def materialise(entries: Sequence[Entry], content: "Content", destination: Path) -> Written:
    """Write a tree in a worker thread, as `materialise_here`; cancel-safe, leaving nothing at `destination`."""
    return await trio.to_thread.run_sync(
        materialise_here, entries, content, destination, trio.from_thread.check_cancelled
    )


# ---- reading -------------------------------------------------------------------------------------------------


def walk_here(root: Path, bounds: Bounds = DEFAULT_BOUNDS, tick: Tick = lambda: None) -> Tree | Unfit:
    """The tree of a directory at rest, or why it has none; blocks.

    Raises:
        Unavailable: the disk could not be read.
    """
    try:
        with _opened(os.fspath(root), _DIRECTORY) as directory:
            walker = _Walker(bounds, os.fstat(directory).st_dev, tick)
            with suppress(_Enough):
                walker.descend(directory, ())
    except OSError as error:
        raise Unavailable(f"{root} could not be read ({error.strerror}); check the disk") from error
    if walker.problems:
        return Unfit(tuple(walker.problems))
    entries = tree.ordered(walker.entries)
    tree.check(entries, bounds)
    return Tree(entries, tree.tree_root(entries))


class _Enough(Exception):
    """The tree is refused whatever else it holds."""


class _Walker:
    """One pass over one directory: what it found, and what was wrong."""

    def __init__(self, bounds: Bounds, device: int, tick: Tick) -> None:
        self.entries: list[Entry] = []
        self.problems: list[str] = []
        self._content_bytes = 0
        self._bounds = bounds
        self._device = device
        self._tick = tick

    def descend(self, directory: int, above: tuple[str, ...]) -> None:
        """Add everything below `directory`, whose path has the names `above`."""
        with os.scandir(directory) as listing:
            for item in listing:
                self._tick()
                if len(self.entries) == self._bounds.entries:
                    self._give_up(f"there are more than {self._bounds.entries} files and folders")
                self._visit(directory, above, os.fsencode(item.name))

    def _visit(self, directory: int, above: tuple[str, ...], raw: bytes) -> None:
        try:
            names = (*above, raw.decode())
        except UnicodeDecodeError:
            self._refuse(f"the name {raw[:120]!r} in {_shown(above)} is not UTF-8")
            return
        if len(names) > self._bounds.depth or len("/".join(names).encode()) > tree.MAX_PATH_BYTES:
            self._refuse(f"{_shown(names)} lies too deep: {self._bounds.depth} names, 4,096 bytes at most")
            return
        try:
            with _opened(raw, _LOOK, directory) as found:
                self._add(found, names)
        except PermissionError:
            self._refuse(f"{_shown(names)} may not be read; the job has to leave it readable")
        except FileNotFoundError:
            self._refuse(f"{_shown(names)} vanished while the tree was read")

    def _add(self, found: int, names: tuple[str, ...]) -> None:
        status = os.fstat(found)
        path = "/".join(names)
        if status.st_dev != self._device:
            self._refuse(f"{_shown(names)} lies on another file system")
        elif stat.S_ISDIR(status.st_mode):
            self.entries.append(Entry(path, EntryType.DIR, 0o755, 0, ZERO_DIGEST))
            with _reopened(found, os.O_DIRECTORY) as directory:
                self.descend(directory, names)
        elif stat.S_ISLNK(status.st_mode):
            target = os.readlink(b"", dir_fd=found)
            self._grow(len(target), names)
            content = Digest(hashlib.sha256(target).digest())
            self.entries.append(Entry(path, EntryType.LINK, 0o777, len(target), content))
        elif stat.S_ISREG(status.st_mode):
            self._add_file(found, status, names)
        else:
            self._refuse(f"{_shown(names)} is a {_kind(status.st_mode)}; leave files, folders and links only")

    def _add_file(self, found: int, status: os.stat_result, names: tuple[str, ...]) -> None:
        # Before reading: a sparse file may claim far more than the disk holds.
        self._grow(status.st_size, names)
        with _reopened(found, 0) as file:
            size, content = _hashed(file, status.st_size, self._tick)
        if size != status.st_size:
            self._refuse(f"{_shown(names)} changed while it was read")
            return
        mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
        self.entries.append(Entry("/".join(names), EntryType.FILE, mode, size, content))

    def _grow(self, size: int, names: tuple[str, ...]) -> None:
        self._content_bytes += size
        if self._content_bytes > self._bounds.content_bytes:
            self._give_up(f"with {_shown(names)} there are more than {self._bounds.content_bytes} bytes")

    def _refuse(self, problem: str) -> None:
        self.problems.append(problem)
        if len(self.problems) == MAX_PROBLEMS:
            raise _Enough

    def _give_up(self, problem: str) -> None:
        self.problems.append(problem)
        raise _Enough


def _hashed(file: int, expected: int, tick: Tick) -> tuple[int, Digest]:
    """Size and sha256 of an open file, reading at most one byte more than expected."""
    digest = hashlib.sha256()
    size = 0
    while chunk := os.read(file, min(CHUNK_BYTES, expected + 1 - size)):
        digest.update(chunk)
        size += len(chunk)
        tick()
    return size, Digest(digest.digest())


@contextmanager
def _opened(name: str | bytes, flags: int, directory: int | None = None) -> Iterator[int]:
    descriptor = os.open(name, flags, dir_fd=directory)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _reopened(found: int, flags: int) -> AbstractContextManager[int]:
    """The object that an O_PATH descriptor refers to, opened for reading: no name is looked up again."""
    return _opened(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)


_KINDS: Final = {
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "special file")


def _shown(names: Sequence[str]) -> str:
    """A path for a sentence: short, and without control characters that would write on a terminal."""
    return ascii("/".join(names)[:120])


# ---- writing -------------------------------------------------------------------------------------------------

Content = Callable[[Entry], BinaryIO]
"""Opens the bytes of a file, or of a link's target; they are checked against the entry."""


def content_of(folder: Path) -> Content:
    """Opens the entries of a folder that was walked; no link is followed on the way."""

    def opened(entry: Entry) -> BinaryIO:
        with _opened(os.fspath(folder), _DIRECTORY) as root, _parent(root, entry.path) as directory:
            name = entry.path.rpartition("/")[2]
            if entry.type is EntryType.LINK:
                return io.BytesIO(os.readlink(os.fsencode(name), dir_fd=directory))
            return os.fdopen(os.open(name, _READ, dir_fd=directory), "rb")

    return opened


def materialise_here(
    entries: Sequence[Entry], content: Content, destination: Path, tick: Tick = lambda: None
) -> Written:
    """Write a tree to `destination`, which does not exist or is empty; blocks, ends with everything on the disk.

    The folder appears whole or not at all. No link is followed on the way, and links that would lead out of
    the folder are left out.

    Raises:
        BadTree: the entries are no tree. The sender's fault.
        BadContent: bytes do not match their entry. The sender's fault.
        Refused: `destination` holds something.
        Unavailable: the disk is full or fails.
    """
    tree.check(entries)
    partial = destination.with_name(f".{destination.name}.partial")
    try:
        _clear(partial)
        os.makedirs(partial, mode=0o755)
        with _opened(os.fspath(partial), _DIRECTORY) as root:
            skipped = _write_all(entries, content, root, tick)
            os.fsync(root)
        with durable("result.keep"):
            os.rename(partial, destination)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR) and os.path.lexists(destination):
            raise Refused(f"{destination} is not an empty folder; choose another one") from error
        raise Unavailable(f"{destination} could not be written ({error.strerror}); check the disk") from error
    finally:
        _clear(partial)
    return Written(skipped)


def fill_here(
    entries: Sequence[Entry], content: Content, folder: Path, owner: int | None, tick: Tick = lambda: None
) -> None:
    """Write a tree into an empty folder, all links included, for a sandbox in which they lead nowhere else; blocks.

    What is not part of a tree is the same whoever writes it: everything is as old as can be and belongs to `owner`, a
    user and group, or to this process for None. Not synced; a failure leaves a part of it behind.

    Raises:
        BadContent: bytes do not match their entry.
        Unavailable: the disk is full or fails.
    """
    try:
        with _opened(os.fspath(folder), _DIRECTORY) as root:
            for entry in entries:
                tick()
                with _parent(root, entry.path) as directory:
                    _fill_entry(entry, content, directory, entry.path.rpartition("/")[2], tick)
            os.fchmod(root, 0o755)
            # The folders last and from the inside out: what is written into one makes it younger.
            for entry in reversed(entries):
                with _parent(root, entry.path) as directory:
                    _make_plain(entry, directory, entry.path.rpartition("/")[2], owner)
            os.utime(root, ns=(0, 0))
    except OSError as error:
        raise Unavailable(f"{folder} could not be filled ({error.strerror}); check the disk") from error


def _fill_entry(entry: Entry, content: Content, directory: int, name: str, tick: Tick) -> None:
    match entry.type:
        case EntryType.DIR:
            os.mkdir(name, 0o755, dir_fd=directory)
        case EntryType.FILE:
            _write_file(entry, content, directory, name, tick, is_kept=False)
        case EntryType.LINK:
            os.symlink(_target(entry, content), os.fsencode(name), dir_fd=directory)
        case _:
            assert_never(entry.type)


def _make_plain(entry: Entry, directory: int, name: str, owner: int | None) -> None:
    if entry.type is EntryType.DIR:
        os.chmod(name, entry.mode, dir_fd=directory)  # whatever this process's umask is
    if owner is not None:
        os.chown(name, owner, owner, dir_fd=directory, follow_symlinks=False)
    os.utime(name, ns=(0, 0), dir_fd=directory, follow_symlinks=False)


def _clear(folder: Path) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


def _write_all(entries: Sequence[Entry], content: Content, root: int, tick: Tick) -> tuple[str, ...]:
    types = {entry.path: entry.type for entry in entries}
    skipped: list[str] = []
    for entry in entries:
        tick()
        with _parent(root, entry.path) as directory:
            name = entry.path.rpartition("/")[2]
            match entry.type:
                case EntryType.DIR:
                    os.mkdir(name, 0o755, dir_fd=directory)
                case EntryType.FILE:
                    _write_file(entry, content, directory, name, tick)
                case EntryType.LINK:
                    target = _target(entry, content)
                    if leads_out(entry.path, target, types):
                        skipped.append(entry.path)
                    else:
                        os.symlink(target, os.fsencode(name), dir_fd=directory)
    return tuple(skipped)


@contextmanager
def _parent(root: int, path: str) -> Iterator[int]:
    """The directory of `path` below `root`, opened name by name."""
    directory = os.dup(root)
    try:
        for name in path.split("/")[:-1]:
            inner = os.open(name, _DIRECTORY, dir_fd=directory)
            os.close(directory)
            directory = inner
        yield directory
    finally:
        os.close(directory)


def _write_file(entry: Entry, content: Content, directory: int, name: str, tick: Tick, *, is_kept: bool = True) -> None:
    digest = hashlib.sha256()
    left = entry.size
    with content(entry) as source, os.fdopen(os.open(name, _CREATE, 0o644, dir_fd=directory), "wb") as file:
        while chunk := source.read(min(CHUNK_BYTES, left + 1)):
            left -= len(chunk)
            if left < 0:
                break
            digest.update(chunk)
            file.write(chunk)
            tick()
        if left != 0 or digest.digest() != entry.content:
            raise BadContent(f"the bytes of {_shown([entry.path])} are not what the result promises")
        file.flush()
        os.fchmod(file.fileno(), entry.mode)
        if is_kept:
            os.fsync(file.fileno())


def _target(entry: Entry, content: Content) -> bytes:
    with content(entry) as source:
        target = source.read(entry.size + 1)
    if len(target) != entry.size or hashlib.sha256(target).digest() != entry.content or b"\0" in target:
        raise BadContent(f"the target of the link {_shown([entry.path])} is not what the result promises")
    return target


def leads_out(path: str, target: bytes, types: Mapping[str, EntryType]) -> bool:
    """Whether the link at `path` could lead out of its tree: absolute, above the root, or through another link."""
    if target.startswith(b"/"):
        return True
    place = path.split("/")[:-1]
    names = os.fsdecode(target).split("/")
    for index, name in enumerate(names):
        if name in ("", "."):
            continue
        if name == "..":
            if not place:
                return True
            place.pop()
            continue
        place.append(name)
        is_last = index == len(names) - 1
        if not is_last and types.get("/".join(place)) is not EntryType.DIR:
            return True
    return False
