"""What a job used, read from the control group around its container, which outlives it.

The container's own counters are gone the moment it ends, and sampling misses short jobs.
"""

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Final

CGROUP_ROOT: Final = Path("/sys/fs/cgroup")
_PREFIX: Final = "capanode"
_SYSTEMCTL_S: Final = 30


@dataclass(frozen=True, slots=True)
class Reading:
    """CPU time and peak memory (page cache and tmpfs included); None where the host does not tell."""

    cpu_ns: int | None
    peak_memory_bytes: int | None


def parent_for(node: str, execution_id: str, *, driver: str) -> str:
    """The control group to put a container under, in the engine driver's own naming.

    **Source**: systemd.slice(5) — dashes in a slice's name spell the path above it.
    """
    if driver == "systemd":
        return f"{_PREFIX}-{node}-{execution_id}.slice"
    return f"/{_PREFIX}-{node}/{execution_id}"


def read_usage(parent: str, *, root: Path = CGROUP_ROOT) -> Reading:
    """Read cgroup v2's files, or else v1's."""
    below = _path_below_root(parent)
    if (root / "cgroup.controllers").exists():
        group = root / below
        return Reading(_v2_cpu_ns(group / "cpu.stat"), _number(group / "memory.peak"))
    return Reading(
        _number(root / "cpuacct" / below / "cpuacct.usage"),
        _number(root / "memory" / below / "memory.max_usage_in_bytes"),
    )


def discard(parent: str, *, root: Path = CGROUP_ROOT) -> None:
    """Remove an execution's control group from every hierarchy, and what still runs in it; idempotent, best effort.

    An engine that is killed while it makes a container forgets a process, which would keep the job's file system.
    """
    below = _path_below_root(parent)
    if parent.endswith(".slice") and (systemctl := shutil.which("systemctl")):
        # systemd made the slice for the container and would keep it until the next boot.
        subprocess.run([systemctl, "stop", parent], check=False, capture_output=True, timeout=_SYSTEMCTL_S)
    for group in (root / below, *root.glob(f"*/{below}")):
        # The engine takes groups away at the same time; a walk leaves out what has vanished.
        nested = [Path(folder) for folder, _, _ in os.walk(group, topdown=False)]
        for one in nested:
            _end_processes(one)
        for one in nested:
            _rmdir(one)


def leftover_parents(node: str, *, root: Path = CGROUP_ROOT) -> list[str]:
    """Control groups of this node that no longer hold a process, in cgroupfs naming."""
    ours = f"{_PREFIX}-{node}/*/"
    found = {Path(group).name for pattern in (f"*/{ours}", ours) for group in glob(pattern, root_dir=root)}
    return sorted(f"/{_PREFIX}-{node}/{name}" for name in found)


def _path_below_root(parent: str) -> str:
    if not parent.endswith(".slice"):
        return parent.lstrip("/")
    parts = parent.removesuffix(".slice").split("-")
    return "/".join("-".join(parts[: i + 1]) + ".slice" for i in range(len(parts)))


def _v2_cpu_ns(stat: Path) -> int | None:
    try:
        rows = dict(line.split() for line in stat.read_text().splitlines())
        return int(rows["usage_usec"]) * 1000
    except (OSError, ValueError, KeyError):
        return None


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _end_processes(group: Path) -> None:
    with suppress(OSError, ValueError):
        for pid in map(int, (group / "cgroup.procs").read_text().split()):
            # Zero stands for a process that cannot be seen from here, and would mean ourselves.
            if pid > 0:
                os.kill(pid, signal.SIGKILL)


def _rmdir(group: Path) -> None:
    try:
        group.rmdir()
    except OSError:
        return  # not there, or the engine has not let go of it yet: the next sweep takes it
