"""One small ext4 file system per job, so that no job can fill the disk, and a pool of them.

Making one takes tens of milliseconds, taking one from the pool none. Blocks are reserved on the
host at once (fallocate), so a job never fails because the host's disk filled up meanwhile.
"""

import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from capanode.node.executors.sandbox import JOB_UID
from capanode.node.fault_points import durable
from capanode.protocol.faults import Misconfigured, Unavailable

_MIB: Final = 2**20
_INODE_BYTES: Final = 256
_MIN_INODES: Final = 1024
_MAX_INODES: Final = 65_536
_BYTES_PER_INODE: Final = 16 * 1024
_NAME: Final = re.compile(r"([0-9a-f]{1,16})-[0-9a-f]{16}")
_TOOL_S: Final = 60
_MOUNT_OPTIONS: Final = "loop,nosuid,nodev,noexec,noatime,nodiscard"


@dataclass(frozen=True, slots=True)
class OutputDisk:
    """A mounted, empty file system of `size_bytes`, owned by the job's user; `path` is its mount point."""

    name: str
    path: Path
    size_bytes: int


def make_disk(folder: Path, name: str) -> OutputDisk:
    """Make and mount a file system in `folder`; raises Unavailable when the host has no room for it.

    Needs root. Its name, of `name_for`, holds the size, so that it can be found again after a restart.
    """
    size_bytes = size_in_name(name)
    assert size_bytes is not None, "the name is one of name_for"
    image, mount = folder / f"{name}.img", folder / name
    try:
        mount.mkdir(mode=0o700)
        with durable("disk.make"):
            _tool("fallocate", "-l", str(_image_bytes(size_bytes)), str(image))
            _tool("mkfs.ext4", *_mkfs_options(size_bytes), str(image))
        with durable("disk.mount"):
            _tool("mount", "-t", "ext4", "-o", _MOUNT_OPTIONS, str(image), str(mount))
        (mount / "lost+found").rmdir()
    except BaseException as error:
        destroy_disk(folder, name)
        if isinstance(error, OSError):
            raise Unavailable(f"no output file system could be made ({error.strerror}); free disk space") from error
        raise
    return OutputDisk(name, mount, size_bytes)


def destroy_disk(folder: Path, name: str) -> None:
    """Unmount and delete a file system; idempotent, also when several do it at once; raises Unavailable."""
    mount = folder / name
    if os.path.ismount(mount):
        with durable("disk.unmount"):
            _unmount(mount)
    try:
        with durable("disk.remove"):
            (folder / f"{name}.img").unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                mount.rmdir()
    except OSError as error:
        raise Unavailable(f"an output file system could not be removed ({error.strerror}): {mount}") from error


def _unmount(mount: Path) -> None:
    try:
        _tool("umount", "--lazy", str(mount))
    except Unavailable:
        # Somebody else has done it at this moment.
        if os.path.ismount(mount):
            raise


def find_disk(folder: Path, name: str) -> OutputDisk | None:
    """A file system that an earlier process of this node made, if it is still mounted."""
    size_bytes, mount = size_in_name(name), folder / name
    if size_bytes is None or not os.path.ismount(mount):
        return None
    return OutputDisk(name, mount, size_bytes)


def name_for(size_bytes: int) -> str:
    """A new name that says the size, so that the size is known after a restart."""
    return f"{size_bytes:x}-{secrets.token_hex(8)}"


def size_in_name(name: str) -> int | None:
    """The size that a name of `name_for` says; None for any other text."""
    matched = _NAME.fullmatch(name)
    return int(matched[1], 16) if matched else None


def disk_names(folder: Path) -> list[str]:
    """Every file system in `folder`, mounted or left over."""
    return sorted({entry.name.removesuffix(".img") for entry in folder.iterdir()})


def disk_is_sound(disk: OutputDisk) -> bool:
    """False after the kernel met an error below the file system and made it read-only, or someone unmounted it."""
    try:
        return not os.statvfs(disk.path).f_flag & os.ST_RDONLY and os.path.ismount(disk.path)
    except OSError:
        return False


def missing_tools() -> list[str]:
    """Which of the commands that `make_disk` needs are not installed."""
    return [tool for tool in ("fallocate", "mkfs.ext4", "mount", "umount") if _path_of(tool) is None]


def _image_bytes(size_bytes: int) -> int:
    # ext4's own tables come on top, so that the job gets what was asked for and hardly more.
    return _whole_blocks(size_bytes + size_bytes // 64 + inodes_for(size_bytes) * _INODE_BYTES + _MIB)


def _whole_blocks(count: int) -> int:
    return -(-count // 4096) * 4096


def inodes_for(size_bytes: int) -> int:
    """How many files, folders and links fit into outputs of that size."""
    return min(_MAX_INODES, max(_MIN_INODES, size_bytes // _BYTES_PER_INODE))


def _mkfs_options(size_bytes: int) -> Sequence[str]:
    # No journal: the file system never outlives the host's next start, and writes go faster.
    extended = f"root_owner={JOB_UID}:{JOB_UID},lazy_itable_init=1,nodiscard"
    features = "^has_journal,^resize_inode,^huge_file"
    inodes = ("-N", str(inodes_for(size_bytes)), "-I", str(_INODE_BYTES))
    return ("-q", "-F", "-m", "0", "-b", "4096", "-e", "remount-ro", "-O", features, *inodes, "-E", extended)


def _path_of(tool: str) -> str | None:
    return shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def _tool(tool: str, *arguments: str) -> None:
    path = _path_of(tool)
    if path is None:
        raise Misconfigured(f"the command {tool} is missing; install e2fsprogs and util-linux")
    try:
        subprocess.run([path, *arguments], check=True, capture_output=True, timeout=_TOOL_S)
    except subprocess.CalledProcessError as error:
        said = " ".join(error.stderr.decode(errors="replace").split())[-300:]
        raise Unavailable(
            f"no output file system could be made ({tool}: {said}); free disk space or loop devices"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{tool} did not finish within {_TOOL_S} s; check the disk") from error
