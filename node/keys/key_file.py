"""Files that only their owner may read."""

import os
import secrets
import stat
from pathlib import Path

from capanode.node.fault_points import durable
from capanode.protocol.faults import Misconfigured

_PRIVATE = 0o600


def write_private_file(path: Path, content: bytes) -> None:
    """Create `path` with mode 0600, whole or not at all; a file that is there stays as it is.

    Raises:
        Misconfigured: the file exists, or the folder cannot be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, refuses to replace a key that is there.
        with durable("key.write"):
            os.link(draft, path)
    except FileExistsError as error:
        raise Misconfigured(f"{path} exists already: keys are never overwritten; move it away first.") from error
    except OSError as error:
        raise Misconfigured(f"The key file {path} cannot be written ({error.strerror}).") from error
    finally:
        draft.unlink(missing_ok=True)


def read_private_file(path: Path, max_bytes: int) -> bytes:
    """The content of a key file.

    Raises:
        Misconfigured: it is missing, too large, or others may read it.
    """
    try:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            if stat.S_ISREG(state.st_mode) and state.st_mode & 0o077:
                raise Misconfigured(f"Others may read {path}: run `chmod 600 {path}`.")
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise Misconfigured(f"The key file {path} cannot be read ({error.strerror}).") from error
    if len(content) > max_bytes:
        raise Misconfigured(f"{path} is too large for a key file: name the right file.")
    return content
