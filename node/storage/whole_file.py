"""Small files that are there whole or not at all, whatever ends the process that writes them."""

import os
import secrets
from pathlib import Path

from capanode.node.fault_points import durable


def write_whole(step: str, path: Path, content: bytes | str) -> None:
    """Put `content` in the place of what is at `path`, on the disk when this returns; text is UTF-8.

    `step` names it among the fault points. A draft that a crash leaves beside it, `.<name>.<random>`, is never read.

    Raises:
        OSError: the disk is full or the folder cannot be written; the old content is still there.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with draft.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        with durable(step):
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def link_whole(step: str, link: Path, target: str) -> None:
    """Make `link` a symbolic link to `target`, replacing one that is there; `step` and errors as `write_whole`."""
    draft = link.with_name(f".{link.name}.{secrets.token_hex(4)}")
    try:
        draft.symlink_to(target)
        with durable(step):
            draft.replace(link)
    finally:
        draft.unlink(missing_ok=True)
