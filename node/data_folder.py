"""Where a node keeps its things, and the lock that gives one process a data folder to itself.

Light on purpose: every command of the CLI reads it before it knows what it has to do.
"""

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from capanode.node.fault_points import durable
from capanode.protocol.faults import Misconfigured

DATA_VARIABLE: Final = "CAPANODE_DATA"
MIN_FREE_BYTES: Final = 256 * 2**20
"""Less than this and the journal itself may fail to write."""

DRAFT_S: Final = 60.0
"""What is younger may still be being written."""

_DRAFT: Final = re.compile(r"\.(.+\.[0-9a-f]{8}|(restore|snapshot)-[0-9a-f]{8})")
"""As `write_whole`, `write_private_file`, backup and restore name what they have not finished."""

_MAX_SOCKET_BYTES: Final = 100
"""`sun_path` has 108 bytes on Linux and 104 elsewhere, the closing NUL included."""


@dataclass(frozen=True, slots=True)
class DataFolder:
    """The layout of `root`. Folders are made by `prepare`; files by whoever owns them."""

    root: Path

    @property
    def config(self) -> Path:
        """What the operator sets."""
        return self.root / "config.toml"

    @property
    def networks(self) -> Path:
        """Network profiles, `<name>.toml`."""
        return self.root / "networks"

    @property
    def wallet(self) -> Path:
        """The wallet, keystore v3."""
        return self.root / "wallet.json"

    @property
    def hot_key(self) -> Path:
        """The node's own key for assign and commit (0600); it cannot withdraw."""
        return self.root / "hot.key"

    @property
    def p2p(self) -> Path:
        """The peer key and the address book."""
        return self.root / "p2p"

    @property
    def database(self) -> Path:
        """The journal: every durable fact of the node."""
        return self.root / "node.db"

    @property
    def blobs(self) -> Path:
        """Content by CID: inputs, images, outputs."""
        return self.root / "blobs"

    @property
    def executions(self) -> Path:
        """What running containers write."""
        return self.root / "executions"

    @property
    def results(self) -> Path:
        """Verified outputs of the user's own jobs, `<job id>/`."""
        return self.root / "results"

    @property
    def lock(self) -> Path:
        """Held by the running node; its text is the process id."""
        return self.root / "node.lock"

    @property
    def log(self) -> Path:
        """Where a node that was started in the background writes its log."""
        return self.root / "node.log"

    @property
    def socket(self) -> Path:
        """The API socket: in the data folder, or in the runtime folder when that path is too long."""
        inside = self.root / "api.sock"
        if len(os.fsencode(inside)) <= _MAX_SOCKET_BYTES:
            return inside
        name = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]
        return runtime_folder() / f"{name}.sock"


def data_folder(given: Path | None = None) -> DataFolder:
    """The data folder: as given, else `CAPANODE_DATA`, else `capanode` under the user's data home."""
    named = given or os.environ.get(DATA_VARIABLE)
    if named:
        return DataFolder(Path(named).expanduser().absolute())
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return DataFolder(Path(home) / "capanode")


def runtime_folder() -> Path:
    """A short private folder for sockets: under `$XDG_RUNTIME_DIR`, else in the temporary folder."""
    named = os.environ.get("XDG_RUNTIME_DIR")
    if named and len(os.fsencode(named)) < _MAX_SOCKET_BYTES - 40:
        return Path(named) / "capanode"
    return Path(tempfile.gettempdir()) / f"capanode-{os.getuid()}"


def private_folder(path: Path) -> None:
    """Make a folder that only its owner can enter, or check that it is one.

    Raises:
        Misconfigured: it cannot be made, or it belongs to somebody else.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
        if not path.is_dir() or path.is_symlink() or found.st_uid != os.getuid():
            raise Misconfigured(f"{path} is not a folder of this user: move it away or name another one.")
        if found.st_mode & 0o077:
            path.chmod(0o700)
    except OSError as error:
        raise Misconfigured(
            f"{path} cannot be used ({error.strerror}): choose a data folder that you can write, with --data."
        ) from error


def prepare(folder: DataFolder) -> None:
    """Make the folders of a node; idempotent.

    A node that has a journal may have open deals: it starts on a full disk as well, and takes nothing new there.

    Raises:
        Misconfigured: the folder cannot be written, or it is new and its disk is full.
    """
    private_folder(folder.root)
    for path in (folder.networks, folder.p2p, folder.blobs, folder.executions, folder.results):
        private_folder(path)
    if not os.access(folder.root, os.W_OK | os.X_OK):
        raise Misconfigured(f"{folder.root} is not writable: correct its permissions, or choose --data.")
    _clear_drafts(folder)
    free = shutil.disk_usage(folder.root).free
    if free < MIN_FREE_BYTES and not folder.database.exists():
        raise Misconfigured(
            f"the disk of {folder.root} has only {free // 2**20} MiB free and a node needs "
            f"{MIN_FREE_BYTES // 2**20} MiB: free some, or choose --data on another disk."
        )


def _clear_drafts(folder: DataFolder) -> None:
    """Remove what a command that was killed has left half written: some of it holds keys."""
    for path in (path for place in (folder.root, folder.networks, folder.p2p) for path in place.iterdir()):
        with suppress(OSError):
            if _DRAFT.fullmatch(path.name) and time.time() - path.lstat().st_mtime > DRAFT_S:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@contextmanager
def held(folder: DataFolder) -> Generator[None]:
    """Have the data folder, made ready, to oneself for the length of the block.

    Raises:
        Misconfigured: another node runs on it, or it cannot be written.
    """
    prepare(folder)
    with locked(folder):
        yield


@contextmanager
def locked(folder: DataFolder) -> Generator[None]:
    """Hold the lock of a folder that exists; the kernel lets go of it when the process dies.

    Raises:
        Misconfigured: another process holds it, or it cannot be written.
    """
    try:
        descriptor = os.open(folder.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Misconfigured(f"{folder.lock} cannot be written ({error.strerror}): correct its permissions.") from error
    try:
        _lock(descriptor, folder)
        with durable("folder.hold"):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        os.close(descriptor)


def holder(folder: DataFolder) -> int | None:
    """The process id of the node that runs on this data folder, or None."""
    try:
        descriptor = os.open(folder.lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(descriptor, 32)
        return int(text) if text.isdigit() else None
    else:
        return None
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: DataFolder) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        who = os.read(descriptor, 32).decode(errors="replace")
        raise Misconfigured(
            f"the data folder {folder.root} is in use by the node with process id {who or 'unknown'}: "
            "stop it with `capanode stop`, or choose another folder with --data."
        ) from None
