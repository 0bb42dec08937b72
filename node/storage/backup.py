"""All that a node needs to go on, in one file: the journal, the config, the networks, and its keys.

The wallet stays encrypted with its password. The peer key and a hot key are as open in a backup as in the data folder:
keep it like that. Results, inputs and images are not in it; they are content that stays in the data folder.

A restored journal may be old. What has happened since is on the chain: logs are followed from where the journal ends,
and a transaction that was sent after the backup is found there before its effect is asked for again.
"""

import hashlib
import io
import json
import os
import re
import secrets
import shutil
import sqlite3
import tarfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from capanode.node.data_folder import DataFolder, private_folder
from capanode.node.fault_points import durable
from capanode.node.storage.database import Schema
from capanode.node.storage.integrity import restoring_of, seal_of, wal_of
from capanode.protocol.faults import Refused

FORMAT: Final = 1
INDEX: Final = "backup.json"
JOURNAL: Final = "node.db"
MAX_SMALL_BYTES: Final = 4 * 2**20
"""Of the index and of every file but the journal."""
MAX_FILES: Final = 1000

_PLACES: Final = ("*.toml", "*.json", "*.key", "networks/*.toml", "p2p/*")
_NAME: Final = re.compile(r"(?:networks/|p2p/)?[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds; `made_at` in Unix seconds."""

    made_at: int
    files: tuple[str, ...]


def write_backup(folder: DataFolder, target: Path, snapshot: Callable[[Path], None]) -> Backup:
    """Put a backup at `target`, readable by its owner only, whole or not at all.

    `snapshot` copies the journal as it is at one moment to a new file.

    Raises:
        Refused: there is something at `target`, or it cannot be written.
    """
    if target.exists():
        raise Refused(f"{target} is already there: name another file, so that no backup is lost.")
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    copy = folder.root / f".snapshot-{secrets.token_hex(4)}"
    try:
        snapshot(copy)
        named = {JOURNAL: copy} | _small_files(folder)
        made = Backup(int(time.time()), tuple(named))
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            _pack(file, named, made)
            file.flush()
            os.fsync(file.fileno())
        with durable("backup.write"):
            draft.rename(target)
        return made
    except OSError as error:
        raise Refused(f"the backup {target} cannot be written ({error.strerror}): name another file.") from error
    finally:
        draft.unlink(missing_ok=True)
        copy.unlink(missing_ok=True)


def restore_backup(folder: DataFolder, source: Path, schemas: Sequence[Schema], *, force: bool) -> Backup:
    """Check a backup whole, then put it in the place of what is in the folder, whose lock the caller holds.

    Repeated after a crash it does the rest. The journal that it replaces stays beside it as `node.db.before`.

    Raises:
        Refused: `source` is no backup, is damaged, or is of a newer release; or without `force`, that something would
            be replaced. Nothing has changed.
    """
    staged = folder.root / f".restore-{secrets.token_hex(4)}"
    private_folder(staged)
    try:
        made = _unpack(source, staged)
        _check_journal(staged / JOURNAL, schemas)
        present = [name for name in made.files if (folder.root / name).exists()]
        if present and not force and not restoring_of(folder.database).exists():
            raise Refused(
                f"the data folder {folder.root} already has {', '.join(sorted(present)[:3])}: say --force to replace "
                "what is there."
            )
        _replace(folder, staged, made)
        return made
    except OSError as error:
        raise Refused(f"the backup {source} cannot be restored ({error.strerror}).") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _small_files(folder: DataFolder) -> dict[str, Path]:
    found = {path for pattern in _PLACES for path in folder.root.glob(pattern)}
    return {
        str(path.relative_to(folder.root)): path
        for path in sorted(found)
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= MAX_SMALL_BYTES
    }


def _pack(file: IO[bytes], named: Mapping[str, Path], made: Backup) -> None:
    index = {"format": FORMAT, "made_at": made.made_at, "files": {name: _hash(path) for name, path in named.items()}}
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as tar:
        text = json.dumps(index).encode()
        head = tarfile.TarInfo(INDEX)
        head.size, head.mode = len(text), 0o600
        tar.addfile(head, io.BytesIO(text))
        for name, path in named.items():
            with path.open("rb") as content:
                entry = tar.gettarinfo(arcname=name, fileobj=content)
                entry.mode, entry.uid, entry.gid, entry.uname, entry.gname = 0o600, 0, 0, "", ""
                tar.addfile(entry, content)


@contextmanager
def _told(source: Path) -> Generator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unfit(source, type(error).__name__) from error


def _unfit(source: Path, why: str) -> Refused:
    return Refused(f"{source} is not a whole backup ({why}): use another one.")


def _unpack(source: Path, staged: Path) -> Backup:
    with _told(source), tarfile.open(source, mode="r:gz") as tar:
        first = tar.next()
        if first is None or first.name != INDEX or first.size > MAX_SMALL_BYTES:
            raise _unfit(source, "it has no index")
        index = json.loads(_content(tar, first).read(MAX_SMALL_BYTES))
        if index["format"] != FORMAT:
            raise Refused(f"{source} was made by a newer capanode: install that release.")
        hashes = dict[str, str](index["files"])
        if JOURNAL not in hashes or len(hashes) > MAX_FILES:
            raise _unfit(source, "it has no journal")
        missing = set(hashes)
        while (entry := tar.next()) is not None:
            if entry.name not in missing or not _NAME.fullmatch(entry.name) or not entry.isreg():
                raise _unfit(source, f"it holds {entry.name[:60]!r}")
            if entry.name != JOURNAL and entry.size > MAX_SMALL_BYTES:
                raise _unfit(source, f"{entry.name} is too large")
            _lay(_content(tar, entry), staged / entry.name)
            if _hash(staged / entry.name) != hashes[entry.name]:
                raise _unfit(source, f"{entry.name} is damaged")
            missing.remove(entry.name)
        if missing:
            raise _unfit(source, f"{min(missing)} is missing")
        return Backup(int(index["made_at"]), tuple(hashes))


def _content(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(entry)
    if content is None:
        raise ValueError("no content")
    return content


def _lay(content: IO[bytes], path: Path) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        shutil.copyfileobj(content, file)
        file.flush()
        os.fsync(file.fileno())


def _check_journal(path: Path, schemas: Sequence[Schema]) -> None:
    known = {schema.name: len(schema.steps) for schema in schemas}
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as connection:
            (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            versions = dict(connection.execute("SELECT name, version FROM schema_version"))
    except sqlite3.DatabaseError as error:
        raise Refused(f"the journal in the backup is damaged ({error}): use another one.") from error
    if found != "ok":
        raise Refused(f"the journal in the backup is damaged ({found[:100]}): use another one.")
    if newer := [name for name, version in versions.items() if version > known.get(name, 0)]:
        raise Refused(f"the backup was made by a newer capanode ({newer[0]}): install that release.")


def _replace(folder: DataFolder, staged: Path, made: Backup) -> None:
    """From the first line to the last a start is refused: the journal and its log are not of one time meanwhile."""
    database = folder.database
    mark = restoring_of(database)
    with durable("restore.begin"):
        mark.touch(0o600)
    for name in made.files:
        if name != JOURNAL:
            (folder.root / name).parent.mkdir(mode=0o700, exist_ok=True)
            with durable("restore.file"):
                (staged / name).replace(folder.root / name)
    with durable("restore.journal"):
        for old in (wal_of(database), database.with_name(f"{database.name}-shm"), seal_of(database)):
            if old.exists():
                old.replace(old.with_name(f"{old.name}.before"))
        if database.exists():
            database.replace(database.with_name(f"{database.name}.before"))
        (staged / JOURNAL).replace(database)
    with durable("restore.end"):
        mark.unlink()


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
