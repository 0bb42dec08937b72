"""What a node's process holds: memory, threads, descriptors."""

from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Pulse:
    """One process at one moment."""

    pid: int
    rss_mib: float
    threads: int
    descriptors: int


def pulse(pid: int) -> Pulse | None:
    """None when there is no such process any more."""
    try:
        process = psutil.Process(pid)
        return Pulse(pid, process.memory_info().rss / 2**20, process.num_threads(), process.num_fds())
    except psutil.Error:
        return None


def calmest(pulses: list[Pulse]) -> Pulse:
    """The least of several moments: what is held for good, not what work in hand needs."""
    return Pulse(
        pulses[0].pid,
        min(one.rss_mib for one in pulses),
        min(one.threads for one in pulses),
        min(one.descriptors for one in pulses),
    )


def mounts_under(folder: Path) -> list[str]:
    """Where something is mounted below a folder."""
    points = [line.split(" ")[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [point for point in points if point.startswith(f"{folder}/")]


def loops_under(folder: Path) -> list[str]:
    """Files of a folder that are block devices of this machine, by the kernel's own list."""
    found: list[str] = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            file = backing.read_text().strip()
        except OSError:
            continue  # it went away meanwhile
        if file.startswith(f"{folder}/"):
            found.append(file)
    return found


def leftovers(nodes: Path) -> list[str]:
    """What nodes that have ended still hold of the machine: a sentence for each thing."""
    left = [f"{mounted} is still mounted" for mounted in mounts_under(nodes)]
    left += [f"{file} is still a loop device" for file in loops_under(nodes)]
    for executions in nodes.glob("*/executions"):
        for folder in ("logs", "outputs", "disks"):
            left += [f"{file} was left behind" for file in (executions / folder).glob("*")]
    return left
