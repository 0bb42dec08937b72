"""Looking into a database without touching it, also while a node has it locked."""

import shutil
import sqlite3
import tempfile
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path


@contextmanager
def copy_of(path: Path) -> Generator[sqlite3.Connection]:
    """A copy of the file and of its log as they are now, gone when the block ends.

    Taken beside a node that writes, the copy may be torn: what is read of it is a hint.

    Raises:
        OSError: there is no such file, or no room for the copy.
        sqlite3.Error: from the caller's questions, where it is none of ours.
    """
    with tempfile.TemporaryDirectory(prefix="capanode-peek-") as folder:
        copy = Path(folder, path.name)
        shutil.copyfile(path, copy)
        log = path.with_name(f"{path.name}-wal")
        if log.exists():
            shutil.copyfile(log, copy.with_name(log.name))
        with closing(sqlite3.connect(copy)) as connection:
            yield connection
